//! From a place in a text's characters back to where they stand in the source: quotes, escapes, line folds and
//! indentation lie between the two.

use super::{Node, Span, Style};

/// Where bytes `offset..offset + length` of a text node's characters stand in the source.
pub fn place_within(source: &str, node: &Node, offset: usize, length: usize) -> Span {
    let Some(text) = node.as_str() else { return node.span };
    let raw = node.span.of(source);
    let Some(mut walk) = Walk::of(raw, node.style) else { return node.span };
    let mut start = None;
    for (at, found) in text.char_indices() {
        walk.before(found);
        if at >= offset && start.is_none() {
            start = Some(walk.at);
        }
        if at >= offset + length {
            break;
        }
        walk.over(found);
    }
    let base = node.span.start as usize;
    let start = start.unwrap_or(walk.at);
    let end = walk.at.max(start);
    let end = raw[start..end].find('\n').map_or(end, |line| start + line);
    Span::new(base + start, base + end)
}

/// A walk over the raw text beside its characters.
struct Walk<'t> {
    raw: &'t str,
    at: usize,
    style: Style,
}

impl<'t> Walk<'t> {
    fn of(raw: &'t str, style: Style) -> Option<Walk<'t>> {
        let at = match style {
            Style::Plain => 0,
            Style::SingleQuoted | Style::DoubleQuoted => 1,
            Style::Block => {
                let head = raw.find('\n')? + 1;
                head + raw[head..].find(|it: char| it != ' ' && it != '\n' && it != '\r').unwrap_or(0)
            }
        };
        (at <= raw.len()).then_some(Walk { raw, at, style })
    }

    fn rest(&self) -> &'t str {
        &self.raw[self.at..]
    }

    /// Skips what stands for no character: folds and indentation before a character that is no space, escaped line
    /// ends.
    fn before(&mut self, found: char) {
        while self.style == Style::DoubleQuoted && (self.rest().starts_with("\\\n") || self.rest().starts_with("\\\r"))
        {
            let rest = &self.rest()[1..];
            self.at += 1 + (rest.len() - rest.trim_start().len());
        }
        if !found.is_whitespace() {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
        }
    }

    fn over(&mut self, found: char) {
        let rest = self.rest();
        let step = match self.style {
            Style::DoubleQuoted if rest.starts_with('\\') => escape_length(rest),
            Style::SingleQuoted if rest.starts_with("''") => 2,
            _ if rest.starts_with(found) => found.len_utf8(),
            // A space or line end that stands for a fold, or is folded away.
            _ => rest.chars().next().filter(|it| it.is_whitespace()).map_or(0, char::len_utf8),
        };
        self.at = (self.at + step).min(self.raw.len());
        while !self.raw.is_char_boundary(self.at) {
            self.at += 1;
        }
    }
}

fn escape_length(rest: &str) -> usize {
    match rest.as_bytes().get(1) {
        Some(b'x') => 4,
        Some(b'u') if is_pair(rest) => 12,
        Some(b'u') => 6,
        Some(b'U') => 10,
        Some(_) => 1 + rest[1..].chars().next().map_or(1, char::len_utf8),
        None => 1,
    }
}

fn is_pair(rest: &str) -> bool {
    let high = rest.get(2..4).is_some_and(|it| matches!(it.as_bytes()[0], b'd' | b'D') && it.as_bytes()[1] > b'7');
    high && rest.get(6..8) == Some("\\u")
}

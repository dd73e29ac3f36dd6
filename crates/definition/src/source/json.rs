//! JSON as a tree: RFC 8259 to the letter, bounded in depth, without duplicate keys.

use std::{collections::HashMap, sync::Arc};

use super::{DEPTH_MAX, Entry, Kind, NODES_MAX, Node, Parsed, Span, Style, scalar};
use crate::diagnostic::Problem;

/// Reads JSON.
pub(super) fn parse(text: &str) -> Parsed {
    let mut reader = Reader { text, at: 0, nodes: 0, problems: Vec::new() };
    let root = reader.document();
    let Reader { mut problems, .. } = reader;
    match root {
        Ok(root) => Parsed { root: Some(root), problems },
        Err(problem) => {
            problems.push(problem);
            Parsed { root: None, problems }
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    nodes: usize,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Node, Problem> {
        self.skip_space();
        if self.peek().is_none() {
            return Err(Problem::new(Span::at(0), "the document is empty").note("it begins with `{\"name\": …`"));
        }
        let root = self.value(0)?;
        self.skip_space();
        match self.peek() {
            None => Ok(root),
            Some(_) => Err(self.unexpected("the end of the document")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self, expected: &str) -> Problem {
        match self.text[self.at..].chars().next() {
            None => {
                let end = self.text.trim_end().len();
                Problem::new(Span::at(end), format!("not valid JSON: the text ends, expected {expected}"))
            }
            Some(found) => {
                let span = Span::new(self.at, self.at + found.len_utf8());
                let shown = if found.is_control() { found.escape_debug().to_string() } else { found.to_string() };
                let problem = Problem::new(span, format!("not valid JSON: expected {expected}, found `{shown}`"));
                let before = self.text[..self.at].trim_end().chars().next_back();
                match (found, before) {
                    ('/' | '#', _) => problem.note("JSON has no comments"),
                    ('\'', _) => problem.note("texts stand between `\"`"),
                    (']' | '}', Some(',')) => problem.note("no comma may stand before it"),
                    _ => problem,
                }
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        let start = self.at;
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("the document has more than {NODES_MAX} values");
            return Err(Problem::new(Span::at(start), message));
        }
        if depth > DEPTH_MAX {
            let message = format!("lists and maps are nested deeper than {DEPTH_MAX}");
            return Err(Problem::new(Span::at(start), message));
        }
        let kind = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => {
                let text = self.string()?;
                let span = Span::new(start, self.at);
                return Ok(Node { kind: Kind::String(text), span, style: Style::DoubleQuoted });
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node::new(kind, Span::new(start, self.at)))
    }

    fn word(&mut self) -> Result<Kind, Problem> {
        for (word, kind) in [("null", Kind::Null), ("true", Kind::Bool(true)), ("false", Kind::Bool(false))] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        Err(self.unexpected("a value"))
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Problem> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Kind::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.unexpected("`,` or `]`")),
            }
        }
        self.at += 1;
        Ok(Kind::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Problem> {
        self.at += 1;
        let (mut entries, mut seen) = (Vec::new(), HashMap::new());
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Kind::Map(entries));
        }
        loop {
            self.skip_space();
            let entry = self.entry(depth)?;
            if let Some(first) = seen.insert(entry.key.clone(), entry.key_span) {
                let message = format!("the key `{}` stands here a second time", entry.key.escape_debug());
                self.problems.push(Problem::new(entry.key_span, message).first(first));
            } else {
                entries.push(entry);
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.unexpected("`,` or `}`")),
            }
        }
        self.at += 1;
        Ok(Kind::Map(entries))
    }

    fn entry(&mut self, depth: usize) -> Result<Entry, Problem> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key in quotes"));
        }
        let key = self.string()?;
        let key_span = Span::new(start, self.at);
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("`:`"));
        }
        self.at += 1;
        self.skip_space();
        Ok(Entry { key, key_span, value: self.value(depth + 1)? })
    }

    fn number(&mut self) -> Result<Kind, Problem> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => {
                self.at += 1;
                if matches!(self.peek(), Some(b'0'..=b'9')) {
                    return Err(self.unexpected("no digit behind a leading 0"));
                }
            }
            _ => self.digits()?,
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        let refused = |message: &str| Problem::new(Span::new(start, self.at), message);
        if whole {
            return scalar::resolve(text).map_err(refused);
        }
        scalar::double(text).map(Kind::Double).map_err(refused)
    }

    fn digits(&mut self) -> Result<(), Problem> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected("a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Arc<str>, Problem> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|it: char| it == '"' || it == '\\' || it < ' ').unwrap_or(rest.len());
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => text.push(self.escape()?),
                None => {
                    let problem = "not valid JSON: the text in quotes does not end";
                    return Err(Problem::new(Span::new(start, start + 1), problem));
                }
                Some(_) => return Err(self.unexpected("an escape instead of a control character")),
            }
        }
        self.at += 1;
        if text.contains('\0') {
            let span = Span::new(start, self.at);
            self.problems.push(Problem::new(span, "a text cannot hold a NUL character"));
        }
        Ok(text.into())
    }

    fn escape(&mut self) -> Result<char, Problem> {
        let start = self.at;
        self.at += 2;
        Ok(match self.text.as_bytes().get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => {
                let span = Span::new(start, start + 1);
                return Err(Problem::new(span, "not valid JSON: behind `\\` stands one of `\"\\/bfnrtu`"));
            }
        })
    }

    fn unicode(&mut self, start: usize) -> Result<char, Problem> {
        let first = self.hex(start)?;
        let code = if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.hex(start)?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(lone_surrogate(start, self.at));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| lone_surrogate(start, self.at))
    }

    fn hex(&mut self, start: usize) -> Result<u32, Problem> {
        let digits = self.text.get(self.at..self.at + 4).filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|it| u32::from_str_radix(it, 16).ok());
        let code = code.ok_or_else(|| {
            Problem::new(Span::new(start, start + 2), "not valid JSON: `\\u` takes four hexadecimal digits")
        })?;
        self.at += 4;
        Ok(code)
    }
}

fn lone_surrogate(start: usize, end: usize) -> Problem {
    Problem::new(Span::new(start, end), "not valid JSON: half of a surrogate pair stands alone")
}

//! Rust source as the checks see it: files, code without comments and texts, and where functions begin and end.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// A source file.
pub struct Source {
    /// Its path from the root of the repository.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The same text with comments and the insides of texts blanked out, line by line and column by column.
    pub code: String,
    /// The text with only comments blanked out.
    pub uncommented: String,
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line it begins on, from 1.
    pub line: usize,
    /// How many lines it has.
    pub lines: usize,
    /// How many parameters it has, `self` not counted.
    pub parameters: usize,
}

/// Every Rust file of the repository's crates, by path.
pub fn files(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in ["bench", "crates", "proof", "xtask"] {
        collect(&root.join(folder), &mut paths)?;
    }
    paths.sort();
    paths.into_iter().map(|path| read(root, &path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

fn read(root: &Path, path: &Path) -> anyhow::Result<Source> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    Ok(Source { path, code: blank(&text, Keep::Code), uncommented: blank(&text, Keep::CodeAndTexts), text })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Code,
    CodeAndTexts,
}

/// Blanks out comments and, unless they are kept, the insides of texts and characters.
fn blank(text: &str, keep: Keep) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, kept) = match token(rest) {
            Token::Comment(length) => (length, false),
            Token::Text(length) => (length, keep == Keep::CodeAndTexts),
            Token::Other => (first.len_utf8(), true),
        };
        let (this, after) = rest.split_at(length);
        if kept {
            out.push_str(this);
        } else {
            out.extend(this.chars().map(|it| if it == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    out
}

enum Token {
    Comment(usize),
    Text(usize),
    Other,
}

fn token(rest: &str) -> Token {
    if rest.starts_with("//") {
        return Token::Comment(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Token::Comment(rest.find("*/").map_or(rest.len(), |it| it + 2));
    }
    if rest.starts_with("r\"") || rest.starts_with("r#") {
        return raw_text(rest).map_or(Token::Other, Token::Text);
    }
    if rest.starts_with('"') {
        return Token::Text(quoted(rest, '"'));
    }
    // A lifetime has no closing quote near by; a character has.
    let is_char = rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'');
    if rest.starts_with('\'') && is_char { Token::Text(quoted(rest, '\'')) } else { Token::Other }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, it) in rest.char_indices().skip(1) {
        match it {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if it == quote => return at + it.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

fn raw_text(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|it| *it == b'#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return None; // a raw identifier
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    Some(rest[start..].find(&end).map_or(rest.len(), |it| start + it + end.len()))
}

impl Source {
    /// The functions with a body, in the order of the file.
    pub fn functions(&self) -> Vec<Function> {
        let code = &self.code;
        let starts = code.match_indices("fn ").filter(|(at, _)| {
            let before = code[..*at].chars().next_back();
            before.is_none_or(|it| it.is_whitespace() || it == '(')
        });
        starts.filter_map(|(at, _)| function(code, at)).collect()
    }
}

fn function(code: &str, at: usize) -> Option<Function> {
    let after = &code[at + 3..];
    let name: String = after.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
    if name.is_empty() {
        return None; // a function pointer type
    }
    let open = at + 3 + after.find('(')?;
    let close = matching(code, open)?;
    let body_or_end = close + code[close..].find(['{', ';'])?;
    if code[body_or_end..].starts_with(';') {
        return None;
    }
    let end = matching(code, body_or_end)?;
    let line = code[..at].matches('\n').count() + 1;
    let lines = code[at..end].matches('\n').count() + 1;
    Some(Function { name, line, lines, parameters: parameters(&code[open + 1..close]) })
}

/// Where the bracket that opens here is closed.
fn matching(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, it) in code[open..].char_indices() {
        match it {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open + at);
        }
    }
    None
}

fn parameters(list: &str) -> usize {
    let mut depth = 0i32;
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for it in list.chars() {
        match it {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if before != '-' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(it);
        }
        before = it;
    }
    let words = parts.iter().map(|it| it.trim_matches([',', ' ', '\n']));
    words.filter(|it| !it.is_empty() && !it.split(':').next().is_some_and(|name| name.ends_with("self"))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_with_their_parameters() {
        let text = "
impl X {
    /// fn not_this() {}
    pub fn one(&self, a: Vec<(u8, u8)>, f: impl Fn(u8, u8) -> u8) -> Result<(), E> {
        let text = \"} fn nor_this() {\";
        let quote = '{';
    }
    fn two() {}
    fn declared(x: u8);
}";
        let source = Source {
            path: String::new(),
            code: blank(text, Keep::Code),
            uncommented: String::new(),
            text: String::new(),
        };
        let found: Vec<_> =
            source.functions().into_iter().map(|it| (it.name, it.line, it.lines, it.parameters)).collect();
        assert_eq!(found, [("one".to_owned(), 4, 4, 2), ("two".to_owned(), 8, 1, 0)]);
    }

    #[test]
    fn comments_and_texts_are_blanked() {
        assert_eq!(blank("a \"b\" // c\nd", Keep::Code), format!("a{}\nd", " ".repeat(9)));
        assert_eq!(blank("r#\"x\"y\"#z", Keep::Code), "        z");
        assert_eq!(blank("'a' 'b", Keep::Code), "    'b");
    }
}

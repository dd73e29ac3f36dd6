//! Cuts a source text into tokens.

use super::{
    SyntaxError,
    failure::Span,
    literal,
    token::{SIGNS, Token, TokenKind},
};

/// All tokens of a source text, the last one [`TokenKind::End`].
pub(crate) fn tokens(source: &str) -> Result<Vec<Token>, Box<SyntaxError>> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let start = lexer.at;
        let kind = lexer.token()?;
        let end = kind == TokenKind::End;
        tokens.push(Token { kind, span: Span::between(start, lexer.at) });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    /// White space, and comments from `//` to the end of their line.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let text = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - text.len();
            if !text.starts_with("//") {
                return;
            }
            self.at += text.find('\n').unwrap_or(text.len());
        }
    }

    fn token(&mut self) -> Result<TokenKind, Box<SyntaxError>> {
        let Some(byte) = self.peek() else { return Ok(TokenKind::End) };
        if let Some((kind, length)) = literal::text(self.rest()).map_err(|error| error.moved(self.at))? {
            self.at += length;
            return Ok(kind);
        }
        let dot_number = byte == b'.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit());
        if byte.is_ascii_digit() || dot_number {
            return self.number();
        }
        if byte == b'`' {
            return self.quoted();
        }
        if byte.is_ascii_alphabetic() || byte == b'_' {
            return Ok(TokenKind::Word(self.take_while(is_word).into()));
        }
        let Some(sign) = SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) else {
            let letter = self.rest().chars().next().unwrap_or(' ');
            let message = format!("`{}` has no meaning here", letter.escape_debug());
            return Err(SyntaxError::new(message, self.at, letter.len_utf8()));
        };
        self.at += sign.len();
        Ok(TokenKind::Sign(sign))
    }

    fn take_while(&mut self, test: fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !test(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn quoted(&mut self) -> Result<TokenKind, Box<SyntaxError>> {
        let start = self.at;
        self.at += 1;
        let name = self.take_while(|byte| is_word(byte) || matches!(byte, b'.' | b'-' | b'/' | b' '));
        if self.peek() != Some(b'`') || name.is_empty() {
            let message =
                "a name in backticks has letters, digits, `_`, `.`, `-`, `/` and spaces, and ends in a backtick";
            return Err(SyntaxError::new(message, start, self.at - start));
        }
        self.at += 1;
        Ok(TokenKind::Quoted(name.into()))
    }

    fn number(&mut self) -> Result<TokenKind, Box<SyntaxError>> {
        let start = self.at;
        let number = literal::number(self.rest());
        self.at += number.length;
        // A letter that touches a number is a slip of the pen, not a new word.
        let tail = self.take_while(is_word);
        let shown = &self.source[start..self.at];
        let wrong = |message: String| SyntaxError::new(message, start, shown.len());
        if !tail.is_empty() {
            return Err(wrong(format!("`{shown}` is not a number")));
        }
        number.kind.ok_or_else(|| wrong(format!("`{shown}` is too large for its type")))
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

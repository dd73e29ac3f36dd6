//! What the lexer makes of a source text.

use std::{fmt, sync::Arc};

use super::failure::Span;

/// A word, number, text or sign, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// A name; reserved words too.
    Word(Arc<str>),
    /// A name in backticks, after a dot only.
    Quoted(Arc<str>),
    /// The digits of an int, without its sign: 2^63 is right only after a minus.
    Int(u64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Sign(&'static str),
    End,
}

/// Every sign; longer ones before their beginnings.
pub(crate) const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=",
];

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenKind::Word(word) => write!(f, "`{word}`"),
            TokenKind::Quoted(word) => write!(f, "`` `{word}` ``"),
            TokenKind::Int(_) | TokenKind::Uint(_) | TokenKind::Double(_) => f.write_str("a number"),
            TokenKind::String(_) => f.write_str("a text"),
            TokenKind::Bytes(_) => f.write_str("bytes"),
            TokenKind::Sign(sign) => write!(f, "`{sign}`"),
            TokenKind::End => f.write_str("the end of the expression"),
        }
    }
}

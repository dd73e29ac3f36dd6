//! Literals, names, lists, maps and what stands in parentheses.

use std::sync::Arc;

use crate::Value;

use super::{
    super::{
        ast::{Kind, Node},
        names::Segment,
        token::TokenKind,
    },
    Parse, Parser,
};

/// Words that the Common Expression Language keeps for itself.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Names of types, which are values.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Whether this is a word that no name may be.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// What a chain starts with, and the name that it starts with if the scope is to answer it.
pub(super) struct Start {
    pub(super) node: Node,
    pub(super) name: Option<Segment>,
}

impl Parser {
    pub(super) fn primary(&mut self) -> Parse<Start> {
        match self.peek().clone() {
            TokenKind::Word(word) => self.word(word),
            TokenKind::Sign("(") => self.parenthesis(),
            TokenKind::Sign("[") => unnamed(self.list()),
            TokenKind::Sign("{") => unnamed(self.map()),
            TokenKind::Sign(".") => {
                // A leading dot means the scope's name, whatever macros bind.
                self.advance();
                match self.peek().clone() {
                    TokenKind::Word(word) => self.scope_name(word),
                    other => Err(self.wrong(format!("a name is missing between `.` and {other}"))),
                }
            }
            _ => unnamed(self.literal()),
        }
    }

    fn literal(&mut self) -> Parse {
        let value = match self.peek() {
            TokenKind::Int(digits) => Value::Int(i64::try_from(*digits).map_err(|_| {
                self.wrong(format!("{digits} is above the largest int; write {digits}u for an unsigned number"))
            })?),
            TokenKind::Uint(number) => Value::Uint(*number),
            TokenKind::Double(number) => Value::Double(*number),
            TokenKind::String(text) => Value::String(text.clone()),
            TokenKind::Bytes(bytes) => Value::Bytes(bytes.clone()),
            other => return Err(self.wrong(format!("a value is missing before {other}"))),
        };
        let span = self.advance();
        self.node(Kind::Literal(value), span, 0)
    }

    fn parenthesis(&mut self) -> Parse<Start> {
        self.expect("(")?;
        let node = self.expression()?;
        self.expect(")")?;
        unnamed(Ok(node))
    }

    fn word(&mut self, word: Arc<str>) -> Parse<Start> {
        let value = match word.as_ref() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ if *self.peek_after(1) == TokenKind::Sign("(") => return unnamed(self.global_call(&word)),
            _ => match self.bound.iter().rposition(|name| *name == word) {
                Some(slot) => {
                    let span = self.advance();
                    return unnamed(self.node(Kind::Local(slot), span, 0));
                }
                None => match TYPES.iter().find(|name| **name == word.as_ref()) {
                    Some(name) => Value::Type(name),
                    None => return self.scope_name(word),
                },
            },
        };
        let span = self.advance();
        unnamed(self.node(Kind::Literal(value), span, 0))
    }

    fn scope_name(&mut self, word: Arc<str>) -> Parse<Start> {
        if is_reserved(&word) {
            return Err(self.wrong(format!("`{word}` is a reserved word and no name")));
        }
        let span = self.advance();
        let node = self.node(Kind::Variable(word.clone()), span, 0)?;
        Ok(Start { node, name: Some(Segment { text: word, span }) })
    }

    fn list(&mut self) -> Parse {
        let start = self.advance();
        let mut items = Vec::new();
        while !self.takes("]") {
            items.push(self.expression()?);
            if !self.takes(",") {
                self.expect("]")?;
                break;
            }
        }
        let below = items.iter().map(|node| node.height).max().unwrap_or(0);
        self.node(Kind::List(items), self.since(start), below)
    }

    fn map(&mut self) -> Parse {
        let start = self.advance();
        let mut entries = Vec::new();
        while !self.takes("}") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.takes(",") {
                self.expect("}")?;
                break;
            }
        }
        let below = entries.iter().map(|(key, value)| key.height.max(value.height)).max().unwrap_or(0);
        self.node(Kind::Map(entries), self.since(start), below)
    }
}

fn unnamed(node: Parse) -> Parse<Start> {
    node.map(|node| Start { node, name: None })
}

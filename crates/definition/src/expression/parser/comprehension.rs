//! Macros that bind names: `all`, `map`, `filter` and their kin.

use std::sync::Arc;

use super::{
    super::{
        SyntaxError,
        ast::{Comprehension, MacroKind, Variables},
        token::TokenKind,
    },
    Parse, Parser,
    primary::is_reserved,
};

impl Parser {
    /// Whether a name and a comma come next.
    pub(super) fn binds_name(&self) -> bool {
        matches!(self.peek(), TokenKind::Word(_)) && *self.peek_after(1) == TokenKind::Sign(",")
    }

    /// From the first name that a macro binds to its closing parenthesis.
    pub(super) fn comprehension(&mut self, name: &str, macro_kind: MacroKind) -> Parse<Comprehension> {
        let slot = self.bound.len();
        let start = self.span();
        let first = self.bound_name(name)?;
        let variables = self.variables(name, macro_kind);
        let second = if variables == Variables::Two { Some(self.bound_name(name)?) } else { None };
        self.bound.push(first);
        self.bound.extend(second);
        let arguments = self.arguments();
        self.bound.truncate(slot);
        let mut arguments = arguments?;
        let may_filter = matches!(macro_kind, MacroKind::Map | MacroKind::TransformMap);
        let (condition, body) = match (arguments.pop(), arguments.pop()) {
            (Some(body), None) => (None, body),
            (Some(body), condition @ Some(_)) if may_filter && arguments.is_empty() => (condition, body),
            _ => {
                let message = format!("`{name}` takes {} and an expression over it", variables.describe());
                return Err(SyntaxError::at(message, self.since(start)));
            }
        };
        Ok(Comprehension { macro_kind, variables, slot, condition, body })
    }

    /// How many names there are; asked behind the first one and its comma.
    fn variables(&self, name: &str, macro_kind: MacroKind) -> Variables {
        let two = match macro_kind {
            // Otherwise a name would stand there with no expression behind it.
            MacroKind::All | MacroKind::Exists | MacroKind::ExistsOne => self.binds_name(),
            MacroKind::TransformMap => true,
            _ => name == "transformList",
        };
        if two { Variables::Two } else { Variables::One }
    }

    fn bound_name(&mut self, macro_name: &str) -> Parse<Arc<str>> {
        match self.peek().clone() {
            TokenKind::Word(word) if is_reserved(&word) => {
                Err(self.wrong(format!("`{word}` is a reserved word and no name")))
            }
            TokenKind::Word(word) if self.binds_name() => {
                self.advance();
                self.advance();
                Ok(word)
            }
            _ => Err(self.wrong(format!("`{macro_name}` starts with a name for the item, then a comma"))),
        }
    }
}

impl Variables {
    fn describe(self) -> &'static str {
        match self {
            Variables::One => "a name for the item",
            Variables::Two => "names for index and item (or key and value)",
        }
    }
}

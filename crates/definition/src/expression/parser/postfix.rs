//! Values, and what follows them with `.` and `[`.

use crate::{Value, value::Key};

use super::{
    super::{
        ast::{Kind, Link, LinkKind, Node},
        failure::Span,
        names::{self, Name, Segment},
        token::TokenKind,
    },
    Parse, Parser,
    primary::Start,
};

impl Parser {
    /// A value and all that follows it. The value may have been read already.
    pub(super) fn postfix(&mut self, first: Option<Node>) -> Parse {
        let start = match first {
            Some(node) => Start { node, name: None },
            None => self.primary()?,
        };
        let mut links = Vec::new();
        while let Some(link) = self.link()? {
            self.chain_bound(links.len())?;
            links.push(link);
        }
        let Start { mut node, name } = start;
        if let Some(root) = name {
            node = self.settle(node, root, &mut links)?;
        }
        if links.is_empty() {
            return Ok(node);
        }
        let below = links.iter().map(link_height).max().unwrap_or(0).max(node.height);
        let span = self.since(node.span);
        self.node(Kind::Postfix(node, links), span, below)
    }

    fn link(&mut self) -> Parse<Option<Link>> {
        let start = self.span();
        let kind = if self.takes("[") {
            let index = self.expression()?;
            self.expect("]")?;
            LinkKind::Index(index)
        } else if self.takes(".") {
            self.member()?
        } else {
            return Ok(None);
        };
        Ok(Some(Link { kind, span: self.since(start) }))
    }

    fn member(&mut self) -> Parse<LinkKind> {
        let called = *self.peek_after(1) == TokenKind::Sign("(");
        match self.peek().clone() {
            TokenKind::Word(word) if matches!(word.as_ref(), "true" | "false" | "null" | "in") => {
                Err(self.wrong(format!("`{word}` is a reserved word; write `[\"{word}\"]` instead of `.{word}`")))
            }
            TokenKind::Word(word) if called => self.method(&word),
            TokenKind::Word(word) | TokenKind::Quoted(word) => {
                self.advance();
                Ok(LinkKind::Field(Key::String(word)))
            }
            other => Err(self.wrong(format!("a name is missing between `.` and {other}"))),
        }
    }

    /// Records a name of the scope with all that is literally selected from it, and turns `steps.<id>` and the names
    /// of types into what they are.
    fn settle(&mut self, node: Node, root: Segment, links: &mut Vec<Link>) -> Parse {
        let mut segments = vec![root];
        segments.extend(links.iter().map_while(segment));
        if let Some(name) = names::protobuf_type(&segments) {
            links.drain(..2);
            return self.node(Kind::Literal(Value::Type(name)), node.span, 0);
        }
        names::check_root(&segments)?;
        let node = match segments.as_slice() {
            [root, id, field, ..] if root.text.as_ref() == "steps" => {
                links.drain(..2);
                let span = root.span.to(field.span);
                self.node(Kind::StepField(id.text.clone(), field.text.clone()), span, 0)?
            }
            [root, id] if root.text.as_ref() == "steps" => {
                links.drain(..1);
                self.node(Kind::Step(id.text.clone()), root.span.to(id.span), 0)?
            }
            _ => node,
        };
        self.names.push(Name::new(segments));
        Ok(node)
    }
}

/// The literal name that a link selects.
fn segment(link: &Link) -> Option<Segment> {
    let (text, span) = match &link.kind {
        // Without the dot, which is no part of the name.
        LinkKind::Field(Key::String(text)) => (text, link.span.without_first()),
        LinkKind::Index(index) => (index.literal_text()?, index.span),
        _ => return None,
    };
    Some(Segment { text: text.clone(), span })
}

fn link_height(link: &Link) -> u16 {
    match &link.kind {
        LinkKind::Field(_) => 0,
        LinkKind::Index(index) => index.height,
        LinkKind::Method(call) => call.arguments.iter().map(|node| node.height).max().unwrap_or(0),
        LinkKind::Macro(comprehension) => {
            let condition = comprehension.condition.as_ref().map_or(0, |node| node.height);
            condition.max(comprehension.body.height)
        }
    }
}

impl Span {
    fn without_first(self) -> Span {
        Span { offset: self.offset + 1, length: self.length.saturating_sub(1) }
    }
}

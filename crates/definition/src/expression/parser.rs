//! Makes a tree of tokens.
//!
//! Invariant: the depth of recursion here is the nesting of the source text, and the height of the tree is bounded;
//! operators of one level, selects and `? :` are loops and flat lists. Names are settled here: a name is bound by a
//! macro around it, or is a type, or belongs to the scope and is then recorded.

use std::sync::Arc;

use crate::Value;

use super::{
    CHAIN_MAX, HEIGHT_MAX, NESTING_MAX, SOURCE_BYTES_MAX, SyntaxError,
    ast::{Kind, Node, Operation, Operator},
    failure::Span,
    lexer,
    names::Name,
    token::{Token, TokenKind},
};

mod call;
mod comprehension;
mod postfix;
mod primary;

pub use primary::is_reserved;

/// What a source text holds.
pub(crate) struct Parsed {
    pub(crate) root: Node,
    pub(crate) names: Vec<Name>,
}

/// Parses a whole source text.
pub(crate) fn parse(source: &str) -> Result<Parsed, Box<SyntaxError>> {
    if source.len() > SOURCE_BYTES_MAX {
        let message = format!(
            "an expression has at most {SOURCE_BYTES_MAX} bytes, this one has {}; compute parts of it in a step before",
            source.len()
        );
        return Err(SyntaxError::new(message, 0, source.len()));
    }
    let tokens = lexer::tokens(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0, bound: Vec::new(), names: Vec::new(), patterns: Vec::new() };
    if parser.tokens.len() == 1 {
        return Err(SyntaxError::new("an expression is missing here", 0, source.len()));
    }
    let root = parser.expression()?;
    // A name is recorded when its chain ends, behind those in its own arguments.
    parser.names.sort_by_key(|name| name.offset);
    match parser.peek() {
        TokenKind::End => {
            parser.patterns.into_iter().try_for_each(call::Pending::compile)?;
            Ok(Parsed { root, names: parser.names })
        }
        TokenKind::Sign("=") => Err(parser.wrong("`=` is not an operator; `==` compares")),
        other => Err(parser.wrong(format!("{other} does not fit here; an operator or the end was expected"))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// The names that macros bind, outer first.
    bound: Vec<Arc<str>>,
    names: Vec<Name>,
    patterns: Vec<call::Pending>,
}

type Parse<T = Node> = Result<T, Box<SyntaxError>>;

impl Parser {
    fn peek(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    fn peek_after(&self, count: usize) -> &TokenKind {
        &self.tokens[(self.at + count).min(self.tokens.len() - 1)].kind
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// The part from there to the last token taken.
    fn since(&self, start: Span) -> Span {
        start.to(self.tokens[self.at.saturating_sub(1)].span)
    }

    fn advance(&mut self) -> Span {
        let span = self.span();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        span
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        let found = *self.peek() == TokenKind::Sign(sign);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: &'static str) -> Parse<()> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(self.wrong(format!("`{sign}` is missing before {}", self.peek())))
    }

    /// The token that comes next is wrong.
    fn wrong(&self, message: impl Into<String>) -> Box<SyntaxError> {
        SyntaxError::at(message, self.span())
    }

    fn node(&self, kind: Kind, span: Span, below: u16) -> Parse {
        let height = below.saturating_add(1);
        if usize::from(height) > HEIGHT_MAX {
            let message = format!("operators and calls stand more than {HEIGHT_MAX} deep in each other here");
            return Err(SyntaxError::at(message, span));
        }
        Ok(Node { kind: Box::new(kind), span, height })
    }

    fn chain_bound(&self, length: usize) -> Parse<()> {
        if length < CHAIN_MAX {
            return Ok(());
        }
        Err(self.wrong(format!("a chain of operators or selects has at most {CHAIN_MAX} links")))
    }

    /// Whatever stands in brackets, as an argument or alone.
    fn expression(&mut self) -> Parse {
        // The whole is one level by itself.
        if self.depth > NESTING_MAX {
            let message = format!("an expression nests at most {NESTING_MAX} brackets, calls and braces");
            return Err(self.wrong(message));
        }
        self.depth += 1;
        let node = self.conditional();
        self.depth -= 1;
        node
    }

    /// `c ? x : d ? y : z`: what stands behind the colon is the loop's next round.
    fn conditional(&mut self) -> Parse {
        let start = self.span();
        let mut cases: Vec<(Node, Node)> = Vec::new();
        loop {
            let node = self.operators()?;
            if *self.peek() != TokenKind::Sign("?") {
                return self.conditional_end(start, cases, node);
            }
            self.chain_bound(cases.len())?;
            self.advance();
            let then = self.expression()?;
            self.expect(":")?;
            cases.push((node, then));
        }
    }

    fn conditional_end(&self, start: Span, cases: Vec<(Node, Node)>, last: Node) -> Parse {
        if cases.is_empty() {
            return Ok(last);
        }
        let below = cases.iter().map(|(test, then)| test.height.max(then.height)).max().unwrap_or(0).max(last.height);
        self.node(Kind::Conditional(cases, last), self.since(start), below)
    }

    /// Everything from `||` to `*`, with a stack of its own instead of recursion.
    fn operators(&mut self) -> Parse {
        let mut open: Vec<Partial> = Vec::new();
        loop {
            let mut operand = self.unary()?;
            let next = self.peek_operator();
            let level = next.map_or(0, Sign::level);
            while open.last().is_some_and(|partial| partial.level > level) {
                let Some(partial) = open.pop() else { break };
                operand = self.close(partial, operand)?;
            }
            let Some(sign) = next else { return Ok(operand) };
            if open.last().is_none_or(|partial| partial.level < level) {
                open.push(Partial { level, operands: Vec::new(), signs: Vec::new() });
            }
            let Some(partial) = open.last_mut() else { return Ok(operand) };
            partial.operands.push(operand);
            partial.signs.push((sign, self.tokens[self.at].span));
            let length = partial.signs.len();
            self.chain_bound(length - 1)?;
            self.advance();
        }
    }

    fn peek_operator(&self) -> Option<Sign> {
        match self.peek() {
            TokenKind::Sign(sign) => Sign::find(sign),
            TokenKind::Word(word) if word.as_ref() == "in" => Some(Sign::Plain(Operator::In)),
            _ => None,
        }
    }

    fn close(&self, partial: Partial, last: Node) -> Parse {
        let below = partial.operands.iter().map(|node| node.height).max().unwrap_or(0).max(last.height);
        let span = partial.operands.first().map_or(last.span, |first| first.span.to(last.span));
        let mut operands = partial.operands.into_iter().chain([last]);
        let kind = match partial.level {
            1 => Kind::Or(operands.collect()),
            2 => Kind::And(operands.collect()),
            _ => {
                let Some(first) = operands.next() else { return Err(self.wrong("a value is missing")) };
                let rest = partial.signs.into_iter().zip(operands).filter_map(|((sign, span), operand)| match sign {
                    Sign::Plain(operator) => Some(Operation { operator, span, operand }),
                    Sign::Or | Sign::And => None,
                });
                Kind::Chain(first, rest.collect())
            }
        };
        self.node(kind, span, below)
    }

    /// `!x`, `--x`, or what follows neither.
    fn unary(&mut self) -> Parse {
        let start = self.span();
        let sign = match self.peek() {
            TokenKind::Sign(sign @ ("!" | "-")) => *sign,
            _ => return self.postfix(None),
        };
        let mut times: u16 = 0;
        while *self.peek() == TokenKind::Sign(sign) {
            if let Some(number) = self.negative_literal(sign) {
                let node = self.postfix(Some(number))?;
                return self.signed(sign, times, node, start);
            }
            self.chain_bound(usize::from(times))?;
            self.advance();
            times += 1;
        }
        let node = self.postfix(None)?;
        self.signed(sign, times, node, start)
    }

    fn signed(&self, sign: &str, times: u16, node: Node, start: Span) -> Parse {
        if times == 0 {
            return Ok(node);
        }
        let below = node.height;
        let kind = if sign == "!" { Kind::Not(node, times) } else { Kind::Negate(node, times) };
        self.node(kind, self.since(start), below)
    }

    /// A minus that belongs to the number behind it: the smallest int has no positive twin.
    fn negative_literal(&mut self, sign: &str) -> Option<Node> {
        let value = match self.peek_after(1) {
            _ if sign != "-" => return None,
            TokenKind::Int(digits) => Value::Int(0i64.checked_sub_unsigned(*digits)?),
            TokenKind::Double(number) => Value::Double(-number),
            _ => return None,
        };
        let start = self.advance();
        let span = start.to(self.advance());
        Some(Node { kind: Box::new(Kind::Literal(value)), span, height: 1 })
    }
}

/// A chain of one level whose last operand is still to come.
struct Partial {
    level: u8,
    operands: Vec<Node>,
    signs: Vec<(Sign, Span)>,
}

/// An operator between two values.
#[derive(Clone, Copy)]
enum Sign {
    Or,
    And,
    Plain(Operator),
}

impl Sign {
    fn find(sign: &str) -> Option<Sign> {
        Some(match sign {
            "||" => Sign::Or,
            "&&" => Sign::And,
            "==" => Sign::Plain(Operator::Equal),
            "!=" => Sign::Plain(Operator::NotEqual),
            "<" => Sign::Plain(Operator::Less),
            "<=" => Sign::Plain(Operator::LessOrEqual),
            ">" => Sign::Plain(Operator::Greater),
            ">=" => Sign::Plain(Operator::GreaterOrEqual),
            "+" => Sign::Plain(Operator::Add),
            "-" => Sign::Plain(Operator::Subtract),
            "*" => Sign::Plain(Operator::Multiply),
            "/" => Sign::Plain(Operator::Divide),
            "%" => Sign::Plain(Operator::Remainder),
            _ => return None,
        })
    }

    /// How tightly it binds.
    fn level(self) -> u8 {
        match self {
            Sign::Or => 1,
            Sign::And => 2,
            Sign::Plain(Operator::Add | Operator::Subtract) => 4,
            Sign::Plain(Operator::Multiply | Operator::Divide | Operator::Remainder) => 5,
            Sign::Plain(_) => 3,
        }
    }
}

//! Calls of functions and methods, and the macros that look like functions: `has` and `default`.

use std::sync::{Arc, OnceLock};

use crate::value::Key;

use super::{
    super::{
        SyntaxError,
        ast::{Call, Kind, Link, LinkKind, MacroKind, Node},
        failure::Span,
        functions::{self, Function, Style},
        pattern::Pattern,
    },
    Parse, Parser,
};

impl Parser {
    /// `name(…)`.
    pub(super) fn global_call(&mut self, name: &str) -> Parse {
        let start = self.advance();
        self.expect("(")?;
        match name {
            "has" => self.has(start),
            "default" => self.default_macro(start),
            _ => self.function_call(name, start),
        }
    }

    fn function_call(&mut self, name: &str, start: Span) -> Parse {
        let keyed = MacroKind::keyed(name);
        let Some(function) = functions::find(name).filter(|function| function.style != Style::Method) else {
            return Err(unknown(name, start, Style::Global));
        };
        let mut arguments = Vec::new();
        while !self.takes(")") {
            arguments.push(self.expression()?);
            if !self.takes(",") {
                self.expect(")")?;
                break;
            }
            // `group_by(list, x, x.kind)` is `list.group_by(x, x.kind)`.
            if let (Some(macro_kind), 1, true) = (keyed, arguments.len(), self.binds_name()) {
                return self.global_macro(name, macro_kind, arguments.remove(0));
            }
        }
        let span = self.since(start);
        check_count(function, arguments.len(), span)?;
        let below = arguments.iter().map(|node| node.height).max().unwrap_or(0);
        let call = self.prepare(function, arguments, 1);
        self.node(Kind::Call(call), span, below)
    }

    fn global_macro(&mut self, name: &str, macro_kind: MacroKind, list: Node) -> Parse {
        let comprehension = self.comprehension(name, macro_kind)?;
        let span = self.since(list.span);
        let below = list.height.max(comprehension.body.height);
        let link = Link { kind: LinkKind::Macro(Box::new(comprehension)), span };
        self.node(Kind::Postfix(list, vec![link]), span, below)
    }

    /// What stands behind the dot of `x.name(…)`.
    pub(super) fn method(&mut self, name: &str) -> Parse<LinkKind> {
        let start = self.advance();
        self.expect("(")?;
        if let Some(macro_kind) = MacroKind::find(name)
            && (MacroKind::keyed(name).is_none() || self.binds_name())
        {
            let comprehension = self.comprehension(name, macro_kind)?;
            return Ok(LinkKind::Macro(Box::new(comprehension)));
        }
        let Some(function) = functions::find(name).filter(|function| function.style != Style::Global) else {
            return Err(unknown(name, start, Style::Method));
        };
        let arguments = self.arguments()?;
        check_count(function, arguments.len() + 1, self.since(start))?;
        Ok(LinkKind::Method(self.prepare(function, arguments, 0)))
    }

    /// Up to and with the closing parenthesis.
    pub(super) fn arguments(&mut self) -> Parse<Vec<Node>> {
        let mut arguments = Vec::new();
        while !self.takes(")") {
            arguments.push(self.expression()?);
            if !self.takes(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(arguments)
    }

    /// A call, whose pattern is the argument at that place if it is one of `matches`. Compiling a pattern takes stack of
    /// its own, so that has to wait until the parser is out of all nesting.
    fn prepare(&mut self, function: &'static Function, arguments: Vec<Node>, place: usize) -> Call {
        let literal = arguments.get(place).and_then(|node| Some((node.literal_text()?.clone(), node.span)));
        let pattern = literal.filter(|_| function.name == "matches").map(|(text, span)| {
            let compiled = Arc::default();
            self.patterns.push(Pending { text, span, compiled: Arc::clone(&compiled) });
            compiled
        });
        Call { function, arguments, pattern }
    }

    fn has(&mut self, start: Span) -> Parse {
        let argument = self.expression()?;
        self.expect(")")?;
        let span = self.since(start);
        let Node { kind, span: inner, height } = argument;
        let (kind, key) = match *kind {
            Kind::StepField(id, field) => (Kind::Step(id), Key::String(field)),
            Kind::Postfix(first, mut links) => {
                let Some(LinkKind::Field(key)) = links.pop().map(|link| link.kind) else {
                    return Err(not_a_select(inner));
                };
                (if links.is_empty() { *first.kind } else { Kind::Postfix(first, links) }, key)
            }
            _ => return Err(not_a_select(inner)),
        };
        let operand = Node { kind: Box::new(kind), span: inner, height };
        let below = operand.height;
        self.node(Kind::Has(operand, key), span, below)
    }

    fn default_macro(&mut self, start: Span) -> Parse {
        let arguments = self.arguments()?;
        let span = self.since(start);
        let Ok([value, otherwise]) = <[Node; 2]>::try_from(arguments) else {
            return Err(SyntaxError::at("`default` takes a value and what stands in for it: `default(x, y)`", span));
        };
        let below = value.height.max(otherwise.height);
        self.node(Kind::Default(value, otherwise), span, below)
    }
}

/// A literal pattern that is still to be compiled.
pub(super) struct Pending {
    text: Arc<str>,
    span: Span,
    compiled: Arc<OnceLock<Pattern>>,
}

impl Pending {
    pub(super) fn compile(self) -> Parse<()> {
        let pattern = Pattern::compile(&self.text).map_err(|message| SyntaxError::at(message, self.span))?;
        self.compiled.get_or_init(|| pattern);
        Ok(())
    }
}

fn not_a_select(span: Span) -> Box<SyntaxError> {
    SyntaxError::at("`has` asks for one field: `has(x.field)`", span)
}

fn check_count(function: &Function, count: usize, span: Span) -> Parse<()> {
    let (least, most) = function.arguments;
    if (usize::from(least)..=usize::from(most)).contains(&count) {
        return Ok(());
    }
    let takes = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let message =
        format!("`{}` takes {takes} arguments, not {count} (what stands before the dot counts)", function.name);
    Err(SyntaxError::at(message, span))
}

fn unknown(name: &str, span: Span, style: Style) -> Box<SyntaxError> {
    let (message, suggestion) = match (functions::find(name), style) {
        (Some(_), Style::Method) => (format!("`{name}` is written `{name}(x)`, not `x.{name}()`"), None),
        (Some(_), _) => (format!("`{name}` is written `x.{name}(…)`, not `{name}(x, …)`"), None),
        (None, _) if MacroKind::find(name).is_some() => {
            (format!("`{name}` is written behind what it works on: `list.{name}(x, …)`"), None)
        }
        (None, Style::Method) if matches!(name, "has" | "default") => {
            (format!("`{name}` is written `{name}(…)`, not `x.{name}(…)`"), None)
        }
        (None, _) => (format!("unknown function `{name}`"), functions::nearest(name)),
    };
    let mut error = SyntaxError::at(message, span);
    error.suggestion = suggestion;
    error
}

//! The tree of an expression. Chains of one precedence level, of selects and of `? :` are flat, so that the height of
//! a tree is bounded by its nesting and not by its length.

use std::sync::{Arc, OnceLock};

use crate::{Value, value::Key};

use super::{failure::Span, functions::Function, pattern::Pattern};

/// A part of an expression.
#[derive(Debug)]
pub(crate) struct Node {
    /// In a box, because the parser's frames hold many nodes.
    pub(crate) kind: Box<Kind>,
    pub(crate) span: Span,
    /// Levels of nodes below and including this one.
    pub(crate) height: u16,
}

impl Node {
    /// The text of a literal text.
    pub(crate) fn literal_text(&self) -> Option<&Arc<str>> {
        match &*self.kind {
            Kind::Literal(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    Literal(Value),
    /// A name that the scope answers.
    Variable(Arc<str>),
    /// A name that a macro binds: where it stands among the names bound around it.
    Local(usize),
    /// `steps.<id>`.
    Step(Arc<str>),
    /// `steps.<id>.<field>`.
    StepField(Arc<str>, Arc<str>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// `!`, so many times.
    Not(Node, u16),
    /// `-`, so many times.
    Negate(Node, u16),
    /// Operators of one level, left to right.
    Chain(Node, Vec<Operation>),
    And(Vec<Node>),
    Or(Vec<Node>),
    /// `c ? x : d ? y : z`.
    Conditional(Vec<(Node, Node)>, Node),
    /// What follows a value with `.` or `[`.
    Postfix(Node, Vec<Link>),
    Call(Call),
    /// `has(x.key)`.
    Has(Node, Key),
    /// `default(x, y)`.
    Default(Node, Node),
}

/// An operator and what stands to its right.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) operator: Operator,
    pub(crate) span: Span,
    pub(crate) operand: Node,
}

/// An operator that takes both its sides as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Operator {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Remainder => "%",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::In => "in",
        }
    }
}

/// One `.field`, `[index]`, `.method()` or macro.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    pub(crate) span: Span,
}

/// What follows a value.
#[derive(Debug)]
pub(crate) enum LinkKind {
    Field(Key),
    Index(Node),
    Method(Call),
    Macro(Box<Comprehension>),
}

/// A call of a function; of a method, without what stands before the dot.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) arguments: Vec<Node>,
    /// Of `matches` with a literal pattern: filled in once the whole text is parsed.
    pub(crate) pattern: Option<Arc<OnceLock<Pattern>>>,
}

/// A macro over the elements of a list or map.
#[derive(Debug)]
pub(crate) struct Comprehension {
    pub(crate) macro_kind: MacroKind,
    pub(crate) variables: Variables,
    /// Where the first variable stands among the bound names.
    pub(crate) slot: usize,
    /// Of `map(x, condition, body)` and the like.
    pub(crate) condition: Option<Node>,
    pub(crate) body: Node,
}

/// How many names a macro binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variables {
    /// The item of a list or the key of a map.
    One,
    /// Index and item, or key and value.
    Two,
}

/// What a macro does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    TransformMap,
    GroupBy,
    Sort,
}

impl MacroKind {
    /// The macros that are written as methods, by name.
    pub(crate) const METHODS: [(&'static str, MacroKind); 10] = [
        ("all", MacroKind::All),
        ("exists", MacroKind::Exists),
        ("exists_one", MacroKind::ExistsOne),
        ("existsOne", MacroKind::ExistsOne),
        ("filter", MacroKind::Filter),
        ("map", MacroKind::Map),
        ("transformList", MacroKind::Map),
        ("transformMap", MacroKind::TransformMap),
        ("group_by", MacroKind::GroupBy),
        ("sort", MacroKind::Sort),
    ];

    /// The macros that are functions too, if no name stands where they would bind one.
    pub(crate) fn keyed(name: &str) -> Option<MacroKind> {
        MacroKind::find(name).filter(|kind| matches!(kind, MacroKind::GroupBy | MacroKind::Sort))
    }

    pub(crate) fn find(name: &str) -> Option<MacroKind> {
        MacroKind::METHODS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

//! The tree that both formats become.

use std::sync::Arc;

use super::Span;
use crate::{Value, value::Key};

/// A part of a document and where it stands. Two are equal when they say the same.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it was written; of an alias, where its anchor stands.
    pub span: Span,
    /// How its text was written.
    pub style: Style,
}

/// What a part of a document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above the range of [`Kind::Int`].
    Uint(u64),
    /// A finite number with a fraction or exponent, or beyond the range of [`Kind::Uint`].
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// A list.
    List(Vec<Node>),
    /// A map in the order it was written; keys are distinct.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key's text.
    pub key: Arc<str>,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

/// How a text was written: what stands between its place in the source and its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// Between `'`.
    SingleQuoted,
    /// Between `"`, with escapes.
    DoubleQuoted,
    /// Behind `|` or `>`.
    Block,
}

/// What the place of a key is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysStandFor {
    /// Its value.
    Values,
    /// The map that it is a key of: something is missing there.
    Maps,
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.kind == other.kind
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key == other.key && self.value == other.value
    }
}

impl Node {
    /// A part that stands there.
    pub fn new(kind: Kind, span: Span) -> Node {
        Node { kind, span, style: Style::Plain }
    }

    /// A text that stands nowhere.
    pub fn text(text: impl AsRef<str>) -> Node {
        Node::new(Kind::String(text.as_ref().into()), Span::default())
    }

    /// A map of these entries that stands nowhere.
    pub fn map<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Node)>) -> Node {
        let entry = |(key, value): (K, Node)| Entry { key: key.as_ref().into(), key_span: Span::default(), value };
        Node::new(Kind::Map(entries.into_iter().map(entry).collect()), Span::default())
    }

    /// A list of these items that stands nowhere.
    pub fn list(items: impl IntoIterator<Item = Node>) -> Node {
        Node::new(Kind::List(items.into_iter().collect()), Span::default())
    }

    /// Its text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// Its entries, when it is a map.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Its items, when it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value under a key, when it is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of a key, when it is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| &*entry.key == key)
    }

    /// What it is, for a sentence: `a text`, `a list`.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a bool",
            Kind::Int(_) | Kind::Uint(_) => "a whole number",
            Kind::Double(_) => "a number",
            Kind::String(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// The same as a value, without places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Int(number) => Value::Int(*number),
            Kind::Uint(number) => Value::Uint(*number),
            Kind::Double(number) => Value::Double(*number),
            Kind::String(text) => Value::String(text.clone()),
            Kind::List(items) => Value::list(items.iter().map(Node::to_value)),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|it| (Key::String(it.key.clone()), it.value.to_value()));
                Value::Map(Arc::new(entries.collect()))
            }
        }
    }

    /// How many parts it has, itself included.
    pub fn size(&self) -> usize {
        match &self.kind {
            Kind::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Kind::Map(entries) => 1 + entries.iter().map(|it| it.value.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// The part that a JSON pointer names.
    pub fn at_pointer(&self, pointer: &str) -> Option<&Node> {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            node = match &node.kind {
                Kind::List(items) => items.get(token.parse::<usize>().ok()?)?,
                Kind::Map(_) => node.get(&token)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// The JSON pointer of the innermost part at a byte of the source; a key stands for what `keys` says.
    pub fn pointer_at(&self, at: u32, keys: KeysStandFor) -> String {
        let mut pointer = String::new();
        let mut node = self;
        loop {
            let inside = |span: Span| span.start <= at && at < span.end.max(span.start + 1);
            let next = match &node.kind {
                Kind::List(items) => items
                    .iter()
                    .enumerate()
                    .find(|(_, item)| inside(item.span))
                    .map(|(index, item)| (index.to_string(), item)),
                Kind::Map(entries) if keys == KeysStandFor::Maps && entries.iter().any(|it| inside(it.key_span)) => {
                    None
                }
                Kind::Map(entries) => entries
                    .iter()
                    .find(|entry| inside(entry.key_span) || inside(entry.value.span))
                    .map(|entry| (entry.key.replace('~', "~0").replace('/', "~1"), &entry.value)),
                _ => None,
            };
            let Some((token, inner)) = next else { return pointer };
            pointer.push('/');
            pointer.push_str(&token);
            node = inner;
        }
    }
}

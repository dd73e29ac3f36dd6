//! YAML as a tree: aliases and merge keys expanded within budgets, duplicate keys, foreign tags and further documents
//! refused.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::{ALIASED_NODES_MAX, DEPTH_MAX, Entry, Kind, NODES_MAX, Node, Parsed, Span, Style, scalar};
use crate::diagnostic::Problem;

/// Reads YAML.
pub(super) fn parse(text: &str) -> Parsed {
    let mut builder = Builder::new(text);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.stop(&error);
                break;
            }
        };
        let span = Span::new(builder.byte(&span.start), builder.byte(&span.end));
        if builder.take(event, span).is_err() {
            break;
        }
    }
    builder.finish()
}

/// The tree cannot be read on: the problem has been recorded.
struct Stopped;

/// A list or map that is still open.
struct Open {
    start: usize,
    anchor: usize,
    items: Items,
    /// The number of nodes made before it.
    nodes_before: usize,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(Arc<str>, Span)>, seen: HashMap<Arc<str>, Span>, merges: Vec<Node> },
}

struct Builder<'t> {
    text: &'t str,
    /// Byte offsets by character, when the two differ.
    bytes: Option<Vec<u32>>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
    nodes: usize,
    aliased: usize,
    documents: usize,
    stopped: bool,
    problems: Vec<Problem>,
}

impl<'t> Builder<'t> {
    fn new(text: &'t str) -> Builder<'t> {
        let bytes = (!text.is_ascii()).then(|| {
            let offsets = text.char_indices().map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX));
            offsets.collect()
        });
        Builder {
            text,
            bytes,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            nodes: 0,
            aliased: 0,
            documents: 0,
            stopped: false,
            problems: Vec::new(),
        }
    }

    fn byte(&self, marker: &Marker) -> usize {
        match &self.bytes {
            None => marker.index().min(self.text.len()),
            Some(bytes) => bytes.get(marker.index()).map_or(self.text.len(), |at| *at as usize),
        }
    }

    fn stop(&mut self, error: &ScanError) {
        let at = self.byte(error.marker());
        // What the scanner names as unexpected at the end of the text is better shown on the last line with text.
        let at = if at >= self.text.len() { self.text.trim_end().len() } else { at };
        self.stopped = true;
        self.problems.push(said_plainly(error.info(), Span::at(at), self.text));
    }

    fn fail(&mut self, span: Span, message: impl Into<String>) -> Stopped {
        self.problems.push(Problem::new(span, message));
        self.stopped = true;
        Stopped
    }

    fn finish(self) -> Parsed {
        let Builder { root, stopped, mut problems, .. } = self;
        if stopped {
            return Parsed { root: None, problems };
        }
        if root.is_none() {
            problems
                .push(Problem::new(Span::at(0), "the document is empty").note("it begins with `name:` and `steps:`"));
        }
        Parsed { root, problems }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stopped> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = "a file holds one document, and here a second one begins";
                    return Err(self.fail(span, problem));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, (tag, span)),
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag, "seq", span);
                self.begin(Items::List(Vec::new()), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag, "map", span);
                let items = Items::Map { entries: Vec::new(), key: None, seen: HashMap::new(), merges: Vec::new() };
                self.begin(items, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stopped> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let message = format!("the document has more than {NODES_MAX} values");
            return Err(self.fail(span, message));
        }
        Ok(())
    }

    fn begin(&mut self, items: Items, anchor: usize, span: Span) -> Result<(), Stopped> {
        if self.open.len() >= DEPTH_MAX {
            self.problems.push(too_deep(span));
            self.stopped = true;
            return Err(Stopped);
        }
        if let Some(Open { items: Items::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(self.fail(span, "a key must be a text, not a list or a map"));
        }
        let nodes_before = self.nodes;
        self.count(1, span)?;
        self.open.push(Open { start: span.start as usize, anchor, items, nodes_before });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Stopped> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let closed_by_bracket = span.end > span.start;
        let (kind, last) = match open.items {
            Items::List(items) => {
                let last = items.iter().map(|it| it.span.end).max();
                (Kind::List(items), last)
            }
            Items::Map { entries, seen, merges, .. } => {
                let last = entries.iter().map(|it| it.value.span.end.max(it.key_span.end)).max();
                let entries = if merges.is_empty() { entries } else { merged(entries, &seen, merges) };
                (Kind::Map(entries), last)
            }
        };
        // A block ends where its last value does, not where the next token begins. An alias inside may end before.
        let end = if closed_by_bracket { span.end } else { last.unwrap_or(span.end) };
        let node = Node::new(kind, Span::new(open.start, (end as usize).max(open.start)));
        let size = self.nodes - open.nodes_before;
        self.remember(open.anchor, &node, size);
        self.place(node)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        (tag, span): (Option<Cow<'_, Tag>>, Span),
    ) -> Result<(), Stopped> {
        self.count(1, span)?;
        if text.contains('\0') {
            self.problems.push(Problem::new(span, "a text cannot hold a NUL character"));
        }
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        if let Some(Open { items: Items::Map { key, seen, .. }, .. }) = self.open.last_mut()
            && key.is_none()
        {
            let is_merge = style == Style::Plain && text == "<<";
            let text: Arc<str> = text.into();
            if !is_merge && let Some(first) = seen.get(&text).copied() {
                let message = format!("the key `{text}` stands here a second time");
                self.problems.push(Problem::new(span, message).first(first));
            } else if !is_merge {
                seen.insert(text.clone(), span);
            }
            // A merge key is told from a text of two `<` by a mark that no written key can have.
            let repeated = !is_merge && seen.get(&text).is_some_and(|first| *first != span);
            *key = Some(match (is_merge, repeated) {
                (true, _) => (MERGE.into(), span),
                (_, true) => (REPEATED.into(), span),
                _ => (text.clone(), span),
            });
            let node = Node { kind: Kind::String(text), span, style };
            self.remember(anchor, &node, 1);
            return Ok(());
        }
        let kind = self.resolve(text, style, tag, span);
        let node = Node { kind, span, style };
        self.remember(anchor, &node, 1);
        self.place(node)
    }

    fn resolve(&mut self, text: &str, style: Style, tag: Option<Cow<'_, Tag>>, span: Span) -> Kind {
        let resolved = match tag {
            None if style == Style::Plain => scalar::resolve(text),
            None => Ok(Kind::String(text.into())),
            Some(tag) if tag.is_yaml_core_schema() => tagged(text, &tag.suffix),
            Some(tag) => {
                let message = format!("the tag `{tag}` has no meaning here");
                self.problems.push(Problem::new(span, message).note("only the tags of YAML itself, such as `!!str`"));
                return Kind::String(text.into());
            }
        };
        resolved.unwrap_or_else(|message| {
            self.problems.push(Problem::new(span, message));
            Kind::String(text.into())
        })
    }

    fn collection_tag(&mut self, tag: Option<Cow<'_, Tag>>, expect: &str, span: Span) {
        let Some(tag) = tag else { return };
        if !(tag.is_yaml_core_schema() && tag.suffix == expect) {
            self.problems.push(Problem::new(span, format!("the tag `{tag}` has no meaning here")));
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stopped> {
        let Some((_, size)) = self.anchors.get(&anchor) else {
            return Err(self.fail(span, "the alias stands inside what it is an alias of"));
        };
        let size = *size;
        self.aliased += size;
        if self.aliased > ALIASED_NODES_MAX {
            let message = format!("aliases add more than {ALIASED_NODES_MAX} values");
            return Err(self.fail(span, message));
        }
        self.count(size, span)?;
        let node = self.anchors[&anchor].0.clone();
        if self.open.len() + depth(&node) > DEPTH_MAX {
            let message = format!("aliases nest lists and maps deeper than {DEPTH_MAX}");
            return Err(self.fail(span, message));
        }
        if let Some(Open { items: Items::Map { key, seen, .. }, .. }) = self.open.last_mut()
            && key.is_none()
        {
            let Kind::String(text) = node.kind else {
                return Err(self.fail(span, "a key must be a text, and this alias is none"));
            };
            if seen.insert(text.clone(), span).is_some() {
                self.problems.push(Problem::new(span, format!("the key `{text}` stands here a second time")));
            }
            let Some(Open { items: Items::Map { key, .. }, .. }) = self.open.last_mut() else { return Ok(()) };
            *key = Some((text, span));
            return Ok(());
        }
        self.place(node)
    }

    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn place(&mut self, node: Node) -> Result<(), Stopped> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.items {
            Items::List(items) => items.push(node),
            Items::Map { entries, key, merges, .. } => {
                let Some((key, key_span)) = key.take() else { return Ok(()) };
                if &*key == REPEATED {
                    return Ok(());
                }
                if &*key != MERGE {
                    entries.push(Entry { key, key_span, value: node });
                    return Ok(());
                }
                let merge = match node.kind {
                    Kind::List(items) => items,
                    _ => vec![node],
                };
                if merge.iter().any(|it| it.as_map().is_none()) {
                    let problem = Problem::new(key_span, "`<<` takes a map or a list of maps");
                    self.problems.push(problem);
                } else {
                    merges.extend(merge);
                }
            }
        }
        Ok(())
    }
}

/// Stands for the key `<<`; no written key has a NUL.
const MERGE: &str = "\0<<";
/// Stands for a key that was there before: its value is dropped.
const REPEATED: &str = "\0";

/// The entries of the map itself, then of each merged map those whose keys are not there yet.
fn merged(mut entries: Vec<Entry>, seen: &HashMap<Arc<str>, Span>, merges: Vec<Node>) -> Vec<Entry> {
    let mut seen: std::collections::HashSet<Arc<str>> = seen.keys().cloned().collect();
    for merge in merges {
        let Kind::Map(merge) = merge.kind else { continue };
        entries.extend(merge.into_iter().filter(|entry| seen.insert(entry.key.clone())));
    }
    entries
}

fn depth(node: &Node) -> usize {
    match &node.kind {
        Kind::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Kind::Map(entries) => 1 + entries.iter().map(|it| depth(&it.value)).max().unwrap_or(0),
        _ => 0,
    }
}

fn tagged(text: &str, tag: &str) -> Result<Kind, &'static str> {
    let resolved = scalar::resolve(text);
    match (tag, resolved) {
        ("str", _) => Ok(Kind::String(text.into())),
        ("int", Ok(kind @ (Kind::Int(_) | Kind::Uint(_)))) => Ok(kind),
        ("float", Ok(kind @ Kind::Double(_))) => Ok(kind),
        ("float", Ok(Kind::Int(_) | Kind::Uint(_))) => scalar::double(text).map(Kind::Double),
        ("bool", Ok(kind @ Kind::Bool(_))) => Ok(kind),
        ("null", Ok(kind @ Kind::Null)) => Ok(kind),
        ("int" | "float" | "bool" | "null", _) => Err("the text does not fit its tag"),
        _ => Err("only the tags `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!seq` and `!!map` are known"),
    }
}

/// The scanner's messages that people meet, in the words of this language.
fn said_plainly(info: &str, span: Span, text: &str) -> Problem {
    let (message, note) = match info {
        "mapping values are not allowed in this context" => {
            ("no `:` may stand here", "check the indentation; a text that holds `: ` needs quotes")
        }
        "simple key expect ':'" | "simple key expected" => {
            ("expected `:` behind this key", "every line of a map is `key: value`")
        }
        "while parsing a block mapping, did not find expected key" => {
            ("expected a key here", "the keys of one map stand in one column")
        }
        "while parsing a block collection, did not find expected '-' indicator" => {
            ("expected `- ` here", "the items of one list stand in one column")
        }
        "block sequence entries are not allowed in this context" => {
            ("no list may begin here", "it begins on a line of its own")
        }
        "while parsing a flow sequence, expected ',' or ']'" => {
            ("expected `,` or `]`", "a text that holds one of `,[]{}` needs quotes")
        }
        "while parsing a flow mapping, did not find expected ',' or '}'" => {
            ("expected `,` or `}`", "a text that holds one of `,[]{}` needs quotes")
        }
        "while parsing a node, did not find expected node content" => ("a value is missing here", ""),
        "while parsing node, found unknown anchor" => ("this alias has no anchor", "`&name` before it gives it one"),
        "while scanning a quoted scalar, found unexpected end of stream" => ("the text in quotes does not end", ""),
        "while parsing a quoted scalar, found unknown escape character" => {
            ("unknown escape", "between `'` a backslash is only a backslash")
        }
        "invalid indentation in quoted scalar" => {
            ("the text in quotes does not end, or goes on too far to the left", "")
        }
        "illegal placement of ':' indicator" => ("no `:` may stand here", "is a bracket above it not closed?"),
        "misplaced bracket" => ("this bracket closes nothing", ""),
        "while scanning an anchor or alias, did not find expected alphabetic or numeric character" => {
            ("a name is missing here", "put a text that begins with `&` or `*` in quotes")
        }
        "while scanning a block scalar, did not find expected comment or line break" => {
            ("the text begins on the next line", "")
        }
        "while parsing a quoted scalar, did not find expected hexadecimal number" => {
            ("hexadecimal digits are missing here", "")
        }
        "invalid trailing content after double-quoted scalar" => ("nothing may stand behind a text in quotes", ""),
        "recursion limit exceeded" => return too_deep(span),
        "missing explicit document end marker before directive" => {
            ("a line that begins with `%` is a directive", "put it in quotes")
        }
        _ if info.contains("tab") => ("a tab may not stand here", "indent with spaces"),
        _ if info.starts_with("unexpected character") => {
            ("no text may begin with this character", "put the text in quotes")
        }
        _ if info.contains("indentation") => ("wrong indentation", ""),
        _ => (info, ""),
    };
    let problem = Problem::new(span, format!("not valid YAML: {message}"));
    let start = text[..span.start as usize].rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    if line.contains("${{") {
        return problem.note("between `{ }` or `[ ]`, an expression needs quotes: `\"${{ … }}\"`");
    }
    if note.is_empty() { problem } else { problem.note(note) }
}

fn too_deep(span: Span) -> Problem {
    Problem::new(span, format!("lists and maps are nested deeper than {DEPTH_MAX}"))
}

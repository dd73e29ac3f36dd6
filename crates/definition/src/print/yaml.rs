//! Trees as YAML: block style, texts plain where they may be, small empty and scalar lists on one line.

use super::node::json_text;
use crate::source::{Kind, Node, is_plain_text};

/// Characters of a list on one line at most.
const FLOW_CHARS_MAX: usize = 80;

/// A tree as a YAML document.
pub(super) fn write(node: &Node) -> String {
    let mut out = String::new();
    match scalar_or_empty(node) {
        Some(text) => out.push_str(&text),
        None => block(node, 0, &mut out),
    }
    out.push('\n');
    out
}

/// A list or map that is not empty, its first line where `out` ends, the others indented.
fn block(node: &Node, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match &node.kind {
        Kind::Map(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                if index > 0 {
                    out.push('\n');
                    out.push_str(&pad);
                }
                out.push_str(&text(&entry.key));
                out.push(':');
                after_key(&entry.value, indent, out);
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push('\n');
                    out.push_str(&pad);
                }
                out.push_str("- ");
                match inline(item) {
                    Some(text) => out.push_str(&text),
                    None => block(item, indent + 2, out),
                }
            }
        }
        _ => {}
    }
}

fn after_key(value: &Node, indent: usize, out: &mut String) {
    if let Some(text) = inline(value) {
        out.push(' ');
        out.push_str(&text);
        return;
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent + 2));
    block(value, indent + 2, out);
}

/// What fits on one line: scalars, empty lists and maps, short lists of scalars.
fn inline(node: &Node) -> Option<String> {
    if let Some(text) = scalar_or_empty(node) {
        return Some(text);
    }
    let items = node.as_list()?;
    let items: Option<Vec<String>> = items.iter().map(flow_scalar).collect();
    let text = format!("[{}]", items?.join(", "));
    (text.chars().count() <= FLOW_CHARS_MAX).then_some(text)
}

fn scalar_or_empty(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::List(items) if items.is_empty() => Some("[]".into()),
        Kind::Map(entries) if entries.is_empty() => Some("{}".into()),
        Kind::List(_) | Kind::Map(_) => None,
        Kind::String(written) => Some(text(written)),
        _ => Some(node.to_value().to_string()),
    }
}

/// A scalar within `[ ]`, where more characters have a meaning.
fn flow_scalar(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::List(_) | Kind::Map(_) => None,
        Kind::String(written) if written.contains([',', '[', ']', '{', '}', ':', '#']) => Some(json_text(written)),
        Kind::String(written) => Some(text(written)),
        _ => Some(node.to_value().to_string()),
    }
}

/// A text on one line: plain where that reads back as the same text, else between double quotes.
fn text(written: &str) -> String {
    if is_plain(written) { written.to_owned() } else { quoted(written) }
}

fn is_plain(written: &str) -> bool {
    const NOT_FIRST: &[char] = &[
        '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`', '=', '<', '~',
    ];
    let printable = |it: char| !it.is_control() && !matches!(it, '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{feff}');
    !written.is_empty()
        && is_plain_text(written)
        && written.chars().all(printable)
        && !written.starts_with(NOT_FIRST)
        && !written.starts_with(char::is_whitespace)
        && !written.ends_with(char::is_whitespace)
        && !written.ends_with(':')
        && !written.contains(": ")
        && !written.contains(" #")
        && !written.starts_with("...")
}

/// Between double quotes, with the characters that JSON lets stand and YAML does not escaped as well.
fn quoted(written: &str) -> String {
    let json = json_text(written);
    let mut out = String::with_capacity(json.len());
    for it in json.chars() {
        match it {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", it as u32));
            }
            _ => out.push(it),
        }
    }
    out
}

//! What a file is, by its first bytes. What its sender says counts only among kinds of harmless text.

use infer::MatcherType;

/// Bytes that are looked at.
pub(super) const HEAD_BYTES: usize = 8 << 10;

/// Kinds of text that look alike and do nothing: here the sender is believed.
const PLAIN_TEXTS: &[&str] = &[
    "text/plain",
    "text/csv",
    "text/tab-separated-values",
    "text/markdown",
    "application/json",
    "application/yaml",
    "application/x-ndjson",
];
/// What a browser would do something with beyond showing it.
const ACTIVE: &[&str] = &["html", "xml", "svg", "javascript", "ecmascript", "flash", "x-mimearchive"];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sniffed {
    /// The media type.
    pub media_type: String,
    /// The same in one word, of `files::KINDS`.
    pub kind: &'static str,
}

/// What these first bytes are the beginning of.
pub fn sniff(head: &[u8], declared: Option<&str>) -> Sniffed {
    if let Some(found) = infer::get(head) {
        let media_type = found.mime_type();
        let kind = match found.matcher_type() {
            MatcherType::Image => "image",
            MatcherType::Audio => "audio",
            MatcherType::Video => "video",
            MatcherType::Text => "text",
            MatcherType::Doc | MatcherType::Book => "document",
            MatcherType::Archive if matches!(media_type, "application/pdf" | "application/rtf") => "document",
            MatcherType::Archive => "archive",
            MatcherType::App => "program",
            MatcherType::Font | MatcherType::Custom => "other",
        };
        return Sniffed { media_type: media_type.to_owned(), kind };
    }
    if !is_text(head) {
        return Sniffed { media_type: "application/octet-stream".to_owned(), kind: "other" };
    }
    let essence = declared.and_then(|it| it.split(';').next()).map(|it| it.trim().to_ascii_lowercase());
    let believed = essence.filter(|it| PLAIN_TEXTS.contains(&it.as_str()));
    Sniffed { media_type: believed.unwrap_or_else(|| "text/plain".to_owned()), kind: "text" }
}

/// Whether a browser would do something with it beyond showing it.
pub fn is_active(media_type: &str) -> bool {
    ACTIVE.iter().any(|word| media_type.contains(word))
}

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The head may end within a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
        Err(_) => return false,
    };
    !text.is_empty() && !text.chars().any(|it| it.is_control() && !matches!(it, '\t' | '\n' | '\r' | '\u{c}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_what_it_is_and_not_the_sender() {
        let found = |head: &[u8], declared: &str| {
            let Sniffed { media_type, kind } = sniff(head, Some(declared));
            format!("{media_type} {kind}")
        };
        for (head, declared, expected) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "text/html", "image/png image"),
            (b"%PDF-1.7\n", "image/png", "application/pdf document"),
            (b"<!DOCTYPE html><html><script>", "image/png", "text/html text"),
            (b"<svg onload='x()'/>", "image/svg+xml", "text/plain text"),
            (b"alert(1)", "text/javascript", "text/plain text"),
            (b"a,b\n1,2\n", "text/csv; charset=utf-8", "text/csv text"),
            (b"{\"a\": 1}", "application/json", "application/json text"),
            ("gr\u{fc}n".as_bytes(), "", "text/plain text"),
            (&"gr\u{fc}n".as_bytes()[..3], "", "text/plain text"),
            (b"\0\x01\x02", "text/plain", "application/octet-stream other"),
            (b"", "text/plain", "application/octet-stream other"),
            (b"PK\x03\x04....", "application/pdf", "application/zip archive"),
            (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "image/png", "application/x-executable program"),
        ] {
            assert_eq!(found(head, declared), expected, "{head:?}");
        }
        assert!(is_active("text/html") && is_active("image/svg+xml") && is_active("text/xml"));
        assert!(!is_active("image/png") && !is_active("text/plain") && !is_active("application/pdf"));
    }
}

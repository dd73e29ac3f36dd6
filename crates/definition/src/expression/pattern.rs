//! Regular expressions in RE2's syntax, matched in time linear in the text and priced by how large they are compiled.

use regex::{Regex, RegexBuilder};

use super::{
    failure::{Failure, Outcome},
    meter::Meter,
};

/// How large a compiled pattern may be, what compiling that costs, and units per 64 bytes of text that it then takes:
/// in the worst case matching takes time in proportion to both.
const SIZES: [(usize, u64, u64); 3] = [(1 << 14, 200, 1), (1 << 17, 2_000, 16), (1 << 20, 20_000, 128)];

/// Groups and repetitions within each other, at most: compiling a pattern is recursion.
const NESTING_MAX: u32 = 24;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    price: u64,
    compile_price: u64,
}

impl Pattern {
    /// Compiles a pattern; the message says what is wrong with it.
    pub(crate) fn compile(pattern: &str) -> Result<Pattern, String> {
        let pattern = &ascii_classes(pattern);
        let mut last = String::new();
        for (bytes_max, compile_price, price) in SIZES {
            let built = RegexBuilder::new(pattern)
                .size_limit(bytes_max)
                .dfa_size_limit(1 << 20)
                .nest_limit(NESTING_MAX)
                .build();
            match built {
                Ok(regex) => return Ok(Pattern { regex, price, compile_price }),
                Err(regex::Error::CompiledTooBig(_)) => {
                    last = format!("this pattern is too large: compiled it takes more than {bytes_max} bytes");
                }
                // The first lines of the message draw the pattern, the last one says what is wrong.
                Err(error) => {
                    let text = error.to_string();
                    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    return Err(format!("this is not a pattern in RE2 syntax: {reason}"));
                }
            }
        }
        Err(last)
    }

    /// Compiles a pattern that was only now computed.
    pub(crate) fn compile_within(meter: &mut Meter, pattern: &str) -> Outcome<Pattern> {
        meter.bytes(pattern.len())?;
        let pattern = Pattern::compile(pattern).map_err(Failure::invalid_argument)?;
        meter.charge(pattern.compile_price)?;
        Ok(pattern)
    }

    /// Whether the pattern matches any part of the text.
    pub(crate) fn matches(&self, meter: &mut Meter, text: &str) -> Outcome<bool> {
        meter.charge((text.len() as u64 / 64 + 1) * self.price)?;
        Ok(self.regex.is_match(text))
    }
}

/// In RE2 `\d`, `\w`, `\s` and `\b` mean ASCII; the Unicode ones would also be forty times as large.
fn ascii_classes(pattern: &str) -> String {
    let mut plain = String::with_capacity(pattern.len());
    let (mut letters, mut in_class) = (pattern.chars(), false);
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            in_class = (in_class || letter == '[') && letter != ']';
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('d') => plain.push_str("[0-9]"),
            Some('D') => plain.push_str("[^0-9]"),
            Some('w') => plain.push_str("[0-9A-Za-z_]"),
            Some('W') => plain.push_str("[^0-9A-Za-z_]"),
            Some('s') => plain.push_str(r"[\t\n\x0C\r ]"),
            Some('S') => plain.push_str(r"[^\t\n\x0C\r ]"),
            Some('b') if !in_class => plain.push_str(r"(?-u:\b)"),
            other => {
                plain.push(letter);
                plain.extend(other);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ascii_and_patterns_small() {
        for (pattern, text, expect) in [
            (r"^\w+$", "abc_9", true),
            (r"^\w+$", "é", false),
            (r"^\W$", "é", true),
            (r"^\d$", "٣", false),
            (r"^[\w.+-]+@[\w-]+\.[\w.]+$", "ada.l@example.co.uk", true),
            (r"^[^\s]+$", "a b", false),
            (r"\bé", "aé", true),
            (r"\\d", r"\d", true),
            (r"^[[:alpha:]\d]+$", "a1", true),
            (r"^\pL$", "é", true),
            (r"a\.b", "a.b", true),
        ] {
            let compiled = Pattern::compile(pattern).unwrap();
            assert_eq!(compiled.matches(&mut Meter::new(1_000), text).unwrap(), expect, "{pattern} {text}");
        }
        let reason = Pattern::compile("a(").unwrap_err();
        assert_eq!(reason, "this is not a pattern in RE2 syntax: unclosed group");
        assert!(Pattern::compile("((a{99}){99}){99}").unwrap_err().starts_with("this pattern is too large"));
    }
}

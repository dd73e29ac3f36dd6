//! Regular expressions in RE2's syntax, matched in time linear in the text and priced by how large they are compiled.

use regex::{Regex, RegexBuilder};

use super::{
    failure::{Failure, Outcome},
    meter::Meter,
};

/// How large a compiled pattern may be, what compiling that costs, and units per 64 bytes of text that it then takes:
/// in the worst case matching takes time in proportion to both.
const SIZES: [(usize, u64, u64); 3] = [(1 << 14, 200, 1), (1 << 17, 2_000, 16), (1 << 20, 20_000, 128)];

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
        let mut last = String::new();
        for (bytes_max, compile_price, price) in SIZES {
            let built = RegexBuilder::new(pattern).size_limit(bytes_max).dfa_size_limit(1 << 20).nest_limit(50).build();
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

//! Numbers, texts and bytes as expressions write them.

use super::{SyntaxError, token::TokenKind};

/// A number at the beginning of a text.
pub(crate) struct Number {
    /// `None` when it does not fit its type.
    pub(crate) kind: Option<TokenKind>,
    /// Bytes that it takes.
    pub(crate) length: usize,
}

/// Reads the number at the beginning of a text, which starts with a digit or with a dot and a digit.
pub(crate) fn number(text: &str) -> Number {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let count = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        if count > 0 {
            return whole(text, u64::from_str_radix(&digits[..count], 16).ok(), 2 + count);
        }
    }
    let count = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let digits = count(text);
    let mut length = digits;
    if text[length..].starts_with('.') {
        let decimals = count(&text[length + 1..]);
        length += if decimals > 0 { 1 + decimals } else { 0 };
    }
    if text[length..].starts_with(['e', 'E']) {
        let sign = usize::from(text[length + 1..].starts_with(['+', '-']));
        let exponent = count(&text[length + 1 + sign..]);
        length += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    if length == digits {
        return whole(text, text[..length].parse().ok(), length);
    }
    let number = text[..length].parse().ok().filter(|number: &f64| number.is_finite());
    Number { kind: number.map(TokenKind::Double), length }
}

fn whole(text: &str, value: Option<u64>, length: usize) -> Number {
    if text[length..].starts_with(['u', 'U']) {
        return Number { kind: value.map(TokenKind::Uint), length: length + 1 };
    }
    // 2^63 is an int only behind a minus; the parser knows.
    Number { kind: value.filter(|value| *value <= 1 << 63).map(TokenKind::Int), length }
}

/// How a text is written: its prefix, its quotes.
struct Form {
    raw: bool,
    bytes: bool,
    quote: &'static str,
}

/// Reads the text or the bytes at the beginning of a text, and says how many bytes it takes; `None` when there is
/// neither.
pub(crate) fn text(source: &str) -> Result<Option<(TokenKind, usize)>, Box<SyntaxError>> {
    let prefix = source.bytes().take_while(|byte| matches!(byte, b'r' | b'R' | b'b' | b'B')).take(2).count();
    let letters = source[..prefix].to_ascii_lowercase();
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let Some(quote) = quotes.into_iter().find(|quote| source[prefix..].starts_with(quote)) else { return Ok(None) };
    if matches!(letters.as_str(), "rr" | "bb") {
        return Err(SyntaxError::new("a text has at most one `r` and one `b` before it", 0, prefix));
    }
    let form = Form { raw: letters.contains('r'), bytes: letters.contains('b'), quote };
    let mut reader = Reader { source, at: prefix + quote.len(), out: Vec::new() };
    reader.body(&form)?;
    let length = reader.at;
    if form.bytes {
        return Ok(Some((TokenKind::Bytes(reader.out.into()), length)));
    }
    let text = String::from_utf8(reader.out).map_err(|_| SyntaxError::new("this text is not UTF-8", 0, length))?;
    Ok(Some((TokenKind::String(text.into()), length)))
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    out: Vec<u8>,
}

impl Reader<'_> {
    fn body(&mut self, form: &Form) -> Result<(), Box<SyntaxError>> {
        loop {
            let rest = &self.source[self.at..];
            if rest.starts_with(form.quote) {
                self.at += form.quote.len();
                return Ok(());
            }
            let Some(letter) = rest.chars().next().filter(|c| form.quote.len() == 3 || !matches!(c, '\n' | '\r'))
            else {
                let message = format!("this text is not closed: `{}` is missing", form.quote);
                return Err(SyntaxError::new(message, 0, self.at));
            };
            if letter == '\\' && !form.raw {
                self.escape(form)?;
            } else {
                self.push(letter);
                self.at += letter.len_utf8();
            }
        }
    }

    fn push(&mut self, letter: char) {
        self.out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn escape(&mut self, form: &Form) -> Result<(), Box<SyntaxError>> {
        let letter = self.source[self.at + 1..].chars().next().unwrap_or('\n');
        let plain = match letter {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '?' | '"' | '\'' | '`' => letter,
            'x' | 'X' => return self.code(form, 2..4, 16),
            'u' if !form.bytes => return self.code(form, 2..6, 16),
            'U' if !form.bytes => return self.code(form, 2..10, 16),
            '0'..='3' => return self.code(form, 1..4, 8),
            _ => return Err(self.wrong_escape(1 + letter.len_utf8())),
        };
        self.push(plain);
        self.at += 2;
        Ok(())
    }

    /// The code point, or in bytes the byte, that the digits in that range after the backslash name.
    fn code(&mut self, form: &Form, digits: std::ops::Range<usize>, radix: u32) -> Result<(), Box<SyntaxError>> {
        let end = digits.end;
        let digits = self.source.get(self.at + digits.start..self.at + end).unwrap_or("");
        // `from_str_radix` takes a sign too.
        let number = if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() };
        let Some(number) = number else { return Err(self.wrong_escape(2)) };
        if form.bytes {
            self.out.push(u8::try_from(number).map_err(|_| self.wrong_escape(end))?);
        } else {
            self.push(char::from_u32(number).ok_or_else(|| self.wrong_escape(end))?);
        }
        self.at += end;
        Ok(())
    }

    fn wrong_escape(&self, length: usize) -> Box<SyntaxError> {
        let message = "there is no such escape; write `\\\\` for a backslash, or `r` before the text";
        let length = length.min(self.source.len() - self.at);
        SyntaxError::new(message, self.at, length)
    }
}

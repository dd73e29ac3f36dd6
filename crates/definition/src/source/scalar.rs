//! Plain YAML scalars after the core schema of YAML 1.2, which decides that `on`, `yes` and `no` are texts and that
//! `007` is the number 7.

use super::Kind;

/// What a plain scalar stands for; `Err` says why it stands for nothing.
pub(crate) fn resolve(text: &str) -> Result<Kind, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Kind::Null),
        "true" | "True" | "TRUE" => return Ok(Kind::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Kind::Bool(false)),
        _ => {}
    }
    if let Some(kind) = whole(text) {
        return Ok(kind);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("JSON has no infinite numbers and no NaN; quote it if it is a text");
    }
    if is_float(unsigned) {
        return double(text).map(Kind::Double);
    }
    Ok(Kind::String(text.into()))
}

/// Whether a text may be written plain: it does not stand for anything else.
pub(crate) fn is_plain_text(text: &str) -> bool {
    matches!(resolve(text), Ok(Kind::String(_)))
}

fn whole(text: &str) -> Option<Kind> {
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let signed = if negative { text.parse::<i64>() } else { digits.parse::<i64>() };
    Some(match (signed, digits.parse::<u64>()) {
        (Ok(number), _) => Kind::Int(number),
        (Err(_), Ok(number)) if !negative => Kind::Uint(number),
        _ => Kind::Double(text.parse().ok().filter(|it: &f64| it.is_finite())?),
    })
}

fn radix(digits: &str, radix: u32) -> Option<Kind> {
    if digits.is_empty() || !digits.chars().all(|it| it.is_digit(radix)) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    Some(i64::try_from(number).map_or(Kind::Uint(number), Kind::Int))
}

fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|it| {
        let it = it.strip_prefix(['-', '+']).unwrap_or(it);
        !it.is_empty() && digits(it)
    });
    mantissa_fits && exponent_fits
}

/// A finite number with a fraction or exponent.
pub(super) fn double(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("the number is too large; the largest is about 1.8e308"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let text = |it: &str| Ok(Kind::String(it.into()));
        for (written, expect) in [
            ("on", text("on")),
            ("yes", text("yes")),
            ("No", text("No")),
            ("~", Ok(Kind::Null)),
            ("True", Ok(Kind::Bool(true))),
            ("007", Ok(Kind::Int(7))),
            ("010", Ok(Kind::Int(10))),
            ("0o10", Ok(Kind::Int(8))),
            ("0xff", Ok(Kind::Int(255))),
            ("-5", Ok(Kind::Int(-5))),
            ("1_000", text("1_000")),
            ("12:30", text("12:30")),
            ("1.0", Ok(Kind::Double(1.0))),
            ("1e3", Ok(Kind::Double(1000.0))),
            (".5", Ok(Kind::Double(0.5))),
            ("5xx", text("5xx")),
            (".", text(".")),
            ("1.2.3", text("1.2.3")),
            ("9223372036854775808", Ok(Kind::Uint(1 << 63))),
            ("18446744073709551616", Ok(Kind::Double(18_446_744_073_709_551_616.0))),
        ] {
            assert_eq!(resolve(written), expect, "{written}");
        }
        assert!(resolve(".inf").is_err() && resolve("-.inf").is_err() && resolve("1e999").is_err());
    }
}

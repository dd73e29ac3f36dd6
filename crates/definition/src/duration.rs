//! Spans of time as documents write them: `30s`, `1h30m`, `3d`, `250ms`.

use std::time::Duration;

/// Reads one or more numbers with a unit (`ms`, `s`, `m`, `h`, `d`, `w`), largest first, with at most three decimals on
/// the last; `None` when the text is not that or passes 100 years.
pub fn parse(text: &str) -> Option<Duration> {
    const YEARS_100_MS: u64 = 100 * 366 * 86_400_000;
    let mut rest = text.trim();
    let (mut total_ms, mut last_unit_ms) = (0u64, u64::MAX);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        if unit_ms >= last_unit_ms {
            return None;
        }
        let ms = match number.split_once('.') {
            None => number.parse::<u64>().ok()?.checked_mul(unit_ms)?,
            Some((whole, decimals)) if tail.is_empty() && (1..=3).contains(&decimals.len()) => {
                let scale = 10u64.pow(u32::try_from(decimals.len()).ok()?);
                let part = decimals.parse::<u64>().ok()?.checked_mul(unit_ms)? / scale;
                whole.parse::<u64>().ok()?.checked_mul(unit_ms)?.checked_add(part)?
            }
            Some(_) => return None,
        };
        total_ms = total_ms.checked_add(ms)?;
        last_unit_ms = unit_ms;
        rest = tail;
    }
    (total_ms <= YEARS_100_MS).then(|| Duration::from_millis(total_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_documents_write() {
        for (text, ms) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("1h30m", Some(5_400_000)),
            ("3d", Some(259_200_000)),
            ("1.5s", Some(1_500)),
            ("5400s", Some(5_400_000)),
            ("", None),
            ("30", None),
            ("s", None),
            ("1m1h", None),
            ("1.5h3m", None),
            ("-1s", None),
            ("9999999999999999999s", None),
        ] {
            assert_eq!(parse(text), ms.map(Duration::from_millis), "{text}");
        }
    }
}

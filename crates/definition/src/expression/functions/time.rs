//! Points in time and spans of time.

use chrono::{DateTime, Datelike, FixedOffset, Offset, TimeDelta, TimeZone, Timelike, Utc};

use crate::Value;

use super::{
    super::{
        arithmetic,
        evaluator::Evaluator,
        failure::{Failure, Outcome},
    },
    Function, Style, text_of, unsuited,
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "now", arguments: (0, 0), style: Style::Global, call: now },
    Function { name: "getFullYear", arguments: (1, 2), style: Style::Method, call: full_year },
    Function { name: "getMonth", arguments: (1, 2), style: Style::Method, call: month },
    Function { name: "getDate", arguments: (1, 2), style: Style::Method, call: date },
    Function { name: "getDayOfMonth", arguments: (1, 2), style: Style::Method, call: day_of_month },
    Function { name: "getDayOfWeek", arguments: (1, 2), style: Style::Method, call: day_of_week },
    Function { name: "getDayOfYear", arguments: (1, 2), style: Style::Method, call: day_of_year },
    Function { name: "getHours", arguments: (1, 2), style: Style::Method, call: hours },
    Function { name: "getMinutes", arguments: (1, 2), style: Style::Method, call: minutes },
    Function { name: "getSeconds", arguments: (1, 2), style: Style::Method, call: seconds },
    Function { name: "getMilliseconds", arguments: (1, 2), style: Style::Method, call: milliseconds },
];

fn now(evaluator: &mut Evaluator<'_>, _: &mut [Value]) -> Outcome {
    arithmetic::timestamp(evaluator.scope.now().to_datetime())
}

fn full_year(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    local(arguments, "getFullYear").map(|at| Value::Int(at.year().into()))
}

/// From 0.
fn month(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    local(arguments, "getMonth").map(|at| Value::Int(at.month0().into()))
}

/// From 1.
fn date(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    local(arguments, "getDate").map(|at| Value::Int(at.day().into()))
}

/// From 0.
fn day_of_month(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    local(arguments, "getDayOfMonth").map(|at| Value::Int(at.day0().into()))
}

/// Sunday is 0.
fn day_of_week(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    local(arguments, "getDayOfWeek").map(|at| Value::Int(at.weekday().num_days_from_sunday().into()))
}

/// From 0.
fn day_of_year(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    local(arguments, "getDayOfYear").map(|at| Value::Int(at.ordinal0().into()))
}

fn hours(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    part(arguments, "getHours", |span| span.num_hours(), |at| at.hour())
}

fn minutes(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    part(arguments, "getMinutes", |span| span.num_minutes(), |at| at.minute())
}

fn seconds(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    part(arguments, "getSeconds", |span| span.num_seconds(), |at| at.second())
}

/// Those beyond the last whole second, of a point and of a span alike.
fn milliseconds(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    part(arguments, "getMilliseconds", |span| span.num_milliseconds() % 1000, |at| at.timestamp_subsec_millis())
}

/// Of a span the whole of it in that unit, of a point what its clock shows.
fn part(
    arguments: &[Value],
    name: &str,
    of_span: fn(TimeDelta) -> i64,
    of_point: fn(DateTime<FixedOffset>) -> u32,
) -> Outcome {
    match arguments {
        [Value::Duration(span)] => Ok(Value::Int(of_span(*span))),
        _ => local(arguments, name).map(|at| Value::Int(of_point(at).into())),
    }
}

/// A point in time as the clocks of a time zone show it; UTC without one.
fn local(arguments: &[Value], name: &str) -> Outcome<DateTime<FixedOffset>> {
    let Value::Timestamp(at) = &arguments[0] else { return Err(unsuited(name, &arguments[0])) };
    let Some(zone) = arguments.get(1) else { return Ok(at.fixed_offset()) };
    let zone = text_of(name, zone)?;
    let offset = fixed(zone).or_else(|| named(zone, at));
    offset.map(|offset| at.with_timezone(&offset)).ok_or_else(|| {
        let shown: String = zone.chars().take(40).collect();
        Failure::invalid_argument(format!("\"{}\" is not a time zone", shown.escape_debug()))
    })
}

/// `+02:00`, `-02:30`, `02:00`.
fn fixed(zone: &str) -> Option<FixedOffset> {
    let (sign, digits) = match zone.as_bytes().first()? {
        b'-' => (-1, &zone[1..]),
        b'+' => (1, &zone[1..]),
        _ => (1, zone),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let number = |text: &str, most: i32| {
        let digits = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| digits && *number <= most)
    };
    FixedOffset::east_opt(sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60))
}

/// `Europe/Berlin`, `UTC`.
fn named(zone: &str, at: &DateTime<Utc>) -> Option<FixedOffset> {
    let zone: chrono_tz::Tz = zone.parse().ok()?;
    Some(zone.offset_from_utc_datetime(&at.naive_utc()).fix())
}

/// Reads `1h30m`, `-1.5s`, `250ms`, `3d`: numbers with units in any order, each with a fraction if need be.
pub(super) fn parse_duration(text: &str) -> Outcome {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut nanoseconds: i128 = 0;
    if rest == "0" {
        return Ok(Value::Duration(TimeDelta::zero()));
    }
    if rest.is_empty() {
        return Err(unreadable(text));
    }
    while !rest.is_empty() {
        let (part, tail) = one_unit(rest).ok_or_else(|| unreadable(text))?;
        nanoseconds = nanoseconds.saturating_add(part);
        rest = tail;
    }
    let nanoseconds = if negative { -nanoseconds } else { nanoseconds };
    arithmetic::duration(i64::try_from(nanoseconds).ok().map(TimeDelta::nanoseconds))
}

fn unreadable(text: &str) -> Box<Failure> {
    let shown: String = text.chars().take(40).collect();
    let message = format!("\"{}\" is not a duration such as \"1h30m\", \"250ms\" or \"-1.5s\"", shown.escape_debug());
    Failure::invalid_argument(message)
}

/// The nanoseconds of the first number and unit, and what follows them.
fn one_unit(text: &str) -> Option<(i128, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, tail) = text.split_at(end);
    let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
    let (unit, tail) = tail.split_at(unit_end);
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 604_800_000_000_000,
        _ => return None,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    // Past 18 digits the value is out of range, or finer than a nanosecond.
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let decimals = &decimals[..decimals.len().min(18)];
    let whole = if whole.len() > 20 { i128::from(u64::MAX) } else { digits(whole)? };
    let places = 10i128.pow(u32::try_from(decimals.len()).ok()?);
    Some((whole * scale + digits(decimals)? * scale / places, tail))
}

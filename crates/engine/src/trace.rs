//! The trace that a run belongs to, as W3C Trace Context has it: its own, or the one that its start came with.
//!
//! Invariant: what a step sends of it follows from what the journal's first entry says and from the step's path and
//! attempt alone, so a replay sends the same.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::id::RunId;

/// Whoever called may have recorded the trace.
const SAMPLED: u8 = 1;
/// The trace's id is random in its last seven bytes.
const RANDOM: u8 = 2;
/// Members of a `tracestate`.
const MEMBERS_MAX: usize = 32;
/// Characters of a member's key, and of its value.
const MEMBER_PART_CHARS_MAX: usize = 256;
/// Bytes of a `tracestate` that are kept.
const STATE_BYTES_MAX: usize = 512;
/// Members longer than this go first when a `tracestate` is too long.
const LONG_MEMBER_BYTES: usize = 128;
/// Bytes of the fields of a `traceparent`.
const PARENT_BYTES: usize = 55;

/// The id of a trace: 16 bytes, written as 32 hexadecimal digits; never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The trace of a run that joins nobody else's.
    pub fn of_run(run: RunId) -> TraceId {
        TraceId(run.uuid().as_u128())
    }

    /// Its bytes, as databases keep them.
    pub fn uuid(self) -> Uuid {
        Uuid::from_u128(self.0)
    }
}

impl From<Uuid> for TraceId {
    fn from(uuid: Uuid) -> TraceId {
        TraceId(uuid.as_u128())
    }
}

/// A span of a trace, as a `traceparent` names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// The span of an attempt: the same for the same attempt.
    pub fn of_attempt(run: RunId, path: &str, attempt: u32) -> SpanId {
        let digest = Sha256::digest(format!("{run}/{path}/{attempt}"));
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        SpanId(u64::from_be_bytes(bytes).max(1))
    }
}

/// What is no id of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be {0} hexadecimal digits in lower case, not all of them zero")]
pub struct BadId(usize);

/// A number of that many hexadecimal digits in lower case that is not zero.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    if !fits {
        return None;
    }
    u128::from_str_radix(text, 16).ok().filter(|number| *number != 0)
}

macro_rules! id {
    ($name:ident, $number:ident, $digits:literal) => {
        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<$name, BadId> {
                let number = hex(text, $digits).and_then(|it| $number::try_from(it).ok());
                number.map($name).ok_or(BadId($digits))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:0width$x}", self.0, width = $digits)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(TraceId, u128, 32);
id!(SpanId, u64, 16);

/// A trace that a run belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Which.
    pub id: TraceId,
    /// Its flags, as they came; `sampled` alone for a trace that begins here: what happens is kept.
    #[serde(default = "sampled", skip_serializing_if = "is_sampled")]
    pub flags: u8,
    /// The span of whoever started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanId>,
    /// Its `tracestate`, handed on as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Arc<str>>,
}

fn sampled() -> u8 {
    SAMPLED
}

fn is_sampled(flags: &u8) -> bool {
    *flags == SAMPLED
}

impl Trace {
    /// The trace that begins with a run.
    pub fn of_run(run: RunId) -> Trace {
        Trace { id: TraceId::of_run(run), flags: SAMPLED, span: None, state: None }
    }

    /// The trace that these headers name. As the standard has it, a `traceparent` that is not well-formed is as good as
    /// none, and so is such a `tracestate`, which `traceparent` stands without.
    pub fn of_headers(traceparent: &str, tracestate: &str) -> Option<Trace> {
        let fields = traceparent.get(..PARENT_BYTES)?;
        let [version, id, span, flags] = fields.split('-').collect::<Vec<_>>()[..] else { return None };
        let number = |text: &str| {
            let fits = text.len() == 2 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
            u8::from_str_radix(text, 16).ok().filter(|_| fits)
        };
        // A later version may have more fields; 255 is none.
        let goes_on = match (number(version)?, traceparent.as_bytes().get(PARENT_BYTES)) {
            (u8::MAX, _) | (0, Some(_)) => false,
            (_, after) => after.is_none_or(|it| *it == b'-'),
        };
        let (id, span) = (id.parse().ok()?, span.parse().ok()?);
        let flags = number(flags)? & (SAMPLED | RANDOM);
        goes_on.then(|| Trace { id, flags, span: Some(span), state: state(tracestate) })
    }

    /// The same trace for a run that this one starts.
    #[must_use]
    pub fn handed_on(&self) -> Trace {
        Trace { span: None, ..self.clone() }
    }

    /// The `traceparent` of an attempt's requests.
    pub fn traceparent(&self, run: RunId, path: &str, attempt: u32) -> String {
        format!("00-{}-{}-{:02x}", self.id, SpanId::of_attempt(run, path, attempt), self.flags)
    }
}

/// What is kept of a `tracestate`: nothing of one that is not well-formed; of a long one the members that fit, the very
/// long ones first to go and then the last.
fn state(header: &str) -> Option<Arc<str>> {
    let mut members: Vec<&str> =
        header.split(',').map(|it| it.trim_matches([' ', '\t'])).filter(|it| !it.is_empty()).collect();
    if members.len() > MEMBERS_MAX {
        return None;
    }
    let keys = members.iter().map(|member| key_of(member)).collect::<Option<Vec<&str>>>()?;
    if (1..keys.len()).any(|at| keys[..at].contains(&keys[at])) {
        return None;
    }
    let bytes = |members: &[&str]| members.iter().map(|it| it.len() + 1).sum::<usize>().saturating_sub(1);
    while bytes(&members) > STATE_BYTES_MAX {
        match members.iter().rposition(|it| it.len() > LONG_MEMBER_BYTES) {
            Some(at) => drop(members.remove(at)),
            None => drop(members.pop()),
        }
    }
    (!members.is_empty()).then(|| members.join(",").into())
}

/// The key of a well-formed member.
fn key_of(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let inner =
        |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'_' | b'-' | b'*' | b'/' | b'@');
    let first = key.bytes().next().is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    let sizes = 1..=MEMBER_PART_CHARS_MAX;
    let key_fits = first && key.bytes().all(inner) && sizes.contains(&key.len());
    let value_fits = sizes.contains(&value.len())
        && value.bytes().all(|it| matches!(it, b' '..=b'~') && it != b'=')
        && !value.ends_with(' ');
    (key_fits && value_fits).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_taken_or_is_as_good_as_none() {
        let long = format!("00-{ID}-{SPAN}-01-more");
        for (header, flags) in [
            (format!("00-{ID}-{SPAN}-01"), Some(1)),
            (format!("00-{ID}-{SPAN}-00"), Some(0)),
            (format!("00-{ID}-{SPAN}-ff"), Some(3)),
            (format!("01-{ID}-{SPAN}-01"), Some(1)),
            (format!("cc-{ID}-{SPAN}-01-what-comes-later"), Some(1)),
            (format!("cc-{ID}-{SPAN}-01."), None),
            (format!("ff-{ID}-{SPAN}-01"), None),
            (format!("0-{ID}-{SPAN}-01"), None),
            (long, None),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None),
            (format!("00-{ID}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{SPAN}-01", ID.to_uppercase()), None),
            (format!("00-{ID}-{SPAN}-0G"), None),
            (format!("00-{ID}-{SPAN}-+1"), None),
            (format!("00-{ID}-{SPAN}"), None),
            (format!("00-{ID}{SPAN}-01-"), None),
            (format!("00-{ID}-{SPAN}-0ä"), None),
            (format!(" 00-{ID}-{SPAN}-01"), None),
            (String::new(), None),
        ] {
            let trace = Trace::of_headers(&header, "");
            assert_eq!(trace.as_ref().map(|it| it.flags), flags, "{header}");
            if let Some(trace) = trace {
                assert_eq!((trace.id.to_string(), trace.span.map(|it| it.to_string())), (ID.into(), Some(SPAN.into())));
            }
        }
    }

    #[test]
    fn a_tracestate_is_kept_within_bounds() {
        let many = |members: usize| (0..members).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let (long, wide) = (format!("long={}", "v".repeat(250)), "w".repeat(110));
        let two = format!("{long},a=1,b={}", "x".repeat(256));
        let wides = (0..5).map(|n| format!("w{n}={wide}")).collect::<Vec<_>>();
        for (header, kept) in [
            ("", None),
            ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7".to_owned())),
            (" a=1 ,\tb=2 , ,", Some("a=1,b=2".to_owned())),
            ("t@s=1,2/x*=y z", Some("t@s=1,2/x*=y z".to_owned())),
            ("a", None),
            ("a=", None),
            ("=1", None),
            ("A=1", None),
            ("a=1,a=2", None),
            ("a=1=2", None),
            ("a=ä", None),
            (&many(32), Some(many(32))),
            (&many(33), None),
            (&format!("{}=1", "a".repeat(257)), None),
            (&two, Some(format!("{long},a=1"))),
            (&wides.join(","), Some(wides[..4].join(","))),
        ] {
            let trace = Trace::of_headers(&format!("00-{ID}-{SPAN}-01"), header).unwrap();
            assert_eq!(trace.state.as_deref(), kept.as_deref(), "{header}");
        }
    }

    #[test]
    fn an_attempt_has_one_span() {
        let run = RunId::new(Uuid::from_u128(7));
        let own = Trace::of_run(run);
        let first = own.traceparent(run, "a[3].b", 1);
        assert_eq!(first, "00-00000000000000000000000000000007-239fdd6f0005e56b-01");
        assert_eq!(own.traceparent(run, "a[3].b", 1), first);
        for other in [own.traceparent(run, "a[3].b", 2), own.traceparent(run, "a[3].b:undo", 1)] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn a_trace_is_kept_as_it_is() {
        for (json, flags) in [
            (format!(r#"{{"id":"{ID}"}}"#), 1),
            (format!(r#"{{"id":"{ID}","flags":0,"span":"{SPAN}","state":"a=1"}}"#), 0),
        ] {
            let trace: Trace = serde_json::from_str(&json).unwrap();
            assert_eq!((trace.flags, serde_json::to_string(&trace).unwrap()), (flags, json));
        }
    }
}

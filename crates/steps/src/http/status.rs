//! Which statuses count as success, and what the others mean.

use chrono::{DateTime, Utc};
use reqwest::header;
use windlass_definition::{Class, Error, Value};
use windlass_runtime::step::StepFailure;

use super::{Asked, body, with::StatusPattern};
use crate::{egress::Response, schema::invalid};

/// Statuses that count as success, as inclusive ranges.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected(Vec<(u16, u16)>);

impl Default for Expected {
    fn default() -> Expected {
        Expected(vec![(200, 399)])
    }
}

impl Expected {
    /// 2xx alone.
    pub(crate) fn success() -> Expected {
        Expected(vec![(200, 299)])
    }

    /// Reads what a document says.
    pub(super) fn parse(patterns: &[StatusPattern]) -> Result<Expected, StepFailure> {
        let ranges: Option<Vec<(u16, u16)>> = patterns.iter().map(range).collect();
        ranges.map(Expected).ok_or_else(|| {
            invalid("bad_expect", "`expect` lists statuses (204), classes (2xx) and ranges (200-204), nothing else")
        })
    }

    /// Whether that status counts as success.
    pub(crate) fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

fn range(pattern: &StatusPattern) -> Option<(u16, u16)> {
    let text = match pattern {
        StatusPattern::Number(number) => return is_status(*number).then_some((*number, *number)),
        StatusPattern::Text(text) => text.trim().to_ascii_lowercase(),
    };
    if let Some(class) = text.strip_suffix("xx") {
        let first = class.parse::<u16>().ok().filter(|it| (1..=5).contains(it))? * 100;
        return Some((first, first + 99));
    }
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (is_status(first) && is_status(last) && first <= last).then_some((first, last))
}

fn is_status(number: u16) -> bool {
    (100..=599).contains(&number)
}

/// The failure of an answer whose status was not expected.
pub(super) fn failure(asked: &Asked, response: &Response) -> Error {
    let status = response.status;
    let message = format!("{} {} answered {status}", asked.method, asked.url);
    let mut error = Error::new(Class::Http, status.as_str(), message)
        .with_detail("status", u64::from(status.as_u16()))
        .with_detail("body", body::excerpt(response));
    if let Some(after_ms) = retry_after_ms(response, Utc::now()) {
        error = error.with_detail("retry_after_ms", Value::from(after_ms));
    }
    error.retryable = matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504);
    error
}

/// How long the service asks us to wait, in seconds or as a date; at most a day is believed.
fn retry_after_ms(response: &Response, now: DateTime<Utc>) -> Option<u64> {
    const DAY_MS: u64 = 86_400_000;
    let text = response.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let after_ms = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1_000),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(text).ok()?;
            u64::try_from(at.signed_duration_since(now).num_milliseconds()).unwrap_or(0)
        }
    };
    Some(after_ms.min(DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expect_reads_numbers_classes_and_ranges() {
        for (text, ranges) in [
            ("200", Some((200, 200))),
            ("2xx", Some((200, 299))),
            ("5XX", Some((500, 599))),
            ("200-204", Some((200, 204))),
            ("204-200", None),
            ("6xx", None),
            ("", None),
            ("ok", None),
            ("99", None),
        ] {
            assert_eq!(range(&StatusPattern::Text(text.into())), ranges, "{text}");
        }
    }
}

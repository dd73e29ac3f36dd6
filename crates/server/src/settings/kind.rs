//! What a setting may be: the kinds of values, how one is written on a command line, and what is refused.

use serde::Serialize;
use serde_json::Value as Json;

/// What says why a text may not be a value.
pub type Check = fn(&str) -> Result<(), String>;

/// What values a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number.
    Number {
        /// The least one.
        least: u64,
        /// The greatest one.
        most: u64,
        /// Of what.
        unit: Unit,
    },
    /// On or off.
    Switch,
    /// A text in one line.
    Text {
        /// Its characters at most.
        chars_max: usize,
        /// What else is asked of it.
        check: Check,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Words.
    List {
        /// How many at most.
        items_max: usize,
        /// What is asked of each.
        check: Check,
    },
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things.
    Count,
    /// Characters.
    Characters,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Days.
    Days,
}

impl Unit {
    /// Its milliseconds, of a unit of time.
    pub(super) fn millis(self) -> u64 {
        match self {
            Unit::Count | Unit::Characters | Unit::Bytes | Unit::Milliseconds => 1,
            Unit::Seconds => 1_000,
            Unit::Minutes => 60_000,
            Unit::Hours => 3_600_000,
            Unit::Days => 86_400_000,
        }
    }
}

impl Kind {
    /// Its name in answers.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Number { .. } => "number",
            Kind::Switch => "switch",
            Kind::Text { .. } => "text",
            Kind::Choice(_) => "choice",
            Kind::List { .. } => "list",
        }
    }

    /// Reads a value off a command line, the environment or a file.
    ///
    /// # Errors
    /// What it may be instead.
    pub fn parse(&self, text: &str) -> Result<Json, String> {
        let as_text = || Json::from(text);
        let value = match self {
            Kind::Number { .. } => text.parse::<u64>().map_or_else(|_| as_text(), Json::from),
            Kind::Switch => match text.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" => Json::from(true),
                "off" | "false" | "no" | "0" => Json::from(false),
                _ => as_text(),
            },
            Kind::Text { .. } | Kind::Choice(_) => as_text(),
            Kind::List { .. } => text.split_whitespace().collect(),
        };
        self.check(&value).map(|()| value)
    }

    /// Whether that is a value.
    ///
    /// # Errors
    /// What it may be instead.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        match self {
            Kind::Number { least, most, .. } => match value.as_u64() {
                Some(number) if (*least..=*most).contains(&number) => Ok(()),
                _ => Err(format!("is a number from {least} to {most}")),
            },
            Kind::Switch if value.is_boolean() => Ok(()),
            Kind::Switch => Err("is on or off".to_owned()),
            Kind::Text { chars_max, check } => match value.as_str() {
                Some(text) if is_line(text, *chars_max) => check(text),
                _ => Err(format!("is a text of at most {chars_max} characters in one line")),
            },
            Kind::Choice(words) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                _ => Err(format!("is one of {}", words.join(", "))),
            },
            Kind::List { items_max, check } => {
                let words: Option<Vec<&str>> = value.as_array().and_then(|all| all.iter().map(Json::as_str).collect());
                match words {
                    Some(words) if words.len() <= *items_max => words.into_iter().try_for_each(check),
                    _ => Err(format!("is a list of at most {items_max} texts")),
                }
            }
        }
    }
}

fn is_line(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: Kind = Kind::Text { chars_max: 4, check: |_| Ok(()) };
    const LIST: Kind = Kind::List {
        items_max: 2,
        check: |text| if text.starts_with('a') { Ok(()) } else { Err("begins with a".to_owned()) },
    };

    #[test]
    fn a_command_line_says_each_kind() {
        let number = Kind::Number { least: 1, most: 9, unit: Unit::Count };
        for (kind, text, value) in [
            (number, "7", json!(7)),
            (Kind::Switch, "on", json!(true)),
            (Kind::Switch, "0", json!(false)),
            (TEXT, "7", json!("7")),
            (Kind::Choice(&["text", "json"]), "json", json!("json")),
            (LIST, " ab  ac ", json!(["ab", "ac"])),
            (LIST, "", json!([])),
        ] {
            assert_eq!(kind.parse(text), Ok(value), "{text}");
        }
        for (kind, text, said) in [
            (number, "10", "from 1 to 9"),
            (number, "-1", "from 1 to 9"),
            (Kind::Switch, "maybe", "on or off"),
            (TEXT, "abcde", "at most 4"),
            (TEXT, "a\nb", "in one line"),
            (Kind::Choice(&["text", "json"]), "xml", "one of text, json"),
            (LIST, "ab ac ad", "at most 2"),
            (LIST, "ab bc", "begins with a"),
        ] {
            let refused = kind.parse(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_of_another_kind_is_refused() {
        let number = Kind::Number { least: 0, most: 9, unit: Unit::Count };
        for value in [json!("7"), json!(-1), json!(1.5), json!(null), json!(true), json!([7])] {
            number.check(&value).unwrap_err();
        }
        for (kind, value) in [
            (Kind::Switch, json!(1)),
            (TEXT, json!(7)),
            (LIST, json!("ab")),
            (LIST, json!(["ab", 1])),
            (Kind::Choice(&["text"]), json!(["text"])),
        ] {
            kind.check(&value).unwrap_err();
        }
    }
}

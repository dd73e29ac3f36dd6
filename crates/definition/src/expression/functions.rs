//! Every function by its name. A new one is a row in the table of its family, and a line in `docs/expressions.md`.

use crate::Value;

use super::{
    ast::MacroKind,
    evaluator::Evaluator,
    failure::{Failure, Outcome},
};

mod convert;
mod encode;
pub(crate) mod list;
mod map;
mod number;
mod text;
mod time;

/// A function.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// How many arguments it takes, at least and at most; what stands before the dot counts. Never more than four.
    pub(crate) arguments: (u8, u8),
    pub(crate) style: Style,
    pub(crate) call: fn(&mut Evaluator<'_>, &mut [Value]) -> Outcome,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How a function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `f(x)`.
    Global,
    /// `x.f()`.
    Method,
    /// Both.
    Both,
}

const FAMILIES: [&[Function]; 7] = [
    convert::FUNCTIONS,
    encode::FUNCTIONS,
    list::FUNCTIONS,
    map::FUNCTIONS,
    number::FUNCTIONS,
    text::FUNCTIONS,
    time::FUNCTIONS,
];

/// Macros that are written like functions.
const MACROS: [&str; 2] = ["has", "default"];

/// The function of that name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FAMILIES.into_iter().flatten().find(|function| function.name == name)
}

/// The names of all functions and macros.
pub fn names() -> impl Iterator<Item = &'static str> {
    let functions = FAMILIES.into_iter().flatten().map(|function| function.name);
    functions.chain(MacroKind::METHODS.iter().map(|(name, _)| *name)).chain(MACROS)
}

/// The function whose name is most like that one, if any is.
pub(crate) fn nearest(name: &str) -> Option<String> {
    nearest_of(name, names())
}

/// The word that is most like that one, if any is.
pub(crate) fn nearest_of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // `toUpperCase`, `to_upper` and the like are slips of the same kind as a wrong letter.
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "");
    let name = plain(name);
    let scored = known.into_iter().map(|word| (strsim::jaro_winkler(&name, &plain(word)), word));
    let best = scored.filter(|(score, _)| *score > 0.8).max_by(|left, right| left.0.total_cmp(&right.0));
    best.map(|(_, word)| word.to_owned())
}

/// The function is not made for a value of this type.
pub(crate) fn unsuited(name: &str, value: &Value) -> Box<Failure> {
    Failure::no_such_overload(format!("`{name}` does not work on {}", value.type_name()))
}

/// The text that an argument must be.
pub(crate) fn text_of<'a>(name: &str, value: &'a Value) -> Outcome<&'a str> {
    value.as_str().ok_or_else(|| unsuited(name, value))
}

/// The list that an argument must be.
pub(crate) fn list_of<'a>(name: &str, value: &'a Value) -> Outcome<&'a [Value]> {
    value.as_list().ok_or_else(|| unsuited(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        for (name, nearest_name) in [
            ("lenght", None),
            ("uper", Some("upper")),
            ("starts_with", Some("startsWith")),
            ("toupper", Some("upper")),
            ("parseJson", Some("parse_json")),
            ("groupby", Some("group_by")),
            ("flaten", Some("flatten")),
            ("xyzzy", None),
        ] {
            assert_eq!(nearest(name).as_deref(), nearest_name, "{name}");
        }
    }

    #[test]
    fn names_are_unique_and_no_function_takes_more_than_four() {
        let functions: Vec<&Function> = FAMILIES.into_iter().flatten().collect();
        for (index, function) in functions.iter().enumerate() {
            assert!(function.arguments.0 <= function.arguments.1 && function.arguments.1 <= 4, "{function:?}");
            assert!(functions[..index].iter().all(|other| other.name != function.name), "{function:?}");
        }
    }
}

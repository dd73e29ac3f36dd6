//! The words of the language: the names of control steps and of types that this version does not have.

/// Control steps that hold blocks, and the fields that only they have.
pub const CONTROL_TYPES: &[(&str, &[&str])] = &[
    ("if", &["when", "then", "else"]),
    ("switch", &["on", "cases", "default"]),
    ("foreach", &["items", "parallel", "do"]),
    ("while", &["when", "do", "max"]),
    ("parallel", &["branches", "parallel"]),
    ("try", &["do", "catch", "finally"]),
    ("join", &["mode"]),
];

/// Step types that the language has and this version does not.
pub const NOT_BUILT_TYPES: &[&str] =
    &["script", "wasm", "llm", "agent", "tool", "sql", "email", "notify", "file", "device"];

/// The control steps that have a field of that name.
pub(super) fn owners_of(field: &str) -> Vec<&'static str> {
    CONTROL_TYPES.iter().filter(|(_, fields)| fields.contains(&field)).map(|(name, _)| *name).collect()
}

/// Names for a sentence: `a`, `b` and `c`.
pub(crate) fn listed<'n>(names: impl IntoIterator<Item = &'n str>, last: &str) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        None => String::new(),
        Some((one, [])) => one.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

/// Field names of other workflow languages, and what they are called here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("after", "needs"),
    ("body", "do"),
    ("condition", "if"),
    ("depends_on", "needs"),
    ("dependson", "needs"),
    ("env", "vars"),
    ("inputs", "input"),
    ("jobs", "steps"),
    ("max_attempts", "attempts"),
    ("max_iterations", "max"),
    ("on", "triggers"),
    ("outputs", "output"),
    ("parameters", "input"),
    ("params", "with"),
    ("retries", "retry"),
    ("tasks", "steps"),
    ("variables", "vars"),
];

/// What a field of another workflow language is called here.
pub(super) fn meant_by(field: &str) -> Option<&'static str> {
    let field = field.to_lowercase();
    ELSEWHERE.iter().find(|(name, _)| *name == field).map(|(_, here)| *here)
}

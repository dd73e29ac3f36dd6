//! The reference page of step types, made from what the types say of themselves.

use std::fmt::Write;

use windlass_definition::{
    Value,
    step_type::{Family, StepType, StepTypes},
};

const HEAD: &str = "\
# Step types

This page is made from the step types themselves; `UPDATE_EXPECT=1 cargo test -p windlass-steps reference` writes it \
anew. A text with `${{ … }}` in it fits wherever a value stands, but for fields marked *literal*. Fields marked \
*secret* may hold `secrets.<name>`.
";

/// The page, in Markdown. Hidden types are left out.
pub fn page(types: &StepTypes) -> String {
    let mut page = HEAD.to_owned();
    for (family, title) in [
        (Family::Doing, "Doing steps"),
        (Family::Pure, "Steps decided on the spot"),
        (Family::Waiting, "Waiting steps"),
        (Family::Control, "Control steps"),
    ] {
        let shown: Vec<&StepType> = types.iter().filter(|it| it.family == family && !it.hidden).collect();
        if shown.is_empty() {
            continue;
        }
        let _ = write!(page, "\n## {title}\n");
        for step_type in shown {
            section(&mut page, step_type);
        }
    }
    page
}

// Writing to a text cannot fail, so the results of `write!` here mean nothing.
fn section(page: &mut String, step_type: &StepType) {
    let _ = write!(page, "\n### {}\n\n{}\n", step_type.name, step_type.documentation.trim());
    let fields = fields(&step_type.with_schema);
    if !fields.is_empty() {
        page.push_str("\n| `with` | type | meaning |\n|---|---|---|\n");
        for field in fields {
            let _ =
                writeln!(page, "| `{}`{} | {} | {} |", field.name, field.marks(step_type), field.kind, field.meaning);
        }
    }
    let output = self::fields(&step_type.output_schema);
    if output.is_empty() {
        // Without fields and without a word of its own, the documentation says what comes out.
        if let Some(meaning) = step_type.output_schema.get("description").and_then(Value::as_str) {
            let _ = write!(page, "\nOutput: {meaning}\n");
        }
        return;
    }
    page.push_str("\n| output | type | meaning |\n|---|---|---|\n");
    for field in output {
        let _ = writeln!(page, "| `{}` | {} | {} |", field.name, field.kind, field.meaning);
    }
}

struct Field {
    name: String,
    required: bool,
    kind: String,
    meaning: String,
}

impl Field {
    fn marks(&self, step_type: &StepType) -> String {
        let within = |pointers: &[&str]| {
            pointers.iter().any(|it| it.trim_start_matches('/').split('/').next() == Some(self.name.as_str()))
        };
        let mut marks = String::new();
        for (mark, applies) in [
            ("required", self.required),
            (
                "literal",
                within(step_type.program_fields) || step_type.credential_fields.iter().any(|it| it.name == self.name),
            ),
            ("secret", within(step_type.secret_fields)),
        ] {
            if applies {
                let _ = write!(marks, " *{mark}*");
            }
        }
        marks
    }
}

fn fields(root: &Value) -> Vec<Field> {
    let schema = root;
    let required = schema.get("required").and_then(Value::as_list).unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_map) else { return Vec::new() };
    let describe = |(name, schema): (&windlass_definition::value::Key, &Value)| Field {
        name: name.as_text().into_owned(),
        required: required.iter().any(|it| it.as_str() == Some(&name.as_text())),
        kind: kind(schema, root),
        meaning: meaning(schema),
    };
    let mut fields: Vec<Field> = properties.iter().map(describe).collect();
    fields.sort_by_key(|it| !it.required);
    fields
}

fn meaning(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.replace('\n', " ").replace('|', "\\|")
}

/// The type in a few words: "text", "list of text", "`auto` or `json`".
fn kind(schema: &Value, root: &Value) -> String {
    let definition = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix("#/$defs/"));
    if let Some(schema) = definition.and_then(|name| root.get("$defs")?.get(name)) {
        return kind(schema, root);
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", value.to_text());
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_list) {
        return alternatives(values.iter().filter(|it| !it.is_null()).map(|it| format!("`{}`", it.to_text())));
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(schemas) = schema.get(key).and_then(Value::as_list) {
            return alternatives(schemas.iter().filter(|it| !is_null_type(it)).map(|it| kind(it, root)));
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => type_words(name, schema, root),
        Some(Value::List(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|it| *it != "null");
            alternatives(names.map(|name| type_words(name, schema, root)))
        }
        _ => "any".to_owned(),
    }
}

fn is_null_type(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

fn type_words(name: &str, schema: &Value, root: &Value) -> String {
    let of = |part: &str| schema.get(part).filter(|it| it.as_map().is_some()).map(|it| kind(it, root));
    match name {
        "string" if schema.get("x-windlass").and_then(Value::as_str) == Some("duration") => "duration".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "array" => of("items").map_or_else(|| "list".to_owned(), |it| format!("list of {it}")),
        "object" => of("additionalProperties").map_or_else(|| "map".to_owned(), |it| format!("map of {it}")),
        other => other.to_owned(),
    }
}

fn alternatives(words: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen.join(" or ")
}

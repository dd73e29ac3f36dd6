//! The API as its OpenAPI document describes it: every operation, and a body that it takes.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

/// What an operation says for which rights on a folder or a workflow are enough.
const WITHIN: &str = "x-within";
/// How deep schemas may refer to each other.
const DEPTH_MAX: u32 = 16;
/// What a path of the document begins with and a client adds by itself.
const ROOT: &str = "/api/v1";
/// What stands beside it, for identity providers.
pub const SCIM: &str = "/scim/";
/// An id that nothing has.
pub const NO_ID: &str = "019aa7d0-0000-7000-8000-000000000000";

/// The document.
pub struct Api {
    document: Value,
}

/// A route and a verb.
#[derive(Debug, Clone)]
pub struct Operation {
    /// `GET`, `POST`, …
    pub method: String,
    /// Its name, which is also that of its tool.
    pub id: String,
    /// With braces: `/runs/{id}/cancel`; those outside the API's root have none of the API's.
    pub path: String,
    /// Whether it stands under the API's root, or is for identity providers.
    pub is_api: bool,
    /// Whether it asks for a token.
    pub is_guarded: bool,
    /// Whether everybody may do it who comes in at all.
    pub is_for_all: bool,
    /// Whether rights on a folder or a workflow are enough.
    pub is_within: bool,
    /// A body that it takes; null when it takes none.
    pub body: Value,
}

impl Operation {
    /// The noun of its path, which stands before the key: `runs`.
    pub fn noun(&self) -> &str {
        let mut before = self.path.split('/').skip(1).take_while(|part| !part.starts_with('{'));
        if self.has_key() { before.last().unwrap_or_default() } else { before.next().unwrap_or_default() }
    }

    /// Its path with that key for the first name in braces. Others get what exists nowhere but has the right form.
    pub fn with_key(&self, key: &str) -> String {
        let mut first = Some(key);
        self.path.split('/').map(|part| filled_in(part, &mut first)).collect::<Vec<_>>().join("/")
    }

    /// The arguments of its tool that ask for the same.
    pub fn arguments(&self, key: &str) -> Value {
        let mut first = Some(key);
        let mut arguments = Map::new();
        for part in self.path.split('/').filter(|part| part.starts_with('{')) {
            let name = part.trim_matches(['{', '}']).to_owned();
            arguments.insert(name, json!(filled_in(part, &mut first)));
        }
        if !self.body.is_null() {
            arguments.insert("body".to_owned(), self.body.clone());
        }
        Value::Object(arguments)
    }

    /// Whether its path names a thing.
    pub fn has_key(&self) -> bool {
        self.path.contains('{')
    }
}

/// A part of a path, or what stands for it.
fn filled_in<'a>(part: &'a str, first: &mut Option<&'a str>) -> &'a str {
    match part {
        "{version}" => "1",
        "{name}" | "{path}" => first.take().unwrap_or("ready"),
        _ if part.starts_with('{') => first.take().unwrap_or(NO_ID),
        _ => part,
    }
}

impl Api {
    /// Of the document that a server gives out.
    pub fn new(document: Value) -> Api {
        Api { document }
    }

    /// Every operation, in the document's order.
    ///
    /// # Errors
    /// The document is not of its form.
    pub fn operations(&self) -> Result<Vec<Operation>> {
        let mut operations = Vec::new();
        for (path, item) in self.document["paths"].as_object().context("no paths")? {
            for (method, operation) in item.as_object().context("no operations")? {
                if !matches!(method.as_str(), "get" | "put" | "post" | "patch" | "delete") {
                    continue;
                }
                let schema = &operation["requestBody"]["content"]["application/json"];
                let body = match (schema.get("example"), schema.get("schema")) {
                    (Some(example), _) => example.clone(),
                    (None, Some(schema)) => self.sample(schema, 0).with_context(|| format!("{method} {path}"))?,
                    (None, None) => Value::Null,
                };
                operations.push(Operation {
                    method: method.to_uppercase(),
                    is_api: path.starts_with(ROOT) || path.starts_with(SCIM),
                    path: path.strip_prefix(ROOT).unwrap_or(path).to_owned(),
                    id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
                    is_for_all: operation["security"].to_string().contains("\"me.read\""),
                    is_within: operation[WITHIN] == true,
                    is_guarded: operation["security"].as_array().is_some_and(|it| !it.is_empty()),
                    body,
                });
            }
        }
        Ok(operations)
    }

    /// The smallest value that a schema takes, of those that people would write.
    fn sample(&self, schema: &Value, depth: u32) -> Result<Value> {
        if depth > DEPTH_MAX {
            bail!("its schema refers to itself");
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let found = self.document.pointer(reference.trim_start_matches('#'));
            return self.sample(found.with_context(|| format!("{reference} is not there"))?, depth + 1);
        }
        for known in ["const", "example", "default"] {
            if let Some(value) = schema.get(known) {
                return Ok(value.clone());
            }
        }
        if let Some(first) = schema["enum"].get(0).or_else(|| schema["examples"].get(0)) {
            return Ok(first.clone());
        }
        if let Some(first) = schema["oneOf"].get(0).or_else(|| schema["anyOf"].get(0)) {
            return self.sample(first, depth + 1);
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"].get(0).and_then(Value::as_str));
        Ok(match kind {
            Some("object") => {
                let mut object = Map::new();
                for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    object.insert(name.to_owned(), self.sample(&schema["properties"][name], depth + 1)?);
                }
                Value::Object(object)
            }
            Some("array") if schema["minItems"].as_u64() > Some(0) => {
                json!([self.sample(&schema["items"], depth + 1)?])
            }
            Some("array") => json!([]),
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(false),
            Some("string") => match schema["format"].as_str() {
                Some("uuid") => json!(NO_ID),
                Some("date-time") => json!("2030-01-01T00:00:00Z"),
                _ => json!("x".repeat(schema["minLength"].as_u64().unwrap_or(1).max(1) as usize)),
            },
            _ => json!({}),
        })
    }
}

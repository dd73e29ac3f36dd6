//! Tools made of the OpenAPI document: a name, what it does, the schema of its input, and the request that it stands for.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::ToolRequest;
use crate::{auth::Far, features::Feature, routes::API};

/// Where the document keeps its schemas, and where an input keeps its own.
const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/$defs/";
/// The argument that is the request's body.
const BODY: &str = "body";
/// What is done to things that are there and takes nothing away.
const ADDING: [&str; 9] = ["publish", "runs", "signals", "restore", "check", "test", "claim", "heartbeat", "events"];

/// All tools.
#[derive(Debug)]
pub struct Tools(Vec<Known>);

/// A tool, and the operation behind it.
#[derive(Debug)]
struct Known {
    tool: Tool,
    permission: String,
    far: Far,
    feature: Option<Feature>,
    method: Method,
    path: String,
    /// Arguments that go into the query.
    query: Vec<String>,
    /// Arguments that are headers, by the header.
    headers: Vec<(String, HeaderName)>,
    takes_body: bool,
}

impl Tools {
    /// One for each operation of the document that needs a permission, takes and gives nothing but JSON (files, exports and
    /// streams are for programs), and gives no token: what a model is told, others may read.
    pub fn of(document: &Value) -> Tools {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            let Some(path) = path.strip_prefix(API) else { continue };
            for (method, operation) in item.as_object().into_iter().flatten() {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                all.extend(Known::of(document, (method, path), operation));
            }
        }
        all.sort_by(|a, b| a.tool.name.cmp(&b.tool.name));
        Tools(all)
    }

    /// Those that the caller may use, by their permission and the feature that they belong to.
    pub fn list(&self, listed: impl Fn((&str, Far), Option<Feature>) -> bool) -> Vec<Tool> {
        let listed = |known: &&Known| listed((&known.permission, known.far), known.feature);
        self.0.iter().filter(listed).map(|known| known.tool.clone()).collect()
    }

    /// The one of that name.
    pub fn tool(&self, name: &str) -> Option<Tool> {
        self.known(name).map(|known| known.tool.clone())
    }

    /// The request that a call stands for. Whether its values are right is the API's to say.
    ///
    /// # Errors
    /// There is no such tool, or no such argument, or one that names the thing is missing.
    pub fn request(&self, name: &str, arguments: &JsonObject) -> Result<ToolRequest, String> {
        let known = self.known(name).ok_or_else(|| format!("there is no tool `{name}`"))?;
        known.request(arguments)
    }

    fn known(&self, name: &str) -> Option<&Known> {
        self.0.binary_search_by(|known| (*known.tool.name).cmp(name)).ok().map(|at| &self.0[at])
    }
}

impl Known {
    fn of(document: &Value, (method, path): (Method, &str), operation: &Value) -> Option<Known> {
        let permission = operation["security"][0]["token"][0].as_str()?.to_owned();
        let name = operation["operationId"].as_str()?.to_owned();
        if !speaks_json(operation) || gives_token(document, operation) {
            return None;
        }
        let mut input = Map::new();
        let mut required = Vec::new();
        let (mut query, mut headers) = (Vec::new(), Vec::new());
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str()?;
            let argument = match parameter["in"].as_str()? {
                "query" => {
                    query.push(name.to_owned());
                    name.to_owned()
                }
                "header" => {
                    let argument = name.to_lowercase().replace('-', "_");
                    headers.push((argument.clone(), name.parse().ok()?));
                    argument
                }
                _ => name.to_owned(),
            };
            let mut schema = parameter["schema"].clone();
            if let (Some(text), Some(schema)) = (parameter["description"].as_str(), schema.as_object_mut()) {
                schema.insert("description".to_owned(), text.into());
            }
            if parameter["required"] == true {
                required.push(argument.clone());
            }
            input.insert(argument, schema);
        }
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        if !body.is_null() {
            if operation["requestBody"]["required"] != false {
                required.push(BODY.to_owned());
            }
            input.insert(BODY.to_owned(), body.clone());
        }
        let mut schema = json!({ "type": "object", "properties": input });
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        // Filters of lists have operators, which the API describes in words: `created_at.gte`.
        if method != Method::GET {
            schema["additionalProperties"] = false.into();
        }
        let Value::Object(schema) = with_definitions(document, schema) else { return None };
        let summary = operation["description"].as_str().or(operation["summary"].as_str()).unwrap_or_default();
        let description = format!("{} ({method} {path}; permission {permission})", summary.trim_end_matches('.'));
        let tool = Tool::new(name, description, Arc::new(schema)).with_annotations(hints(&method, path));
        let takes_body = !body.is_null();
        let feature = Feature::of_route(path);
        let far = Far::of(operation);
        Some(Known { tool, permission, far, feature, method, path: path.to_owned(), query, headers, takes_body })
    }

    fn request(&self, arguments: &JsonObject) -> Result<ToolRequest, String> {
        let mut path = String::new();
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for part in self.path.split('/').skip(1) {
            path.push('/');
            match part.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
                None => path.push_str(part),
                Some(name) => {
                    let value = arguments.get(name).filter(|it| !it.is_null() && it.as_str() != Some(""));
                    let value = value.ok_or_else(|| format!("the argument `{name}` is missing"))?;
                    escape(&plain(value), &mut path);
                    used.insert(name);
                }
            }
        }
        let mut headers = HeaderMap::new();
        for (name, header) in &self.headers {
            let Some(value) = arguments.get(name).filter(|it| !it.is_null()) else { continue };
            let value =
                HeaderValue::from_str(&plain(value)).map_err(|_| format!("`{name}` does not fit into a header"))?;
            headers.insert(header.clone(), value);
            used.insert(name);
        }
        let body = arguments.get(BODY).filter(|_| self.takes_body);
        used.extend(body.map(|_| BODY));
        let mut sign = '?';
        for (name, value) in arguments.iter().filter(|(name, value)| !used.contains(&***name) && !value.is_null()) {
            if self.method != Method::GET && !self.query.contains(name) {
                return Err(format!("there is no argument `{name}`"));
            }
            let values = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
            for value in values {
                path.push(std::mem::replace(&mut sign, '&'));
                escape(name, &mut path);
                path.push('=');
                escape(&plain(value), &mut path);
            }
        }
        Ok(ToolRequest { method: self.method.clone(), path, headers, body: body.cloned() })
    }
}

/// What a client may want to know before it lets a model use a tool.
fn hints(method: &Method, path: &str) -> ToolAnnotations {
    let verb = path.rsplit('/').next().unwrap_or_default();
    let makes = *method == Method::POST && (path.matches('/').count() == 1 || ADDING.contains(&verb));
    let reads = *method == Method::GET;
    ToolAnnotations::new()
        .read_only(reads)
        .destructive(!reads && !makes)
        .idempotent(matches!(*method, Method::GET | Method::PUT | Method::DELETE))
        // What a run does is up to its workflow, and so is whom it asks.
        .open_world(!reads && (path.contains("/runs") || verb == "test"))
}

/// A schema with those that it refers to beside it.
fn with_definitions(document: &Value, mut schema: Value) -> Value {
    let mut definitions = Map::new();
    let mut missing = BTreeSet::new();
    take_references(&mut schema, &mut missing);
    while let Some(name) = missing.pop_first() {
        if definitions.contains_key(&name) {
            continue;
        }
        let mut found = document["components"]["schemas"][&name].clone();
        take_references(&mut found, &mut missing);
        definitions.insert(name, found);
    }
    if !definitions.is_empty() {
        schema["$defs"] = definitions.into();
    }
    schema
}

/// Turns references into the document into such to definitions, and notes their names.
fn take_references(schema: &mut Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|it| take_references(it, names)),
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(COMPONENTS).map(str::to_owned)
            {
                *reference = format!("{DEFINITIONS}{name}");
                names.insert(name);
            }
            map.values_mut().for_each(|it| take_references(it, names));
        }
        _ => {}
    }
}

/// Whether an operation takes JSON or nothing, and gives JSON or nothing.
fn speaks_json(operation: &Value) -> bool {
    let mut contents = given(operation).chain([&operation["requestBody"]["content"]]).filter_map(Value::as_object);
    // An export is a file, also where that is of JSON.
    contents.all(|content| content.contains_key("application/json") && !content.contains_key("application/jsonl"))
}

/// Whether an answer holds what nobody but the caller is to read.
fn gives_token(document: &Value, operation: &Value) -> bool {
    given(operation).any(|content| {
        let schema = &content["application/json"]["schema"];
        let name = schema["$ref"].as_str().and_then(|it| it.strip_prefix(COMPONENTS));
        let schema = name.map_or(schema, |name| &document["components"]["schemas"][name]);
        schema["properties"].as_object().is_some_and(|it| it.values().any(is_kept_secret))
    })
}

/// Whether a field, or each item of a list, is a password.
fn is_kept_secret(field: &Value) -> bool {
    [field, &field["items"]].iter().any(|it| it["format"] == "password")
}

/// What the successes of an operation hold, by its media type.
fn given(operation: &Value) -> impl Iterator<Item = &Value> {
    let answers = operation["responses"].as_object().into_iter().flatten();
    answers.filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| &answer["content"])
}

/// A value as paths, queries and headers have it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Everything is escaped that is not plain; a part of a path is never `.` or `..`.
fn escape(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => into.push(char::from(byte)),
            b'.' if text != "." && text != ".." => into.push('.'),
            // Writing into a text cannot fail.
            byte => drop(write!(into, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_resource::Operation;

    use super::*;

    fn tools() -> Tools {
        Tools::of(&serde_json::to_value(crate::document()).unwrap())
    }

    fn path(name: &str, arguments: Value) -> Result<String, String> {
        let Value::Object(arguments) = arguments else { panic!("no object") };
        tools().request(name, &arguments).map(|it| format!("{} {}", it.method, it.path))
    }

    #[test]
    fn every_operation_is_a_tool_that_clients_take() {
        let tools = tools();
        let document = serde_json::to_value(crate::document()).unwrap();
        let below = document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with(API));
        let operations = below.flat_map(|(_, item)| item.as_object().unwrap().values());
        let guarded = operations.filter(|it| it["security"][0]["token"].is_array()).count();
        let streams = ["run_events", "upload_file", "upload_version", "get_content", "prove_audit", "answer_on_page"];
        let tokens = ["make_key", "invite", "impersonate", "make_link", "begin_second_factor", "confirm_second_factor"];
        let others = ["make_secret", "answer_request", "delegate", "enter_delegation"];
        let others = [&streams[..], &tokens, &others].concat();
        let operations = windlass_resource::records::ALL.iter().flat_map(|it| it.operations());
        let exports = operations.filter(|it| matches!(it, Operation::Export));
        assert_eq!(tools.0.len(), guarded - exports.count() - others.len());
        assert!(others.iter().all(|other| tools.tool(other).is_none()));
        for known in &tools.0 {
            let name = &*known.tool.name;
            assert!(name.len() <= 64 && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_'), "{name}");
            let schema = serde_json::to_string(&*known.tool.input_schema).unwrap();
            assert!(!schema.contains(COMPONENTS), "{name}: {schema}");
            assert_eq!(known.tool.input_schema["type"], "object", "{name}");
            assert_eq!(known.tool.annotations.as_ref().unwrap().read_only_hint, Some(known.method == Method::GET));
        }
        assert!(tools.0.windows(2).all(|two| two[0].tool.name < two[1].tool.name), "two tools of one name");
        assert!(tools.list(|(permission, _), _| permission == "runs.read").iter().all(|it| it.name != "start_run"));
        assert!(tools.list(|_, feature| feature == Some(Feature::Files)).iter().any(|it| it.name == "list_files"));
    }

    #[test]
    fn calls_become_requests() {
        let folder = "019aa7d0-0000-7000-8000-000000000001";
        for (name, arguments, wanted) in [
            (
                "list_folders",
                json!({ "name": "a b&c", "created_at.gte": "2026-01-01", "limit": 5 }),
                Ok("GET /folders?created_at.gte=2026-01-01&limit=5&name=a%20b%26c"),
            ),
            ("get_folder", json!({ "id": folder }), Ok("GET /folders/019aa7d0-0000-7000-8000-000000000001")),
            ("get_folder", json!({ "id": "../workflows" }), Ok("GET /folders/..%2Fworkflows")),
            ("get_folder", json!({ "id": ".." }), Ok("GET /folders/%2E%2E")),
            ("get_folder", json!({}), Err("the argument `id` is missing")),
            ("get_folder", json!({ "id": "" }), Err("the argument `id` is missing")),
            ("delete_folder", json!({ "id": "1", "force": true }), Err("there is no argument `force`")),
            ("no_tool", json!({}), Err("there is no tool `no_tool`")),
        ] {
            let wanted = wanted.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(path(name, arguments), wanted, "{name}");
        }
        let Value::Object(arguments) = json!({ "id": folder, "if_match": "\"3\"", "body": { "name": "x" } }) else {
            return;
        };
        let request = tools().request("update_folder", &arguments).unwrap();
        assert_eq!(
            (&request.headers["if-match"], request.body),
            (&HeaderValue::from_static("\"3\""), Some(json!({ "name": "x" })))
        );
    }
}

//! SCIM 2.0 (RFC 7643, RFC 7644): an identity provider tells by itself who is in a tenant, and in which groups.
//!
//! Invariant: what answers here is told in SCIM's own form, errors too, for its clients read nothing else; and a caller sees
//! and changes what its provider has provisioned, and nothing else.

pub mod attributes;
pub mod filter;
pub mod patch;
pub mod resource;
pub mod shapes;

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value as Json, json};

use crate::{
    extract::{is_json, media_type, read_bounded, unsupported_media_type},
    json,
    problem::Problem,
    reply::{self, Reply},
};

/// Where it begins.
pub const ROOT: &str = "/scim/v2";
/// The media type of all of it.
pub const SCIM_JSON: &str = "application/scim+json";
/// Bytes of a body.
const BODY_BYTES_MAX: usize = 1 << 20;
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// Our codes, and what SCIM calls them (RFC 7644, table 9).
const TYPES: &[(&str, &str)] = &[
    ("invalid_body", "invalidSyntax"),
    ("invalid_filter", "invalidFilter"),
    ("invalid_input", "invalidValue"),
    ("invalid_json", "invalidSyntax"),
    ("invalid_path", "invalidPath"),
    ("invalid_query", "invalidValue"),
    ("invalid_syntax", "invalidSyntax"),
    ("invalid_value", "invalidValue"),
    ("no_target", "noTarget"),
    ("not_mutable", "mutability"),
    ("nul", "invalidSyntax"),
    ("taken", "uniqueness"),
    ("too_many", "tooMany"),
];

/// 400: a value is not what its attribute takes.
pub fn invalid_value(detail: String) -> Problem {
    Problem::bad_request("invalid_value", detail)
}

/// Whether an address is one of SCIM's.
pub fn is_here(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A problem in SCIM's form, with the id of the request.
pub fn error(problem: &Problem, request_id: &str) -> Response {
    // It knows no 422.
    let status = match problem.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    let mut body = json!({
        "schemas": [ERROR], "status": status.as_u16().to_string(), "detail": problem.detail(),
        "requestId": request_id,
    });
    let kind = TYPES.iter().find(|(code, _)| *code == problem.code());
    if let Some((_, kind)) = kind.filter(|_| matches!(status, StatusCode::BAD_REQUEST | StatusCode::CONFLICT)) {
        body["scimType"] = json!(kind);
    }
    problem.respond((status, SCIM_JSON), body.to_string().into_bytes())
}

/// An answer with this as JSON.
///
/// # Errors
/// As [`reply::json`].
pub fn answer(status: StatusCode, view: &Json) -> Reply {
    let mut response = reply::json(status, view)?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(SCIM_JSON));
    Ok(response)
}

/// A list of that many, of which these are shown.
pub fn list(total: u64, start: u64, items: Vec<Json>) -> Json {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total, "startIndex": start, "itemsPerPage": items.len(), "Resources": items,
    })
}

/// What this server can do of SCIM.
pub fn configuration() -> Json {
    let supported = |it: bool| json!({ "supported": it });
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": supported(true),
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": RESULTS_MAX },
        "changePassword": supported(false), "sort": supported(false), "etag": supported(true),
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "API key", "primary": true,
            "description": "An API key that is bound to an identity provider, as `Authorization: Bearer …`.",
        }],
        "meta": { "resourceType": "ServiceProviderConfig", "location": format!("{ROOT}/ServiceProviderConfig") },
    })
}

/// Resources of one answer at most.
pub const RESULTS_MAX: u32 = 200;

/// A body: an object.
#[derive(Debug)]
pub struct ScimBody(pub Map<String, Json>);

impl<S: Send + Sync> FromRequest<S> for ScimBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<ScimBody, Problem> {
        if let Some(found) = media_type(request.headers()).filter(|it| !is_json(it)) {
            return Err(unsupported_media_type(&found, SCIM_JSON));
        }
        let bytes = read_bounded(request, BODY_BYTES_MAX).await?;
        let json::Json(body) = json::read(&bytes)?;
        match serde_json::to_value(&body) {
            Ok(Json::Object(map)) => Ok(ScimBody(map)),
            _ => Err(Problem::bad_request("invalid_syntax", "the body is a JSON object")),
        }
    }
}

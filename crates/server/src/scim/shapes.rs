//! What SCIM's routes take and give, for the API's description; bodies are read by [`super::attributes`].

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Which ones, and what of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub struct ScimQuery {
    /// A filter of RFC 7644, section 3.4.2.2: `userName eq "ada@example.org"`.
    pub filter: Option<String>,
    /// The first of those that are shown, from 1.
    pub start_index: Option<i64>,
    /// How many are shown, 200 at most.
    pub count: Option<i64>,
    /// Attributes of the answer, with commas between; `id` is always there.
    pub attributes: Option<String>,
    /// Attributes that are left out.
    pub excluded_attributes: Option<String>,
}

/// What of it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", default)]
#[into_params(parameter_in = Query)]
pub struct ShapeQuery {
    /// Attributes of the answer, with commas between; `id` is always there.
    pub attributes: Option<String>,
    /// Attributes that are left out.
    pub excluded_attributes: Option<String>,
}

/// A user, as RFC 7643 has it: these are the attributes that count here, and others are kept.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the body is read by its schema")]
#[schema(rename_all = "camelCase", example = json!({
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.org", "externalId": "00u1",
    "name": { "givenName": "Ada", "familyName": "Lovelace" }, "active": true,
}))]
pub struct ScimUser {
    /// What the provider calls the person.
    #[schema(min_length = 1)]
    user_name: String,
    /// What the provider knows the person by.
    external_id: Option<String>,
    /// What people call the person.
    display_name: Option<String>,
}

/// A group, as RFC 7643 has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the body is read by its schema")]
#[schema(rename_all = "camelCase", example = json!({
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Builders", "members": [],
}))]
pub struct ScimGroup {
    /// Its name.
    #[schema(min_length = 1)]
    display_name: String,
    /// What the provider knows it by.
    external_id: Option<String>,
}

/// What is changed, as RFC 7644 has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the body is read by hand")]
#[schema(rename_all = "PascalCase", example = json!({
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{ "op": "replace", "path": "displayName", "value": "Ada" }],
}))]
pub struct ScimPatch {
    /// One after the other: `op` is `add`, `replace` or `remove`.
    #[schema(min_items = 1)]
    operations: Vec<ScimOperation>,
}

/// One change.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the body is read by hand")]
pub struct ScimOperation {
    /// `add`, `replace` or `remove`, in letters of any case.
    #[schema(example = "replace", pattern = "^([aA][dD][dD]|[rR][eE][pP][lL][aA][cC][eE]|[rR][eE][mM][oO][vV][eE])$")]
    op: String,
    /// Of what: `emails[type eq \"work\"].value`.
    path: Option<String>,
}

/// A resource, as RFC 7643 has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: answers are written by their schema")]
pub struct ScimResource {
    /// What it is.
    schemas: Vec<String>,
    /// Its id.
    id: String,
}

/// Resources, as RFC 7644 has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: answers are written by hand")]
#[schema(rename_all = "camelCase")]
pub struct ScimList {
    /// What it is.
    schemas: Vec<String>,
    /// How many there are.
    total_results: u64,
    /// The first that is shown, from 1.
    start_index: u64,
    /// How many are shown.
    items_per_page: u64,
    /// These.
    #[schema(rename = "Resources")]
    resources: Vec<ScimResource>,
}

/// What this server can do of SCIM.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: the answer is written by hand")]
pub struct ScimConfiguration {
    /// What it is.
    schemas: Vec<String>,
}

/// What went wrong, as RFC 7644 has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the API's description: answers are written by hand")]
#[schema(rename_all = "camelCase")]
pub struct ScimError {
    /// What it is.
    schemas: Vec<String>,
    /// The HTTP status.
    status: String,
    /// The kind of it, where RFC 7644 knows one.
    scim_type: Option<String>,
    /// What went wrong and what to do, for people.
    detail: String,
    /// The id of the request, as in the answer's `x-request-id` header and in the log.
    request_id: String,
}

//! The OpenAPI document: what stands in it beside the routes.

pub mod schema;

use utoipa::{
    OpenApi,
    openapi::{
        Components, Ref, RefOr, Schema,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    problem::{FieldError, ProblemDocument},
    scim::shapes::ScimError,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Windlass",
        description = "Workflows that never lose their place. Every answer that is not a success is a problem \
            document (RFC 9457) with a stable `code`. Lists are pages: `?limit=&after=`, and `next` in the answer. \
            Each route names the permission that its token needs.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(
        ProblemDocument,
        ScimError,
        FieldError,
        schema::Workflow,
        schema::Version,
        schema::Run,
        schema::RunSummary,
        schema::RunOrigin,
        schema::Undo,
        schema::Step,
        schema::StepError,
        schema::JournalEntry,
        schema::Approval,
        schema::Task,
        schema::ClaimedTask,
    ))
)]
struct Base;

/// The document without its routes.
pub fn base() -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token.")).build();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme("token", SecurityScheme::Http(scheme));
    document
}

/// The properties that a schema of the document lists, for the test that compares them with what is really answered.
pub fn properties(document: &utoipa::openapi::OpenApi, name: &str) -> Vec<String> {
    let schemas = document.components.as_ref().map(|it| &it.schemas);
    match schemas.and_then(|schemas| schemas.get(name)) {
        Some(RefOr::T(Schema::Object(object))) => object.properties.keys().cloned().collect(),
        Some(RefOr::Ref(Ref { ref_location, .. })) => vec![ref_location.clone()],
        _ => Vec::new(),
    }
}

//! What programs read to know the API and the language: OpenAPI, step types, the schema of documents.

use axum::{extract::State, response::Response};
use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;
use windlass_definition::{
    Value,
    step_type::{Family, StepType},
};

use crate::{
    app::App,
    auth::{SchemaRead, Within},
    openapi::schema,
    reply::{self, Reply},
};

/// This API as an OpenAPI 3.1 document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "schema", responses((status = 200, body = schema::Json)))]
pub async fn openapi() -> Response {
    reply::text("application/json", super::SERVED.clone())
}

/// A step type, as editors need it.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepTypeView<'a> {
    /// The word after `type:`.
    pub name: &'a str,
    /// `control`, `waiting`, `pure` or `doing`.
    pub family: &'static str,
    /// For people, in Markdown.
    pub documentation: &'a str,
    /// JSON Schema of `with`.
    #[schema(value_type = schema::Json)]
    pub with: &'a Value,
    /// JSON Schema of the output.
    #[schema(value_type = schema::Json)]
    pub output: &'a Value,
}

/// The step types of this server.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepTypeList<'a> {
    /// By name.
    pub items: Vec<StepTypeView<'a>>,
}

impl<'a> From<&'a StepType> for StepTypeView<'a> {
    fn from(it: &'a StepType) -> StepTypeView<'a> {
        let family = match it.family {
            Family::Control => "control",
            Family::Waiting => "waiting",
            Family::Pure => "pure",
            Family::Doing => "doing",
        };
        let (with, output) = (&it.with_schema, &it.output_schema);
        StepTypeView { name: it.name, family, documentation: it.documentation, with, output }
    }
}

/// List the step types that documents may use on this server.
#[utoipa::path(get, path = "/step-types", tag = "schema", responses((status = 200, body = StepTypeList)))]
pub async fn list_step_types(caller: Within<SchemaRead>, State(app): State<App>) -> Reply {
    let _caller = caller.anywhere();
    let types = app.runtime().step_types();
    reply::ok(&StepTypeList { items: types.iter().filter(|it| !it.hidden).map(StepTypeView::from).collect() })
}

/// The JSON Schema of workflow documents, with this server's step types.
#[utoipa::path(get, path = "/schema/workflow", tag = "schema", responses((status = 200, body = schema::Json)))]
pub async fn workflow_schema(caller: Within<SchemaRead>, State(app): State<App>) -> Reply {
    let _caller = caller.anywhere();
    reply::ok(&windlass_definition::schema::json_schema(app.runtime().step_types()))
}

/// What callers write of a record, for those who make forms of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordSchema {
    /// Its name: that of its table.
    pub name: &'static str,
    /// One of it, for people.
    pub noun: &'static str,
    /// The part of its addresses behind `/api/v1/`.
    pub place: String,
    /// What it is, for people.
    pub documentation: &'static str,
    /// Fields in their order, each with its widget, its label and its bounds.
    #[schema(value_type = schema::Json)]
    pub form: Json,
    /// JSON Schema of a body that makes one.
    #[schema(value_type = schema::Json)]
    pub new: Json,
    /// JSON Schema of a body that changes one.
    #[schema(value_type = schema::Json)]
    pub change: Json,
}

/// All records.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordSchemas {
    /// In the order in which they refer to each other.
    pub items: Vec<RecordSchema>,
}

/// List the records, with the form of each and the schemas of what is sent.
#[utoipa::path(get, path = "/schema/records", tag = "schema", responses((status = 200, body = RecordSchemas)))]
pub async fn record_schemas(caller: Within<SchemaRead>, State(app): State<App>) -> Reply {
    let _caller = caller.anywhere();
    let items = app.store().records().iter().map(|record| RecordSchema {
        name: record.name,
        noun: record.noun,
        place: record.slug(),
        documentation: record.doc,
        form: windlass_resource::schema::form(record),
        new: windlass_resource::schema::new(record),
        change: windlass_resource::schema::change(record),
    });
    reply::ok(&RecordSchemas { items: items.collect() })
}

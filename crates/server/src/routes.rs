//! The routes: one file per noun, and one list of everything.

mod approvals;
mod audit;
mod events;
mod export;
mod files;
mod health;
mod oidc;
mod people;
mod records;
mod runs;
mod schema;
mod second_factor;
mod settings;
mod sign_in;
mod start;
mod state;
mod stream;
mod tasks;
mod vault;
mod workflows;

use std::sync::LazyLock;

use axum::{Router, body::Bytes, http::StatusCode, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder, path::Operation, security::SecurityRequirement};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::{app::App, auth::Guarded, edge, mcp, openapi, problem::PROBLEM_JSON};

/// Where the API begins.
pub const API: &str = "/api/v1";

/// The whole application over `app`.
pub fn router(app: &App) -> Router {
    let (router, _) = parts();
    let api = router.nest(API, records::router(app.store().records())).with_state(app.clone());
    let api = around(app, api.fallback(|| async { crate::problem::Problem::of_status(StatusCode::NOT_FOUND) }));
    // A tool is a request to the API: it comes in by the same door.
    let tools = around(app, mcp::router(app, api.clone()));
    api.merge(tools)
}

/// What stands around every route.
fn around(app: &App, router: Router) -> Router {
    router
        .layer(CatchPanicLayer::custom(edge::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), edge::around))
}

/// The OpenAPI document of every route.
pub fn document() -> OpenApi {
    let mut document = parts().1;
    records::describe(&mut document, API, windlass_resource::records::ALL);
    document
}

/// The OpenAPI document as it is served: made when somebody asks, for it takes as long as the rest of a start.
static SERVED: LazyLock<Bytes> = LazyLock::new(|| {
    // The document is made of our own types: it always has a JSON form.
    serde_json::to_vec(&document()).unwrap_or_default().into()
});

/// One route that needs a permission. A handler that names none does not compile.
macro_rules! route {
    ($router:ident, $handler:path) => {
        let $router = $router.routes(guard(utoipa_axum::routes!($handler), permission_of(&$handler)));
    };
}

/// The permission that a handler's type names.
fn permission_of<H: axum::handler::Handler<T, App>, T: Guarded>(_: &H) -> &'static str {
    T::PERMISSION
}

/// Writes into the document what holds for every guarded route: its permission, and the form of its problems.
fn guard(route: UtoipaMethodRouter<App>, permission: &str) -> UtoipaMethodRouter<App> {
    let security = vec![SecurityRequirement::new("token", [permission])];
    each_operation(route, |operation| {
        operation.security = Some(security.clone());
        with_problem(operation);
    })
}

fn each_operation(
    (schemas, mut paths, router): UtoipaMethodRouter<App>,
    mut change: impl FnMut(&mut Operation),
) -> UtoipaMethodRouter<App> {
    for item in paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        operations.into_iter().flatten().for_each(&mut change);
    }
    (schemas, paths, router)
}

fn with_problem(operation: &mut Operation) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDocument"))).build();
    let response = ResponseBuilder::new().description("A problem.").content(PROBLEM_JSON, content).build();
    operation.responses.responses.insert("default".to_owned(), response.into());
}

fn parts() -> (Router<App>, OpenApi) {
    OpenApiRouter::with_openapi(openapi::base()).merge(public()).nest(API, guarded()).split_for_parts()
}

/// The routes that need no token: the whole list.
fn public() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(utoipa_axum::routes!(health::livez))
        .routes(utoipa_axum::routes!(health::readyz))
        .routes(utoipa_axum::routes!(schema::openapi))
        .nest(API, comers())
        .merge(metrics())
}

/// The ways in, and what a link gives: whoever comes by them has no token.
fn comers() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(each_operation(utoipa_axum::routes!(sign_in::sign_in), with_problem))
        .routes(each_operation(utoipa_axum::routes!(people::accept), with_problem))
        .routes(each_operation(utoipa_axum::routes!(oidc::list_providers), with_problem))
        .routes(each_operation(utoipa_axum::routes!(oidc::begin_oidc), with_problem))
        .routes(each_operation(utoipa_axum::routes!(oidc::end_oidc), with_problem))
        .routes(each_operation(utoipa_axum::routes!(oidc::use_ticket), with_problem))
        .routes(each_operation(utoipa_axum::routes!(files::get_shared_file), with_problem))
}

/// The figures need a token too: they tell names of workflows and how busy one is.
fn metrics() -> OpenApiRouter<App> {
    let router = OpenApiRouter::new();
    route!(router, health::metrics);
    router
}

fn guarded() -> OpenApiRouter<App> {
    let router = OpenApiRouter::new();
    route!(router, workflows::list_workflows);
    route!(router, workflows::get_workflow);
    route!(router, workflows::put_workflow);
    route!(router, workflows::publish_workflow);
    route!(router, workflows::list_versions);
    route!(router, workflows::get_version);
    route!(router, workflows::check_workflow);
    route!(router, start::start_run);
    route!(router, runs::list_runs);
    route!(router, runs::get_run);
    route!(router, runs::list_steps);
    route!(router, runs::read_journal);
    route!(router, stream::run_events);
    route!(router, runs::cancel_run);
    route!(router, runs::pause_run);
    route!(router, runs::resume_run);
    route!(router, runs::rerun_run);
    route!(router, runs::fork_run);
    route!(router, runs::undo_run);
    route!(router, runs::settle_step);
    route!(router, runs::send_signal);
    route!(router, approvals::list_approvals);
    route!(router, approvals::approve);
    route!(router, approvals::reject);
    route!(router, tasks::list_tasks);
    route!(router, tasks::claim_tasks);
    route!(router, tasks::heartbeat_task);
    route!(router, tasks::complete_task);
    route!(router, tasks::fail_task);
    route!(router, events::publish_event);
    route!(router, vault::vault_status);
    route!(router, vault::rotate_vault);
    route!(router, vault::test_credential);
    route!(router, state::list_state);
    route!(router, state::get_value);
    route!(router, state::change_state);
    route!(router, settings::list_settings);
    route!(router, settings::get_setting);
    route!(router, settings::put_setting);
    route!(router, settings::unset_setting);
    route!(router, audit::get_head);
    route!(router, audit::verify_audit);
    route!(router, audit::prove_audit);
    route!(router, files::upload_file);
    route!(router, files::upload_version);
    route!(router, files::get_content);
    route!(router, files::sign_link);
    route!(router, files::get_usage);
    route!(router, sign_in::me);
    route!(router, sign_in::sign_out);
    route!(router, sign_in::sign_out_everywhere);
    route!(router, sign_in::set_password);
    route!(router, sign_in::list_own_sessions);
    route!(router, sign_in::revoke_own_session);
    route!(router, oidc::link_identity);
    route!(router, second_factor::begin_second_factor);
    route!(router, second_factor::confirm_second_factor);
    route!(router, second_factor::end_second_factor);
    route!(router, second_factor::end_second_factor_of);
    route!(router, people::list_permissions);
    route!(router, people::invite);
    route!(router, people::make_link);
    route!(router, people::impersonate);
    route!(router, people::make_key);
    route!(router, schema::list_step_types);
    route!(router, schema::workflow_schema);
    router
}

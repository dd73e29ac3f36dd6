//! The routes: one file per noun, and one list of everything.

mod approvals;
mod audit;
mod authors;
mod delegations;
mod events;
mod export;
mod files;
mod health;
mod oauth;
mod oauth_tokens;
mod oidc;
mod people;
mod records;
mod runs;
mod schema;
mod scim;
mod second_factor;
mod settings;
mod sign_in;
mod start;
mod state;
mod stream;
mod tasks;
mod templates;
mod vault;
mod workflows;

use std::sync::LazyLock;

use axum::{Router, body::Bytes, extract::Request, http::StatusCode, response::Response};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, ResponseBuilder, extensions::ExtensionsBuilder, path::Operation,
    security::SecurityRequirement,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use windlass_resource::openapi::WITHIN;

use crate::{
    app::App,
    auth::{Far, Guarded},
    edge, mcp, openapi,
    problem::PROBLEM_JSON,
    scim::SCIM_JSON,
};

/// Where the API begins.
pub const API: &str = "/api/v1";

/// The whole application: what answers requests.
///
/// What stands around the routes stands around all of them at once, and the routes of the API are not nested: a layer
/// of the router costs each request several allocations as large as all that is inside of it.
#[derive(Clone)]
pub struct Service {
    app: App,
    routes: Router,
}

impl Service {
    /// Over `app`.
    pub fn of(app: &App) -> Service {
        let (router, _) = parts();
        let api = router.merge(records::router(app.store().records())).with_state(app.clone());
        let api = api.fallback(|| async { crate::problem::Problem::of_status(StatusCode::NOT_FOUND) });
        // A tool is a request to the API: it comes in by the same door.
        let tools = mcp::router(app, Service { app: app.clone(), routes: api.clone() });
        Service { app: app.clone(), routes: api.merge(tools) }
    }

    /// Answers one request, whatever happens.
    pub async fn answer(&self, request: Request) -> Response {
        edge::around(&self.app, request, &self.routes).await
    }
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

/// One route of the API that needs a permission. A handler that names none does not compile.
macro_rules! route {
    ($router:ident, $handler:path) => {
        let $router = $router.routes(of_api(guard(utoipa_axum::routes!($handler), needs(&$handler))));
    };
}

/// The permission that a handler's type names, and how far it has to go.
fn needs<H: axum::handler::Handler<T, App>, T: Guarded>(_: &H) -> (&'static str, Far) {
    (T::PERMISSION, T::FAR)
}

/// Writes into the document what holds for every guarded route: its permission, and the form of its problems.
fn guard(route: UtoipaMethodRouter<App>, (permission, far): (&str, Far)) -> UtoipaMethodRouter<App> {
    let security = vec![SecurityRequirement::new("token", [permission])];
    let within = (far == Far::Somewhere).then(|| ExtensionsBuilder::new().add(WITHIN, true).build());
    each_operation(route, |operation| {
        operation.security = Some(security.clone());
        operation.extensions = within.clone();
        with_problem(operation);
    })
}

fn each_operation(
    (schemas, mut paths, router): UtoipaMethodRouter<App>,
    mut change: impl FnMut(&mut Operation),
) -> UtoipaMethodRouter<App> {
    for item in paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().for_each(&mut change);
    }
    (schemas, paths, router)
}

/// The same route where the API is.
fn of_api((schemas, mut paths, router): UtoipaMethodRouter<App>) -> UtoipaMethodRouter<App> {
    paths.paths = paths.paths.into_iter().map(|(path, item)| (format!("{API}{path}"), item)).collect();
    (schemas, paths, router)
}

fn with_problem(operation: &mut Operation) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDocument"))).build();
    let response = ResponseBuilder::new().description("A problem.").content(PROBLEM_JSON, content).build();
    operation.responses.responses.insert("default".to_owned(), response.into());
}

/// One route of SCIM, beside the API: problems have SCIM's own form there.
macro_rules! scim_route {
    ($router:ident, $handler:path) => {
        let $router = $router.routes(guard_scim(utoipa_axum::routes!($handler), needs(&$handler)));
    };
}

fn guard_scim(route: UtoipaMethodRouter<App>, needs: (&'static str, Far)) -> UtoipaMethodRouter<App> {
    each_operation(guard(route, needs), |operation| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ScimError"))).build();
        let response = ResponseBuilder::new().description("An error.").content(SCIM_JSON, content).build();
        operation.responses.responses.insert("default".to_owned(), response.into());
    })
}

fn parts() -> (Router<App>, OpenApi) {
    let router = OpenApiRouter::with_openapi(openapi::base()).merge(public()).merge(guarded());
    router.merge(provisioning()).split_for_parts()
}

/// The routes that need no token, and the figures, which do: they tell names of workflows and how busy one is.
fn public() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(utoipa_axum::routes!(health::livez))
        .routes(utoipa_axum::routes!(health::readyz))
        .routes(utoipa_axum::routes!(schema::openapi))
        .routes(each_operation(utoipa_axum::routes!(oauth_tokens::metadata), with_problem))
        .routes(guard(utoipa_axum::routes!(health::metrics), needs(&health::metrics)))
        .merge(comers())
}

/// One route of the API that whoever comes may ask.
macro_rules! open_route {
    ($router:ident, $handler:path) => {
        let $router = $router.routes(of_api(each_operation(utoipa_axum::routes!($handler), with_problem)));
    };
}

/// The ways in, and what a link gives: whoever comes by them has no token.
fn comers() -> OpenApiRouter<App> {
    let router = OpenApiRouter::new();
    open_route!(router, sign_in::sign_in);
    open_route!(router, people::accept);
    open_route!(router, oidc::list_providers);
    open_route!(router, oidc::begin_oidc);
    open_route!(router, oidc::end_oidc);
    open_route!(router, oidc::use_ticket);
    open_route!(router, files::get_shared_file);
    open_route!(router, oauth::authorize);
    open_route!(router, oauth_tokens::token);
    open_route!(router, oauth_tokens::revoke_token);
    open_route!(router, oauth_tokens::introspect_token);
    router
}

/// What identity providers call.
fn provisioning() -> OpenApiRouter<App> {
    let router = OpenApiRouter::new();
    scim_route!(router, scim::scim_configuration);
    scim_route!(router, scim::scim_resource_types);
    scim_route!(router, scim::scim_resource_type);
    scim_route!(router, scim::scim_schemas);
    scim_route!(router, scim::scim_schema);
    scim_route!(router, scim::scim_list_users);
    scim_route!(router, scim::scim_create_user);
    scim_route!(router, scim::scim_get_user);
    scim_route!(router, scim::scim_replace_user);
    scim_route!(router, scim::scim_patch_user);
    scim_route!(router, scim::scim_delete_user);
    scim_route!(router, scim::scim_list_groups);
    scim_route!(router, scim::scim_create_group);
    scim_route!(router, scim::scim_get_group);
    scim_route!(router, scim::scim_replace_group);
    scim_route!(router, scim::scim_patch_group);
    scim_route!(router, scim::scim_delete_group);
    router
}

fn guarded() -> OpenApiRouter<App> {
    let router = OpenApiRouter::new();
    route!(router, workflows::list_workflows);
    route!(router, workflows::get_workflow);
    route!(router, workflows::put_workflow);
    route!(router, workflows::delete_workflow);
    route!(router, workflows::restore_workflow);
    route!(router, workflows::publish_workflow);
    route!(router, workflows::list_versions);
    route!(router, workflows::get_version);
    route!(router, workflows::check_workflow);
    route!(router, templates::update_workflow);
    route!(router, templates::copy_workflow);
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
    route!(router, oauth::answer_on_page);
    route!(router, oauth::get_request);
    route!(router, oauth::answer_request);
    route!(router, oauth::list_own_consents);
    route!(router, oauth::revoke_own_consent);
    route!(router, oauth::make_secret);
    route!(router, people::list_permissions);
    route!(router, people::invite);
    route!(router, people::make_link);
    route!(router, people::delete_user);
    route!(router, people::impersonate);
    route!(router, people::make_key);
    route!(router, delegations::delegate);
    route!(router, delegations::accept_delegation);
    route!(router, delegations::list_received);
    route!(router, delegations::enter_delegation);
    route!(router, delegations::return_delegation);
    route!(router, schema::list_step_types);
    route!(router, schema::workflow_schema);
    route!(router, schema::record_schemas);
    router
}

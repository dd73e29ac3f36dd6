//! Approvals: what waits for a person, and the decision.

use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use windlass_engine::{event::Verdict, id::ApprovalId, start::Principal};
use windlass_runtime::{ApprovalFilter, DecideRequest};

use crate::{
    app::App,
    auth::{ApprovalsDecide, ApprovalsDecideFor, ApprovalsRead, Authorized, Within},
    extract::{self, BodyOrDefault, PathOf, PathParts, Query},
    json::Json,
    openapi::schema,
    page::PageQuery,
    problem::Problem,
    reply::{self, Reply},
};

const STATUSES: [&str; 5] = ["pending", "approved", "rejected", "expired", "cancelled"];
/// Characters of a name or address of a person.
const PERSON_CHARS_MAX: usize = 200;

/// The id of an approval in an address.
pub struct ApprovalPath(ApprovalId);

impl PathParts for ApprovalPath {
    fn read(parts: &[&str]) -> Result<ApprovalPath, Problem> {
        extract::id(parts.first().copied().unwrap_or_default(), "approval").map(ApprovalPath)
    }
}

/// Which approvals are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ApprovalsQuery {
    /// `pending`, `approved`, `rejected`, `expired` or `cancelled`.
    status: Option<String>,
    /// Rows of a page, 1 to 1,000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List approvals, the newest first.
#[utoipa::path(get, path = "/approvals", tag = "approvals", params(ApprovalsQuery),
    responses((status = 200, body = schema::ApprovalPage)))]
pub async fn list_approvals(
    caller: Within<ApprovalsRead>,
    State(app): State<App>,
    Query(query): Query<ApprovalsQuery>,
) -> Reply {
    if query.status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        return Err(Problem::bad_request("invalid_query", format!("`status` must be of {}", STATUSES.join(", "))));
    }
    let page = PageQuery { limit: query.limit, after: query.after }.check()?;
    let (caller, within) = caller.all(&app).await?;
    let filter = ApprovalFilter { status: query.status, within, limit: page.limit, after: page.after };
    reply::ok(&app.runtime().approvals(caller.tenant(), filter).await?)
}

/// A decision.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideBody {
    /// The form's values, checked against the approval's form.
    #[serde(default)]
    #[schema(value_type = schema::Json, required = false)]
    form: Json,
    /// A word on it.
    comment: Option<String>,
    /// The person who decides, when that is not whom the token names; needs `approvals.decide_for`.
    by: Option<String>,
}

/// Approve.
#[utoipa::path(post, path = "/approvals/{id}/approve", tag = "approvals", params(("id" = String, Path)),
    request_body = Option<DecideBody>, responses((status = 200, body = schema::Approval)))]
pub async fn approve(
    caller: Within<ApprovalsDecide>,
    State(app): State<App>,
    PathOf(path): PathOf<ApprovalPath>,
    BodyOrDefault(body): BodyOrDefault<DecideBody>,
) -> Reply {
    let caller = caller.approval(&app, path.0).await?;
    decide(&app, body.into_request(&caller, path, Verdict::Approve)?).await
}

/// Reject.
#[utoipa::path(post, path = "/approvals/{id}/reject", tag = "approvals", params(("id" = String, Path)),
    request_body = Option<DecideBody>, responses((status = 200, body = schema::Approval)))]
pub async fn reject(
    caller: Within<ApprovalsDecide>,
    State(app): State<App>,
    PathOf(path): PathOf<ApprovalPath>,
    BodyOrDefault(body): BodyOrDefault<DecideBody>,
) -> Reply {
    let caller = caller.approval(&app, path.0).await?;
    decide(&app, body.into_request(&caller, path, Verdict::Reject)?).await
}

impl DecideBody {
    fn into_request(
        self,
        caller: &Authorized<ApprovalsDecide>,
        path: ApprovalPath,
        verdict: Verdict,
    ) -> Result<DecideRequest, Problem> {
        let by = match self.by {
            None => caller.by(),
            Some(person) if person.is_empty() || person.chars().count() > PERSON_CHARS_MAX => {
                let detail = format!("`by` must have 1 to {PERSON_CHARS_MAX} characters");
                return Err(Problem::invalid("invalid_body", detail));
            }
            Some(person) => {
                caller.also::<ApprovalsDecideFor>()?;
                Principal::Person(person.into())
            }
        };
        let (tenant, form) = (caller.tenant(), self.form.0);
        Ok(DecideRequest { tenant, approval: path.0, verdict, by, form, comment: self.comment })
    }
}

async fn decide(app: &App, request: DecideRequest) -> Reply {
    reply::ok(&app.runtime().decide(request).await?)
}

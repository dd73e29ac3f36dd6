//! Whoever may do something somewhere: everywhere in the tenant, or on folders and workflows alone.
//!
//! Invariant: [`Within`] has no tenant, so a handler can do nothing with it before it has said what the request is about.
//! Then it is [`Authorized`] for that, or the answer is 404; and 403 where the caller may see it.

use axum::{extract::FromRequestParts as _, http::request::Parts};
use uuid::Uuid;
use windlass_engine::id::{ApprovalId, RunId};
use windlass_resource::{
    Operation,
    permission::{ApprovalsRead, FilesRead, Permission, RunsRead, WorkflowsRead},
    records::files::FILES,
};
use windlass_runtime::RuntimeError;
use windlass_store::{Reach, Reached, Thing};

use super::{Authorized, Identity, RecordRoute, forbidden, not_everywhere};
use crate::{
    app::App,
    extract::{self, Name, PathOf, PathParts, Query},
    problem::Problem,
};

/// The caller, allowed to do `P` somewhere.
pub struct Within<P> {
    pub(super) caller: Authorized<P>,
    pub(super) reach: Reach,
}

impl<P: Permission> Within<P> {
    /// The caller, allowed to do `P` with the workflow of that name.
    ///
    /// # Errors
    /// 404 when there is none that it may see; 403 when it may see it.
    pub async fn workflow(self, app: &App, name: &Name) -> Result<Authorized<P>, Problem> {
        self.with(app, Thing::Workflow(&name.0)).await
    }

    /// The same with a run.
    ///
    /// # Errors
    /// As of [`Within::workflow`].
    pub async fn run(self, app: &App, run: RunId) -> Result<Authorized<P>, Problem> {
        self.with(app, Thing::Run(run)).await
    }

    /// The same with an approval.
    ///
    /// # Errors
    /// As of [`Within::workflow`].
    pub async fn approval(self, app: &App, approval: ApprovalId) -> Result<Authorized<P>, Problem> {
        self.with(app, Thing::Approval(approval)).await
    }

    /// The same with a file.
    ///
    /// # Errors
    /// As of [`Within::workflow`].
    pub async fn file(self, app: &App, file: Uuid) -> Result<Authorized<P>, Problem> {
        self.with(app, Thing::File(file)).await
    }

    /// The same with a new file, which is to belong to these.
    ///
    /// # Errors
    /// As of [`Within::workflow`]; 403 when it is to belong to nothing.
    pub async fn file_of(self, app: &App, things: &[Thing<'_>]) -> Result<Authorized<P>, Problem> {
        if self.reach != Reach::Everywhere && things.is_empty() {
            return Err(not_everywhere(P::NAME));
        }
        let mut within = self;
        for thing in things {
            let reach = within.reach.clone();
            within = Within { caller: within.with(app, *thing).await?, reach };
        }
        Ok(within.caller)
    }

    /// The same with a workflow that is there, or is to be made in that folder. Names are the tenant's, so whoever names a
    /// folder of his own learns that a name is taken, and nothing else.
    ///
    /// # Errors
    /// As of [`Within::workflow`]; 409 when a workflow that the caller may not see has the name.
    pub async fn workflow_in(self, app: &App, name: &Name, folder: Option<Uuid>) -> Result<Authorized<P>, Problem> {
        let Some(folder) = folder.filter(|_| self.reach != Reach::Everywhere) else {
            return self.workflow(app, name).await;
        };
        let (store, tenant) = (app.store(), self.caller.tenant());
        let lies_in = store.lies_in(tenant, Thing::Workflow(&name.0)).await?;
        if self.reach.covers(&lies_in) || self.caller.identity.reach(WorkflowsRead::NAME).covers(&lies_in) {
            return self.workflow(app, name).await;
        }
        if !self.reach.covers(&store.lies_in(tenant, Thing::Folder(folder)).await?) {
            return Err(not_found(Thing::Folder(folder)));
        }
        if lies_in.is_empty() {
            return Ok(self.caller);
        }
        Err(Problem::conflict("taken", format!("the name `{}` is taken in this tenant: take another one", name.0)))
    }

    /// The caller, and what it may do `P` with: `None` is everything.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn all(self, app: &App) -> Result<(Authorized<P>, Option<Reached>), Problem> {
        let reached = match &self.reach {
            Reach::Everywhere => None,
            Reach::Places(places) => Some(app.store().reached(self.caller.tenant(), places).await?),
        };
        Ok((self.caller, reached))
    }

    /// The caller, allowed to do `P` with what is the tenant's and no workflow's.
    ///
    /// # Errors
    /// 403 when it may do so on folders and workflows alone.
    pub fn everywhere(self) -> Result<Authorized<P>, Problem> {
        if self.reach == Reach::Everywhere { Ok(self.caller) } else { Err(not_everywhere(P::NAME)) }
    }

    /// The caller, for what is the same in every tenant.
    pub fn anywhere(self) -> Authorized<P> {
        self.caller
    }

    async fn with(self, app: &App, thing: Thing<'_>) -> Result<Authorized<P>, Problem> {
        if self.reach != Reach::Everywhere {
            // Boxed, for most callers have nothing to wait for.
            Box::pin(look_at(app, &self.caller.identity, (P::NAME, thing))).await?;
        }
        Ok(self.caller)
    }
}

impl<P> Authorized<P> {
    /// Whether the caller may also see the workflow of that name.
    ///
    /// # Errors
    /// 404 when there is none that it may see.
    pub async fn sees(&self, app: &App, name: &Name) -> Result<(), Problem> {
        if self.identity.reach(WorkflowsRead::NAME) == Reach::Everywhere {
            return Ok(());
        }
        look_at(app, &self.identity, (WorkflowsRead::NAME, Thing::Workflow(&name.0))).await
    }
}

/// Whether a caller may do that with a thing.
///
/// # Errors
/// 404 when there is none that it may see; 403 when it may see it.
async fn look_at(app: &App, identity: &Identity, (permission, thing): (&str, Thing<'_>)) -> Result<(), Problem> {
    let lies_in = app.store().lies_in(identity.tenant, thing).await?;
    if identity.reach(permission).covers(&lies_in) {
        return Ok(());
    }
    let seen_by = match thing {
        Thing::Workflow(_) | Thing::WorkflowId(_) | Thing::Folder(_) => WorkflowsRead::NAME,
        Thing::Run(_) => RunsRead::NAME,
        Thing::Approval(_) => ApprovalsRead::NAME,
        Thing::File(_) | Thing::FileVersion(_) => FilesRead::NAME,
    };
    let is_seen = !lies_in.is_empty() && identity.reach(seen_by).covers(&lies_in);
    Err(if is_seen { forbidden(permission) } else { not_found(thing) })
}

/// What is told of a thing that is not there.
fn not_found(thing: Thing<'_>) -> Problem {
    let what = match thing {
        Thing::Workflow(name) => format!("workflow `{name}`"),
        Thing::WorkflowId(id) => format!("workflow `{id}`"),
        Thing::Folder(folder) => format!("folder `{folder}`"),
        Thing::Run(run) => format!("run `{run}`"),
        Thing::Approval(approval) => format!("approval `{approval}`"),
        Thing::File(_) => return Problem::not_found("file"),
        Thing::FileVersion(_) => return Problem::not_found("file version"),
    };
    RuntimeError::NotFound { what }.into()
}

/// Whether a caller may do what a route of a record does with the row that it names, or with those of a list: whoever has
/// rights in places alone asks for the rows of one workflow, run or file.
///
/// # Errors
/// As of [`Within::workflow`]; 403 for a list of everything.
pub(super) async fn look_at_row(
    parts: &mut Parts,
    app: &App,
    (identity, route): (&Identity, RecordRoute),
) -> Result<(), Problem> {
    let permission = route.record.permission(route.operation);
    if identity.reach(permission) == Reach::Everywhere {
        return Ok(());
    }
    let thing = match route.operation {
        Operation::List | Operation::Export => {
            let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, app).await?;
            let mut by = pairs.iter().filter(|(name, _)| route.record.lies_by.contains(&name.as_str()));
            let thing = by.next().filter(|_| by.next().is_none()).and_then(|(name, id)| named(name, id));
            thing.ok_or_else(|| not_everywhere(permission))?
        }
        Operation::Get | Operation::Update | Operation::Delete | Operation::Restore | Operation::Transition(_) => {
            let PathOf(RowPath(id)) = PathOf::<RowPath>::from_request_parts(parts, app).await?;
            let id = extract::id(&id, route.record.noun)?;
            if route.record.name == FILES.name { Thing::File(id) } else { Thing::FileVersion(id) }
        }
        // What a new row belongs to, its body says.
        Operation::Create => return Err(not_everywhere(permission)),
    };
    look_at(app, identity, (permission, thing)).await
}

/// The thing that a column names.
fn named(column: &str, id: &str) -> Option<Thing<'static>> {
    let id: Uuid = id.parse().ok()?;
    match column {
        "workflow_id" => Some(Thing::WorkflowId(id)),
        "run_id" => Some(Thing::Run(RunId::new(id))),
        "file_id" => Some(Thing::File(id)),
        _ => None,
    }
}

/// The id of a row in an address, as it was written.
struct RowPath(String);

impl PathParts for RowPath {
    fn read(parts: &[&str]) -> Result<RowPath, Problem> {
        Ok(RowPath(parts.first().copied().unwrap_or_default().to_owned()))
    }
}

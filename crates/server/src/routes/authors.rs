//! Authors: whoever writes workflows in some places alone has them do nothing that he may not do himself.
//!
//! A run has no rights of its own, so what a document asks for is held against its author when it is written, and again
//! when it is published.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use windlass_runtime::Ask;
use windlass_store::{Reach, Thing};

use crate::{
    app::App,
    auth::{Authorized, EventsPublish, Permission, RunsStart, StateRead, StateWrite, VaultUse},
    problem::Problem,
};

/// Refuses a document that asks for what its author may not do.
///
/// # Errors
/// 403 for the first of it.
pub async fn check<P: Permission>(app: &App, author: &Authorized<P>, asks: BTreeSet<Ask>) -> Result<(), Problem> {
    for ask in asks {
        let (what, permission, reach) = match &ask {
            Ask::Secrets => ("uses secrets".to_owned(), VaultUse::NAME, author.reach::<VaultUse>()),
            Ask::Emit => ("emits events".to_owned(), EventsPublish::NAME, author.reach::<EventsPublish>()),
            Ask::ReadShared => ("reads the tenant's state".to_owned(), StateRead::NAME, author.reach::<StateRead>()),
            Ask::ChangeShared => {
                ("changes the tenant's state".to_owned(), StateWrite::NAME, author.reach::<StateWrite>())
            }
            Ask::StartAny => {
                let what = "starts a workflow whose name is an expression".to_owned();
                (what, RunsStart::NAME, author.reach::<RunsStart>())
            }
            Ask::Start(name) => {
                let reach = author.reach::<RunsStart>();
                if reach != Reach::Everywhere {
                    // One that is not there yet might be anybody's later.
                    let lies_in = app.store().lies_in(author.tenant(), Thing::Workflow(name)).await?;
                    if !reach.covers(&lies_in) {
                        let what = format!("starts `{name}`, which is none of the workflows that you may start");
                        return Err(refused(&what));
                    }
                }
                continue;
            }
        };
        if reach != Reach::Everywhere {
            return Err(refused(&format!("{what}, for which you need `{permission}` in the whole tenant")));
        }
    }
    Ok(())
}

fn refused(what: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", format!("the document {what}"))
}

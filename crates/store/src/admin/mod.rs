//! What `windlass db` does: look at a database, check it, copy it, empty it.
//!
//! Functions that need a database to themselves take [`StoreOptions`]; the others are on an open [`Store`]. Opening with
//! `lanes: 0` registers no node, so an administrator's command owns nothing.

pub mod catalogue;
mod check;
mod copy;
mod portable;
pub mod schema;
mod stats;
mod validate;
pub mod verify;

pub use crate::vault::forget_vault;
pub use check::{CheckReport, check};
pub use copy::{OnProgress, Progress, copy_database, restore};
pub use portable::Tally;
pub use stats::{NodeRow, Stats, Status, TableStats};

use crate::{
    KeySource, Location, Migrate, Store, StoreError, StoreOptions,
    database::{Dialect, postgres::Address, sqlite::Files},
    store,
};

/// Makes a database, or brings an older one to this program's version: `db init` and `db migrate`.
pub async fn migrate(options: StoreOptions) -> Result<Status, StoreError> {
    let store =
        Store::open(StoreOptions { lanes: 0, master_key: KeySource::Unasked, migrate: Migrate::Apply, ..options })
            .await?;
    let status = store.status().await;
    store.close().await;
    status
}

/// Whether somebody said yes to losing everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// They did.
    LoseEverything,
    /// They did not.
    No,
}

/// Removes everything from a database: `db reset`. The next start makes it anew.
pub async fn reset(location: &Location, confirm: Confirm) -> Result<(), StoreError> {
    if confirm != Confirm::LoseEverything {
        return Err(StoreError::Invalid("a reset loses every run and workflow: confirm it with --yes".to_owned()));
    }
    match location {
        Location::Sqlite { data_dir } => {
            let files = Files { dir: data_dir.clone() };
            let _lock = files.take()?;
            files.remove()
        }
        Location::Postgres { url } => {
            let session = Address::parse(url)?.connect().await?;
            store::refuse_alive(&session).await?;
            let tables = schema::Schema::declared(Dialect::Postgres).tables.iter().map(|table| table.name.as_str());
            let tables = tables.chain(["migrations"]).collect::<Vec<_>>().join(", ");
            let functions = schema::function_names().join(", ");
            session
                .batch(&format!(
                    "begin; drop table if exists {tables} cascade; drop function if exists {functions} cascade; commit"
                ))
                .await
        }
    }
}

//! Records: rows of whatever a descriptor of `windlass_resource` declares, on both databases.
//!
//! Each function takes the tenant, and a row of another tenant is as if it were not there. A write is one transaction:
//! it looks, refuses everything that is wrong at once, and only then changes the row and writes the audit beside it.
//!
//! Invariant: within a transaction no refusal comes after the first change, so what is refused leaves no trace.

mod audit;
mod behaviour;
mod delegations;
mod files;
mod folders;
mod groups;
mod joining;
mod leaving;
mod oauth;
mod people;
mod providers;
mod provision;
mod row;
mod seal;
mod sweep;
mod tenants;
mod vault;
mod write;

use std::sync::Arc;

use serde_json::Value as Json;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, FieldError, Record, Transition,
    list::{ListQuery, Rows},
    statement::{Lock, Writer},
    validate,
};

pub use delegations::{NewDelegation, OfferedDelegation, Received as ReceivedDelegation};
pub(crate) use files::{Keeping, Kept};
pub(crate) use folders::place_workflow;
pub use joining::{Joined, Joining};
pub use oauth::{Exchange, Exchanged, Link, NewAuthorization, NewToken, NoTokens, ShownWith};
pub(crate) use people::texts;
pub use providers::{Arrival, Arrived, NotIn};
pub use provision::{GroupSaid, PersonSaid, Provisioner};
pub use row::show;

use crate::{Reach, Rights, StoreError, sharing::Namer, store::Store};

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is none, or none of this tenant.
    #[error("there is no such {noun}")]
    NotFound {
        /// What it would be.
        noun: &'static str,
    },
    /// What was sent does not fit.
    #[error("the {noun} is refused: {}", sentences(errors))]
    Invalid {
        /// What it would be.
        noun: &'static str,
        /// Everything that is wrong.
        errors: Vec<FieldError>,
    },
    /// Another one has what only one may have.
    #[error("another {noun} is like this: {}", sentences(errors))]
    Taken {
        /// What it is.
        noun: &'static str,
        /// Which fields.
        errors: Vec<FieldError>,
    },
    /// Somebody else changed it first.
    #[error("the {noun} was changed meanwhile: it is at revision {found}, not {expected}")]
    Stale {
        /// What it is.
        noun: &'static str,
        /// The revision that was expected.
        expected: i64,
        /// The one that it has.
        found: i64,
    },
    /// Its state does not allow the transition.
    #[error("`{verb}` is not allowed for a {noun} that is `{state}`; allowed {}", allowed_words(allowed))]
    Transition {
        /// What it is.
        noun: &'static str,
        /// What was asked for.
        verb: &'static str,
        /// Where it stands.
        state: String,
        /// What is allowed there.
        allowed: Vec<&'static str>,
    },
    /// Its state would allow the transition, but not all that it asks for holds.
    #[error("`{verb}` is not allowed now: {}", unmet.join("; "))]
    Guarded {
        /// What was asked for.
        verb: &'static str,
        /// What does not hold.
        unmet: Vec<String>,
    },
    /// Others refer to it.
    #[error("the {noun} is in use: {} refer to it; change or delete these first", by.replace('_', " "))]
    InUse {
        /// What it is.
        noun: &'static str,
        /// The records that do.
        by: &'static str,
    },
    /// The database refused, or went away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn sentences(errors: &[FieldError]) -> String {
    errors.iter().map(|error| format!("{} {}", error.pointer, error.message)).collect::<Vec<_>>().join("; ")
}

fn allowed_words(allowed: &[&str]) -> String {
    if allowed.is_empty() { "is nothing".to_owned() } else { format!("are {}", allowed.join(", ")) }
}

/// Who does something, for the row and for the audit.
#[derive(Debug, Clone)]
pub struct By {
    /// Who: `token:admin`, `person:ada@example.org`, `system`.
    pub who: String,
    /// The id of the request.
    pub request_id: Option<String>,
    /// The program that asks.
    pub user_agent: Option<String>,
    /// The address that it asks from.
    pub address: Option<String>,
    /// What it may do: nobody gives others more than he has himself.
    pub holds: Holds,
    /// The member that it is; none for who acts in another's name, and for programs of nobody.
    pub member: Option<Uuid>,
}

impl By {
    /// The program itself.
    pub fn system() -> By {
        By { holds: Holds::Program, ..By::named("system") }
    }

    /// Somebody of whose request nothing is known, and who gives nothing to others.
    pub fn named(who: impl Into<String>) -> By {
        let holds = Holds::These(Arc::default());
        By { who: who.into(), request_id: None, user_agent: None, address: None, holds, member: None }
    }

    /// As whom it names secrets.
    pub fn namer(&self) -> Namer {
        Namer::of(&self.holds, self.member)
    }
}

/// In which tenant somebody acts. A tenant alone is the program itself, acting there.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The tenant.
    pub tenant: TenantKey,
    /// Who.
    pub by: By,
}

impl From<TenantKey> for Actor {
    fn from(tenant: TenantKey) -> Actor {
        Actor { tenant, by: By::system() }
    }
}

/// What somebody may do in a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// Everything, and what is left to the program besides.
    Program,
    /// Everything that callers may.
    Everything,
    /// These permissions, everywhere or in places.
    These(Arc<Rights>),
}

impl Holds {
    /// Whether it has that permission, everywhere in the tenant.
    pub fn may(&self, permission: &str) -> bool {
        match self {
            Holds::Program | Holds::Everything => true,
            Holds::These(these) => these.may(permission),
        }
    }

    /// How far that permission goes.
    pub fn reach(&self, permission: &str) -> Reach {
        match self {
            Holds::Program | Holds::Everything => Reach::Everywhere,
            Holds::These(these) => these.reach(permission),
        }
    }

    /// Only what both allow.
    #[must_use]
    pub fn and(self, other: Holds) -> Holds {
        match (self, other) {
            (Holds::These(one), Holds::These(two)) => Holds::These(Arc::new(one.and(&two))),
            (Holds::These(these), _) | (_, Holds::These(these)) => Holds::These(these),
            (one, _) => one,
        }
    }

    /// The first of these that it has not.
    pub fn lacks<'a>(&self, permissions: &'a [String]) -> Option<&'a str> {
        permissions.iter().map(String::as_str).find(|it| !self.may(it))
    }
}

/// Which row is written, and what the caller has seen of it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The row.
    pub id: Uuid,
    /// The revision that the caller has seen; `None` takes any.
    pub expect: Option<i64>,
}

/// A row as answers show it.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordView {
    /// Its fields.
    pub json: Json,
    /// Its revision, where rows change.
    pub revision: Option<i64>,
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPage {
    /// In order.
    pub items: Vec<Json>,
    /// Where the next page begins.
    pub next: Option<String>,
}

impl Store {
    /// The records that this store keeps.
    pub fn records(&self) -> &'static [&'static Record] {
        self.inner.records
    }

    fn writer(&self, tenant: TenantKey) -> Writer {
        Writer { dialect: self.database().dialect().into(), tenant }
    }

    /// A page of the rows of a record.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn list_records(
        &self,
        tenant: TenantKey,
        record: &'static Record,
        query: &ListQuery,
    ) -> Result<RecordPage, RecordError> {
        let statement = self.writer(tenant).list(record, query);
        let rows = self.database().of(tenant).query(statement.sql, row::values(statement.params)).await?;
        let mut rows = rows.iter().map(|row| row::read(record, row)).collect::<Result<Vec<_>, _>>()?;
        let limit = query.limit as usize;
        let next = (rows.len() > limit).then(|| query.cursor(record, &rows[limit - 1]));
        rows.truncate(limit);
        Ok(RecordPage { items: rows.iter().map(|row| show(record, row)).collect(), next })
    }

    /// A row that is not deleted.
    ///
    /// # Errors
    /// There is none, or the database does not answer.
    pub async fn record(
        &self,
        tenant: TenantKey,
        record: &'static Record,
        id: Uuid,
    ) -> Result<RecordView, RecordError> {
        let statement = self.writer(tenant).get(record, id, Lock::None);
        let found = self.database().of(tenant).query_opt(statement.sql, row::values(statement.params)).await?;
        let found = found.map(|found| row::read(record, &found)).transpose()?;
        match found {
            Some(found) if !row::is_deleted(record, &found) => Ok(view(record, &found)),
            _ => Err(RecordError::NotFound { noun: record.noun }),
        }
    }

    /// Makes a row of a body.
    ///
    /// # Errors
    /// Everything that is wrong with the body; or another row is like it.
    pub async fn create_record(
        &self,
        tenant: TenantKey,
        record: &'static Record,
        body: &Json,
        by: By,
    ) -> Result<RecordView, RecordError> {
        let values = validate::create(record, body).map_err(|errors| invalid(record, errors))?;
        let values = values.into_iter().map(|(column, value)| (column.name, value)).collect();
        self.write_record((tenant, record), by, write::Change::Create(values)).await
    }

    /// Makes a row as the program: it may set what callers may not.
    ///
    /// # Errors
    /// As [`Store::create_record`].
    pub async fn add_record(
        &self,
        tenant: TenantKey,
        record: &'static Record,
        body: &Json,
        by: By,
    ) -> Result<RecordView, RecordError> {
        let values = validate::create_by_program(record, body).map_err(|errors| invalid(record, errors))?;
        let values = values.into_iter().map(|(column, value)| (column.name, value)).collect();
        self.write_record((tenant, record), by, write::Change::Create(values)).await
    }

    /// Makes a row of the program's own values, under an id that may be chosen; what is left out gets its default. The
    /// audit calls it by that action.
    pub(crate) async fn insert_record(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        (action, by): (&'static str, By),
        given: Vec<(&'static str, Datum)>,
    ) -> Result<RecordView, RecordError> {
        let values = write::with_defaults(record, given);
        self.write_record((tenant, record), by, write::Change::Make(action, values)).await
    }

    /// Changes a row as the program.
    pub(crate) async fn change_record(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        target: Target,
        (by, values): (By, Vec<(&'static str, Datum)>),
    ) -> Result<RecordView, RecordError> {
        self.write_record((tenant, record), by, write::Change::Update(target, values)).await
    }

    /// Notes in the audit what was done, or tried, beside the change of a record.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn note_event(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        (action, id): (&'static str, Option<Uuid>),
        (by, changes): (By, Json),
    ) -> Result<(), StoreError> {
        let write = self.write_on((tenant, record), by);
        let id = id.map_or(Datum::Null, Datum::Uuid);
        self.database()
            .of(tenant)
            .transact(move |tx| Box::pin(async move { audit::note(tx, &write, (action, id), (None, changes)).await }))
            .await?;
        self.audit_noted();
        Ok(())
    }

    /// Changes what a body names of a row.
    ///
    /// # Errors
    /// Everything that is wrong with the body; there is no such row; or somebody was faster.
    pub async fn update_record(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        target: Target,
        body: &Json,
        by: By,
    ) -> Result<RecordView, RecordError> {
        let values = validate::update(record, body).map_err(|errors| invalid(record, errors))?;
        let values = values.into_iter().map(|(column, value)| (column.name, value)).collect();
        self.write_record((tenant, record), by, write::Change::Update(target, values)).await
    }

    /// Deletes a row.
    ///
    /// # Errors
    /// There is none; others refer to it; or somebody was faster.
    pub async fn delete_record(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        target: Target,
        by: By,
    ) -> Result<(), RecordError> {
        self.write_record((tenant, record), by, write::Change::Delete(target)).await.map(|_| ())
    }

    /// Takes a deletion back; a row that is not deleted stays as it is.
    ///
    /// # Errors
    /// There is no such row; or another one has taken its place.
    pub async fn restore_record(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        target: Target,
        by: By,
    ) -> Result<RecordView, RecordError> {
        self.write_record((tenant, record), by, write::Change::Restore(target)).await
    }

    /// Takes a row from its state to another.
    ///
    /// # Errors
    /// There is no such row; its state does not allow it; or somebody was faster.
    pub async fn transition_record(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        (target, transition): (Target, &'static Transition),
        body: &Json,
        by: By,
    ) -> Result<RecordView, RecordError> {
        let values = validate::transition(record, transition, body).map_err(|errors| invalid(record, errors))?;
        let values = values.into_iter().map(|(column, value)| (column.name, value)).collect();
        self.write_record((tenant, record), by, write::Change::Transition(target, transition, values)).await
    }

    /// All rows of a record, for exports and tests: page after page.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn all_records(&self, tenant: TenantKey, record: &'static Record) -> Result<Vec<Json>, RecordError> {
        let mut query = ListQuery { limit: windlass_resource::list::PAGE_ROWS_MAX, ..ListQuery::all(record) };
        query.rows = Rows::Live;
        let mut all = Vec::new();
        loop {
            let page = self.list_records(tenant, record, &query).await?;
            all.extend(page.items);
            let Some(next) = page.next else { return Ok(all) };
            let pairs = [("limit".to_owned(), query.limit.to_string()), ("after".to_owned(), next)];
            query = ListQuery::parse(record, &pairs).map_err(|errors| invalid(record, errors))?;
        }
    }
}

fn invalid(record: &Record, errors: Vec<FieldError>) -> RecordError {
    RecordError::Invalid { noun: record.noun, errors }
}

fn view(record: &Record, row: &[Datum]) -> RecordView {
    RecordView { json: show(record, row), revision: row::revision(record, row) }
}

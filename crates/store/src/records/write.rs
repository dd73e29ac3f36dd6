//! Writes of records: look, refuse, change, note.

use serde_json::Value as Json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, Deletion, Effect, FieldError, Guard, OnDelete, Record, Transition, Unique, Writing,
    statement::{Lock, Statement, Writer},
};

use super::{
    By, RecordError, RecordView, Target, audit, behaviour, row,
    seal::{self, KEYS_REPLACED, Seal},
    view,
};
use crate::{
    AuditNote, StoreError, access,
    database::{Row, Tx},
    store::Store,
};

/// Columns by name, and what they get.
pub(super) type Named = Vec<(&'static str, Datum)>;

/// What is written.
#[derive(Clone)]
pub(super) enum Change {
    Create(Named),
    /// The same by the program, under another word in the audit.
    Make(&'static str, Named),
    Update(Target, Named),
    Delete(Target),
    Restore(Target),
    Transition(Target, &'static Transition, Named),
}

/// How often a write is tried that others pass, or whose key is replaced.
const TRIES: u32 = 3;

/// What became of a try.
enum Tried {
    /// It was written, or refused.
    Done(Result<RecordView, RecordError>),
    /// The key that seals was replaced meanwhile: nothing was written.
    KeyReplaced,
    /// Another write was faster, and the database refused this one for it.
    Passed(RecordError),
}

/// Everything that a write looks at.
#[derive(Clone)]
pub(super) struct Write {
    pub writer: Writer,
    pub record: &'static Record,
    pub records: &'static [&'static Record],
    pub by: By,
    pub now: Timestamp,
    /// Seals what is secret; there where something is.
    pub seal: Option<Seal>,
    /// What the audit of another tenant has of it, which it concerns as well.
    pub elsewhere: Option<(TenantKey, AuditNote)>,
}

/// All columns of a record that it is given, and the defaults of the others.
pub(super) fn with_defaults(record: &'static Record, mut given: Named) -> Named {
    for column in record.columns {
        if !given.iter().any(|(name, _)| *name == column.name) {
            // A descriptor whose default does not fit is found by the check of descriptors.
            given.push((column.name, column.default_datum().unwrap_or(Datum::Null)));
        }
    }
    given
}

impl Store {
    /// A write on the rows of a record.
    pub(super) fn write_on(&self, (tenant, record): (TenantKey, &'static Record), by: By) -> Write {
        Write {
            writer: self.writer(tenant),
            record,
            records: self.records(),
            by,
            now: self.now(),
            seal: None,
            elsewhere: None,
        }
    }

    pub(super) async fn write_record(
        &self,
        (tenant, record): (TenantKey, &'static Record),
        by: By,
        change: Change,
    ) -> Result<RecordView, RecordError> {
        self.carry_out(self.write_on((tenant, record), by), change).await
    }

    /// Carries a change out, in one transaction with all that follows from it.
    pub(super) async fn carry_out(&self, mut write: Write, change: Change) -> Result<RecordView, RecordError> {
        let (tenant, record) = (write.writer.tenant, write.record);
        if change.has_sealed(record) {
            write.seal = Some(Seal::of(self, (tenant, record)).await?);
        }
        let decides = write.decides_access(&change);
        let mut written = Err(StoreError::Unavailable(KEYS_REPLACED.to_owned()).into());
        for _ in 0..TRIES {
            match self.try_write((write.clone(), decides), change.clone()).await {
                Tried::Done(done) => {
                    written = done;
                    break;
                }
                Tried::KeyReplaced => write.seal = Some(Seal::renewed(self, (tenant, record)).await?),
                Tried::Passed(error) => written = Err(error),
            }
        }
        if decides && written.is_ok() {
            // It is done, whatever becomes of this look: the next one finds it.
            if let Err(error) = self.look_at_access().await {
                tracing::warn!(%error, "who may do what has changed, and is read again later");
            }
        }
        written
    }

    async fn try_write(&self, (write, decides): (Write, bool), change: Change) -> Tried {
        let record = write.record;
        let written = self.database().of(write.writer.tenant).transact(move |tx| {
            Box::pin(async move {
                if let Some(seal) = &write.seal
                    && !seal.holds(tx, write.writer.tenant).await?
                {
                    return Ok(Tried::KeyReplaced);
                }
                let view = match write.carry_out(tx, change).await {
                    Ok(view) => view,
                    Err(RecordError::Store(error)) => return Err(error),
                    // Nothing was changed before it was refused: there is nothing to take back.
                    refused => return Ok(Tried::Done(refused)),
                };
                if decides {
                    access::count(tx).await?;
                }
                if let Some((tenant, note)) = &write.elsewhere {
                    tx.enter(*tenant).await?;
                    note.write(tx, *tenant).await?;
                }
                Ok(Tried::Done(Ok(view)))
            })
        });
        let written = written.await;
        if matches!(written, Ok(Tried::Done(Ok(_)))) {
            self.audit_noted();
        }
        written.unwrap_or_else(|error| raced(record, error))
    }
}

impl Change {
    /// Whether it gives a value that is to be sealed.
    fn has_sealed(&self, record: &Record) -> bool {
        let (Change::Create(values)
        | Change::Make(_, values)
        | Change::Update(_, values)
        | Change::Transition(_, _, values)) = self
        else {
            return false;
        };
        let given = |name: &str| values.iter().any(|(other, value)| *other == name && !value.is_null());
        record.sealed().any(|column| given(column.name))
    }
}

/// What the database refused though it was looked at before: on PostgreSQL two writes may pass each other. The next try
/// looks again, and says in which column.
fn raced(record: &'static Record, error: StoreError) -> Tried {
    let noun = record.noun;
    match error.code() {
        Some("23505" | "sqlite:2067" | "sqlite:1555") => Tried::Passed(RecordError::Taken { noun, errors: Vec::new() }),
        Some("23503" | "23001" | "sqlite:787" | "sqlite:1811") => {
            Tried::Passed(RecordError::InUse { noun, by: "others" })
        }
        _ => Tried::Done(Err(RecordError::Store(error))),
    }
}

/// Runs a statement on the transaction.
pub(super) async fn run(tx: &mut Tx, statement: Statement) -> Result<Vec<Row>, StoreError> {
    tx.query(statement.sql, row::values(statement.params)).await
}

async fn change(tx: &mut Tx, statement: Statement) -> Result<(), StoreError> {
    match tx.execute(statement.sql, row::values(statement.params)).await? {
        1 => Ok(()),
        // It is locked since it was read.
        count => Err(StoreError::damaged(format!("a change of one row changed {count}"))),
    }
}

impl Write {
    /// Whether the change may decide over who may do what: its own record does, or one that refers to it.
    fn decides_access(&self, change: &Change) -> bool {
        let record = self.record;
        let refers = |other: &Record| other.access && other.references().any(|(_, to, _)| to == record.name);
        match change {
            // Nobody remembers anything of somebody who was not there.
            Change::Make(..) => false,
            _ => record.access || self.records.iter().any(|other| refers(other)),
        }
    }

    async fn carry_out(&self, tx: &mut Tx, change: Change) -> Result<RecordView, RecordError> {
        match change {
            Change::Create(values) => self.create(tx, ("create", values)).await,
            Change::Make(action, values) => self.create(tx, (action, values)).await,
            Change::Update(target, values) => self.update(tx, target, values).await,
            Change::Delete(target) => self.delete(tx, target).await,
            Change::Restore(target) => self.restore(tx, target).await,
            Change::Transition(target, transition, values) => self.transition(tx, (target, transition), values).await,
        }
    }

    pub(super) async fn create(
        &self,
        tx: &mut Tx,
        (action, values): (&'static str, Named),
    ) -> Result<RecordView, RecordError> {
        let chosen = values.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.as_uuid());
        let id = chosen.unwrap_or_else(Uuid::now_v7);
        let mut new: Vec<Datum> = vec![Datum::Null; self.record.stored().len()];
        self.put(&mut new, &values);
        self.put(&mut new, &[("id", Datum::Uuid(id)), ("revision", Datum::Int(1))]);
        self.put(&mut new, &self.signed(["created_at", "created_by"]));
        self.put(&mut new, &self.signed(["updated_at", "updated_by"]));
        if let Some(behaviour) = behaviour::of(self.record) {
            behaviour.fill(tx, &mut behaviour::FreshRow { write: self, values: &mut new }).await?;
        }
        self.index(&mut new);
        self.look(tx, (id, &new), &values).await?;
        let named: Named =
            self.record.stored().iter().zip(&new).map(|(column, value)| (column.name, value.clone())).collect();
        change(tx, self.writer.insert(self.record, &self.kept(id, named)?)).await?;
        self.note(tx, action, (None, Some(&new))).await?;
        if let Some(behaviour) = behaviour::of(self.record) {
            behaviour.after_create(tx, &behaviour::NewRow { write: self, id, values: &new }).await?;
        }
        Ok(view(self.record, &new))
    }

    pub(super) async fn update(&self, tx: &mut Tx, target: Target, values: Named) -> Result<RecordView, RecordError> {
        let old = self.locked(tx, target).await?;
        let changed: Named =
            values.into_iter().filter(|(name, value)| row::get(self.record, &old, name) != value).collect();
        if changed.is_empty() {
            return Ok(view(self.record, &old));
        }
        self.save(tx, ("update", target.id), &old, changed).await
    }

    pub(super) async fn delete(&self, tx: &mut Tx, target: Target) -> Result<RecordView, RecordError> {
        let old = self.locked(tx, target).await?;
        if let Some(behaviour) = behaviour::of(self.record) {
            let row = behaviour::NewRow { write: self, id: target.id, values: &old };
            let errors = behaviour.before_delete(tx, &row).await?;
            if !errors.is_empty() {
                return Err(RecordError::Invalid { noun: self.record.noun, errors });
            }
        }
        self.release(tx, target.id).await?;
        match self.record.deletion {
            Deletion::Hard => {
                change(tx, self.writer.delete(self.record, target.id)).await?;
            }
            Deletion::Soft => {
                let mut sets = self.signed(["updated_at", "updated_by"]);
                sets.push(("deleted_at", Datum::Time(self.now)));
                let at = row::revision(self.record, &old).unwrap_or(0);
                change(tx, self.writer.update(self.record, (target.id, at), &sets)).await?;
            }
        }
        self.note(tx, "delete", (Some(&old), None)).await?;
        Ok(view(self.record, &old))
    }

    async fn restore(&self, tx: &mut Tx, target: Target) -> Result<RecordView, RecordError> {
        let old = self.found(tx, target).await?;
        if !row::is_deleted(self.record, &old) {
            return Ok(view(self.record, &old));
        }
        self.save(tx, ("restore", target.id), &old, vec![("deleted_at", Datum::Null)]).await
    }

    pub(super) async fn transition(
        &self,
        tx: &mut Tx,
        (target, transition): (Target, &'static Transition),
        values: Named,
    ) -> Result<RecordView, RecordError> {
        let old = self.locked(tx, target).await?;
        let column = self.record.state().map_or("", |column| column.name);
        let state = row::get(self.record, &old, column).as_text().unwrap_or_default();
        if !transition.from.contains(&state) {
            return Err(RecordError::Transition {
                noun: self.record.noun,
                verb: transition.verb,
                state: state.to_owned(),
                allowed: self.record.verbs_from(state),
            });
        }
        let unmet: Vec<String> =
            transition.guards.iter().filter(|guard| !self.holds(&old, **guard)).map(|guard| guard.words()).collect();
        if !unmet.is_empty() {
            return Err(RecordError::Guarded { verb: transition.verb, unmet });
        }
        let mut sets = values;
        sets.extend(transition.effects.iter().filter_map(|effect| self.effect(&old, *effect)));
        sets.push((column, Datum::Text(transition.to.to_owned())));
        self.save(tx, (transition.verb, target.id), &old, sets).await
    }

    fn holds(&self, old: &[Datum], guard: Guard) -> bool {
        let value = row::get(self.record, old, guard.column());
        match guard {
            Guard::Has(_) => !value.is_null(),
            Guard::HasNot(_) => value.is_null(),
            Guard::Past(_) => value.as_time().is_some_and(|at| at <= self.now),
            Guard::NotPast(_) => value.as_time().is_none_or(|at| at > self.now),
            Guard::AnotherThan(_) => value.as_text() != Some(&self.by.who),
        }
    }

    fn effect(&self, old: &[Datum], effect: Effect) -> Option<(&'static str, Datum)> {
        let value = match effect {
            Effect::Stamp(_) => Datum::Time(self.now),
            Effect::Sign(_) => Datum::Text(self.by.who.clone()),
            Effect::Clear(_) => Datum::Null,
            Effect::Count(name) => {
                let count = row::get(self.record, old, name).as_int().unwrap_or(0);
                Datum::Int(count.saturating_add(1))
            }
            // These are in the body's values already.
            Effect::Take(_) | Effect::Demand(_) => return None,
        };
        Some((effect.column(), value))
    }

    /// The row, locked, whether it is deleted or not; it is at the revision that the caller has seen.
    async fn found(&self, tx: &mut Tx, target: Target) -> Result<Vec<Datum>, RecordError> {
        let rows = run(tx, self.writer.get(self.record, target.id, Lock::Update)).await?;
        let noun = self.record.noun;
        let found = rows.first().ok_or(RecordError::NotFound { noun })?;
        let found = row::read(self.record, found)?;
        match (target.expect, row::revision(self.record, &found)) {
            (Some(expected), Some(at)) if at != expected => Err(RecordError::Stale { noun, expected, found: at }),
            _ => Ok(found),
        }
    }

    /// The same, and it is not deleted.
    pub(super) async fn locked(&self, tx: &mut Tx, target: Target) -> Result<Vec<Datum>, RecordError> {
        let found = self.found(tx, Target { expect: None, ..target }).await?;
        if row::is_deleted(self.record, &found) {
            return Err(RecordError::NotFound { noun: self.record.noun });
        }
        match (target.expect, row::revision(self.record, &found)) {
            (Some(expected), Some(at)) if at != expected => {
                Err(RecordError::Stale { noun: self.record.noun, expected, found: at })
            }
            _ => Ok(found),
        }
    }

    /// Changes a row that was read and locked.
    pub(super) async fn save(
        &self,
        tx: &mut Tx,
        (action, id): (&'static str, Uuid),
        old: &[Datum],
        mut sets: Named,
    ) -> Result<RecordView, RecordError> {
        let mut new = old.to_vec();
        if let Some(behaviour) = behaviour::of(self.record) {
            sets.extend(behaviour.beside(&behaviour::NewRow { write: self, id, values: old }, &sets));
        }
        self.put(&mut new, &sets);
        // What comes back is looked at as if it were new.
        let looked_at = if action == "restore" { self.own(&new) } else { sets.clone() };
        self.look(tx, (id, &new), &looked_at).await?;
        sets.extend(self.signed(["updated_at", "updated_by"]));
        self.index(&mut new);
        if self.record.is_searchable() {
            sets.push(("search_text", row::get(self.record, &new, "search_text").clone()));
        }
        let at = row::revision(self.record, old).unwrap_or(0);
        change(tx, self.writer.update(self.record, (id, at), &self.kept(id, sets.clone())?)).await?;
        self.put(&mut new, &sets);
        self.put(&mut new, &[("revision", Datum::Int(at.saturating_add(1)))]);
        self.note(tx, action, (Some(old), Some(&new))).await?;
        Ok(view(self.record, &new))
    }

    /// Everything about a row that only the database knows: what it refers to is there, nothing is like it, and its
    /// behaviour has nothing against it.
    async fn look(&self, tx: &mut Tx, (id, new): (Uuid, &[Datum]), values: &Named) -> Result<(), RecordError> {
        let noun = self.record.noun;
        let mut errors = Vec::new();
        for (column, to, _) in self.record.references() {
            let given = values.iter().find(|(name, _)| *name == column.name);
            let Some(other) = given.and_then(|(_, value)| value.as_uuid()) else { continue };
            let target = self.records.iter().copied().find(|record| record.name == to);
            if run(tx, self.writer.is_there(to, target, other)).await?.is_empty() {
                let what = target.map_or_else(|| to.trim_end_matches('s').replace('_', " "), |it| it.noun.to_owned());
                errors.push(FieldError::of(column.name, format!("there is no such {what}")));
            }
        }
        if let Some(behaviour) = behaviour::of(self.record)
            && errors.is_empty()
        {
            let row = behaviour::NewRow { write: self, id, values: new };
            errors.extend(behaviour.before_write(tx, &row).await?);
        }
        if !errors.is_empty() {
            return Err(RecordError::Invalid { noun, errors });
        }
        let mut taken = Vec::new();
        for Unique(columns) in self.record.unique {
            let written = columns.iter().any(|name| values.iter().any(|(other, _)| other == name));
            let last = columns.last().map_or(&Datum::Null, |name| row::get(self.record, new, name));
            if !written || last.is_null() {
                continue;
            }
            let alike: Named = columns.iter().map(|name| (*name, row::get(self.record, new, name).clone())).collect();
            if !run(tx, self.writer.alike(self.record, id, &alike)).await?.is_empty() {
                let last = columns.last().copied().unwrap_or_default();
                let which = columns.join(" and ");
                taken.push(FieldError::of(last, format!("is taken: another {noun} has the same {which}")));
            }
        }
        if taken.is_empty() { Ok(()) } else { Err(RecordError::Taken { noun, errors: taken }) }
    }

    /// Whatever refers to a row that is about to go: it refuses, lets go, or goes first. The audit has each of them.
    async fn release(&self, tx: &mut Tx, id: Uuid) -> Result<(), RecordError> {
        let referring = || {
            self.records.iter().flat_map(|record| {
                let to_us = record.references().filter(|(_, to, _)| *to == self.record.name);
                to_us.map(|(column, _, rule)| (*record, column, rule)).collect::<Vec<_>>()
            })
        };
        for (record, column, _) in referring().filter(|(_, _, rule)| *rule == OnDelete::Restrict) {
            if !run(tx, self.writer.referring(record, column, id)).await?.is_empty() {
                return Err(RecordError::InUse { noun: self.record.noun, by: record.name });
            }
        }
        for (record, column, rule) in referring() {
            let other = Write { record, elsewhere: None, ..self.clone() };
            match rule {
                OnDelete::Restrict => {}
                // What is hidden keeps what is its own, and gets it back when it is restored; links go.
                OnDelete::Cascade if self.record.deletion == Deletion::Soft && record.writing != Writing::Link => {}
                OnDelete::SetNull => {
                    for found in run(tx, self.writer.let_go(record, column, id)).await? {
                        let new = row::read(record, &found)?;
                        let mut old = new.clone();
                        other.put(&mut old, &[(column.name, Datum::Uuid(id))]);
                        other.note(tx, "update", (Some(&old), Some(&new))).await?;
                    }
                }
                OnDelete::Cascade => {
                    for found in run(tx, self.writer.all_referring(record, column, id)).await? {
                        Box::pin(other.release(tx, found.uuid(0)?)).await?;
                    }
                    let gone = run(tx, self.writer.delete_referring(record, column, id)).await?;
                    // What is a log itself is in none.
                    for found in gone.iter().filter(|_| record.writing != Writing::Log) {
                        other.note(tx, "delete", (Some(&row::read(record, found)?), None)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Values as the table keeps them: what is secret sealed, or its hash.
    fn kept(&self, id: Uuid, mut values: Named) -> Result<Named, StoreError> {
        for (name, value) in &mut values {
            let Some(column) = self.record.column(name).filter(|column| column.is_secret()) else { continue };
            seal::keep(column, id, (self.seal.as_ref(), value))?;
        }
        Ok(values)
    }

    fn put(&self, row: &mut [Datum], values: &[(&'static str, Datum)]) {
        for (name, value) in values {
            if let Some(place) = self.record.position(name).and_then(|at| row.get_mut(at)) {
                *place = value.clone();
            }
        }
    }

    /// The record's own columns of a row.
    fn own(&self, row: &[Datum]) -> Named {
        self.record
            .columns
            .iter()
            .map(|column| (column.name, row::get(self.record, row, column.name).clone()))
            .collect()
    }

    /// When and by whom; columns that the record has not are left out.
    fn signed(&self, [at, by]: [&'static str; 2]) -> Named {
        let both = vec![(at, Datum::Time(self.now)), (by, Datum::Text(self.by.who.clone()))];
        both.into_iter().filter(|(name, _)| self.record.position(name).is_some()).collect()
    }

    fn index(&self, row: &mut [Datum]) {
        if let Some(at) = self.record.position("search_text") {
            row[at] = Datum::Text(search_text(self.record, row));
        }
    }

    async fn note(
        &self,
        tx: &mut Tx,
        action: &'static str,
        (old, new): (Option<&[Datum]>, Option<&[Datum]>),
    ) -> Result<(), StoreError> {
        let changes: Json = audit::changes(self.record, old, new);
        let row = new.or(old).unwrap_or_default();
        let id = row::get(self.record, row, "id").clone();
        audit::note(tx, self, (action, id), (audit::subject(self.record, row), changes)).await
    }
}

/// What `?q=` looks into.
fn search_text(record: &Record, row: &[Datum]) -> String {
    let columns = record.stored().into_iter().zip(row).filter(|(column, _)| column.searchable);
    Record::search_text(columns.filter_map(|(_, value)| value.as_text()))
}

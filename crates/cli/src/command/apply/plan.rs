//! What has to be done so that the server is as the documents say, in an order in which it can be done.
//!
//! Invariant: a row is found by the id that its document gives, if there is such a row, else by its natural key; never by
//! anything else.

use std::collections::BTreeMap;

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;
use windlass_definition::diagnostic::Problem;
use windlass_resource::{Access, Kind, Operation, Record, openapi};

use super::{
    document::Faults,
    item::{Item, Wanted, may_change, natural_key, same},
};
use crate::{
    client::{Answer, Call, Client, escape},
    command::deploy::{self, Publish},
    exit::{Exit, Failure},
    input::WorkflowFile,
};

/// Characters of a value that a plan shows.
const SHOWN_CHARS_MAX: usize = 100;

/// What is done for a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is so already.
    Keep,
}

/// A document's part of the plan.
#[derive(Debug)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// Where the document begins: `folders.yaml:12`.
    pub place: String,
    /// What it is: `folder Billing`.
    pub title: String,
    /// What changes, a sentence for each field.
    pub fields: Vec<String>,
    item: usize,
}

impl Change {
    /// As programs read it.
    pub fn to_json(&self) -> Json {
        let action = match self.action {
            Action::Create => "create",
            Action::Update => "update",
            Action::Keep => "keep",
        };
        json!({ "action": action, "place": self.place, "title": self.title, "fields": self.fields })
    }
}

/// What a reference leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A row that is there.
    Row(Uuid),
    /// A document whose row is made before.
    Item(usize),
}

/// How far a document has come.
#[derive(Debug, Default)]
struct State {
    /// Whether it is being planned: whoever comes by again goes in a circle.
    under_way: bool,
    /// Whether it is planned.
    done: bool,
    /// The row, once it is known.
    row: Option<Uuid>,
    /// The revision that was seen.
    revision: Option<i64>,
    /// What is sent, references aside.
    body: Map<String, Json>,
    /// References that are sent.
    references: Vec<(&'static str, Target)>,
}

/// Plans, and carries out.
pub struct Planner<'a> {
    client: &'a Client,
    items: Vec<Item>,
    states: Vec<State>,
    changes: Vec<Change>,
    faults: Faults,
}

impl<'a> Planner<'a> {
    /// For these documents.
    pub fn new(client: &'a Client, items: Vec<Item>, faults: Faults) -> Planner<'a> {
        let states = items.iter().map(|_| State::default()).collect();
        Planner { client, items, states, changes: Vec::new(), faults }
    }

    /// What has to be done, in the order in which it is done.
    ///
    /// # Errors
    /// Everything that is wrong with the documents; the server refuses, or is not there.
    pub async fn plan(&mut self) -> Result<Vec<Change>, Failure> {
        for item in 0..self.items.len() {
            self.plan_item(item).await?;
        }
        self.refuse_twins();
        self.faults.none()?;
        Ok(std::mem::take(&mut self.changes))
    }

    /// Two documents about one row would undo each other's work, again and again.
    fn refuse_twins(&mut self) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (number, item) in self.items.iter().enumerate() {
            let key = match self.states[number].row {
                Some(row) => format!("{} {row}", item.table()),
                None => format!("{} {:?}", item.title(), self.states[number].references),
            };
            if let Some(first) = seen.insert(key, number) {
                let message = format!("is the {} of {} again", item.title(), self.items[first].document.place());
                let at = windlass_definition::source::Span::at(item.document.root.span.start as usize);
                self.faults.add(&item.document, Problem::of_map(at, message));
            }
        }
    }

    fn plan_item(&mut self, number: usize) -> BoxFuture<'_, Result<(), Failure>> {
        async move {
            if self.states[number].done {
                return Ok(());
            }
            self.states[number].under_way = true;
            match &self.items[number].wanted {
                Wanted::Workflow(name) => {
                    let name = name.clone();
                    self.plan_workflow(number, &name).await?;
                }
                Wanted::Row { record, fields, id } => {
                    let (record, fields, id) = (*record, fields.clone(), *id);
                    self.plan_row(number, (record, id), fields).await?;
                }
            }
            self.states[number].done = true;
            Ok(())
        }
        .boxed()
    }

    async fn plan_workflow(&mut self, number: usize, name: &str) -> Result<(), Failure> {
        let path = format!("/workflows/{}", escape(name));
        let there = found(self.client.try_send(Call::get(&path)).await?)?;
        let text = &self.items[number].document.text;
        let Some(there) = there else {
            self.note(number, Action::Create, Vec::new());
            return Ok(());
        };
        self.states[number].row = id_of(&there);
        let draft_is_so = there["source"].as_str() == Some(text);
        let version = match there["version"].as_i64() {
            None => None,
            Some(version) => found(self.client.try_send(Call::get(format!("{path}/versions/{version}"))).await?)?,
        };
        let version_is_so = version.is_some_and(|it| it["source"].as_str() == Some(text));
        match (draft_is_so, version_is_so) {
            (true, true) => self.note(number, Action::Keep, Vec::new()),
            (false, _) => self.note(number, Action::Update, vec!["the document is another one".to_owned()]),
            (true, false) => self.note(number, Action::Update, vec!["the draft is published".to_owned()]),
        }
        Ok(())
    }

    async fn plan_row(
        &mut self,
        number: usize,
        (record, id): (&'static Record, Option<Uuid>),
        fields: Map<String, Json>,
    ) -> Result<(), Failure> {
        let mut references = Vec::new();
        for (column, to, _) in record.references() {
            let Some(value) = fields.get(column.name).filter(|it| !it.is_null()) else { continue };
            match self.resolve(to, value).await? {
                Ok(target) => references.push((column.name, target)),
                Err(message) => self.fault(number, column.name, message),
            }
        }
        let there = self.find_row(number, (record, id), &references).await?;
        let mut body = Map::new();
        let mut lines = Vec::new();
        for column in record.columns {
            let Some(value) = fields.get(column.name) else { continue };
            let target = references.iter().find(|(name, _)| *name == column.name).map(|(_, target)| *target);
            if matches!(column.kind, Kind::Reference { .. }) && target.is_none() && !value.is_null() {
                continue;
            }
            let wanted = match target {
                Some(Target::Row(id)) => Json::from(id.to_string()),
                _ => value.clone(),
            };
            let Some(there) = &there else {
                lines.push(format!("{}: {}", column.name, self.shown(&wanted, target, column.is_secret())));
                body.insert(column.name.to_owned(), wanted);
                continue;
            };
            // A secret is never shown, so that nobody can say whether it is another one.
            let is_so = column.is_secret()
                || (!matches!(target, Some(Target::Item(_))) && same(column.kind, &wanted, &there[column.name]));
            if is_so {
                continue;
            }
            if column.access != Access::Editable || !may_change(record) {
                let message = format!("`{}` is {} and never changes", column.name, there[column.name]);
                self.fault(number, column.name, message);
            }
            let now = self.shown(&wanted, target, false);
            lines.push(format!("{}: {} → {now}", column.name, clipped(&there[column.name].to_string())));
            body.insert(column.name.to_owned(), wanted);
        }
        let action = match &there {
            None => Action::Create,
            Some(_) if body.is_empty() => Action::Keep,
            Some(_) => Action::Update,
        };
        if action == Action::Create {
            for column in record.columns.iter().filter(|it| it.is_secret() && it.required && !it.generated) {
                if !fields.contains_key(column.name) {
                    self.fault(number, column.name, format!("`{}` is needed: there is none yet", column.name));
                }
            }
        }
        references.retain(|(name, _)| body.contains_key(*name));
        let state = &mut self.states[number];
        state.row = there.as_ref().and_then(id_of);
        state.revision = there.as_ref().and_then(|it| it["revision"].as_i64());
        (state.body, state.references) = (body, references);
        self.note(number, action, lines);
        Ok(())
    }

    fn shown(&self, value: &Json, target: Option<Target>, secret: bool) -> String {
        match target {
            _ if secret => "***".to_owned(),
            Some(Target::Item(other)) => format!("the {}", self.items[other].title()),
            _ => clipped(&value.to_string()),
        }
    }

    fn note(&mut self, item: usize, action: Action, fields: Vec<String>) {
        let (place, title) = (self.items[item].document.place(), self.items[item].title());
        self.changes.push(Change { action, place, title, fields, item });
    }

    fn fault(&mut self, number: usize, field: &str, message: String) {
        let document = &self.items[number].document;
        self.faults.add(document, Problem::new(document.field(field), message));
    }

    /// The row that is there already.
    async fn find_row(
        &self,
        number: usize,
        (record, id): (&'static Record, Option<Uuid>),
        references: &[(&'static str, Target)],
    ) -> Result<Option<Json>, Failure> {
        if let Some(id) = id {
            let there = self.client.try_send(Call::get(format!("/{}/{id}", record.slug()))).await?;
            if let Some(there) = found(there)? {
                return Ok(Some(there));
            }
        }
        let mut key = Vec::new();
        for name in record.natural_key().unwrap_or_default() {
            let value = match references.iter().find(|(other, _)| other == name) {
                Some((_, Target::Row(id))) => Json::from(id.to_string()),
                // What is in something that is not there yet is not there either.
                Some((_, Target::Item(_))) => return Ok(None),
                None => self.items[number].says(name),
            };
            let is_reference = record.references().any(|(column, ..)| column.name == *name);
            if is_reference && !value.is_null() && !references.iter().any(|(other, _)| other == name) {
                // It leads nowhere, which was said already.
                return Ok(None);
            }
            key.push((*name, value));
        }
        self.look_up(&record.slug(), &key).await
    }

    async fn look_up(&self, slug: &str, key: &[(&str, Json)]) -> Result<Option<Json>, Failure> {
        let filters = key.iter().map(|(name, value)| match value {
            Json::Null => format!("{name}.null=true"),
            Json::String(text) => format!("{name}={}", escape(text)),
            other => format!("{name}={}", escape(&other.to_string())),
        });
        let query = filters.collect::<Vec<_>>().join("&");
        let page: Json = self.client.send(Call::get(format!("/{slug}?limit=1&{query}"))).await?.read()?;
        Ok(page["items"].get(0).cloned())
    }

    /// What a reference leads to, or why it leads nowhere. Documents come before rows.
    fn resolve<'s>(
        &'s mut self,
        table: &'static str,
        value: &'s Json,
    ) -> BoxFuture<'s, Result<Result<Target, String>, Failure>> {
        async move {
            if let Some(id) = value.as_str().and_then(|text| text.parse::<Uuid>().ok()) {
                let handle = self.items.iter().position(|item| {
                    item.table() == table && matches!(item.wanted, Wanted::Row { id: other, .. } if other == Some(id))
                });
                return match handle {
                    Some(other) => self.after(other).await,
                    None => Ok(Ok(Target::Row(id))),
                };
            }
            let names = natural_key(table);
            let part = |name: &str| if value.is_object() { value[name].clone() } else { value.clone() };
            let mut key = Vec::new();
            for name in &names {
                let record = windlass_resource::records::ALL.iter().find(|record| record.name == table);
                let to = record.and_then(|it| it.references().find(|(column, ..)| column.name == *name));
                let inner = part(name);
                match to {
                    Some((_, to, _)) if !inner.is_null() => match self.resolve(to, &inner).await? {
                        Ok(target) => key.push((*name, inner.clone(), Some(target))),
                        Err(message) => return Ok(Err(message)),
                    },
                    _ => key.push((*name, inner, None)),
                }
            }
            for other in 0..self.items.len() {
                if self.items[other].table() == table && self.is_the_key_of(other, &key).await? {
                    return self.after(other).await;
                }
            }
            let missing = format!("there is no such row of {table}, in the documents or on the server: {value}");
            let mut rows = Vec::new();
            for (name, value, target) in &key {
                rows.push((
                    *name,
                    match target {
                        None => value.clone(),
                        Some(Target::Row(id)) => Json::from(id.to_string()),
                        Some(Target::Item(_)) => return Ok(Err(missing)),
                    },
                ));
            }
            let there = match table {
                "workflows" => {
                    let path = format!("/workflows/{}", escape(value.as_str().unwrap_or_default()));
                    found(self.client.try_send(Call::get(path)).await?)?
                }
                table => self.look_up(&table.replace('_', "-"), &rows).await?,
            };
            Ok(there.as_ref().and_then(id_of).map(Target::Row).ok_or(missing))
        }
        .boxed()
    }

    /// Whether a document has that natural key.
    async fn is_the_key_of(&mut self, other: usize, key: &[(&str, Json, Option<Target>)]) -> Result<bool, Failure> {
        let table = self.items[other].table();
        let record = windlass_resource::records::ALL.iter().find(|record| record.name == table);
        for (name, value, target) in key {
            let says = self.items[other].says(name);
            let alike = match (target, record.and_then(|record| record.column(name))) {
                (None, Some(column)) => same(column.kind, value, &says),
                (None, None) => *value == says,
                (Some(_), _) if says.is_null() => false,
                (Some(target), Some(column)) => match column.kind {
                    Kind::Reference { to, .. } => self.resolve(to, &says).await?.is_ok_and(|it| it == *target),
                    _ => false,
                },
                (Some(_), None) => false,
            };
            if !alike {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The row of another document, which is planned first.
    async fn after(&mut self, other: usize) -> Result<Result<Target, String>, Failure> {
        if self.states[other].under_way && !self.states[other].done {
            return Ok(Err(format!("leads back to itself, by way of {}", self.items[other].document.place())));
        }
        self.plan_item(other).await?;
        Ok(Ok(self.states[other].row.map_or(Target::Item(other), Target::Row)))
    }

    /// Does what a part of the plan says.
    ///
    /// # Errors
    /// The server refuses, or is not there.
    pub async fn carry_out(&mut self, change: &Change) -> Result<(), Failure> {
        if change.action == Action::Keep {
            return Ok(());
        }
        let item = &self.items[change.item];
        let record = match &item.wanted {
            Wanted::Workflow(_) => {
                let document = &item.document;
                let (name, text) = (document.file.clone(), document.text.clone());
                let file = WorkflowFile { name, text, format: document.format };
                let workflow = deploy::deploy(self.client, &file, Publish::Yes).await?;
                self.states[change.item].row = id_of(&workflow);
                return Ok(());
            }
            Wanted::Row { record, .. } => *record,
        };
        let mut body = self.states[change.item].body.clone();
        for (name, target) in &self.states[change.item].references {
            let id = match target {
                Target::Row(id) => Some(*id),
                Target::Item(other) => self.states[*other].row,
            };
            let id = id.ok_or_else(|| Failure::internal(format!("`{name}` leads to what was not made")))?;
            body.insert((*name).to_owned(), id.to_string().into());
        }
        let state = &self.states[change.item];
        let call = match (change.action, state.row) {
            (Action::Update, Some(row)) => {
                let path = openapi::path(record, Operation::Update).replace("{id}", &row.to_string());
                let call = Call { method: http::Method::PATCH, ..Call::get(path) };
                match state.revision {
                    Some(revision) => call.header("if-match", format!("\"{revision}\"")),
                    None => call,
                }
            }
            _ => Call::post(openapi::path(record, Operation::Create)),
        };
        let made: Json = self.client.send(call.json(&body)).await?.read()?;
        self.states[change.item].row = id_of(&made);
        Ok(())
    }
}

fn id_of(row: &Json) -> Option<Uuid> {
    row["id"].as_str().and_then(|text| text.parse().ok())
}

/// What is there; none when there is no such thing.
fn found(answer: Answer) -> Result<Option<Json>, Failure> {
    match answer.or_problem() {
        Ok(answer) => answer.read().map(Some),
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn clipped(text: &str) -> String {
    console::truncate_str(text, SHOWN_CHARS_MAX, "…").into_owned()
}

//! Rights: what somebody may do in a tenant, everywhere or in places, and what lies in a place.
//!
//! A place is a folder, with those below it, or a workflow; both are known by their ids. What is remembered of a caller are
//! places alone: what lies in them is asked for with each request that they decide, so a workflow that is moved is in
//! or out of reach at once, on every server.
//!
//! Invariant: who holds a permission in places has it nowhere else; [`Rights::may`] says yes only to what holds
//! everywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;
use windlass_engine::id::{ApprovalId, RunId, TenantKey};
use windlass_resource::permission::is_narrow;

use crate::{
    StoreError,
    database::{Row, Value},
    records::texts,
    store::Store,
};

/// Permissions: those that hold everywhere in a tenant, and those that hold in places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Everywhere.
    pub everywhere: BTreeSet<String>,
    /// In a folder and those below it, or on a workflow, by the id of that.
    pub places: BTreeMap<Uuid, BTreeSet<String>>,
}

/// How far a permission goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere in the tenant.
    Everywhere,
    /// In these folders and those below them, and on these workflows.
    Places(Arc<[Uuid]>),
}

impl Reach {
    /// Whether it goes nowhere.
    pub fn is_nowhere(&self) -> bool {
        matches!(self, Reach::Places(places) if places.is_empty())
    }

    /// Whether it goes to something that lies in these places, one in the other.
    pub fn covers(&self, lies_in: &[Uuid]) -> bool {
        match self {
            Reach::Everywhere => true,
            Reach::Places(places) => lies_in.iter().any(|place| places.contains(place)),
        }
    }
}

impl From<BTreeSet<String>> for Rights {
    fn from(everywhere: BTreeSet<String>) -> Rights {
        Rights { everywhere, places: BTreeMap::new() }
    }
}

impl Rights {
    /// Whether the permission holds everywhere.
    pub fn may(&self, permission: &str) -> bool {
        self.everywhere.contains(permission)
    }

    /// How far the permission goes.
    pub fn reach(&self, permission: &str) -> Reach {
        if self.may(permission) {
            return Reach::Everywhere;
        }
        let places = self.places.iter().filter(|(_, allowed)| allowed.contains(permission));
        Reach::Places(places.map(|(place, _)| *place).collect())
    }

    /// Adds what a role allows: in a place, what can hold there.
    pub(crate) fn add(&mut self, permissions: Vec<String>, place: Option<Uuid>) {
        match place {
            None => self.everywhere.extend(permissions),
            Some(place) => {
                let narrow = permissions.into_iter().filter(|name| is_narrow(name));
                self.places.entry(place).or_default().extend(narrow);
            }
        }
    }

    /// Leaves only what `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.everywhere.retain(|name| keep(name));
        for allowed in self.places.values_mut() {
            allowed.retain(|name| keep(name));
        }
        self.places.retain(|_, allowed| !allowed.is_empty());
    }

    /// Only what both allow. What one holds in a folder and the other in one below it is left out: it holds in a place when
    /// both hold it there, or one there and the other everywhere.
    #[must_use]
    pub fn and(&self, other: &Rights) -> Rights {
        let mut both = Rights::default();
        for (place, name) in self.each().chain(other.each()) {
            let there = |rights: &Rights| rights.reach(name).covers(place);
            if !both.may(name) && there(self) && there(other) {
                let allowed = match place.first() {
                    None => &mut both.everywhere,
                    Some(place) => both.places.entry(*place).or_default(),
                };
                allowed.insert(name.to_owned());
            }
        }
        both
    }

    /// Each permission with the place where it holds; with none where it holds everywhere. Those come first.
    pub fn each(&self) -> impl Iterator<Item = (&[Uuid], &str)> {
        let everywhere = self.everywhere.iter().map(|name| (&[][..], name.as_str()));
        let places = self
            .places
            .iter()
            .flat_map(|(place, allowed)| allowed.iter().map(move |name| (std::slice::from_ref(place), name.as_str())));
        everywhere.chain(places)
    }

    /// The permissions that hold anywhere.
    pub fn names(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.each().map(|(_, name)| name).collect();
        names.into_iter().map(str::to_owned).collect()
    }
}

/// Something that lies in places, or whose workflow does.
#[derive(Debug, Clone, Copy)]
pub enum Thing<'a> {
    /// The workflow of that name, deleted or not.
    Workflow(&'a str),
    /// The workflow with that id.
    WorkflowId(Uuid),
    /// A run: it is where its workflow is.
    Run(RunId),
    /// An approval of a run.
    Approval(ApprovalId),
    /// A folder.
    Folder(Uuid),
    /// A file: it is where its workflow is, and where that of its run is.
    File(Uuid),
    /// A version of a file.
    FileVersion(Uuid),
}

/// What lies in some places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// The names of the workflows, deleted ones too: their runs are there.
    pub workflows: Vec<Arc<str>>,
}

/// A place by name, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPlace {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: String,
    /// Whether it is a folder; else it is a workflow.
    pub is_folder: bool,
}

const PERMISSIONS: &str = "select r.permissions, coalesce(a.folder_id, a.workflow_id) from role_assignments a \
                           join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                           where a.tenant_key = $1 and a.member_id = $2 union all \
                           select r.permissions, coalesce(a.folder_id, a.workflow_id) from group_members g \
                           join role_assignments a on a.tenant_key = g.tenant_key and a.group_id = g.group_id \
                           join roles r on r.tenant_key = a.tenant_key and r.id = a.role_id \
                           where g.tenant_key = $1 and g.member_id = $2";
/// What comes around the folders of `above`, from the inside out; folders lie 16 deep at most.
const AROUND: &str = "union all select f.parent_id, a.depth + 1 from folders f join above a on f.id = a.id \
                      where f.tenant_key = $1 and f.parent_id is not null and a.depth <= 16";

/// The workflow of a run `r`.
fn of_run(run: &str) -> String {
    let (from, condition) = run.split_once(" where ").unwrap_or((run, "true"));
    format!(
        "select w.id from {from} join workflows w on w.tenant_key = r.tenant_key and w.name = r.workflow where {condition}"
    )
}

/// The workflows of a file: its own, and that of its run.
fn of_file(file: &str) -> String {
    format!(
        "select workflow_id from files where tenant_key = $1 and id = {file} and workflow_id is not null union {}",
        of_run(&format!(
            "files f join runs r on r.tenant_key = f.tenant_key and r.id = f.run_id where f.tenant_key = $1 and f.id = {file}"
        ))
    )
}

impl Store {
    /// What a member may do.
    pub(crate) async fn rights_of(&self, tenant: TenantKey, member: Uuid) -> Result<Rights, StoreError> {
        let rows = self.database().of(tenant).query(PERMISSIONS, vec![tenant.into(), member.into()]).await?;
        let mut rights = Rights::default();
        for row in &rows {
            rights.add(texts(row.text(0)?), row.opt(1, Row::uuid)?);
        }
        Ok(rights)
    }

    /// The places in which a thing lies: its workflow, the folder of that and those around it. None when there is no such
    /// thing, or no workflow has to do with it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn lies_in(&self, tenant: TenantKey, thing: Thing<'_>) -> Result<Vec<Uuid>, StoreError> {
        let (workflows, key): (String, Value) = match thing {
            Thing::Workflow(name) => {
                ("select id from workflows where tenant_key = $1 and name = $2".into(), name.into())
            }
            Thing::WorkflowId(id) => ("select id from workflows where tenant_key = $1 and id = $2".into(), id.into()),
            Thing::Run(run) => (of_run("runs r where r.tenant_key = $1 and r.id = $2"), run.into()),
            Thing::Approval(approval) => {
                let run = "approvals p join runs r on r.tenant_key = p.tenant_key and r.id = p.run_id \
                           where p.tenant_key = $1 and p.id = $2";
                (of_run(run), approval.into())
            }
            Thing::File(file) => (of_file("$2"), file.into()),
            Thing::FileVersion(version) => {
                (of_file("(select file_id from file_versions where tenant_key = $1 and id = $2)"), version.into())
            }
            Thing::Folder(folder) => {
                let sql = format!(
                    "with recursive above (id, depth) as (select id, 1 from folders \
                     where tenant_key = $1 and id = $2 and deleted_at is null {AROUND}) select id from above"
                );
                return self.places(tenant, sql, folder.into()).await;
            }
        };
        let sql = format!(
            "with recursive found (id) as ({workflows}), \
             above (id, depth) as (select p.folder_id, 1 from workflow_places p join found w on w.id = p.workflow_id \
             where p.tenant_key = $1 {AROUND}) select id from found union all select id from above"
        );
        self.places(tenant, sql, key).await
    }

    async fn places(&self, tenant: TenantKey, sql: String, key: Value) -> Result<Vec<Uuid>, StoreError> {
        self.database().of(tenant).query(sql, vec![tenant.into(), key]).await?.iter().map(|row| row.uuid(0)).collect()
    }

    /// What lies in these places now.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn reached(&self, tenant: TenantKey, places: &[Uuid]) -> Result<Reached, StoreError> {
        let among = self.database().dialect().in_uuids(2);
        let sql = format!(
            "with recursive below (id, depth) as (select id, 1 from folders where tenant_key = $1 and id {among} \
             union all select f.id, b.depth + 1 from folders f join below b on f.parent_id = b.id \
             where f.tenant_key = $1 and b.depth <= 16) \
             select w.name from workflows w where w.tenant_key = $1 and w.id {among} \
             union select w.name from below b join workflow_places p on p.tenant_key = $1 and p.folder_id = b.id \
             join workflows w on w.tenant_key = $1 and w.id = p.workflow_id"
        );
        let params = vec![tenant.into(), Value::Uuids(places.to_vec())];
        let rows = self.database().of(tenant).query(sql, params).await?;
        Ok(Reached { workflows: rows.iter().map(|row| row.shared(0)).collect::<Result<_, _>>()? })
    }

    /// Places by name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn named_places(&self, tenant: TenantKey, places: &[Uuid]) -> Result<Vec<NamedPlace>, StoreError> {
        let among = self.database().dialect().in_uuids(2);
        let sql = format!(
            "select id, name, 1 from folders where tenant_key = $1 and id {among} \
             union all select id, name, 0 from workflows where tenant_key = $1 and id {among}"
        );
        let params = vec![tenant.into(), Value::Uuids(places.to_vec())];
        let named = |row: &Row| Ok(NamedPlace { id: row.uuid(0)?, name: row.string(1)?, is_folder: row.int(2)? == 1 });
        self.database().of(tenant).query(sql, params).await?.iter().map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a b; 1: c d` are two permissions everywhere and two in the place 1.
    fn rights(text: &str) -> Rights {
        let mut rights = Rights::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once(':') {
                None => rights.everywhere.extend(part.split_whitespace().map(str::to_owned)),
                Some((place, names)) => {
                    let place = Uuid::from_u128(place.parse().unwrap());
                    rights.places.insert(place, names.split_whitespace().map(str::to_owned).collect());
                }
            }
        }
        rights
    }

    #[test]
    fn what_both_allow_is_never_more_than_either() {
        for (one, other, both) in [
            ("a b", "b c", "b"),
            ("a", "1: a", "1: a"),
            ("a b", "b; 1: a", "b; 1: a"),
            ("1: a b", "1: b", "1: b"),
            ("1: a", "2: a", ""),
            ("b; 1: a", "a; 1: b", "1: a b"),
            ("", "a; 1: b", ""),
        ] {
            assert_eq!(rights(one).and(&rights(other)), rights(both), "{one} and {other}");
            assert_eq!(rights(other).and(&rights(one)), rights(both), "{other} and {one}");
        }
    }

    #[test]
    fn what_holds_everywhere_holds_in_each_place_and_not_the_other_way_round() {
        for (own, others, lacking) in [
            ("a", "a", None),
            ("a", "1: a", None),
            ("1: a", "1: a", None),
            ("1: a", "a", Some("a")),
            ("1: a", "2: a", Some("a")),
            ("a; 1: b", "1: a b; 2: b", Some("b")),
        ] {
            let (own_rights, others_rights) = (rights(own), rights(others));
            let found = others_rights.each().find(|(place, name)| !own_rights.reach(name).covers(place));
            assert_eq!(found.map(|(_, name)| name), lacking, "{own} beside {others}");
        }
    }

    #[test]
    fn of_a_role_only_what_is_narrow_holds_in_a_place() {
        let place = Uuid::from_u128(1);
        let mut rights = Rights::default();
        rights.add(vec!["runs.read".to_owned(), "people.write".to_owned(), "vault.use".to_owned()], Some(place));
        assert!(!rights.may("runs.read") && rights.reach("vault.use").is_nowhere());
        assert!(rights.reach("runs.read").covers(&[Uuid::from_u128(2), place]));
        assert!(!rights.reach("runs.read").covers(&[Uuid::from_u128(2)]) && rights.reach("people.write").is_nowhere());
    }
}

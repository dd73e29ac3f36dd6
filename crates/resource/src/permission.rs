//! The permissions of the API, each a type: `<noun>.<verb>`; and the roles that every tenant has.

use std::sync::LazyLock;

use serde::Serialize;

use crate::records;

/// Something that a caller may be allowed to do.
pub trait Permission: Send + Sync + 'static {
    /// Its name in tokens, roles and answers.
    const NAME: &'static str;
}

macro_rules! permissions {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        $($(#[doc = $doc])* pub enum $name {}
        impl Permission for $name {
            const NAME: &'static str = $text;
        })*

        /// The permissions that are types, and what each allows.
        const TYPED: &[(&str, &[&str])] = &[$(($text, &[$($doc),*]),)*];
    };
}

permissions! {
    /// See workflows, their drafts and versions.
    WorkflowsRead = "workflows.read";
    /// Make, change, delete and restore workflows.
    WorkflowsWrite = "workflows.write";
    /// Publish drafts.
    WorkflowsPublish = "workflows.publish";
    /// See runs, their steps, journals and events.
    RunsRead = "runs.read";
    /// Start runs; rerun and fork them.
    RunsStart = "runs.start";
    /// Cancel, pause, resume, undo and settle runs.
    RunsControl = "runs.control";
    /// Send signals.
    RunsSignal = "runs.signal";
    /// See approvals.
    ApprovalsRead = "approvals.read";
    /// Decide approvals.
    ApprovalsDecide = "approvals.decide";
    /// Decide in the name of a person.
    ApprovalsDecideFor = "approvals.decide_for";
    /// See tasks.
    TasksRead = "tasks.read";
    /// Claim and answer tasks.
    TasksWork = "tasks.work";
    /// Send events.
    EventsPublish = "events.publish";
    /// See shared state.
    StateRead = "state.read";
    /// Change shared state.
    StateWrite = "state.write";
    /// See the rules of the door.
    LimitsRead = "limits.read";
    /// Make and change the rules of the door.
    LimitsWrite = "limits.write";
    /// See the settings.
    SettingsRead = "settings.read";
    /// Choose settings of the tenant.
    SettingsWrite = "settings.write";
    /// See files, fetch them, and see their links.
    FilesRead = "files.read";
    /// Upload, change and delete files, and make links to them.
    FilesWrite = "files.write";
    /// See the audit.
    AuditRead = "audit.read";
    /// See members, roles, invitations and sessions of the tenant.
    PeopleRead = "people.read";
    /// Invite people, give and take roles.
    PeopleWrite = "people.write";
    /// Act in the name of a member who may do no more than oneself.
    PeopleImpersonate = "people.impersonate";
    /// Act in other tenants that delegate to this one.
    PeopleDelegate = "people.delegate";
    /// Provision people and groups for an identity provider, by SCIM: with a key that is bound to one.
    PeopleProvision = "people.provision";
    /// See API keys and how they are used.
    KeysRead = "keys.read";
    /// Make and revoke API keys.
    KeysWrite = "keys.write";
    /// See applications of third parties, what people consented to, and which tokens there are.
    ApplicationsRead = "applications.read";
    /// Make and change applications of third parties, and end what they hold.
    ApplicationsWrite = "applications.write";
    /// See the people of the installation.
    UsersRead = "users.read";
    /// Suspend people of the installation, and make links that sign them in.
    UsersWrite = "users.write";
    /// See the tenants of the installation.
    TenantsRead = "tenants.read";
    /// Make, change and suspend tenants.
    TenantsWrite = "tenants.write";
    /// See secrets and credentials without their values, and how it stands with the vault.
    VaultRead = "vault.read";
    /// Make, change and delete secrets and credentials.
    VaultWrite = "vault.write";
    /// Use secrets and credentials: in documents, and to try them.
    VaultUse = "vault.use";
    /// Decide with whom, and with which workflows, secrets and credentials are shared.
    VaultShare = "vault.share";
    /// Replace the vault's keys.
    VaultRotate = "vault.rotate";
    /// See step types and schemas.
    SchemaRead = "schema.read";
    /// See the server's figures.
    MetricsRead = "metrics.read";
}

/// What everybody has who comes in at all: to see itself.
pub enum Myself {}

impl Permission for Myself {
    const NAME: &'static str = "me.read";
}

/// A permission and what it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// What it allows.
    pub description: String,
    /// Whether it is about the whole installation: it holds in the first tenant alone.
    pub system: bool,
    /// Whether it can be held on a folder or a workflow alone.
    pub narrow: bool,
}

/// Every permission: those that are types, and those of records.
pub fn all() -> &'static [Named] {
    static ALL: LazyLock<Vec<Named>> = LazyLock::new(|| {
        let named = |name, description| {
            let (system, narrow) = (SYSTEM.contains(&name), NARROW.contains(&name));
            Named { name, description, system, narrow }
        };
        let typed = TYPED.iter().map(|(name, doc)| named(name, doc.join(" ").trim().to_owned()));
        let mut all: Vec<Named> = typed.collect();
        for record in records::ALL {
            for operation in record.operations() {
                let name = record.permission(operation);
                if !all.iter().any(|it| it.name == name) {
                    let verb = if name == record.area.read { "See" } else { "Change" };
                    all.push(named(name, format!("{verb} what belongs to {}.", record.area.name)));
                }
            }
        }
        all.sort_by_key(|it| it.name);
        all
    });
    &ALL
}

/// What is about the whole installation.
const SYSTEM: &[&str] = &["tenants.read", "tenants.write", "users.read", "users.write", "vault.rotate"];

/// Whether the permission is about the whole installation.
pub fn is_system(name: &str) -> bool {
    SYSTEM.contains(&name)
}

/// What can be held on a folder or a workflow alone: it is about one workflow and its runs. Of a role that is given there
/// nothing else counts.
const NARROW: &[&str] = &[
    "workflows.read",
    "workflows.write",
    "workflows.publish",
    "runs.read",
    "runs.start",
    "runs.control",
    "runs.signal",
    "approvals.read",
    "approvals.decide",
    "state.read",
    "state.write",
    "files.read",
    "files.write",
    "schema.read",
];

/// Whether it can be held on a folder or a workflow alone.
pub fn is_narrow(name: &str) -> bool {
    NARROW.contains(&name)
}

/// What nobody does in another's name, nor any application: it outlasts that, or is about what people answer for
/// themselves.
const PERSONAL: &[&str] = &[
    "applications.write",
    "approvals.decide",
    "approvals.decide_for",
    "keys.write",
    "people.delegate",
    "people.impersonate",
    "people.provision",
    "people.write",
    "users.write",
    "vault.rotate",
    "vault.share",
];

/// Whether a person does it in its own name alone.
pub fn is_personal(name: &str) -> bool {
    PERSONAL.contains(&name)
}

/// Whether people of another tenant may do it, who come by a delegation: what is personal stays with members, but for
/// deciding, which they do in their own names; and nobody is let in to what is about the whole installation.
pub fn is_delegated(name: &str) -> bool {
    name == ApprovalsDecide::NAME || !(is_personal(name) || is_system(name))
}

/// The word for every permission.
pub const EVERYTHING: &str = "*";

/// A role that the program keeps.
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Whom it is for.
    pub description: &'static str,
    /// What it allows.
    holds: fn(&Named) -> bool,
    /// Whether the first tenant alone has it.
    pub first_tenant_only: bool,
}

const VIEWS: &[&str] = &[
    "workflows.read",
    "runs.read",
    "approvals.read",
    "tasks.read",
    "state.read",
    "files.read",
    "settings.read",
    "schema.read",
];
const OPERATES: &[&str] = &[
    "runs.start",
    "runs.control",
    "runs.signal",
    "approvals.decide",
    "tasks.work",
    "events.publish",
    "state.write",
    "files.write",
    "limits.read",
    "metrics.read",
];
const BUILDS: &[&str] = &["workflows.write", "workflows.publish", "vault.read", "vault.write", "vault.use"];

/// The built-in roles.
pub static BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "guest",
        description: "Comes in, and may do what roles on folders and workflows allow, and nothing else.",
        holds: |_| false,
        first_tenant_only: false,
    },
    BuiltIn {
        name: "viewer",
        description: "Watches: sees workflows, runs, approvals, tasks, shared state and settings.",
        holds: |it| VIEWS.contains(&it.name),
        first_tenant_only: false,
    },
    BuiltIn {
        name: "operator",
        description: "Runs what there is: starts, stops and signals runs, decides approvals, changes shared state.",
        holds: |it| VIEWS.contains(&it.name) || OPERATES.contains(&it.name),
        first_tenant_only: false,
    },
    BuiltIn {
        name: "builder",
        description: "Makes workflows and publishes them, with secrets and credentials that they use, and runs them.",
        holds: |it| [VIEWS, OPERATES, BUILDS].iter().any(|list| list.contains(&it.name)),
        first_tenant_only: false,
    },
    BuiltIn {
        name: "tenant_admin",
        description: "May do everything in the tenant.",
        holds: |it| !it.system,
        first_tenant_only: false,
    },
    BuiltIn {
        name: "system_admin",
        description: "Looks after the whole installation.",
        holds: |_| true,
        first_tenant_only: true,
    },
];

impl BuiltIn {
    /// What it allows.
    pub fn permissions(&self) -> Vec<&'static str> {
        all().iter().filter(|it| (self.holds)(it)).map(|it| it.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_name_permissions_that_there_are() {
        let known: Vec<&str> = all().iter().map(|it| it.name).collect();
        for name in [VIEWS, OPERATES, BUILDS, SYSTEM, PERSONAL, NARROW].concat() {
            assert!(known.contains(&name), "{name}");
        }
        let of = |name: &str| BUILT_IN.iter().find(|it| it.name == name).map(BuiltIn::permissions).unwrap_or_default();
        assert!(!of("viewer").contains(&"workflows.publish") && of("builder").contains(&"workflows.publish"));
        assert!(!of("tenant_admin").contains(&"users.read") && of("system_admin").contains(&"users.read"));
        assert!(all().iter().all(|it| it.description.ends_with('.')), "{:?}", all());
    }
}

//! The permissions of the API, each a type: `<noun>.<verb>`.

/// Something that a caller may be allowed to do.
pub trait Permission: Send + Sync + 'static {
    /// Its name in tokens, roles and answers.
    const NAME: &'static str;
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub enum $name {}
        impl Permission for $name {
            const NAME: &'static str = $text;
        })*

        /// Every permission and what it allows.
        pub const PERMISSIONS: &[&str] = &[$($text,)*];
    };
}

permissions! {
    /// See workflows, their drafts and versions.
    WorkflowsRead = "workflows.read";
    /// Make, change and archive workflows.
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
    /// See secrets and credentials without their values, and how it stands with the vault.
    VaultRead = "vault.read";
    /// See the tenants of the installation.
    TenantsRead = "tenants.read";
    /// Make and change tenants.
    TenantsWrite = "tenants.write";
    /// Make, change and delete secrets and credentials.
    VaultWrite = "vault.write";
    /// Replace the vault's keys; in the default tenant alone.
    VaultRotate = "vault.rotate";
    /// Use secrets and credentials: in documents, and to try them.
    VaultUse = "vault.use";
    /// See step types and schemas.
    SchemaRead = "schema.read";
    /// See the server's figures.
    MetricsRead = "metrics.read";
}

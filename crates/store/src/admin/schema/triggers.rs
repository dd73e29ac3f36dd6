//! Triggers and functions: the parts of the schema that are not declared as columns and keys, but written.

use crate::database::Dialect;

/// A trigger.
pub(super) struct Trigger {
    /// Its name.
    pub name: &'static str,
    /// What it sees to.
    pub doc: &'static str,
    sqlite: Option<&'static str>,
    postgres: Option<&'static str>,
}

impl Trigger {
    /// The statement that makes it, if that database has it.
    pub(super) fn sql(&self, dialect: Dialect) -> Option<&'static str> {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// The names of the functions of PostgreSQL.
pub(crate) fn function_names() -> Vec<&'static str> {
    FUNCTIONS.iter().map(|(name, _)| *name).collect()
}

/// Every trigger.
pub(super) static TRIGGERS: &[Trigger] = &[
    Trigger {
        name: "runs_final",
        doc: "A final status of a run never changes.",
        sqlite: Some(
            r"create trigger runs_final before update of status on runs
  when (old.status = 'completed' or old.status = 'failed' or old.status = 'compensated' or old.status = 'cancelled' or old.status = 'timed_out') and new.status <> old.status
begin
  select raise(abort, 'runs_final');
end;",
        ),
        postgres: Some(
            r"create trigger runs_final before update of status on runs for each row
  when ((old.status = 'completed' or old.status = 'failed' or old.status = 'compensated' or old.status = 'cancelled' or old.status = 'timed_out') and new.status <> old.status)
  execute function windlass_final_status();",
        ),
    },
    Trigger {
        name: "audit_entries_stay",
        doc: "Nobody changes an entry of the audit.",
        sqlite: Some(
            r"create trigger audit_entries_stay before update on audit_entries begin
  select raise(abort, 'rows of audit_entries are neither changed nor deleted');
end;",
        ),
        postgres: Some(
            r"create trigger audit_entries_stay before update on audit_entries for each row execute function windlass_append_only();",
        ),
    },
    Trigger {
        name: "audit_entries_kept",
        doc: "An entry of the audit goes once it is archived.",
        sqlite: Some(
            r"create trigger audit_entries_kept before delete on audit_entries
  when not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.entries_until >= old.created_at)
begin
  select raise(abort, 'an entry of the audit is deleted once it is archived, not before');
end;",
        ),
        postgres: Some(
            r"create trigger audit_entries_kept before delete on audit_entries for each row execute function windlass_archived_entry();",
        ),
    },
    Trigger {
        name: "audit_blocks_stay",
        doc: "Nobody changes a block of the audit.",
        sqlite: Some(
            r"create trigger audit_blocks_stay before update on audit_blocks begin
  select raise(abort, 'rows of audit_blocks are neither changed nor deleted');
end;",
        ),
        postgres: Some(
            r"create trigger audit_blocks_stay before update on audit_blocks for each row execute function windlass_append_only();",
        ),
    },
    Trigger {
        name: "audit_blocks_kept",
        doc: "A block of the audit goes once it is archived.",
        sqlite: Some(
            r"create trigger audit_blocks_kept before delete on audit_blocks
  when not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.block_last >= old.number)
begin
  select raise(abort, 'a block of the audit is deleted once it is archived, not before');
end;",
        ),
        postgres: Some(
            r"create trigger audit_blocks_kept before delete on audit_blocks for each row execute function windlass_archived_block();",
        ),
    },
    Trigger {
        name: "audit_archives_stay",
        doc: "Nobody changes what is known of an archive; on PostgreSQL nobody deletes it either.",
        sqlite: Some(
            r"create trigger audit_archives_stay before update on audit_archives begin
  select raise(abort, 'rows of audit_archives are neither changed nor deleted');
end;",
        ),
        postgres: Some(
            r"create trigger audit_archives_stay before update or delete on audit_archives for each row execute function windlass_append_only();",
        ),
    },
    Trigger {
        name: "audit_archives_kept",
        doc: "Nobody deletes what is known of an archive.",
        sqlite: Some(
            r"create trigger audit_archives_kept before delete on audit_archives begin
  select raise(abort, 'rows of audit_archives are neither changed nor deleted');
end;",
        ),
        postgres: None,
    },
    Trigger {
        name: "audit_heads_kept",
        doc: "Nobody deletes the head of a chain.",
        sqlite: Some(
            r"create trigger audit_heads_kept before delete on audit_heads begin
  select raise(abort, 'rows of audit_heads are neither changed nor deleted');
end;",
        ),
        postgres: Some(
            r"create trigger audit_heads_kept before delete on audit_heads for each row execute function windlass_append_only();",
        ),
    },
    Trigger {
        name: "audit_heads_forward",
        doc: "The head of a chain goes forward alone.",
        sqlite: Some(
            r"create trigger audit_heads_forward before update on audit_heads when new.number <= old.number begin
  select raise(abort, 'rows of audit_heads go forward alone');
end;",
        ),
        postgres: Some(
            r"create trigger audit_heads_forward before update on audit_heads for each row
  when (new.number <= old.number)
  execute function windlass_append_only();",
        ),
    },
];

/// The functions of PostgreSQL, which tables, triggers and the store call; each by its name.
pub(super) static FUNCTIONS: &[(&str, &str)] = &[
    (
        "windlass_final_status",
        r#"create function windlass_final_status() returns trigger language plpgsql as $$
begin
  raise exception 'run % is %, which is final', old.id, old.status using errcode = 'WL002';
end
$$;"#,
    ),
    (
        "windlass_fence",
        r#"create function windlass_fence(owned bigint, wanted bigint) returns void language plpgsql as $$
begin
  if owned <> wanted then
    raise exception 'owns % of % lanes', owned, wanted using errcode = 'WL001';
  end if;
end
$$;"#,
    ),
    (
        "windlass_expect",
        r#"create function windlass_expect(changed bigint, wanted bigint, what text) returns void language plpgsql as $$
begin
  if changed <> wanted then
    raise exception '% changed % rows, not %', what, changed, wanted using errcode = 'WL003';
  end if;
end
$$;"#,
    ),
    (
        "windlass_append_only",
        r#"create function windlass_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % are neither changed nor deleted', tg_table_name using errcode = 'WL004';
end
$$;"#,
    ),
    (
        "windlass_archived_entry",
        r#"create function windlass_archived_entry() returns trigger language plpgsql as $$
begin
  if not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.entries_until >= old.created_at) then
    raise exception 'an entry of the audit is deleted once it is archived, not before' using errcode = 'WL004';
  end if;
  return old;
end
$$;"#,
    ),
    (
        "windlass_archived_block",
        r#"create function windlass_archived_block() returns trigger language plpgsql as $$
begin
  if not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.block_last >= old.number) then
    raise exception 'a block of the audit is deleted once it is archived, not before' using errcode = 'WL004';
  end if;
  return old;
end
$$;"#,
    ),
    (
        "windlass_own_rows",
        r#"create function windlass_own_rows(of regclass) returns void language plpgsql as $$
begin
  execute format('alter table %s enable row level security', of);
  execute format('alter table %s force row level security', of);
  -- Partitions too: through their table its policy holds, but pg_dump reads each by itself.
  execute format(
    'create policy of_tenant on %s using (((select current_setting(''windlass.tenant'', true) = ''*'')'
    ' or tenant_key = (select nullif(nullif(current_setting(''windlass.tenant'', true), ''*''), '''')::integer))::integer <> 0)', of);
end
$$;"#,
    ),
];

-- The second lock: a session sees and writes the rows of the tenant that it has named (`set windlass.tenant = '7'`), of all
-- with `*`, and of none without. Every table with a tenant in its key has it, and a new one says so where it is made:
-- `select windlass_own_rows('<table>')`.

-- What is selected is looked at once in a statement, and not for every row. The comparison at the end is for the planner alone: it takes a condition that it knows nothing of for one that hardly
-- any row fulfils, but takes `<>` for one that nearly all do, so that it plans as if there were no policy.
create function windlass_own_rows(of regclass) returns void language plpgsql as $$
begin
  execute format('alter table %s enable row level security', of);
  execute format('alter table %s force row level security', of);
  -- Partitions too: through their table its policy holds, but pg_dump reads each by itself.
  execute format(
    'create policy of_tenant on %s using (((select current_setting(''windlass.tenant'', true) = ''*'')'
    ' or tenant_key = (select nullif(nullif(current_setting(''windlass.tenant'', true), ''*''), '''')::integer))::integer <> 0)', of);
end
$$;

select windlass_own_rows('definitions');
select windlass_own_rows('workflows');
select windlass_own_rows('workflow_versions');
select windlass_own_rows('runs');
select windlass_own_rows('journal');
select windlass_own_rows('journal_garbage');
select windlass_own_rows('run_snapshots');
select windlass_own_rows('idempotency_keys');
select windlass_own_rows('timers');
select windlass_own_rows('active_steps');
select windlass_own_rows('run_queue');
select windlass_own_rows('concurrency_slots');
select windlass_own_rows('inbox');
select windlass_own_rows('tasks');
select windlass_own_rows('task_leases');
select windlass_own_rows('approvals');
select windlass_own_rows('event_waits');
select windlass_own_rows('events');
select windlass_own_rows('blobs');
select windlass_own_rows('blob_refs');
select windlass_own_rows('state_values');
select windlass_own_rows('state_applied');
select windlass_own_rows('task_answers');
select windlass_own_rows('rates');
select windlass_own_rows('run_backlog');
select windlass_own_rows('run_labels');
select windlass_own_rows('folders');
select windlass_own_rows('workflow_places');
select windlass_own_rows('tags');
select windlass_own_rows('workflow_tags');
select windlass_own_rows('audit_entries');
select windlass_own_rows('task_ready');
select windlass_own_rows('vault_data_keys');
select windlass_own_rows('secrets');
select windlass_own_rows('credentials');
select windlass_own_rows('audit_unsealed');
select windlass_own_rows('audit_blocks');
select windlass_own_rows('audit_heads');
select windlass_own_rows('audit_archives');
select windlass_own_rows('rate_limit_rules');
select windlass_own_rows('setting_values');
select windlass_own_rows('files');
select windlass_own_rows('file_versions');
select windlass_own_rows('file_links');
select windlass_own_rows('file_objects');
select windlass_own_rows('file_usage');
select windlass_own_rows('members');
select windlass_own_rows('roles');
select windlass_own_rows('role_assignments');
select windlass_own_rows('invitations');
select windlass_own_rows('sessions');
select windlass_own_rows('api_keys');
select windlass_own_rows('api_key_usage');
select windlass_own_rows(inhrelid) from pg_inherits where inhparent = 'journal'::regclass;

-- What was chosen for the whole installation stands under the key 0, and every tenant may read it.
create policy of_installation on setting_values for select using (tenant_key = 0);

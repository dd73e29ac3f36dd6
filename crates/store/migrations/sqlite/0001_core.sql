-- The core: nodes and lanes, documents, runs and their journal, what runs wait for, tasks, state.
--
-- Our own reader checks the live database against these statements: one column or constraint a line.

create table tenants (
  key integer not null,
  id blob not null,
  slug text not null,
  name text not null,
  created_at text not null,
  primary key (key),
  unique (id),
  unique (slug)
) strict;

create table settings (
  name text not null,
  value text not null,
  primary key (name)
) strict, without rowid;

create table nodes (
  id blob not null,
  name text not null,
  host text not null,
  pid integer not null,
  state text not null,
  lease_until text not null,
  started_at text not null,
  primary key (id),
  constraint nodes_state check (state = 'alive' or state = 'dead' or state = 'left')
) strict;

-- Owning, order, fence, writer and adoption hang on this table: a server has one lane and one node, by construction.
create table lanes (
  id integer not null,
  node_id blob,
  epoch integer not null,
  primary key (id)
) strict, without rowid;

create table definitions (
  tenant_key integer not null references tenants (key),
  hash blob not null,
  document blob not null,
  document_bytes integer not null,
  created_at text not null,
  primary key (tenant_key, hash)
) strict;

create table workflows (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  description text not null,
  tags text not null,
  draft text not null,
  draft_hash blob,
  revision integer not null,
  published_version integer,
  created_at text not null,
  updated_at text not null,
  primary key (tenant_key, id),
  unique (tenant_key, name)
) strict;

create table workflow_versions (
  tenant_key integer not null,
  workflow_id blob not null,
  version integer not null,
  definition_hash blob not null,
  source text not null,
  published_at text not null,
  published_by text,
  primary key (tenant_key, workflow_id, version),
  foreign key (tenant_key, workflow_id) references workflows (tenant_key, id),
  foreign key (tenant_key, definition_hash) references definitions (tenant_key, hash)
) strict;

create table runs (
  run_key integer primary key,
  tenant_key integer not null,
  id blob not null,
  lane_id integer not null,
  workflow text not null,
  version integer,
  definition_hash blob not null,
  status text not null,
  undo_status text,
  mode text not null,
  priority integer not null,
  key text,
  labels text,
  started_by text,
  parent_run_id blob,
  parent_path text,
  origin_run_id blob,
  origin_kind text,
  depth integer not null,
  error_class text,
  error_code text,
  error_message text,
  created_at text not null,
  started_at text,
  finished_at text,
  journal_bytes integer not null,
  unique (tenant_key, id),
  constraint runs_status check (status = 'queued' or status = 'running' or status = 'waiting' or status = 'paused' or status = 'compensating' or status = 'completed' or status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out'),
  constraint runs_undo_status check (undo_status = 'none' or undo_status = 'done' or undo_status = 'left' or undo_status = 'off'),
  constraint runs_mode check (mode = 'production' or mode = 'test'),
  constraint runs_origin_kind check (origin_kind = 'fork' or origin_kind = 'rerun' or origin_kind = 'undo' or origin_kind = 'restart')
) strict;
create index runs_by_workflow on runs (tenant_key, workflow, id);
create index runs_open on runs (lane_id, status, tenant_key, id) where status = 'queued' or status = 'running' or status = 'waiting' or status = 'paused' or status = 'compensating';
create index runs_to_look_at on runs (tenant_key, status, id) where status = 'waiting' or status = 'paused' or status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out';
create index runs_by_parent on runs (tenant_key, parent_run_id, id) where parent_run_id is not null;

-- Appended by rowid and unique by (run_key, seq): a commit of many runs dirties few pages.
create table journal (
  id integer primary key,
  run_key integer not null,
  seq integer not null,
  kind text not null,
  opens integer not null,
  path text not null,
  step text not null,
  attempt integer not null,
  at integer not null,
  payload blob not null,
  checksum integer not null,
  unique (run_key, seq)
) strict;

create table journal_garbage (
  tenant_key integer not null,
  run_id blob not null,
  run_key integer not null,
  primary key (tenant_key, run_id)
) strict, without rowid;

create table run_snapshots (
  tenant_key integer not null,
  run_id blob not null,
  seq integer not null,
  engine_version integer not null,
  state blob not null,
  checksum integer not null,
  primary key (tenant_key, run_id)
) strict;

create table idempotency_keys (
  tenant_key integer not null,
  key_hash blob not null,
  body_hash blob not null,
  run_id blob not null,
  primary key (tenant_key, key_hash)
) strict, without rowid;
create index idempotency_keys_by_run on idempotency_keys (tenant_key, run_id);

create table timers (
  lane_id integer not null,
  due_at integer not null,
  run_id blob not null,
  tenant_key integer not null,
  primary key (lane_id, due_at, run_id)
) strict, without rowid;

create table active_steps (
  tenant_key integer not null,
  run_id blob not null,
  path text not null,
  step text not null,
  attempt integer not null,
  started_at integer not null,
  primary key (tenant_key, run_id, path)
) strict, without rowid;

create table run_queue (
  tenant_key integer not null,
  run_id blob not null,
  lane_id integer not null,
  workflow text not null,
  slot_key text not null,
  priority integer not null,
  queued_at text not null,
  primary key (tenant_key, run_id)
) strict, without rowid;
create index run_queue_by_place on run_queue (tenant_key, workflow, slot_key, priority desc, run_id);

create table concurrency_slots (
  tenant_key integer not null,
  workflow text not null,
  slot_key text not null,
  run_id blob not null,
  taken_at text not null,
  primary key (tenant_key, workflow, slot_key, run_id)
) strict, without rowid;
create index concurrency_slots_by_run on concurrency_slots (tenant_key, run_id);

create table inbox (
  lane_id integer not null,
  id blob not null,
  tenant_key integer not null,
  run_id blob not null,
  kind text not null,
  dedup text not null,
  payload blob not null,
  created_at text not null,
  primary key (lane_id, id),
  unique (tenant_key, run_id, kind, dedup)
) strict, without rowid;

create table tasks (
  tenant_key integer not null,
  id blob not null,
  lane_id integer not null,
  run_id blob not null,
  path text not null,
  attempt integer not null,
  queue text not null,
  name text not null,
  prio integer not null,
  status text not null,
  payload blob not null,
  available_at text not null,
  lost integer not null,
  lost_max integer not null,
  lease_ms integer not null,
  output blob,
  created_at text not null,
  finished_at text,
  primary key (tenant_key, id),
  constraint tasks_status check (status = 'pending' or status = 'claimed' or status = 'completed' or status = 'failed')
) strict;
create index tasks_ready on tasks (tenant_key, queue, prio desc, id) where status = 'pending';
create index tasks_ended on tasks (lane_id, id) where finished_at is not null;
create index tasks_by_run on tasks (tenant_key, run_id, id);

-- Who holds a claimed task, apart from the task so that a heartbeat rewrites a narrow row and no index.
create table task_leases (
  tenant_key integer not null,
  task_id blob not null,
  run_id blob not null,
  claim_token blob not null,
  worker text not null,
  lease_ms integer not null,
  lease_until integer not null,
  primary key (tenant_key, task_id)
) strict, without rowid;

create table approvals (
  tenant_key integer not null,
  id blob not null,
  lane_id integer not null,
  run_id blob not null,
  path text not null,
  title text not null,
  detail text not null,
  status text not null,
  responses text not null,
  created_at text not null,
  expires_at text,
  decided_at text,
  primary key (tenant_key, id),
  constraint approvals_status check (status = 'pending' or status = 'approved' or status = 'rejected' or status = 'expired' or status = 'cancelled')
) strict;
create index approvals_pending on approvals (tenant_key, id) where status = 'pending';
create index approvals_by_run on approvals (tenant_key, run_id, id);

create table event_waits (
  tenant_key integer not null,
  run_id blob not null,
  path text not null,
  lane_id integer not null,
  type text not null,
  subject text,
  since text not null,
  primary key (tenant_key, run_id, path)
) strict, without rowid;
create index event_waits_by_type on event_waits (tenant_key, type, subject);

create table events (
  tenant_key integer not null,
  id blob not null,
  source text not null,
  event_id text not null,
  type text not null,
  subject text,
  event blob not null,
  at text not null,
  primary key (tenant_key, id),
  unique (tenant_key, source, event_id)
) strict;
create index events_by_type on events (tenant_key, type, id);

create table blobs (
  tenant_key integer not null,
  hash blob not null,
  bytes blob not null,
  raw_bytes integer not null,
  touched_at text not null,
  primary key (tenant_key, hash)
) strict;

create table blob_refs (
  tenant_key integer not null,
  run_id blob not null,
  hash blob not null,
  primary key (tenant_key, run_id, hash),
  foreign key (tenant_key, hash) references blobs (tenant_key, hash)
) strict, without rowid;
create index blob_refs_by_hash on blob_refs (tenant_key, hash);

create table state_values (
  tenant_key integer not null,
  scope text not null,
  namespace text not null,
  key text not null,
  value text not null,
  version integer not null,
  expires_at text,
  updated_at text not null,
  primary key (tenant_key, scope, namespace, key)
) strict, without rowid;
create index state_values_expiring on state_values (expires_at) where expires_at is not null;

-- What a step's change of a state value returned, so that a repeated attempt gets that and changes nothing.
create table state_applied (
  tenant_key integer not null,
  step_key text not null,
  run_id blob not null,
  result text not null,
  applied_at text not null,
  primary key (tenant_key, step_key)
) strict, without rowid;
create index state_applied_by_run on state_applied (tenant_key, run_id);

create table api_tokens (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  prefix text not null,
  hash blob not null,
  scopes text not null,
  created_at text not null,
  expires_at text,
  last_used_at text,
  revoked_at text,
  primary key (tenant_key, id),
  unique (hash)
) strict;

create trigger runs_final before update of status on runs
  when (old.status = 'completed' or old.status = 'failed' or old.status = 'compensated' or old.status = 'cancelled' or old.status = 'timed_out') and new.status <> old.status
begin
  select raise(abort, 'runs_final');
end;

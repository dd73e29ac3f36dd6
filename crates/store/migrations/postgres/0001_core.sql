-- The core: nodes and lanes, documents, runs and their journal, what runs wait for, tasks, state.
--
-- Our own reader checks the live database against these statements: one column or constraint a line.

create table tenants (
  key integer not null,
  id uuid not null,
  slug text not null,
  name text not null,
  created_at timestamptz not null,
  primary key (key),
  unique (id),
  unique (slug)
);

create table settings (
  name text not null,
  value text not null,
  primary key (name)
);

create table nodes (
  id uuid not null,
  name text not null,
  host text not null,
  pid bigint not null,
  state text not null,
  lease_until timestamptz not null,
  started_at timestamptz not null,
  primary key (id),
  constraint nodes_state check (state = 'alive' or state = 'dead' or state = 'left')
) with (fillfactor = 50);

-- Owning, order, fence, writer and adoption hang on this table: a commit locks its lanes' rows, and nothing else does.
create table lanes (
  id integer not null,
  node_id uuid,
  epoch bigint not null,
  primary key (id)
) with (fillfactor = 50);

create table definitions (
  tenant_key integer not null references tenants (key),
  hash bytea not null,
  document bytea not null,
  document_bytes bigint not null,
  created_at timestamptz not null,
  primary key (tenant_key, hash)
);

create table workflows (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null,
  description text not null,
  tags jsonb not null,
  draft text not null,
  draft_hash bytea,
  revision bigint not null,
  published_version integer,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (tenant_key, id),
  unique (tenant_key, name)
);

create table workflow_versions (
  tenant_key integer not null,
  workflow_id uuid not null,
  version integer not null,
  definition_hash bytea not null,
  source text not null,
  published_at timestamptz not null,
  published_by text,
  primary key (tenant_key, workflow_id, version),
  foreign key (tenant_key, workflow_id) references workflows (tenant_key, id),
  foreign key (tenant_key, definition_hash) references definitions (tenant_key, hash)
);

create table runs (
  tenant_key integer not null,
  id uuid not null,
  lane_id integer not null,
  workflow text not null,
  version integer,
  definition_hash bytea not null,
  status text not null,
  undo_status text,
  mode text not null,
  priority integer not null,
  key text,
  labels jsonb,
  started_by jsonb,
  parent_run_id uuid,
  parent_path text,
  origin_run_id uuid,
  origin_kind text,
  depth integer not null,
  error_class text,
  error_code text,
  error_message text,
  created_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz,
  journal_bytes bigint not null,
  primary key (tenant_key, id),
  constraint runs_status check (status = 'queued' or status = 'running' or status = 'waiting' or status = 'paused' or status = 'compensating' or status = 'completed' or status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out'),
  constraint runs_undo_status check (undo_status = 'none' or undo_status = 'done' or undo_status = 'left' or undo_status = 'off'),
  constraint runs_mode check (mode = 'production' or mode = 'test'),
  constraint runs_origin_kind check (origin_kind = 'fork' or origin_kind = 'rerun' or origin_kind = 'undo' or origin_kind = 'restart')
) with (fillfactor = 80);
create index runs_by_workflow on runs (tenant_key, workflow, id);
create index runs_open on runs (lane_id, status, tenant_key, id) where status = 'queued' or status = 'running' or status = 'waiting' or status = 'paused' or status = 'compensating';
create index runs_to_look_at on runs (tenant_key, status, id) where status = 'waiting' or status = 'paused' or status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out';
create index runs_by_parent on runs (tenant_key, parent_run_id, id) where parent_run_id is not null;

create table journal (
  tenant_key integer not null,
  run_id uuid not null,
  seq bigint not null,
  kind text not null,
  opens boolean not null,
  path text not null,
  step text not null,
  attempt integer not null,
  at timestamptz not null,
  payload bytea not null,
  checksum bigint not null,
  primary key (tenant_key, run_id, seq)
) partition by range (run_id);
-- Rows of runs whose id carries no time that a partition was made for.
create table journal_other partition of journal default;

create table journal_garbage (
  tenant_key integer not null,
  run_id uuid not null,
  run_key bigint not null,
  primary key (tenant_key, run_id)
);

create table run_snapshots (
  tenant_key integer not null,
  run_id uuid not null,
  seq bigint not null,
  engine_version integer not null,
  state bytea not null,
  checksum bigint not null,
  primary key (tenant_key, run_id)
);

create table idempotency_keys (
  tenant_key integer not null,
  key_hash bytea not null,
  body_hash bytea not null,
  run_id uuid not null,
  primary key (tenant_key, key_hash)
);
create index idempotency_keys_by_run on idempotency_keys (tenant_key, run_id);

create table timers (
  lane_id integer not null,
  due_at timestamptz not null,
  run_id uuid not null,
  tenant_key integer not null,
  primary key (lane_id, due_at, run_id)
);

create table active_steps (
  tenant_key integer not null,
  run_id uuid not null,
  path text not null,
  step text not null,
  attempt integer not null,
  started_at timestamptz not null,
  primary key (tenant_key, run_id, path)
);

create table run_queue (
  tenant_key integer not null,
  run_id uuid not null,
  lane_id integer not null,
  workflow text not null,
  slot_key text not null,
  priority integer not null,
  queued_at timestamptz not null,
  primary key (tenant_key, run_id)
);
create index run_queue_by_place on run_queue (tenant_key, workflow, slot_key, priority desc, run_id);

create table concurrency_slots (
  tenant_key integer not null,
  workflow text not null,
  slot_key text not null,
  run_id uuid not null,
  taken_at timestamptz not null,
  primary key (tenant_key, workflow, slot_key, run_id)
);
create index concurrency_slots_by_run on concurrency_slots (tenant_key, run_id);

create table inbox (
  lane_id integer not null,
  id uuid not null,
  tenant_key integer not null,
  run_id uuid not null,
  kind text not null,
  dedup text not null,
  payload bytea not null,
  created_at timestamptz not null,
  primary key (lane_id, id),
  constraint inbox_dedup unique (tenant_key, run_id, kind, dedup)
);

create table tasks (
  tenant_key integer not null,
  id uuid not null,
  lane_id integer not null,
  run_id uuid not null,
  path text not null,
  attempt integer not null,
  queue text not null,
  name text not null,
  prio integer not null,
  status text not null,
  payload bytea not null,
  available_at timestamptz not null,
  lost integer not null,
  lost_max integer not null,
  lease_ms bigint not null,
  output bytea,
  created_at timestamptz not null,
  finished_at timestamptz,
  primary key (tenant_key, id),
  constraint tasks_status check (status = 'pending' or status = 'claimed' or status = 'completed' or status = 'failed')
) with (fillfactor = 80);
create index tasks_ready on tasks (tenant_key, queue, prio desc, id) where status = 'pending';
create index tasks_ended on tasks (lane_id, id) where finished_at is not null;
create index tasks_by_run on tasks (tenant_key, run_id, id);

-- Who holds a claimed task, apart from the task so that a heartbeat rewrites a narrow row and no index.
create table task_leases (
  tenant_key integer not null,
  task_id uuid not null,
  run_id uuid not null,
  claim_token uuid not null,
  worker text not null,
  lease_ms bigint not null,
  lease_until timestamptz not null,
  primary key (tenant_key, task_id)
) with (fillfactor = 50);

create table approvals (
  tenant_key integer not null,
  id uuid not null,
  lane_id integer not null,
  run_id uuid not null,
  path text not null,
  title text not null,
  detail jsonb not null,
  status text not null,
  responses jsonb not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  decided_at timestamptz,
  primary key (tenant_key, id),
  constraint approvals_status check (status = 'pending' or status = 'approved' or status = 'rejected' or status = 'expired' or status = 'cancelled')
);
create index approvals_pending on approvals (tenant_key, id) where status = 'pending';
create index approvals_by_run on approvals (tenant_key, run_id, id);

create table event_waits (
  tenant_key integer not null,
  run_id uuid not null,
  path text not null,
  lane_id integer not null,
  type text not null,
  subject text,
  since timestamptz not null,
  primary key (tenant_key, run_id, path)
);
create index event_waits_by_type on event_waits (tenant_key, type, subject);

create table events (
  tenant_key integer not null,
  id uuid not null,
  source text not null,
  event_id text not null,
  type text not null,
  subject text,
  event bytea not null,
  at timestamptz not null,
  primary key (tenant_key, id),
  constraint events_dedup unique (tenant_key, source, event_id)
);
create index events_by_type on events (tenant_key, type, id);

create table blobs (
  tenant_key integer not null,
  hash bytea not null,
  bytes bytea not null,
  raw_bytes bigint not null,
  touched_at timestamptz not null,
  primary key (tenant_key, hash)
);

create table blob_refs (
  tenant_key integer not null,
  run_id uuid not null,
  hash bytea not null,
  primary key (tenant_key, run_id, hash),
  foreign key (tenant_key, hash) references blobs (tenant_key, hash)
);
create index blob_refs_by_hash on blob_refs (tenant_key, hash);

create table state_values (
  tenant_key integer not null,
  scope text not null,
  namespace text not null,
  key text not null,
  value text not null,
  version bigint not null,
  expires_at timestamptz,
  updated_at timestamptz not null,
  primary key (tenant_key, scope, namespace, key)
);
create index state_values_expiring on state_values (expires_at) where expires_at is not null;

-- What a step's change of a state value returned, so that a repeated attempt gets that and changes nothing.
create table state_applied (
  tenant_key integer not null,
  step_key text not null,
  run_id uuid not null,
  result text not null,
  applied_at timestamptz not null,
  primary key (tenant_key, step_key)
);
create index state_applied_by_run on state_applied (tenant_key, run_id);

create table api_tokens (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null,
  prefix text not null,
  hash bytea not null,
  scopes jsonb not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  primary key (tenant_key, id),
  unique (hash)
);

create function windlass_final_status() returns trigger language plpgsql as $$
begin
  raise exception 'run % is %, which is final', old.id, old.status using errcode = 'WL002';
end
$$;
create trigger runs_final before update of status on runs for each row
  when ((old.status = 'completed' or old.status = 'failed' or old.status = 'compensated' or old.status = 'cancelled' or old.status = 'timed_out') and new.status <> old.status)
  execute function windlass_final_status();

-- A flight of statements is sent whole, so what must abort it has to raise on the server.
create function windlass_fence(owned bigint, wanted bigint) returns void language plpgsql as $$
begin
  if owned <> wanted then
    raise exception 'owns % of % lanes', owned, wanted using errcode = 'WL001';
  end if;
end
$$;
create function windlass_expect(changed bigint, wanted bigint, what text) returns void language plpgsql as $$
begin
  if changed <> wanted then
    raise exception '% changed % rows, not %', what, changed, wanted using errcode = 'WL003';
  end if;
end
$$;

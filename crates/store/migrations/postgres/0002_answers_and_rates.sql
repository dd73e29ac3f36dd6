-- What a worker answered, so that the same answer given again is known; the task itself is gone then.
create table task_answers (
  tenant_key integer not null,
  task_id uuid not null,
  run_id uuid not null,
  token uuid not null,
  hash bytea not null,
  primary key (tenant_key, task_id)
);
create index task_answers_by_run on task_answers (tenant_key, run_id);

-- The starts of steps with a `rate`, shared by all servers: pairs of a time and a count.
create table rates (
  tenant_key integer not null,
  name text not null,
  starts bytea not null,
  free_at timestamptz not null,
  primary key (tenant_key, name)
);
create index rates_by_end on rates (free_at);

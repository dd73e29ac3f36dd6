-- What a worker answered, so that the same answer given again is known; the task itself is gone then.
create table task_answers (
  tenant_key integer not null,
  task_id blob not null,
  run_id blob not null,
  token blob not null,
  hash blob not null,
  primary key (tenant_key, task_id)
) strict, without rowid;
create index task_answers_by_run on task_answers (tenant_key, run_id);

-- The starts of steps with a `rate`, shared by all servers: pairs of a time and a count.
create table rates (
  tenant_key integer not null,
  name text not null,
  starts blob not null,
  free_at text not null,
  primary key (tenant_key, name)
) strict, without rowid;
create index rates_by_end on rates (free_at);

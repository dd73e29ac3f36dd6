-- What lists and loads look for when there is much: each has its index, so that none reads what it does not show.

-- A run that is loaded asks for its own timer, and nothing else may take this index: see migration 4.
create index timers_by_run on timers (tenant_key, run_id) where tenant_key is not null;

-- Lists of runs that ended otherwise than well, of one workflow too. Runs that are open have `runs_open`.
drop index runs_to_look_at;
create index runs_ended_badly on runs (tenant_key, status, id, workflow) where status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out';

-- The keys and labels that runs are found by, those of most runs being none. `name` is `key`, or `label:` and a name.
create table run_labels (
  tenant_key integer not null,
  name text not null,
  value text not null,
  run_id uuid not null,
  primary key (tenant_key, name, value, run_id)
);
insert into run_labels (tenant_key, name, value, run_id)
  select tenant_key, 'key', key, id from runs where key is not null;
insert into run_labels (tenant_key, name, value, run_id)
  select r.tenant_key, 'label:' || l.key, l.value, r.id from runs r, jsonb_each_text(r.labels) l
  where r.labels is not null;

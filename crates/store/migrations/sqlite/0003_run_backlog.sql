-- Runs that no server had room for: whoever has takes them. `rank` is the priority with its sign turned, so that one
-- order of the index is the order of the queue.
create table run_backlog (
  tenant_key integer not null,
  run_id blob not null,
  rank integer not null,
  queued_at integer not null,
  primary key (tenant_key, run_id)
) strict, without rowid;
create index run_backlog_next on run_backlog (tenant_key, rank, run_id);

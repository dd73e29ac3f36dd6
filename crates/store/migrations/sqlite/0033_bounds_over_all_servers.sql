-- How many active runs of a tenant with a quota each server may have (ADR 32); on SQLite there is one server, and no row.
create table run_allowances (
  tenant_key integer not null,
  node_id blob not null,
  runs integer not null,
  gone_at text,
  primary key (tenant_key, node_id)
) strict, without rowid;

-- Attempts to sign in that were made lately: what is counted together, by its hash, and when all of its attempts will be
-- there again.
create table sign_in_attempts (
  bucket blob not null,
  full_at text not null,
  primary key (bucket)
) strict, without rowid;
create index sign_in_attempts_by_end on sign_in_attempts (full_at);

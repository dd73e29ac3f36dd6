-- How many active runs of a tenant with a quota each server may have (ADR 32).
create table run_allowances (
  tenant_key integer not null,
  node_id uuid not null,
  runs bigint not null,
  gone_at timestamptz,
  primary key (tenant_key, node_id)
);
select windlass_own_rows('run_allowances');

-- Attempts to sign in that were made lately, for all servers at once: what is counted together, by its hash, and when all
-- of its attempts will be there again.
create table sign_in_attempts (
  bucket bytea not null,
  full_at timestamptz not null,
  primary key (bucket)
);
create index sign_in_attempts_by_end on sign_in_attempts (full_at);

-- What a worker answered, so that the same answer given again is known.
alter table tasks add column answer_token uuid;
alter table tasks add column answer_hash bytea;

-- The starts of steps with a `rate`, shared by all servers: pairs of a time and a count.
create table rates (
  tenant_key integer not null,
  name text not null,
  starts bytea not null,
  free_at timestamptz not null,
  primary key (tenant_key, name)
);
create index rates_by_end on rates (free_at);

-- Tenants as a record: quotas, retention, suspension. The table keeps its key, to which all others refer.

create table tenants_new (
  key integer not null,
  id blob not null,
  slug text not null,
  name text not null,
  created_at text not null,
  region text,
  max_concurrent_runs integer,
  max_queued_runs integer,
  data_retention_days integer,
  status text not null default 'active',
  suspended_at text,
  suspended_reason text,
  search_text text not null,
  revision integer not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (key),
  constraint tenants_key_check check (key >= 1 and key <= 2147483647),
  constraint tenants_slug_check check (length(slug) >= 1 and length(slug) <= 63),
  constraint tenants_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint tenants_region_check check (length(region) >= 1 and length(region) <= 63),
  constraint tenants_max_concurrent_runs_check check (max_concurrent_runs >= 1 and max_concurrent_runs <= 1000000000),
  constraint tenants_max_queued_runs_check check (max_queued_runs >= 1 and max_queued_runs <= 1000000000),
  constraint tenants_data_retention_days_check check (data_retention_days >= 1 and data_retention_days <= 36500),
  constraint tenants_status_check check (status = 'active' or status = 'suspended'),
  constraint tenants_suspended_reason_check check (length(suspended_reason) >= 1 and length(suspended_reason) <= 500),
  constraint tenants_suspended_suspended_at check (status <> 'suspended' or suspended_at is not null)
) strict;
insert into tenants_new (key, id, slug, name, created_at, search_text, revision, created_by, updated_at, updated_by)
  select key, id, slug, name, created_at, lower(slug || char(10) || name), 1, 'system', created_at, 'system' from tenants;
drop table tenants;
alter table tenants_new rename to tenants;
create unique index tenants_id_key on tenants (id);
create unique index tenants_slug_key on tenants (slug);
-- Counts what changes who may do what, so that every server knows when what it remembers is old.
insert into settings (name, value) values ('access_epoch', '1');

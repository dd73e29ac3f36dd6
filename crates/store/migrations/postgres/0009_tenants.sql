-- Tenants as a record: quotas, retention, suspension.

alter table tenants drop constraint tenants_id_key;
alter table tenants drop constraint tenants_slug_key;
alter table tenants alter column slug type text collate "C";
alter table tenants alter column name type text collate "C";
alter table tenants add column region text collate "C";
alter table tenants add column max_concurrent_runs bigint;
alter table tenants add column max_queued_runs bigint;
alter table tenants add column data_retention_days bigint;
alter table tenants add column status text not null default 'active' collate "C";
alter table tenants add column suspended_at timestamptz;
alter table tenants add column suspended_reason text collate "C";
alter table tenants add column search_text text not null default '' collate "C";
alter table tenants add column revision bigint not null default 1;
alter table tenants add column created_by text not null default 'system' collate "C";
alter table tenants add column updated_at timestamptz not null default 'epoch';
alter table tenants add column updated_by text not null default 'system' collate "C";
update tenants set search_text = lower(slug || chr(10) || name), updated_at = created_at;
alter table tenants alter column search_text drop default;
alter table tenants alter column revision drop default;
alter table tenants alter column created_by drop default;
alter table tenants alter column updated_at drop default;
alter table tenants alter column updated_by drop default;
alter table tenants add constraint tenants_key_check check (key >= 1 and key <= 2147483647);
alter table tenants add constraint tenants_slug_check check (length(slug) >= 1 and length(slug) <= 63);
alter table tenants add constraint tenants_name_check check (length(name) >= 1 and length(name) <= 200);
alter table tenants add constraint tenants_region_check check (length(region) >= 1 and length(region) <= 63);
alter table tenants add constraint tenants_max_concurrent_runs_check check (max_concurrent_runs >= 1 and max_concurrent_runs <= 1000000000);
alter table tenants add constraint tenants_max_queued_runs_check check (max_queued_runs >= 1 and max_queued_runs <= 1000000000);
alter table tenants add constraint tenants_data_retention_days_check check (data_retention_days >= 1 and data_retention_days <= 36500);
alter table tenants add constraint tenants_status_check check (status = 'active' or status = 'suspended');
alter table tenants add constraint tenants_suspended_reason_check check (length(suspended_reason) >= 1 and length(suspended_reason) <= 500);
alter table tenants add constraint tenants_suspended_suspended_at check (status <> 'suspended' or suspended_at is not null);
create unique index tenants_id_key on tenants (id);
create unique index tenants_slug_key on tenants (slug);

-- Counts what changes who may do what, so that every server knows when what it remembers is old.
insert into settings (name, value) values ('access_epoch', '1');

-- Workflows know who made, changed and deleted them, and by name which others their newest versions start.

alter table workflows add column created_by text;
alter table workflows add column updated_by text;
alter table workflows add column deleted_at text;
alter table workflows add column deleted_by text;
-- The version whose references are noted below. Documents are compressed, so the program notes what is there already: at the next sweep, or before a deletion.
alter table workflows add column noted_version integer;
create index workflows_deleted on workflows (tenant_key, name) where deleted_at is not null;
create index workflows_to_note on workflows (tenant_key, id) where published_version is not null and (noted_version is null or noted_version <> published_version);

create table workflow_references (
  tenant_key integer not null,
  workflow_id blob not null,
  refers_to text not null,
  primary key (tenant_key, workflow_id, refers_to),
  foreign key (tenant_key, workflow_id) references workflows (tenant_key, id)
) strict, without rowid;
create index workflow_references_by_name on workflow_references (tenant_key, refers_to, workflow_id);

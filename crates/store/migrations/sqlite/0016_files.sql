-- Files: their rows, written by `cargo run -p windlass-resource --example tables sqlite files file_versions file_links`; what lies in the
-- storage, known before it lies there; and how many bytes a tenant has there.

create table files (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  description text not null default '',
  workflow_id blob,
  run_id blob,
  version integer not null,
  size_bytes integer not null,
  sha256 text not null,
  media_type text not null,
  declared_type text,
  kind text not null,
  metadata text not null default '{}',
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  deleted_at text,
  primary key (tenant_key, id),
  constraint files_name_check check (length(name) >= 1 and length(name) <= 255),
  constraint files_description_check check (length(description) <= 2000),
  constraint files_version_check check (version >= 1),
  constraint files_size_bytes_check check (size_bytes >= 0 and size_bytes <= 68719476736),
  constraint files_sha256_check check (length(sha256) >= 64 and length(sha256) <= 64),
  constraint files_media_type_check check (length(media_type) >= 1 and length(media_type) <= 127),
  constraint files_declared_type_check check (length(declared_type) >= 1 and length(declared_type) <= 200),
  constraint files_kind_check check (kind = 'document' or kind = 'image' or kind = 'audio' or kind = 'video' or kind = 'text' or kind = 'archive' or kind = 'program' or kind = 'other'),
  constraint files_metadata_check check (json_type(metadata) = 'object'),
  constraint files_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade
) strict;
create index files_deleted on files (tenant_key, deleted_at) where deleted_at is not null;
create index files_by_run_id on files (tenant_key, run_id);
create index files_by_workflow_id on files (tenant_key, workflow_id);

create table file_versions (
  tenant_key integer not null references tenants (key),
  id blob not null,
  file_id blob not null,
  number integer not null,
  size_bytes integer not null,
  sha256 text not null,
  media_type text not null,
  declared_type text,
  object_id blob not null,
  chunks blob,
  created_at text not null,
  created_by text not null,
  primary key (tenant_key, id),
  constraint file_versions_number_check check (number >= 1),
  constraint file_versions_size_bytes_check check (size_bytes >= 0 and size_bytes <= 68719476736),
  constraint file_versions_sha256_check check (length(sha256) >= 64 and length(sha256) <= 64),
  constraint file_versions_media_type_check check (length(media_type) >= 1 and length(media_type) <= 127),
  constraint file_versions_declared_type_check check (length(declared_type) >= 1 and length(declared_type) <= 200),
  constraint file_versions_file_id_fkey foreign key (tenant_key, file_id) references files (tenant_key, id) on delete cascade
) strict;
create unique index file_versions_file_id_number_key on file_versions (tenant_key, file_id, number);
create index file_versions_by_object_id on file_versions (tenant_key, object_id);

create table file_links (
  tenant_key integer not null references tenants (key),
  id blob not null,
  file_id blob not null,
  version integer,
  description text not null default '',
  expires_at text not null,
  downloads_max integer,
  downloads integer not null default 0,
  last_used_at text,
  status text not null default 'active',
  revoked_at text,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint file_links_version_check check (version >= 1),
  constraint file_links_description_check check (length(description) <= 2000),
  constraint file_links_downloads_max_check check (downloads_max >= 1 and downloads_max <= 1000000000),
  constraint file_links_downloads_check check (downloads >= 0),
  constraint file_links_status_check check (status = 'active' or status = 'revoked'),
  constraint file_links_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint file_links_file_id_fkey foreign key (tenant_key, file_id) references files (tenant_key, id) on delete cascade
) strict;
create index file_links_by_file_id on file_links (tenant_key, file_id);

create table file_objects (
  tenant_key integer not null references tenants (key),
  id blob not null,
  bytes integer,
  created_at text not null,
  primary key (tenant_key, id)
) strict, without rowid;

create table file_usage (
  tenant_key integer not null references tenants (key),
  bytes integer not null,
  primary key (tenant_key)
) strict, without rowid;

alter table tenants add column max_file_bytes integer constraint tenants_max_file_bytes_check check (max_file_bytes >= 1 and max_file_bytes <= 1125899906842624);

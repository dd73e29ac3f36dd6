-- Secrets and credentials: written by `cargo run -p windlass-resource --example tables sqlite secrets` and `… credentials`.

create table secrets (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  description text not null default '',
  value blob not null,
  folder_id blob,
  version integer not null default 1,
  last_used_at text,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint secrets_name_check check (length(name) >= 1 and length(name) <= 100),
  constraint secrets_description_check check (length(description) <= 2000),
  constraint secrets_version_check check (version >= 1),
  constraint secrets_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict
) strict;
create unique index secrets_name_key on secrets (tenant_key, name);
create index secrets_by_folder_id on secrets (tenant_key, folder_id);

create table credentials (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  description text not null default '',
  credential_type text not null,
  fields text not null default '{}',
  secret_fields blob not null,
  folder_id blob,
  version integer not null default 1,
  last_used_at text,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint credentials_name_check check (length(name) >= 1 and length(name) <= 100),
  constraint credentials_description_check check (length(description) <= 2000),
  constraint credentials_credential_type_check check (credential_type = 'api_key' or credential_type = 'basic_auth' or credential_type = 'bearer' or credential_type = 'oauth2' or credential_type = 'smtp' or credential_type = 'database' or credential_type = 'aws' or credential_type = 'ssh_key'),
  constraint credentials_fields_check check (json_type(fields) = 'object'),
  constraint credentials_version_check check (version >= 1),
  constraint credentials_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict
) strict;
create unique index credentials_name_key on credentials (tenant_key, name);
create index credentials_by_folder_id on credentials (tenant_key, folder_id);

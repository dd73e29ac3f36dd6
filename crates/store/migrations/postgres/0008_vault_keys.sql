-- The keys of the vault, sealed: the root once for each master key that opens it, and the data keys of tenants.

create table vault_master_keys (
  id uuid not null primary key,
  root_id uuid not null,
  root bytea not null,
  is_first boolean not null default false,
  created_at timestamptz not null
);
create unique index vault_master_keys_first on vault_master_keys (is_first) where is_first;

create table vault_data_keys (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  sealed bytea not null,
  is_active boolean not null,
  created_at timestamptz not null,
  primary key (tenant_key, id)
);
create unique index vault_data_keys_active on vault_data_keys (tenant_key) where is_active;

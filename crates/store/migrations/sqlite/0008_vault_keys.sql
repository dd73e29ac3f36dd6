-- The keys of the vault, sealed: the root once for each master key that opens it, and the data keys of tenants.

create table vault_master_keys (
  id blob not null primary key,
  root_id blob not null,
  root blob not null,
  is_first integer not null default 0,
  created_at text not null
) strict;
create unique index vault_master_keys_first on vault_master_keys (is_first) where is_first = 1;

create table vault_data_keys (
  tenant_key integer not null references tenants (key),
  id blob not null,
  sealed blob not null,
  is_active integer not null,
  created_at text not null,
  primary key (tenant_key, id)
) strict;
create unique index vault_data_keys_active on vault_data_keys (tenant_key) where is_active = 1;

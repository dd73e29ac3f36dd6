-- Settings that were chosen while servers run: tenant 0 stands for the whole installation.

create table setting_values (
  tenant_key integer not null,
  name text not null collate "C",
  value bigint not null,
  updated_at timestamptz not null,
  updated_by text not null,
  primary key (tenant_key, name)
);

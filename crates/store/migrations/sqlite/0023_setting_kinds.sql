-- Settings are of several kinds: a value is JSON.

create table setting_values_new (
  tenant_key integer not null,
  name text not null,
  value text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, name)
) strict, without rowid;
insert into setting_values_new select tenant_key, name, cast(value as text), updated_at, updated_by from setting_values;
drop table setting_values;
alter table setting_values_new rename to setting_values;

-- Shared state tells since when it is there and how often it is read; its keys sort by their bytes, as on SQLite.

alter table state_values add column created_at timestamptz;
alter table state_values add column accessed_at timestamptz;
alter table state_values add column access_count bigint not null default 0;
alter table state_values alter column scope type text collate "C", alter column namespace type text collate "C", alter column key type text collate "C";

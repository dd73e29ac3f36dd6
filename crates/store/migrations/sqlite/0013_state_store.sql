-- Shared state tells since when it is there and how often it is read.

alter table state_values add column created_at text;
alter table state_values add column accessed_at text;
alter table state_values add column access_count integer not null default 0;

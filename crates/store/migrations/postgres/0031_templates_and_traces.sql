-- Workflows are templates of others, and know what they were made from. Runs join traces of others.

alter table workflows add column is_template boolean not null default false;
alter table workflows add column template_category text;
alter table workflows add column made_from text;
alter table workflows add column made_from_version integer;
create index workflows_templates on workflows (tenant_key, name) where is_template;

-- A run's own trace is its id, and is not written: most runs cost nothing.
alter table runs add column trace_id uuid;
create index runs_by_trace on runs (tenant_key, trace_id, id) where trace_id is not null;

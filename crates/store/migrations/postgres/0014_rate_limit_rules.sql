-- The rules of the door: how often requests may come.

create table rate_limit_rules (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  description text not null default '' collate "C",
  requests bigint not null,
  window_seconds bigint not null,
  counted_per text not null default 'tenant' collate "C",
  route text collate "C",
  workflow text collate "C",
  caller text collate "C",
  active boolean not null default true,
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint rate_limit_rules_name_check check (length(name) >= 1 and length(name) <= 60),
  constraint rate_limit_rules_description_check check (length(description) <= 2000),
  constraint rate_limit_rules_requests_check check (requests >= 1 and requests <= 1000000),
  constraint rate_limit_rules_window_seconds_check check (window_seconds >= 1 and window_seconds <= 86400),
  constraint rate_limit_rules_counted_per_check check (counted_per = 'tenant' or counted_per = 'caller' or counted_per = 'address'),
  constraint rate_limit_rules_route_check check (length(route) >= 1 and length(route) <= 200),
  constraint rate_limit_rules_workflow_check check (length(workflow) >= 1 and length(workflow) <= 200),
  constraint rate_limit_rules_caller_check check (length(caller) >= 1 and length(caller) <= 200)
);
create unique index rate_limit_rules_name_key on rate_limit_rules (tenant_key, name);

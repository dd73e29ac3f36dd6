-- People and programs: users, members, roles, invitations, sessions, API keys. Written by
-- `cargo run -p windlass-resource --example tables sqlite`; the keys of before stay what they are.

create table users (
  id blob not null,
  email text not null,
  name text not null,
  status text not null default 'active',
  password_hash text,
  password_changed_at text,
  last_sign_in_at text,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (id),
  constraint users_email_check check (length(email) >= 3 and length(email) <= 254),
  constraint users_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint users_status_check check (status = 'active' or status = 'suspended'),
  constraint users_password_hash_check check (length(password_hash) >= 1 and length(password_hash) <= 300)
) strict;
create unique index users_email_key on users (email);

create table password_history (
  id blob not null,
  user_id blob not null,
  password_hash text not null,
  created_at text not null,
  created_by text not null,
  primary key (id),
  constraint password_history_password_hash_check check (length(password_hash) >= 1 and length(password_hash) <= 300),
  constraint password_history_user_id_fkey foreign key (user_id) references users (id) on delete restrict
) strict;
create index password_history_by_user_id on password_history (user_id);

create table sign_in_links (
  id blob not null,
  user_id blob not null,
  token_hash blob not null,
  expires_at text not null,
  used_at text,
  created_at text not null,
  created_by text not null,
  primary key (id),
  constraint sign_in_links_user_id_fkey foreign key (user_id) references users (id) on delete restrict
) strict;
create unique index sign_in_links_token_hash_key on sign_in_links (token_hash);
create index sign_in_links_by_user_id on sign_in_links (user_id);

create table members (
  tenant_key integer not null references tenants (key),
  id blob not null,
  user_id blob not null,
  email text not null,
  name text not null,
  status text not null default 'active',
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint members_email_check check (length(email) >= 3 and length(email) <= 254),
  constraint members_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint members_status_check check (status = 'active' or status = 'suspended'),
  constraint members_user_id_fkey foreign key (user_id) references users (id) on delete restrict
) strict;
create unique index members_user_id_key on members (tenant_key, user_id);

create table roles (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  description text not null default '',
  permissions text not null default '[]',
  built_in integer not null default 0,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint roles_name_check check (length(name) >= 1 and length(name) <= 60),
  constraint roles_description_check check (length(description) <= 500),
  constraint roles_permissions_check check (json_type(permissions) = 'array'),
  constraint roles_built_in_check check (built_in = 0 or built_in = 1)
) strict;
create unique index roles_name_key on roles (tenant_key, name);

create table role_assignments (
  tenant_key integer not null references tenants (key),
  id blob not null,
  member_id blob not null,
  role_id blob not null,
  created_at text not null,
  created_by text not null,
  primary key (tenant_key, id),
  constraint role_assignments_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint role_assignments_role_id_fkey foreign key (tenant_key, role_id) references roles (tenant_key, id) on delete restrict
) strict;
create unique index role_assignments_member_id_role_id_key on role_assignments (tenant_key, member_id, role_id);
create index role_assignments_by_role_id on role_assignments (tenant_key, role_id);

create table invitations (
  tenant_key integer not null references tenants (key),
  id blob not null,
  email text not null,
  role_id blob not null,
  token_hash blob not null,
  expires_at text not null,
  status text not null default 'pending',
  accepted_at text,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint invitations_email_check check (length(email) >= 3 and length(email) <= 254),
  constraint invitations_status_check check (status = 'pending' or status = 'accepted' or status = 'revoked'),
  constraint invitations_accepted_accepted_at check (status <> 'accepted' or accepted_at is not null),
  constraint invitations_role_id_fkey foreign key (tenant_key, role_id) references roles (tenant_key, id) on delete restrict
) strict;
create unique index invitations_token_hash_key on invitations (token_hash);
create index invitations_by_role_id on invitations (tenant_key, role_id);

create table sessions (
  tenant_key integer not null references tenants (key),
  id blob not null,
  user_id blob not null,
  token_hash blob not null,
  method text not null,
  address text,
  user_agent text,
  expires_at text not null,
  status text not null default 'active',
  revoked_at text,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint sessions_method_check check (method = 'link' or method = 'password' or method = 'invitation'),
  constraint sessions_address_check check (length(address) >= 1 and length(address) <= 60),
  constraint sessions_user_agent_check check (length(user_agent) >= 1 and length(user_agent) <= 400),
  constraint sessions_status_check check (status = 'active' or status = 'revoked'),
  constraint sessions_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint sessions_user_id_fkey foreign key (user_id) references users (id) on delete restrict
) strict;
create unique index sessions_token_hash_key on sessions (token_hash);
create index sessions_by_user_id on sessions (tenant_key, user_id);

create table api_keys (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  prefix text not null,
  token_hash blob not null,
  scopes text not null default '[]',
  member_id blob,
  expires_at text,
  requests_per_minute integer,
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
  constraint api_keys_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint api_keys_prefix_check check (length(prefix) >= 1 and length(prefix) <= 20),
  constraint api_keys_scopes_check check (json_type(scopes) = 'array'),
  constraint api_keys_requests_per_minute_check check (requests_per_minute >= 1 and requests_per_minute <= 1000000),
  constraint api_keys_status_check check (status = 'active' or status = 'revoked'),
  constraint api_keys_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint api_keys_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade
) strict;
create unique index api_keys_token_hash_key on api_keys (token_hash);
create index api_keys_by_member_id on api_keys (tenant_key, member_id);

create table api_key_usage (
  tenant_key integer not null references tenants (key),
  id blob not null,
  api_key_id blob not null,
  used_on text not null,
  requests integer not null default 0,
  refused integer not null default 0,
  created_at text not null,
  created_by text not null,
  primary key (tenant_key, id),
  constraint api_key_usage_requests_check check (requests >= 0),
  constraint api_key_usage_refused_check check (refused >= 0),
  constraint api_key_usage_api_key_id_fkey foreign key (tenant_key, api_key_id) references api_keys (tenant_key, id) on delete cascade
) strict;
create unique index api_key_usage_api_key_id_used_on_key on api_key_usage (tenant_key, api_key_id, used_on);

insert into api_keys (tenant_key, id, name, prefix, token_hash, scopes, expires_at, last_used_at, status, revoked_at, search_text, revision, created_at, created_by, updated_at, updated_by)
  select tenant_key, id, name, case when prefix = '' then 'chosen' else prefix end, hash, scopes, expires_at, last_used_at, case when revoked_at is null then 'active' else 'revoked' end, revoked_at, lower(name || char(10) || prefix), 1, created_at, 'system', created_at, 'system' from api_tokens;
drop table api_tokens;

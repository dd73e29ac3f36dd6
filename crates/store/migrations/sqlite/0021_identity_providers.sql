-- Identity providers and identities. Written by `cargo run -p windlass-resource --example tables sqlite`.

create table identity_providers (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  issuer text not null,
  client_id text not null,
  client_secret blob,
  server_url text not null,
  email_domains text not null default '[]',
  default_role_id blob,
  enabled integer not null default 1,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint identity_providers_name_check check (length(name) >= 1 and length(name) <= 60),
  constraint identity_providers_issuer_check check (length(issuer) >= 8 and length(issuer) <= 500),
  constraint identity_providers_client_id_check check (length(client_id) >= 1 and length(client_id) <= 300),
  constraint identity_providers_server_url_check check (length(server_url) >= 8 and length(server_url) <= 300),
  constraint identity_providers_email_domains_check check (json_type(email_domains) = 'array'),
  constraint identity_providers_enabled_check check (enabled = 0 or enabled = 1),
  constraint identity_providers_default_role_id_fkey foreign key (tenant_key, default_role_id) references roles (tenant_key, id) on delete restrict
) strict;
create unique index identity_providers_name_key on identity_providers (tenant_key, name);
create index identity_providers_by_default_role_id on identity_providers (tenant_key, default_role_id);

create table member_identities (
  tenant_key integer not null references tenants (key),
  id blob not null,
  provider_id blob not null,
  member_id blob not null,
  subject text not null,
  email text,
  status text not null default 'active',
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint member_identities_subject_check check (length(subject) >= 1 and length(subject) <= 255),
  constraint member_identities_email_check check (length(email) >= 3 and length(email) <= 254),
  constraint member_identities_status_check check (status = 'active' or status = 'blocked'),
  constraint member_identities_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete cascade,
  constraint member_identities_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade
) strict;
create unique index member_identities_provider_id_subject_key on member_identities (tenant_key, provider_id, subject);
create index member_identities_by_member_id on member_identities (tenant_key, member_id);

-- A session may have begun with an identity provider.
create table sessions_new (
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
  acting_session_id blob,
  reason text constraint sessions_reason_check check (length(reason) >= 1 and length(reason) <= 500),
  primary key (tenant_key, id),
  constraint sessions_method_check check (method = 'link' or method = 'password' or method = 'invitation' or method = 'oidc'),
  constraint sessions_address_check check (length(address) >= 1 and length(address) <= 60),
  constraint sessions_user_agent_check check (length(user_agent) >= 1 and length(user_agent) <= 400),
  constraint sessions_status_check check (status = 'active' or status = 'revoked'),
  constraint sessions_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint sessions_user_id_fkey foreign key (user_id) references users (id) on delete restrict
) strict;
insert into sessions_new (tenant_key, id, user_id, token_hash, method, address, user_agent, expires_at, status, revoked_at, revision, created_at, created_by, updated_at, updated_by, acting_session_id, reason)
  select tenant_key, id, user_id, token_hash, method, address, user_agent, expires_at, status, revoked_at, revision, created_at, created_by, updated_at, updated_by, acting_session_id, reason from sessions;
drop table sessions;
alter table sessions_new rename to sessions;
create unique index sessions_token_hash_key on sessions (token_hash);
create index sessions_by_user_id on sessions (tenant_key, user_id);

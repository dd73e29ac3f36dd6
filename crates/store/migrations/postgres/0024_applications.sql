-- Applications of third parties. Written by `cargo run -p windlass-resource --example tables postgres`.

create table oauth_applications (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  description text not null default '' collate "C",
  website text collate "C",
  client_type text not null collate "C",
  redirect_uris jsonb not null default '[]',
  client_credentials boolean not null default false,
  scopes jsonb not null default '[]',
  status text not null default 'active' collate "C",
  secret_hash bytea,
  secret_made_at timestamptz,
  former_secret_hash bytea,
  former_secret_until timestamptz,
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint oauth_applications_name_check check (length(name) >= 1 and length(name) <= 120),
  constraint oauth_applications_description_check check (length(description) <= 500),
  constraint oauth_applications_website_check check (length(website) >= 9 and length(website) <= 300),
  constraint oauth_applications_client_type_check check (client_type = 'confidential' or client_type = 'public'),
  constraint oauth_applications_redirect_uris_check check (jsonb_typeof(redirect_uris) = 'array'),
  constraint oauth_applications_scopes_check check (jsonb_typeof(scopes) = 'array'),
  constraint oauth_applications_status_check check (status = 'active' or status = 'suspended')
);
create unique index oauth_applications_name_key on oauth_applications (tenant_key, name);
select windlass_own_rows('oauth_applications');

create table oauth_consents (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  application_id uuid not null,
  member_id uuid not null,
  scopes jsonb not null default '[]',
  status text not null default 'active' collate "C",
  revoked_at timestamptz,
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint oauth_consents_scopes_check check (jsonb_typeof(scopes) = 'array'),
  constraint oauth_consents_status_check check (status = 'active' or status = 'revoked'),
  constraint oauth_consents_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint oauth_consents_application_id_fkey foreign key (tenant_key, application_id) references oauth_applications (tenant_key, id) on delete cascade,
  constraint oauth_consents_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade
);
create index oauth_consents_by_application_id on oauth_consents (tenant_key, application_id);
create index oauth_consents_by_member_id on oauth_consents (tenant_key, member_id);
select windlass_own_rows('oauth_consents');

create table oauth_authorizations (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  consent_id uuid not null,
  scopes jsonb not null default '[]',
  redirect_uri text not null collate "C",
  code_challenge text not null collate "C",
  chain_hash bytea not null,
  link_hash bytea not null,
  code_expires_at timestamptz not null,
  code_used_at timestamptz,
  refreshed_at timestamptz,
  expires_at timestamptz not null,
  status text not null default 'active' collate "C",
  revoked_at timestamptz,
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint oauth_authorizations_scopes_check check (jsonb_typeof(scopes) = 'array'),
  constraint oauth_authorizations_redirect_uri_check check (length(redirect_uri) >= 1 and length(redirect_uri) <= 500),
  constraint oauth_authorizations_code_challenge_check check (length(code_challenge) >= 43 and length(code_challenge) <= 43),
  constraint oauth_authorizations_status_check check (status = 'active' or status = 'revoked'),
  constraint oauth_authorizations_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint oauth_authorizations_consent_id_fkey foreign key (tenant_key, consent_id) references oauth_consents (tenant_key, id) on delete cascade
);
create unique index oauth_authorizations_chain_hash_key on oauth_authorizations (chain_hash);
create index oauth_authorizations_by_consent_id on oauth_authorizations (tenant_key, consent_id);
select windlass_own_rows('oauth_authorizations');

create table oauth_tokens (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  application_id uuid not null,
  authorization_id uuid,
  scopes jsonb not null default '[]',
  token_hash bytea not null,
  expires_at timestamptz not null,
  status text not null default 'active' collate "C",
  revoked_at timestamptz,
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint oauth_tokens_scopes_check check (jsonb_typeof(scopes) = 'array'),
  constraint oauth_tokens_status_check check (status = 'active' or status = 'revoked'),
  constraint oauth_tokens_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint oauth_tokens_application_id_fkey foreign key (tenant_key, application_id) references oauth_applications (tenant_key, id) on delete cascade,
  constraint oauth_tokens_authorization_id_fkey foreign key (tenant_key, authorization_id) references oauth_authorizations (tenant_key, id) on delete cascade
);
create unique index oauth_tokens_token_hash_key on oauth_tokens (token_hash);
create index oauth_tokens_by_application_id on oauth_tokens (tenant_key, application_id);
create index oauth_tokens_by_authorization_id on oauth_tokens (tenant_key, authorization_id);
select windlass_own_rows('oauth_tokens');

-- Applications of third parties. Written by `cargo run -p windlass-resource --example tables sqlite`.

create table oauth_applications (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  description text not null default '',
  website text,
  client_type text not null,
  redirect_uris text not null default '[]',
  client_credentials integer not null default 0,
  scopes text not null default '[]',
  status text not null default 'active',
  secret_hash blob,
  secret_made_at text,
  former_secret_hash blob,
  former_secret_until text,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint oauth_applications_name_check check (length(name) >= 1 and length(name) <= 120),
  constraint oauth_applications_description_check check (length(description) <= 500),
  constraint oauth_applications_website_check check (length(website) >= 9 and length(website) <= 300),
  constraint oauth_applications_client_type_check check (client_type = 'confidential' or client_type = 'public'),
  constraint oauth_applications_redirect_uris_check check (json_type(redirect_uris) = 'array'),
  constraint oauth_applications_client_credentials_check check (client_credentials = 0 or client_credentials = 1),
  constraint oauth_applications_scopes_check check (json_type(scopes) = 'array'),
  constraint oauth_applications_status_check check (status = 'active' or status = 'suspended')
) strict;
create unique index oauth_applications_name_key on oauth_applications (tenant_key, name);

create table oauth_consents (
  tenant_key integer not null references tenants (key),
  id blob not null,
  application_id blob not null,
  member_id blob not null,
  scopes text not null default '[]',
  status text not null default 'active',
  revoked_at text,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint oauth_consents_scopes_check check (json_type(scopes) = 'array'),
  constraint oauth_consents_status_check check (status = 'active' or status = 'revoked'),
  constraint oauth_consents_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint oauth_consents_application_id_fkey foreign key (tenant_key, application_id) references oauth_applications (tenant_key, id) on delete cascade,
  constraint oauth_consents_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade
) strict;
create index oauth_consents_by_application_id on oauth_consents (tenant_key, application_id);
create index oauth_consents_by_member_id on oauth_consents (tenant_key, member_id);

create table oauth_authorizations (
  tenant_key integer not null references tenants (key),
  id blob not null,
  consent_id blob not null,
  scopes text not null default '[]',
  redirect_uri text not null,
  code_challenge text not null,
  chain_hash blob not null,
  link_hash blob not null,
  code_expires_at text not null,
  code_used_at text,
  refreshed_at text,
  expires_at text not null,
  status text not null default 'active',
  revoked_at text,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint oauth_authorizations_scopes_check check (json_type(scopes) = 'array'),
  constraint oauth_authorizations_redirect_uri_check check (length(redirect_uri) >= 1 and length(redirect_uri) <= 500),
  constraint oauth_authorizations_code_challenge_check check (length(code_challenge) >= 43 and length(code_challenge) <= 43),
  constraint oauth_authorizations_status_check check (status = 'active' or status = 'revoked'),
  constraint oauth_authorizations_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint oauth_authorizations_consent_id_fkey foreign key (tenant_key, consent_id) references oauth_consents (tenant_key, id) on delete cascade
) strict;
create unique index oauth_authorizations_chain_hash_key on oauth_authorizations (chain_hash);
create index oauth_authorizations_by_consent_id on oauth_authorizations (tenant_key, consent_id);

create table oauth_tokens (
  tenant_key integer not null references tenants (key),
  id blob not null,
  application_id blob not null,
  authorization_id blob,
  scopes text not null default '[]',
  token_hash blob not null,
  expires_at text not null,
  status text not null default 'active',
  revoked_at text,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint oauth_tokens_scopes_check check (json_type(scopes) = 'array'),
  constraint oauth_tokens_status_check check (status = 'active' or status = 'revoked'),
  constraint oauth_tokens_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint oauth_tokens_application_id_fkey foreign key (tenant_key, application_id) references oauth_applications (tenant_key, id) on delete cascade,
  constraint oauth_tokens_authorization_id_fkey foreign key (tenant_key, authorization_id) references oauth_authorizations (tenant_key, id) on delete cascade
) strict;
create unique index oauth_tokens_token_hash_key on oauth_tokens (token_hash);
create index oauth_tokens_by_application_id on oauth_tokens (tenant_key, application_id);
create index oauth_tokens_by_authorization_id on oauth_tokens (tenant_key, authorization_id);

-- Identity providers and identities. Written by `cargo run -p windlass-resource --example tables postgres`.

create table identity_providers (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  issuer text not null collate "C",
  client_id text not null collate "C",
  client_secret bytea,
  server_url text not null collate "C",
  email_domains jsonb not null default '[]',
  default_role_id uuid,
  enabled boolean not null default true,
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint identity_providers_name_check check (length(name) >= 1 and length(name) <= 60),
  constraint identity_providers_issuer_check check (length(issuer) >= 8 and length(issuer) <= 500),
  constraint identity_providers_client_id_check check (length(client_id) >= 1 and length(client_id) <= 300),
  constraint identity_providers_server_url_check check (length(server_url) >= 8 and length(server_url) <= 300),
  constraint identity_providers_email_domains_check check (jsonb_typeof(email_domains) = 'array'),
  constraint identity_providers_default_role_id_fkey foreign key (tenant_key, default_role_id) references roles (tenant_key, id) on delete restrict
);
create unique index identity_providers_name_key on identity_providers (tenant_key, name);
create index identity_providers_by_default_role_id on identity_providers (tenant_key, default_role_id);
select windlass_own_rows('identity_providers');

create table member_identities (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  provider_id uuid not null,
  member_id uuid not null,
  subject text not null collate "C",
  email text collate "C",
  status text not null default 'active' collate "C",
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint member_identities_subject_check check (length(subject) >= 1 and length(subject) <= 255),
  constraint member_identities_email_check check (length(email) >= 3 and length(email) <= 254),
  constraint member_identities_status_check check (status = 'active' or status = 'blocked'),
  constraint member_identities_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete cascade,
  constraint member_identities_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade
);
create unique index member_identities_provider_id_subject_key on member_identities (tenant_key, provider_id, subject);
create index member_identities_by_member_id on member_identities (tenant_key, member_id);
select windlass_own_rows('member_identities');

-- A session may have begun with an identity provider.
alter table sessions drop constraint sessions_method_check;
alter table sessions add constraint sessions_method_check check (method = 'link' or method = 'password' or method = 'invitation' or method = 'oidc');

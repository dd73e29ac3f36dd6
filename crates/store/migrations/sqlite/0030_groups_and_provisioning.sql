-- Groups, what identity providers provision by SCIM, and users that are deleted. New tables were written by
-- `cargo run -p windlass-resource --example tables sqlite`; tables that get a reference are made anew.

alter table users add column deleted_at text;
drop index users_email_key;
create unique index users_email_key on users (email) where deleted_at is null;
create index users_deleted on users (deleted_at) where deleted_at is not null;

alter table identity_providers add column external_id_claim text not null default 'sub' constraint identity_providers_external_id_claim_check check (external_id_claim = 'sub' or external_id_claim = 'oid');

create table members_new (
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
  provider_id blob,
  external_id text,
  user_name text,
  avatar_url text,
  email_verified integer not null default 0,
  profile text,
  primary key (tenant_key, id),
  constraint members_email_check check (length(email) >= 3 and length(email) <= 254),
  constraint members_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint members_status_check check (status = 'active' or status = 'suspended'),
  constraint members_external_id_check check (length(external_id) >= 1 and length(external_id) <= 255),
  constraint members_user_name_check check (length(user_name) >= 1 and length(user_name) <= 254),
  constraint members_avatar_url_check check (length(avatar_url) >= 1 and length(avatar_url) <= 2000),
  constraint members_email_verified_check check (email_verified = 0 or email_verified = 1),
  constraint members_profile_check check (json_type(profile) = 'object'),
  constraint members_user_id_fkey foreign key (user_id) references users (id) on delete restrict,
  constraint members_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete restrict
) strict;
insert into members_new (tenant_key, id, user_id, email, name, status, search_text, revision, created_at, created_by, updated_at, updated_by)
  select tenant_key, id, user_id, email, name, status, search_text, revision, created_at, created_by, updated_at, updated_by from members;
drop table members;
alter table members_new rename to members;
create unique index members_user_id_key on members (tenant_key, user_id);
create unique index members_user_name_key on members (tenant_key, user_name);
create index members_by_provider_id_id on members (tenant_key, provider_id, id);
create index members_by_provider_id_external_id on members (tenant_key, provider_id, external_id);
create index members_by_email on members (tenant_key, email);

create table groups (
  tenant_key integer not null references tenants (key),
  id blob not null,
  name text not null,
  description text not null default '',
  external_id text,
  provider_id blob,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint groups_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint groups_description_check check (length(description) <= 500),
  constraint groups_external_id_check check (length(external_id) >= 1 and length(external_id) <= 255),
  constraint groups_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete restrict
) strict;
create unique index groups_name_key on groups (tenant_key, name);
create index groups_by_provider_id_id on groups (tenant_key, provider_id, id);

create table group_members (
  tenant_key integer not null references tenants (key),
  id blob not null,
  group_id blob not null,
  member_id blob not null,
  created_at text not null,
  created_by text not null,
  primary key (tenant_key, id),
  constraint group_members_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade,
  constraint group_members_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade
) strict;
create unique index group_members_group_id_member_id_key on group_members (tenant_key, group_id, member_id);
create index group_members_by_member_id on group_members (tenant_key, member_id);

-- A role is a member's or a group's.
create table role_assignments_new (
  tenant_key integer not null references tenants (key),
  id blob not null,
  member_id blob,
  role_id blob not null,
  created_at text not null,
  created_by text not null,
  folder_id blob,
  workflow_id blob,
  group_id blob,
  primary key (tenant_key, id),
  constraint role_assignments_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint role_assignments_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade,
  constraint role_assignments_role_id_fkey foreign key (tenant_key, role_id) references roles (tenant_key, id) on delete restrict,
  constraint role_assignments_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict,
  constraint role_assignments_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade
) strict;
insert into role_assignments_new (tenant_key, id, member_id, role_id, created_at, created_by, folder_id, workflow_id)
  select tenant_key, id, member_id, role_id, created_at, created_by, folder_id, workflow_id from role_assignments;
drop index role_assignments_member_id_folder_id_workflow_id_role_id_key;
drop table role_assignments;
alter table role_assignments_new rename to role_assignments;
create unique index role_assignments_member_group_folder_workflow_role_key on role_assignments (tenant_key, coalesce(member_id, x'00000000000000000000000000000000'), coalesce(group_id, x'00000000000000000000000000000000'), coalesce(folder_id, x'00000000000000000000000000000000'), coalesce(workflow_id, x'00000000000000000000000000000000'), role_id);
create index role_assignments_by_folder_id on role_assignments (tenant_key, folder_id);
create index role_assignments_by_workflow_id on role_assignments (tenant_key, workflow_id);
create index role_assignments_by_member_id on role_assignments (tenant_key, member_id);
create index role_assignments_by_group_id on role_assignments (tenant_key, group_id);
create index role_assignments_by_role_id on role_assignments (tenant_key, role_id);

-- A key may be an identity provider's.
create table api_keys_new (
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
  provider_id blob,
  primary key (tenant_key, id),
  constraint api_keys_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint api_keys_prefix_check check (length(prefix) >= 1 and length(prefix) <= 20),
  constraint api_keys_scopes_check check (json_type(scopes) = 'array'),
  constraint api_keys_requests_per_minute_check check (requests_per_minute >= 1 and requests_per_minute <= 1000000),
  constraint api_keys_status_check check (status = 'active' or status = 'revoked'),
  constraint api_keys_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint api_keys_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint api_keys_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete cascade
) strict;
insert into api_keys_new (tenant_key, id, name, prefix, token_hash, scopes, member_id, expires_at, requests_per_minute, last_used_at, status, revoked_at, search_text, revision, created_at, created_by, updated_at, updated_by)
  select tenant_key, id, name, prefix, token_hash, scopes, member_id, expires_at, requests_per_minute, last_used_at, status, revoked_at, search_text, revision, created_at, created_by, updated_at, updated_by from api_keys;
drop table api_keys;
alter table api_keys_new rename to api_keys;
create unique index api_keys_token_hash_key on api_keys (token_hash);
create index api_keys_by_member_id on api_keys (tenant_key, member_id);
create index api_keys_by_provider_id on api_keys (tenant_key, provider_id);

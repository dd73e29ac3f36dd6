-- Groups, what identity providers provision by SCIM, and users that are deleted. New tables were written by
-- `cargo run -p windlass-resource --example tables postgres`.

alter table users add column deleted_at timestamptz;
drop index users_email_key;
create unique index users_email_key on users (email) where deleted_at is null;
create index users_deleted on users (deleted_at) where deleted_at is not null;

alter table identity_providers add column external_id_claim text not null default 'sub' collate "C";
alter table identity_providers add constraint identity_providers_external_id_claim_check check (external_id_claim = 'sub' or external_id_claim = 'oid');

alter table members add column provider_id uuid;
alter table members add column external_id text collate "C";
alter table members add column user_name text collate "C";
alter table members add column avatar_url text collate "C";
alter table members add column email_verified boolean not null default false;
alter table members add column profile jsonb;
alter table members add constraint members_external_id_check check (length(external_id) >= 1 and length(external_id) <= 255);
alter table members add constraint members_user_name_check check (length(user_name) >= 1 and length(user_name) <= 254);
alter table members add constraint members_avatar_url_check check (length(avatar_url) >= 1 and length(avatar_url) <= 2000);
alter table members add constraint members_profile_check check (jsonb_typeof(profile) = 'object');
alter table members add constraint members_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete restrict;
create unique index members_user_name_key on members (tenant_key, user_name);
create index members_by_provider_id_id on members (tenant_key, provider_id, id);
create index members_by_provider_id_external_id on members (tenant_key, provider_id, external_id);
create index members_by_email on members (tenant_key, email);

create table groups (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  description text not null default '' collate "C",
  external_id text collate "C",
  provider_id uuid,
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint groups_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint groups_description_check check (length(description) <= 500),
  constraint groups_external_id_check check (length(external_id) >= 1 and length(external_id) <= 255),
  constraint groups_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete restrict
);
create unique index groups_name_key on groups (tenant_key, name);
create index groups_by_provider_id_id on groups (tenant_key, provider_id, id);
select windlass_own_rows('groups');

create table group_members (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  group_id uuid not null,
  member_id uuid not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  primary key (tenant_key, id),
  constraint group_members_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade,
  constraint group_members_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade
);
create unique index group_members_group_id_member_id_key on group_members (tenant_key, group_id, member_id);
create index group_members_by_member_id on group_members (tenant_key, member_id);
select windlass_own_rows('group_members');

-- A role is a member's or a group's.
alter table role_assignments alter column member_id drop not null;
alter table role_assignments add column group_id uuid;
alter table role_assignments add constraint role_assignments_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade;
drop index role_assignments_member_id_folder_id_workflow_id_role_id_key;
create unique index role_assignments_member_group_folder_workflow_role_key on role_assignments (tenant_key, coalesce(member_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(group_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(folder_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(workflow_id, '00000000-0000-0000-0000-000000000000'::uuid), role_id);
create index role_assignments_by_member_id on role_assignments (tenant_key, member_id);
create index role_assignments_by_group_id on role_assignments (tenant_key, group_id);

-- A key may be an identity provider's.
alter table api_keys add column provider_id uuid;
alter table api_keys add constraint api_keys_provider_id_fkey foreign key (tenant_key, provider_id) references identity_providers (tenant_key, id) on delete cascade;
create index api_keys_by_provider_id on api_keys (tenant_key, provider_id);

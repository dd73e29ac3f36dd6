-- Secrets and credentials are for some people, or for some workflows, alone, and go to some hosts alone.

alter table secrets add column used_by text not null default 'everyone' collate "C" constraint secrets_used_by_check check (used_by = 'everyone' or used_by = 'listed');
alter table secrets add column used_in text not null default 'everywhere' collate "C" constraint secrets_used_in_check check (used_in = 'everywhere' or used_in = 'listed');
alter table credentials add column used_by text not null default 'everyone' collate "C" constraint credentials_used_by_check check (used_by = 'everyone' or used_by = 'listed');
alter table credentials add column used_in text not null default 'everywhere' collate "C" constraint credentials_used_in_check check (used_in = 'everywhere' or used_in = 'listed');
alter table secrets add column hosts jsonb not null default '[]' constraint secrets_hosts_check check (jsonb_typeof(hosts) = 'array');
alter table credentials add column hosts jsonb not null default '[]' constraint credentials_hosts_check check (jsonb_typeof(hosts) = 'array');

create table secret_shares (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  member_id uuid,
  group_id uuid,
  folder_id uuid,
  workflow_id uuid,
  secret_id uuid not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  primary key (tenant_key, id),
  constraint secret_shares_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint secret_shares_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade,
  constraint secret_shares_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict,
  constraint secret_shares_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade,
  constraint secret_shares_secret_id_fkey foreign key (tenant_key, secret_id) references secrets (tenant_key, id) on delete cascade
);
create unique index secret_shares_member_group_folder_workflow_secret_key on secret_shares (tenant_key, coalesce(member_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(group_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(folder_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(workflow_id, '00000000-0000-0000-0000-000000000000'::uuid), secret_id);
create index secret_shares_by_member_id on secret_shares (tenant_key, member_id);
create index secret_shares_by_group_id on secret_shares (tenant_key, group_id);
create index secret_shares_by_folder_id on secret_shares (tenant_key, folder_id);
create index secret_shares_by_workflow_id on secret_shares (tenant_key, workflow_id);
create index secret_shares_by_secret_id on secret_shares (tenant_key, secret_id);
select windlass_own_rows('secret_shares');

create table credential_shares (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  member_id uuid,
  group_id uuid,
  folder_id uuid,
  workflow_id uuid,
  credential_id uuid not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  primary key (tenant_key, id),
  constraint credential_shares_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint credential_shares_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade,
  constraint credential_shares_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict,
  constraint credential_shares_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade,
  constraint credential_shares_credential_id_fkey foreign key (tenant_key, credential_id) references credentials (tenant_key, id) on delete cascade
);
create unique index credential_shares_member_group_folder_workflow_credential_key on credential_shares (tenant_key, coalesce(member_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(group_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(folder_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(workflow_id, '00000000-0000-0000-0000-000000000000'::uuid), credential_id);
create index credential_shares_by_member_id on credential_shares (tenant_key, member_id);
create index credential_shares_by_group_id on credential_shares (tenant_key, group_id);
create index credential_shares_by_folder_id on credential_shares (tenant_key, folder_id);
create index credential_shares_by_workflow_id on credential_shares (tenant_key, workflow_id);
create index credential_shares_by_credential_id on credential_shares (tenant_key, credential_id);
select windlass_own_rows('credential_shares');

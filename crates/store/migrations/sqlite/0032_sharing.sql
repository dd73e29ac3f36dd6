-- Secrets and credentials are for some people, or for some workflows, alone, and go to some hosts alone.

alter table secrets add column used_by text not null default 'everyone' constraint secrets_used_by_check check (used_by = 'everyone' or used_by = 'listed');
alter table secrets add column used_in text not null default 'everywhere' constraint secrets_used_in_check check (used_in = 'everywhere' or used_in = 'listed');
alter table credentials add column used_by text not null default 'everyone' constraint credentials_used_by_check check (used_by = 'everyone' or used_by = 'listed');
alter table credentials add column used_in text not null default 'everywhere' constraint credentials_used_in_check check (used_in = 'everywhere' or used_in = 'listed');
alter table secrets add column hosts text not null default '[]' constraint secrets_hosts_check check (json_type(hosts) = 'array');
alter table credentials add column hosts text not null default '[]' constraint credentials_hosts_check check (json_type(hosts) = 'array');

create table secret_shares (
  tenant_key integer not null references tenants (key),
  id blob not null,
  member_id blob,
  group_id blob,
  folder_id blob,
  workflow_id blob,
  secret_id blob not null,
  created_at text not null,
  created_by text not null,
  primary key (tenant_key, id),
  constraint secret_shares_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint secret_shares_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade,
  constraint secret_shares_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict,
  constraint secret_shares_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade,
  constraint secret_shares_secret_id_fkey foreign key (tenant_key, secret_id) references secrets (tenant_key, id) on delete cascade
) strict;
create unique index secret_shares_member_group_folder_workflow_secret_key on secret_shares (tenant_key, coalesce(member_id, x'00000000000000000000000000000000'), coalesce(group_id, x'00000000000000000000000000000000'), coalesce(folder_id, x'00000000000000000000000000000000'), coalesce(workflow_id, x'00000000000000000000000000000000'), secret_id);
create index secret_shares_by_member_id on secret_shares (tenant_key, member_id);
create index secret_shares_by_group_id on secret_shares (tenant_key, group_id);
create index secret_shares_by_folder_id on secret_shares (tenant_key, folder_id);
create index secret_shares_by_workflow_id on secret_shares (tenant_key, workflow_id);
create index secret_shares_by_secret_id on secret_shares (tenant_key, secret_id);

create table credential_shares (
  tenant_key integer not null references tenants (key),
  id blob not null,
  member_id blob,
  group_id blob,
  folder_id blob,
  workflow_id blob,
  credential_id blob not null,
  created_at text not null,
  created_by text not null,
  primary key (tenant_key, id),
  constraint credential_shares_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint credential_shares_group_id_fkey foreign key (tenant_key, group_id) references groups (tenant_key, id) on delete cascade,
  constraint credential_shares_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict,
  constraint credential_shares_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade,
  constraint credential_shares_credential_id_fkey foreign key (tenant_key, credential_id) references credentials (tenant_key, id) on delete cascade
) strict;
create unique index credential_shares_member_group_folder_workflow_credential_key on credential_shares (tenant_key, coalesce(member_id, x'00000000000000000000000000000000'), coalesce(group_id, x'00000000000000000000000000000000'), coalesce(folder_id, x'00000000000000000000000000000000'), coalesce(workflow_id, x'00000000000000000000000000000000'), credential_id);
create index credential_shares_by_member_id on credential_shares (tenant_key, member_id);
create index credential_shares_by_group_id on credential_shares (tenant_key, group_id);
create index credential_shares_by_folder_id on credential_shares (tenant_key, folder_id);
create index credential_shares_by_workflow_id on credential_shares (tenant_key, workflow_id);
create index credential_shares_by_credential_id on credential_shares (tenant_key, credential_id);

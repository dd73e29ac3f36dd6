-- A role may hold on a folder or a workflow alone.

create table role_assignments_new (
  tenant_key integer not null references tenants (key),
  id blob not null,
  member_id blob not null,
  role_id blob not null,
  created_at text not null,
  created_by text not null,
  folder_id blob,
  workflow_id blob,
  primary key (tenant_key, id),
  constraint role_assignments_member_id_fkey foreign key (tenant_key, member_id) references members (tenant_key, id) on delete cascade,
  constraint role_assignments_role_id_fkey foreign key (tenant_key, role_id) references roles (tenant_key, id) on delete restrict,
  constraint role_assignments_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict,
  constraint role_assignments_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade
) strict;
insert into role_assignments_new (tenant_key, id, member_id, role_id, created_at, created_by)
  select tenant_key, id, member_id, role_id, created_at, created_by from role_assignments;
drop index role_assignments_member_id_role_id_key;
drop table role_assignments;
alter table role_assignments_new rename to role_assignments;
create unique index role_assignments_member_id_folder_id_workflow_id_role_id_key on role_assignments (tenant_key, member_id, coalesce(folder_id, x'00000000000000000000000000000000'), coalesce(workflow_id, x'00000000000000000000000000000000'), role_id);
create index role_assignments_by_role_id on role_assignments (tenant_key, role_id);
create index role_assignments_by_folder_id on role_assignments (tenant_key, folder_id);
create index role_assignments_by_workflow_id on role_assignments (tenant_key, workflow_id);

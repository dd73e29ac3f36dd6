-- A role may hold on a folder or a workflow alone.

alter table role_assignments add column folder_id uuid;
alter table role_assignments add column workflow_id uuid;
alter table role_assignments add constraint role_assignments_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict;
alter table role_assignments add constraint role_assignments_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade;
drop index role_assignments_member_id_role_id_key;
create unique index role_assignments_member_id_folder_id_workflow_id_role_id_key on role_assignments (tenant_key, member_id, coalesce(folder_id, '00000000-0000-0000-0000-000000000000'::uuid), coalesce(workflow_id, '00000000-0000-0000-0000-000000000000'::uuid), role_id);
create index role_assignments_by_folder_id on role_assignments (tenant_key, folder_id);
create index role_assignments_by_workflow_id on role_assignments (tenant_key, workflow_id);

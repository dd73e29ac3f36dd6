-- Where workflows are kept and how they are found, and the audit: written by `cargo run -p windlass-resource --example tables postgres`.

create table folders (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  description text not null default '' collate "C",
  parent_id uuid,
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  deleted_at timestamptz,
  primary key (tenant_key, id),
  constraint folders_name_check check (length(name) >= 1 and length(name) <= 200),
  constraint folders_description_check check (length(description) <= 2000),
  constraint folders_parent_id_fkey foreign key (tenant_key, parent_id) references folders (tenant_key, id) on delete restrict
);
create unique index folders_parent_id_name_key on folders (tenant_key, coalesce(parent_id, '00000000-0000-0000-0000-000000000000'::uuid), name) where deleted_at is null;
create index folders_deleted on folders (tenant_key, deleted_at) where deleted_at is not null;
create index folders_by_parent_id on folders (tenant_key, parent_id);

create table workflow_places (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  workflow_id uuid not null,
  folder_id uuid not null,
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint workflow_places_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade,
  constraint workflow_places_folder_id_fkey foreign key (tenant_key, folder_id) references folders (tenant_key, id) on delete restrict
);
create unique index workflow_places_workflow_id_key on workflow_places (tenant_key, workflow_id);
create index workflow_places_by_folder_id on workflow_places (tenant_key, folder_id);

create table tags (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  color text not null default '#808080' collate "C",
  description text not null default '' collate "C",
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint tags_name_check check (length(name) >= 1 and length(name) <= 60),
  constraint tags_color_check check (length(color) >= 7 and length(color) <= 7),
  constraint tags_description_check check (length(description) <= 2000)
);
create unique index tags_name_key on tags (tenant_key, name);

create table workflow_tags (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  workflow_id uuid not null,
  tag_id uuid not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  primary key (tenant_key, id),
  constraint workflow_tags_workflow_id_fkey foreign key (tenant_key, workflow_id) references workflows (tenant_key, id) on delete cascade,
  constraint workflow_tags_tag_id_fkey foreign key (tenant_key, tag_id) references tags (tenant_key, id) on delete cascade
);
create unique index workflow_tags_workflow_id_tag_id_key on workflow_tags (tenant_key, workflow_id, tag_id);
create index workflow_tags_by_tag_id on workflow_tags (tenant_key, tag_id);

create table audit_entries (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  action text not null collate "C",
  record text not null collate "C",
  record_id uuid,
  changes jsonb,
  request_id text collate "C",
  user_agent text collate "C",
  search_text text not null collate "C",
  created_at timestamptz not null,
  created_by text not null collate "C",
  primary key (tenant_key, id),
  constraint audit_entries_action_check check (length(action) >= 1 and length(action) <= 60),
  constraint audit_entries_record_check check (length(record) >= 1 and length(record) <= 60),
  constraint audit_entries_changes_check check (jsonb_typeof(changes) = 'object'),
  constraint audit_entries_request_id_check check (length(request_id) >= 1 and length(request_id) <= 200),
  constraint audit_entries_user_agent_check check (length(user_agent) >= 1 and length(user_agent) <= 400)
);
create index audit_entries_by_record_record_id on audit_entries (tenant_key, record, record_id);
create index audit_entries_by_created_by on audit_entries (tenant_key, created_by);

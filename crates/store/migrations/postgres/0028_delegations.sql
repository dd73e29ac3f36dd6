-- People of one tenant act in another. Written by `cargo run -p windlass-resource --example tables postgres delegations`.

create table delegations (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  role_id uuid not null,
  reason text not null collate "C",
  token_hash bytea not null,
  expires_at timestamptz not null,
  status text not null default 'offered' collate "C",
  to_tenant text collate "C",
  to_key bigint,
  accepted_at timestamptz,
  revoked_at timestamptz,
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint delegations_reason_check check (length(reason) >= 1 and length(reason) <= 500),
  constraint delegations_status_check check (status = 'offered' or status = 'accepted' or status = 'revoked'),
  constraint delegations_to_tenant_check check (length(to_tenant) >= 1 and length(to_tenant) <= 100),
  constraint delegations_to_key_check check (to_key >= 1),
  constraint delegations_accepted_accepted_at check (status <> 'accepted' or accepted_at is not null),
  constraint delegations_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint delegations_role_id_fkey foreign key (tenant_key, role_id) references roles (tenant_key, id) on delete restrict
);
create unique index delegations_token_hash_key on delegations (token_hash);
create index delegations_by_role_id on delegations (tenant_key, role_id);
select windlass_own_rows('delegations');

-- Sessions of people of other tenants.
alter table sessions add column delegation_id uuid;
alter table sessions add column home_session_id uuid;

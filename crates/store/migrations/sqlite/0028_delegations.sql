-- People of one tenant act in another. Written by `cargo run -p windlass-resource --example tables sqlite delegations`.

create table delegations (
  tenant_key integer not null references tenants (key),
  id blob not null,
  role_id blob not null,
  reason text not null,
  token_hash blob not null,
  expires_at text not null,
  status text not null default 'offered',
  to_tenant text,
  to_key integer,
  accepted_at text,
  revoked_at text,
  search_text text not null,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (tenant_key, id),
  constraint delegations_reason_check check (length(reason) >= 1 and length(reason) <= 500),
  constraint delegations_status_check check (status = 'offered' or status = 'accepted' or status = 'revoked'),
  constraint delegations_to_tenant_check check (length(to_tenant) >= 1 and length(to_tenant) <= 100),
  constraint delegations_to_key_check check (to_key >= 1),
  constraint delegations_accepted_accepted_at check (status <> 'accepted' or accepted_at is not null),
  constraint delegations_revoked_revoked_at check (status <> 'revoked' or revoked_at is not null),
  constraint delegations_role_id_fkey foreign key (tenant_key, role_id) references roles (tenant_key, id) on delete restrict
) strict;
create unique index delegations_token_hash_key on delegations (token_hash);
create index delegations_by_role_id on delegations (tenant_key, role_id);

-- Sessions of people of other tenants.
alter table sessions add column delegation_id blob;
alter table sessions add column home_session_id blob;

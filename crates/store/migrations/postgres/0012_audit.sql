-- The audit: two more columns of its entries, what waits to be sealed, the blocks that seal it, and the locks on all of them.

alter table audit_entries add column subject text collate "C" constraint audit_entries_subject_check check (length(subject) >= 1 and length(subject) <= 300);
alter table audit_entries add column address text collate "C" constraint audit_entries_address_check check (length(address) >= 1 and length(address) <= 60);

create table audit_unsealed (
  tenant_key integer not null references tenants (key),
  entry_id uuid not null,
  primary key (tenant_key, entry_id)
);
insert into audit_unsealed (tenant_key, entry_id) select tenant_key, id from audit_entries;

create table audit_blocks (
  tenant_key integer not null references tenants (key),
  number bigint not null,
  previous bytea not null,
  entries bytea not null,
  sealed_at timestamptz not null,
  public_key bytea,
  hash bytea not null,
  signature bytea,
  primary key (tenant_key, number)
);

create table audit_heads (
  tenant_key integer not null references tenants (key),
  number bigint not null,
  hash bytea not null,
  entries bigint not null,
  public_key bytea,
  signature bytea,
  primary key (tenant_key)
);

create table audit_keys (
  public_key bytea not null,
  since timestamptz not null,
  endorsed_by bytea,
  endorsement bytea,
  primary key (public_key)
);

create table audit_archives (
  tenant_key integer not null references tenants (key),
  block_first bigint not null,
  block_last bigint not null,
  hash_last bytea not null,
  entries bigint not null,
  entries_until timestamptz not null,
  file text not null,
  file_hash bytea not null,
  archived_at timestamptz not null,
  primary key (tenant_key, block_first)
);

create function windlass_append_only() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % are neither changed nor deleted', tg_table_name using errcode = 'WL004';
end
$$;
create function windlass_archived_entry() returns trigger language plpgsql as $$
begin
  if not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.entries_until >= old.created_at) then
    raise exception 'an entry of the audit is deleted once it is archived, not before' using errcode = 'WL004';
  end if;
  return old;
end
$$;
create function windlass_archived_block() returns trigger language plpgsql as $$
begin
  if not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.block_last >= old.number) then
    raise exception 'a block of the audit is deleted once it is archived, not before' using errcode = 'WL004';
  end if;
  return old;
end
$$;
create trigger audit_entries_stay before update on audit_entries for each row execute function windlass_append_only();
create trigger audit_entries_kept before delete on audit_entries for each row execute function windlass_archived_entry();
create trigger audit_blocks_stay before update on audit_blocks for each row execute function windlass_append_only();
create trigger audit_blocks_kept before delete on audit_blocks for each row execute function windlass_archived_block();
create trigger audit_archives_stay before update or delete on audit_archives for each row execute function windlass_append_only();
create trigger audit_heads_kept before delete on audit_heads for each row execute function windlass_append_only();
create trigger audit_heads_forward before update on audit_heads for each row
  when (new.number <= old.number)
  execute function windlass_append_only();

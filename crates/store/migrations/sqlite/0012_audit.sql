-- The audit: two more columns of its entries, what waits to be sealed, the blocks that seal it, and the locks on all of them.

alter table audit_entries add column subject text constraint audit_entries_subject_check check (length(subject) >= 1 and length(subject) <= 300);
alter table audit_entries add column address text constraint audit_entries_address_check check (length(address) >= 1 and length(address) <= 60);

create table audit_unsealed (
  tenant_key integer not null references tenants (key),
  entry_id blob not null,
  primary key (tenant_key, entry_id)
) strict, without rowid;
insert into audit_unsealed (tenant_key, entry_id) select tenant_key, id from audit_entries;

create table audit_blocks (
  tenant_key integer not null references tenants (key),
  number integer not null,
  previous blob not null,
  entries blob not null,
  sealed_at text not null,
  public_key blob,
  hash blob not null,
  signature blob,
  primary key (tenant_key, number)
) strict;

create table audit_heads (
  tenant_key integer not null references tenants (key),
  number integer not null,
  hash blob not null,
  entries integer not null,
  public_key blob,
  signature blob,
  primary key (tenant_key)
) strict;

create table audit_keys (
  public_key blob not null,
  since text not null,
  endorsed_by blob,
  endorsement blob,
  primary key (public_key)
) strict;

create table audit_archives (
  tenant_key integer not null references tenants (key),
  block_first integer not null,
  block_last integer not null,
  hash_last blob not null,
  entries integer not null,
  entries_until text not null,
  file text not null,
  file_hash blob not null,
  archived_at text not null,
  primary key (tenant_key, block_first)
) strict;

create trigger audit_entries_stay before update on audit_entries begin
  select raise(abort, 'rows of audit_entries are neither changed nor deleted');
end;
create trigger audit_entries_kept before delete on audit_entries
  when not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.entries_until >= old.created_at)
begin
  select raise(abort, 'an entry of the audit is deleted once it is archived, not before');
end;
create trigger audit_blocks_stay before update on audit_blocks begin
  select raise(abort, 'rows of audit_blocks are neither changed nor deleted');
end;
create trigger audit_blocks_kept before delete on audit_blocks
  when not exists (select 1 from audit_archives a where a.tenant_key = old.tenant_key and a.block_last >= old.number)
begin
  select raise(abort, 'a block of the audit is deleted once it is archived, not before');
end;
create trigger audit_archives_stay before update on audit_archives begin
  select raise(abort, 'rows of audit_archives are neither changed nor deleted');
end;
create trigger audit_archives_kept before delete on audit_archives begin
  select raise(abort, 'rows of audit_archives are neither changed nor deleted');
end;
create trigger audit_heads_kept before delete on audit_heads begin
  select raise(abort, 'rows of audit_heads are neither changed nor deleted');
end;
create trigger audit_heads_forward before update on audit_heads when new.number <= old.number begin
  select raise(abort, 'rows of audit_heads go forward alone');
end;

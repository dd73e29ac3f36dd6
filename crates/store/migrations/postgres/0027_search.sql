-- Words by which workflows and runs are found, and up to where runs have been read for them.

-- The words of one thing, each once, with spaces between them: what has to go when it goes. A run waits that was not over
-- when it was read: it is read once more.
create table search_documents (
  tenant_key integer not null,
  kind text not null check (kind in ('workflow', 'run')),
  id uuid not null,
  words text not null,
  waits boolean not null,
  primary key (tenant_key, kind, id)
);
create index search_documents_waiting on search_documents (tenant_key, id) where waits;
select windlass_own_rows('search_documents');

create table search_words (
  tenant_key integer not null,
  kind text not null check (kind in ('workflow', 'run')),
  word text not null collate "C",
  id uuid not null,
  primary key (tenant_key, kind, word, id)
);
select windlass_own_rows('search_words');

-- All runs whose ids are not above this one have been read.
create table search_progress (
  tenant_key integer not null primary key,
  run_id uuid not null
);
select windlass_own_rows('search_progress');

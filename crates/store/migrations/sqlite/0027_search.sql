-- Words by which workflows and runs are found, and up to where runs have been read for them.

-- The words of one thing, each once, with spaces between them: what has to go when it goes. A run waits that was not over
-- when it was read: it is read once more.
create table search_documents (
  tenant_key integer not null,
  kind text not null check (kind in ('workflow', 'run')),
  id blob not null,
  words text not null,
  waits integer not null check (waits in (0, 1)),
  primary key (tenant_key, kind, id)
) strict, without rowid;
create index search_documents_waiting on search_documents (tenant_key, id) where waits = 1;

create table search_words (
  tenant_key integer not null,
  kind text not null check (kind in ('workflow', 'run')),
  word text not null,
  id blob not null,
  primary key (tenant_key, kind, word, id)
) strict, without rowid;

-- All runs whose ids are not above this one have been read.
create table search_progress (
  tenant_key integer not null primary key,
  run_id blob not null
) strict, without rowid;

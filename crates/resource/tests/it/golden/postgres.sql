create table shelves (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  above_id uuid,
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  deleted_at timestamptz,
  primary key (tenant_key, id),
  constraint shelves_name_check check (length(name) >= 1 and length(name) <= 40),
  constraint shelves_above_id_fkey foreign key (tenant_key, above_id) references shelves (tenant_key, id) on delete restrict
);
create unique index shelves_above_id_name_key on shelves (tenant_key, coalesce(above_id, '00000000-0000-0000-0000-000000000000'::uuid), name) where deleted_at is null;
create index shelves_deleted on shelves (tenant_key, deleted_at) where deleted_at is not null;
create index shelves_by_above_id on shelves (tenant_key, above_id);
select windlass_own_rows('shelves');

create table editors (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  name text not null collate "C",
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint editors_name_check check (length(name) >= 1 and length(name) <= 40)
);
select windlass_own_rows('editors');

create table books (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  title text not null collate "C",
  slug text collate "C",
  summary text not null default '' collate "C",
  copies bigint not null default 1,
  barcode bigint,
  price bigint not null default 0,
  weight bigint,
  lendable boolean not null default true,
  due_at timestamptz,
  bought_on date,
  labels jsonb not null default '{}',
  authors jsonb,
  chapters jsonb,
  extra jsonb,
  cover bytea,
  twin uuid,
  language text not null default 'en' collate "C",
  pin bytea,
  badge bytea,
  shelf_id uuid not null,
  editor_id uuid,
  status text not null default 'draft' collate "C",
  published_at timestamptz,
  published_by text collate "C",
  reason text collate "C",
  rejections bigint not null default 0,
  isbn10 text collate "C",
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint books_title_check check (length(title) >= 1 and length(title) <= 80),
  constraint books_slug_check check (length(slug) >= 1 and length(slug) <= 40),
  constraint books_summary_check check (length(summary) <= 2000),
  constraint books_copies_check check (copies >= 0 and copies <= 1000000),
  constraint books_price_check check (price >= 0 and price <= 100000000),
  constraint books_labels_check check (jsonb_typeof(labels) = 'object'),
  constraint books_authors_check check (jsonb_typeof(authors) = 'array'),
  constraint books_chapters_check check (jsonb_typeof(chapters) = 'array'),
  constraint books_language_check check (language = 'de' or language = 'en' or language = 'other'),
  constraint books_status_check check (status = 'draft' or status = 'review' or status = 'published' or status = 'archived'),
  constraint books_published_by_check check (length(published_by) >= 1 and length(published_by) <= 300),
  constraint books_reason_check check (length(reason) >= 1 and length(reason) <= 200),
  constraint books_rejections_check check (rejections >= 0),
  constraint books_isbn10_check check (length(isbn10) <= 10),
  constraint books_published_published_at check (status <> 'published' or published_at is not null),
  constraint books_published_published_by check (status <> 'published' or published_by is not null),
  constraint books_shelf_id_fkey foreign key (tenant_key, shelf_id) references shelves (tenant_key, id) on delete restrict,
  constraint books_editor_id_fkey foreign key (tenant_key, editor_id) references editors (tenant_key, id) on delete restrict
);
create unique index books_slug_key on books (tenant_key, slug);
create unique index books_shelf_id_title_key on books (tenant_key, shelf_id, title);
create index books_by_status_due_at on books (tenant_key, status, due_at);
create index books_by_editor_id on books (tenant_key, editor_id);
select windlass_own_rows('books');

create table remarks (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  book_id uuid not null,
  text text not null collate "C",
  search_text text not null collate "C",
  created_at timestamptz not null,
  created_by text not null collate "C",
  primary key (tenant_key, id),
  constraint remarks_text_check check (length(text) >= 1 and length(text) <= 2000),
  constraint remarks_book_id_fkey foreign key (tenant_key, book_id) references books (tenant_key, id) on delete cascade
);
create index remarks_by_book_id on remarks (tenant_key, book_id);
select windlass_own_rows('remarks');

create table loans (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  book_id uuid not null,
  reader text not null collate "C",
  created_at timestamptz not null,
  created_by text not null collate "C",
  primary key (tenant_key, id),
  constraint loans_reader_check check (length(reader) >= 1 and length(reader) <= 40),
  constraint loans_book_id_fkey foreign key (tenant_key, book_id) references books (tenant_key, id) on delete cascade
);
create unique index loans_book_id_reader_key on loans (tenant_key, book_id, reader);
select windlass_own_rows('loans');

create table alarms (
  tenant_key integer not null references tenants (key),
  id uuid not null,
  gate bigint not null,
  status text not null default 'open' collate "C",
  closed_at timestamptz,
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (tenant_key, id),
  constraint alarms_gate_check check (gate >= 1 and gate <= 9),
  constraint alarms_status_check check (status = 'open' or status = 'closed'),
  constraint alarms_closed_closed_at check (status <> 'closed' or closed_at is not null)
);
select windlass_own_rows('alarms');

create table languages (
  id uuid not null,
  name text not null collate "C",
  search_text text not null collate "C",
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (id),
  constraint languages_name_check check (length(name) >= 1 and length(name) <= 40)
);
create unique index languages_name_key on languages (name);

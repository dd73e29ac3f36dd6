-- Second factors of people.

create table second_factors (
  id uuid not null,
  user_id uuid not null,
  secret bytea not null,
  recovery_hashes bytea,
  last_step bigint not null default 0,
  confirmed_at timestamptz,
  revision bigint not null,
  created_at timestamptz not null,
  created_by text not null collate "C",
  updated_at timestamptz not null,
  updated_by text not null collate "C",
  primary key (id),
  constraint second_factors_last_step_check check (last_step >= 0),
  constraint second_factors_user_id_fkey foreign key (user_id) references users (id) on delete restrict
);
create unique index second_factors_user_id_key on second_factors (user_id);

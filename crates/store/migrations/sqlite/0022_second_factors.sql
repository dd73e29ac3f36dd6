-- Second factors of people.

create table second_factors (
  id blob not null,
  user_id blob not null,
  secret blob not null,
  recovery_hashes blob,
  last_step integer not null default 0,
  confirmed_at text,
  revision integer not null,
  created_at text not null,
  created_by text not null,
  updated_at text not null,
  updated_by text not null,
  primary key (id),
  constraint second_factors_last_step_check check (last_step >= 0),
  constraint second_factors_user_id_fkey foreign key (user_id) references users (id) on delete restrict
) strict;
create unique index second_factors_user_id_key on second_factors (user_id);

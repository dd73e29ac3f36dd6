-- A shared value says what it is for.

alter table state_values add column description text;

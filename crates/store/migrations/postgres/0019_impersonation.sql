-- Sessions in somebody else's name.

alter table sessions add column acting_session_id uuid;
alter table sessions add column reason text collate "C" constraint sessions_reason_check check (length(reason) >= 1 and length(reason) <= 500);

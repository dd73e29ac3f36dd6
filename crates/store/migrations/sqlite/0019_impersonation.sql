-- Sessions in somebody else's name.

alter table sessions add column acting_session_id blob;
alter table sessions add column reason text constraint sessions_reason_check check (length(reason) >= 1 and length(reason) <= 500);

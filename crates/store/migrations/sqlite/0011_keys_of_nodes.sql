-- Which master keys each server holds, by their ids: an old one is refused only when all have the new one.

alter table nodes add column vault_keys text not null default '';

-- Settings are of several kinds: a value is JSON.

alter table setting_values alter column value type jsonb using to_jsonb(value);

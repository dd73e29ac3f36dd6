-- An index that ends in a table's own key can be asked for rows by that key, passing over the columns before it: reading
-- all of a tenant's entries for each row. On a table that is still empty the planner cannot tell that from the primary
-- key, and keeps the plan while the table grows. So each of them is for statements that name its own column, which alone
-- imply its predicate; the column is never null.
drop index runs_by_workflow;
create index runs_by_workflow on runs (tenant_key, workflow, id) where workflow is not null;
drop index idempotency_keys_by_run;
create index idempotency_keys_by_run on idempotency_keys (tenant_key, run_id) where run_id is not null;
drop index run_queue_by_place;
create index run_queue_by_place on run_queue (tenant_key, workflow, slot_key, priority desc, run_id) where workflow is not null;
drop index concurrency_slots_by_run;
create index concurrency_slots_by_run on concurrency_slots (tenant_key, run_id) where run_id is not null;
drop index tasks_by_run;
create index tasks_by_run on tasks (tenant_key, run_id, id) where run_id is not null;
drop index approvals_by_run;
create index approvals_by_run on approvals (tenant_key, run_id, id) where run_id is not null;
drop index event_waits_by_type;
create index event_waits_by_type on event_waits (tenant_key, type, subject) where type is not null;
drop index events_by_type;
create index events_by_type on events (tenant_key, type, id) where type is not null;
drop index blob_refs_by_hash;
create index blob_refs_by_hash on blob_refs (tenant_key, hash) where hash is not null;
drop index state_applied_by_run;
create index state_applied_by_run on state_applied (tenant_key, run_id) where run_id is not null;
drop index task_answers_by_run;
create index task_answers_by_run on task_answers (tenant_key, run_id) where run_id is not null;
drop index run_backlog_next;
create index run_backlog_next on run_backlog (tenant_key, rank, run_id) where rank is not null;

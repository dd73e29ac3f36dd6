-- Damages: SQL, and the rules that have to be named for it with their runs, and were not named before. One after
-- another they ruin the same database. `{name}` is the id of that run.

update timers set due_at = {later} where run_id = {waiting};
-- timer_is_fold waiting

insert into run_labels select tenant_key, 'label:x', 'y', {nobody} from runs where id = {plain};
-- label_of_run nobody

insert into search_documents select tenant_key, 'run', {nobody}, 'a b', false from runs where id = {plain};
-- words_of_run nobody

insert into search_words select tenant_key, 'run', 'c', {plain} from runs where id = {plain};
-- word_of_document plain

update runs set key = 'lost' where id = {asking};
-- run_is_found_by_its_key asking

update runs set trace_id = {nobody} where id = {listening};
-- row_is_fold listening

update runs set parent_run_id = {asking}, trace_id = {nobody} where id = {queued};
-- trace_of_parent queued

update timers set run_id = {plain} where run_id = {waiting};
-- timer_of_waiting_run plain

insert into timers select lane_id, {later}, run_id, tenant_key from timers where run_id = {plain};
-- one_timer_per_run plain

insert into inbox select lane_id, {nobody}, tenant_key, id, 'x', 'x', {bytes}, created_at from runs where id = {plain};
-- inbox_empty plain

update approvals set lane_id = 99 where run_id = {asking};
-- lane_of_run asking

update approvals set status = 'approved' where run_id = {asking};
-- approvals_are_fold asking

update approvals set status = 'pending', run_id = {plain} where run_id = {asking};
-- approval_of_open_run plain

delete from task_ready where task_id in (select id from tasks where run_id = {offering});
-- open_task_has_one_place offering

update tasks set path = 'other' where run_id = {offering};
-- tasks_are_fold offering

update tasks set finished_at = created_at where run_id = {offering};
-- task_result_taken offering

update tasks set run_id = {plain} where run_id = {offering};
-- task_of_open_run plain

insert into task_leases select tenant_key, {nobody}, {nobody}, {nobody}, 'w', 1, c.at from runs, (select at from journal limit 1) c where id = {plain};
-- lease_of_open_task

update event_waits set path = 'other' where run_id = {listening};
-- event_waits_are_fold listening

update event_waits set run_id = {plain} where run_id = {listening};
-- event_wait_of_open_run plain

update concurrency_slots set slot_key = 'x' where run_id = {limited};
-- place_is_held limited

update concurrency_slots set run_id = {plain} where run_id = {limited};
-- place_of_open_run plain

update run_queue set run_id = {plain} where run_id = {queued};
-- queued_run_is_in_queue queued
-- queue_is_fold queued
-- queue_holds_queued_runs plain

insert into active_steps select tenant_key, id, 'a', 'a', 1, (select max(at) from journal) from runs where id = {plain};
-- active_step_of_open_run plain
-- active_steps_are_fold plain

insert into idempotency_keys select tenant_key, {bytes}, {bytes}, {nobody} from runs where id = {plain};
-- idempotency_key_of_run nobody

insert into idempotency_keys select tenant_key, {more bytes}, {bytes}, id from runs where id = {plain};
-- one_idempotency_key_per_run plain

delete from idempotency_keys where run_id = {plain};
-- told_start plain

insert into run_snapshots select tenant_key, {nobody}, 1, 1, {bytes}, 1 from runs where id = {plain};
-- snapshot_of_run nobody

insert into state_applied select tenant_key, 'k', {nobody}, '1', created_at from runs where id = {plain};
-- state_change_of_run nobody

insert into blobs select tenant_key, {bytes}, {bytes}, 1, created_at from runs where id = {plain};

insert into blobs select tenant_key, {more bytes}, {bytes}, 1, {two days before created_at} from runs where id = {plain};
-- value_is_referred_to

insert into blob_refs select tenant_key, {nobody}, {bytes} from runs where id = {plain};
-- value_ref_of_run nobody

update runs set workflow = 'else' where id = {signalled};
-- row_is_fold signalled

update runs set parent_run_id = {nobody} where id = {listening};
-- parent_of_open_run listening

update runs set finished_at = created_at where id = {limited};
-- end_of_run limited

update journal set attempt = 9 where {journal of saga} and seq = 2;
-- journal_sound saga

delete from journal where {journal of signalled} and kind = 'signal';
-- journal_sound signalled
-- told_signal signalled

delete from runs where id = {plain};
-- told_final plain
-- journal_of_run

delete from workflow_versions where version = 1;

delete from definitions;
-- definition_of_run limited
-- plan_usable limited

update lanes set node_id = {nobody};
-- node_of_lane


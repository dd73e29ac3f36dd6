//! The runtime through its facade, on every database.

mod crowds;
mod deletions;
mod handed;
mod harness;
mod lying;
mod nodes;
mod queue;
mod quotas;
mod restarts;
mod runs;
mod searches;
mod speed;
mod statements;
mod traces;
mod verify;
mod waits;

/// Each test on each database.
macro_rules! on_every_database {
    ($($module:ident: $($test:ident),* ;)*) => {
        mod sqlite { $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$module::$test(super::harness::Harness::sqlite().await).await }
        )*)* }
        mod postgres { $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$module::$test(super::harness::Harness::postgres().await).await }
        )*)* }
    };
}

on_every_database! {
    runs: a_run_completes, what_does_not_exist_or_match_is_refused, a_panic_is_a_failure, retries_follow_failures,
        undo_runs_in_reverse, a_fan_out_is_bounded, signals_come_before_and_after_the_wait, cancel_stops_what_runs,
        pause_holds_and_resume_goes_on, large_values_come_back, one_key_starts_one_run,
        a_thousand_signals_count_once_each, timers_fire_in_time,
        a_run_rests_when_it_waits_for_others, drain_lets_attempts_end;
    waits: workers_do_tasks, a_failed_task_fails_its_step, a_lost_lease_returns_the_task, who_waits_gets_the_next_task,
        a_worker_that_went_away_loses_no_task, cancel_takes_tasks_back, people_decide, of_many_decisions_one_counts,
        events_come_before_and_after_the_wait, full_places_queue, full_places_reject,
        full_places_replace, a_lock_is_held_by_one, a_rate_is_kept, what_waits_for_its_rate_holds_nothing, runs_come_from_runs, undo_of_a_cancelled_run;
    handed: a_quick_answer_leaves_nothing, an_answer_is_known_again_after_a_crash, a_task_without_a_row_outlives_its_server,
        a_task_gets_its_row_when_it_is_asked_for, a_task_gets_its_row_when_its_server_stops,
        a_task_gets_its_row_when_it_lasts, a_task_is_there_while_its_run_is_read_again;
    lying: whoever_comes_next_has_it_without_a_row, it_gets_its_row_when_nobody_comes, its_row_says_who_has_it,
        it_is_withdrawn_with_its_run, it_is_free_when_its_server_stops, it_outlives_its_server;
    speed: ten_steps;
    crowds: a_crowd_of_naps_is_woken, a_crowd_is_loaded_by_and_by, a_run_without_end_stops_with_its_server,
        a_long_journal_is_folded;
    verify: a_damaged_database_is_told_how, a_journal_that_went_wrong_is_told, what_is_unfinished_or_too_little_is_told,
        a_stored_state_of_another_run_is_told, what_was_seen_outside_is_compared;
    queue: runs_above_the_bound_wait_their_turn, the_higher_priority_goes_first, tenants_take_turns,
        a_tenant_at_its_bound_waits_alone, a_tenant_with_much_to_do_holds_up_nobody, queued_runs_can_be_stopped_paused_and_told, a_full_queue_refuses,
        a_queue_survives, many_are_let_in_at_once, what_was_claimed_and_not_admitted_is_found, places_and_seats_go_together;
    quotas: a_quota_holds_on_one_server;
    restarts: a_killed_run_goes_on, a_wait_survives_and_outlives, children_survive, random_kills_lose_nothing,
        waiting_runs_cost_nothing, history_is_swept, history_of_files_is_swept, a_run_keeps_its_version,
        a_parent_waits_for_what_took_its_childs_place, a_cancel_reaches_what_took_a_childs_place,
        a_restart_that_is_refused_is_seen, a_child_that_was_cancelled_before_it_began_stays_cancelled,
        a_letter_that_could_not_be_taken_is_opened_again_at_once;
    traces: a_trace_is_handed_on, what_comes_of_a_run_is_of_its_trace_and_a_new_start_is_not;
    searches: what_was_given_and_what_came_is_found, errors_and_large_values_are_found,
        what_ended_unread_is_found_later, a_tenant_may_not_be_searched;
    deletions: what_is_under_way_goes_on, nothing_starts_what_is_deleted, what_is_started_is_not_deleted,
        what_was_published_before_is_noted, no_start_comes_after_a_deletion;
}

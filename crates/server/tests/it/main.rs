//! The API over real connections, on every database.

mod audit;
mod auth;
mod bounds;
mod browser;
mod conditions;
mod coverage;
mod credentials;
mod delegations;
mod features;
mod files;
mod harness;
mod hostile;
mod idempotency;
mod identity;
mod mcp;
mod oauth;
mod oidc;
mod openapi;
mod overload;
mod people;
mod places;
mod provisioned;
mod rate_limits;
mod records;
mod runs;
mod scim;
mod search;
mod second_factor;
mod settings;
mod sharing;
mod state;
mod stream;
mod templates;
mod workflows;

/// Each test on each database.
macro_rules! on_every_database {
    ($($module:ident: $($test:ident),* ;)*) => {
        mod sqlite { $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$module::$test(super::harness::Api::sqlite().await).await }
        )*)* }
        mod postgres { $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$module::$test(super::harness::Api::postgres().await).await }
        )*)* }
    };
}

on_every_database! {
    audit: what_is_done_is_in_the_audit, what_goes_with_something_is_in_the_audit, the_audit_is_exported_and_judged;
    auth: no_route_is_open_without_a_token, a_token_may_only_what_it_says;
    conditions: answers_carry_their_headers, preconditions_hold;
    credentials: a_step_is_made_with_the_credential_that_it_names, what_comes_back_holds_nothing_of_the_vault,
        who_may_use_no_secrets_names_no_credential,
        what_is_no_credential_for_the_web_is_refused, what_goes_missing_after_publishing_fails_the_step;
    delegations: people_of_another_tenant_act_in_their_own_names,
        a_delegation_lets_nobody_in_to_what_is_personal_or_the_installations, who_came_by_a_delegation_is_out_when_it_ends,
        a_delegation_changes_with_both_audits_or_not_at_all;
    features: a_feature_is_switched_for_a_tenant, what_is_off_is_off_on_every_route_and_kept,
        keys_let_nobody_in_while_they_are_off;
    files: files_are_uploaded_changed_and_fetched, what_a_browser_would_run_is_never_shown, a_link_is_for_whoever_has_it;
    hostile: what_is_hostile_is_refused_and_writes_nothing;
    idempotency: one_key_starts_one_run;
    bounds: wrong_passwords_and_codes_are_counted_over_all_servers, who_knows_his_password_is_not_held_up,
        attempts_of_applications_are_counted_over_all_servers, attempts_that_are_long_ago_are_forgotten,
        a_keys_limit_holds_on_one_server;
    identity: a_viewer_comes_by_invitation_and_can_watch_but_not_publish, nobody_gives_or_takes_more_than_he_may,
        keys_are_scoped_bounded_and_revoked, cookies_change_nothing_from_elsewhere, guesses_are_bounded_and_say_nothing,
        people_see_and_end_their_own_sessions, guessable_passwords_are_refused_and_change_nothing,
        who_acts_in_anothers_name_is_named_and_gains_nothing,
        acting_in_anothers_name_ends_with_the_right_and_the_session, what_is_done_in_anothers_name_bears_both,
        a_second_factor_is_asked_for_and_no_code_is_taken_twice, codes_are_not_guessed_and_recovery_codes_work_once,
        how_people_come_in_is_a_setting;
    mcp: a_model_works_with_tools;
    oauth: an_application_acts_in_the_name_of_somebody, a_browser_is_asked_once, a_code_and_a_refresh_token_work_once,
        what_an_application_holds_ends, who_lacks_a_second_factor_lets_no_application_in, an_application_acts_in_its_own_name, who_sets_up_an_application_gains_nothing,
        a_request_that_is_wrong_goes_nowhere;
    oidc: somebody_comes_by_a_provider, who_is_let_in, what_a_provider_says_has_to_hold,
        what_a_provider_publishes_has_to_hold, what_a_token_does_not_say_is_asked_for,
        a_key_that_is_new_is_asked_for, a_sign_in_ends_where_it_began_and_once,
        identities_are_linked_by_those_whose_they_are, a_program_gets_a_session_for_a_ticket,
        a_provider_does_not_lead_around_a_second_factor,
        a_provider_is_no_second_factor, one_let_in_by_a_provider_knows_of_its_tenant_alone, a_provider_is_set_up_by_whoever_may_do_everything, a_real_provider_signs_somebody_in;
    openapi: answers_are_what_the_document_says;
    overload: what_is_too_much_is_refused_and_leaves_nothing, tenants_take_turns_at_the_door,
        who_waits_for_a_run_or_a_task_takes_no_place;
    people: an_approval_is_decided, a_task_is_worked, an_event_wakes_a_run;
    places: who_reaches_what, lists_show_what_is_in_reach, what_is_moved_is_in_reach_or_out_of_it_at_once,
        a_narrow_author_gets_around_nothing, what_acts_for_somebody_is_as_narrow,
        an_assignment_holds_in_one_place_and_gives_what_is_narrow;
    rate_limits: rules_are_kept_at_the_door, two_servers_keep_one_rule;
    records: a_suspended_tenant_is_refused_and_its_runs_hold, quotas_narrow_what_a_tenant_starts, workflows_are_put_into_folders_and_tagged, records_have_etags_and_problems, transitions_are_verbs,
        no_record_is_open_to_others;
    runs: a_run_is_started_and_waited_for, a_run_is_paused_signalled_and_cancelled, lists_are_pages,
        a_run_joins_a_trace, a_run_is_rerun_and_forked;
    search: workflows_and_runs_are_found_by_words;
    provisioned: somebody_provisioned_signs_in_and_is_out_again, who_is_linked_to_whom_is_provisioned,
        a_group_gives_what_its_roles_allow, a_provider_never_takes_the_last_administrator,
        a_provider_reaches_nobody_who_looks_after_the_installation, a_key_of_a_provider_is_made_by_who_may_do_everything,
        users_are_deleted, pictures_and_verified_addresses_are_kept;
    scim: okta_provisions, entra_provisions, filters_find_what_they_say, what_is_wrong_is_refused_in_scims_form,
        tenants_and_providers_know_nothing_of_each_other;
    second_factor: who_has_no_second_factor_may_only_set_one_up, who_asks_for_a_second_factor_has_one,
        who_acts_in_anothers_name_shows_his_own_second_factor;
    sharing: a_secret_is_named_by_those_with_whom_it_is_shared, who_decides_nothing_about_sharing_gets_around_no_limit,
        a_secret_is_used_where_it_is_shared, a_secret_goes_to_its_hosts_alone,
        a_tenant_reaches_what_it_chose_within_the_installation;
    settings: settings_are_chosen_in_layers, settings_are_of_several_kinds;
    state: shared_state_is_read_and_changed;
    stream: a_stream_tells_all_and_ends;
    templates: a_template_is_marked_found_and_copied, what_is_wrong_makes_no_copy, a_copy_is_made_by_who_sees_and_writes;
    workflows: a_workflow_is_saved_published_and_read, a_bad_document_is_refused_with_every_place,
        what_cannot_run_yet_is_not_published, a_workflow_is_deleted_and_restored, what_the_editor_keeps_comes_back;
}

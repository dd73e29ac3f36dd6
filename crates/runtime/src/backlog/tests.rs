//! The seats of a node: who gets one, who waits, and what is refused.

use super::*;

fn settings(active: usize, per_tenant: usize) -> Settings {
    Settings { runs_active_max: active, runs_active_per_tenant_max: per_tenant, ..Settings::default() }
}

fn of(settings: &Settings) -> Bounds<'_> {
    Bounds { settings, rules: Arc::default(), shared: false }
}

fn seat(taken: Taken) -> Option<Seat> {
    match taken {
        Taken::Seat(seat) => Some(seat),
        Taken::Wait | Taken::Ask => None,
    }
}

const A: TenantKey = TenantKey(1);
const B: TenantKey = TenantKey(2);
const C: TenantKey = TenantKey(3);

#[test]
fn seats_are_shared_evenly_and_what_one_cannot_use_goes_to_the_others() {
    for (free, may, wanted) in [
        (0, vec![(A, 9)], vec![]),
        (1, vec![(A, 9), (B, 9)], vec![(A, 1)]),
        (2, vec![(B, 9), (A, 9)], vec![(B, 1), (A, 1)]),
        (7, vec![(A, 9), (B, 9)], vec![(A, 4), (B, 3)]),
        (9, vec![(A, 1), (B, 9), (C, 9)], vec![(A, 1), (B, 4), (C, 4)]),
        (9, vec![(A, 1), (B, 2)], vec![(A, 1), (B, 2)]),
    ] {
        assert_eq!(turns(free, &may), wanted, "{free} among {may:?}");
    }
}

#[test]
fn nobody_passes_those_who_wait() {
    let (backlog, settings) = (Arc::new(Backlog::default()), settings(2, 2));
    let seats = [seat(backlog.take(A, &of(&settings))).unwrap(), seat(backlog.take(B, &of(&settings))).unwrap()];
    assert!(seat(backlog.take(B, &of(&settings))).is_none());
    drop(seats);
    // A seat is free, but somebody waits for it.
    assert!(seat(backlog.take(A, &of(&settings))).is_none());
    let taken = backlog.share(&[B], &of(&settings));
    assert_eq!(taken.iter().map(|(tenant, seats)| (*tenant, seats.len())).collect::<Vec<_>>(), [(B, 2)]);
    drop(taken);
    assert!(backlog.share(&[], &of(&settings)).is_empty());
    assert!(seat(backlog.take(A, &of(&settings))).is_some());
}

#[test]
fn a_tenant_at_its_bound_holds_up_nobody_else() {
    let (backlog, settings) = (Arc::new(Backlog::default()), settings(3, 1));
    let first = seat(backlog.take(A, &of(&settings))).unwrap();
    assert!(seat(backlog.take(A, &of(&settings))).is_none());
    let _other = seat(backlog.take(B, &of(&settings))).unwrap();
    assert!(backlog.share(&[A], &of(&settings)).is_empty());
    let _third = seat(backlog.take(C, &of(&settings))).unwrap();
    drop(first);
    assert!(seat(backlog.take(A, &of(&settings))).is_none(), "its first run waits");
    assert_eq!(backlog.share(&[A], &of(&settings)).len(), 1);
}

#[test]
fn the_queue_has_bounds_and_refusals_name_them() {
    let backlog = Backlog::default();
    let settings = Settings { runs_queued_max: 3, runs_queued_per_tenant_max: 2, ..Settings::default() };
    backlog.queued(A);
    backlog.queued(A);
    let refused = backlog.admits(A, &of(&settings)).unwrap_err();
    assert_eq!(refused.code(), "too_many_queued");
    assert!(refused.to_string().contains("`runs_queued_per_tenant_max`"), "{refused}");
    backlog.admits(B, &of(&settings)).unwrap();
    backlog.queued(B);
    let refused = backlog.admits(B, &of(&settings)).unwrap_err();
    assert_eq!(refused.code(), "unavailable");
    assert!(refused.to_string().contains("`runs_queued_max`"), "{refused}");
    backlog.claimed(A);
    backlog.admits(B, &of(&settings)).unwrap();
    backlog.counted(&BTreeMap::from([(A, 2)]));
    assert!(backlog.admits(A, &of(&settings)).is_err());
}

#[test]
fn a_quota_narrows_the_settings_and_a_suspended_tenant_has_no_seat() {
    let (backlog, settings) = (Arc::new(Backlog::default()), settings(9, 2));
    let rules = |suspended, active, queued| TenantRules {
        suspended,
        runs_active_max: active,
        runs_queued_max: queued,
        ..TenantRules::default()
    };
    let all = [(A, rules(false, Some(1), Some(1))), (B, rules(true, None, None)), (C, rules(false, Some(5), None))];
    let bounds = Bounds { settings: &settings, rules: Arc::new(HashMap::from(all)), shared: false };
    let _one = seat(backlog.take(A, &bounds)).unwrap();
    assert!(seat(backlog.take(A, &bounds)).is_none(), "its quota is one");
    assert!(seat(backlog.take(B, &bounds)).is_none(), "it is suspended");
    let _two = [seat(backlog.take(C, &bounds)).unwrap(), seat(backlog.take(C, &bounds)).unwrap()];
    assert!(seat(backlog.take(C, &bounds)).is_none(), "a quota is never more than the setting");
    assert!(backlog.share(&[A, B, C], &bounds).is_empty());
    backlog.queued(A);
    let refused = backlog.admits(A, &bounds).unwrap_err().to_string();
    assert!(refused.contains("`max_queued_runs`"), "{refused}");
    backlog.admits(B, &bounds).unwrap();
}

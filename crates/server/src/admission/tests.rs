//! The door by itself: who comes in, in which order, and who does not.

use std::sync::Mutex as Shared;

use super::*;

const A: TenantKey = TenantKey(1);
const B: TenantKey = TenantKey(2);
const C: TenantKey = TenantKey(3);

fn limits(all: usize, per_tenant: usize) -> Limits {
    Limits {
        requests_max: all,
        requests_per_tenant_max: per_tenant,
        requests_waiting_max: 100,
        requests_waiting_per_tenant_max: 100,
        // Nobody's turn takes so long here.
        request_wait: Duration::from_secs(60),
        ..Limits::default()
    }
}

/// A door, and who came in, in this order.
struct Scene {
    door: Arc<Door>,
    came: Arc<Shared<Vec<&'static str>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Scene {
    fn new(limits: Limits) -> Scene {
        Scene { door: Door::new(limits), came: Arc::default(), tasks: Vec::new() }
    }

    /// A request that leaves as soon as it has come in.
    async fn asks(&mut self, name: &'static str, tenant: TenantKey, class: Class) {
        let (door, came) = (Arc::clone(&self.door), Arc::clone(&self.came));
        self.tasks.push(tokio::spawn(async move {
            let pass = door.enter((tenant, class), None).await.unwrap();
            came.lock().unwrap().push(name);
            drop(pass);
        }));
        tokio::task::yield_now().await;
    }

    async fn order(self) -> Vec<&'static str> {
        for task in self.tasks {
            task.await.unwrap();
        }
        assert_eq!(self.door.occupancy(), (0, 0));
        let state = self.door.state();
        assert!(state.tenants.is_empty() && state.queue.is_empty(), "{state:?}");
        self.came.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_tenant_with_many_requests_waits_for_itself() {
    let mut scene = Scene::new(limits(1, 1));
    let held = scene.door.enter((A, Class::Starts), None).await.unwrap();
    for name in ["a1", "a2", "a3", "a4"] {
        scene.asks(name, A, Class::Starts).await;
    }
    scene.asks("b1", B, Class::Starts).await;
    scene.asks("b2", B, Class::Starts).await;
    scene.asks("c1", C, Class::Starts).await;
    assert_eq!(scene.door.occupancy(), (1, 7));
    drop(held);
    assert_eq!(scene.order().await, ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
}

#[tokio::test]
async fn reads_do_not_wait_behind_a_flood_of_starts() {
    let mut scene = Scene::new(limits(1, 1));
    let held = scene.door.enter((A, Class::Starts), None).await.unwrap();
    for name in ["start 1", "start 2", "start 3"] {
        scene.asks(name, A, Class::Starts).await;
    }
    scene.asks("read", A, Class::Other).await;
    drop(held);
    assert_eq!(scene.order().await, ["start 1", "read", "start 2", "start 3"]);
}

#[tokio::test]
async fn a_tenant_at_its_bound_leaves_room_for_others() {
    let mut scene = Scene::new(limits(3, 2));
    let held = [
        scene.door.enter((A, Class::Starts), None).await.unwrap(),
        scene.door.enter((A, Class::Other), None).await.unwrap(),
    ];
    scene.asks("a", A, Class::Starts).await;
    scene.asks("b", B, Class::Starts).await;
    assert_eq!(*scene.came.lock().unwrap(), ["b"], "it comes in at once");
    drop(held);
    assert_eq!(scene.order().await, ["b", "a"]);
}

#[tokio::test]
async fn whoever_only_waits_gives_its_place_away() {
    let mut scene = Scene::new(limits(1, 1));
    let held = scene.door.enter((A, Class::Starts), None).await.unwrap();
    scene.asks("next", A, Class::Starts).await;
    held.leave();
    tokio::task::yield_now().await;
    assert_eq!(*scene.came.lock().unwrap(), ["next"]);
    // Once is enough.
    held.leave();
    drop(held);
    drop(Pass::free(A));
    assert_eq!(scene.order().await, ["next"]);
}

#[tokio::test]
async fn who_goes_before_its_turn_holds_up_nobody() {
    let mut scene = Scene::new(limits(1, 1));
    let held = scene.door.enter((A, Class::Starts), None).await.unwrap();
    for _ in 0..50 {
        scene.asks("gone", A, Class::Starts).await;
    }
    let gone: Vec<_> = scene.tasks.drain(..).collect();
    scene.asks("stays", A, Class::Starts).await;
    for task in gone {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!((scene.door.occupancy(), scene.door.state().queue.len()), ((1, 1), 1));
    drop(held);
    assert_eq!(scene.order().await, ["stays"]);
}

#[tokio::test]
async fn who_waited_too_long_is_told_whose_bound_it_was() {
    let wait = Duration::from_millis(5);
    let door = Door::new(Limits { request_wait: wait, ..limits(2, 1) });
    let _a = door.enter((A, Class::Starts), None).await.unwrap();
    let refused = door.enter((A, Class::Starts), None).await.unwrap_err();
    assert_eq!((refused.status().as_u16(), refused.code()), (429, "too_many_requests"));
    assert!(refused.detail().contains("`requests_per_tenant_max`"), "{}", refused.detail());
    assert_eq!(refused.render("1").headers()[header::RETRY_AFTER], "2");
    let _b = door.enter((B, Class::Starts), None).await.unwrap();
    let refused = door.enter((C, Class::Starts), None).await.unwrap_err();
    assert_eq!((refused.status().as_u16(), refused.code()), (503, "overloaded"));
    assert!(refused.detail().contains("`requests_max`"), "{}", refused.detail());
    assert_eq!(refused.render("1").headers()[header::RETRY_AFTER], "3");
    assert_eq!(door.occupancy(), (2, 0));
}

#[tokio::test]
async fn a_connection_that_was_refused_and_comes_again_too_soon_is_held() {
    let retry_after = Duration::from_millis(20)..Duration::from_millis(30);
    let bounds = Limits { request_wait: Duration::from_millis(1), retry_after, ..limits(2, 1) };
    let door = Door::new(bounds.clone());
    let inside = door.enter((A, Class::Starts), None).await.unwrap();
    let (again, other) = (Refused::default(), Refused::default());
    let (starts, reads) = ((A, Class::Starts), (A, Class::Other));
    for (from, flow, held, why) in [
        (&again, starts, 0, "the first time"),
        (&other, starts, 0, "another connection"),
        (&again, starts, 1, "too soon"),
        (&again, reads, 1, "something else"),
        (&again, starts, 1, "only what was refused last is known"),
    ] {
        let before = door.metrics().held_count();
        let since = Instant::now();
        assert_eq!(door.enter(flow, Some(from)).await.unwrap_err().code(), "too_many_requests", "{why}");
        assert_eq!(door.metrics().held_count(), held, "{why}");
        let told = if held > before { bounds.retry_after.start } else { Duration::ZERO };
        assert!(since.elapsed() >= told / 2, "{why}: it comes before it was told to");
    }
    drop(inside);
    door.enter(starts, Some(&again)).await.unwrap();
    assert_eq!(door.metrics().held_count(), 1, "there is room");
}

#[tokio::test]
async fn beside_others_a_tenant_has_half_of_its_places() {
    let mut scene = Scene::new(Limits { company_kept: Duration::MAX, ..limits(5, 4) });
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(scene.door.enter((A, Class::Starts), None).await.unwrap());
    }
    scene.asks("b", B, Class::Starts).await;
    scene.asks("a1", A, Class::Starts).await;
    held.pop();
    scene.asks("a2", A, Class::Other).await;
    assert_eq!(*scene.came.lock().unwrap(), ["b"], "two of four are inside");
    let refused = scene.door.too_slow(A);
    assert!(refused.detail().contains("(half of setting `requests_per_tenant_max`"), "{}", refused.detail());
    assert_eq!(refused.code(), "too_many_requests");
    drop(held);
    assert_eq!(scene.order().await, ["b", "a1", "a2"]);
}

#[tokio::test]
async fn whoever_is_alone_again_has_all_places() {
    let scene = Scene::new(Limits { company_kept: Duration::ZERO, ..limits(5, 4) });
    let b = scene.door.enter((B, Class::Starts), None).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(scene.door.enter((A, Class::Starts), None).await.unwrap());
    }
    drop(b);
    drop(held);
    assert!(scene.order().await.is_empty());
}

#[test]
fn who_is_refused_at_once_is_not_asked_back_at_once() {
    let door = Door::new(limits(1, 1));
    let Range { start, end } = Limits::default().retry_after;
    let mut tenths = [0; 10];
    for _ in 0..1_000 {
        let pause = door.pause();
        assert!(start <= pause && pause <= end, "{pause:?}");
        let part = (pause - start).div_duration_f64(end - start);
        tenths[((part * 10.0) as usize).min(9)] += 1;
    }
    assert!(tenths.iter().all(|of| (90..=110).contains(of)), "{tenths:?}");
}

#[tokio::test]
async fn a_crowd_is_refused_at_once() {
    let bounds = Limits { requests_waiting_max: 3, requests_waiting_per_tenant_max: 2, ..limits(2, 1) };
    let mut scene = Scene::new(bounds);
    let held = scene.door.enter((A, Class::Starts), None).await.unwrap();
    scene.asks("a1", A, Class::Starts).await;
    scene.asks("a2", A, Class::Other).await;
    let refused = scene.door.enter((A, Class::Starts), None).await.unwrap_err();
    assert_eq!((refused.status().as_u16(), refused.code()), (429, "too_many_requests"));
    assert!(refused.detail().contains("`requests_waiting_per_tenant_max`"), "{}", refused.detail());
    // For another tenant there is room, however many of the first one wait.
    let other = scene.door.enter((B, Class::Starts), None).await.unwrap();
    scene.asks("b", B, Class::Starts).await;
    let refused = scene.door.enter((C, Class::Starts), None).await.unwrap_err();
    assert_eq!((refused.status().as_u16(), refused.code()), (503, "overloaded"));
    assert!(refused.detail().contains("`requests_waiting_max`"), "{}", refused.detail());
    drop((held, other));
    assert_eq!(scene.order().await, ["a1", "b", "a2"]);
}

#[test]
fn permissions_have_their_class() {
    use crate::auth::{RunsRead, all};
    assert_eq!(Class::of(RunsStart::NAME), Some(Class::Starts));
    assert_eq!(Class::of(RunsRead::NAME), Some(Class::Other));
    let free: Vec<&&str> = all().iter().map(|it| &it.name).filter(|name| Class::of(name).is_none()).collect();
    assert_eq!(free, [&MetricsRead::NAME]);
}

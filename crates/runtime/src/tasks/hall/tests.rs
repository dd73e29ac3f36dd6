//! Who gets which task, and when.

use std::{collections::HashMap, time::Duration};

use windlass_definition::Value;
use windlass_engine::effect::OfferTask;
use windlass_store::LaneId;

use super::*;

const TENANT: TenantKey = TenantKey(1);
const NOW: Option<Timestamp> = Some(Timestamp::from_micros(1_000_000));

/// A hall, and what lies there.
struct Inside {
    hall: Arc<Hall>,
    lying: HashMap<u8, Lying>,
}

impl Inside {
    /// Workers of these queues came for more than there was.
    fn of(queues: &str) -> Inside {
        let inside = Inside { hall: Arc::new(Hall::new(Arc::default())), lying: HashMap::new() };
        let (place, _, looks) = inside.claim(queues, 10);
        assert!(looks, "nobody knows what is stored");
        inside.look(place, 0);
        inside.hall.end(place);
        inside
    }

    fn claim(&self, queues: &str, max: usize) -> (Place, oneshot::Receiver<Answer>, bool) {
        let queues = queues.split(' ').map(Arc::from).collect();
        self.hall.enter(Wanted { tenant: TENANT, queues, worker: "w".into(), max }, NOW)
    }

    /// What a claim gets at once.
    fn gets(&self, queues: &str, max: usize) -> Vec<u8> {
        let (place, mut answer, _) = self.claim(queues, max);
        self.hall.end(place);
        told(&mut answer).unwrap_or_default()
    }

    /// A look of a claim that finds so many tasks.
    fn look(&self, place: Place, count: u8) {
        let look = self.hall.next_look(TENANT, 100).unwrap();
        assert_eq!(look.claims.len(), 1);
        self.looked(place, count);
    }

    fn looked(&self, place: Place, count: u8) {
        let found = (100..100 + count).map(|name| {
            let holder =
                Holder { worker: "w".into(), token: RunId::from_parts(0, [0; 10]).uuid(), until: NOW.unwrap() };
            offered("stored", name, 0).claimed(holder).1
        });
        self.hall.looked(place, Ok(found.collect()), NOW);
    }

    fn stored(&self, queue: &str) {
        self.hall.stored(TENANT, &queue.into());
    }

    fn lay(&mut self, queue: &str, name: u8, priority: i32) {
        let (lying, orphans) = self.hall.lay(offered(queue, name, priority), NOW);
        assert_eq!(orphans.len(), 0);
        self.lying.insert(name, lying);
    }

    fn may_lie(&self, queue: &str) -> bool {
        self.hall.may_lie(TENANT, &queue.into())
    }
}

fn id(name: u8) -> TaskId {
    TaskId::from_parts(u64::from(name), [name; 10])
}

fn offered(queue: &str, name: u8, priority: i32) -> Offered {
    let task = OfferTask {
        task: id(name),
        path: "t".into(),
        step: "t".into(),
        attempt: 1,
        key: "k".into(),
        queue: queue.into(),
        input: Value::Int(name.into()),
        priority,
        lease: Duration::from_secs(1),
    };
    Offered { tenant: TENANT, run: RunId::from_parts(u64::from(name), [0; 10]), lane: LaneId(1), task }
}

/// The names of the tasks that a claim was answered with.
fn told(answer: &mut oneshot::Receiver<Answer>) -> Option<Vec<u8>> {
    let name = |task: ClaimedTask| match task.input {
        Value::Int(name) => name as u8,
        _ => u8::MAX,
    };
    answer.try_recv().ok().map(|tasks| tasks.unwrap().into_iter().map(name).collect())
}

#[test]
fn the_highest_priority_is_taken_first_then_the_oldest() {
    let mut inside = Inside::of("a b c");
    for (queue, name, priority) in [("a", 1, 0), ("b", 2, 5), ("a", 3, 5), ("c", 4, 9), ("b", 5, 0)] {
        inside.lay(queue, name, priority);
    }
    for (queues, max, expected) in [("a b", 3, vec![2, 3, 1]), ("a", 9, vec![]), ("c b", 9, vec![4, 5])] {
        assert_eq!(inside.gets(queues, max), expected, "{queues}");
    }
}

#[test]
fn what_is_stored_comes_before_what_lies() {
    let mut inside = Inside::of("a");
    inside.lay("a", 1, 9);
    inside.stored("a");
    let (place, mut answer, looks) = inside.claim("a", 3);
    assert!(looks);
    assert_eq!(told(&mut answer), None);
    inside.look(place, 2);
    assert_eq!(told(&mut answer), Some(vec![100, 101, 1]));
}

#[test]
fn nobody_looks_where_nothing_is_stored() {
    type Change = fn(&Inside);
    let cases: [(&str, Change, bool); 4] = [
        ("nothing", |_| {}, false),
        ("another queue", |inside| inside.stored("b"), false),
        ("stored", |inside| inside.stored("a"), true),
        ("somewhere", |inside| drop(inside.hall.stored_somewhere()), true),
    ];
    for (name, change, expected) in cases {
        let inside = Inside::of("a");
        change(&inside);
        assert_eq!(inside.claim("a", 1).2, expected, "{name}");
    }
    assert!(Inside::of("a").claim("a b", 1).2, "of one of them nothing is known");
    // What is stored during a look may have come too late for it.
    let inside = Inside::of("a");
    inside.stored("a");
    let (place, _answer, _) = inside.claim("a", 2);
    assert!(inside.hall.next_look(TENANT, 100).is_some());
    inside.stored("a");
    inside.looked(place, 1);
    assert!(inside.claim("a", 1).2);
}

#[test]
fn tasks_lie_where_workers_keep_up() {
    let inside = Inside::of("a");
    assert!(inside.may_lie("a") && !inside.may_lie("b"));
    // A look that found all it wanted has left some.
    for (found, expected) in [(2, false), (1, true)] {
        inside.stored("a");
        let (place, _answer, _) = inside.claim("a", 2);
        inside.look(place, found);
        assert_eq!(inside.may_lie("a"), expected, "{found}");
    }
    let mut inside = Inside::of("a");
    inside.lay("a", 1, 0);
    assert_eq!(inside.lying.remove(&1).unwrap().end().map(|holder| holder.worker), None);
    assert!(!inside.may_lie("a"), "nobody came");
    assert!(inside.gets("a", 9).is_empty());
}

#[test]
fn whoever_waits_gets_what_is_laid_there() {
    let mut inside = Inside::of("a b");
    let (_, mut first, _) = inside.claim("b", 1);
    let (_, mut second, _) = inside.claim("a b", 1);
    inside.lay("a", 1, 0);
    inside.lay("b", 2, 0);
    inside.lay("b", 3, 0);
    assert_eq!((told(&mut first), told(&mut second)), (Some(vec![2]), Some(vec![1])));
    for (name, taken) in [(1, true), (2, true), (3, false)] {
        assert_eq!(inside.lying.remove(&name).unwrap().end().is_some(), taken, "{name}");
    }
}

#[test]
fn what_a_run_does_not_want_any_more_is_taken_by_nobody() {
    type Change = fn(&mut Inside);
    let cases: [(&str, Change); 3] = [
        ("withdrawn", |inside| assert!(inside.hall.withdraw(id(1), NOW.unwrap()))),
        ("ended", |inside| drop(inside.lying.remove(&1))),
        ("written", |inside| drop(inside.lying.remove(&1).map(Lying::end))),
    ];
    for (name, change) in cases {
        let mut inside = Inside::of("a");
        inside.lay("a", 1, 0);
        assert!(inside.hall.run_of(id(1)).is_some());
        change(&mut inside);
        assert_eq!((inside.gets("a", 9), inside.hall.run_of(id(1))), (vec![], None), "{name}");
    }
    let mut inside = Inside::of("a");
    inside.lay("a", 1, 0);
    assert_eq!(inside.gets("a", 9), [1]);
    assert!(!inside.hall.withdraw(id(1), NOW.unwrap()), "a worker has it");
}

#[test]
fn nothing_is_taken_while_another_node_may_have_the_run() {
    let mut inside = Inside::of("a");
    inside.lay("a", 1, 0);
    let wanted = Wanted { tenant: TENANT, queues: [Arc::from("a")].into(), worker: "w".into(), max: 1 };
    let (place, mut answer, looks) = inside.hall.enter(wanted, None);
    assert!(looks);
    assert!(inside.hall.next_look(TENANT, 100).is_some());
    inside.hall.looked(place, Ok(Vec::new()), None);
    assert_eq!(told(&mut answer), None);
}

#[test]
fn what_a_worker_that_went_away_was_given_comes_back() {
    let inside = Inside::of("a");
    let (_, answer, _) = inside.claim("a", 1);
    drop(answer);
    let (_lying, orphans) = inside.hall.lay(offered("a", 1, 0), NOW);
    assert_eq!(orphans.iter().map(|task| task.id).collect::<Vec<_>>(), [id(1)]);
}

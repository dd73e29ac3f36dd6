//! Where claims begin to look, on PostgreSQL.
//!
//! A task that was claimed stays in the index of its queue, dead, until vacuum has been there, and as long as anybody's
//! snapshot is older: whoever looks from the beginning goes over all that was claimed. So a look begins behind what was
//! taken last. What comes in before that is found because its own node says so, or by the next look from the beginning.
//! Invariant: a queue is looked at from its beginning before a look comes back with less than it wanted, and besides after
//! [`AGAIN_AFTER`], or up to [`AGAIN_AT_LATEST`] where such looks take long.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;
use windlass_engine::id::TenantKey;

/// How long a task that another node puts before what was taken last waits behind others, at most, where looks are short.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// The same where they are long, also because the database stood still.
const AGAIN_AT_LATEST: Duration = Duration::from_secs(10);
/// In between, looks from the beginning take one part in so many of the time.
const SHARE: u32 = 20;
/// Queues whose floors are known; with more of them all are looked at from their beginnings for once.
const QUEUES_MAX: usize = 10_000;

/// Where a task stands in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) rank: i32,
    pub(super) task: Uuid,
}

impl Position {
    /// Before all tasks.
    pub(super) const FIRST: Position = Position { rank: i32::MIN, task: Uuid::nil() };
}

#[derive(Debug, Clone, Copy)]
struct Floor {
    behind: Position,
    until: Instant,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Floors(Mutex<HashMap<TenantKey, HashMap<String, Floor>>>);

impl Floors {
    fn queues(&self) -> MutexGuard<'_, HashMap<TenantKey, HashMap<String, Floor>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Behind which task a look at a queue begins that starts at this moment.
    pub(super) fn of(&self, (tenant, queue): (TenantKey, &str), begun: Instant) -> Position {
        let queues = self.queues();
        let floor = queues.get(&tenant).and_then(|queues| queues.get(queue)).filter(|floor| begun < floor.until);
        floor.map_or(Position::FIRST, |floor| floor.behind)
    }

    /// A look that started at `begun`, behind that position, has taken tasks up to `last`, at `ended`.
    pub(super) fn taken(
        &self,
        (tenant, queue): (TenantKey, &str),
        (from, last): (Position, Position),
        (begun, ended): (Instant, Instant),
    ) {
        let mut tenants = self.queues();
        if from == Position::FIRST {
            if tenants.values().map(HashMap::len).sum::<usize>() >= QUEUES_MAX {
                tenants.clear();
            }
            let until = begun + ((ended - begun) * SHARE).clamp(AGAIN_AFTER, AGAIN_AT_LATEST);
            tenants.entry(tenant).or_default().insert(queue.to_owned(), Floor { behind: last, until });
        } else if let Some(floor) = tenants.get_mut(&tenant).and_then(|queues| queues.get_mut(queue)) {
            floor.behind = floor.behind.max(last);
        }
    }

    /// There is a task of that rank: it is not to be passed over for one of a higher.
    pub(crate) fn offered(&self, (tenant, queue): (TenantKey, &str), rank: i32) {
        if let Some(queues) = self.queues().get_mut(&tenant)
            && queues.get(queue).is_some_and(|floor| rank < floor.behind.rank)
        {
            queues.remove(queue);
        }
    }

    /// Tasks may be anywhere in that queue.
    pub(super) fn forget(&self, (tenant, queue): (TenantKey, &str)) {
        if let Some(queues) = self.queues().get_mut(&tenant) {
            queues.remove(queue);
        }
    }

    /// Tasks may be anywhere in that tenant's queues.
    pub(super) fn forget_all(&self, tenant: TenantKey) {
        self.queues().remove(&tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::CLAIM_POSTGRES, *};
    use crate::{Location, Store, StoreOptions};

    const TENANT: TenantKey = TenantKey(1);
    const QUEUE: (TenantKey, &str) = (TENANT, "q");

    fn at(rank: i32, task: u128) -> Position {
        Position { rank, task: Uuid::from_u128(task) }
    }

    /// A look from the beginning that took up to task 7 of rank 0, in so many milliseconds.
    fn looked(took_ms: u64) -> (Floors, Instant) {
        let (floors, begun) = (Floors::default(), Instant::now());
        floors.taken(QUEUE, (Position::FIRST, at(0, 7)), (begun, begun + Duration::from_millis(took_ms)));
        (floors, begun)
    }

    #[test]
    fn a_floor_holds_for_a_while() {
        for (took_ms, for_ms) in [(0, 100), (5, 100), (6, 120), (500, 10_000), (60_000, 10_000)] {
            let (floors, begun) = looked(took_ms);
            let after = |ms| floors.of(QUEUE, begun + Duration::from_millis(ms));
            assert_eq!([after(0), after(for_ms - 1)], [at(0, 7); 2], "{took_ms} ms");
            assert_eq!(after(for_ms), Position::FIRST, "{took_ms} ms");
        }
    }

    #[test]
    fn a_floor_goes_up_and_holds_no_longer_for_it() {
        let (floors, begun) = looked(0);
        let later = begun + Duration::from_millis(99);
        for (last, floor) in [(at(0, 20), at(0, 20)), (at(0, 9), at(0, 20)), (at(3, 1), at(3, 1))] {
            floors.taken(QUEUE, (at(0, 7), last), (later, later));
            assert_eq!(floors.of(QUEUE, later), floor, "{last:?}");
        }
        assert_eq!(floors.of(QUEUE, begun + AGAIN_AFTER), Position::FIRST);
    }

    #[test]
    fn only_what_comes_before_it_ends_a_floor() {
        for (queue, rank, holds) in
            [(QUEUE, 0, true), (QUEUE, 1, true), (QUEUE, -1, false), ((TENANT, "other"), -1, true)]
        {
            let (floors, begun) = looked(0);
            floors.offered(queue, rank);
            assert_eq!(floors.of(QUEUE, begun) != Position::FIRST, holds, "{queue:?}, {rank}");
        }
    }

    /// A look goes to its position by the index, and does not read up to it.
    #[tokio::test]
    async fn a_look_begins_at_its_position() {
        let server = windlass_testkit::postgres().await;
        let options = StoreOptions::new(Location::Postgres { url: server.url.clone() });
        let store = Store::open(options).await.expect("the store opens");
        let values =
            ["1", "'{q}'", "now()", "100", "'{w}'", "'{}'", "'{0}'", "'{00000000-0000-0000-0000-000000000007}'"];
        let statement = values
            .iter()
            .enumerate()
            .rev()
            .fold(CLAIM_POSTGRES.to_owned(), |sql, (place, value)| sql.replace(&format!("${}", place + 1), value));
        let explain = format!("explain (costs off) {statement}");
        let rows = store.database().of(TENANT).query(explain, vec![]).await.expect("a plan");
        let plan: Vec<&str> = rows.iter().map(|row| row.text(0).expect("a line")).collect();
        let plan = plan.join("\n");
        let condition = "(tenant_key = 1) AND (queue = q.queue) AND (ROW(rank, task_id) > ROW(q.rank, q.task_id))";
        assert!(plan.contains(&format!("Index Cond: ({condition})")), "{plan}");
        store.close().await;
    }

    #[test]
    fn a_floor_that_is_gone_is_not_raised() {
        let gone = [
            ((TENANT, Some("other")), false),
            ((TenantKey(2), None), false),
            ((TENANT, Some("q")), true),
            ((TENANT, None), true),
        ];
        for (what, is_gone) in gone {
            let (floors, begun) = looked(0);
            match what {
                (tenant, Some(queue)) => floors.forget((tenant, queue)),
                (tenant, None) => floors.forget_all(tenant),
            }
            floors.taken(QUEUE, (at(0, 7), at(0, 20)), (begun, begun));
            let floor = if is_gone { Position::FIRST } else { at(0, 20) };
            assert_eq!(floors.of(QUEUE, begun), floor, "{what:?}");
        }
    }
}

//! Old snapshots on PostgreSQL: while a session has one, whatever was deleted since stays in the tables and their indexes,
//! and who looks for the next task, letter or timer goes over it. Each node looks who has one, and says so once of each.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    StoreError,
    database::postgres::{Address, Session},
};

/// How often a node looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// For how long a session may have had its snapshot.
const OLD_AFTER: Duration = Duration::from_secs(30);

/// Since when a session of another role works is not told to everybody, but what it holds is. A vacuum holds nothing back.
const HELD: &str = "select format('process %s (%s, role %s)', pid, \
                    coalesce(nullif(application_name, ''), 'of no name'), coalesce(usename, 'unknown')), \
                    backend_xmin::text || ' ' || coalesce(xact_start::text, '') from pg_stat_activity \
                    where backend_xmin is not null and datname = current_database() and pid <> pg_backend_pid() \
                    and backend_type <> 'autovacuum worker' \
                    union all select format('prepared transaction %s (role %s)', gid, owner), transaction::text \
                    from pg_prepared_xacts where database = current_database()";

/// Who holds a snapshot, and which.
type Held = (String, String);

/// The snapshots that were held when somebody looked.
#[derive(Debug, Default)]
struct Snapshots {
    /// Since when each is known, and whether it was told.
    known: HashMap<Held, (Instant, bool)>,
}

impl Snapshots {
    /// What is held at this moment; who has become too old by now, and since when it was seen.
    fn look(&mut self, held: Vec<Held>, now: Instant) -> Vec<(String, Duration)> {
        let mut before = std::mem::take(&mut self.known);
        let mut old = Vec::new();
        for held in held {
            let (since, told) = before.remove(&held).unwrap_or((now, false));
            let is_old = now - since >= OLD_AFTER;
            if is_old && !told {
                old.push((held.0.clone(), now - since));
            }
            self.known.insert(held, (since, is_old));
        }
        old
    }
}

/// Looks until it is dropped.
pub(super) async fn watch(address: &Address) {
    let (mut session, mut snapshots) = (None, Snapshots::default());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match held(address, &mut session).await {
            Ok(held) => {
                for (who, since) in snapshots.look(held, Instant::now()) {
                    tracing::warn!(
                        seconds = since.as_secs(),
                        "{who} keeps an old snapshot: what is deleted stays until it ends its transaction, and claims and looks get slower"
                    );
                }
            }
            // That the database is away is told where it matters.
            Err(_) => session = None,
        }
    }
}

async fn held(address: &Address, session: &mut Option<Session>) -> Result<Vec<Held>, StoreError> {
    let rows = address.keep_open(session).await?.run(HELD, &[]).await?.rows;
    rows.iter().map(|row| Ok((row.string(0)?, row.string(1)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_snapshot_is_told_once() {
        let (mut snapshots, start) = (Snapshots::default(), Instant::now());
        let looks = [
            (0, vec![("a", "1")], vec![]),
            (29, vec![("a", "1"), ("b", "1")], vec![]),
            (30, vec![("a", "1"), ("b", "1")], vec![("a", 30)]),
            (60, vec![("a", "1"), ("b", "2")], vec![]),
            (90, vec![("b", "2")], vec![("b", 30)]),
            // It ended its transaction, and got the same one again.
            (100, vec![], vec![]),
            (129, vec![("b", "2")], vec![]),
            (160, vec![("b", "2")], vec![("b", 31)]),
        ];
        for (at, held, told) in looks {
            let held = held.into_iter().map(|(who, what)| (who.to_owned(), what.to_owned())).collect();
            let old = snapshots.look(held, start + Duration::from_secs(at));
            let old: Vec<_> = old.iter().map(|(who, since)| (who.as_str(), since.as_secs())).collect();
            assert_eq!(old, told, "after {at} s");
        }
    }

    #[tokio::test]
    async fn a_session_with_a_snapshot_is_seen() {
        let server = windlass_testkit::postgres().await;
        let address = Address::parse(&server.url).expect("an address");
        let mut session = None;
        assert_eq!(held(&address, &mut session).await.expect("nobody"), []);
        let other = windlass_testkit::look_at(&server.url).await.expect("a session");
        let begin = "set application_name = 'reports'; begin isolation level repeatable read; select 1";
        other.batch_execute(begin).await.expect("a snapshot");
        let seen = held(&address, &mut session).await.expect("one");
        assert!(seen.len() == 1 && seen[0].0.contains("(reports, role "), "{seen:?}");
        other.batch_execute("commit").await.expect("an end");
        assert_eq!(held(&address, &mut session).await.expect("nobody"), []);
    }
}

//! PostgreSQL's journal by time: one partition for the runs of one week, made ahead, dropped when all of them are gone.
//!
//! A run's id is a UUIDv7, so a range of ids is a range of start times.

use uuid::Uuid;
use windlass_definition::time::Timestamp;

use crate::{StoreError, database::postgres::Session};

const WEEK_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// How many weeks exist beyond the current one.
const WEEKS_AHEAD: u64 = 2;
/// Two nodes never make the same partition at the same time.
const LOCK: i64 = 0x57_4c_50_41;

/// The week that a time is in.
fn week_of(at: Timestamp) -> u64 {
    (at.micros().max(0).unsigned_abs() / 1_000) / WEEK_MS
}

/// The first id of a week.
fn first_id(week: u64) -> Uuid {
    Uuid::from_u128(u128::from(week * WEEK_MS) << 80)
}

fn name(week: u64) -> String {
    format!("journal_w{week:06}")
}

/// Makes the partitions of this week and the next ones. Rows that are in the default partition already stay there.
pub(crate) async fn make(session: &Session, now: Timestamp) -> Result<(), StoreError> {
    make_weeks(session, week_of(now)..=week_of(now) + WEEKS_AHEAD).await
}

/// Makes the partitions of runs that started between two times.
pub(crate) async fn make_between(session: &Session, from: Timestamp, to: Timestamp) -> Result<(), StoreError> {
    make_weeks(session, week_of(from)..=week_of(to)).await
}

/// Makes the partitions of these weeks.
pub(crate) async fn make_weeks(session: &Session, weeks: impl IntoIterator<Item = u64>) -> Result<(), StoreError> {
    session.batch("begin").await?;
    let made = make_locked(session, weeks).await;
    session.batch(if made.is_ok() { "commit" } else { "rollback" }).await?;
    made
}

/// The week of a run's id, for ids that carry a time.
pub(crate) fn week_of_run(run: Uuid) -> Option<u64> {
    let ms = u64::try_from(run.as_u128() >> 80).unwrap_or(0);
    (run.get_version_num() == 7).then_some(ms / WEEK_MS)
}

async fn make_locked(session: &Session, weeks: impl IntoIterator<Item = u64>) -> Result<(), StoreError> {
    session.run("select pg_advisory_xact_lock($1::bigint)", &[LOCK.into()]).await?;
    for week in weeks {
        let (name, from, to) = (name(week), first_id(week), first_id(week + 1));
        let there = session.run("select to_regclass($1) is not null", &[(&name).into()]).await?;
        if there.rows.first().map(|row| row.bool(0)).transpose()?.unwrap_or(false) {
            continue;
        }
        // Whatever is in the range of a partition that is not there is in the default one.
        let strays = session
            .run("select 1 from journal where run_id >= $1 and run_id < $2 limit 1", &[from.into(), to.into()])
            .await?;
        if strays.rows.is_empty() {
            let make = format!(
                "create table {name} partition of journal for values from ('{from}') to ('{to}'); \
                 select windlass_own_rows('{name}')"
            );
            session.batch(&make).await?;
        }
    }
    Ok(())
}

const LIST: &str = "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid \
                    where i.inhparent = 'journal'::regclass and c.relname like 'journal_w%' order by c.relname";

/// Whether a run of these ids is kept: of each tenant the first one by its key, not whichever the table begins with.
const KEPT: &str = "select 1 from tenants t cross join lateral (select 1 from runs r where r.tenant_key = t.key \
                    and r.id >= $1 and r.id < $2 limit 1) kept limit 1";

/// Drops the partitions of past weeks none of whose runs is kept. Gives their names.
pub(crate) async fn drop_past(session: &Session, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let mut dropped = Vec::new();
    for row in session.run(LIST, &[]).await?.rows {
        let name = row.string(0)?;
        let Some(week) = name.strip_prefix("journal_w").and_then(|week| week.parse::<u64>().ok()) else { continue };
        if week >= week_of(now) {
            continue;
        }
        let range = [first_id(week).into(), first_id(week + 1).into()];
        let kept = session.run(KEPT, &range).await?;
        if kept.rows.is_empty() {
            session.run("delete from journal_garbage where run_id >= $1 and run_id < $2", &range).await?;
            session.batch(&format!("drop table {name}")).await?;
            dropped.push(name);
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_in_the_week_of_its_time() {
        let now = Timestamp::from_micros(1_763_700_000_000_000);
        let run: windlass_engine::id::RunId =
            windlass_engine::id::Id::from_parts(now.micros().unsigned_abs() / 1_000, [7; 10]);
        let week = week_of(now);
        assert_eq!(week_of_run(run.uuid()), Some(week));
        assert!(first_id(week) <= run.uuid() && run.uuid() < first_id(week + 1));
    }
}

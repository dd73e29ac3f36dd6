//! Attempts to sign in, counted for all servers at once, so that who spreads over servers tries no more.
//!
//! What is counted together has a row with one time: when all of its attempts are there again. An attempt moves it on,
//! and there is none left when it lies too far ahead (the generic cell rate algorithm). Invariant: the time never lies
//! farther ahead than the bound's attempts take to come back, so nobody is locked out for good. Rows are few: one is
//! worth keeping only until its time has come, and beyond [`ROWS_MAX`] no new ones are made.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use windlass_definition::time::Timestamp;

use crate::{
    StoreError,
    database::{Dialect, Value},
    store::Store,
};

/// Rows from which what has none yet is counted by each server for itself.
pub const ROWS_MAX: u64 = 100_000;

/// What is counted together, and how much of it may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptBucket {
    /// The hash of what it is.
    pub hash: [u8; 32],
    /// How many attempts at once.
    pub most: u32,
    /// How long until there is one more.
    pub every: Duration,
}

/// Whether an attempt is counted, or only looked whether there may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// It is counted.
    One,
    /// It is not.
    Nothing,
}

/// How many rows there are, as was seen last, and what came since.
#[derive(Debug, Default)]
pub(crate) struct AttemptRows(AtomicU64);

const READ: &str = "select full_at from sign_in_attempts where bucket = $1";
const READ_POSTGRES: &str = "select full_at, clock_timestamp() from sign_in_attempts where bucket = $1";
const HOLD: &str = "insert into sign_in_attempts (bucket, full_at) values ($1, $2) \
                    on conflict (bucket) do update set full_at = sign_in_attempts.full_at returning full_at";
const HOLD_POSTGRES: &str = "insert into sign_in_attempts (bucket, full_at) values ($1, clock_timestamp()) \
                             on conflict (bucket) do update set full_at = sign_in_attempts.full_at \
                             returning full_at, clock_timestamp()";
const KEEP: &str = "update sign_in_attempts set full_at = $2 where bucket = $1";
const FORGET: &str = "delete from sign_in_attempts where bucket = $1";
const EXPIRE: &str = "delete from sign_in_attempts where full_at < $1 and bucket in \
                      (select bucket from sign_in_attempts where full_at < $1 order by full_at limit 500)";
const COUNT: &str = "select count(*) from (select 1 from sign_in_attempts limit $1) s";

impl AttemptBucket {
    fn span(&self, attempts: u32) -> Duration {
        self.every.saturating_mul(attempts)
    }

    /// When all attempts are there again after one more; the same as before, and how long to wait, where there is none.
    fn take(&self, full_at: Timestamp, now: Timestamp) -> (Timestamp, Option<Duration>) {
        // A clock that was set back makes nobody wait for longer than an empty bucket does.
        let full_at = full_at.max(now).min(now.after(self.span(self.most)));
        let wait = full_at.since(now).saturating_sub(self.span(self.most.saturating_sub(1)));
        if wait.is_zero() { (full_at.after(self.every), None) } else { (full_at, Some(wait)) }
    }
}

impl Store {
    /// Counts an attempt in each of these, in this order, until one has none left; how long until that has one again.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn count_attempt(
        &self,
        buckets: Vec<AttemptBucket>,
        taking: Taking,
    ) -> Result<Result<(), Duration>, StoreError> {
        let clock = self.inner.clock.clone();
        let makes_rows = taking == Taking::One && self.inner.attempt_rows.0.load(Relaxed) < ROWS_MAX;
        if makes_rows {
            self.inner.attempt_rows.0.fetch_add(buckets.len() as u64, Relaxed);
        }
        self.database()
            .across_tenants()
            .transact(move |tx| {
                Box::pin(async move {
                    for bucket in buckets {
                        let key = || Value::Bytes(bucket.hash.to_vec());
                        let rows = if makes_rows {
                            let hold = tx.dialect().pick(HOLD, HOLD_POSTGRES).to_owned();
                            let now = (tx.dialect() == Dialect::Sqlite).then(|| clock.now().into());
                            tx.query(hold, std::iter::once(key()).chain(now).collect()).await?
                        } else {
                            tx.query(tx.dialect().pick(READ, READ_POSTGRES).to_owned(), vec![key()]).await?
                        };
                        let Some(row) = rows.first() else { continue };
                        let now = match tx.dialect() {
                            Dialect::Sqlite => clock.now(),
                            Dialect::Postgres => row.time(1)?,
                        };
                        let before = row.time(0)?;
                        let (full_at, wait) = bucket.take(before, now);
                        if taking == Taking::One && full_at != before {
                            tx.execute(KEEP, vec![key(), full_at.into()]).await?;
                        }
                        if let Some(wait) = wait {
                            return Ok(Err(wait));
                        }
                    }
                    Ok(Ok(()))
                })
            })
            .await
    }

    /// Forgets the attempts that were counted there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn forget_attempts(&self, hash: [u8; 32]) -> Result<(), StoreError> {
        let bucket = Value::Bytes(hash.to_vec());
        self.database().across_tenants().execute(FORGET, vec![bucket]).await.map(|_| ())
    }

    /// Removes what is full again; how many, 500 a call at most. With the last ones it looks how many rows are left.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn expire_attempts(&self) -> Result<u64, StoreError> {
        let database = self.database().across_tenants();
        let gone = database.execute(EXPIRE, vec![self.now().into()]).await?.count;
        if gone == 0 {
            self.inner.attempt_rows.0.store(self.attempt_rows().await?, Relaxed);
        }
        Ok(gone)
    }

    /// How many rows there are, as far as [`ROWS_MAX`].
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn attempt_rows(&self) -> Result<u64, StoreError> {
        let most = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
        let row = self.database().across_tenants().query_opt(COUNT, vec![most.into()]).await?;
        row.map_or(Ok(0), |row| row.int(0)).map(i64::unsigned_abs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts at these seconds, and how long each has to wait in tenths of a second; 0 where it may come.
    fn check(most: u32, every_ms: u64, attempts: &[(i64, u64)]) {
        let bucket = AttemptBucket { hash: [0; 32], most, every: Duration::from_millis(every_ms) };
        let mut full_at = Timestamp::from_micros(0);
        for (at, wait) in attempts {
            let now = Timestamp::from_micros(1_790_000_000_000_000 + at * 1_000_000);
            let (after, waits) = bucket.take(full_at, now);
            full_at = after;
            let found = waits.map_or(0, |waits| u64::try_from(waits.as_millis() / 100).unwrap());
            assert_eq!(found, *wait, "{most} each {every_ms} ms, at {at} s of {attempts:?}");
        }
    }

    #[test]
    fn attempts_come_back_one_by_one() {
        check(1, 10_000, &[(0, 0), (0, 100), (4, 60), (10, 0), (11, 90)]);
        check(
            3,
            20_000,
            &[(0, 0), (0, 0), (0, 0), (0, 200), (5, 150), (20, 0), (20, 200), (80, 0), (80, 0), (80, 0), (80, 200)],
        );
        check(600, 100, &[(0, 0), (1, 0), (60, 0)]);
        // The clock was set back by an hour: an empty bucket's time is waited for, and no more.
        check(2, 10_000, &[(3_600, 0), (3_600, 0), (0, 100), (20, 0)]);
    }
}

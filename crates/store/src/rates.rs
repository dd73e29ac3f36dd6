//! Rates: how often something may start in any window of time, counted for all servers at once.
//!
//! A rate's row holds its last starts. Whoever wants to start takes permits in a transaction of its own, which holds
//! the row and reads the database's clock after it has it. Invariant: no window of the rate's length holds more than
//! `limit` permits, whoever took them. The row stays small: starts that lie close together are kept as one, with the
//! later time, so what is forgotten errs on the side of waiting.

use std::time::Duration;

use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;

use crate::{StoreError, database::Value, store::Store};

/// Starts that a row keeps apart.
const STARTS_MAX: usize = 32;
const START_BYTES: usize = 12;

/// At most `limit` starts in any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub limit: u32,
    /// How long the window is.
    pub per: Duration,
}

/// What was taken of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permits {
    /// How many starts may happen now.
    pub granted: u32,
    /// The database's time that they count from.
    pub at: Timestamp,
    /// When there is something to take again, if less was granted than wanted.
    pub next_at: Option<Timestamp>,
}

/// So many starts at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    at: Timestamp,
    count: u32,
}

const HOLD: &str = "insert into rates (tenant_key, name, starts, free_at) values ($1, $2, $3, $4) \
                    on conflict (tenant_key, name) do update set free_at = rates.free_at returning starts";
const HOLD_POSTGRES: &str = "insert into rates (tenant_key, name, starts, free_at) values ($1, $2, $3, $4) \
                             on conflict (tenant_key, name) do update set free_at = rates.free_at \
                             returning starts, clock_timestamp()";
const KEEP: &str = "update rates set starts = $3, free_at = $4 where tenant_key = $1 and name = $2";

impl Store {
    /// Takes up to `wanted` permits of a rate.
    pub async fn take_permits(
        &self,
        tenant: TenantKey,
        name: &str,
        rate: Rate,
        wanted: u32,
    ) -> Result<Permits, StoreError> {
        let name: Value = name.into();
        let clock = self.inner.clock.clone();
        self.database()
            .of(tenant)
            .transact(move |tx| {
                Box::pin(async move {
                    let hold = tx.dialect().pick(HOLD, HOLD_POSTGRES).to_owned();
                    let params = vec![tenant.into(), name.clone(), Value::Bytes(Vec::new()), clock.now().into()];
                    let rows = tx.query(hold, params).await?;
                    let row = rows.first().ok_or_else(|| StoreError::damaged("a rate has no row".to_owned()))?;
                    let now = match tx.dialect() {
                        crate::database::Dialect::Sqlite => clock.now(),
                        crate::database::Dialect::Postgres => row.time(1)?,
                    };
                    let mut starts = read(&row.bytes(0)?);
                    let permits = take(&mut starts, rate, now, wanted);
                    let free_at = starts.last().map_or(now, |last| last.at).after(rate.per);
                    let params = vec![tenant.into(), name, Value::Bytes(write(&starts)), free_at.into()];
                    tx.execute(KEEP, params).await?;
                    Ok(permits)
                })
            })
            .await
    }

    /// Forgets rates whose last start has left its window; how many. At most 500 a call.
    pub async fn expire_rates(&self) -> Result<u64, StoreError> {
        let sql = "delete from rates where free_at < $1 and (tenant_key, name) in \
                   (select tenant_key, name from rates where free_at < $1 order by free_at limit 500)";
        self.database().across_tenants().execute(sql, vec![self.now().into()]).await.map(|written| written.count)
    }
}

/// Takes what is free of `wanted` at that time.
fn take(starts: &mut Vec<Start>, rate: Rate, now: Timestamp, wanted: u32) -> Permits {
    // A clock that was set back must not make anybody wait for longer than a window.
    starts.iter_mut().for_each(|start| start.at = start.at.min(now));
    starts.retain(|start| start.at.after(rate.per) > now);
    let used: u32 = starts.iter().map(|start| start.count).fold(0, u32::saturating_add);
    let granted = wanted.min(rate.limit.max(1).saturating_sub(used));
    if granted > 0 {
        starts.push(Start { at: now, count: granted });
    }
    while starts.len() > STARTS_MAX {
        merge_closest(starts);
    }
    let mut left = used + granted;
    let next_at = starts.iter().find_map(|start| {
        left = left.saturating_sub(start.count);
        (left < rate.limit.max(1)).then(|| start.at.after(rate.per))
    });
    Permits { granted, at: now, next_at: next_at.filter(|_| granted < wanted) }
}

/// Keeps the two neighbours that lie closest together as one, at the time of the later one.
fn merge_closest(starts: &mut Vec<Start>) {
    let gaps = starts.windows(2).enumerate();
    let Some((at, _)) = gaps.min_by_key(|(_, pair)| pair[1].at.since(pair[0].at)) else { return };
    let earlier = starts.remove(at);
    starts[at].count = starts[at].count.saturating_add(earlier.count);
}

fn read(bytes: &[u8]) -> Vec<Start> {
    let (starts, _) = bytes.as_chunks::<START_BYTES>();
    let start = |bytes: &[u8; START_BYTES]| {
        let (at, count) = bytes.split_at(8);
        Start {
            at: Timestamp::from_micros(i64::from_le_bytes(at.try_into().unwrap_or_default())),
            count: u32::from_le_bytes(count.try_into().unwrap_or_default()),
        }
    };
    starts.iter().map(start).collect()
}

fn write(starts: &[Start]) -> Vec<u8> {
    starts
        .iter()
        .flat_map(|start| [&start.at.micros().to_le_bytes()[..], &start.count.to_le_bytes()].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { limit: 3, per: Duration::from_secs(10) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_790_000_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn a_burst_then_what_leaves_the_window() {
        let mut starts = Vec::new();
        assert_eq!(take(&mut starts, RATE, at(0), 2), Permits { granted: 2, at: at(0), next_at: None });
        assert_eq!(take(&mut starts, RATE, at(4), 5), Permits { granted: 1, at: at(4), next_at: Some(at(10)) });
        assert_eq!(take(&mut starts, RATE, at(9), 5), Permits { granted: 0, at: at(9), next_at: Some(at(10)) });
        assert_eq!(take(&mut starts, RATE, at(10), 5), Permits { granted: 2, at: at(10), next_at: Some(at(14)) });
        assert_eq!(take(&mut starts, RATE, at(60), 3), Permits { granted: 3, at: at(60), next_at: None });
        // The clock went back: at most a window is waited for.
        assert_eq!(take(&mut starts, RATE, at(20), 1).next_at, Some(at(30)));
        assert_eq!(read(&write(&starts)), starts);
    }

    /// However starts are kept together, no window holds more than the limit, and what is asked for comes in the end.
    #[test]
    fn no_window_holds_more_than_the_limit() {
        for limit in [1, 7, 50, 1_000] {
            let rate = Rate { limit, per: Duration::from_millis(1_000) };
            let (mut starts, mut taken, mut now, mut seed) = (Vec::new(), Vec::new(), at(0), 7u64);
            while taken.len() < 4_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let permits = take(&mut starts, rate, now, 1 + (seed >> 33) as u32 % 40);
                assert!(starts.len() <= STARTS_MAX);
                taken.extend((0..permits.granted).map(|_| now));
                let pause = now.after(Duration::from_micros((seed >> 40) % 90_000));
                now = permits.next_at.filter(|_| seed.is_multiple_of(2)).unwrap_or(pause);
            }
            let window = usize::try_from(limit).unwrap();
            for (place, start) in taken.iter().enumerate().skip(window) {
                assert!(start.since(taken[place - window]) >= rate.per, "{limit}: start {place}");
            }
            let best = rate.per * u32::try_from(taken.len() / window).unwrap();
            assert!(now.since(at(0)) <= best * 2 + rate.per * 2, "{limit}: {:?}", now.since(at(0)));
        }
    }
}

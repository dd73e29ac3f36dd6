//! Attempts to come in, bounded before anything is looked up or hashed.
//!
//! They are counted in memory first, so that who is far beyond a bound at this server costs the database nothing, and
//! then in the database, for all servers at once. Invariant: they become more with time, so nobody is locked out for good.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_store::{AttemptBucket, Store, Taking};

use crate::problem::Problem;

/// Buckets in memory; beyond that full ones are forgotten, and then all.
const BUCKETS_MAX: usize = 20_000;

/// Where attempts are counted.
pub struct Attempts {
    store: Store,
    here: Here,
}

/// Whose attempts are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Bucket {
    /// From one address.
    Address(IpAddr),
    /// On one account.
    Account(String),
    /// Codes of the second factor of one account: whoever tries them has its password.
    Code(Uuid),
    /// On one account from one address: another address still comes through.
    Both(String, Option<IpAddr>),
    /// Tokens of one application.
    Tokens(Uuid),
}

impl Bucket {
    /// How many attempts at once, and how long until there is one more.
    fn bound(&self) -> (u32, Duration) {
        match self {
            Bucket::Address(_) => (60, Duration::from_secs(1)),
            Bucket::Account(_) => (60, Duration::from_secs(10)),
            Bucket::Both(..) => (6, Duration::from_secs(20)),
            Bucket::Code(_) => (10, Duration::from_secs(300)),
            Bucket::Tokens(_) => (600, Duration::from_millis(100)),
        }
    }

    /// What the database knows it by: names of accounts do not stand there.
    fn hash(&self) -> [u8; 32] {
        let text = match self {
            Bucket::Address(address) => format!("address\0{address}"),
            Bucket::Account(account) => format!("account\0{account}"),
            Bucket::Code(user) => format!("code\0{user}"),
            Bucket::Both(account, Some(address)) => format!("both\0{address}\0{account}"),
            Bucket::Both(account, None) => format!("both\0\0{account}"),
            Bucket::Tokens(application) => format!("tokens\0{application}"),
        };
        Sha256::digest(text).into()
    }

    fn stored(&self) -> AttemptBucket {
        let (most, every) = self.bound();
        AttemptBucket { hash: self.hash(), most, every }
    }
}

impl Attempts {
    /// The attempts of that store.
    pub fn new(store: Store) -> Attempts {
        Attempts { store, here: Here::default() }
    }

    /// Counts an attempt, before anything is looked up or hashed.
    ///
    /// # Errors
    /// 429 when there were too many; or the database does not answer.
    pub async fn attempt(&self, address: Option<IpAddr>, account: Option<&str>) -> Result<(), Problem> {
        let mut buckets: Vec<Bucket> = address.map(Bucket::Address).into_iter().collect();
        if let Some(account) = account {
            buckets.push(Bucket::Both(account.to_owned(), address));
            buckets.push(Bucket::Account(account.to_owned()));
        }
        self.bound(&buckets, Taking::One).await
    }

    /// Counts a try of a code, before it is looked at.
    ///
    /// # Errors
    /// 429 when there were too many; or the database does not answer.
    pub async fn attempt_code(&self, user: Uuid) -> Result<(), Problem> {
        self.bound(&[Bucket::Code(user)], Taking::One).await
    }

    /// Whether an application may still show a secret from there. Right ones do not count, and wrong ones that come from
    /// elsewhere shut nobody out: its id is known to everybody, and its secret cannot be guessed.
    ///
    /// # Errors
    /// 429 when there were too many wrong ones; or the database does not answer.
    pub async fn check_application(&self, address: Option<IpAddr>, id: &str) -> Result<(), Problem> {
        self.bound(&of_application(address, id), Taking::Nothing).await
    }

    /// Counts a wrong secret.
    ///
    /// # Errors
    /// 429 when there were too many; or the database does not answer.
    pub async fn wrong_secret(&self, address: Option<IpAddr>, id: &str) -> Result<(), Problem> {
        self.bound(&of_application(address, id), Taking::One).await
    }

    /// Counts what an application asks for with its secret, once that was right: each request may write a row.
    ///
    /// # Errors
    /// 429 when there was too much; or the database does not answer.
    pub async fn count_token(&self, application: Uuid) -> Result<(), Problem> {
        self.bound(&[Bucket::Tokens(application)], Taking::One).await
    }

    /// Forgets the attempts on an account from an address: its password was right.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn forgive(&self, address: Option<IpAddr>, account: &str) -> Result<(), Problem> {
        self.forget(&Bucket::Both(account.to_owned(), address)).await
    }

    /// Forgets the tries of codes: one was right.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn forgive_code(&self, user: Uuid) -> Result<(), Problem> {
        self.forget(&Bucket::Code(user)).await
    }

    async fn forget(&self, bucket: &Bucket) -> Result<(), Problem> {
        self.here.forget(bucket);
        Ok(self.store.forget_attempts(bucket.hash()).await?)
    }

    async fn bound(&self, buckets: &[Bucket], taking: Taking) -> Result<(), Problem> {
        self.here.bound(buckets, taking).map_err(too_many)?;
        let stored = buckets.iter().map(Bucket::stored).collect();
        self.store.count_attempt(stored, taking).await?.map_err(too_many)
    }
}

fn of_application(address: Option<IpAddr>, id: &str) -> Vec<Bucket> {
    let both = Bucket::Both(format!("application:{id}"), address);
    address.map(Bucket::Address).into_iter().chain([both]).collect()
}

fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = "too many attempts: try again after `Retry-After`";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// What this server alone has counted: each bucket with how many attempts were left then.
#[derive(Default)]
struct Here(Mutex<HashMap<Bucket, (f64, Instant)>>);

impl Here {
    /// Counts an attempt in each of these until one has none left; how long until that has one again.
    fn bound(&self, buckets: &[Bucket], taking: Taking) -> Result<(), Duration> {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let left = |bucket: &Bucket, kept: Option<&(f64, Instant)>| {
            let (most, every) = bucket.bound();
            let more = |at: &Instant| now.duration_since(*at).as_secs_f64() / every.as_secs_f64();
            kept.map_or(f64::from(most), |(left, at)| (left + more(at)).min(f64::from(most)))
        };
        if attempts.len() + buckets.len() > BUCKETS_MAX {
            attempts.retain(|bucket, kept| left(bucket, Some(kept)) < f64::from(bucket.bound().0));
            if attempts.len() + buckets.len() > BUCKETS_MAX {
                attempts.clear();
            }
        }
        for bucket in buckets {
            let there = left(bucket, attempts.get(bucket));
            if there < 1.0 {
                return Err(bucket.bound().1.mul_f64(1.0 - there));
            }
            if taking == Taking::One {
                attempts.insert(bucket.clone(), (there - 1.0, now));
            }
        }
        Ok(())
    }

    fn forget(&self, bucket: &Bucket) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(here: &Here, address: Option<IpAddr>, account: &str) -> Result<(), Duration> {
        let address_bucket = address.map(Bucket::Address).into_iter();
        let of_account = [Bucket::Both(account.to_owned(), address), Bucket::Account(account.to_owned())];
        here.bound(&address_bucket.chain(of_account).collect::<Vec<_>>(), Taking::One)
    }

    #[test]
    fn attempts_are_bounded_for_each_account_and_address() {
        let here = Here::default();
        let at = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..6 {
            attempt(&here, at(1), "ada@example.org").unwrap();
        }
        let wait = attempt(&here, at(1), "ada@example.org").unwrap_err();
        assert!(wait > Duration::from_secs(15) && wait <= Duration::from_secs(20), "{wait:?}");
        attempt(&here, at(2), "ada@example.org").unwrap();
        attempt(&here, at(1), "grace@example.org").unwrap();
        here.forget(&Bucket::Both("ada@example.org".to_owned(), at(1)));
        attempt(&here, at(1), "ada@example.org").unwrap();
        for last in 0..60 {
            let _ = attempt(&here, at(3), &format!("{last}@example.org"));
        }
        assert!(attempt(&here, at(3), "somebody@example.org").is_err(), "one address");
    }

    #[test]
    fn what_is_counted_apart_has_another_hash() {
        let (user, at) = (Uuid::nil(), IpAddr::from([10, 0, 0, 1]));
        let all = [
            Bucket::Address(at),
            Bucket::Account(at.to_string()),
            Bucket::Account(user.to_string()),
            Bucket::Code(user),
            Bucket::Tokens(user),
            Bucket::Both(user.to_string(), None),
            Bucket::Both(user.to_string(), Some(at)),
            Bucket::Both("application:x".to_owned(), Some(at)),
        ];
        let hashes: std::collections::HashSet<[u8; 32]> = all.iter().map(Bucket::hash).collect();
        assert_eq!(hashes.len(), all.len());
    }
}

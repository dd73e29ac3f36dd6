//! Passwords: Argon2id on a bounded pool, a policy, and bounds on attempts that hold before anything is hashed.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use axum::http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::problem::Problem;

/// Characters of a password at most.
pub const PASSWORD_CHARS_MAX: usize = 200;
/// Characters of it that are judged: judging takes longer than in proportion, and what comes after makes it no weaker.
const JUDGED_CHARS_MAX: usize = 64;
/// Passwords that wait to be hashed.
const WAITING_MAX: usize = 64;
/// Buckets in memory; beyond that full ones are forgotten, and then all.
const BUCKETS_MAX: usize = 20_000;
/// What is hashed when there is no such user, so that its absence takes as long: the hash of nobody's password.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$Ns8WnQ2sWqcfjLkTPPiTpOVKRUyQ8GWcDOKQQyZMuE0";

/// Where passwords are hashed and attempts are counted.
pub struct Passwords {
    places: Arc<Semaphore>,
    waiting: Semaphore,
    attempts: Mutex<HashMap<Bucket, (f64, Instant)>>,
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
    /// How many attempts at once, and how many seconds until there is one more.
    fn bound(&self) -> (f64, f64) {
        match self {
            Bucket::Address(_) => (60.0, 1.0),
            Bucket::Account(_) => (60.0, 10.0),
            Bucket::Both(..) => (6.0, 20.0),
            Bucket::Code(_) => (10.0, 300.0),
            Bucket::Tokens(_) => (600.0, 0.1),
        }
    }
}

/// Whether an attempt is counted, or only looked whether there may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taking {
    One,
    Nothing,
}

impl Default for Passwords {
    fn default() -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords {
            places: Arc::new(Semaphore::new(cores)),
            waiting: Semaphore::new(WAITING_MAX),
            attempts: Mutex::default(),
        }
    }
}

impl Passwords {
    /// Counts an attempt, before anything is looked up or hashed.
    ///
    /// # Errors
    /// 429 when there were too many; they become fewer with time, so nobody is locked out for good.
    pub fn attempt(&self, address: Option<IpAddr>, account: Option<&str>) -> Result<(), Problem> {
        let mut buckets: Vec<Bucket> = address.map(Bucket::Address).into_iter().collect();
        if let Some(account) = account {
            buckets.push(Bucket::Both(account.to_owned(), address));
            buckets.push(Bucket::Account(account.to_owned()));
        }
        self.count(buckets)
    }

    /// Counts a try of a code, before it is looked at.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn attempt_code(&self, user: Uuid) -> Result<(), Problem> {
        self.count(vec![Bucket::Code(user)])
    }

    /// Whether an application may still show a secret from there. Right ones do not count, and wrong ones that come from
    /// elsewhere shut nobody out: its id is known to everybody, and its secret cannot be guessed.
    ///
    /// # Errors
    /// 429 when there were too many wrong ones.
    pub fn check_application(&self, address: Option<IpAddr>, id: &str) -> Result<(), Problem> {
        self.bound(Self::of_application(address, id), Taking::Nothing)
    }

    /// Counts a wrong secret.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn wrong_secret(&self, address: Option<IpAddr>, id: &str) -> Result<(), Problem> {
        self.count(Self::of_application(address, id))
    }

    fn of_application(address: Option<IpAddr>, id: &str) -> Vec<Bucket> {
        let both = Bucket::Both(format!("application:{id}"), address);
        address.map(Bucket::Address).into_iter().chain([both]).collect()
    }

    /// Counts what an application asks for with its secret, once that was right: each request may write a row.
    ///
    /// # Errors
    /// 429 when there was too much.
    pub fn count_token(&self, application: Uuid) -> Result<(), Problem> {
        self.count(vec![Bucket::Tokens(application)])
    }

    fn count(&self, buckets: Vec<Bucket>) -> Result<(), Problem> {
        self.bound(buckets, Taking::One)
    }

    fn bound(&self, buckets: Vec<Bucket>, taking: Taking) -> Result<(), Problem> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let left = |bucket: &Bucket, kept: Option<&(f64, Instant)>| {
            let (most, every) = bucket.bound();
            kept.map_or(most, |(left, at)| (left + now.duration_since(*at).as_secs_f64() / every).min(most))
        };
        if attempts.len() + buckets.len() > BUCKETS_MAX {
            attempts.retain(|bucket, kept| left(bucket, Some(kept)) < bucket.bound().0);
            if attempts.len() + buckets.len() > BUCKETS_MAX {
                attempts.clear();
            }
        }
        for bucket in buckets {
            let there = left(&bucket, attempts.get(&bucket));
            if there < 1.0 {
                let wait = ((1.0 - there) * bucket.bound().1).ceil();
                let detail = "too many attempts: try again after `Retry-After`";
                return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail)
                    .with_header(header::RETRY_AFTER, HeaderValue::from(wait as u64)));
            }
            if taking == Taking::One {
                attempts.insert(bucket, (there - 1.0, now));
            }
        }
        Ok(())
    }

    /// Forgets the attempts on an account from an address: its password was right.
    pub fn forgive(&self, address: Option<IpAddr>, account: &str) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.remove(&Bucket::Both(account.to_owned(), address));
    }

    /// Forgets the tries of codes: one was right.
    pub fn forgive_code(&self, user: Uuid) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(&Bucket::Code(user));
    }

    /// Whether a password is that of one of these hashes; without any it takes as long and is not.
    ///
    /// # Errors
    /// 503 when too many wait.
    pub async fn matches(&self, password: &str, hashes: Vec<String>) -> Result<bool, Problem> {
        let password = password.to_owned();
        self.work(move || {
            let one = |hash: &str| {
                let hash = PasswordHash::new(hash);
                hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
            };
            if hashes.is_empty() {
                one(NOBODYS);
                return false;
            }
            hashes.iter().any(|hash| one(hash))
        })
        .await
    }

    /// The Argon2id hash of a password: 19 MiB, two passes, one lane.
    ///
    /// # Errors
    /// 503 when too many wait.
    pub async fn hash(&self, password: &str) -> Result<String, Problem> {
        let password = password.to_owned();
        let hash = self.work(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()));
        hash.await?.map_err(|error| {
            tracing::error!(%error, "a password cannot be hashed");
            Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    /// Whether a new password is one that takes a thief of its hash long to find, and has that many characters.
    ///
    /// # Errors
    /// 422 with the reason; 503 when too many wait.
    pub async fn check_new(&self, password: &str, email: &str, chars_min: usize) -> Result<(), Problem> {
        let (password, email) = (password.to_owned(), email.to_owned());
        self.work(move || check(&password, &email, chars_min)).await?
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let busy = || {
            let detail = "too many passwords wait to be checked: try again soon";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
                .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| busy())?;
        let worked = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        worked.await.map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}

fn check(password: &str, email: &str, chars_min: usize) -> Result<(), Problem> {
    let chars = password.chars().count();
    let name = email.split('@').next().unwrap_or_default();
    let lower = password.to_lowercase();
    let wrong = match () {
        () if chars < chars_min => format!("must have at least {chars_min} characters"),
        () if chars > PASSWORD_CHARS_MAX => format!("must have at most {PASSWORD_CHARS_MAX} characters"),
        () if name.len() >= 4 && lower.contains(name) => "must not contain the name of the account".to_owned(),
        () => match guessable(password, &[name, email, "windlass"]) {
            Some(why) => why,
            None => return Ok(()),
        },
    };
    Err(Problem::invalid("weak_password", format!("the password {wrong}")))
}

/// Why a password is among the first 10^8 that a thief would try: common ones, names, dates, patterns of keys, and what
/// people make of them.
fn guessable(password: &str, own: &[&str]) -> Option<String> {
    let judged: String = password.chars().take(JUDGED_CHARS_MAX).collect();
    let judgement = zxcvbn::zxcvbn(&judged, own);
    if judgement.score() >= zxcvbn::Score::Three {
        return None;
    }
    let warning = judgement.feedback().and_then(|feedback| feedback.warning());
    Some(format!("is too easy to guess{}", warning.map(|it| format!(": {it}")).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded_for_each_account_and_address() {
        let passwords = Passwords::default();
        let at = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..6 {
            passwords.attempt(at(1), Some("ada@example.org")).unwrap();
        }
        let refused = passwords.attempt(at(1), Some("ada@example.org")).unwrap_err();
        assert!(refused.detail().contains("Retry-After"));
        passwords.attempt(at(2), Some("ada@example.org")).unwrap();
        passwords.attempt(at(1), Some("grace@example.org")).unwrap();
        passwords.forgive(at(1), "ada@example.org");
        passwords.attempt(at(1), Some("ada@example.org")).unwrap();
        for last in 0..60 {
            let _ = passwords.attempt(at(3), Some(&format!("{last}@example.org")));
        }
        assert!(passwords.attempt(at(3), Some("somebody@example.org")).is_err(), "one address");
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        for (password, said) in [
            ("short", "at least 12"),
            ("aaaaaaaaaaaaaaaa", "easy to guess"),
            ("qwertyuiop123", "easy to guess"),
            ("Password123456", "easy to guess"),
            ("P4ssw0rd!2026", "easy to guess"),
            ("january-1984", "easy to guess"),
            ("adalovelace-2026", "name of the account"),
            (&"xyz12".repeat(50), "at most 200"),
        ] {
            let refused = check(password, "adalovelace@example.org", 12).unwrap_err();
            assert!(refused.detail().contains(said), "{password}: {}", refused.detail());
        }
        for password in ["correct horse battery", "vH7#qL2!mZp9", "größer als ein Haus", &"xyz12 quorum ".repeat(15)]
        {
            check(password, "ada@example.org", 12).unwrap();
        }
    }

    #[tokio::test]
    async fn a_password_is_its_own_and_nobodys_is_none() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.matches("correct horse battery", vec![hash.clone()]).await.unwrap());
        assert!(!passwords.matches("correct horse batterz", vec![hash]).await.unwrap());
        assert!(!passwords.matches("anything", Vec::new()).await.unwrap());
        PasswordHash::new(NOBODYS).unwrap();
    }
}

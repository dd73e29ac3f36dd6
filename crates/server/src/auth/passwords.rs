//! Passwords: Argon2id on a bounded pool, and a policy.

use std::sync::Arc;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use axum::http::{HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Characters of a password at most.
pub const PASSWORD_CHARS_MAX: usize = 200;
/// Characters of it that are judged: judging takes longer than in proportion, and what comes after makes it no weaker.
const JUDGED_CHARS_MAX: usize = 64;
/// Passwords that wait to be hashed.
const WAITING_MAX: usize = 64;
/// What is hashed when there is no such user, so that its absence takes as long: the hash of nobody's password.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$Ns8WnQ2sWqcfjLkTPPiTpOVKRUyQ8GWcDOKQQyZMuE0";

/// Where passwords are hashed.
pub struct Passwords {
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords { places: Arc::new(Semaphore::new(cores)), waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Passwords {
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

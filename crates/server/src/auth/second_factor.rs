//! Codes of a second factor (RFC 6238: HMAC-SHA-1, six digits, steps of 30 seconds), recovery codes for whoever lost what
//! makes them, and who is let by without any.

use axum::{extract::MatchedPath, http::StatusCode};
use ring::hmac;
use uuid::Uuid;
use windlass_definition::Timestamp;
use windlass_store::{CameWith, SecondFactor};
use zeroize::Zeroizing;

use super::Identity;
use crate::{app::App, problem::Problem, routes::API, token::TokenHash};

const DIGITS: usize = 6;
const STEP_SECONDS: i64 = 30;
/// Steps before and after this one of which codes are taken, as clocks differ.
const STEPS_OFF: i64 = 1;
const SECRET_BYTES: usize = 20;
const RECOVERY_CODES: usize = 10;
const RECOVERY_BYTES: usize = 10;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Below the API, what is open to a person who lacks a second factor that the tenant asks for: to see who it is, to set one
/// up, and to sign out.
const OPEN: &[&str] = &["/me", "/me/second-factor", "/me/second-factor/confirm", "/sign-out", "/sign-out/everywhere"];
/// How one is set up.
const SET_UP: &str = "set one up with `windlass second-factor begin` and `windlass second-factor confirm CODE` (POST \
                      /api/v1/me/second-factor, then /api/v1/me/second-factor/confirm); whoever has no password and comes \
                      by an identity provider signs in with a link for that (`windlass users link ID`)";

/// Whether the caller is a person without a second factor. Keys and applications are no persons.
fn is_lacking(identity: &Identity) -> bool {
    matches!(
        identity.with.as_deref(),
        Some(CameWith::Session { second_factor: false, .. } | CameWith::Delegate { second_factor: false, .. })
    )
}

/// Lets a caller by to a route, when it has the second factor that its tenant asks for, or needs the route to get one.
///
/// # Errors
/// 403 `second_factor_needed`; or the database does not answer.
pub async fn let_by(app: &App, identity: &Identity, route: Option<&MatchedPath>) -> Result<(), Problem> {
    let path = route.and_then(|route| route.as_str().strip_prefix(API));
    if !is_lacking(identity) || path.is_some_and(|path| OPEN.contains(&path)) {
        return Ok(());
    }
    if !app.bounds(identity.tenant).await?.people.second_factor_required {
        return Ok(());
    }
    let detail = format!("the tenant asks its members for a second factor, and you have none: {SET_UP}");
    Err(Problem::new(StatusCode::FORBIDDEN, "second_factor_needed", detail))
}

/// Nobody asks others for what he has not himself: he would be locked out by it.
///
/// # Errors
/// 409 `second_factor_needed`.
pub fn may_be_asked_for(identity: &Identity) -> Result<(), Problem> {
    if !is_lacking(identity) {
        return Ok(());
    }
    let detail = format!("you have no second factor yourself, and would lock yourself out: {SET_UP}");
    Err(Problem::conflict("second_factor_needed", detail))
}

/// A new secret.
///
/// # Errors
/// The system gives no random bits.
pub fn secret() -> Result<Zeroizing<Vec<u8>>, Problem> {
    random(SECRET_BYTES).map(Zeroizing::new)
}

/// A secret as people type it.
pub fn base32(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    let letter = |at: usize| (0..5).fold(0, |sum, more| sum << 1 | bit(at + more));
    (0..bytes.len() * 8).step_by(5).map(|at| char::from(BASE32[letter(at)])).collect()
}

/// The address by which an app takes a secret over.
pub fn url(secret: &[u8], installation: &str, email: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let [installation, email] = [installation, email].map(|text| text.bytes().map(escaped).collect::<String>());
    format!("otpauth://totp/{installation}:{email}?secret={}&issuer={installation}", base32(secret))
}

/// The code of a step of time.
fn code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[tag.as_ref().len() - 1] & 15);
    let number = tag.as_ref()[at..at + 4].iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    format!("{:0DIGITS$}", (number & 0x7fff_ffff) % 1_000_000)
}

/// The step of time that a code is of.
fn step_of(secret: &[u8], given: &str, now: Timestamp) -> Option<i64> {
    let this = now.micros() / 1_000_000 / STEP_SECONDS;
    (this - STEPS_OFF..=this + STEPS_OFF).find(|step| code(secret, *step) == given)
}

/// Codes that work once each, of 80 random bits.
///
/// # Errors
/// The system gives no random bits.
pub fn recovery_codes() -> Result<Vec<String>, Problem> {
    (0..RECOVERY_CODES).map(|_| Ok(base32(&random(RECOVERY_BYTES)?).to_lowercase())).collect()
}

fn random(bytes: usize) -> Result<Vec<u8>, Problem> {
    let mut all = vec![0; bytes];
    getrandom::fill(&mut all)
        .map_err(|error| Problem::invalid("no_randomness", format!("the system gives no random bits: {error}")))?;
    Ok(all)
}

/// The second factor of a user that is asked for.
///
/// # Errors
/// The database does not answer.
pub async fn asked_for(app: &App, user: Uuid) -> Result<Option<SecondFactor>, Problem> {
    Ok(app.store().second_factor(user).await?.filter(|factor| factor.confirmed_at.is_some()))
}

/// Takes a code of the second factor, or a recovery code, once; whether it was one.
///
/// # Errors
/// 429 after too many wrong ones; the vault is closed.
pub async fn take(app: &App, (user, factor): (Uuid, &SecondFactor), given: &str) -> Result<bool, Problem> {
    app.attempts().attempt_code(user).await?;
    let given = given.trim().to_lowercase();
    let taken = if given.len() == DIGITS {
        let Some(secret) = app.store().second_factor_secret(factor).await? else { return Ok(false) };
        let secret = Zeroizing::new(hex::decode(&*secret).unwrap_or_default());
        match step_of(&secret, &given, app.store().now()) {
            Some(step) => app.store().take_step(user, step).await?,
            None => false,
        }
    } else {
        app.store().take_recovery_code(user, *TokenHash::of(&given).as_bytes()).await?
    };
    if taken {
        app.attempts().forgive_code(user).await?;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238() {
        let secret = b"12345678901234567890";
        // The last six of the eight digits in its appendix B.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            let at = |more: i64| step_of(secret, code, Timestamp::from_micros((seconds + more) * 1_000_000));
            let step = Some(seconds / 30);
            assert_eq!((at(0), at(30), at(-30), at(90), at(-90)), (step, step, step, None, None));
        }
    }

    #[test]
    fn secrets_are_shown_as_apps_read_them() {
        // RFC 4648, without its padding.
        for (bytes, text) in [("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foobar", "MZXW6YTBOI")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        let url = url(b"12345678901234567890", "Our Works", "a+b@x.org");
        assert_eq!(
            url,
            "otpauth://totp/Our%20Works:a%2Bb%40x%2Eorg?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Our%20Works"
        );
        let codes = recovery_codes().unwrap();
        assert!(codes.len() == 10 && codes.iter().all(|it| it.len() == 16) && codes[0] != codes[1], "{codes:?}");
    }
}

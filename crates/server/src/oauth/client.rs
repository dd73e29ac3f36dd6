//! Who asks for tokens: an application, by its id and its secret (RFC 6749, section 2.3).

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use uuid::Uuid;
use windlass_resource::records::oauth::APPLICATIONS;
use windlass_store::{Application, By, Holds};

use super::{Form, Refused};
use crate::{
    app::App,
    auth::Asked,
    token::{TOKEN_CHARS_MAX, TokenHash},
};

/// Whether a public application will do, which shows no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Any.
    Any,
    /// One that has shown its secret.
    Confidential,
}

/// The application that asks. Wrong tries are bounded before anything is looked up.
///
/// # Errors
/// `invalid_client`, the same whatever is wrong with what it shows; 429 after too many tries.
pub async fn authenticate(
    app: &App,
    (headers, form): (&HeaderMap, &Form),
    (asked, wanted): (&Asked, Wanted),
) -> Result<Application, Refused> {
    let (id, secret) = shown(headers, form)?;
    let tried: String = id.chars().take(36).collect();
    app.attempts().check_application(asked.address, &tried).await?;
    let found = match Uuid::try_parse(&id) {
        Ok(id) => app.store().application(id).await?,
        Err(_) => None,
    };
    let right = match (&found, &secret) {
        (Some(application), Some(secret)) if application.confidential && secret.len() <= TOKEN_CHARS_MAX => {
            app.store().has_secret(application, *TokenHash::of(secret).as_bytes()).await?
        }
        (Some(application), None) => !application.confidential && wanted == Wanted::Any,
        _ => false,
    };
    match found {
        Some(application) if right => {
            app.attempts().count_token(application.id).await?;
            Ok(application)
        }
        found => {
            app.attempts().wrong_secret(asked.address, &tried).await?;
            if let (Some(application), Some(_)) = (found, secret) {
                note_failure(app, asked, &application).await?;
            }
            Err(unknown())
        }
    }
}

async fn note_failure(app: &App, asked: &Asked, application: &Application) -> Result<(), Refused> {
    let changes = json!({ "address": { "to": asked.address.map(|it| it.to_string()) } });
    let what = ("sign_in_failed", Some(application.id));
    let by = (asked.by_somebody(), changes);
    app.store().note_event((application.tenant, &APPLICATIONS), what, by).await?;
    Ok(())
}

/// The application, for rows and for the audit.
pub fn signed(asked: &Asked, application: &Application) -> By {
    asked.named(format!("application:{}", application.name), Holds::These(std::sync::Arc::default()))
}

/// What it says that it is, and its secret.
fn shown(headers: &HeaderMap, form: &Form) -> Result<(String, Option<String>), Refused> {
    let in_form = (form.get("client_id"), form.get("client_secret"));
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let id = in_form.0.ok_or_else(|| Refused::because("invalid_client", "no application says that it asks"))?;
        return Ok((id.to_owned(), in_form.1.map(str::to_owned)));
    };
    let (id, secret) = basic(value.to_str().unwrap_or_default()).ok_or_else(unknown)?;
    if in_form.1.is_some() || in_form.0.is_some_and(|it| it != id) {
        return Err(Refused::because("invalid_request", "the application says in two ways who it is: send one"));
    }
    Ok((id, Some(secret)))
}

/// Id and secret of `Basic …`, each written as in a form.
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, text) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || text.len() > 1_024 {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (id, secret) = plain.split_once(':')?;
    Some((decoded(id)?, decoded(secret)?))
}

fn decoded(text: &str) -> Option<String> {
    // As the value of a field whose name is empty.
    let whole = format!("={}", text.replace('&', "%26"));
    url::form_urlencoded::parse(whole.as_bytes()).next().map(|(_, value)| value.into_owned())
}

fn unknown() -> Refused {
    Refused::because("invalid_client", "that is no application with this secret, or it is suspended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_read_as_the_rfc_writes_it() {
        let written = |text: &str| basic(&format!("Basic {}", STANDARD.encode(text)));
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(written("a:b"), pair("a", "b"));
        assert_eq!(written("a%3Ab:c+d%2B"), pair("a:b", "c d+"));
        assert_eq!(written("a:b&c=d"), pair("a", "b&c=d"));
        assert_eq!(written("a"), None);
        assert_eq!(basic("Bearer x"), None);
        assert_eq!(basic("Basic !"), None);
    }
}

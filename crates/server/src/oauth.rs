//! OAuth 2 for applications of third parties: what its ways have in common.
//!
//! An application is told what is wrong in the form of RFC 6749, which is not a problem document: its libraries read no
//! other. What has nothing to do with its request (the database is away, too much at once) is a problem all the same.

pub mod client;
pub mod page;
pub mod request;

use std::{collections::BTreeMap, time::Duration};

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use windlass_store::{RecordError, StoreError};

use crate::{
    app::App,
    extract::{media_type, read_bounded},
    problem::Problem,
    reply,
};

/// How long a code works: a program exchanges it at once.
pub const CODE: Duration = Duration::from_secs(120);
/// How long an access token works.
pub const ACCESS: Duration = Duration::from_secs(600);
/// How long a person need not be asked again, however often tokens are refreshed.
pub const CHAIN: Duration = Duration::from_secs(60 * 86_400);
/// Bytes of a form.
const FORM_BYTES_MAX: usize = 16 << 10;
/// The media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";

/// What an application is told that asked wrongly (RFC 6749, section 5.2).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OauthError {
    /// One of the words of the RFC.
    pub error: &'static str,
    /// What is wrong, for people.
    pub error_description: String,
}

/// Why an application gets no answer.
#[derive(Debug)]
pub enum Refused {
    /// It asked wrongly.
    Asked(OauthError),
    /// It has nothing to do with how it asked.
    Problem(Box<Problem>),
}

impl Refused {
    /// It asked wrongly, by that word of the RFC.
    pub fn because(error: &'static str, description: impl Into<String>) -> Refused {
        Refused::Asked(OauthError { error, error_description: description.into() })
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        match refused {
            Refused::Problem(problem) => *problem,
            Refused::Asked(OauthError { error, error_description }) => Problem::bad_request(error, error_description),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let error = match self {
            Refused::Problem(problem) => return problem.into_response(),
            Refused::Asked(error) => error,
        };
        let is_client = error.error == "invalid_client";
        let status = if is_client { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        let mut response = match reply::json(status, &error) {
            Ok(response) => response,
            Err(problem) => return problem.into_response(),
        };
        if is_client {
            let asks = HeaderValue::from_static("Basic realm=\"windlass\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, asks);
        }
        response
    }
}

macro_rules! problem {
    ($($error:ty),*) => {
        $(impl From<$error> for Refused {
            fn from(error: $error) -> Refused {
                Refused::Problem(Box::new(error.into()))
            }
        })*
    };
}

problem!(Problem, StoreError, RecordError, getrandom::Error);

/// What ways for applications answer.
pub type Told = Result<Response, Refused>;

/// A form that an application sent: each field once, unknown ones ignored, as the RFC has it.
#[derive(Debug)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// A field, unless it is empty: that is as if it were not there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|it| !it.is_empty())
    }

    /// The same, where it has to be there.
    ///
    /// # Errors
    /// It is not.
    pub fn must(&self, name: &str) -> Result<&str, Refused> {
        self.get(name).ok_or_else(|| Refused::because("invalid_request", format!("`{name}` is missing")))
    }

    fn read(bytes: &[u8]) -> Result<Form, Refused> {
        let wrong = |text: &str| Refused::because("invalid_request", text);
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            if value.contains('\0') {
                return Err(wrong("the form holds a NUL character"));
            }
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(wrong("a field of the form stands there twice"));
            }
        }
        Ok(Form(fields))
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Form, Refused> {
        if media_type(request.headers()).as_deref() != Some(FORM) {
            return Err(Refused::because("invalid_request", format!("the body is not `{FORM}`")));
        }
        Form::read(&read_bounded(request, FORM_BYTES_MAX).await?)
    }
}

/// How this server calls itself towards applications: the address that it was told. On the machine itself, to try it out,
/// the one that it is asked by.
///
/// # Errors
/// 503 where nobody said so: what a stranger writes into `Host` is no name to go by.
pub fn issuer(app: &App, headers: &HeaderMap) -> Result<String, Problem> {
    if let Some(url) = app.public_url() {
        return Ok(url.to_owned());
    }
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(
        host,
        |(name, port)| {
            if port.bytes().all(|it| it.is_ascii_digit()) { name } else { host }
        },
    );
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return Ok(format!("http://{host}"));
    }
    let detail = "this server does not know by which address others reach it: start it with `--public-url`";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_public_url", detail))
}

/// The scopes in a text, with single spaces between them; none twice.
pub fn scopes(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for scope in text.split(' ').filter(|it| !it.is_empty()) {
        if !all.iter().any(|it| it == scope) {
            all.push(scope.to_owned());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_name_each_field_once() {
        let form = Form::read(b"a=1&b=x+y%2B&c=").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("c")), (Some("1"), Some("x y+"), None));
        assert!(Form::read(b"a=1&a=1").is_err());
        assert!(Form::read(b"a=%00").is_err());
        assert_eq!(scopes(" runs.read  runs.start runs.read"), ["runs.read", "runs.start"]);
    }
}

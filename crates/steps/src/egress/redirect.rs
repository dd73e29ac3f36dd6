//! Redirects: where they lead, and what goes there.

use reqwest::{
    Method, StatusCode, Url,
    header::{self, HeaderName},
};

use super::{EgressError, Redirects, Request};

/// Where a response redirects to, when the request follows redirects.
pub(super) fn target(request: &Request, response: &reqwest::Response) -> Result<Option<Url>, EgressError> {
    let follows = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if request.redirects == Redirects::Return || !follows {
        return Ok(None);
    }
    let Some(location) = response.headers().get(header::LOCATION) else { return Ok(None) };
    let text = String::from_utf8_lossy(location.as_bytes()).into_owned();
    request.url.join(&text).map(Some).map_err(|_| EgressError::BadRedirect(text))
}

/// Turns a request into the one that its redirect asks for. To another origin goes only what cannot be a secret.
pub(super) fn apply(request: &mut Request, status: StatusCode, target: Url) {
    let becomes_get = match status.as_u16() {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body = None;
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
            request.headers.remove(name);
        }
    }
    if target.origin() != request.url.origin() {
        let kept = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::CONTENT_TYPE, header::USER_AGENT];
        let dropped: Vec<HeaderName> = request.headers.keys().filter(|it| !kept.contains(it)).cloned().collect();
        for name in dropped {
            request.headers.remove(name);
        }
    }
    request.url = target;
}

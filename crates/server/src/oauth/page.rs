//! The two pages that a browser is shown which an application has sent: without scripts, styles or pictures.
//!
//! Invariant: whatever somebody else wrote is escaped.

use std::fmt::Write as _;

use axum::response::Response;
use windlass_resource::permission;

use super::request::{Asking, AuthorizationRequest};
use crate::{
    auth::{Far, Identity},
    reply,
};

const HTML: &str = "text/html; charset=utf-8";

/// Asks a person who is signed in.
pub fn consent(here: &str, asking: &Asking, request: &AuthorizationRequest, identity: &Identity) -> Response {
    let application = &asking.application;
    let (name, who) = (escaped(&application.name), escaped(&identity.who()));
    let mut text = format!("<p><strong>{name}</strong> asks to act in your name. You are {who}.</p>\n");
    text.push_str(&about(asking));
    text.push_str("<p>It could, as long as you may do it yourself:</p>\n<ul>\n");
    for scope in &asking.scopes {
        let named = permission::all().iter().find(|it| it.name == scope);
        let description = escaped(named.map_or(scope, |it| &it.description));
        let lacking = if identity.goes(scope, Far::Somewhere) { "" } else { " (you may not, so it could not either)" };
        let _ = writeln!(text, "<li>{description} <code>{}</code>{lacking}</li>", escaped(scope));
    }
    text.push_str("</ul>\n<form method=\"post\" action=\"/api/v1/oauth/answer\">\n");
    let fields = serde_json::to_value(request).unwrap_or_default();
    for (name, value) in fields.as_object().into_iter().flatten().filter_map(|(name, it)| Some((name, it.as_str()?))) {
        let _ = writeln!(text, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value));
    }
    text.push_str("<button name=\"decision\" value=\"approve\">Allow</button>\n");
    text.push_str("<button name=\"decision\" value=\"refuse\">Refuse</button>\n</form>\n");
    page(here, &format!("{name} asks"), &text)
}

/// Tells somebody who is not signed in how to go on: with one of these providers, or at the command line.
pub fn sign_in(here: &str, asking: &Asking, (this, providers): (&str, &[String])) -> Response {
    let name = escaped(&asking.application.name);
    let mut text = format!("<p><strong>{name}</strong> asks to act in your name. Sign in first.</p>\n");
    text.push_str(&about(asking));
    if !providers.is_empty() {
        text.push_str("<ul>\n");
        for path in providers {
            let provider = path.split(['/', '?']).nth(5).unwrap_or_default();
            let _ = writeln!(text, "<li><a href=\"{}\">Sign in with {}</a></li>", escaped(path), escaped(provider));
        }
        text.push_str("</ul>\n");
    }
    let command = format!("windlass oauth answer '{this}'");
    let _ = writeln!(text, "<p>Or answer at the command line: <code>{}</code></p>", escaped(&command));
    page(here, &format!("{name} asks"), &text)
}

fn about(asking: &Asking) -> String {
    let application = &asking.application;
    let mut text = String::new();
    if !application.description.is_empty() {
        let _ = writeln!(text, "<p>{}</p>", escaped(&application.description));
    }
    if let Some(website) = &application.website {
        let website = escaped(website);
        let _ = writeln!(text, "<p><a href=\"{website}\" rel=\"noreferrer\">{website}</a></p>");
    }
    let _ = writeln!(text, "<p>Your answer goes to <code>{}</code>.</p>", escaped(&asking.redirect_uri));
    text
}

/// With no referrer at all browsers would not say either that the form comes from here (`Origin`).
fn page(here: &str, title: &str, text: &str) -> Response {
    let head = format!("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n");
    let head = format!(
        "{head}<meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"referrer\" content=\"same-origin\">\n"
    );
    reply::text(HTML, format!("{head}<body>\n<h1>{}</h1>\n{text}</body>\n</html>\n", escaped(here)))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_no_markup() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}

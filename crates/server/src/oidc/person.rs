//! What a provider says of somebody, and what of it counts here.

use serde_json::{Map, Value as Json};
use windlass_resource::{
    Pattern,
    patterns::{EMAIL, HTTPS},
};
use windlass_store::Provider;

use super::not_in;
use crate::problem::Problem;

const NAME_CHARS_MAX: usize = 200;
const EMAIL_CHARS_MAX: usize = 254;
const PICTURE_CHARS_MAX: usize = 2_000;

/// Somebody, as a provider knows him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// By what the provider knows him.
    pub subject: String,
    /// His address, in lower case, if the provider has verified it.
    pub email: Option<String>,
    /// By what the provider may have provisioned him.
    pub external_id: Option<String>,
    /// What people call him.
    pub name: Option<String>,
    /// Where his picture is: an https address.
    pub picture: Option<String>,
}

/// Adds what a token did not say. Whether an address is verified belongs to the address.
pub fn add(told: &mut Map<String, Json>, more: Map<String, Json>) {
    told.remove("email_verified");
    for (name, value) in more {
        told.entry(name).or_insert(value);
    }
}

/// Who it is.
///
/// # Errors
/// 401 when he has no verified address in one of the provider's domains, if it has any.
pub fn read(told: &Map<String, Json>, provider: &Provider) -> Result<Person, Problem> {
    let text = |name: &str| told.get(name).and_then(Json::as_str).map(str::trim).filter(|it| !it.is_empty());
    let subject = told.get("sub").and_then(Json::as_str).ok_or_else(|| not_in("the provider names no subject"))?;
    let is_verified = told.get("email_verified") == Some(&Json::Bool(true));
    let email = text("email").filter(|_| is_verified).map(str::to_lowercase);
    let email = email.filter(|it| it.chars().count() <= EMAIL_CHARS_MAX && is_like(&EMAIL, it));
    if !provider.email_domains.is_empty() {
        let domain = email.as_deref().and_then(|it| it.rsplit_once('@')).map(|(_, domain)| domain);
        let ours = |domain: &str| provider.email_domains.iter().any(|it| it.eq_ignore_ascii_case(domain));
        if !domain.is_some_and(ours) {
            return Err(not_in("the provider knows no verified address of yours in a domain that is let in"));
        }
    }
    let name = text("name").or_else(|| text("preferred_username"));
    let name = name.map(|it| it.chars().take(NAME_CHARS_MAX).collect());
    // As it is: another subject may differ by a space.
    let claim = told.get(&provider.external_id_claim).and_then(Json::as_str);
    let external_id = claim.filter(|it| !it.is_empty()).map(str::to_owned);
    let picture = text("picture").filter(|it| it.len() <= PICTURE_CHARS_MAX && is_like(&HTTPS, it)).map(str::to_owned);
    Ok(Person { subject: subject.to_owned(), email, external_id, name, picture })
}

fn is_like(pattern: &Pattern, text: &str) -> bool {
    pattern.compiled().is_some_and(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(domains: &[&str]) -> Provider {
        let provider = json!({
            "id": "019aa7d0-0000-7000-8000-000000000001", "revision": 1, "name": "company", "client_id": "windlass",
            "issuer": "https://login.example.org", "server_url": "https://windlass.example.org",
            "email_domains": domains, "enabled": true, "external_id_claim": "oid",
        });
        serde_json::from_value(provider).unwrap()
    }

    fn object(value: Json) -> Map<String, Json> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn an_address_counts_when_it_is_verified() {
        for (claims, email) in [
            (json!({ "sub": "1", "email": "Ada@Example.org", "email_verified": true }), Some("ada@example.org")),
            (json!({ "sub": "1", "email": "ada@example.org", "email_verified": false }), None),
            (json!({ "sub": "1", "email": "ada@example.org" }), None),
            (json!({ "sub": "1", "email": "ada", "email_verified": true }), None),
            (json!({ "sub": "1", "email_verified": true }), None),
        ] {
            assert_eq!(read(&object(claims.clone()), &provider(&[])).unwrap().email.as_deref(), email, "{claims}");
        }
    }

    #[test]
    fn domains_are_whole_and_need_a_verified_address() {
        for (email, verified, comes) in [
            ("ada@example.org", true, true),
            ("ada@EXAMPLE.org", true, true),
            ("ada@example.org", false, false),
            ("ada@sub.example.org", true, false),
            ("ada@notexample.org", true, false),
            ("ada@example.org@evil.example", true, false),
        ] {
            let claims = object(json!({ "sub": "1", "email": email, "email_verified": verified }));
            assert_eq!(read(&claims, &provider(&["example.org"])).is_ok(), comes, "{email}");
        }
    }

    #[test]
    fn that_an_address_is_verified_is_not_said_of_another_one() {
        for (token, more, email) in [
            (json!({ "sub": "1", "email_verified": true }), json!({ "email": "ada@example.org" }), None),
            (
                json!({ "sub": "1", "email_verified": false }),
                json!({ "email": "ada@example.org", "email_verified": true }),
                Some("ada@example.org"),
            ),
        ] {
            let mut told = object(token.clone());
            add(&mut told, object(more));
            assert_eq!(read(&told, &provider(&[])).unwrap().email.as_deref(), email, "{token}");
        }
    }

    #[test]
    fn a_picture_is_at_an_https_address_and_the_external_id_in_its_claim() {
        let long = format!("https://{}", "x".repeat(2_000));
        for (claims, picture, external_id) in [
            (
                json!({ "sub": "1", "picture": "https://x.example/a.png", "oid": "7" }),
                Some("https://x.example/a.png"),
                Some("7"),
            ),
            (json!({ "sub": "1", "picture": "http://x.example/a.png" }), None, None),
            (json!({ "sub": "1", "picture": "javascript:alert(1)", "oid": "" }), None, None),
            (json!({ "sub": "1", "picture": long, "oid": 7 }), None, None),
        ] {
            let person = read(&object(claims.clone()), &provider(&[])).unwrap();
            assert_eq!((person.picture.as_deref(), person.external_id.as_deref()), (picture, external_id), "{claims}");
        }
    }

    #[test]
    fn somebody_has_a_subject_and_a_name_that_fits() {
        for (claims, name) in [
            (json!({ "sub": "1", "name": " Ada " }), Some("Ada".to_owned())),
            (json!({ "sub": "1", "name": "", "preferred_username": "ada" }), Some("ada".to_owned())),
            (json!({ "sub": "1", "name": "x".repeat(201) }), Some("x".repeat(200))),
            (json!({ "sub": "1" }), None),
        ] {
            assert_eq!(read(&object(claims.clone()), &provider(&[])).unwrap().name, name, "{claims}");
        }
        assert!(read(&object(json!({ "name": "Ada" })), &provider(&[])).is_err(), "nobody");
    }
}

//! `credential` of `http`: what its type makes of a request.
//!
//! Invariants: what is added is in headers alone, which no redirect takes to another origin; a signed request is sent as it
//! was signed or not at all.

use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde_json::Value as Json;
use windlass_definition::{Class, Error, Timestamp};
use windlass_runtime::{secrets::ReadyCredential, step::StepFailure};

use crate::{
    credentials::{aws::Signer, key_header},
    egress::{Redirects, Request},
    schema::invalid,
};

/// What a step says of its credential.
pub(super) struct Named<'a> {
    /// The name that stands in its `with`.
    pub(super) name: &'a str,
    /// `aws_service` beside it.
    pub(super) aws_service: Option<&'a str>,
    /// What the runtime made ready.
    pub(super) ready: Option<&'a ReadyCredential>,
}

impl Named<'_> {
    /// Puts the credential into a request, which nobody changes any more.
    pub(super) fn put_into(&self, request: &mut Request, now: Timestamp) -> Result<(), StepFailure> {
        let Some(ready) = self.ready.filter(|it| *it.name == *self.name) else {
            let message =
                "`credential` has to stand in the document itself: a `with` that is one expression names none";
            return Err(invalid("credential_not_literal", message));
        };
        let text = |name: &str| ready.fields.get(name).and_then(Json::as_str);
        let kind = ready.credential_type.as_str();
        if self.aws_service.is_some() && kind != "aws" {
            return Err(invalid(
                "bad_aws_service",
                &format!("`aws_service` goes with a credential of type `aws`, not `{kind}`"),
            ));
        }
        match kind {
            "basic_auth" | "bearer" | "oauth2" => {
                let value = text("authorization").unwrap_or_default().to_owned();
                self.header(request, (AUTHORIZATION, value))
            }
            "api_key" => {
                let header = key_header(&ready.fields).map_err(|why| self.unusable(why))?;
                self.header(request, header)
            }
            "aws" => self.sign(request, &text, now),
            other => {
                let message = format!(
                    "credential `{}` is of type `{other}`, which says nothing to a web server; api_key, basic_auth, bearer, \
                     oauth2 and aws do",
                    self.name
                );
                Err(invalid("credential_type", &message))
            }
        }
    }

    fn header(&self, request: &mut Request, (name, value): (HeaderName, String)) -> Result<(), StepFailure> {
        self.nobody_else(request, &name)?;
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| self.unusable("it has characters that do not fit into a header"))?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
        Ok(())
    }

    fn sign<'t>(
        &self,
        request: &mut Request,
        text: &dyn Fn(&str) -> Option<&'t str>,
        now: Timestamp,
    ) -> Result<(), StepFailure> {
        self.nobody_else(request, &AUTHORIZATION)?;
        let home = Home::of(&request.url);
        let Some(service) = self.aws_service.or(home.service.as_deref()) else {
            let message = "the address does not say which service of AWS it is: name it in `aws_service`, such as `s3`";
            return Err(invalid("aws_service_unknown", message));
        };
        let service = service.to_owned();
        let region = home.region.as_deref().or(text("region")).unwrap_or_default().to_owned();
        // Elsewhere the signature is wrong, and it is made for nobody else.
        request.redirects = Redirects::Return;
        let signer = Signer {
            access_key_id: text("access_key_id").unwrap_or_default(),
            secret_access_key: text("secret_access_key").unwrap_or_default(),
            session_token: text("session_token"),
            region: &region,
            service: &service,
        };
        signer.sign(request, now).map_err(|why| self.unusable(&why))
    }

    /// A header says one thing: what the document gives there is not overwritten, nor does it overwrite.
    fn nobody_else(&self, request: &Request, name: &HeaderName) -> Result<(), StepFailure> {
        let url = &request.url;
        if request.headers.contains_key(name) {
            let message = format!("`headers` gives `{name}`, and so does credential `{}`: leave one out", self.name);
            return Err(invalid("two_authorizations", &message));
        }
        if *name == AUTHORIZATION && (!url.username().is_empty() || url.password().is_some()) {
            let message = format!("`url` has a user, and credential `{}` is another: leave one out", self.name);
            return Err(invalid("two_authorizations", &message));
        }
        Ok(())
    }

    fn unusable(&self, why: &str) -> StepFailure {
        let message = format!("credential `{}` cannot be used: {why}", self.name);
        StepFailure::nothing_sent(Error::new(Class::Validation, "credential", message))
    }
}

/// What the address of a service of AWS says: `s3.eu-central-1.amazonaws.com`, `iam.amazonaws.com`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Home {
    service: Option<String>,
    region: Option<String>,
}

impl Home {
    fn of(url: &Url) -> Home {
        let host = url.host_str().unwrap_or_default();
        let Some(rest) = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn")) else {
            return Home::default();
        };
        let mut labels: Vec<&str> = rest.split('.').collect();
        let region = labels.pop_if(|last| is_region(last)).map(str::to_owned);
        // Another kind of address of the same service.
        labels.pop_if(|last| *last == "dualstack");
        Home { service: labels.pop().map(str::to_owned), region }
    }
}

/// `eu-central-1`: words and a number.
fn is_region(label: &str) -> bool {
    let mut parts = label.split('-').rev();
    let number = parts.next().is_some_and(|it| it.len() == 1 && it.bytes().all(|byte| byte.is_ascii_digit()));
    let words: Vec<&str> = parts.collect();
    let is_word = |it: &&str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_lowercase());
    number && words.len() >= 2 && words.iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_which_service_it_is() {
        for (host, service, region) in [
            ("s3.eu-central-1.amazonaws.com", Some("s3"), Some("eu-central-1")),
            ("bucket.s3.us-gov-west-1.amazonaws.com", Some("s3"), Some("us-gov-west-1")),
            ("bucket.s3.dualstack.eu-west-1.amazonaws.com", Some("s3"), Some("eu-west-1")),
            ("bucket.s3.amazonaws.com", Some("s3"), None),
            ("iam.amazonaws.com", Some("iam"), None),
            ("dynamodb.cn-north-1.amazonaws.com.cn", Some("dynamodb"), Some("cn-north-1")),
            ("abc123.execute-api.us-east-1.amazonaws.com", Some("execute-api"), Some("us-east-1")),
            ("amazonaws.com.example", None, None),
            ("minio.example", None, None),
            ("127.0.0.1", None, None),
        ] {
            let home = Home::of(&Url::parse(&format!("https://{host}/x")).unwrap());
            assert_eq!((home.service.as_deref(), home.region.as_deref()), (service, region), "{host}");
        }
    }
}

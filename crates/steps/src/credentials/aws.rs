//! `aws`, tried: who are we (`sts:GetCallerIdentity`), which every key may ask. And requests signed with it (SigV4).

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};
use windlass_definition::Timestamp;

use super::{get, trial::Tried};
use crate::egress::{Egress, Request};

/// What is asked, and in which version of the protocol.
const QUESTION: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";

/// A key of AWS, and what it signs for.
pub(crate) struct Signer<'a> {
    /// The id of the key.
    pub(crate) access_key_id: &'a str,
    /// The key.
    pub(crate) secret_access_key: &'a str,
    /// The token of a session.
    pub(crate) session_token: Option<&'a str>,
    /// The region that is asked.
    pub(crate) region: &'a str,
    /// The service that is asked: `s3`.
    pub(crate) service: &'a str,
}

impl Signer<'_> {
    /// Signs a request as it stands; nothing of it may be changed any more.
    ///
    /// # Errors
    /// Why it cannot be signed, without anything secret.
    pub(crate) fn sign(&self, request: &mut Request, now: Timestamp) -> Result<(), String> {
        // The library takes for granted that these fit into headers.
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let texts = [("access_key_id", Some(self.access_key_id)), ("session_token", self.session_token)];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.is_some_and(|text| !visible(text))) {
            return Err(format!("its `{name}` has characters that do not fit into a header"));
        }
        if !is_name(self.region) || !is_name(self.service) {
            return Err("the region and the service are letters, digits and `-`".to_owned());
        }
        let token = self.session_token.map(str::to_owned);
        let identity = Credentials::new(self.access_key_id, self.secret_access_key, token, None, "windlass").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(now.micros()).unwrap_or(0)))
            .settings(settings(self.service))
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let mut headers = Vec::new();
        for (name, value) in &request.headers {
            headers.push((name.as_str(), value.to_str().map_err(|_| format!("header `{name}` is no text"))?));
        }
        let body = SignableBody::Bytes(request.body.as_deref().unwrap_or_default());
        let signable = SignableRequest::new(request.method.as_str(), request.url.as_str(), headers.into_iter(), body);
        let signed = signable.and_then(|it| sign(it, &params)).map_err(|error| error.to_string())?;
        let (added, _) = signed.into_parts().0.into_parts();
        for header in added {
            let name = HeaderName::try_from(header.name()).map_err(|error| error.to_string())?;
            let mut value = HeaderValue::from_str(header.value()).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            request.headers.insert(name, value);
        }
        Ok(())
    }
}

/// S3 reads a path as it is sent and wants to know the body's hash; every other service encodes the path once more.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

/// Whether a text is the name of a region or a service.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=60).contains(&text.len()) && text.bytes().all(fits)
}

/// Asks the service who we are.
pub(super) async fn try_out(egress: &Egress, tried: &Tried, now: Timestamp) -> Result<String, String> {
    let region = tried.needed("region")?;
    if !is_name(region) {
        return Err("its `region` is no name of a region, such as `eu-central-1`".to_owned());
    }
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let usual = format!("https://sts.{region}.{domain}/");
    let url = Url::parse(tried.text("sts_endpoint").unwrap_or(&usual));
    let mut request = get(url.map_err(|_| "its `sts_endpoint` is no address".to_owned())?, &tried.bounds);
    let place = request.url.host_str().unwrap_or_default().to_owned();
    request.method = Method::POST;
    request.body = Some(QUESTION.to_vec());
    let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    request.headers.insert("content-type", form);
    let signer = Signer {
        access_key_id: tried.needed("access_key_id")?,
        secret_access_key: tried.needed("secret_access_key")?,
        session_token: tried.text("session_token"),
        region,
        service: "sts",
    };
    signer.sign(&mut request, now)?;
    let response = egress.send(request).await.map_err(|failure| failure.error.to_string())?;
    let said = String::from_utf8_lossy(&response.body);
    let status = response.status.as_u16();
    if response.status.is_success() {
        let Some(arn) = element(&said, "Arn") else {
            return Err(format!("{place} answered {status}, but not who we are: is it a service of this kind?"));
        };
        return Ok(format!("{place} knows the key as {}", tried.quote(arn)));
    }
    let code = element(&said, "Code").unwrap_or("no code");
    let message = element(&said, "Message").unwrap_or("no message");
    Err(format!("{place} answered {status}: {}", tried.quote(format!("{code}, {message}"))))
}

/// The text of the first element of that name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// The example of the documentation of AWS: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
    #[test]
    fn a_request_is_signed_as_aws_says() {
        let mut request =
            get(Url::parse("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08").unwrap(), &Arc::default());
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        request.headers.insert("content-type", form);
        let signer = Signer {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session_token: None,
            region: "us-east-1",
            service: "iam",
        };
        // 2015-08-30T12:36:00Z
        signer.sign(&mut request, Timestamp::from_micros(1_440_938_160_000_000)).unwrap();
        assert_eq!(request.headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            request.headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_signed() {
        let right = || Signer {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: "key",
            session_token: None,
            region: "eu-central-1",
            service: "s3",
        };
        let refused = |signer: Signer<'_>| {
            let mut request = get(Url::parse("https://bucket.example/a%20b").unwrap(), &Arc::default());
            signer.sign(&mut request, Timestamp::from_micros(0)).err()
        };
        assert_eq!(refused(right()), None);
        for (signer, part) in [
            (Signer { access_key_id: "a\u{e9}", ..right() }, "access_key_id"),
            (Signer { session_token: Some("a b"), ..right() }, "session_token"),
            (Signer { region: "eu.evil", ..right() }, "region"),
            (Signer { service: "", ..right() }, "service"),
        ] {
            let why = refused(signer).unwrap();
            assert!(why.contains(part), "{why}");
        }
    }
}

//! What a provider publishes of itself.

use serde::Deserialize;

use super::token::Keys;

/// All that is remembered of it.
pub struct Published {
    /// Where to ask it.
    pub configuration: Configuration,
    /// By what it signs.
    pub keys: Keys,
}

/// Where to ask it: the part that is used of OpenID Connect Discovery 1.0.
#[derive(Debug, Deserialize)]
pub struct Configuration {
    issuer: String,
    /// Where browsers go.
    pub authorization_endpoint: String,
    /// Where codes are worth tokens.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where it says more of a user.
    pub userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Configuration {
    /// Whether it is that issuer's, and as secret as the issuer's own address.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, issuer: &str) -> Result<(), &'static str> {
        if self.issuer != issuer {
            return Err("it calls itself by another issuer");
        }
        let all = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        let secret =
            |url: &String| url.starts_with("https://") || (url.starts_with("http://") && issuer.starts_with("http://"));
        if all.into_iter().chain(&self.userinfo_endpoint).all(secret) {
            Ok(())
        } else {
            Err("it names an address that is not https")
        }
    }

    /// Whether it takes a client's secret as `Basic` credentials, which is what it does unless it says otherwise.
    pub fn takes_basic(&self) -> bool {
        let ways = self.token_endpoint_auth_methods_supported.as_ref();
        ways.is_none_or(|ways| ways.iter().any(|way| way == "client_secret_basic"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn configuration(changes: serde_json::Value) -> Configuration {
        let issuer = "https://login.example.org";
        let mut all = json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
        });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn it_is_the_issuers_and_as_secret() {
        let (another, open) = ("it calls itself by another issuer", "it names an address that is not https");
        for (changes, found) in [
            (json!({}), Ok(())),
            (json!({ "token_endpoint": "https://elsewhere.example.org/token" }), Ok(())),
            (json!({ "issuer": "https://evil.example" }), Err(another)),
            (json!({ "issuer": "https://login.example.org/" }), Err(another)),
            (json!({ "authorization_endpoint": "javascript:alert(1)" }), Err(open)),
            (json!({ "token_endpoint": "http://login.example.org/token" }), Err(open)),
            (json!({ "jwks_uri": "http://login.example.org/keys" }), Err(open)),
            (json!({ "userinfo_endpoint": "http://login.example.org/me" }), Err(open)),
        ] {
            assert_eq!(configuration(changes.clone()).check("https://login.example.org"), found, "{changes}");
        }
    }

    #[test]
    fn a_secret_goes_where_it_is_taken() {
        for (ways, basic) in [
            (json!({}), true),
            (json!({ "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"] }), true),
            (json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] }), false),
        ] {
            assert_eq!(configuration(ways.clone()).takes_basic(), basic, "{ways}");
        }
    }
}

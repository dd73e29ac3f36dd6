//! An app that makes the codes of a second factor.

use reqwest::Url;
use totp_rs::{Algorithm, Secret, TOTP};

const STEP_SECONDS: u64 = 30;

/// An app that was given a second factor, at that moment.
pub struct Authenticator {
    maker: TOTP,
    seconds: u64,
}

impl Authenticator {
    /// Takes over what an `otpauth` address says.
    ///
    /// # Panics
    /// It says nothing that an app understands.
    pub fn open(url: &str) -> Authenticator {
        let url: Url = url.parse().expect("an address");
        assert_eq!((url.scheme(), url.host_str()), ("otpauth", Some("totp")), "{url}");
        let secret = url.query_pairs().find(|(name, _)| name == "secret").expect("a secret").1.into_owned();
        let secret = Secret::Encoded(secret).to_bytes().expect("base32");
        let maker = TOTP::new(Algorithm::SHA1, 6, 1, STEP_SECONDS, secret).expect("a long secret");
        let seconds = u64::try_from(chrono::Utc::now().timestamp()).expect("after 1970");
        Authenticator { maker, seconds }
    }

    /// The code that it shows so many steps of time after it was opened.
    pub fn code(&self, steps: i64) -> String {
        self.maker.generate(self.seconds.saturating_add_signed(steps * STEP_SECONDS.cast_signed()))
    }
}

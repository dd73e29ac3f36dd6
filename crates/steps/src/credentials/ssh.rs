//! `ssh_key`, looked at: which key it is, and whether its passphrase opens it. No server is tried.

use ssh_key::{HashAlg, Kdf, PrivateKey};
use windlass_runtime::secrets::CredentialTest;

use super::trial::{Tried, fails, unknown};

/// Rounds of the function that makes a key of a passphrase: more would only keep the server busy.
const ROUNDS_MAX: u32 = 1_000;

const NO_SERVER: &str = "no server was tried with it";

/// What can be seen of the key itself.
pub(super) async fn look_at(tried: &Tried) -> CredentialTest {
    let text = tried.text("private_key").unwrap_or_default();
    if !(text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----")) {
        return fails("its `private_key` is no key as OpenSSH and PEM write it");
    }
    if !text.contains("-----BEGIN OPENSSH PRIVATE KEY-----") {
        return unknown(format!("it looks like a private key in PEM, which is not read; {NO_SERVER}"));
    }
    // The text of the error speaks of the form alone, but nothing of a key is worth the risk.
    let Ok(key) = PrivateKey::from_openssh(text.trim()) else {
        return fails("its `private_key` begins as OpenSSH writes keys, and cannot be read as one");
    };
    let what = format!("{} {}", key.algorithm().as_str(), key.fingerprint(HashAlg::Sha256));
    match (key.is_encrypted(), tried.text("passphrase").map(str::to_owned)) {
        (false, None) => unknown(format!("{what}, without a passphrase; {NO_SERVER}")),
        (false, Some(_)) => unknown(format!("{what}, which needs no passphrase although it has one; {NO_SERVER}")),
        (true, None) => fails(format!("{what}, which opens with a passphrase alone, and it has none")),
        (true, Some(_)) if too_slow(key.kdf()) => {
            unknown(format!("{what}; its passphrase was not tried, for it takes more than {ROUNDS_MAX} rounds"))
        }
        (true, Some(passphrase)) => {
            let opened = tokio::task::spawn_blocking(move || key.decrypt(passphrase).is_ok()).await;
            match opened {
                Ok(true) => unknown(format!("{what}, and its passphrase opens it; {NO_SERVER}")),
                _ => fails(format!("{what}, and its passphrase does not open it")),
            }
        }
    }
}

fn too_slow(kdf: &Kdf) -> bool {
    matches!(kdf, Kdf::Bcrypt { rounds, .. } if *rounds > ROUNDS_MAX)
}

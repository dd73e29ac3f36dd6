//! The keys that blocks are signed with: Ed25519, so that whoever has the public half can judge a file.

use std::sync::Arc;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::StoreError;

/// The half of a key that may be shown.
pub type PublicKey = [u8; 32];

/// A key to sign with.
#[derive(Clone)]
pub struct AuditKey(Arc<Ed25519KeyPair>);

impl AuditKey {
    /// The key of a seed; the same seed is the same key.
    ///
    /// # Errors
    /// The seed makes no key.
    pub fn from_seed(seed: &[u8; 32]) -> Result<AuditKey, StoreError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(|pair| AuditKey(Arc::new(pair)))
            .map_err(|_| StoreError::Invalid("no key can be made of the seed".into()))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut public = [0; 32];
        public.copy_from_slice(self.0.public_key().as_ref());
        public
    }

    /// Signs.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).as_ref().to_vec()
    }
}

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AuditKey").field(&hex::encode(self.public())).finish()
    }
}

/// Whether that key signed these bytes.
pub(crate) fn signed(public: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(bytes, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_its_key_and_of_its_bytes() {
        let (one, other) = (AuditKey::from_seed(&[1; 32]).unwrap(), AuditKey::from_seed(&[2; 32]).unwrap());
        let signature = one.sign(b"block");
        assert!(signed(&one.public(), b"block", &signature));
        assert!(!signed(&one.public(), b"blocc", &signature));
        assert!(!signed(&other.public(), b"block", &signature));
        assert!(!signed(&[], b"block", &signature) && !signed(&one.public(), b"block", b""));
        assert!(!format!("{one:?}").contains("0101"), "the seed is not shown");
    }
}

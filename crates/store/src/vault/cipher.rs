//! Sealing bytes: AES-256-GCM, with the key's id in front and what it is about as associated data.
//!
//! A sealed text is `version (1) · key id (16) · nonce (12) · ciphertext · tag (16)`. Invariant: what was sealed for one
//! place opens in no other, for the place is part of what the tag covers.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand::{SecureRandom, SystemRandom},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::StoreError;

/// The form of what is sealed.
const VERSION: u8 = 1;
/// Where the key's id stands in what is sealed.
pub(crate) const KEY_ID: std::ops::Range<usize> = 1..17;
const HEADER_BYTES: usize = KEY_ID.end + NONCE_LEN;

/// 32 bytes that nobody else knows; they are wiped when nobody has them any more.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// What was sealed does not open: with another key, for another place, or changed since.
pub(crate) fn refused() -> StoreError {
    StoreError::damaged("something in the vault does not open with its own key")
}

fn no_random(_: ring::error::Unspecified) -> StoreError {
    StoreError::Unavailable("the system gives no random bits".to_owned())
}

/// A key that seals, and its id.
pub(crate) struct Cipher {
    pub id: Uuid,
    key: LessSafeKey,
}

impl Cipher {
    pub(crate) fn new(id: Uuid, secret: &Secret) -> Cipher {
        // It refuses nothing but another length.
        let key = UnboundKey::new(&AES_256_GCM, secret.as_slice()).expect("32 bytes are a key");
        Cipher { id, key: LessSafeKey::new(key) }
    }

    /// Seals bytes for a place.
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(no_random)?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(self.id.as_bytes());
        let aad = [&sealed, place].concat();
        sealed.extend_from_slice(&nonce);
        let mut text = Zeroizing::new(plain.to_vec());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut text);
        let tag = tag.map_err(|_| refused())?;
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for that place.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        if key_of(sealed) != Some(self.id) {
            return Err(refused());
        }
        let (header, text) = sealed.split_at_checked(HEADER_BYTES).ok_or_else(refused)?;
        let (about, nonce) = header.split_at(KEY_ID.end);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = [about, place].concat();
        let length = self.key.open_in_place(nonce, Aad::from(aad), &mut text).map_err(|_| refused())?.len();
        text.truncate(length);
        Ok(text)
    }
}

/// The id of the key that something was sealed with; `None` if it is nothing sealed.
pub(crate) fn key_of(sealed: &[u8]) -> Option<Uuid> {
    if sealed.first() != Some(&VERSION) {
        return None;
    }
    Uuid::from_slice(sealed.get(KEY_ID)?).ok()
}

/// 32 new random bytes.
pub(crate) fn random() -> Result<Secret, StoreError> {
    let mut secret = Secret::default();
    SystemRandom::new().fill(secret.as_mut_slice()).map_err(no_random)?;
    Ok(secret)
}

/// A key of its own for a purpose, from a secret: HKDF with SHA-256.
pub(crate) fn derive(secret: &Secret, purpose: &str) -> Secret {
    let mut derived = Secret::default();
    let salt = Salt::new(HKDF_SHA256, b"windlass/1").extract(secret.as_slice());
    // Both refuse nothing but lengths that are too long.
    let purpose = [purpose.as_bytes()];
    let okm = salt.expand(&purpose, HKDF_SHA256).expect("32 bytes can be derived");
    okm.fill(derived.as_mut_slice()).expect("32 bytes can be derived");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_alone() {
        let secret = random().unwrap();
        let cipher = Cipher::new(Uuid::from_u128(7), &secret);
        let sealed = cipher.seal(b"here", b"text").unwrap();
        assert_eq!(key_of(&sealed), Some(Uuid::from_u128(7)));
        assert_eq!(cipher.open(b"here", &sealed).unwrap().as_slice(), b"text");
        assert!(cipher.open(b"there", &sealed).is_err());
        assert!(Cipher::new(Uuid::from_u128(8), &secret).open(b"here", &sealed).is_err());
        assert!(Cipher::new(Uuid::from_u128(7), &random().unwrap()).open(b"here", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(cipher.open(b"here", &changed).is_err(), "byte {at}");
            assert!(cipher.open(b"here", &sealed[..at]).is_err(), "cut at {at}");
        }
        assert_ne!(cipher.seal(b"here", b"text").unwrap(), sealed, "a nonce is used once");
    }

    #[test]
    fn purposes_have_keys_of_their_own() {
        let secret = Secret::new([9; 32]);
        assert_eq!(derive(&secret, "a"), derive(&secret, "a"));
        assert_ne!(derive(&secret, "a"), derive(&secret, "b"));
        // The same on every machine and in every version: what was derived before has to be derived again.
        let pinned = hex::encode(derive(&secret, "windlass").as_slice());
        assert_eq!(pinned, "0d682f64abe811cf74f65b2e971a7ba1b7a0b503c07b168872fd8f671b84bc5a");
    }
}

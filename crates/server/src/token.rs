//! API tokens: what they look like, and what is kept of them.
//!
//! A token is `wl_`, the token's id, 256 random bits and a checksum, in base 62. Only the SHA-256 of the whole text is
//! stored, and tokens are found by it: nothing compares a secret with a secret, so no time of an answer tells how much of
//! a guess was right. The checksum lets secret scanners and a mistyped token be told apart without asking the database.

use sha2::{Digest, Sha256};
use windlass_engine::id::TokenId;
use windlass_store::Link;

const PREFIX: &str = "wl_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_CHARS: usize = 22;
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
/// A token that somebody chose (`WINDLASS_BOOTSTRAP_TOKEN`) has at least this many characters.
pub const CHOSEN_TOKEN_CHARS_MIN: usize = 16;
/// No token is longer.
pub const TOKEN_CHARS_MAX: usize = 256;

/// The SHA-256 of a token: all that is kept of it.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token's text.
    pub fn of(token: &str) -> TokenHash {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// The hash as it is stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a secret of ours is for: it begins with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// An API key.
    Key,
    /// A session.
    Session,
    /// A link that signs in.
    Link,
    /// A link of an invitation.
    Invitation,
    /// A link of a delegation.
    Delegation,
    /// What an application keeps.
    ApplicationSecret,
    /// An access token of an application.
    Access,
    /// A code by which an application begins: the first link of a chain.
    Code,
    /// A refresh token: a later link.
    Refresh,
}

impl SecretKind {
    const ALL: [SecretKind; 9] = [
        SecretKind::Key,
        SecretKind::Session,
        SecretKind::Link,
        SecretKind::Invitation,
        SecretKind::Delegation,
        SecretKind::ApplicationSecret,
        SecretKind::Access,
        SecretKind::Code,
        SecretKind::Refresh,
    ];

    fn prefix(self) -> &'static str {
        match self {
            SecretKind::Key => PREFIX,
            SecretKind::Session => "wls_",
            SecretKind::Link => "wll_",
            SecretKind::Invitation => "wli_",
            SecretKind::Delegation => "wld_",
            SecretKind::ApplicationSecret => "wla_",
            SecretKind::Access => "wlt_",
            SecretKind::Code => "wlc_",
            SecretKind::Refresh => "wlr_",
        }
    }

    /// What a text is for, by how it begins.
    pub fn of(text: &str) -> Option<SecretKind> {
        SecretKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))
    }
}

/// A new secret of that kind, in the form of a token, which nobody can make again.
///
/// # Errors
/// The system gives no random bits.
pub fn secret(kind: SecretKind) -> Result<String, getrandom::Error> {
    let (_, token) = generate()?;
    Ok(token.replacen(PREFIX, kind.prefix(), 1))
}

/// A link of a chain: its text, and what it is found by. All links of a chain begin with the same 256 random bits, which
/// nobody knows who never had one: so whoever shows one that is not the newest has taken it from somebody, or was robbed.
pub struct ChainLink {
    /// What its holder has.
    pub text: String,
    /// Its hashes.
    pub hashes: Link,
}

impl ChainLink {
    /// A link of that kind of a new chain.
    ///
    /// # Errors
    /// The system gives no random bits.
    pub fn first(kind: SecretKind) -> Result<ChainLink, getrandom::Error> {
        let chain = random_base62()?;
        ChainLink::of(kind, &chain)
    }

    /// A new link of that kind of the chain of a text that [`ChainLink::read`] has read.
    ///
    /// # Errors
    /// As [`ChainLink::first`].
    pub fn after(text: &str, kind: SecretKind) -> Result<ChainLink, getrandom::Error> {
        ChainLink::of(kind, chain_of(text).unwrap_or_default())
    }

    /// The hashes of a link of that kind; `None` when the text is none.
    pub fn read(text: &str, kind: SecretKind) -> Option<Link> {
        if SecretKind::of(text) != Some(kind) {
            return None;
        }
        let chain = TokenHash::of(chain_of(text)?).0;
        Some(Link { chain, link: TokenHash::of(text).0 })
    }

    fn of(kind: SecretKind, chain: &str) -> Result<ChainLink, getrandom::Error> {
        let text = format!("{}{chain}{}", kind.prefix(), random_base62()?);
        let hashes = Link { chain: TokenHash::of(chain).0, link: TokenHash::of(&text).0 };
        Ok(ChainLink { text, hashes })
    }
}

fn chain_of(text: &str) -> Option<&str> {
    let (_, body) = text.split_once('_')?;
    let whole = body.len() == 2 * SECRET_CHARS && body.bytes().all(|byte| ALPHABET.contains(&byte));
    whole.then(|| &body[..SECRET_CHARS])
}

fn random_base62() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(base62(&bytes, SECRET_CHARS))
}

/// A new token: its id and its text, which nobody can make again.
fn generate() -> Result<(TokenId, String), getrandom::Error> {
    let mut bytes = [0u8; 48];
    getrandom::fill(&mut bytes)?;
    let (id, secret) = bytes.split_at(16);
    let mut id_bytes = [0u8; 16];
    id_bytes.copy_from_slice(id);
    let id = TokenId::new(uuid::Builder::from_random_bytes(id_bytes).into_uuid());
    let mut text = String::from(PREFIX);
    text.push_str(&base62(id.uuid().as_bytes(), ID_CHARS));
    text.push_str(&base62(secret, SECRET_CHARS));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    Ok((id, text))
}

/// The id in a token that this program made; `None` when the text is not such a token or was mistyped.
pub fn id_of(token: &str) -> Option<TokenId> {
    let body = token.strip_prefix(PREFIX)?;
    if body.len() != ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS || !body.bytes().all(|byte| ALPHABET.contains(&byte)) {
        return None;
    }
    let signed = token.len() - CHECKSUM_CHARS;
    if checksum(&token[..signed]) != token[signed..] {
        return None;
    }
    let number = body[..ID_CHARS].bytes().try_fold(0u128, |number, byte| {
        let digit = ALPHABET.iter().position(|it| *it == byte)? as u128;
        number.checked_mul(62)?.checked_add(digit)
    })?;
    Some(TokenId::new(uuid::Uuid::from_u128(number)))
}

/// What lists show of a token: of one of ours the beginning of its id, of a chosen one nothing.
pub fn prefix(token: &str) -> String {
    match id_of(token) {
        Some(_) => token.chars().take(11).collect(),
        None => "chosen".to_owned(),
    }
}

fn checksum(signed: &str) -> String {
    let digest = Sha256::digest(signed.as_bytes());
    base62(&digest[..4], CHECKSUM_CHARS)
}

/// A big-endian number in base 62, with leading zeros up to `chars` digits.
fn base62(bytes: &[u8], chars: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(chars);
    for _ in 0..chars {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        digits.push(ALPHABET[rest as usize]);
    }
    digits.iter().rev().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_id_and_a_checksum() {
        let (id, token) = generate().unwrap();
        assert_eq!(token.len(), PREFIX.len() + ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS);
        assert_eq!(id_of(&token), Some(id));
        for at in PREFIX.len()..token.len() {
            let mut mistyped = token.clone().into_bytes();
            mistyped[at] = if mistyped[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(id_of(&String::from_utf8(mistyped).unwrap()), None, "mistyped at {at}");
        }
        assert_eq!(id_of("wl_"), None);
        assert_eq!(id_of("a-chosen-token-of-mine"), None);
    }

    #[test]
    fn links_of_a_chain_are_of_one_chain_and_never_alike() {
        let code = ChainLink::first(SecretKind::Code).unwrap();
        let refresh = ChainLink::after(&code.text, SecretKind::Refresh).unwrap();
        assert_eq!(ChainLink::read(&code.text, SecretKind::Code), Some(code.hashes));
        assert_eq!(ChainLink::read(&refresh.text, SecretKind::Refresh), Some(refresh.hashes));
        assert_eq!(code.hashes.chain, refresh.hashes.chain);
        assert_ne!(code.hashes.link, refresh.hashes.link);
        assert_ne!(ChainLink::first(SecretKind::Code).unwrap().hashes.chain, code.hashes.chain);
        for wrong in ["", "wlr_", &code.text, &refresh.text[..refresh.text.len() - 1], &format!("{}x", refresh.text)] {
            assert_eq!(ChainLink::read(wrong, SecretKind::Refresh), None, "{wrong}");
        }
    }

    #[test]
    fn base62_is_the_number() {
        for (bytes, text) in [(&[0u8][..], "00"), (&[61], "0z"), (&[62], "10"), (&[1, 0], "48")] {
            assert_eq!(base62(bytes, 2), text);
        }
    }
}

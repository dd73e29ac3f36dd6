//! Redaction: secret values that a process knows are taken out of whatever it shows.
//!
//! A value is known from the moment in which a step uses it, and to what steps give back before that: as soon as it is in
//! the vault, give or take [`VAULT_READ_EVERY`]. It is looked for as it is, in base64 (also within longer texts),
//! percent-encoded and escaped as in JSON. Invariants: a tenant's values are looked for in what is that tenant's, and those
//! that were used in logs, never in what another sees; work and memory are bounded whatever is looked through.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use windlass_definition::{
    Error, Value,
    value::{Key, Map},
};
use windlass_engine::id::TenantKey;
use windlass_store::{Store, VaultChanges};

/// What stands where a secret was.
pub const REDACTED: &str = "***";
/// Shorter values would be found everywhere.
pub const SECRET_BYTES_MIN: usize = 8;
/// Longer ones are looked for in pieces of this size.
const PIECE_BYTES: usize = 1_024;
/// How long a reading of a tenant's vault is good for.
const VAULT_READ_EVERY: Duration = Duration::from_secs(10);
/// Values that a process remembers of a tenant, those of its vault and those that were used each, and their bytes; the
/// oldest is forgotten first.
const VALUES_PER_TENANT_MAX: usize = 500;
const BYTES_PER_TENANT_MAX: usize = 128 << 10;
/// Tenants whose values a process remembers, and the bytes of all of them that logs are looked through for.
const TENANTS_MAX: usize = 1_000;
const BYTES_MAX: usize = 512 << 10;

/// The secret values that a process knows. A cheap handle.
#[derive(Clone, Default)]
pub struct Known {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known")
    }
}

#[derive(Default)]
struct Inner {
    tenants: Mutex<HashMap<TenantKey, Tenant>>,
    /// Of all tenants, for logs.
    all: RwLock<Option<Arc<Redactor>>>,
}

#[derive(Default)]
struct Tenant {
    /// What steps used, and what was made of it.
    used: Values,
    /// What is in the vault.
    kept: Values,
    redactor: Option<Arc<Redactor>>,
    /// When its vault was read.
    read_at: Option<Instant>,
    /// How far; whoever reads it holds this.
    changes: Arc<tokio::sync::Mutex<VaultChanges>>,
}

/// The newest values.
#[derive(Default)]
struct Values(VecDeque<Arc<str>>);

/// Finds values and takes them out.
pub struct Redactor(AhoCorasick);

impl Known {
    /// Learns values of a tenant that are used. Those that are too short to be told from other texts are not learned.
    pub fn learn<'a>(&self, tenant: TenantKey, values: impl Iterator<Item = &'a str>) {
        let mut tenants = self.tenants();
        let known = room_for(&mut tenants, tenant);
        if !known.used.learn(values) {
            return;
        }
        known.look_for_all();
        let all = tenants.values().flat_map(|tenant| tenant.used.0.iter().rev().map(|value| &**value));
        let all = all.scan(0, |bytes, value| {
            *bytes += value.len();
            (*bytes <= BYTES_MAX).then_some(value)
        });
        let all = Redactor::of(all).map(Arc::new);
        *self.inner.all.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// What finds the values of a tenant, those of its vault too, which is read for it when that is due; `None` where none
    /// is known. Once it was read, one caller reads it again and nobody waits for that. A vault that cannot be read adds
    /// nothing.
    pub async fn of_vault(&self, store: &Store, tenant: TenantKey) -> Option<Arc<Redactor>> {
        let (changes, was_read) = {
            let mut tenants = self.tenants();
            let known = room_for(&mut tenants, tenant);
            if known.is_read() {
                return known.redactor.clone();
            }
            (Arc::clone(&known.changes), known.read_at.is_some())
        };
        let mut changes = match changes.try_lock() {
            Ok(changes) => changes,
            Err(_) if was_read => return self.of_tenant(tenant),
            Err(_) => changes.lock().await,
        };
        if room_for(&mut self.tenants(), tenant).is_read() {
            return self.of_tenant(tenant);
        }
        let read = store.vault_values(tenant, &mut changes, VALUES_PER_TENANT_MAX).await;
        let mut tenants = self.tenants();
        let known = room_for(&mut tenants, tenant);
        known.read_at = Some(Instant::now());
        match read {
            Ok(values) if known.kept.learn(values.iter().map(|value| value.as_str())) => known.look_for_all(),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the vault was not read for redaction"),
        }
        known.redactor.clone()
    }

    /// What finds the values of a tenant that are known by now; `None` where none is.
    pub fn of_tenant(&self, tenant: TenantKey) -> Option<Arc<Redactor>> {
        self.tenants().get(&tenant).and_then(|known| known.redactor.clone())
    }

    /// What finds the values of all tenants: for logs.
    pub fn of_all(&self) -> Option<Arc<Redactor>> {
        self.inner.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantKey, Tenant>> {
        self.inner.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn room_for(tenants: &mut HashMap<TenantKey, Tenant>, tenant: TenantKey) -> &mut Tenant {
    if tenants.len() >= TENANTS_MAX && !tenants.contains_key(&tenant) {
        tenants.clear();
    }
    tenants.entry(tenant).or_default()
}

impl Tenant {
    /// Whether its vault was read lately.
    fn is_read(&self) -> bool {
        self.read_at.is_some_and(|at| at.elapsed() < VAULT_READ_EVERY)
    }

    fn look_for_all(&mut self) {
        let all = self.used.0.iter().chain(&self.kept.0);
        self.redactor = Redactor::of(all.map(|value| &**value)).map(Arc::new);
    }
}

impl Values {
    /// Adds values; false when nothing is new.
    fn learn<'a>(&mut self, values: impl Iterator<Item = &'a str>) -> bool {
        let mut is_new = false;
        for value in values.filter(|value| value.len() >= SECRET_BYTES_MIN) {
            if self.0.iter().any(|other| **other == *value) {
                continue;
            }
            is_new = true;
            self.0.push_back(value.into());
            let bytes = |values: &VecDeque<Arc<str>>| values.iter().map(|value| value.len()).sum::<usize>();
            while self.0.len() > VALUES_PER_TENANT_MAX || bytes(&self.0) > BYTES_PER_TENANT_MAX {
                self.0.pop_front();
            }
        }
        is_new
    }
}

impl Redactor {
    /// Finds these values; `None` when there are none.
    pub fn of<'a>(values: impl Iterator<Item = &'a str>) -> Option<Redactor> {
        let mut patterns: Vec<String> = values.flat_map(pieces).flat_map(forms).collect();
        patterns.sort_unstable();
        patterns.dedup();
        if patterns.is_empty() {
            return None;
        }
        // The quicker kind takes ten times the memory, and each tenant has one. It refuses only what is larger than its own
        // numbers can say.
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest).kind(Some(AhoCorasickKind::ContiguousNFA));
        builder.build(patterns).ok().map(Redactor)
    }

    /// A text without them; `None` when there is none in it.
    pub fn text(&self, text: &str) -> Option<String> {
        if !self.0.is_match(text) {
            return None;
        }
        let mut clean = String::with_capacity(text.len());
        self.0.replace_all_with(text, &mut clean, |_, _, out| {
            out.push_str(REDACTED);
            true
        });
        Some(clean)
    }

    /// Bytes without them, such as lines of a log.
    pub fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if !self.0.is_match(bytes) {
            return None;
        }
        let mut clean = Vec::with_capacity(bytes.len());
        self.0.replace_all_with_bytes(bytes, &mut clean, |_, _, out| {
            out.extend_from_slice(REDACTED.as_bytes());
            true
        });
        Some(clean)
    }

    /// A value without them, in texts and in keys of maps; what has none in it is shared, not copied.
    pub fn value(&self, value: Value) -> Value {
        self.cleaned(&value).unwrap_or(value)
    }

    fn cleaned(&self, value: &Value) -> Option<Value> {
        match value {
            Value::String(text) => self.text(text).map(Value::from),
            Value::List(items) => {
                let clean: Vec<Option<Value>> = items.iter().map(|item| self.cleaned(item)).collect();
                if clean.iter().all(Option::is_none) {
                    return None;
                }
                let items = items.iter().zip(clean).map(|(item, clean)| clean.unwrap_or_else(|| item.clone()));
                Some(Value::list(items))
            }
            Value::Map(map) => {
                let clean: Vec<(Option<Key>, Option<Value>)> =
                    map.iter().map(|(key, item)| (self.key(key), self.cleaned(item))).collect();
                if clean.iter().all(|(key, item)| key.is_none() && item.is_none()) {
                    return None;
                }
                let entries = map.iter().zip(clean).map(|((key, item), (clean_key, clean_item))| {
                    (clean_key.unwrap_or_else(|| key.clone()), clean_item.unwrap_or_else(|| item.clone()))
                });
                Some(Value::Map(Arc::new(entries.collect::<Map>())))
            }
            _ => None,
        }
    }

    fn key(&self, key: &Key) -> Option<Key> {
        match key {
            Key::String(text) => self.text(text).map(|text| Key::String(text.into())),
            _ => None,
        }
    }

    /// An error without them.
    pub fn error(&self, mut error: Error) -> Error {
        for text in [&mut error.code, &mut error.message] {
            if let Some(clean) = self.text(text) {
                *text = clean.into();
            }
        }
        error.details = self.value(error.details);
        error
    }
}

/// A value in pieces, none of which is too short to be told from other texts.
fn pieces(value: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = value;
    while rest.len() > PIECE_BYTES + SECRET_BYTES_MIN {
        let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

/// The forms in which a value may show.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), escaped(value), percent_encoded(value), value.replace(' ', "+")];
    // Within a longer text base64 comes out in three ways, as the value begins at the first, second or third byte of a
    // group; what its neighbours have a part in is left out.
    for shift in 0..3 {
        let padded = [&[0; 2][..shift], value.as_bytes()].concat();
        let from = [0, 2, 3][shift];
        let to = padded.len() * 8 / 6;
        for encoded in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
            if let Some(inner) = encoded.get(from..to)
                && inner.len() >= SECRET_BYTES_MIN
            {
                forms.push(inner.to_owned());
            }
        }
    }
    forms
}

fn escaped(value: &str) -> String {
    let quoted = serde_json::to_string(value).unwrap_or_default();
    quoted.trim_start_matches('"').strip_suffix('"').map(str::to_owned).unwrap_or_else(|| value.to_owned())
}

fn percent_encoded(value: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SECRET: &str = "s3cr\"t/ü key+1";

    fn redactor() -> Redactor {
        Redactor::of([SECRET].into_iter()).unwrap()
    }

    #[test]
    fn every_form_is_found() {
        let long = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----", "Ab1+".repeat(900));
        let clean = Redactor::of([long.as_str()].into_iter()).unwrap().text(&format!("<{long}>")).unwrap();
        assert_eq!(clean.replace(REDACTED, ""), "<>");
        let redactor = redactor();
        for (text, clean) in [
            (format!("a {SECRET} b"), "a *** b".to_owned()),
            (serde_json::to_string(SECRET).unwrap(), "\"***\"".to_owned()),
            (format!("?k={}&x", percent_encoded(SECRET)), "?k=***&x".to_owned()),
        ] {
            assert_eq!(redactor.text(&text), Some(clean), "{text}");
        }
        for around in ["", "u:", "us:", "use:", "user:"] {
            for encoded in
                [STANDARD.encode(format!("{around}{SECRET}!")), URL_SAFE_NO_PAD.encode(format!("{around}{SECRET}"))]
            {
                let clean = redactor.text(&encoded).unwrap_or_else(|| panic!("{around}: {encoded}"));
                assert!(clean.contains(REDACTED) && clean.len() < encoded.len() / 2 + 12, "{clean}");
            }
        }
        assert_eq!(redactor.text("nothing of it"), None);
        assert!(Redactor::of(["short"].into_iter().filter(|it| it.len() >= SECRET_BYTES_MIN)).is_none());
    }

    #[test]
    fn values_and_errors_are_cleaned_and_shared_where_they_are_clean() {
        let redactor = redactor();
        let value: Value = serde_json::from_value(serde_json::json!({
            "a": ["x", {"b": format!("<{SECRET}>")}], SECRET: 1, "clean": [1, 2, "y"]
        }))
        .unwrap();
        let clean = serde_json::to_string(&redactor.value(value.clone())).unwrap();
        assert_eq!(clean, r#"{"***":1,"a":["x",{"b":"<***>"}],"clean":[1,2,"y"]}"#);
        let error = Error::new(windlass_definition::Class::Http, "500", format!("said {SECRET}"));
        let error = redactor.error(error.with_detail("body", SECRET));
        assert_eq!(&*error.message, "said ***");
        assert!(!format!("{error:?}").contains(SECRET));
        let untouched = Value::list([Value::from("x")]);
        let (Value::List(before), Value::List(after)) = (untouched.clone(), redactor.value(untouched)) else {
            panic!()
        };
        assert!(Arc::ptr_eq(&before, &after));
    }

    #[test]
    fn a_tenant_is_looked_through_for_its_own_alone() {
        let known = Known::default();
        known.learn(TenantKey(1), ["of-the-first", "short"].into_iter());
        known.learn(TenantKey(2), ["of-the-second"].into_iter());
        let first = known.of_tenant(TenantKey(1)).unwrap();
        assert_eq!(first.text("of-the-first of-the-second short").as_deref(), Some("*** of-the-second short"));
        let all = known.of_all().unwrap();
        assert_eq!(all.bytes(b"of-the-first of-the-second").unwrap(), b"*** ***");
        for n in 0..VALUES_PER_TENANT_MAX {
            known.learn(TenantKey(1), [format!("another-value-{n}").as_str()].into_iter());
        }
        assert!(known.of_tenant(TenantKey(1)).unwrap().text("of-the-first").is_none(), "the oldest is forgotten");
    }
}

//! The places that settings go to: how each type of them takes a value and gives it back.
//!
//! A value that comes here was checked by its [`Kind`]; one that is none all the same changes nothing.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde_json::Value as Json;
use windlass_steps::egress::address::PrivateNetwork;
use windlass_store::Hints;

use super::{Kind, LogFormat};

/// Where a setting goes.
pub trait Field {
    /// Its value.
    fn read(&self, kind: &Kind) -> Json;

    /// Takes another one.
    fn write(&mut self, value: &Json, kind: &Kind);
}

fn at_most<T: TryFrom<u64>>(number: u64, most: T) -> T {
    T::try_from(number).unwrap_or(most)
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Field for $type {
            fn read(&self, _: &Kind) -> Json {
                Json::from(*self)
            }

            fn write(&mut self, value: &Json, _: &Kind) {
                if let Some(number) = value.as_u64() {
                    *self = at_most(number, <$type>::MAX);
                }
            }
        })*
    };
}

numbers!(usize, u64, u32, i64);

/// 0 stands for no bound.
macro_rules! bounds {
    ($($type:ty),*) => {
        $(impl Field for Option<$type> {
            fn read(&self, _: &Kind) -> Json {
                Json::from(self.unwrap_or(0))
            }

            fn write(&mut self, value: &Json, _: &Kind) {
                if let Some(number) = value.as_u64() {
                    *self = (number > 0).then(|| at_most(number, <$type>::MAX));
                }
            }
        })*
    };
}

bounds!(u64, u32);

impl Field for Duration {
    fn read(&self, kind: &Kind) -> Json {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        Json::from(millis / millis_of(kind))
    }

    fn write(&mut self, value: &Json, kind: &Kind) {
        if let Some(number) = value.as_u64() {
            *self = Duration::from_millis(number.saturating_mul(millis_of(kind)));
        }
    }
}

fn millis_of(kind: &Kind) -> u64 {
    match kind {
        Kind::Number { unit, .. } => unit.millis(),
        _ => 1,
    }
}

impl Field for bool {
    fn read(&self, _: &Kind) -> Json {
        Json::from(*self)
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        *self = value.as_bool().unwrap_or(*self);
    }
}

impl Field for Hints {
    fn read(&self, _: &Kind) -> Json {
        Json::from(*self == Hints::On)
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        if let Some(on) = value.as_bool() {
            *self = if on { Hints::On } else { Hints::Off };
        }
    }
}

impl Field for String {
    fn read(&self, _: &Kind) -> Json {
        Json::from(self.as_str())
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        if let Some(text) = value.as_str() {
            text.clone_into(self);
        }
    }
}

/// An empty text stands for none.
impl Field for Option<String> {
    fn read(&self, _: &Kind) -> Json {
        Json::from(self.as_deref().unwrap_or_default())
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        if let Some(text) = value.as_str() {
            *self = (!text.is_empty()).then(|| text.to_owned());
        }
    }
}

/// An empty text stands for none.
impl Field for Option<PathBuf> {
    fn read(&self, _: &Kind) -> Json {
        Json::from(self.as_ref().map(|path| path.display().to_string()).unwrap_or_default())
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        if let Some(text) = value.as_str() {
            *self = (!text.is_empty()).then(|| PathBuf::from(text));
        }
    }
}

impl Field for SocketAddr {
    fn read(&self, _: &Kind) -> Json {
        Json::from(self.to_string())
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        if let Some(address) = value.as_str().and_then(|text| text.parse().ok()) {
            *self = address;
        }
    }
}

impl Field for LogFormat {
    fn read(&self, _: &Kind) -> Json {
        Json::from(self.as_str())
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        if let Some(word) = value.as_str() {
            *self = if word == LogFormat::Json.as_str() { LogFormat::Json } else { LogFormat::Text };
        }
    }
}

impl Field for PrivateNetwork {
    fn read(&self, _: &Kind) -> Json {
        self.words().into()
    }

    fn write(&mut self, value: &Json, _: &Kind) {
        let words: Option<Vec<&str>> = value.as_array().and_then(|all| all.iter().map(Json::as_str).collect());
        if let Some(Ok(networks)) = words.map(|words| PrivateNetwork::of(&words)) {
            *self = networks;
        }
    }
}

//! What tenants may reach: each by its own settings, within those of the installation.
//!
//! Invariant: connections are never shared by those who may not reach the same: a name is looked up, and its addresses
//! checked, when a connection is opened, and not when one that is open is used again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use reqwest::Client;
use tokio_util::sync::CancellationToken;
use windlass_engine::id::TenantKey;
use windlass_runtime::step::until_answered;
use windlass_store::{SettingValue, Store};

use super::{Egress, EgressError, EgressFailure, address::PrivateNetwork};

/// Clients and tenants in memory at most; beyond that all are forgotten and made again.
const KNOWN_MAX: usize = 1_000;

/// Which addresses that are not public a tenant may reach, by the settings that were chosen for it and the installation.
#[derive(Clone)]
pub struct Tenants(Arc<Read>);

type Read = dyn Fn(&[SettingValue]) -> PrivateNetwork + Send + Sync;

/// What is known of tenants, for as long as it holds.
#[derive(Default)]
pub(super) struct Known {
    clients: Mutex<HashMap<PrivateNetwork, Client>>,
    /// Under which epoch of the settings.
    tenants: Mutex<HashMap<TenantKey, (i64, PrivateNetwork)>>,
}

impl Tenants {
    /// As this reads them.
    pub fn of(read: impl Fn(&[SettingValue]) -> PrivateNetwork + Send + Sync + 'static) -> Tenants {
        Tenants(Arc::new(read))
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tenants")
    }
}

impl Egress {
    /// The client for what is done on behalf of a tenant: it reaches what that may reach now.
    ///
    /// # Errors
    /// The database does not say what that is.
    pub async fn of(&self, store: &Store, tenant: TenantKey) -> Result<Egress, EgressError> {
        let Some(tenants) = &self.shared.options.tenants else { return Ok(self.clone()) };
        let epoch = store.access_epoch().await.map_err(EgressError::Settings)?;
        let known = lock(&self.shared.known.tenants).get(&tenant).cloned();
        let private_network = match known {
            Some((under, private_network)) if under == epoch => private_network,
            _ => {
                let stored = store.setting_values(tenant).await.map_err(EgressError::Settings)?;
                let private_network = (tenants.0)(&stored);
                put(&self.shared.known.tenants, tenant, (epoch, private_network.clone()));
                private_network
            }
        };
        self.within(private_network)
    }

    /// As [`Egress::of`], for an attempt of a step, which waits for a database that is away until it is to stop.
    ///
    /// # Errors
    /// The database does not say what the tenant may reach, or did not before the stop.
    pub(crate) async fn of_attempt(
        &self,
        store: &Store,
        tenant: TenantKey,
        stop: &CancellationToken,
    ) -> Result<Egress, EgressFailure> {
        let is_away = |error: &EgressError| matches!(error, EgressError::Settings(error) if error.is_away());
        until_answered(stop, || self.of(store, tenant), is_away).await.map_err(EgressFailure::from)
    }

    /// The client that reaches these.
    fn within(&self, private_network: PrivateNetwork) -> Result<Egress, EgressError> {
        let known = lock(&self.shared.known.clients).get(&private_network).cloned();
        let client = match known {
            Some(client) => client,
            None => {
                let client = self.shared.client(&private_network)?;
                put(&self.shared.known.clients, private_network.clone(), client.clone());
                client
            }
        };
        Ok(Egress { client, private_network, shared: Arc::clone(&self.shared) })
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put<K: std::hash::Hash + Eq, V>(into: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut all = lock(into);
    if all.len() >= KNOWN_MAX {
        all.clear();
    }
    all.insert(key, value);
}

//! What the HTTP API is handed of a daemon that begins, runs and ends without it.
//!
//! The API listens before the store is open, and goes on while it is away; whoever
//! asks meanwhile is told to come again.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Config, UnknownDid};
use crate::store::SqlStore;

/// What answers and takes what comes over HTTP.
#[derive(Debug)]
pub struct Desk {
    store: Mutex<Option<SqlStore>>,
    /// Name and tenant of each source.
    sources: Vec<(String, String)>,
    country: String,
    creates_dids: bool,
}

impl Desk {
    /// The desk of a daemon with this configuration; it has no store yet.
    #[must_use]
    pub fn of(config: &Config) -> Arc<Self> {
        let named =
            |source: &crate::config::SourceConfig| (source.name.clone(), source.tenant.clone());
        Self::new(
            config.sources.iter().map(named).collect(),
            &config.attribution.default_country,
            config.attribution.unknown_did == UnknownDid::Create,
        )
    }

    /// The desk for sources, each with its tenant, in a country; of a daemon that adds
    /// DIDs that are not in the store, or does not.
    #[must_use]
    pub fn new(sources: Vec<(String, String)>, country: &str, creates_dids: bool) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(None),
            sources,
            country: country.to_owned(),
            creates_dids,
        })
    }

    /// From now on there is a store.
    pub fn open(&self, store: &SqlStore) {
        *self.lock() = Some(store.clone());
    }

    /// It is about to be closed.
    pub fn close(&self) {
        *self.lock() = None;
    }

    /// The store, while it is open.
    #[must_use]
    pub fn store(&self) -> Option<SqlStore> {
        self.lock().clone()
    }

    /// The sources of a tenant, in the order of the configuration.
    pub fn sources_of(&self, tenant: &str) -> impl Iterator<Item = &str> {
        let of_tenant = self.sources.iter().filter(move |(_, of)| of == tenant);
        of_tenant.map(|(name, _)| name.as_str())
    }

    /// Country of phone numbers without a country code, as VICIdial's are read.
    #[must_use]
    pub fn country(&self) -> &str {
        &self.country
    }

    /// Whether a DID that is not in the store is added.
    #[must_use]
    pub fn creates_dids(&self) -> bool {
        self.creates_dids
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SqlStore>> {
        // Whoever panicked left a whole value.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

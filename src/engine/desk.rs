//! What the HTTP API is handed of a daemon that begins, runs and ends without it.
//!
//! The API listens before the store is open, and goes on while it is away; whoever
//! asks meanwhile is told to come again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::{Config, UnknownDid};
use crate::engine::posts::{self, ORDERS_MAX, Order};
use crate::engine::vitals::Vitals;
use crate::store::{NewPost, PostOutcome, SqlStore};
use crate::telemetry::spawn_named;

/// What answers and takes what comes over HTTP.
#[derive(Debug)]
pub struct Desk {
    open: Mutex<Option<Open>>,
    /// Name and tenant of each source.
    sources: Vec<(String, String)>,
    country: String,
    creates_dids: bool,
}

/// A store, and what keeps posts in it.
#[derive(Debug)]
struct Open {
    store: SqlStore,
    posts: mpsc::Sender<Order>,
    gathering: JoinHandle<()>,
}

/// A post that was not kept: it may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// Too many are on their way.
    Busy,
    /// The store is away.
    Away,
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
            open: Mutex::new(None),
            sources,
            country: country.to_owned(),
            creates_dids,
        })
    }

    /// From now on there is a store; whoever follows a source hears by `vitals` of what
    /// is posted of it.
    pub fn open(&self, store: &SqlStore, vitals: &Arc<Vitals>) {
        let (posts, orders) = mpsc::channel(ORDERS_MAX);
        let kept = Arc::new(store.clone());
        let gather = posts::gather(kept, orders, self.creates_dids, Arc::clone(vitals));
        *self.lock() = Some(Open {
            store: store.clone(),
            posts,
            gathering: spawn_named("posts", gather),
        });
    }

    /// The store is about to be closed: what is on its way is kept first.
    pub async fn close(&self) {
        let open = self.lock().take();
        if let Some(Open {
            posts, gathering, ..
        }) = open
        {
            drop(posts);
            // A panic in there has been told already.
            drop(gathering.await);
        }
    }

    /// The store, while it is open.
    #[must_use]
    pub fn store(&self) -> Option<SqlStore> {
        self.lock().as_ref().map(|open| open.store.clone())
    }

    /// Keeps a posted result; returns when it is durable.
    ///
    /// # Errors
    /// [`NotKept`].
    pub async fn post(&self, post: NewPost) -> Result<PostOutcome, NotKept> {
        let (answer, outcome) = oneshot::channel();
        {
            let open = self.lock();
            let open = open.as_ref().ok_or(NotKept::Away)?;
            let sent = open.posts.try_send(Order { post, answer });
            sent.map_err(|_| NotKept::Busy)?;
        }
        outcome.await.map_err(|_| NotKept::Away)
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

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // Whoever panicked left a whole value.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

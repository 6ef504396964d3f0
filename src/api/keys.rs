//! Who asks: the key that came with a request, looked up in the store.
//!
//! A key that was valid is remembered for half a second, so that a busy client costs
//! the store two look-ups a second, and one that is revoked is refused within one.
//! What was not valid is not remembered: a new key holds at once.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use quick_cache::unsync::Cache;

use super::Api;
use super::answer::{later, refusal, store_away, store_failed};
use super::listen::Peer;
use crate::store::{ApiKey, KeyHolder, SqlStore, StoreError};
use crate::telemetry::{field, spawn_named};

/// How long a key stays valid without another look into the store.
const REMEMBERED: Duration = Duration::from_millis(500);

/// Keys remembered.
const REMEMBERED_MAX: usize = 1024;

/// Time between two notes of when a key was used last.
const USE_NOTED: Duration = Duration::from_secs(60);

/// Longest key that is looked at, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// The keys that were used last, by their hashes.
#[derive(Debug)]
pub(super) struct Keys(Mutex<Cache<String, Known>>);

#[derive(Clone, Debug)]
struct Known {
    holder: Arc<KeyHolder>,
    seen: Instant,
    noted: Instant,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Cache::new(REMEMBERED_MAX)))
    }

    fn known(&self, hash: &str) -> Option<Known> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(hash).cloned()
    }

    /// Whether the key of this hash was valid when it was looked up last.
    fn has_seen(&self, hash: &str) -> bool {
        self.known(hash).is_some()
    }

    fn keep(&self, hash: String, known: Known) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(hash, known);
    }

    fn forget(&self, hash: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(hash);
    }

    /// Who has the key of this hash, if it is valid.
    async fn holder(
        &self,
        hash: &str,
        store: &SqlStore,
        now: Instant,
    ) -> Result<Option<Arc<KeyHolder>>, StoreError> {
        let known = self.known(hash);
        if let Some(known) = &known
            && now.saturating_duration_since(known.seen) < REMEMBERED
        {
            return Ok(Some(Arc::clone(&known.holder)));
        }
        let Some(holder) = store.key_holder(hash).await? else {
            self.forget(hash);
            return Ok(None);
        };
        let noted = known.map(|known| known.noted);
        let noted = noted.filter(|noted| now.saturating_duration_since(*noted) < USE_NOTED);
        if noted.is_none() {
            note(store.clone(), holder.key);
        }
        let holder = Arc::new(holder);
        let known = Known {
            holder: Arc::clone(&holder),
            seen: now,
            noted: noted.unwrap_or(now),
        };
        self.keep(hash.to_owned(), known);
        Ok(Some(holder))
    }
}

/// Notes in the store that a key was used, beside the answer.
fn note(store: SqlStore, key: i64) {
    spawn_named("key-use", async move {
        if let Err(error) = store.note_key_used(key).await {
            tracing::warn!(
                { field::ERROR } = %error,
                key,
                "could not note when an API key was used last"
            );
        }
    });
}

/// Why somebody is not let in.
pub(super) enum Denied {
    /// Come again in so many seconds.
    TooOften(u64),
    /// No key was sent.
    NoKey,
    /// There is no such key, or it was revoked.
    Unknown,
    /// The store is away.
    Away,
    /// The store failed.
    Failed(StoreError),
}

/// Who has the key of a hash that somebody at `address` sent, and the store that says so.
pub(super) async fn admit(
    api: &Api,
    hash: Option<&str>,
    address: IpAddr,
    now: Instant,
) -> Result<(Arc<KeyHolder>, SqlStore), Denied> {
    let limited = api.limits.address(address, now);
    limited.map_err(Denied::TooOften)?;
    let is_guess = !hash.is_some_and(|hash| api.keys.has_seen(hash));
    if is_guess {
        let limited = api.limits.guess(address, now);
        limited.map_err(Denied::TooOften)?;
    }
    let found = recognise(api, hash.ok_or(Denied::NoKey)?, now).await;
    // Too often with this key: it was a good one.
    if is_guess && matches!(found, Ok(_) | Err(Denied::TooOften(_))) {
        api.limits.guessed(address, now);
    }
    found
}

/// The same of a hash that nobody can have guessed.
pub(super) async fn recognise(
    api: &Api,
    hash: &str,
    now: Instant,
) -> Result<(Arc<KeyHolder>, SqlStore), Denied> {
    let store = api.desk.store().ok_or(Denied::Away)?;
    let holder = api.keys.holder(hash, &store, now).await;
    let holder = holder.map_err(Denied::Failed)?.ok_or(Denied::Unknown)?;
    let limited = api.limits.key(holder.key, now);
    limited.map_err(Denied::TooOften)?;
    Ok((holder, store))
}

/// Lets a request through with its [`KeyHolder`], or refuses it.
pub(super) async fn demand(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let key = sent(request.headers()).map(ApiKey::hash_of);
    let address = Peer::of(&request).address;
    match admit(&api, key.as_deref(), address, Instant::now()).await {
        Ok((holder, store)) => {
            request.extensions_mut().insert(holder);
            request.extensions_mut().insert(store);
            next.run(request).await
        }
        Err(Denied::TooOften(seconds)) => too_often(seconds),
        Err(Denied::NoKey) => unknown("a key is needed: send it as the header x-api-key"),
        Err(Denied::Unknown) => unknown("this key is unknown, or was revoked"),
        Err(Denied::Away) => store_away(),
        Err(Denied::Failed(error)) => store_failed(&error),
    }
}

fn too_often(seconds: u64) -> Response {
    let message = "too many requests; come again later";
    later(StatusCode::TOO_MANY_REQUESTS, message, seconds)
}

fn unknown(message: &str) -> Response {
    let mut response = refusal(StatusCode::UNAUTHORIZED, message);
    let scheme = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    response
}

/// The key in the headers: `x-api-key: KEY`, or `Authorization: Bearer KEY`.
fn sent(headers: &HeaderMap) -> Option<&str> {
    let bearer = || {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    };
    let own = headers.get("x-api-key");
    let key = match own {
        Some(own) => own.to_str().ok(),
        None => bearer(),
    };
    key.map(str::trim)
        .filter(|key| !key.is_empty() && key.len() <= KEY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&'static str, &str)| {
            (
                header::HeaderName::from_static(name),
                value.parse().expect("a value"),
            )
        };
        all.iter().map(parse).collect()
    }

    #[test]
    fn a_key_comes_in_either_header() {
        for (given, key) in [
            (&[("x-api-key", "k")][..], Some("k")),
            (&[("authorization", "Bearer k")], Some("k")),
            (&[("authorization", "bearer  k ")], Some("k")),
            (&[("authorization", "Basic k")], None),
            (
                &[("x-api-key", "a"), ("authorization", "Bearer b")],
                Some("a"),
            ),
            (&[("x-api-key", "")], None),
            (&[], None),
        ] {
            assert_eq!(sent(&headers(given)), key, "{given:?}");
        }
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(sent(&headers(&[("x-api-key", &long)])), None);
    }
}

//! How often a client may ask: a bucket of tokens for each key and each address.
//!
//! A bucket is full at first, loses a token a request, and fills up again steadily.
//! Of the many that there may be only the most recently used are kept: a forgotten
//! bucket is a full one.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::unsync::Cache;

/// Buckets kept of each kind.
const BUCKETS_MAX: usize = 4096;

/// A kind of bucket: tokens a second, and how many one holds.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// Requests with one key: more than a dialer of hundreds of agents posts.
const OF_KEY: Rate = Rate {
    per_second: 4000.0,
    burst: 8000.0,
};

/// Requests from one address, whatever the keys: a proxy may stand before all clients.
const OF_ADDRESS: Rate = Rate {
    per_second: 8000.0,
    burst: 16_000.0,
};

/// Requests from one address with a key that was not valid of late: each costs a look
/// into the store. Those of one that is valid are given back.
const UNKNOWN: Rate = Rate {
    per_second: 5.0,
    burst: 300.0,
};

/// Who may ask how often.
#[derive(Debug)]
pub(super) struct Limits {
    keys: Buckets<i64>,
    addresses: Buckets<IpAddr>,
    unknown: Buckets<IpAddr>,
}

impl Limits {
    pub(super) fn new() -> Self {
        Self {
            keys: Buckets::new(OF_KEY),
            addresses: Buckets::new(OF_ADDRESS),
            unknown: Buckets::new(UNKNOWN),
        }
    }

    /// A request from an address.
    ///
    /// # Errors
    /// The seconds to wait where it is one too many; as of all here.
    pub(super) fn address(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        self.addresses.take(network(address), now)
    }

    /// A request whose key was not valid of late: who has a good one is not kept out by
    /// others behind the same proxy who try theirs.
    pub(super) fn guess(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        self.unknown.take(network(address), now)
    }

    /// The key of a [`Limits::guess`] was valid.
    pub(super) fn guessed(&self, address: IpAddr, now: Instant) {
        self.unknown.put_back(network(address), now);
    }

    /// A request with a valid key.
    pub(super) fn key(&self, key: i64, now: Instant) -> Result<(), u64> {
        self.keys.take(key, now)
    }
}

/// What one client has of addresses: of IPv6 a whole network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

#[derive(Debug)]
struct Buckets<K> {
    rate: Rate,
    of: Mutex<Cache<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            of: Mutex::new(Cache::new(BUCKETS_MAX)),
        }
    }

    /// What is in a bucket now.
    fn filled(&self, kept: &Cache<K, Bucket>, key: &K, now: Instant) -> f64 {
        match kept.peek(key) {
            None => self.rate.burst,
            Some(bucket) => {
                let since = now.saturating_duration_since(bucket.at).as_secs_f64();
                (bucket.tokens + since * self.rate.per_second).min(self.rate.burst)
            }
        }
    }

    /// Gives a token back.
    fn put_back(&self, key: K, now: Instant) {
        let mut kept = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = (self.filled(&kept, &key, now) + 1.0).min(self.rate.burst);
        kept.insert(key, Bucket { tokens, at: now });
    }

    /// Takes a token.
    fn take(&self, key: K, now: Instant) -> Result<(), u64> {
        let mut kept = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = self.filled(&kept, &key, now);
        self.enough(tokens)?;
        let tokens = tokens - 1.0;
        kept.insert(key, Bucket { tokens, at: now });
        Ok(())
    }

    fn enough(&self, tokens: f64) -> Result<(), u64> {
        if tokens >= 1.0 {
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - tokens) / self.rate.per_second);
        // At least a second: the header has no less.
        Err(wait.as_secs().saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 2.0,
        burst: 3.0,
    };

    #[test]
    fn a_bucket_empties_and_fills_up_again() {
        let buckets = Buckets::new(RATE);
        let begin = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take(1, begin), Ok(()));
        }
        assert_eq!(buckets.take(1, begin), Err(1));
        buckets.put_back(1, begin);
        assert_eq!(buckets.take(1, begin), Ok(()));
        assert_eq!(buckets.take(1, begin), Err(1));
        assert_eq!(buckets.take(2, begin), Ok(()), "another's");
        let later = begin + Duration::from_millis(500);
        assert_eq!(buckets.take(1, later), Ok(()));
        assert_eq!(buckets.take(1, later), Err(1));
        let much_later = begin + Duration::from_secs(3600);
        for _ in 0..3 {
            assert_eq!(buckets.take(1, much_later), Ok(()));
        }
        assert!(buckets.take(1, much_later).is_err(), "it holds no more");
    }

    #[test]
    fn who_tries_keys_is_refused_before_the_store_is_asked() {
        let limits = Limits::new();
        let address = IpAddr::from([192, 0, 2, 1]);
        let now = Instant::now();
        for _ in 0..300 {
            assert_eq!(limits.guess(address, now), Ok(()));
        }
        assert_eq!(limits.guess(address, now), Err(1));
        assert_eq!(limits.guess(IpAddr::from([192, 0, 2, 2]), now), Ok(()));
        let of_network = |host| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
        for host in 0..300 {
            assert_eq!(limits.guess(of_network(host), now), Ok(()));
        }
        assert_eq!(limits.guess(of_network(300), now), Err(1));
        assert_eq!(limits.address(address, now), Ok(()), "a good key is let in");
    }
}

//! A key of the HTTP API: made here, shown once, and kept as a hash.
//!
//! # Why a plain hash
//! A key has 256 random bits, so that nobody finds it by trying, however fast that
//! is. What makes passwords slow to try (Argon2 and the like) would only make each
//! request slow.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Random bytes of a key.
const KEY_BYTES: usize = 32;

/// What a key begins with, so that one that lies around is recognised.
const PREFIX: &str = "didtail_";

/// What a hash begins with: how it was made.
const HASH_PREFIX: &str = "sha256:";

/// A new key. It is never stored, nor logged: its `Debug` shows nothing.
pub struct ApiKey(String);

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey")
    }
}

/// 256 random bits in hexadecimal digits: what nobody finds by trying. `None` where the
/// system gives none.
#[must_use]
pub fn random_hex() -> Option<String> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

impl ApiKey {
    /// A key of 256 random bits; `None` where the system gives none.
    #[must_use]
    pub fn random() -> Option<Self> {
        Some(Self(format!("{PREFIX}{}", random_hex()?)))
    }

    /// The key, for whoever is to use it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the store keeps of this key.
    #[must_use]
    pub fn hash(&self) -> String {
        Self::hash_of(&self.0)
    }

    /// What the store keeps of a key, `sha256:` and 64 hexadecimal digits; to look up
    /// one that came with a request.
    #[must_use]
    pub fn hash_of(key: &str) -> String {
        format!(
            "{HASH_PREFIX}{}",
            hex::encode(digest(&SHA256, key.as_bytes()).as_ref())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_different_and_not_shown() {
        let keys = [ApiKey::random(), ApiKey::random()].map(|key| key.expect("random bytes"));
        assert_ne!(keys[0].reveal(), keys[1].reveal());
        assert_eq!(keys[0].reveal().len(), "didtail_".len() + 64);
        assert!(!format!("{:?}", keys[0]).contains("didtail_"));
        assert!(
            !keys[0]
                .hash()
                .contains(&keys[0].reveal()["didtail_".len()..])
        );
    }

    /// `printf abc | sha256sum`.
    #[test]
    fn the_hash_is_the_one_that_others_compute() {
        assert_eq!(
            ApiKey::hash_of("abc"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}

//! Who is logged in: a random token in a cookie stands for an API key.
//!
//! Sessions are in memory: behind a restart one logs in again. The key is looked up
//! with each request as that of any client is, so that one that is revoked ends its
//! sessions within a second.
//!
//! # Requests that others forge
//! The cookie goes along only with requests of the same site, except for links that
//! are followed (`SameSite=Lax`); and whatever changes something is a POST that must
//! come from a page of this server ([`is_of_this_site`]).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};
use quick_cache::unsync::Cache;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::store::ApiKey;

/// How long one stays logged in.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Sessions at a time; of more the one used least recently ends.
const SESSIONS_MAX: usize = 1024;

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// The cookie; over TLS with a prefix by which a browser takes it from this very host
/// alone.
const COOKIE: &str = "didtail_session";
/// As [`COOKIE`].
const COOKIE_TLS: &str = "__Host-didtail_session";

/// The sessions, by the hashes of their tokens.
#[derive(Debug)]
pub(crate) struct Sessions(Mutex<Cache<String, Session>>);

#[derive(Clone, Debug)]
struct Session {
    /// The hash of the key that it stands for.
    key: String,
    until: Instant,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Cache::new(SESSIONS_MAX)))
    }

    /// Begins a session of who has the key of this hash; its token. `None` where the
    /// system has no random bytes.
    pub(super) fn begin(&self, key: String, now: Instant) -> Option<String> {
        let mut bytes = [0; TOKEN_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let token = hex::encode(bytes);
        let until = now + LASTS;
        self.lock()
            .insert(ApiKey::hash_of(&token), Session { key, until });
        Some(token)
    }

    /// The hash of the key that a token stands for.
    pub(super) fn key(&self, token: &str, now: Instant) -> Option<String> {
        let hash = ApiKey::hash_of(token);
        let mut sessions = self.lock();
        let session = sessions.get(&hash)?.clone();
        if session.until <= now {
            sessions.remove(&hash);
            return None;
        }
        Some(session.key)
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &str) {
        self.lock().remove(&ApiKey::hash_of(token));
    }

    fn lock(&self) -> MutexGuard<'_, Cache<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token in the cookies of a request.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let pairs = cookies
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut found = None;
    for (name, value) in pairs {
        match name {
            COOKIE_TLS => return Some(value),
            COOKIE => found = Some(value),
            _ => {}
        }
    }
    found
}

/// The cookie that keeps a token, or with `None` the one that removes it.
pub(super) fn cookie(token: Option<&str>, is_tls: bool) -> Option<HeaderValue> {
    let (name, secure) = match is_tls {
        true => (COOKIE_TLS, "; Secure"),
        false => (COOKIE, ""),
    };
    let (value, seconds) = match token {
        Some(token) => (token, LASTS.as_secs()),
        None => ("", 0),
    };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).ok()
}

/// Whether a POST comes from a page of this server. Browsers say where a request comes
/// from, and a page cannot change that; who is no browser says nothing, and has no
/// cookies that others could use.
pub(super) fn is_of_this_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = text("host").unwrap_or_default();
            let named = origin.split_once("://").map(|(_, named)| named);
            named.is_some_and(|named| !host.is_empty() && named.eq_ignore_ascii_case(host))
        }
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&'static str, &str)| {
            let name = header::HeaderName::from_static(name);
            (name, value.parse().expect("a value"))
        };
        all.iter().map(parse).collect()
    }

    #[test]
    fn a_session_lasts_until_it_ends() {
        let sessions = Sessions::new();
        let now = Instant::now();
        let token = sessions.begin("hash".to_owned(), now).expect("random");
        let other = sessions.begin("other".to_owned(), now).expect("random");
        assert_ne!(token, other);
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(sessions.key(&token, now).as_deref(), Some("hash"));
        assert_eq!(sessions.key("something", now), None);
        assert_eq!(sessions.key(&token, now + LASTS), None);
        sessions.end(&other);
        assert_eq!(sessions.key(&other, now), None);
    }

    #[test]
    fn the_token_is_found_among_cookies() {
        for (given, found) in [
            (&[("cookie", "a=b; didtail_session=t")][..], Some("t")),
            (
                &[("cookie", "didtail_session=t; __Host-didtail_session=s")],
                Some("s"),
            ),
            (&[("cookie", "xdidtail_session=t")], None),
            (&[], None),
        ] {
            assert_eq!(token(&headers(given)), found, "{given:?}");
        }
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        for is_tls in [false, true] {
            let cookie = cookie(Some("t"), is_tls).expect("a value");
            let cookie = cookie.to_str().expect("text");
            assert!(
                cookie.contains("=t; Path=/; HttpOnly; SameSite=Lax"),
                "{cookie}"
            );
            assert_eq!(cookie.contains("Secure"), is_tls);
            assert_eq!(cookie.starts_with("__Host-"), is_tls);
        }
    }

    #[test]
    fn forged_requests_are_told_by_where_they_come_from() {
        for (given, is_own) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[("origin", "http://Dialer:5000"), ("host", "dialer:5000")],
                true,
            ),
            (
                &[("origin", "https://evil.example"), ("host", "dialer:5000")],
                false,
            ),
            (
                &[("origin", "http://dialer:5001"), ("host", "dialer:5000")],
                false,
            ),
            (&[("origin", "null"), ("host", "dialer:5000")], false),
            (&[("origin", "http://")], false),
            (&[("host", "dialer:5000")], true),
        ] {
            assert_eq!(is_of_this_site(&headers(given)), is_own, "{given:?}");
        }
    }
}

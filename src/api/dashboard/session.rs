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

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, header};

use crate::store::{ApiKey, random_hex};

/// How long one stays logged in.
const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Sessions at a time; of more the oldest ends.
const SESSIONS_MAX: usize = 1024;

/// Sessions of one key at a time, so that nobody's logins end those of others.
const SESSIONS_OF_KEY_MAX: usize = 32;

/// The cookie; over TLS with a prefix by which a browser takes it from this very host
/// alone.
const COOKIE: &str = "didtail_session";
/// As [`COOKIE`].
const COOKIE_TLS: &str = "__Host-didtail_session";

/// The sessions, by the hashes of their tokens.
#[derive(Debug)]
pub(crate) struct Sessions(Mutex<BTreeMap<String, Session>>);

#[derive(Clone, Debug)]
struct Session {
    /// The hash of the key that it stands for.
    key: String,
    until: Instant,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Begins a session of who has the key of this hash; its token. `None` where the
    /// system has no random bytes.
    pub(super) fn begin(&self, key: String, now: Instant) -> Option<String> {
        let token = random_hex()?;
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.until > now);
        let of_key = |session: &Session| session.key == key;
        if sessions.values().filter(|session| of_key(session)).count() >= SESSIONS_OF_KEY_MAX {
            end_oldest(&mut sessions, of_key);
        } else if sessions.len() >= SESSIONS_MAX {
            end_oldest(&mut sessions, |_| true);
        }
        let until = now + LASTS;
        sessions.insert(ApiKey::hash_of(&token), Session { key, until });
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the oldest of some sessions.
fn end_oldest(sessions: &mut BTreeMap<String, Session>, of: impl Fn(&Session) -> bool) {
    let of = sessions.iter().filter(|(_, session)| of(session));
    let oldest = of.min_by_key(|(_, session)| session.until);
    if let Some(token) = oldest.map(|(token, _)| token.clone()) {
        sessions.remove(&token);
    }
}

/// The token in the cookies of a request. Over TLS only the cookie counts that nobody
/// but this very host can have set.
pub(super) fn token(headers: &HeaderMap, is_tls: bool) -> Option<&str> {
    let wanted = if is_tls { COOKIE_TLS } else { COOKIE };
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(name, _)| *name == wanted);
    found.map(|(_, value)| value)
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
    if headers.get_all("origin").iter().count() > 1 {
        return false;
    }
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
        assert_eq!(token.len(), 64);
        assert_eq!(sessions.key(&token, now).as_deref(), Some("hash"));
        assert_eq!(sessions.key("something", now), None);
        assert_eq!(sessions.key(&token, now + LASTS), None);
        sessions.end(&other);
        assert_eq!(sessions.key(&other, now), None);
    }

    #[test]
    fn logins_with_one_key_end_no_session_of_another() {
        let sessions = Sessions::new();
        let now = Instant::now();
        let begin = |key: &str, after: u64| {
            let begun = sessions.begin(key.to_owned(), now + Duration::from_secs(after));
            begun.expect("random")
        };
        let (other, first) = (begin("other", 0), begin("key", 1));
        let rest: Vec<String> = (2..=u64::try_from(SESSIONS_OF_KEY_MAX).expect("few") + 1)
            .map(|after| begin("key", after))
            .collect();
        assert_eq!(sessions.key(&other, now).as_deref(), Some("other"));
        assert_eq!(sessions.key(&first, now), None, "the oldest of the key");
        assert!(rest.iter().all(|token| sessions.key(token, now).is_some()));
    }

    #[test]
    fn the_token_is_found_among_cookies() {
        let both = "a=b; didtail_session=t; __Host-didtail_session=s";
        for (given, is_tls, found) in [
            (both, false, Some("t")),
            (both, true, Some("s")),
            ("didtail_session=t", true, None),
            ("xdidtail_session=t", false, None),
            ("", false, None),
        ] {
            let headers = headers(&[("cookie", given)]);
            assert_eq!(token(&headers, is_tls), found, "{given}");
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

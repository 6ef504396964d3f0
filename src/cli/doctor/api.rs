//! What `[api]` asks for: an address that can be listened on, and a certificate that
//! clients take.

use std::io::ErrorKind;
use std::net::TcpListener;

use crate::api::ApiError;
use crate::config::{ApiConfig, Config, Identity};
use crate::source::{Finding, Outcome};
use crate::state::StateFile;

/// Looks at both; nothing where `[api]` names no address. `now` is in seconds since 1970
/// (UTC).
pub(super) fn findings(config: &Config, now: i64) -> Vec<Finding> {
    let Some(api) = &config.api else {
        return Vec::new();
    };
    let is_running = StateFile::holder(&config.state.path).is_some();
    let mut findings = vec![address(api, is_running)];
    findings.extend(api.tls.as_ref().map(|identity| certificate(identity, now)));
    findings
}

/// Listens for a moment. A daemon that runs has the address already.
fn address(api: &ApiConfig, is_running: bool) -> Finding {
    let listen = api.listen;
    let finding = |outcome, actual: String| {
        Finding::of(
            "api",
            outcome,
            "an address that can be listened on",
            &actual,
        )
    };
    match TcpListener::bind(listen) {
        Ok(_) => finding(Outcome::Good, format!("{listen} can be listened on")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_running => {
            let actual = format!("{listen} is in use, as it is while the daemon runs");
            finding(Outcome::Good, actual)
        }
        Err(error) => {
            let actual = format!("{listen}: {error}");
            let fix = ApiError::Listen { listen, error }.hint();
            Finding {
                fix: Some(fix),
                ..finding(Outcome::Bad, actual)
            }
        }
    }
}

/// What clients will say of the certificate. The daemon runs with any.
fn certificate(identity: &Identity, now: i64) -> Finding {
    let path = identity.cert.display();
    let finding = |outcome, actual: &str| {
        Finding::of("api certificate", outcome, "one that clients take", actual)
    };
    let certified = match identity.read() {
        Ok(certified) => certified,
        // It could be read a moment ago, when the configuration was.
        Err(error) => return finding(Outcome::Bad, &error.to_string()),
    };
    match (certified.trouble(now), certified.lasts) {
        (None, Some((_, ends))) => {
            let days = (ends - now) / 86_400;
            finding(Outcome::Good, &format!("{path} holds for {days} more days"))
        }
        (None, None) => {
            let actual = format!("how long {path} holds cannot be read");
            finding(Outcome::Unknown, &actual)
        }
        (Some(trouble), _) => Finding {
            fix: Some("renew it, then: systemctl reload didtail".to_owned()),
            ..finding(Outcome::Note, &format!("{path} {trouble}"))
        },
    }
}

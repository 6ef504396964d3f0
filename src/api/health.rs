//! `/healthz` and `/readyz`: is the daemon well, and why not.
//!
//! # What is said when
//!
//! | condition | of a source | `/healthz` | `/readyz` |
//! |---|---|---|---|
//! | `running` | its binlog is followed and the store takes it | 200 | 200 |
//! | `incomplete` | likewise, and something is missing in the numbers; it stays missing | 200 | 200 |
//! | `standby` | another daemon has the lease; this one takes over | 200 | 200 |
//! | `stopped` | it is not followed: starting, lost, refused, or the store is away | 503 | 503 |
//!
//! The daemon is as its worst source. A store that is away stops every source that
//! this daemon follows or wants to: the stream waits for it. `/readyz` also asks for
//! the store where this daemon only stands by.
//!
//! `didtail serve` follows nothing. There `standby` says that a daemon has the lease of
//! the source, and `stopped` that none has it: a lease that ran out is nobody's. Whether
//! the binlog is read behind a lease is for that daemon to say. `/readyz` asks for the
//! store alone: what is posted while nobody follows the source is kept for who will.
//!
//! A 503 is for whoever watches, and no reason to restart the daemon: it tries again
//! by itself, and a restart mends neither a source nor a store.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::json;
use crate::engine::{Phase, SourceVitals, Vitals};

/// How a source, or the daemon, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Every change so far is in the numbers, or on its way.
    Running,
    /// Another daemon has the lease.
    Standby,
    /// It goes on, and something is missing in the numbers.
    Incomplete,
    /// It is not followed.
    Stopped,
}

impl Condition {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [
        Self::Running,
        Self::Standby,
        Self::Incomplete,
        Self::Stopped,
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Standby => "standby",
            Self::Incomplete => "incomplete",
            Self::Stopped => "stopped",
        }
    }
}

/// What `/healthz` says.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// That of the worst source.
    pub health: Condition,
    /// Whether the daemon does what it is there for.
    pub ready: bool,
    /// Version of didtail.
    pub version: &'static str,
    /// Seconds since the daemon was started.
    pub uptime_seconds: u64,
    /// Why the store cannot be used, while it cannot.
    pub store_error: Option<String>,
    /// Each source.
    pub sources: Vec<SourceReport>,
}

/// What it says of a source.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SourceReport {
    /// Its name.
    pub source: String,
    /// How it is.
    pub health: Condition,
    /// Why it is not `running`.
    pub reasons: Vec<String>,
    /// Whether its binlog is being sent.
    pub connected: bool,
    /// Whether everything is in the store and nothing more comes.
    pub idle: bool,
    /// Seconds that the numbers are behind.
    pub lag_seconds: Option<i64>,
    /// Whether this daemon may write it.
    pub lease_held: bool,
}

impl Report {
    /// Judges a daemon.
    #[must_use]
    pub fn of(vitals: &Vitals) -> Self {
        let store_error = vitals.store_failure();
        let sources: Vec<SourceReport> = vitals
            .sources()
            .iter()
            .map(|source| SourceReport::of(source, store_error.as_deref()))
            .collect();
        let worst = sources.iter().map(|source| source.health).max();
        let has_store = store_error.is_none() && vitals.has_opened();
        let health = match worst {
            _ if vitals.only_serves() && !has_store => Condition::Stopped,
            None if vitals.only_serves() => Condition::Standby,
            worst => worst.unwrap_or(Condition::Stopped),
        };
        let ready = match vitals.only_serves() {
            true => has_store,
            false => health != Condition::Stopped && store_error.is_none(),
        };
        Self {
            health,
            ready,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: vitals.started.elapsed().as_secs(),
            store_error,
            sources,
        }
    }
}

impl SourceReport {
    /// Judges a source; `store_error`: why the store cannot be used.
    #[must_use]
    pub fn of(source: &SourceVitals, store_error: Option<&str>) -> Self {
        let (phase, why) = source.phase();
        let missing = source.counts().missing.phrases();
        let because = |otherwise: &str| vec![why.clone().unwrap_or_else(|| otherwise.to_owned())];
        let (health, mut reasons) = match phase {
            Phase::Standby => (Condition::Standby, because("another daemon has the lease")),
            Phase::Starting => (
                Condition::Stopped,
                because("starting: the source is not followed yet"),
            ),
            Phase::Lost => (
                Condition::Stopped,
                because("the source was lost; connecting again"),
            ),
            Phase::Stopped => (Condition::Stopped, because("stopped")),
            Phase::Following if missing.is_empty() => (Condition::Running, Vec::new()),
            Phase::Following => (Condition::Incomplete, missing),
        };
        // Whoever stands by needs the store only to take over.
        let needs_store = phase != Phase::Standby;
        let health = match store_error.filter(|_| needs_store) {
            Some(error) => {
                reasons.insert(0, format!("the store cannot be used: {error}"));
                Condition::Stopped
            }
            None => health,
        };
        Self {
            source: source.name().to_owned(),
            health,
            reasons,
            connected: source.connected(),
            idle: source.is_idle(),
            lag_seconds: source.lag_seconds(),
            lease_held: source.lease_held(),
        }
    }
}

/// `GET /healthz`.
pub(super) async fn health(State(vitals): State<Arc<Vitals>>) -> Response {
    let report = Report::of(&vitals);
    json(status(report.health != Condition::Stopped), &report)
}

/// `GET /readyz`.
pub(super) async fn ready(State(vitals): State<Arc<Vitals>>) -> Response {
    let report = Report::of(&vitals);
    json(status(report.ready), &report)
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

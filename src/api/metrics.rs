//! `/metrics`: every metric with its name, its help and its labels, in one place.
//!
//! Labels are the source's name and words of closed lists; never a number that was
//! dialled, nor one that was dialled from. So the count of series is bounded by that
//! of the sources. What is not known yet has no series, rather than a 0; of `didtail
//! serve` there is what it knows of the store and of who follows each source.
//!
//! The text is OpenMetrics 1.0, which Prometheus 2.5 and everything newer reads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::health::{Condition, SourceReport};
use super::{Api, Tls};
use crate::engine::{Counts, Outlook, SourceVitals, Vitals};
use crate::ledger::Attribution;
use crate::vicidial::Table;

/// What the format calls itself.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label of the source's name.
const SOURCE: &str = "source";
/// Label of one of [`Table::ALL`].
const TABLE: &str = "table";
/// Label of one of [`Condition::ALL`].
const CONDITION: &str = "condition";
/// Label of one of [`MISSING_KINDS`].
const KIND: &str = "kind";
/// Label of one of [`Attribution::ALL`].
const ATTRIBUTION: &str = "attribution";

/// What can be missing, in the order of [`missing`].
const MISSING_KINDS: [&str; 5] = [
    "statements",
    "unknown_events",
    "quarantined",
    "incidents",
    "skipped",
];

/// A metric. A counter's name is printed with `_total` behind it.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $help:literal)*) => {
        $(const $constant: Metric = Metric {
            name: $name,
            help: $help,
            kind: MetricType::$kind,
        };)*
        /// The names of all metrics; those of counters without `_total`.
        pub const NAMES: &[&str] = &[$($name),*];
    };
}

metrics! {
    BUILD Gauge "didtail_build_info"
        "Version of didtail; always 1"
    STARTED Gauge "didtail_start_time_seconds"
        "When the daemon was started, in seconds since 1970"
    STORE_UP Gauge "didtail_store_up"
        "1 while the store takes commits, 0 since it failed"
    STORE_ERRORS Counter "didtail_store_errors"
        "Failures of the store; each was tried again"
    CERTIFICATE_ENDS Gauge "didtail_api_certificate_expiry_timestamp_seconds"
        "When the certificate of [api] tls_cert ends, in seconds since 1970; absent without one"
    POSTS_WAITING Gauge "didtail_posted_results_waiting"
        "Results that were posted over HTTP and are not in the numbers yet, of all sources"
    HEALTH Gauge "didtail_health"
        "1 for the condition that the source is in, 0 for the others"
    CONNECTED Gauge "didtail_source_connected"
        "1 while the source sends its binlog"
    LEASE Gauge "didtail_lease_held"
        "1 while this daemon is the one that may write the source"
    IDLE Gauge "didtail_idle"
        "1 while everything that the source has sent is in the store and nothing more comes"
    LAG Gauge "didtail_lag_seconds"
        "How far the numbers are behind the source; 0 while idle"
    BEHIND Gauge "didtail_behind_bytes"
        "Bytes of binlog between the position and the source's end, looked up once a minute; 0 while idle"
    EVENT_AGE Gauge "didtail_last_event_age_seconds"
        "Time since the source sent an event; large where nobody calls"
    HEARTBEAT_AGE Gauge "didtail_last_heartbeat_age_seconds"
        "Time since the source sent a heartbeat, which it does only between events"
    COMMIT_AGE Gauge "didtail_checkpoint_age_seconds"
        "Time since the position was last committed; grows where the source has no events"
    PURGE Gauge "didtail_position_purge_seconds"
        "Time until the source may delete the binlog that is needed next; absent where it never does by itself"
    EVENTS Counter "didtail_events"
        "Events of every kind, up to the committed position"
    TABLE_EVENTS Counter "didtail_table_events"
        "Events with rows of a watched table"
    TABLE_ROWS Counter "didtail_table_rows"
        "Changed rows of a watched table in the binlog"
    CHANGES Counter "didtail_changes"
        "Changes of calls, dials and statuses that were applied"
    RESULTS Counter "didtail_results"
        "Dispositions that were applied"
    REREAD_CHANGES Counter "didtail_reread_changes"
        "Statements and partial rows in the binlog, whose rows were read again by SELECT"
    REREAD_ROWS Counter "didtail_reread_rows"
        "Rows that were read again by SELECT"
    REREAD_WINDOWS Counter "didtail_reread_windows"
        "Statements that do not name their rows, so that those of a time were read again"
    MISSING Counter "didtail_missing"
        "What was seen and is not in the numbers since the source is followed, also before a restart"
    SET_ASIDE Gauge "didtail_quarantined_rows"
        "Rows that are quarantined now because they could not be understood, looked up once a minute"
    DISCONNECTS Counter "didtail_disconnects"
        "Connections to the source that broke"
    CONNECT_FAILURES Counter "didtail_connect_failures"
        "Connections to the source that could not be made again"
    BATCH_SECONDS Histogram "didtail_batch_duration_seconds"
        "From the moment that a batch of changes was read until it was committed"
    COMMIT_SECONDS Histogram "didtail_commit_duration_seconds"
        "How long the store took for a commit that went well"
    BATCH_CHANGES Histogram "didtail_batch_changes"
        "Changes in a batch"
    RECENT Gauge "didtail_recent_calls"
        "Counted calls that began in the last 24 hours, by how their DIDs are known, counted every 5 minutes"
    UNATTRIBUTED Gauge "didtail_unattributed_ratio"
        "Share of those calls whose DID is not known, 0 to 1"
}

/// `GET /metrics`.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    match exposition(&api.vitals, api.tls.as_ref().and_then(Tls::ends)) {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What `/metrics` prints; `certificate_ends` in seconds since 1970 (UTC), where there is one.
///
/// # Errors
/// [`fmt::Error`] of the encoder, which writes into memory.
pub fn exposition(
    vitals: &Arc<Vitals>,
    certificate_ends: Option<i64>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition {
        vitals: Arc::clone(vitals),
        certificate_ends,
    }));
    let mut printed = String::new();
    text::encode(&mut printed, &registry)?;
    Ok(printed)
}

#[derive(Debug)]
struct Exposition {
    vitals: Arc<Vitals>,
    certificate_ends: Option<i64>,
}

/// A source as it is at the moment of asking.
struct Look<'a> {
    vitals: &'a SourceVitals,
    counts: Counts,
    outlook: Outlook,
    health: Condition,
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let store_error = self.vitals.store_failure();
        let looks: Vec<Look<'_>> = (self.vitals.sources().iter())
            .map(|source| Look {
                vitals: source,
                counts: source.counts(),
                outlook: source.outlook(),
                health: SourceReport::of(source, store_error.as_deref()).health,
            })
            .collect();
        let mut printer = Printer { encoder, looks };
        printer.daemon(&self.vitals, store_error.is_none())?;
        printer.certificate(self.certificate_ends)?;
        printer.health()?;
        if self.vitals.only_serves() {
            // All else is known to who follows the sources.
            return Ok(());
        }
        printer.condition()?;
        printer.freshness()?;
        printer.counted()?;
        printer.times()?;
        printer.calls()
    }
}

struct Printer<'e, 'l> {
    encoder: DescriptorEncoder<'e>,
    looks: Vec<Look<'l>>,
}

impl Printer<'_, '_> {
    fn daemon(&mut self, vitals: &Vitals, store_up: bool) -> Result<(), fmt::Error> {
        let mut build = begin(&mut self.encoder, &BUILD)?;
        gauge(
            build.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?,
            1.0,
        )?;
        gauge(
            begin(&mut self.encoder, &STARTED)?,
            whole(vitals.started_at),
        )?;
        gauge(begin(&mut self.encoder, &STORE_UP)?, flag(store_up))?;
        counter(
            begin(&mut self.encoder, &STORE_ERRORS)?,
            vitals.store_errors(),
        )?;
        gauge(
            begin(&mut self.encoder, &POSTS_WAITING)?,
            many(vitals.posts_waiting()),
        )
    }

    fn certificate(&mut self, ends: Option<i64>) -> Result<(), fmt::Error> {
        let family = begin(&mut self.encoder, &CERTIFICATE_ENDS)?;
        match ends {
            Some(ends) => gauge(family, whole(ends)),
            None => Ok(()),
        }
    }

    fn health(&mut self) -> Result<(), fmt::Error> {
        let mut health = begin(&mut self.encoder, &HEALTH)?;
        for look in &self.looks {
            for condition in Condition::ALL {
                let labels = [
                    (SOURCE, look.vitals.name()),
                    (CONDITION, condition.as_str()),
                ];
                let is = flag(look.health == condition);
                gauge(health.encode_family(&labels)?, is)?;
            }
        }
        Ok(())
    }

    fn condition(&mut self) -> Result<(), fmt::Error> {
        self.gauges(&CONNECTED, |look| Some(flag(look.vitals.connected())))?;
        self.gauges(&LEASE, |look| Some(flag(look.vitals.lease_held())))?;
        self.gauges(&IDLE, |look| Some(flag(look.vitals.is_idle())))
    }

    fn freshness(&mut self) -> Result<(), fmt::Error> {
        self.gauges(&LAG, |look| look.vitals.lag_seconds().map(whole))?;
        self.gauges(&BEHIND, |look| {
            let is_idle = look.vitals.is_idle();
            let known = look.outlook.behind_bytes;
            if is_idle { Some(0.0) } else { known.map(many) }
        })?;
        let seconds = |age: Option<Duration>| age.map(|age| age.as_secs_f64());
        self.gauges(&EVENT_AGE, |look| seconds(look.vitals.event_age()))?;
        self.gauges(&HEARTBEAT_AGE, |look| seconds(look.vitals.heartbeat_age()))?;
        self.gauges(&COMMIT_AGE, |look| seconds(look.vitals.commit_age()))?;
        self.gauges(&PURGE, |look| {
            look.outlook.purge_seconds.filter(|left| left.is_finite())
        })
    }

    fn counted(&mut self) -> Result<(), fmt::Error> {
        self.counters(&EVENTS, |look| look.counts.events)?;
        for (metric, of) in [
            (&TABLE_EVENTS, (|both| both.0) as fn((u64, u64)) -> u64),
            (&TABLE_ROWS, |both| both.1),
        ] {
            let mut family = begin(&mut self.encoder, metric)?;
            for look in &self.looks {
                for (table, both) in Table::ALL.into_iter().zip(look.counts.tables) {
                    let labels = [(SOURCE, look.vitals.name()), (TABLE, table.name())];
                    counter(family.encode_family(&labels)?, of(both))?;
                }
            }
        }
        self.counters(&CHANGES, |look| look.counts.changes)?;
        self.counters(&RESULTS, |look| look.counts.results)?;
        self.counters(&REREAD_CHANGES, |look| look.counts.rereads.changes)?;
        self.counters(&REREAD_ROWS, |look| look.counts.rereads.rows)?;
        self.counters(&REREAD_WINDOWS, |look| look.counts.rereads.windows)?;
        let mut family = begin(&mut self.encoder, &MISSING)?;
        for look in &self.looks {
            for (kind, count) in MISSING_KINDS.into_iter().zip(missing(&look.counts)) {
                let labels = [(SOURCE, look.vitals.name()), (KIND, kind)];
                counter(family.encode_family(&labels)?, count)?;
            }
        }
        self.gauges(&SET_ASIDE, |look| look.outlook.set_aside.map(many))?;
        self.counters(&DISCONNECTS, |look| look.vitals.disconnects().0)?;
        self.counters(&CONNECT_FAILURES, |look| look.vitals.disconnects().1)
    }

    fn times(&mut self) -> Result<(), fmt::Error> {
        for (metric, of) in [
            (
                &BATCH_SECONDS,
                (|vitals| &vitals.batch_seconds) as fn(&SourceVitals) -> &_,
            ),
            (&COMMIT_SECONDS, |vitals| &vitals.commit_seconds),
            (&BATCH_CHANGES, |vitals| &vitals.batch_changes),
        ] {
            let mut family = begin(&mut self.encoder, metric)?;
            for look in &self.looks {
                let labels = [(SOURCE, look.vitals.name())];
                of(look.vitals).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn calls(&mut self) -> Result<(), fmt::Error> {
        let mut family = begin(&mut self.encoder, &RECENT)?;
        for look in &self.looks {
            let Some(recent) = &look.outlook.recent else {
                continue;
            };
            for way in Attribution::ALL {
                let labels = [(SOURCE, look.vitals.name()), (ATTRIBUTION, way.as_str())];
                gauge(family.encode_family(&labels)?, whole(recent.by(way)))?;
            }
        }
        self.gauges(&UNATTRIBUTED, |look| {
            let recent = look.outlook.recent.as_ref()?;
            let calls = recent.calls();
            (calls > 0).then(|| whole(recent.by(Attribution::None)) / whole(calls))
        })
    }

    /// A gauge of each source; of those that have a value.
    fn gauges(
        &mut self,
        metric: &Metric,
        of: impl Fn(&Look<'_>) -> Option<f64>,
    ) -> Result<(), fmt::Error> {
        let mut family = begin(&mut self.encoder, metric)?;
        for look in &self.looks {
            if let Some(value) = of(look) {
                gauge(
                    family.encode_family(&[(SOURCE, look.vitals.name())])?,
                    value,
                )?;
            }
        }
        Ok(())
    }

    /// A counter of each source.
    fn counters(
        &mut self,
        metric: &Metric,
        of: impl Fn(&Look<'_>) -> u64,
    ) -> Result<(), fmt::Error> {
        let mut family = begin(&mut self.encoder, metric)?;
        for look in &self.looks {
            let labels = [(SOURCE, look.vitals.name())];
            counter(family.encode_family(&labels)?, of(look))?;
        }
        Ok(())
    }
}

fn begin<'s>(
    encoder: &'s mut DescriptorEncoder<'_>,
    metric: &Metric,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)
}

fn gauge(encoder: MetricEncoder<'_>, value: f64) -> Result<(), fmt::Error> {
    ConstGauge::new(value).encode(encoder)
}

fn counter(encoder: MetricEncoder<'_>, value: u64) -> Result<(), fmt::Error> {
    ConstCounter::new(value).encode(encoder)
}

fn missing(counts: &Counts) -> [u64; MISSING_KINDS.len()] {
    let missing = counts.missing;
    [
        missing.statements,
        missing.unrecognised,
        missing.quarantined,
        missing.incidents,
        missing.skipped,
    ]
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[expect(clippy::cast_precision_loss, reason = "seconds and calls, in a gauge")]
fn whole(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "bytes and rows, in a gauge")]
fn many(number: u64) -> f64 {
    number as f64
}

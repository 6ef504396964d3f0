//! A daemon that is told a wrong time zone reads every wall clock wrongly, and would
//! say nothing: it compares the clocks of the newest calls when it starts.

use crate::config::{SourceConfig, SourceTimeZone};
use crate::source::{MySqlSource, Outcome, check_clock};
use crate::telemetry::field;
use crate::vicidial::Zone;

/// Warns where the wall clocks of the newest calls are not what their epochs say, as
/// `didtail doctor` does.
pub(super) async fn warn(source: &MySqlSource, config: &SourceConfig) {
    let zone = match &config.time_zone {
        SourceTimeZone::Named(name) => Zone::named(name),
        SourceTimeZone::Auto => None,
    };
    for finding in check_clock(source, zone).await {
        let is_off = matches!(finding.outcome, Outcome::Bad | Outcome::Note);
        if finding.check != "clock" || !is_off {
            continue;
        }
        tracing::warn!(
            { field::SOURCE } = config.name,
            wanted = finding.expected,
            actual = finding.actual,
            { field::HINT } = finding.fix.unwrap_or_default(),
            "the clocks of the newest calls are not those of the time zone; dials may count on wrong days"
        );
    }
}

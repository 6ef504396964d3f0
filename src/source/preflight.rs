//! Is this source set up to be followed? Every answer at once.
//!
//! Settings are read, and privileges are tried rather than deduced: between
//! MySQL and the versions of MariaDB the same privilege has three names. A
//! check that could not be made says so; it does not count as passed.

mod access;
mod attribution;
mod clock;
mod grants;
mod hidden;
mod replica;
mod resume;
mod retention;
mod sessions;
mod settings;
mod success;
mod tables;

pub use access::{archive_of, state_of, unreadable};
pub use retention::{Distance, distance};

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use super::{MySqlSource, SourceError};
use crate::checkpoint::Checkpoint;
use crate::vicidial::{Table, Zone};

/// Time for one check. `doctor` must end even where a server hangs.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at, e.g. `binlog_format`.
    pub check: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What didtail needs.
    pub expected: String,
    /// What is there.
    pub actual: String,
    /// The exact command or setting that mends it.
    pub fix: Option<String>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As needed.
    Good,
    /// didtail cannot run like this.
    Bad,
    /// Could not be told; not the same as good.
    Unknown,
    /// Worth knowing; didtail runs.
    Note,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
            Self::Note => "note",
        })
    }
}

impl Finding {
    fn new(check: &'static str, outcome: Outcome, expected: &str, actual: &str) -> Self {
        Self {
            check,
            outcome,
            expected: expected.to_owned(),
            actual: actual.to_owned(),
            fix: None,
        }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// A check that this library does not make.
    #[must_use]
    pub fn of(check: &'static str, outcome: Outcome, expected: &str, actual: &str) -> Self {
        Self::new(check, outcome, expected, actual)
    }

    /// The one finding there is when no connection can be made.
    #[must_use]
    pub fn unreachable(error: &SourceError) -> Self {
        let finding = Self::new("reachable", Outcome::Bad, "a login", &error.to_string());
        Self {
            fix: error.hint(),
            ..finding
        }
    }

    /// A check that ended in an error which says nothing about its subject.
    fn unknown(check: &'static str, expected: &str, error: &SourceError) -> Self {
        Self::new(check, Outcome::Unknown, expected, &error.to_string())
    }
}

/// Makes every check. `resume` is where the daemon would go on.
pub async fn preflight(source: &MySqlSource, resume: Option<&Checkpoint>) -> Vec<Finding> {
    let mut findings = settings::version(source);
    findings.extend(within("binlog settings", settings::binlog(source)).await);
    findings.extend(within("binlog filters", settings::filters(source)).await);
    findings.extend(within("replica", replica::replica(source)).await);
    findings.extend(within("replication privilege", grants::replication(source)).await);
    findings.extend(within("unseen writers", hidden::hidden(source)).await);
    let reads_again = settings::reads_again(source).await;
    for table in Table::ALL {
        findings.extend(within(table.name(), tables::table(source, table, reads_again)).await);
    }
    if let Some(checkpoint) = resume {
        findings.extend(within("resume position", resume::resume(source, checkpoint)).await);
    }
    findings
}

/// Looks at what lies behind the settings: traces of sessions, the newest
/// calls, the time that is left. Takes longer than [`preflight`], and only what
/// is said of `server_id` could keep didtail from running.
pub async fn outlook(source: &MySqlSource, resume: Option<&Checkpoint>) -> Vec<Finding> {
    let mut findings = within("server_id", replica::server_id(source)).await;
    if let Some(checkpoint) = resume {
        let left = retention::left(source, &checkpoint.position);
        findings.extend(within("time to resume", left).await);
    }
    findings.extend(within("archive tables", access::archives(source)).await);
    let sessions = within("sessions", sessions::sessions(source)).await;
    let writes_statements = sessions.iter().any(|one| one.outcome == Outcome::Note);
    findings.extend(sessions);
    if writes_statements {
        let hidden = hidden::hidden_by_sessions(source);
        findings.extend(within("unseen writers", hidden).await);
    }
    findings.extend(within("attribution", attribution::attribution(source)).await);
    findings
}

/// Compares VICIdial's wall clocks with its epochs, in the configured zone or,
/// without one, in the source's. Nothing that it finds keeps didtail from running.
pub async fn check_clock(source: &MySqlSource, configured: Option<Zone>) -> Vec<Finding> {
    within("clock", clock::clock(source, configured)).await
}

/// Looks for statuses, in upper case, among those that VICIdial has. Nothing that it finds
/// keeps didtail from running.
pub async fn check_success(source: &MySqlSource, statuses: &BTreeSet<String>) -> Vec<Finding> {
    within("success", success::success(source, statuses)).await
}

/// The findings, when none of them is bad.
///
/// # Errors
/// [`SourceError::Unfit`] with all of them, when one is.
pub fn verdict(findings: Vec<Finding>) -> Result<Vec<Finding>, SourceError> {
    if findings.iter().any(|f| f.outcome == Outcome::Bad) {
        Err(SourceError::Unfit(findings))
    } else {
        Ok(findings)
    }
}

/// Waits for a check, but not for ever.
pub async fn within(
    check: &'static str,
    findings: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    match timeout(CHECK_TIMEOUT, findings).await {
        Ok(findings) => findings,
        Err(_) => {
            let actual = format!("no answer within {} s", CHECK_TIMEOUT.as_secs());
            vec![Finding::new(check, Outcome::Unknown, "an answer", &actual)]
        }
    }
}

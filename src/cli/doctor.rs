//! `didtail doctor`: everything that must hold for `didtail run`, checked at once.

use clap::Args;

use super::failure::{Exit, Failure};
use super::{Options, output, runtime};
use crate::checkpoint::{Checkpoint, Resume, resume};
use crate::config::{Config, SourceTimeZone};
use crate::source::{Finding, MySqlSource, Outcome, check_clock, preflight, standing};
use crate::state::{StateError, StateFile};
use crate::store::{SqliteStore, Store as _, StoreError};
use crate::vicidial::Zone;

/// Check everything that `didtail run` needs, and say how to mend what is wrong
///
/// Looks at the source, its settings, grants, tables and clocks, at the store, the
/// state file and the place to resume at. Changes nothing. Exits with 0 only
/// when the daemon would run.
///
/// Examples:
///   didtail doctor
///   didtail doctor --source-url mysql://didtail@vicidial-db/asterisk --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

pub(super) fn run(options: &Options, _arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    let findings = runtime()?.block_on(findings(&config));
    let bad = findings
        .iter()
        .filter(|finding| finding.outcome == Outcome::Bad)
        .count();
    if options.json {
        output::print_json(&serde_json::json!({ "findings": json(&findings) }))?;
    } else {
        let ready = if bad == 0 { READY } else { "" };
        output::print(&format!("{}{ready}", text(&findings)))?;
    }
    if bad == 0 {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::Operator,
        error: anyhow::anyhow!("{bad} of {} checks failed", findings.len()),
        hint: Some("mend what is BAD, from the top, then run `didtail doctor` again".to_owned()),
    })
}

const READY: &str = "Everything that `didtail run` needs is there.\n";

async fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &config.sources {
        let local = state(config, &source.name, &mut findings);
        let stored = store(config, &source.name, &mut findings).await;
        let known = match resume(local.as_ref(), stored.as_ref()) {
            Resume::Fresh => None,
            Resume::Store(known)
            | Resume::StoreRestored(known)
            | Resume::StoreAlone(known)
            | Resume::StateAlone(known)
            | Resume::Reset(known) => Some(known),
        };
        match MySqlSource::connect(&source.connect_settings(&config.state)).await {
            Ok(connection) => {
                let mut known = known;
                if let Some(checkpoint) = &mut known {
                    let (server, file_begun) = followed(config, &source.name);
                    let (finding, there) =
                        standing(&connection, server.as_deref(), file_begun, checkpoint).await;
                    findings.push(finding);
                    *checkpoint = there;
                }
                findings.extend(preflight(&connection, known.as_ref()).await);
                let zone = match &source.time_zone {
                    SourceTimeZone::Named(name) => Zone::named(name),
                    SourceTimeZone::Auto => None,
                };
                findings.extend(check_clock(&connection, zone).await);
            }
            Err(error) => findings.push(Finding::unreachable(&error)),
        }
    }
    findings
}

/// The server that was followed last, and when its file at the position was
/// begun; what cannot be read is told by another check.
fn followed(config: &Config, source: &str) -> (Option<String>, Option<i64>) {
    let Ok(state) = StateFile::open(&config.state.path) else {
        return (None, None);
    };
    let record = state.source(source).ok().flatten();
    let server = record.and_then(|record| record.identity);
    (server, state.file_begun(source).ok().flatten())
}

fn state(config: &Config, source: &str, findings: &mut Vec<Finding>) -> Option<Checkpoint> {
    let read = StateFile::open(&config.state.path).and_then(|state| state.checkpoint(source));
    let path = config.state.path.display();
    let (outcome, actual, fix) = match &read {
        Ok(Some(checkpoint)) => (
            Outcome::Good,
            format!("{path}: {}", checkpoint.position),
            None,
        ),
        Ok(None) => (Outcome::Good, format!("{path}: no position yet"), None),
        Err(StateError::Missing { .. }) => (
            Outcome::Good,
            format!("{path}: will be created at the first start"),
            None,
        ),
        Err(error) => (Outcome::Bad, error.to_string(), error.hint()),
    };
    findings.push(Finding {
        check: "state file",
        outcome,
        expected: "readable, of this version".to_owned(),
        actual,
        fix,
    });
    read.ok().flatten()
}

async fn store(config: &Config, source: &str, findings: &mut Vec<Finding>) -> Option<Checkpoint> {
    let url = config.store.url.to_string();
    let read = async { SqliteStore::open_read(&url).await?.progress(source).await };
    let read: Result<Option<Checkpoint>, StoreError> = read.await;
    let (outcome, actual, fix) = match &read {
        Ok(Some(checkpoint)) => (
            Outcome::Good,
            format!("{url}: {}", checkpoint.position),
            None,
        ),
        Ok(None) => (Outcome::Good, format!("{url}: no position yet"), None),
        Err(StoreError::Missing { .. }) => (
            Outcome::Good,
            format!("{url}: will be created at the first start"),
            None,
        ),
        Err(error) => (Outcome::Bad, error.to_string(), error.hint()),
    };
    findings.push(Finding {
        check: "store",
        outcome,
        expected: "readable, of this version".to_owned(),
        actual,
        fix,
    });
    read.ok().flatten()
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Good => "good",
        Outcome::Bad => "BAD",
        Outcome::Unknown => "unknown",
        Outcome::Note => "note",
    }
}

/// A line for each check, and under those that are not good what to do. Nothing
/// is wrapped, so that a statement can be copied as it stands.
fn text(findings: &[Finding]) -> String {
    const INDENT: &str = "         ";
    let widest = findings.iter().map(|finding| finding.check.len()).max();
    let width = widest.unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let (check, actual) = (finding.check, &finding.actual);
        let line = format!("{:7}  {check:width$}  {actual}", word(finding.outcome));
        text.push_str(line.trim_end());
        if finding.outcome != Outcome::Good {
            text.push_str(&format!("\n{INDENT}expected: {}", finding.expected));
            if let Some(fix) = &finding.fix {
                text.push_str(&format!("\n{INDENT}to mend it: {fix}"));
            }
        }
        text.push('\n');
    }
    text
}

fn json(findings: &[Finding]) -> Vec<serde_json::Value> {
    findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "check": finding.check,
                "outcome": word(finding.outcome).to_lowercase(),
                "expected": finding.expected,
                "actual": finding.actual,
                "fix": finding.fix,
            })
        })
        .collect()
}

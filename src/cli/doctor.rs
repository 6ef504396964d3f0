//! `didtail doctor`: everything that must hold for `didtail run`, checked at once.

mod own;

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use super::failure::{Exit, Failure};
use super::{Options, output, runtime};
use crate::checkpoint::resume;
use crate::config::{Config, SourceConfig, SourceTimeZone};
use crate::source::{Finding, MySqlSource, Outcome, check_clock, outlook, preflight, standing};
use crate::store::SqlStore;
use crate::vicidial::Zone;

/// Time for each of didtail's own files.
const PATIENCE: Duration = Duration::from_secs(15);

/// Check everything that `didtail run` needs, and say how to mend what is wrong
///
/// Looks at the source, its settings, grants, tables and clocks, at the sessions
/// that write and the newest calls, at the store and this user's privileges there,
/// the state file, the place to resume at and who may read the passwords. Changes
/// nothing. Every check ends within 15 seconds.
///
/// What is found is one of
///   good      as needed
///   BAD       didtail cannot run like this; the line below mends it
///   unknown   could not be told, and why
///   note      didtail runs; worth knowing, with a way to better it
///
/// Exits with 0 only when nothing is BAD, that is when the daemon would run, and
/// with 1 otherwise.
///
/// Examples:
///   didtail doctor
///   didtail doctor --source-url mysql://didtail@vicidial-db/asterisk --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {}

pub(super) fn run(options: &Options, _arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    let runtime = runtime()?;
    let found = runtime.block_on(findings(&config));
    // A file system that hangs must not hold up the end.
    runtime.shutdown_background();
    let all = found
        .iter()
        .map(|(_, findings)| findings.len())
        .sum::<usize>();
    let findings = found.iter().flat_map(|(_, findings)| findings);
    let bad = findings
        .filter(|finding| finding.outcome == Outcome::Bad)
        .count();
    if options.json {
        output::print_json(&serde_json::json!({ "ready": bad == 0, "findings": json(&found) }))?;
    } else {
        let mut shown = String::new();
        for (source, findings) in &found {
            if config.sources.len() > 1 {
                let source = source.as_ref().map(|source| format!("source {source}\n"));
                shown.push_str(&source.unwrap_or_default());
            }
            shown.push_str(&text(findings));
        }
        let ready = if bad == 0 { READY } else { "" };
        output::print(&format!("{shown}{ready}"))?;
    }
    if bad == 0 {
        return Ok(());
    }
    Err(Failure {
        exit: Exit::Operator,
        error: anyhow::anyhow!("{bad} of {all} checks failed"),
        hint: Some("mend what is BAD, from the top, then run `didtail doctor` again".to_owned()),
    })
}

const READY: &str = "Everything that `didtail run` needs is there.\n";

/// What was found of one source, by its name, and of all of them together, without.
type Findings = Vec<(Option<String>, Vec<Finding>)>;

async fn findings(config: &Config) -> Findings {
    let (mut of_all, store) = match timeout(PATIENCE, own::store(config)).await {
        Ok((findings, store)) => (findings, store),
        Err(_) => (late("store").findings, None),
    };
    of_all.extend(own::password_files(config));
    let mut all = Vec::new();
    if config.sources.len() > 1 {
        all.push((None, std::mem::take(&mut of_all)));
    }
    for source in &config.sources {
        let of_all = std::mem::take(&mut of_all);
        let found = of_source(config, source, store.as_ref(), of_all).await;
        all.push((Some(source.name.clone()), found));
    }
    if let Some(store) = store {
        store.close().await;
    }
    all
}

/// `of_all` is what was found already, where there is no other source.
async fn of_source(
    config: &Config,
    source: &SourceConfig,
    store: Option<&SqlStore>,
    of_all: Vec<Finding>,
) -> Vec<Finding> {
    let (state, mut findings) = local(config, &source.name).await;
    findings.extend(of_all);
    let stored = match store {
        Some(store) => timeout(PATIENCE, own::stored(store, &source.name, now())).await,
        None => Ok(own::Own::default()),
    };
    let stored = match stored {
        Ok(stored) => stored,
        Err(_) => late("position in the store"),
    };
    findings.extend(stored.findings);
    let mut known = resume(state.checkpoint.as_ref(), stored.checkpoint.as_ref()).checkpoint();
    let connected = MySqlSource::connect(&source.connect_settings(&config.state)).await;
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) => {
            findings.push(Finding::unreachable(&error));
            return findings;
        }
    };
    if let Some(checkpoint) = known.clone() {
        let there = standing(&connection, &checkpoint);
        if let Ok((finding, there)) = timeout(PATIENCE, there).await {
            // Where to go on then is said there; of another binlog the position
            // says nothing.
            let is_bad = finding.outcome == Outcome::Bad;
            findings.push(finding);
            known = Some(there).filter(|_| !is_bad);
        } else {
            findings.extend(late("same server").findings);
        }
    }
    findings.extend(preflight(&connection, known.as_ref()).await);
    findings.extend(outlook(&connection, known.as_ref()).await);
    let zone = match &source.time_zone {
        SourceTimeZone::Named(name) => Zone::named(name),
        SourceTimeZone::Auto => None,
    };
    findings.extend(check_clock(&connection, zone).await);
    findings
}

/// What the state file says. It is read on a thread of its own: a file system
/// that hangs, hangs whoever reads it.
async fn local(config: &Config, source: &str) -> (own::Own, Vec<Finding>) {
    let (config, source) = (config.clone(), source.to_owned());
    let reading = tokio::task::spawn_blocking(move || own::state(&config, &source));
    let mut state = match timeout(PATIENCE, reading).await {
        Ok(Ok(state)) => state,
        Ok(Err(_)) | Err(_) => late("state file"),
    };
    let findings = std::mem::take(&mut state.findings);
    (state, findings)
}

fn late(check: &'static str) -> own::Own {
    let actual = format!("no answer within {} s", PATIENCE.as_secs());
    own::Own {
        findings: vec![Finding::of(check, Outcome::Unknown, "an answer", &actual)],
        ..own::Own::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "the last day ends now")]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
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

fn json(found: &Findings) -> Vec<serde_json::Value> {
    let each = found.iter().flat_map(|(source, findings)| {
        let of_source = findings.iter().map(move |finding| (source, finding));
        of_source.collect::<Vec<_>>()
    });
    each.map(|(source, finding)| {
        serde_json::json!({
            "source": source,
            "check": finding.check,
            "outcome": word(finding.outcome).to_lowercase(),
            "expected": finding.expected,
            "actual": finding.actual,
            "fix": finding.fix,
        })
    })
    .collect()
}

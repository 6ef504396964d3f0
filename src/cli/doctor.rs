//! `didtail doctor`: everything that must hold for `didtail run`, checked at once.

mod api;
mod own;

use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use tokio::time::timeout;

use super::failure::{Exit, Failure};
use super::{Options, output, runtime, time};
use crate::checkpoint::resume;
use crate::config::{Config, SourceConfig, SourceTimeZone, Success};
use crate::source::{
    Finding, MySqlSource, Outcome, check_clock, check_success, outlook, preflight, standing,
};
use crate::store::SqlStore;
use crate::vicidial::Zone;

/// Characters of the longest check's name: lines come one by one, below each other.
const CHECK_WIDTH: usize = 21;

/// Time between two pictures of what is waited for.
const TICK: Duration = Duration::from_millis(100);

/// Time for each of didtail's own files.
const PATIENCE: Duration = Duration::from_secs(15);

/// Check everything that `didtail run` needs, and say how to mend what is wrong
///
/// Looks at the source, its settings, grants, tables and clocks, at the sessions
/// that write and the newest calls, at the store and this user's privileges there,
/// the state file, the room on their disks, the place to resume at, who may read the
/// passwords, and the API's address and certificate. Changes nothing. Every check ends within 15 seconds, and is shown
/// when it is done.
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
    let mut found = Found::new(!options.json);
    found.gather(&config)?;
    let (all, bad) = (found.count(), found.bad());
    if options.json {
        let document = serde_json::json!({ "ready": bad == 0, "findings": found.json() });
        output::print_json(&document)?;
    } else if bad == 0 {
        output::print(READY)?;
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

/// All findings as text, for who looks at them later.
pub(super) fn report(config: &Config) -> std::io::Result<String> {
    let mut found = Found::new(false);
    found.gather(config)?;
    let ready = if found.bad() == 0 { READY } else { "" };
    Ok(format!("{}{ready}", found.text))
}

const READY: &str = "Everything that `didtail run` needs is there. Where it is installed as a service: \
                     sudo systemctl enable --now didtail\n";

/// What was found so far: shown at once, since a server may let one wait.
struct Found {
    /// With the source's name; without one, of all of them together.
    all: Vec<(Option<String>, Finding)>,
    text: String,
    shows: bool,
    /// Says on a terminal what is waited for.
    waiting: ProgressBar,
}

impl Found {
    fn new(shows: bool) -> Self {
        Self {
            all: Vec::new(),
            text: String::new(),
            shows,
            waiting: if shows {
                ProgressBar::new_spinner()
            } else {
                ProgressBar::hidden()
            },
        }
    }

    fn gather(&mut self, config: &Config) -> std::io::Result<()> {
        let runtime = runtime()?;
        let done = runtime.block_on(findings(config, self));
        self.waiting.finish_and_clear();
        // A file system that hangs must not hold up the end.
        runtime.shutdown_background();
        done
    }

    /// What is asked next; on a terminal it is seen until the answer comes.
    fn asking(&self, what: String) {
        self.waiting.set_message(what);
        self.waiting.enable_steady_tick(TICK);
    }

    fn heading(&mut self, text: &str) -> std::io::Result<()> {
        self.text.push_str(text);
        self.show(text)
    }

    fn add(&mut self, source: Option<&str>, findings: Vec<Finding>) -> std::io::Result<()> {
        let lines = text(&findings);
        self.text.push_str(&lines);
        let source = source.map(str::to_owned);
        let findings = findings.into_iter();
        self.all
            .extend(findings.map(|finding| (source.clone(), finding)));
        self.show(&lines)
    }

    fn show(&self, text: &str) -> std::io::Result<()> {
        if !self.shows {
            return Ok(());
        }
        self.waiting.suspend(|| output::print(text))
    }

    fn count(&self) -> usize {
        self.all.len()
    }

    fn bad(&self) -> usize {
        let bad = self.all.iter();
        let bad = bad.filter(|(_, finding)| finding.outcome == Outcome::Bad);
        bad.count()
    }

    fn json(&self) -> Vec<serde_json::Value> {
        let each = self.all.iter().map(|(source, finding)| {
            serde_json::json!({
                "source": source,
                "check": finding.check,
                "outcome": word(finding.outcome).to_lowercase(),
                "expected": finding.expected,
                "actual": finding.actual,
                "fix": finding.fix,
            })
        });
        each.collect()
    }
}

async fn findings(config: &Config, found: &mut Found) -> std::io::Result<()> {
    let only = match config.sources.as_slice() {
        [only] => Some(only.name.as_str()),
        _ => None,
    };
    found.asking(format!("the store {} …", config.store.url));
    let (of_all, store) = match timeout(PATIENCE, own::store(config)).await {
        Ok((findings, store)) => (findings, store),
        Err(_) => (late("store").findings, None),
    };
    found.add(only, of_all)?;
    found.add(only, own_disks(config).await)?;
    found.add(only, own::service(config))?;
    found.add(only, own::password_files(config))?;
    found.add(only, api::findings(config, time::now()))?;
    for source in &config.sources {
        if only.is_none() {
            found.heading(&format!("source {}\n", source.name))?;
        }
        of_source(config, source, store.as_ref(), found).await?;
    }
    if let Some(store) = store {
        store.close().await;
    }
    Ok(())
}

async fn of_source(
    config: &Config,
    source: &SourceConfig,
    store: Option<&SqlStore>,
    found: &mut Found,
) -> std::io::Result<()> {
    let name = Some(source.name.as_str());
    found.asking(format!("the state file {} …", config.state.path.display()));
    let (state, findings) = local(config, &source.name).await;
    found.add(name, findings)?;
    found.asking("the position in the store …".to_owned());
    let stored = match store {
        Some(store) => timeout(PATIENCE, own::stored(store, &source.name, time::now())).await,
        None => Ok(own::Own::default()),
    };
    let stored = match stored {
        Ok(stored) => stored,
        Err(_) => late("position in the store"),
    };
    found.add(name, stored.findings)?;
    let mut known = resume(state.checkpoint.as_ref(), stored.checkpoint.as_ref()).checkpoint();
    found.asking(format!("the database server {} …", source.url));
    let connected = MySqlSource::connect(&source.connect_settings(&config.state)).await;
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) => return found.add(name, vec![Finding::unreachable(&error)]),
    };
    if let Some(checkpoint) = known.clone() {
        let there = standing(&connection, &checkpoint);
        if let Ok((finding, there)) = timeout(PATIENCE, there).await {
            // Where to go on then is said there; of another binlog the position
            // says nothing.
            let is_bad = finding.outcome == Outcome::Bad;
            found.add(name, vec![finding])?;
            known = Some(there).filter(|_| !is_bad);
        } else {
            found.add(name, late("same server").findings)?;
        }
    }
    found.add(name, preflight(&connection, known.as_ref()).await)?;
    found.asking("the newest calls and what is ahead …".to_owned());
    found.add(name, outlook(&connection, known.as_ref()).await)?;
    if let Success::Set(statuses) = &config.dispositions.success {
        let statuses = statuses
            .iter()
            .map(|status| status.to_uppercase())
            .collect();
        found.add(name, check_success(&connection, &statuses).await)?;
    }
    let zone = match &source.time_zone {
        SourceTimeZone::Named(name) => Zone::named(name),
        SourceTimeZone::Auto => None,
    };
    found.asking("the clocks …".to_owned());
    found.add(name, check_clock(&connection, zone).await)
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

/// The room for didtail's own files, looked at as the state file is.
async fn own_disks(config: &Config) -> Vec<Finding> {
    let config = config.clone();
    let looking = tokio::task::spawn_blocking(move || own::disks(&config));
    match timeout(PATIENCE, looking).await {
        Ok(Ok(findings)) => findings,
        Ok(Err(_)) | Err(_) => late("disk").findings,
    }
}

fn late(check: &'static str) -> own::Own {
    let actual = format!("no answer within {} s", PATIENCE.as_secs());
    own::Own {
        findings: vec![Finding::of(check, Outcome::Unknown, "an answer", &actual)],
        ..own::Own::default()
    }
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
    let width = CHECK_WIDTH;
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

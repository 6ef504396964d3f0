//! What is didtail's own: the state file and the store, where they are or are
//! to be, and what the store says of the calls that it has.

use std::fs::OpenOptions;
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::ledger::Attribution;
use crate::source::{Finding, Outcome};
use crate::state::{StateError, StateFile};
use crate::store::{SqlStore, Store as _, StoreError};

/// Seconds of calls whose attribution is looked at: what VICIdial's own logs of
/// dials reach back for sure.
const DAY_SECONDS: i64 = 86_400;

/// Calls in a hundred that should have a DID.
const GOOD_PERCENT: i64 = 90;

/// What one of didtail's files says.
#[derive(Default)]
pub(super) struct Own {
    pub(super) findings: Vec<Finding>,
    pub(super) checkpoint: Option<Checkpoint>,
}

/// Looks at the state file.
pub(super) fn state(config: &Config, source: &str) -> Own {
    let path = &config.state.path;
    let shown = path.display();
    let mut own = Own::default();
    let read = StateFile::open(path).and_then(|state| state.checkpoint(source));
    let (outcome, actual, fix) = match &read {
        Ok(Some(checkpoint)) => {
            let actual = format!("{shown}: {}", checkpoint.position);
            there(path, actual)
        }
        Ok(None) => there(path, format!("{shown}: no position yet")),
        Err(StateError::Missing { .. }) => to_be(path),
        Err(error) => (Outcome::Bad, error.to_string(), error.hint()),
    };
    own.findings = vec![finding("state file", outcome, &actual, fix)];
    own.checkpoint = read.ok().flatten();
    own
}

/// Looks at the store. `now` is in seconds since 1970 (UTC).
pub(super) async fn store(config: &Config, source: &str, now: i64) -> Own {
    let (url, file) = (&config.store.url, config.store.url.file());
    let mut own = Own::default();
    let opened = SqlStore::open_read(&config.store.address()).await;
    let read = match &opened {
        Ok(store) => store.progress(source).await,
        Err(_) => Ok(None),
    };
    let open = |actual: String| match file {
        Some(path) => there(path, actual),
        None => (Outcome::Good, actual, None),
    };
    let (outcome, actual, fix) = match (&opened, &read) {
        (Ok(_), Ok(Some(checkpoint))) => {
            own.findings
                .extend(attributed(opened.as_ref().ok(), source, now).await);
            open(format!("{url}: {}", checkpoint.position))
        }
        (Ok(_), Ok(None)) => open(format!("{url}: no position yet")),
        (Err(error @ StoreError::Missing { .. }), _) => match file {
            Some(path) => to_be(path),
            None => (Outcome::Bad, error.to_string(), error.hint()),
        },
        (Err(error @ StoreError::OlderSchema { .. }), _) => {
            let actual = format!("{error}: the daemon upgrades it when it starts");
            (Outcome::Note, actual, error.hint())
        }
        (Err(error), _) | (_, Err(error)) => (Outcome::Bad, error.to_string(), error.hint()),
    };
    own.findings
        .insert(0, finding("store", outcome, &actual, fix));
    own.checkpoint = read.ok().flatten();
    if let Ok(store) = opened {
        store.close().await;
    }
    own
}

/// How the calls of the last day got their DIDs.
async fn attributed(store: Option<&SqlStore>, source: &str, now: i64) -> Option<Finding> {
    const EXPECTED: &str = "the calls of the last day have a DID";
    let counted = store?.attributed(source, Some(now - DAY_SECONDS)).await;
    let finding =
        |outcome, actual: &str| Finding::of("DIDs in the store", outcome, EXPECTED, actual);
    let counted = match counted {
        Ok(counted) => counted,
        Err(error) => return Some(finding(Outcome::Unknown, &error.to_string())),
    };
    let (calls, without) = (counted.calls(), counted.by(Attribution::None));
    if calls == 0 {
        return Some(finding(Outcome::Unknown, "no call in the last day"));
    }
    let share = (calls - without) * 100 / calls;
    let actual = format!(
        "{} of {calls} ({share} %): {} by caller code, {} by lead, {} reported",
        calls - without,
        counted.by(Attribution::CallerCode),
        counted.by(Attribution::Lead),
        counted.by(Attribution::Reported)
    );
    Some(if share >= GOOD_PERCENT {
        finding(Outcome::Good, &actual)
    } else {
        Finding {
            fix: Some(
                "see `attribution` below for what VICIdial has; calls from before the first start, \
                 or from a gap, may have lost their dials"
                    .to_owned(),
            ),
            ..finding(Outcome::Note, &actual)
        }
    })
}

fn finding(check: &'static str, outcome: Outcome, actual: &str, fix: Option<String>) -> Finding {
    Finding {
        fix,
        ..Finding::of(
            check,
            outcome,
            "readable, writable, of this version",
            actual,
        )
    }
}

type Verdict = (Outcome, String, Option<String>);

/// A file that is there must be one that this user may write.
fn there(path: &Path, actual: String) -> Verdict {
    match OpenOptions::new().append(true).open(path) {
        Ok(_) => (Outcome::Good, actual, None),
        Err(error) => (
            Outcome::Bad,
            format!("{} cannot be written: {error}", path.display()),
            Some(format!(
                "run this as the daemon's user (sudo -u didtail didtail doctor), or: chown didtail: {}",
                path.display()
            )),
        ),
    }
}

/// A file that is not there is made by the daemon, in a folder that must be.
fn to_be(path: &Path) -> Verdict {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if folder.is_dir() {
        let actual = format!("{}: will be created at the first start", path.display());
        return (Outcome::Good, actual, None);
    }
    (
        Outcome::Bad,
        format!("the folder {} is missing", folder.display()),
        Some(format!(
            "install -d -o didtail -g didtail -m 0750 {}",
            folder.display()
        )),
    )
}

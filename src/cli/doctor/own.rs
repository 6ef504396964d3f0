//! What is didtail's own: the state file and the store, where they are or are
//! to be, and what the store says of the calls that it has.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use rustix::process::geteuid;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::folder::{self, Room};
use crate::ledger::Attribution;
use crate::source::{Finding, Outcome};
use crate::state::{StateError, StateFile};
use crate::store::{Lacking, SqlStore, Store as _, StoreError, lacking_privileges};

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
        Err(error @ StateError::OlderVersion { .. }) => {
            let actual = format!("{error}: the daemon upgrades it when it starts");
            (Outcome::Note, actual, None)
        }
        Err(error) => (Outcome::Bad, error.to_string(), error.hint()),
    };
    own.findings = vec![finding("state file", outcome, &actual, fix)];
    own.checkpoint = read.ok().flatten();
    own
}

/// Looks at the store, which is all sources': is it there, of this version, and may
/// this user write it?
pub(super) async fn store(config: &Config) -> (Vec<Finding>, Option<SqlStore>) {
    let (url, file) = (&config.store.url, config.store.url.file());
    let address = config.store.address();
    let mut findings = Vec::new();
    let opened = SqlStore::open_read(&address).await;
    let good = |actual: String| match file {
        Some(path) => there(path, actual),
        None => (Outcome::Good, actual, None),
    };
    let is_asked = matches!(&opened, Ok(_) | Err(StoreError::OlderSchema { .. }));
    let (outcome, actual, fix) = match &opened {
        Ok(_) => good(url.to_string()),
        Err(StoreError::Missing { .. }) if let Some(path) = file => to_be(path),
        Err(error @ StoreError::OlderSchema { found: 0, .. }) => {
            let hint = error.hint().unwrap_or_default();
            good(format!("{url} has no tables yet: {hint}"))
        }
        Err(error @ StoreError::OlderSchema { .. }) => {
            let actual = format!("{error}: the daemon upgrades it when it starts");
            (Outcome::Note, actual, error.hint())
        }
        Err(error) => (Outcome::Bad, error_text(error), error.hint()),
    };
    findings.push(finding("store", outcome, &actual, fix));
    if is_asked && file.is_none() {
        findings.extend(privileges(&address).await);
    }
    (findings, opened.ok())
}

/// Whether the store's user may do what the daemon does there.
async fn privileges(address: &str) -> Vec<Finding> {
    const CHECK: &str = "store privileges";
    const EXPECTED: &str = "those that the daemon needs on the store";
    let lacking = match lacking_privileges(address).await {
        Ok(lacking) => lacking,
        Err(error) => {
            let found = Finding::of(CHECK, Outcome::Bad, EXPECTED, &error_text(&error));
            return vec![Finding {
                fix: error.hint(),
                ..found
            }];
        }
    };
    if lacking.is_empty() {
        let actual = "all that the daemon needs";
        return vec![Finding::of(CHECK, Outcome::Good, EXPECTED, actual)];
    }
    let finding = |one: Lacking| {
        let outcome = if one.is_needed {
            Outcome::Bad
        } else {
            Outcome::Note
        };
        Finding {
            fix: Some(one.fix),
            ..Finding::of(CHECK, outcome, EXPECTED, &one.what)
        }
    };
    lacking.into_iter().map(finding).collect()
}

fn error_text(error: &StoreError) -> String {
    match error.cause() {
        cause if cause.is_empty() => error.to_string(),
        cause => format!("{error}: {cause}"),
    }
}

/// What the store has of a source. `now` is in seconds since 1970 (UTC).
pub(super) async fn stored(store: &SqlStore, source: &str, now: i64) -> Own {
    const CHECK: &str = "position in the store";
    const EXPECTED: &str = "readable";
    let mut own = Own::default();
    match store.progress(source).await {
        Ok(Some(checkpoint)) => {
            let actual = checkpoint.position.to_string();
            own.findings
                .push(Finding::of(CHECK, Outcome::Good, EXPECTED, &actual));
            own.findings.extend(attributed(store, source, now).await);
            own.checkpoint = Some(checkpoint);
        }
        Ok(None) => own
            .findings
            .push(Finding::of(CHECK, Outcome::Good, EXPECTED, "none yet")),
        Err(error) => own.findings.push(Finding {
            fix: error.hint(),
            ..Finding::of(CHECK, Outcome::Bad, EXPECTED, &error_text(&error))
        }),
    }
    own
}

/// What the package's service sees otherwise than whoever asks here; nothing where it is
/// not installed. Its unit lets it write in [`STATE_FOLDER`] alone.
pub(super) fn service(config: &Config) -> Vec<Finding> {
    const UNIT: &str = "/usr/lib/systemd/system/didtail.service";
    if !Path::new(UNIT).exists() {
        return Vec::new();
    }
    sandbox(config.own_files(), geteuid().is_root())
}

/// Where the service keeps its files.
const STATE_FOLDER: &str = "/var/lib/didtail";

fn sandbox<'a>(files: impl Iterator<Item = &'a Path>, is_root: bool) -> Vec<Finding> {
    const CHECK: &str = "service";
    const EXPECTED: &str = "what is seen here is what the service sees";
    let note = |actual: String, fix: String| Finding {
        fix: Some(fix),
        ..Finding::of(CHECK, Outcome::Note, EXPECTED, &actual)
    };
    let mut findings = Vec::new();
    if is_root {
        findings.push(note(
            "root may read and write everything, and the service runs as didtail".to_owned(),
            "sudo -u didtail didtail doctor".to_owned(),
        ));
    }
    let mut folders: Vec<&Path> = files.map(folder::folder_of).collect();
    folders.dedup();
    for folder in folders.iter().filter(|at| !at.starts_with(STATE_FOLDER)) {
        let is_temporary = ["/tmp", "/var/tmp"].iter().any(|of| folder.starts_with(of));
        let shown = folder.display();
        let actual = match is_temporary {
            true => format!(
                "the service's {shown} is its own: nobody else sees it, and it goes when the \
                 service stops"
            ),
            false => format!("the service may write in {shown} only where its unit says so"),
        };
        let fix = match is_temporary {
            true => format!("keep didtail's files in {STATE_FOLDER}"),
            false => format!(
                "keep didtail's files in {STATE_FOLDER}; or sudo systemctl edit didtail, and \
                 there [Service] ReadWritePaths={shown}"
            ),
        };
        findings.push(note(actual, fix));
    }
    findings
}

/// Password files that every user of the machine may read.
pub(super) fn password_files(config: &Config) -> Vec<Finding> {
    let finding = |path: &std::path::PathBuf| Finding {
        fix: Some(format!(
            "chown root:didtail {0} && chmod 0640 {0}",
            path.display()
        )),
        ..Finding::of(
            "password file",
            Outcome::Note,
            "readable by the daemon's user alone",
            &format!(
                "every user of this machine may read or change {}",
                path.display()
            ),
        )
    };
    config.exposed_files.iter().map(finding).collect()
}

/// How the calls of the last day got their DIDs.
async fn attributed(store: &SqlStore, source: &str, now: i64) -> Option<Finding> {
    const EXPECTED: &str = "the calls of the last day have a DID";
    let counted = store.attributed(source, Some(now - DAY_SECONDS)).await;
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

/// Whether there is room for didtail's own files, and whether this user may take it.
/// What is tried leaves nothing.
pub(super) fn disks(config: &Config) -> Vec<Finding> {
    let mut folders: Vec<&Path> = config.own_files().collect();
    folders.dedup_by_key(|path| folder::folder_of(path));
    folders.into_iter().filter_map(disk).collect()
}

fn disk(path: &Path) -> Option<Finding> {
    let shown = folder::folder_of(path).display().to_string();
    let room = Room::of(path);
    let free = room.as_ref().map(Room::text);
    let free = free.unwrap_or_else(|| format!("{shown} can be written"));
    let full = || {
        let fix = format!("make room: df -h {shown}; didtail goes on by itself then");
        (Outcome::Bad, format!("the disk is full: {free}"), Some(fix))
    };
    let (outcome, actual, fix) = match folder::try_to_write(path) {
        // That it is missing was said of the file.
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull) => full(),
        Err(error) => {
            let fix = folder::remedy(path).unwrap_or_else(|| {
                format!("let didtail's user write there: ls -ld {shown}; findmnt -T {shown}; quota")
            });
            let actual = format!("{shown} cannot be written: {error}");
            (Outcome::Bad, actual, Some(fix))
        }
        Ok(()) if room.as_ref().is_some_and(Room::is_full) => full(),
        Ok(()) if room.as_ref().is_some_and(Room::is_scarce) => {
            let fix = format!("make room before it is full: df -h {shown}");
            (Outcome::Note, format!("nearly full: {free}"), Some(fix))
        }
        Ok(()) => (Outcome::Good, free, None),
    };
    Some(Finding {
        fix,
        ..Finding::of("disk", outcome, "writable, with 256 MiB free", &actual)
    })
}

type Verdict = (Outcome, String, Option<String>);

/// A file that is there must be one that this user may write.
fn there(path: &Path, actual: String) -> Verdict {
    match OpenOptions::new().append(true).open(path) {
        Ok(_) => (Outcome::Good, actual, None),
        Err(error) => (
            Outcome::Bad,
            format!("{} cannot be written: {error}", path.display()),
            Some(folder::remedy(path).unwrap_or_else(|| {
                format!(
                    "run this as the daemon's user (sudo -u didtail didtail doctor), or: chown didtail: {}",
                    path.display()
                )
            })),
        ),
    }
}

/// A file that is not there is made by the daemon, in a folder that must be.
fn to_be(path: &Path) -> Verdict {
    let folder = folder::folder_of(path);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_sees_otherwise_is_told() {
        let told = |files: &[&str], is_root| {
            let files = files.iter().map(|file| Path::new(*file));
            let found = sandbox(files, is_root).into_iter();
            found.map(|one| one.actual).collect::<Vec<String>>()
        };
        let usual = ["/var/lib/didtail/state.db", "/var/lib/didtail/optimizer.db"];
        assert!(told(&usual, false).is_empty());
        assert!(told(&usual, true)[0].starts_with("root may read"));
        let odd = told(&["/tmp/optimizer.db", "/data/state.db"], false);
        assert!(odd[0].contains("goes when the service stops"), "{odd:?}");
        assert!(
            odd[1].starts_with("the service may write in /data only"),
            "{odd:?}"
        );
    }
}

//! Reads single values; every error says what was expected.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{SourceTimeZone, StartAt, Success};
use crate::folder::folder_of;

/// Longest status VICIdial has room for, in bytes (`varchar(6)`).
const STATUS_BYTES_MAX: usize = 6;

/// Longest name of a source or tenant, in bytes; they are keys of every table.
const NAME_BYTES_MAX: usize = 64;

/// Longest retention and backfill, in days: a century.
const DAYS_MAX: u32 = 36_500;

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("expected a path, not an empty text".to_owned()),
        _ => Ok(text.into()),
    }
}

pub(super) fn readable(text: &str) -> Result<PathBuf, String> {
    match std::fs::File::open(text) {
        Ok(_) => Ok(text.into()),
        Err(e) => Err(format!("cannot read {text}: {e}")),
    }
}

pub(super) fn read_password(file: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    // Editors end a file with a line break; a password does not.
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{} is empty", file.display())),
        password => Ok(password.into()),
    }
}

/// Whether two paths lead to one file, which need not be there yet.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let whole = std::fs::canonicalize(path);
        whole.or_else(|_| {
            let folder = std::fs::canonicalize(folder_of(path))?;
            Ok::<_, std::io::Error>(folder.join(path.file_name().unwrap_or_default()))
        })
    };
    match (real(one), real(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Whether every user of the machine may read a file, or change it.
pub(super) fn is_exposed(file: &Path) -> bool {
    const OTHERS: u32 = 0o006;
    std::fs::metadata(file).is_ok_and(|file| file.permissions().mode() & OTHERS != 0)
}

pub(super) fn name(text: &str) -> Result<String, String> {
    let usable = (1..=NAME_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if usable {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected 1 to {NAME_BYTES_MAX} letters, digits, `-` or `_`, not `{text}`"
        ))
    }
}

pub(super) fn days(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(days) if days <= DAYS_MAX => Ok(days),
        _ => Err(format!("expected days from 0 to {DAYS_MAX}, not `{text}`")),
    }
}

/// Where to begin with an unknown source.
pub(crate) fn start_at(text: &str) -> Result<StartAt, String> {
    let backfill = text
        .strip_prefix("backfill:")
        .and_then(|rest| rest.strip_suffix('d'))
        .and_then(|count| days(count).ok());
    match (text, backfill) {
        ("latest", _) => Ok(StartAt::Latest),
        ("earliest", _) => Ok(StartAt::Earliest),
        (_, Some(days)) if days > 0 => Ok(StartAt::Backfill { days }),
        _ => Err(format!(
            "expected `latest`, `earliest` or `backfill:30d`, not `{text}`"
        )),
    }
}

pub(super) fn time_zone(text: &str) -> Result<SourceTimeZone, String> {
    if text == "auto" {
        return Ok(SourceTimeZone::Auto);
    }
    TimeZone::get(text)
        .map(|_| SourceTimeZone::Named(text.to_owned()))
        .map_err(|_| format!("expected `auto` or a zone like America/Chicago, not `{text}`"))
}

pub(super) fn statuses(text: &str) -> Result<BTreeSet<String>, String> {
    let usable = |status: &str| {
        (1..=STATUS_BYTES_MAX).contains(&status.len())
            && status.bytes().all(|b| b.is_ascii_graphic())
    };
    text.split(',')
        .map(str::trim)
        .filter(|status| !status.is_empty())
        .map(|status| {
            usable(status).then(|| status.to_owned()).ok_or_else(|| {
                format!("`{status}` is no status: VICIdial's have 1 to {STATUS_BYTES_MAX} letters")
            })
        })
        .collect()
}

/// Which calls are a success.
pub(crate) fn success(text: &str) -> Result<Success, String> {
    match text {
        "vicidial-sale-flag" => Ok(Success::VicidialSaleFlag),
        list => match statuses(list)? {
            set if set.is_empty() => Err("name at least one status".to_owned()),
            set => Ok(Success::Set(set)),
        },
    }
}

pub(super) fn log_level(text: &str) -> Result<String, String> {
    // The filter takes any single word for the name of a module; a misspelt
    // level must not end in silence.
    let levels = text.split(',').all(|part| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level.trim().parse::<LevelFilter>().is_ok()
    });
    if levels && EnvFilter::try_new(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected off, error, warn, info, debug or trace, not `{text}`"
        ))
    }
}

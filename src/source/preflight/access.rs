//! May the tables be read that `backfill` and `verify` read? One that may not is
//! hidden by the server, and would pass for one that is not there.

use super::grants::grant_select;
use super::{Finding, Outcome, tables, verdict, within};
use crate::source::{MySqlSource, SourceError};
use crate::vicidial::Table;

/// `ER_NO_SUCH_TABLE`, `ER_BAD_DB_ERROR`.
const NO_TABLE: [&str; 2] = ["(server error 1146)", "(server error 1049)"];

/// The tables that calls are loaded from.
const LOADED: [Table; 6] = [
    Table::Log,
    Table::LogExtended,
    Table::DialLog,
    Table::DialCidLog,
    Table::CarrierLog,
    Table::ShakenLog,
];

/// What a SELECT on a table comes to.
pub(super) enum Access {
    Readable,
    /// There is no such table.
    Absent,
    /// The server does not tell whether there is a table behind it.
    Denied,
    Unknown(SourceError),
}

/// Tries to read a table, and reads no row.
pub(super) async fn access(source: &MySqlSource, table: &str) -> Access {
    let sql = format!("SELECT 1 FROM `{}`.`{table}` LIMIT 0", source.database());
    match source.ask(table, &sql).await {
        Ok(_) => Access::Readable,
        Err(SourceError::Query { detail, .. }) if NO_TABLE.iter().any(|e| detail.ends_with(e)) => {
            Access::Absent
        }
        Err(SourceError::NotGranted { .. }) => Access::Denied,
        Err(error) => Access::Unknown(error),
    }
}

/// Which of these tables this user cannot read, in a few words: other checks would
/// blame something else. That a table is not there says more elsewhere.
pub(super) async fn unread(source: &MySqlSource, tables: &[Table]) -> Option<String> {
    for table in tables {
        let is_unread = match access(source, table.name()).await {
            Access::Denied => true,
            Access::Absent => *table == Table::Log,
            Access::Readable | Access::Unknown(_) => false,
        };
        if is_unread {
            return Some(format!("{} cannot be read, see above", table.name()));
        }
    }
    None
}

/// VICIdial's archive of a table.
#[must_use]
pub fn archive_of(table: Table) -> Option<&'static str> {
    Some(match table {
        Table::Log => "vicidial_log_archive",
        Table::LogExtended => "vicidial_log_extended_archive",
        Table::DialLog => "vicidial_dial_log_archive",
        Table::DialCidLog => "vicidial_dial_cid_log_archive",
        Table::CarrierLog => "vicidial_carrier_log_archive",
        Table::ShakenLog => "vicidial_tiltx_shaken_log_archive",
        Table::Statuses | Table::CampaignStatuses => return None,
    })
}

/// VICIdial's archives, as this user sees them.
struct Archives {
    readable: Vec<&'static str>,
    /// Each that is not there, or may not be read: the server does not tell which.
    unseen: Vec<&'static str>,
    /// Each of which even that could not be asked.
    unknown: Vec<Finding>,
}

impl Archives {
    async fn of(source: &MySqlSource) -> Self {
        let (mut readable, mut unseen, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for name in LOADED.into_iter().filter_map(archive_of) {
            match access(source, name).await {
                Access::Readable => readable.push(name),
                Access::Absent => {}
                Access::Denied => unseen.push(name),
                Access::Unknown(error) => {
                    unknown.push(Finding::unknown(name, EXPECTED, &error));
                }
            }
        }
        Self {
            readable,
            unseen,
            unknown,
        }
    }
}

/// What the archives are told of as, together.
const ARCHIVES: &str = "archive tables";

/// What is wanted of an archive.
const EXPECTED: &str = "readable, or not there";

/// Looks at the archives, for `didtail doctor`, in one finding. Good also where some
/// are not seen: most often VICIdial never made them, and only its administrator knows.
pub(super) async fn archives(source: &MySqlSource) -> Vec<Finding> {
    let Archives {
        readable,
        unseen,
        unknown: mut findings,
    } = Archives::of(source).await;
    let mut actual = match readable.as_slice() {
        [] => "this user sees none".to_owned(),
        names => format!("readable: {}", names.join(", ")),
    };
    if !unseen.is_empty() {
        let mut grants = Vec::new();
        for name in &unseen {
            grants.push(grant_select(source, Some(name)).await);
        }
        actual.push_str(&format!(
            "; not seen: {}, as it should be where VICIdial has none of these; where it has, \
             `backfill` and `verify` need {}",
            unseen.join(", "),
            grants.join(" ")
        ));
    }
    let seen = Finding::new(ARCHIVES, Outcome::Good, EXPECTED, &actual);
    findings.insert(0, seen);
    findings
}

/// The archives that a load, or a comparison, does not see, in one finding: most often
/// none of them is there.
fn not_seen(names: &[&str]) -> Option<Finding> {
    let actual = format!(
        "{}: not readable by this user, or not there; what VICIdial has archived there is not seen",
        names.join(", ")
    );
    let finding = Finding::new(ARCHIVES, Outcome::Note, EXPECTED, &actual);
    (!names.is_empty()).then(|| {
        finding.fix(
            "where VICIdial has them, `didtail doctor` prints the GRANTs that let them be read",
        )
    })
}

/// What a load by SELECT, or a comparison, will not see: tables that this user may
/// not read, or that could not be asked for.
///
/// # Errors
/// [`SourceError::Unfit`] when the calls themselves cannot be read.
pub async fn unreadable(source: &MySqlSource) -> Result<Vec<Finding>, SourceError> {
    let log = within(Table::Log.name(), tables::table(source, Table::Log, false)).await;
    verdict(log)?;
    let mut findings = Vec::new();
    for table in LOADED {
        let name = table.name();
        match access(source, name).await {
            Access::Readable | Access::Absent => {}
            Access::Denied => findings.extend(tables::table(source, table, false).await),
            Access::Unknown(error) => findings.push(Finding::unknown(name, "readable", &error)),
        }
    }
    let archives = within(ARCHIVES, async {
        let Archives {
            unseen, unknown, ..
        } = Archives::of(source).await;
        not_seen(&unseen).into_iter().chain(unknown).collect()
    });
    findings.extend(archives.await);
    Ok(findings)
}

/// What becomes of a table in a load by SELECT, in a word.
pub async fn state_of(source: &MySqlSource, table: &str) -> Result<&'static str, SourceError> {
    match access(source, table).await {
        Access::Readable => Ok("readable"),
        Access::Absent => Ok("not there"),
        Access::Denied => Ok("not readable by this user, or not there"),
        Access::Unknown(error) => Err(error),
    }
}

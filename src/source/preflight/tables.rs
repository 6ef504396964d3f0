//! Are VICIdial's tables there, and may they be read?

use super::grants::grant_select;
use super::{Finding, Outcome};
use crate::source::{MySqlSource, Source, SourceError};

/// `ER_NO_SUCH_TABLE`, `ER_BAD_DB_ERROR`.
const NO_TABLE: [&str; 2] = ["(server error 1146)", "(server error 1049)"];

/// A table that didtail follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedTable {
    /// Its name in VICIdial's database.
    pub name: &'static str,
    /// Columns without which it is of no use.
    pub needed: &'static [&'static str],
    /// What is lost without it; `None` where nothing works without it.
    pub lost: Option<&'static str>,
}

/// The tables that didtail follows.
pub const WATCHED_TABLES: &[WatchedTable] = &[
    WatchedTable {
        name: "vicidial_log",
        needed: &[
            "uniqueid",
            "lead_id",
            "status",
            "start_epoch",
            "call_date",
            "length_in_sec",
            "campaign_id",
            "user",
            "phone_number",
        ],
        lost: None,
    },
    WatchedTable {
        name: "vicidial_log_extended",
        needed: &["uniqueid", "caller_code"],
        lost: Some("calls are matched to their dials by lead and time alone"),
    },
    WatchedTable {
        name: "vicidial_dial_log",
        needed: &["caller_code", "lead_id", "call_date", "outbound_cid"],
        lost: Some("calls cannot be attributed to a DID, and dials are not counted"),
    },
    WatchedTable {
        name: "vicidial_dial_cid_log",
        needed: &["caller_code", "call_date", "outbound_cid"],
        lost: Some("DIDs of CID groups and local presence are taken from vicidial_dial_log"),
    },
    WatchedTable {
        name: "vicidial_carrier_log",
        needed: &["uniqueid", "call_date", "dialstatus", "hangup_cause"],
        lost: Some("blocked calls cannot be told from busy and unanswered ones"),
    },
    WatchedTable {
        name: "vicidial_statuses",
        needed: &["status"],
        lost: Some("the meaning of system dispositions is guessed from their names"),
    },
    WatchedTable {
        name: "vicidial_campaign_statuses",
        needed: &["status", "campaign_id"],
        lost: Some("the meaning of campaigns' own dispositions is not known"),
    },
];

/// Is a table there, readable, and with the columns that are needed?
pub(super) async fn table(source: &MySqlSource, table: &WatchedTable) -> Vec<Finding> {
    let expected = if table.needed.is_empty() {
        "readable".to_owned()
    } else {
        format!("readable, with {}", table.needed.join(", "))
    };
    let serious = match table.lost {
        None => Outcome::Bad,
        Some(_) => Outcome::Note,
    };
    let lost = |what: &str| match table.lost {
        None => what.to_owned(),
        Some(lost) => format!("{what}: {lost}"),
    };
    let finding = |outcome, actual: &str| Finding::new(table.name, outcome, &expected, actual);
    let sql = format!(
        "SELECT 1 FROM `{}`.`{}` LIMIT 0",
        source.database(),
        table.name
    );
    match source.ask(table.name, &sql).await {
        Ok(_) => {}
        Err(SourceError::Query { detail, .. }) if NO_TABLE.iter().any(|e| detail.ends_with(e)) => {
            let missing = finding(serious, &lost("missing"));
            return vec![missing.fix(
                "check that the URL's database is VICIdial's, and that VICIdial is up to date",
            )];
        }
        // The server does not tell whether there is a table behind it.
        Err(SourceError::NotGranted { .. }) => {
            let fix = grant_select(source, table.name).await;
            return vec![finding(serious, &lost("not readable by this user, or missing")).fix(fix)];
        }
        Err(error) => return vec![Finding::unknown(table.name, &expected, &error)],
    }
    let columns = match source.columns(table.name).await {
        Ok(columns) => columns,
        Err(error) => return vec![Finding::unknown(table.name, &expected, &error)],
    };
    let absent: Vec<&str> = table
        .needed
        .iter()
        .filter(|needed| !columns.iter().any(|column| column.name == **needed))
        .copied()
        .collect();
    vec![if absent.is_empty() {
        finding(Outcome::Good, "readable")
    } else {
        let actual = format!("without {}", absent.join(", "));
        finding(serious, &lost(&actual)).fix("upgrade VICIdial's database")
    }]
}

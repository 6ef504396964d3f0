//! What didtail asks a source besides its binlog.

use super::replica::fnv1a;
use super::{Flavour, MySqlSource};
use crate::binlog::{BinlogFile, GtidPosition, Position};
use crate::source::wire::{Cell, Table, text};
use crate::source::{Column, Condition, SELECTED_ROWS_MAX, SourceError, TableRow};
use crate::vicidial::Zone;

/// Rows that a small table may have. VICIdial's status tables have a few
/// dozen, with many campaigns a few thousand.
const SMALL_TABLE_ROWS_MAX: usize = 100_000;

/// Longest identifier of a server.
const IDENTIFIER_BYTES_MAX: usize = 64;

/// `ER_PARSE_ERROR`: this server does not know the statement.
const SYNTAX_ERROR: &str = "(server error 1064)";

/// The time zones of a source: naive DATETIME values mean the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTimeZone {
    /// `@@global.time_zone`: a name, an offset or `SYSTEM`.
    pub session: String,
    /// `@@system_time_zone`: an abbreviation like `CET`, of no use to a machine.
    pub system: String,
    /// The difference of the source's local time to UTC, now.
    pub utc_offset_seconds: i32,
}

impl SourceTimeZone {
    /// The zone, if the source names it: one with a slash is an IANA zone.
    /// `EST` and the like are abbreviations that say nothing of summer time.
    #[must_use]
    pub fn named(&self) -> Option<Zone> {
        let names = [&self.session, &self.system].into_iter();
        let mut zones = names.filter(|name| name.contains('/'));
        zones.find_map(|name| Zone::named(name))
    }

    /// The zone, or the distance from UTC that the source has now.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.named()
            .unwrap_or_else(|| Zone::fixed(self.utc_offset_seconds))
    }

    /// True when nobody knows when the clocks are set: the zone is not named,
    /// and not one that has no summer time.
    #[must_use]
    pub fn is_vague(&self) -> bool {
        let is_utc = self.utc_offset_seconds == 0
            && [&self.session, &self.system]
                .iter()
                .any(|name| matches!(name.as_str(), "UTC" | "+00:00"));
        self.named().is_none() && !is_utc
    }
}

impl MySqlSource {
    /// The binlog files that the source still has, oldest first, with their sizes.
    ///
    /// # Errors
    /// [`SourceError`] when the source cannot be asked or its binlog is off.
    pub async fn binlogs(&self) -> Result<Vec<(BinlogFile, u64)>, SourceError> {
        let what = "the list of its binlogs";
        let table = self.ask(what, "SHOW BINARY LOGS").await?;
        let mut files = Vec::with_capacity(table.rows.len());
        for row in &table.rows {
            let name = row.first().and_then(text).unwrap_or_default();
            let size = row.get(1).and_then(text).and_then(|s| s.parse().ok());
            let file = BinlogFile::new(&name).map_err(|e| unusable(what, &e.to_string()))?;
            files.push((file, size.unwrap_or(0)));
        }
        files.sort();
        Ok(files)
    }

    /// The end of the last complete group, now; of MySQL also the transactions
    /// up to there. Of those that are being committed some may be missing in
    /// the set, and none is in it that is not before the end.
    pub(in crate::source) async fn binlog_end_and_gtid(
        &self,
    ) -> Result<(Position, Option<GtidPosition>), SourceError> {
        let what = "the end of its binlog";
        let status = self.binlog_status().await?;
        let (Some(file), Some(next)) = (status.first("File"), status.first("Position")) else {
            return Err(unusable(what, "the binary log is off"));
        };
        let position = format!("{file}:{next}")
            .parse()
            .map_err(|e: crate::binlog::PositionError| unusable(what, &e.to_string()))?;
        let executed = status.first("Executed_Gtid_Set");
        let executed = executed.map(|set| set.parse().unwrap_or_default());
        Ok((position, executed))
    }

    /// The server's binlog status; its statement has had three names.
    pub(in crate::source) async fn binlog_status(&self) -> Result<Table, SourceError> {
        let what = "the end of its binlog";
        let newer = match self.server.flavour {
            Flavour::MariaDb => "SHOW BINLOG STATUS",
            Flavour::MySql => "SHOW BINARY LOG STATUS",
        };
        match self.ask(what, newer).await {
            Err(SourceError::Query { detail, .. }) if detail.ends_with(SYNTAX_ERROR) => {
                self.ask(what, "SHOW MASTER STATUS").await
            }
            answer => answer,
        }
    }

    /// A name of the server that survives restarts and tells it from its replicas.
    ///
    /// # Errors
    /// [`SourceError`] when the source cannot be asked.
    pub async fn identity(&self) -> Result<String, SourceError> {
        Ok(identity_in(&self.ask("its identity", IDENTITY).await?))
    }

    /// The columns of a table of VICIdial's database; empty without the table.
    pub(super) async fn table_columns(&self, table: &str) -> Result<Vec<Column>, SourceError> {
        let table = identifier(table)?;
        let sql = format!(
            "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION",
            self.database()
        );
        let what = format!("the columns of {table}");
        let answer = self.ask(&what, &sql).await?;
        let column = |row: &Vec<Cell>| {
            Some(Column {
                name: row.first().and_then(text)?.to_lowercase(),
                column_type: row.get(1).and_then(text)?,
                charset: row.get(2).and_then(text),
            })
        };
        let columns: Option<Vec<Column>> = answer.rows.iter().map(column).collect();
        columns.ok_or_else(|| unusable(&what, "a column without a name or type"))
    }

    /// All rows of a small table; an error when it has more than 100,000.
    pub(super) async fn table_rows(
        &self,
        table: &str,
        columns: &[&str],
    ) -> Result<Vec<Vec<Cell>>, SourceError> {
        let table = identifier(table)?;
        let list = column_list(columns)?;
        let what = format!("the rows of {table}");
        let sql = format!(
            "SELECT {list} FROM `{}`.`{table}` LIMIT {}",
            self.database(),
            SMALL_TABLE_ROWS_MAX + 1
        );
        let answer = self.ask(&what, &sql).await?;
        if answer.rows.len() > SMALL_TABLE_ROWS_MAX {
            return Err(unusable(&what, "it has more than 100,000"));
        }
        Ok(answer.rows)
    }

    /// Some columns of the rows of a table that meet a condition.
    pub(super) async fn rows_that_meet(
        &self,
        table: &str,
        columns: &[&str],
        condition: Condition<'_>,
    ) -> Result<Vec<TableRow>, SourceError> {
        let table = identifier(table)?;
        let mut terms = Vec::new();
        if let Some((column, values)) = condition.key {
            let quoted: Vec<String> = values
                .iter()
                .filter(|value| is_plain(value))
                .map(|value| format!("'{value}'"))
                .collect();
            if quoted.is_empty() {
                return Ok(Vec::new());
            }
            terms.push(format!(
                "`{}` IN ({})",
                identifier(column)?,
                quoted.join(", ")
            ));
        }
        if let Some((column, from, until)) = condition.window {
            let column = identifier(column)?;
            terms.push(format!("`{column}` >= '{from}' AND `{column}` < '{until}'"));
        }
        if terms.is_empty() {
            return Err(unusable("rows", "they were asked for without a condition"));
        }
        // MyISAM lets every waiting writer pass before a reader, and under VICIdial's
        // load there always is one: a short read would wait for seconds.
        let sql = format!(
            "SELECT HIGH_PRIORITY {} FROM `{}`.`{table}` WHERE {} LIMIT {SELECTED_ROWS_MAX}",
            column_list(columns)?,
            self.database(),
            terms.join(" AND "),
        );
        let what = format!("rows of {table}");
        Ok(self.ask(&what, &sql).await?.rows)
    }

    /// The source's time zones.
    ///
    /// # Errors
    /// [`SourceError`] when the source cannot be asked.
    pub async fn time_zone(&self) -> Result<SourceTimeZone, SourceError> {
        let what = "its time zone";
        let sql = "SELECT @@GLOBAL.time_zone AS session_zone, @@system_time_zone AS system_zone, \
                   TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), \
                   CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@GLOBAL.time_zone)) AS utc_offset";
        let table = self.ask(what, sql).await?;
        let offset = table.first("utc_offset").and_then(|s| s.parse().ok());
        Ok(SourceTimeZone {
            session: table.first("session_zone").unwrap_or_default(),
            system: table.first("system_zone").unwrap_or_default(),
            utc_offset_seconds: offset.ok_or_else(|| unusable(what, "no offset to UTC"))?,
        })
    }

    /// The source's clock, in seconds since 1970 (UTC).
    ///
    /// # Errors
    /// [`SourceError`] when the source cannot be asked.
    pub async fn clock(&self) -> Result<i64, SourceError> {
        let what = "its time";
        let table = self.ask(what, "SELECT UNIX_TIMESTAMP()").await?;
        let seconds = table.scalar().and_then(|s| s.parse().ok());
        seconds.ok_or_else(|| unusable(what, "no time"))
    }
}

/// Asks a server for what [`identity_in`] reads.
pub(super) const IDENTITY: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
     ('server_uuid', 'server_uid', 'hostname', 'port', 'datadir')";

/// A name of a server that survives restarts and tells it from its replicas.
pub(super) fn identity_in(table: &Table) -> String {
    let value = |name: &str| {
        let mut rows = table.rows.iter();
        let row = rows.find(|row| row.first().and_then(text).as_deref() == Some(name));
        row.and_then(|row| text(row.get(1)?))
            .filter(|value| !value.is_empty())
    };
    if let Some(own) = value("server_uuid").or_else(|| value("server_uid")) {
        return own;
    }
    let place = [value("hostname"), value("port"), value("datadir")]
        .map(Option::unwrap_or_default)
        .join("\n");
    format!("{:016x}", fnv1a(place.as_bytes(), 0))
}

/// A list of columns for a SELECT.
fn column_list(columns: &[&str]) -> Result<String, SourceError> {
    let quote = |column: &&str| Ok(format!("`{}`", identifier(column)?));
    let quoted: Result<Vec<String>, SourceError> = columns.iter().map(quote).collect();
    Ok(quoted?.join(", "))
}

/// Whether a value can stand between quotes in any SQL mode: VICIdial's keys
/// are numbers, caller codes, and `uniqueid`s such as `dialer-01-1731448000.7`.
fn is_plain(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !value.is_empty() && value.len() <= IDENTIFIER_BYTES_MAX && value.bytes().all(plain)
}

/// Lets only plain names into statements, since names cannot be parameters.
pub(super) fn identifier(name: &str) -> Result<&str, SourceError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if !name.is_empty() && name.len() <= IDENTIFIER_BYTES_MAX && name.bytes().all(plain) {
        Ok(name)
    } else {
        Err(unusable("a table or column", "its name is not plain"))
    }
}

pub(super) fn unusable(what: &str, detail: &str) -> SourceError {
    SourceError::Query {
        what: what.to_owned(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_taken_by_its_name_only() {
        let said = |session: &str, system: &str, utc_offset_seconds| SourceTimeZone {
            session: session.to_owned(),
            system: system.to_owned(),
            utc_offset_seconds,
        };
        let chicago = said("America/Chicago", "UTC", -21_600);
        assert_eq!(chicago.zone().name(), "America/Chicago");
        assert!(!chicago.is_vague());
        let berlin = said("SYSTEM", "Europe/Berlin", 3600);
        assert_eq!(berlin.zone().name(), "Europe/Berlin");
        let eastern = said("SYSTEM", "EST", -18_000);
        assert_eq!(eastern.zone().name(), "UTC-05");
        assert!(eastern.is_vague());
        assert!(!said("SYSTEM", "UTC", 0).is_vague());
        // London in winter: in half a year it is an hour off.
        assert!(said("SYSTEM", "GMT", 0).is_vague());
    }

    #[test]
    fn only_plain_names_reach_a_statement() {
        assert!(identifier("vicidial_log").is_ok());
        for bad in ["", "a b", "a`b", "A", "a.b", "a'--", &"a".repeat(65)] {
            assert!(identifier(bad).is_err(), "{bad}");
        }
    }
}

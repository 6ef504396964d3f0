//! The dialers' zone as arithmetic that SQL can do: private servers have no
//! tables of time zones.

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const FIRST: &str = "2015-01-01T00:00:00Z";
const LAST: &str = "2035-01-01T00:00:00Z";

/// A zone's distance from UTC, and when it changes.
pub struct Offsets {
    first: i64,
    changes: Vec<(i64, i64)>,
}

impl Offsets {
    pub fn of(zone: &str) -> Result<Self> {
        let zone =
            TimeZone::get(zone).with_context(|| format!("no time zone is named {zone:?}"))?;
        let (first, last): (Timestamp, Timestamp) = (FIRST.parse()?, LAST.parse()?);
        let changes = zone
            .following(first)
            .map(|change| (change.timestamp(), change.offset()))
            .take_while(|(at, _)| *at < last)
            .map(|(at, offset)| (at.as_second(), i64::from(offset.seconds())));
        Ok(Self {
            first: i64::from(zone.to_offset(first).seconds()),
            changes: changes.collect(),
        })
    }

    /// Seconds since 1970 (UTC) of a wall clock in a session in UTC. Of the hour
    /// that comes twice the first is meant.
    pub fn epoch_of_wall(&self, column: &str) -> String {
        let utc = format!("CAST(UNIX_TIMESTAMP({column}) AS SIGNED)");
        // A change shows on the clock at its own time by the offset before it.
        self.case(&utc, |at, before| at + before, &|offset| {
            format!("{utc}-({offset})")
        })
    }

    /// The day of a time in seconds since 1970 (UTC).
    pub fn day_of_epoch(&self, column: &str) -> String {
        self.case(column, |at, _| at, &|offset| {
            format!("DATE(FROM_UNIXTIME({column}+({offset})))")
        })
    }

    fn case(
        &self,
        time: &str,
        begins: impl Fn(i64, i64) -> i64,
        value: &dyn Fn(i64) -> String,
    ) -> String {
        let mut offset = self.first;
        let mut text = "CASE".to_owned();
        for (at, next) in &self.changes {
            text += &format!(
                " WHEN {time}<{} THEN {}",
                begins(*at, offset),
                value(offset)
            );
            offset = *next;
        }
        if self.changes.is_empty() {
            return value(offset);
        }
        text + &format!(" ELSE {} END", value(offset))
    }
}

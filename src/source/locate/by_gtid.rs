//! From transactions to a position: for an operator who names one, and for a
//! daemon that finds another server where the one it followed was.
//!
//! # Why a position is looked for, and not left to the server
//! A server can begin a dump behind a GTID by itself. Then nobody knows at which
//! place of which file the stream begins before it comes, and beyond 4 GiB not
//! even then. Looking first costs one read of one file's headers, works alike
//! on both flavours, and says before anything is changed why it cannot work.
//!
//! # Why MariaDB's exact transaction is looked for
//! A number alone proves nothing: a replica that was promoted too early goes on
//! with numbers that its old primary has used for other transactions. Only
//! behind the very transaction that was read last is nothing left out.

use std::collections::BTreeMap;

use super::{Binlog, FileStart, GroupStart, Located, MySqlSource, time_text};
use crate::binlog::{BinlogFile, DomainGtid, Gtid, GtidPosition};
use crate::source::SourceError;
use crate::source::wire::Flavour;

/// Seconds by which the time of a transaction may differ from what was noted
/// when it was read. A replica writes it with the time of its last statement, and
/// the primary with that of its end. Two histories that have a transaction of the
/// same number, written within these seconds, are taken for one.
const SAME_SECONDS_MAX: i64 = 10;

impl MySqlSource {
    /// Where to go on, on this server, behind the transactions that were read
    /// from another one, the last of them at about `read_at` (seconds since
    /// 1970). What was not read is behind that position, all of it; some of
    /// what was may be too.
    ///
    /// # Errors
    /// [`SourceError::Purged`] when some of it is in no binlog any more, and
    /// [`SourceError::ImpossiblePosition`] when this server's history is another.
    pub async fn behind(
        &self,
        read: &GtidPosition,
        read_at: Option<i64>,
    ) -> Result<Located, SourceError> {
        let binlog = self.binlog().await?;
        match self.server().flavour {
            Flavour::MySql => self.behind_set(read, &binlog).await,
            Flavour::MariaDb => self.behind_domains(read, read_at, &binlog).await,
        }
    }

    async fn behind_set(
        &self,
        read: &GtidPosition,
        binlog: &Binlog,
    ) -> Result<Located, SourceError> {
        if read.executed().is_empty() {
            return Err(impossible(read, "it is no GTID set of MySQL"));
        }
        if !binlog.end.gtid.covers(read) {
            let detail = format!(
                "this server lacks some of these transactions: it has executed {}",
                binlog.end.gtid
            );
            return Err(impossible(read, &detail));
        }
        let is_new = |group: &GroupStart<'_>| Ok(group.gtid.is_none_or(|gtid| !read.has(gtid)));
        let (file, _) = self.newest_file_within(read, binlog, Clone::clone).await?;
        let found = self.search(&file, &binlog.end.position, is_new).await?;
        Ok(found.unwrap_or_else(|| binlog.end.clone()))
    }

    async fn behind_domains(
        &self,
        read: &GtidPosition,
        read_at: Option<i64>,
        binlog: &Binlog,
    ) -> Result<Located, SourceError> {
        if read.domains().next().is_none() {
            return Err(impossible(read, "it is no GTID position of MariaDB"));
        }
        let (mut file, mut start) = self.newest_file_within(read, binlog, Clone::clone).await?;
        if start.gtid == *read {
            // Everything read ends with the file before: a look at its end
            // shows whether it is the same history.
            let at = binlog.files.iter().position(|known| *known == file);
            if let Some(before) = at.and_then(|at| binlog.files.get(at.checked_sub(1)?)) {
                start = self.file_start(before).await?;
                file = before.clone();
            }
        }
        let mut trail = Trail::new(read, read_at, &start.gtid);
        let mut first_new = None;
        // Searched to where every domain's last transaction was seen.
        let all_seen = |group: &GroupStart<'_>| {
            trail.group(group)?;
            Ok(trail.first_new && trail.unseen.is_empty())
        };
        let end = &binlog.end.position;
        let mut found = self.search(&file, end, all_seen).await?;
        if let Some(gtid) = trail.unseen.values().next() {
            let detail = format!("this server has not written {gtid}");
            return Err(impossible(read, &detail));
        }
        if trail.new_before_seen {
            // Once more, to the first group that is new.
            let mut trail = Trail::new(read, read_at, &start.gtid);
            let is_new = |group: &GroupStart<'_>| {
                trail.group(group)?;
                Ok(trail.first_new)
            };
            first_new = self.search(&file, end, is_new).await?;
        }
        found = first_new.or(found);
        Ok(found.unwrap_or_else(|| binlog.end.clone()))
    }

    /// The position behind transactions that an operator names.
    pub(super) async fn by_gtid(
        &self,
        target: &GtidPosition,
        binlog: &Binlog,
    ) -> Result<Located, SourceError> {
        let (is_its_kind, other) = match self.server().flavour {
            Flavour::MySql => (!target.executed().is_empty(), "a GTID of MariaDB"),
            Flavour::MariaDb => (target.executed().is_empty(), "a GTID of MySQL"),
        };
        if !is_its_kind {
            let detail = format!("this is {other}, and the source is {}", self.server().text);
            return Err(impossible(target, &detail));
        }
        let named = |position: &GtidPosition| position.only_named_by(target);
        let (file, _) = self.newest_file_within(target, binlog, named).await?;
        let is_new = |group: &GroupStart<'_>| {
            let Some(gtid) = group.gtid else {
                return Ok(false);
            };
            let mut alone = GtidPosition::default();
            alone.advance(gtid);
            Ok(!named(&alone).is_empty() && !target.has(gtid))
        };
        if let Some(found) = self.search(&file, &binlog.end.position, is_new).await? {
            return Ok(found);
        }
        if binlog.end.gtid.covers(target) {
            return Ok(binlog.end.clone());
        }
        Err(impossible(
            target,
            "the source has not written this transaction",
        ))
    }

    /// The newest file before which nothing is but `within`, by what it says at
    /// its start of the files before; `part` is what of that matters.
    async fn newest_file_within(
        &self,
        within: &GtidPosition,
        binlog: &Binlog,
        part: impl Fn(&GtidPosition) -> GtidPosition,
    ) -> Result<(BinlogFile, FileStart), SourceError> {
        let (mut low, mut high) = (0, binlog.files.len());
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(file) = binlog.files.get(middle) else {
                break;
            };
            let start = self.file_start(file).await?;
            if within.covers(&part(&start.gtid)) {
                low = middle + 1;
                found = Some((file.clone(), start));
            } else {
                high = middle;
            }
        }
        found.ok_or_else(|| SourceError::Purged {
            wanted: within.to_string(),
            detail: "what followed it is in no binlog that is left".to_owned(),
        })
    }
}

/// Follows MariaDB's groups to the last transaction that was read of each domain.
struct Trail<'a> {
    read: &'a GtidPosition,
    read_at: Option<i64>,
    /// Last transactions that did not come yet.
    unseen: BTreeMap<u32, DomainGtid>,
    /// A group came that was not read.
    first_new: bool,
    /// One came while others were not seen.
    new_before_seen: bool,
    /// One of those that were read last is of the time of the newest.
    is_proven: bool,
}

impl<'a> Trail<'a> {
    fn new(read: &'a GtidPosition, read_at: Option<i64>, start: &GtidPosition) -> Self {
        let unseen = read
            .domains()
            .filter(|gtid| start.last_of(gtid.domain) != Some(gtid));
        Self {
            read,
            read_at,
            unseen: unseen.map(|gtid| (gtid.domain, *gtid)).collect(),
            first_new: false,
            new_before_seen: false,
            is_proven: false,
        }
    }

    /// Takes the next group; fails when the history is another.
    fn group(&mut self, group: &GroupStart<'_>) -> Result<(), SourceError> {
        let Some(Gtid::MariaDb(gtid)) = group.gtid else {
            return Ok(());
        };
        let Some(last) = self.unseen.get(&gtid.domain) else {
            self.first_new = true;
            self.new_before_seen |= !self.unseen.is_empty();
            return Ok(());
        };
        if gtid.sequence < last.sequence {
            return Ok(());
        }
        if gtid != last {
            let detail = format!("this server has {gtid} in place of {last}");
            return Err(impossible(self.read, &detail));
        }
        self.unseen.remove(&gtid.domain);
        // The one that was read last is the last of one of the domains.
        let is_same =
            |read_at: i64| read_at.abs_diff(group.time) <= SAME_SECONDS_MAX.unsigned_abs();
        self.is_proven |= self.read_at.is_none_or(is_same);
        if let Some(read_at) = self.read_at
            && self.unseen.is_empty()
            && !self.is_proven
        {
            let detail = format!(
                "what was read last was written at {}, and {gtid} at {} here: these are other transactions",
                time_text(read_at),
                time_text(group.time)
            );
            return Err(impossible(self.read, &detail));
        }
        Ok(())
    }
}

fn impossible(gtid: &GtidPosition, detail: &str) -> SourceError {
    SourceError::ImpossiblePosition {
        position: gtid.to_string(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> GtidPosition {
        text.parse().expect("valid")
    }

    /// Sends these groups down a trail to `read`, from a file that begins behind
    /// `start`; what it says, and whether a new group came and when.
    fn trail(read: &str, start: &str, groups: &[&str]) -> Result<(bool, bool, usize), String> {
        let read = position(read);
        let mut trail = Trail::new(&read, Some(1_700_000_000), &position(start));
        for text in groups {
            let (gtid, time) = text.split_once('@').unwrap_or((text, "1700000000"));
            let gtid = position(gtid).domains().next().copied();
            let gtid = gtid.map(Gtid::MariaDb);
            let group = GroupStart {
                time: time.parse().expect("a time"),
                gtid: gtid.as_ref(),
            };
            trail.group(&group).map_err(|error| error.to_string())?;
        }
        Ok((trail.first_new, trail.new_before_seen, trail.unseen.len()))
    }

    #[test]
    fn a_trail_ends_at_the_very_transaction_that_was_read() {
        for (read, start, groups, expected) in [
            ("0-1-5", "0-1-3", &["0-1-4", "0-1-5"][..], (false, false, 0)),
            (
                "0-1-5",
                "0-1-3",
                &["0-1-4", "0-1-5", "0-2-6"],
                (true, false, 0),
            ),
            ("0-1-5", "0-1-3", &["0-1-4"], (false, false, 1)),
            ("0-1-5", "0-1-5", &["0-2-6"], (true, false, 0)),
            // Of a domain that was never read, everything is new.
            ("0-1-5", "0-1-4", &["9-3-1", "0-1-5"], (true, true, 0)),
            ("0-1-5,1-1-7", "0-1-5", &["0-1-6", "1-1-7"], (true, true, 0)),
        ] {
            assert_eq!(
                trail(read, start, groups),
                Ok(expected),
                "{read} {groups:?}"
            );
        }
    }

    #[test]
    fn another_history_with_the_same_numbers_is_refused() {
        // The old primary's 5 was lost, and the new one has another.
        let error = trail("0-1-5", "0-1-3", &["0-1-4", "0-2-5"]).expect_err("diverged");
        assert!(error.contains("has 0-2-5 in place of 0-1-5"), "{error}");
        let error = trail("0-1-5", "0-1-3", &["0-1-4", "0-2-6"]).expect_err("diverged");
        assert!(error.contains("0-2-6 in place of 0-1-5"), "{error}");
        for others in [
            &["0-1-5@1600000000"][..],
            &["0-1-5@1700000011"],
            &["0-1-5@1699999989", "1-1-7@1699999000"],
        ] {
            let read = if others.len() == 1 {
                "0-1-5"
            } else {
                "0-1-5,1-1-7"
            };
            let error = trail(read, "", others).expect_err("of another time");
            assert!(error.contains("other transactions"), "{error}");
        }
        // Of the domains one has what was read last.
        let same = trail("0-1-5,1-1-7", "", &["0-1-5@1690000000", "1-1-7@1700000003"]);
        assert!(same.is_ok(), "{same:?}");
    }
}

//! From what an operator means (earliest, a time, a transaction) to a position.
//!
//! The server is asked by reading its binlog like a replica: the first events
//! of a file tell when it was begun and which transactions came before, which
//! finds the file by halving; the place in it is found by reading it.
//!
//! Only the start of a group is a place to resume from. Inside of one the
//! table maps and the rows before would be missing.

use crate::binlog::{
    BinlogFile, FIRST_EVENT_OFFSET, Gtid, GtidPosition, Kind, Position, RawEvent, Reader, Watch,
};

use super::mysql::MySqlSource;
use super::wire::Flavour;
use super::{EventStream, Source, SourceError};

/// Events read at a file's start before giving up on its transaction list,
/// which is the second one.
const START_EVENTS_MAX: usize = 8;

/// What an operator may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The oldest event that the source still has.
    Earliest,
    /// The end of the binlog, now.
    Latest,
    /// A position, which is checked.
    Position(Position),
    /// Behind these transactions; domains that are not named do not matter.
    Gtid(GtidPosition),
    /// The first group written at or after this time, in seconds since 1970 (UTC).
    Time(i64),
}

/// A position to resume from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The start of a group, or the end of the binlog.
    pub position: Position,
    /// The last transaction of each domain before it; empty on MySQL.
    pub gtid: GtidPosition,
    /// When the event there was written; `None` at the end of the binlog.
    pub event_time: Option<i64>,
}

/// What the first events of a file tell.
struct FileStart {
    /// When the file was begun.
    time: i64,
    /// The transactions in the files before.
    gtid: GtidPosition,
}

/// A group's start, as offered to a search.
struct GroupStart {
    time: i64,
    gtid: Option<Gtid>,
}

impl MySqlSource {
    /// Finds the position that a target means.
    ///
    /// # Errors
    /// [`SourceError::Purged`] when it is older than the oldest binlog,
    /// [`SourceError::ImpossiblePosition`] when there is no such place.
    pub async fn locate(&self, target: &Target) -> Result<Located, SourceError> {
        let files = self.binlogs().await?;
        let files: Vec<BinlogFile> = files.into_iter().map(|(file, _)| file).collect();
        let head = self.head().await?;
        let (position, event_time) = match target {
            Target::Latest => (head, None),
            Target::Earliest => {
                let first = files.into_iter().next().unwrap_or(head.file);
                let start = self.file_start(&first).await?;
                (Position::start_of(first), Some(start.time))
            }
            Target::Position(position) => {
                let time = self.check(position, &files, &head).await?;
                (position.clone(), time)
            }
            Target::Time(time) => self.by_time(*time, &files, &head).await?,
            Target::Gtid(gtid) => self.by_gtid(gtid, &files, &head).await?,
        };
        let gtid = self.gtid_at(&position).await;
        Ok(Located {
            position,
            gtid,
            event_time,
        })
    }

    /// When the oldest binlog was begun, in seconds since 1970.
    pub(super) async fn oldest_time(&self) -> Result<Option<i64>, SourceError> {
        let Some((file, _)) = self.binlogs().await?.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(self.file_start(&file).await?.time))
    }

    /// When a binlog was begun, in seconds since 1970.
    pub(super) async fn begin_of(&self, file: &BinlogFile) -> Result<i64, SourceError> {
        Ok(self.file_start(file).await?.time)
    }

    async fn by_time(
        &self,
        time: i64,
        files: &[BinlogFile],
        head: &Position,
    ) -> Result<(Position, Option<i64>), SourceError> {
        // Everything in the files before was written before this one began.
        let (mut low, mut high) = (0, files.len());
        let mut oldest = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(file) = files.get(middle) else { break };
            let start = self.file_start(file).await?;
            if middle == 0 {
                oldest = Some(start.time);
            }
            if start.time < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(file) = files.get(low.saturating_sub(1)) else {
            return Ok((head.clone(), None));
        };
        if let Some(oldest) = oldest.filter(|oldest| low == 0 && *oldest > time) {
            return Err(SourceError::Purged {
                wanted: time_text(time),
                detail: format!("its oldest binlog begins at {}", time_text(oldest)),
            });
        }
        let found = self.search(file, head, |group| group.time >= time).await?;
        Ok(found.unwrap_or((head.clone(), None)))
    }

    async fn by_gtid(
        &self,
        target: &GtidPosition,
        files: &[BinlogFile],
        head: &Position,
    ) -> Result<(Position, Option<i64>), SourceError> {
        if self.server().flavour == Flavour::MySql {
            return Err(SourceError::ImpossiblePosition {
                position: target.to_string(),
                detail: "this is a GTID of MariaDB, and the source is MySQL".to_owned(),
            });
        }
        let last = |domain: u32| target.iter().find(|gtid| gtid.domain == domain);
        let beyond = |gtid: &Gtid| last(gtid.domain).is_some_and(|l| gtid.sequence > l.sequence);
        // The last file before which nothing is wanted.
        let (mut low, mut high) = (0, files.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(file) = files.get(middle) else { break };
            if self.file_start(file).await?.gtid.iter().any(beyond) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let Some(file) = low.checked_sub(1).and_then(|at| files.get(at)) else {
            return Err(SourceError::Purged {
                wanted: target.to_string(),
                detail: "what followed it is in no binlog that is left".to_owned(),
            });
        };
        let wanted = |group: &GroupStart| group.gtid.as_ref().is_some_and(beyond);
        if let Some(found) = self.search(file, head, wanted).await? {
            return Ok(found);
        }
        if self.gtid_at(head).await.covers(target) {
            return Ok((head.clone(), None));
        }
        Err(SourceError::ImpossiblePosition {
            position: target.to_string(),
            detail: "the source has not written this transaction".to_owned(),
        })
    }

    /// The first group of `file` or later, and before `head`, that is wanted.
    async fn search(
        &self,
        file: &BinlogFile,
        head: &Position,
        wanted: impl Fn(&GroupStart) -> bool,
    ) -> Result<Option<(Position, Option<i64>)>, SourceError> {
        let start = Position::start_of(file.clone());
        let mut stream = self.look(&start).await?;
        let mut reader = Reader::new(Watch::new("", &[]), start, GtidPosition::default());
        loop {
            if !reader.in_group() && reader.position() >= head {
                return Ok(None);
            }
            let event = stream.next().await?;
            if let Some(group) = group_start(&event)
                && wanted(&group)
            {
                return Ok(Some((reader.position().clone(), Some(group.time))));
            }
            // What cannot be decoded has a place all the same.
            drop(reader.event(event));
        }
    }

    /// Makes sure that a group begins at `position`, and tells when.
    async fn check(
        &self,
        position: &Position,
        files: &[BinlogFile],
        head: &Position,
    ) -> Result<Option<i64>, SourceError> {
        let impossible = |detail: &str| SourceError::ImpossiblePosition {
            position: position.to_string(),
            detail: detail.to_owned(),
        };
        if position > head {
            return Err(impossible(&format!("the binlog ends at {head}")));
        }
        if position == head {
            return Ok(None);
        }
        let oldest = files.first().unwrap_or(&head.file);
        if position.file < *oldest {
            return Err(SourceError::Purged {
                wanted: position.to_string(),
                detail: format!("its oldest binlog is {oldest}"),
            });
        }
        if !files.contains(&position.file) {
            return Err(impossible("the source has no such file"));
        }
        let sort = |error: SourceError| match error {
            SourceError::Damaged { detail }
            | SourceError::CorruptBinlog { detail }
            | SourceError::PacketTooLarge { detail }
            | SourceError::NotABinlog { detail } => impossible(&detail),
            other => other,
        };
        let mut stream = self.look(position).await.map_err(sort)?;
        loop {
            let event = stream.next().await.map_err(sort)?;
            let time = i64::from(event.header.timestamp);
            match Kind::of(event.header.code) {
                Kind::Rotate if time == 0 => {}
                Kind::FormatDescription if position.next > FIRST_EVENT_OFFSET => {}
                Kind::FormatDescription
                | Kind::Rotate
                | Kind::Stop
                | Kind::Heartbeat
                | Kind::MariadbGtid
                | Kind::MysqlGtid
                | Kind::MariadbGtidList
                | Kind::Incident => return Ok(Some(time).filter(|time| *time != 0)),
                // Checkpoints and the like stand between groups; annotations
                // and variables inside.
                Kind::Passed if matches!(event.header.code, 35 | 161 | 164) => {
                    return Ok(Some(time));
                }
                Kind::Passed
                | Kind::Query
                | Kind::Xid
                | Kind::XaPrepare
                | Kind::TableMap
                | Kind::Rows(_)
                | Kind::CompressedRows(_)
                | Kind::CompressedQuery
                | Kind::TransactionPayload
                | Kind::Unrecognised(_) => {
                    return Err(impossible("it is inside a group, which would be cut"));
                }
            }
        }
    }

    /// What the first events of a file tell.
    async fn file_start(&self, file: &BinlogFile) -> Result<FileStart, SourceError> {
        let mut stream = self.look(&Position::start_of(file.clone())).await?;
        let mut start = FileStart {
            time: 0,
            gtid: GtidPosition::default(),
        };
        for _ in 0..START_EVENTS_MAX {
            let event = stream.next().await?;
            match Kind::of(event.header.code) {
                Kind::FormatDescription => start.time = i64::from(event.header.timestamp),
                Kind::MariadbGtidList => {
                    start.gtid = gtid_list(event.body);
                    break;
                }
                Kind::Rotate | Kind::Passed => {}
                _ => break,
            }
        }
        Ok(start)
    }

    /// The transactions before a position, where the server can tell.
    async fn gtid_at(&self, position: &Position) -> GtidPosition {
        if self.server().flavour == Flavour::MySql {
            return GtidPosition::default();
        }
        // A file's name has no quote: `BinlogFile` comes from the server's own list.
        let file = position.file.as_str().replace(['\'', '\\'], "");
        let sql = format!("SELECT BINLOG_GTID_POS('{file}', {})", position.next);
        let answer = self.ask("its GTID position", &sql).await.ok();
        let text = answer.and_then(|table| table.scalar());
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// The group that an event begins, if it does.
fn group_start(event: &RawEvent<'_>) -> Option<GroupStart> {
    let time = i64::from(event.header.timestamp);
    match Kind::of(event.header.code) {
        Kind::MariadbGtid => {
            let (sequence, rest) = event.body.split_first_chunk::<8>()?;
            let domain = rest.first_chunk::<4>()?;
            let gtid = Gtid {
                domain: u32::from_le_bytes(*domain),
                server: event.header.server_id,
                sequence: u64::from_le_bytes(*sequence),
            };
            Some(GroupStart {
                time,
                gtid: Some(gtid),
            })
        }
        Kind::MysqlGtid => Some(GroupStart { time, gtid: None }),
        _ => None,
    }
}

/// The transactions before a file, of its list event: a count whose upper
/// four bits are flags, then domain, server and sequence of each.
fn gtid_list(body: &[u8]) -> GtidPosition {
    let mut position = GtidPosition::default();
    let Some((count, mut rest)) = body.split_first_chunk::<4>() else {
        return position;
    };
    for _ in 0..u32::from_le_bytes(*count) & 0x0fff_ffff {
        let Some((domain, tail)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let Some((server, tail)) = tail.split_first_chunk::<4>() else {
            break;
        };
        let Some((sequence, tail)) = tail.split_first_chunk::<8>() else {
            break;
        };
        position.advance(Gtid {
            domain: u32::from_le_bytes(*domain),
            server: u32::from_le_bytes(*server),
            sequence: u64::from_le_bytes(*sequence),
        });
        rest = tail;
    }
    position
}

/// A time for a message, in UTC.
pub(super) fn time_text(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("second {seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gtid_list_is_read_as_far_as_it_goes() {
        let mut body = 2_u32.to_le_bytes().to_vec();
        for (domain, server, sequence) in [(0_u32, 1_u32, 42_u64), (7, 3, 5)] {
            body.extend(domain.to_le_bytes());
            body.extend(server.to_le_bytes());
            body.extend(sequence.to_le_bytes());
        }
        assert_eq!(gtid_list(&body).to_string(), "0-1-42,7-3-5");
        assert_eq!(gtid_list(&body[..30]).to_string(), "0-1-42");
        assert!(gtid_list(&[]).is_empty());
        assert!(gtid_list(&u32::MAX.to_le_bytes()).is_empty());
    }
}

//! From what an operator means (earliest, a time, a transaction) to a position.
//!
//! The server is asked by reading its binlog like a replica: the first events
//! of a file tell when it was begun and which transactions came before, which
//! finds the file by halving; the place in it is found by reading it.
//!
//! Only the start of a group is a place to resume from. Inside of one the
//! table maps and the rows before would be missing.

mod by_gtid;

use crate::binlog::{
    BinlogFile, FIRST_EVENT_OFFSET, Gtid, GtidPosition, Kind, Position, Reader, Watch,
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
    /// Behind these transactions; domains and servers that are not named do not matter.
    Gtid(GtidPosition),
    /// The first group written at or after this time, in seconds since 1970 (UTC).
    Time(i64),
}

/// A position to resume from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The start of a group, or the end of the binlog.
    pub position: Position,
    /// The transactions before it; empty where the source numbers none.
    pub gtid: GtidPosition,
    /// When the event there was written; `None` at the end of the binlog.
    pub event_time: Option<i64>,
}

/// A binlog, as it is now.
struct Binlog {
    /// Oldest first.
    files: Vec<BinlogFile>,
    end: Located,
}

/// What the first events of a file tell.
struct FileStart {
    /// When the file was begun.
    time: i64,
    /// The transactions in the files before.
    gtid: GtidPosition,
}

/// A group's start, as offered to a search.
struct GroupStart<'a> {
    time: i64,
    gtid: Option<&'a Gtid>,
}

impl MySqlSource {
    /// Finds the position that a target means.
    ///
    /// # Errors
    /// [`SourceError::Purged`] when it is older than the oldest binlog,
    /// [`SourceError::ImpossiblePosition`] when there is no such place.
    pub async fn locate(&self, target: &Target) -> Result<Located, SourceError> {
        let binlog = self.binlog().await?;
        match target {
            Target::Latest => Ok(binlog.end),
            Target::Earliest => {
                let Some(first) = binlog.files.first() else {
                    return Ok(binlog.end);
                };
                let start = self.file_start(first).await?;
                Ok(Located {
                    position: Position::start_of(first.clone()),
                    gtid: start.gtid,
                    event_time: Some(start.time),
                })
            }
            Target::Position(position) => Ok(Located {
                event_time: self.check(position, &binlog).await?,
                position: position.clone(),
                gtid: self.gtid_at(position, &binlog).await?,
            }),
            Target::Time(time) => self.by_time(*time, &binlog).await,
            Target::Gtid(gtid) => {
                self.by_gtid(&gtid.clone().begun_at_the_first(), &binlog)
                    .await
            }
        }
    }

    /// The files and the end of the binlog, now.
    async fn binlog(&self) -> Result<Binlog, SourceError> {
        let files = self.binlogs().await?;
        let (position, executed) = self.binlog_end_and_gtid().await?;
        let gtid = match executed {
            Some(executed) => executed,
            None => self.gtid_of_mariadb(&position).await,
        };
        Ok(Binlog {
            files: files.into_iter().map(|(file, _)| file).collect(),
            end: Located {
                position,
                gtid,
                event_time: None,
            },
        })
    }

    /// When the oldest binlog was begun, in seconds since 1970.
    pub(super) async fn oldest_time(&self) -> Result<Option<i64>, SourceError> {
        let Some((file, _)) = self.binlogs().await?.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(self.file_start(&file).await?.time))
    }

    /// When a binlog file was begun, in seconds since 1970; `None` where its first
    /// events do not say so.
    pub(super) async fn file_begun(&self, file: &BinlogFile) -> Result<Option<i64>, SourceError> {
        let start = self.file_start(file).await?;
        Ok(Some(start.time).filter(|time| *time != 0))
    }

    async fn by_time(&self, time: i64, binlog: &Binlog) -> Result<Located, SourceError> {
        // Everything in the files before was written before this one began.
        let (mut low, mut high) = (0, binlog.files.len());
        let mut oldest = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(file) = binlog.files.get(middle) else {
                break;
            };
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
        let Some(file) = binlog.files.get(low.saturating_sub(1)) else {
            return Ok(binlog.end.clone());
        };
        if let Some(oldest) = oldest.filter(|oldest| low == 0 && *oldest > time) {
            return Err(SourceError::Purged {
                wanted: time_text(time),
                detail: format!("its oldest binlog begins at {}", time_text(oldest)),
            });
        }
        let wanted = |group: &GroupStart<'_>| Ok(group.time >= time);
        let found = self.search(file, &binlog.end.position, wanted).await?;
        Ok(found.unwrap_or_else(|| binlog.end.clone()))
    }

    /// The first group of `file` or later, and before `head`, that is wanted.
    async fn search(
        &self,
        file: &BinlogFile,
        head: &Position,
        mut wanted: impl FnMut(&GroupStart<'_>) -> Result<bool, SourceError>,
    ) -> Result<Option<Located>, SourceError> {
        let start = Position::start_of(file.clone());
        let mut stream = self.look(&start).await?;
        let mut reader = Reader::new(Watch::new("", &[]), start, GtidPosition::default());
        loop {
            if !reader.in_group() && reader.position() >= head {
                return Ok(None);
            }
            let event = stream.next().await?;
            let (code, time) = (event.header.code, i64::from(event.header.timestamp));
            reader.pass(event);
            let group = GroupStart {
                time,
                gtid: reader.group_gtid(),
            };
            if begins_group(Kind::of(code)) && wanted(&group)? {
                return Ok(Some(Located {
                    position: reader.position().clone(),
                    gtid: reader.gtid().clone(),
                    event_time: Some(time),
                }));
            }
        }
    }

    /// Makes sure that a group begins at `position`, and tells when.
    async fn check(
        &self,
        position: &Position,
        binlog: &Binlog,
    ) -> Result<Option<i64>, SourceError> {
        let head = &binlog.end.position;
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
        let oldest = binlog.files.first().unwrap_or(&head.file);
        if position.file < *oldest {
            return Err(SourceError::Purged {
                wanted: position.to_string(),
                detail: format!("its oldest binlog is {oldest}"),
            });
        }
        if !binlog.files.contains(&position.file) {
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
                | Kind::MysqlTaggedGtid
                | Kind::MysqlAnonymous
                | Kind::PreviousGtids
                | Kind::MariadbGtidList
                | Kind::Incident => return Ok(Some(time).filter(|time| *time != 0)),
                // Checkpoints and the like stand between groups; annotations
                // and variables inside.
                Kind::Passed if matches!(event.header.code, 161 | 164) => {
                    return Ok(Some(time));
                }
                Kind::Passed
                | Kind::Query
                | Kind::LoadQuery
                | Kind::Xid
                | Kind::XaPrepare
                | Kind::TableMap
                | Kind::Rows(_)
                | Kind::CompressedRows(_)
                | Kind::CompressedQuery
                | Kind::PartialJsonRows
                | Kind::TransactionPayload
                | Kind::Unrecognised(_) => {
                    return Err(impossible("it is inside a group, which would be cut"));
                }
            }
        }
    }

    /// What the first events of a file tell.
    async fn file_start(&self, file: &BinlogFile) -> Result<FileStart, SourceError> {
        let start = Position::start_of(file.clone());
        let mut stream = self.look(&start).await?;
        let mut reader = Reader::new(Watch::new("", &[]), start, GtidPosition::default());
        for _ in 0..START_EVENTS_MAX {
            let event = stream.next().await?;
            let kind = Kind::of(event.header.code);
            if begins_group(kind) || matches!(kind, Kind::Heartbeat | Kind::Query) {
                break;
            }
            reader.pass(event);
            if matches!(kind, Kind::MariadbGtidList | Kind::PreviousGtids) {
                break;
            }
        }
        Ok(FileStart {
            time: reader.file_begun().unwrap_or(0),
            gtid: reader.gtid().clone(),
        })
    }

    /// The transactions before a position. MySQL cannot tell, and MariaDB not
    /// beyond 4 GiB, so that the file is read up to there.
    async fn gtid_at(
        &self,
        position: &Position,
        binlog: &Binlog,
    ) -> Result<GtidPosition, SourceError> {
        if *position == binlog.end.position {
            return Ok(binlog.end.gtid.clone());
        }
        let can_tell = u32::try_from(position.next).is_ok();
        if self.server().flavour == Flavour::MariaDb && can_tell {
            return Ok(self.gtid_of_mariadb(position).await);
        }
        let start = Position::start_of(position.file.clone());
        let mut stream = self.look(&start).await?;
        let mut reader = Reader::new(Watch::new("", &[]), start, GtidPosition::default());
        while reader.position() < position {
            reader.pass(stream.next().await?);
        }
        Ok(reader.gtid().clone())
    }

    /// The transactions before a position, as MariaDB tells them.
    async fn gtid_of_mariadb(&self, position: &Position) -> GtidPosition {
        // A file's name has no quote: `BinlogFile` comes from the server's own list.
        let file = position.file.as_str().replace(['\'', '\\'], "");
        let sql = format!("SELECT BINLOG_GTID_POS('{file}', {})", position.next);
        let answer = self.ask("its GTID position", &sql).await.ok();
        let text = answer.and_then(|table| table.scalar());
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// Whether a group begins with such an event.
fn begins_group(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::MariadbGtid | Kind::MysqlGtid | Kind::MysqlTaggedGtid | Kind::MysqlAnonymous
    )
}

/// A time for a message, in UTC.
pub(super) fn time_text(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("second {seconds}"),
    }
}

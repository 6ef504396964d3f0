//! One reading of all files before the first row is applied, so that a damaged or
//! a foreign one changes nothing.

use tokio::sync::watch;

use super::refused;
use crate::binlog::{DecodeError, GtidPosition, Position, Reader, Step, Watch};
use crate::engine::policy::EngineError;
use crate::source::{EventStream as _, FileSource, Source as _, SourceError};
use crate::vicidial::{Table, written};

/// Code of the first event of every file.
const FORMAT_DESCRIPTION: u8 = 15;

/// Flag of an event that is in no file.
const ARTIFICIAL: u16 = crate::binlog::ARTIFICIAL_FLAG;

/// What reading the files through has shown.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) first: Position,
    /// The end of the last complete group.
    pub(super) end: Position,
    pub(super) bytes: u64,
    pub(super) cut_off: Option<Position>,
    /// The GTIDs where the store stands, if that is between two groups.
    pub(super) at_store: Option<GtidPosition>,
    /// The first statement that changes a watched table.
    pub(super) statement: Option<Position>,
    /// The first rows of a table whose columns the file does not name.
    pub(super) unnamed: Option<(Table, Position)>,
}

/// Reads everything once. `None`: it was asked to stop.
pub(super) async fn survey(
    files: &FileSource,
    database: &str,
    at: Option<&Position>,
    shutdown: &watch::Receiver<bool>,
) -> Result<Option<Survey>, EngineError> {
    let nothing = || refused("there is no file to replay", "name the files");
    let first = files.start().ok_or_else(nothing)?;
    let last = files.names().last().cloned().ok_or_else(nothing)?;
    let watch = Watch::new(database, &Table::NAMES);
    let mut reader = Reader::new(watch, first.clone(), GtidPosition::default());
    let mut stream = files.stream(&first).await?;
    let mut found = Survey {
        end: first.clone(),
        first,
        bytes: 0,
        cut_off: None,
        at_store: None,
        statement: None,
        unnamed: None,
    };
    let mut server: Option<(u32, Position)> = None;
    while !*shutdown.borrow() {
        if at == Some(reader.position()) {
            found.at_store = Some(reader.gtid().clone());
        }
        let event = match stream.try_next() {
            None => {
                found.end = reader.position().clone();
                return Ok(Some(found));
            }
            Some(Err(SourceError::Truncated { position })) => {
                let cut: Option<Position> = position.parse().ok();
                if cut.as_ref().is_none_or(|cut| cut.file != last) {
                    return Err(cut_in_the_middle(&position));
                }
                found.cut_off = cut;
                found.end = reader.position().clone();
                return Ok(Some(found));
            }
            Some(event) => event.map_err(of_file)?,
        };
        let header = event.header;
        found.bytes += u64::from(header.size);
        if header.code == FORMAT_DESCRIPTION && header.flags & ARTIFICIAL == 0 {
            let here = reader.position().clone();
            match &server {
                Some((id, place)) if *id != header.server_id => {
                    return Err(refused(
                        format!(
                            "{} was written by server {id} and {} by server {}",
                            place.file, here.file, header.server_id
                        ),
                        "give the files of one server",
                    ));
                }
                Some(_) => {}
                None => server = Some((header.server_id, here)),
            }
        }
        match reader.event(event) {
            Ok(Step::Payload(mut payload)) => {
                while let Ok(Some(inner)) = payload.next_event() {
                    let step = reader.inner(inner);
                    found.note(step, reader.position());
                }
                reader.end_payload();
            }
            step => found.note(step, reader.position()),
        }
    }
    Ok(None)
}

impl Survey {
    /// Notes what a step asks of a source. What cannot be decoded is told when it
    /// is applied.
    fn note(&mut self, step: Result<Step<'_>, DecodeError>, place: &Position) {
        match step {
            Ok(Step::Rows(rows)) if self.unnamed.is_none() => {
                let table = Table::of_rank(rows.table.watched);
                if let Some(table) = table.filter(|_| rows.table.column_names.is_none()) {
                    self.unnamed = Some((table, place.clone()));
                }
            }
            Ok(Step::Statement(statement)) if self.statement.is_none() => {
                let ranks = statement.watched.iter().copied();
                let named: Vec<Table> = ranks.filter_map(Table::of_rank).collect();
                let time = i64::from(statement.timestamp);
                if !written(&statement.text, &named, |_| Vec::new(), time).is_empty() {
                    self.statement = Some(place.clone());
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// What is wrong in a file, told as such: the same of a stream speaks of the way
/// to the source.
fn of_file(error: SourceError) -> SourceError {
    match error {
        SourceError::Damaged { detail } | SourceError::NotABinlog { detail } => SourceError::File {
            detail: format!("a file is damaged at {detail}"),
            fix: "nothing was changed. Copy the file again; `mysqlbinlog --verify-binlog-checksum \
                  FILE` says whether it is whole. Where the source's own file is like that, replay \
                  the files before it, then those behind it with --skip-gap, and load what it held \
                  with `didtail verify --repair`"
                .to_owned(),
        },
        error => error,
    }
}

fn cut_in_the_middle(position: &str) -> EngineError {
    refused(
        format!("the file ends within the event at {position}, and more files follow"),
        "copy the file again. If it is as long as on the server, the server crashed there: replay the files up to this one, then the others with --skip-gap",
    )
}

//! How many events lie between two places of a binlog, for whoever has to judge what
//! going from one to the other means.
//!
//! Nothing tells it but reading: so it is bounded, and says whether it came through.

use std::time::Duration;

use tokio::time::Instant;

use super::{EventStream, Source, SourceError};
use crate::binlog::{ARTIFICIAL_FLAG, EventHeader, GtidPosition, Kind, Position, Reader, Watch};

/// Events that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// So many.
    pub events: u64,
    /// False: there are more, and counting was given up.
    pub is_all: bool,
}

/// Counts the events from one position to a later one, at most `events_max` of them
/// and for as long as `patience`.
///
/// # Errors
/// [`SourceError`] where the binlog cannot be read from there.
pub async fn count<S: Source>(
    source: &S,
    from: &Position,
    to: &Position,
    events_max: u64,
    patience: Duration,
) -> Result<Counted, SourceError> {
    let until = Instant::now() + patience;
    let mut counted = Counted::default();
    let counting = async {
        let mut stream = source.look(from).await?;
        let mut reader = Reader::new(Watch::new("", &[]), from.clone(), GtidPosition::default());
        while reader.in_group() || reader.position() < to {
            if counted.events >= events_max {
                return Ok::<_, SourceError>(false);
            }
            // Where events are here already, the timer around all this is never asked.
            if counted.events.is_multiple_of(LOOKS_AT_CLOCK) && Instant::now() >= until {
                return Ok(false);
            }
            let event = stream.next().await?;
            if is_in_file(&event.header) {
                counted.events += 1;
            }
            reader.pass(event);
        }
        Ok(true)
    };
    let is_all = tokio::time::timeout_at(until, counting).await;
    counted.is_all = is_all.unwrap_or(Ok(false))?;
    Ok(counted)
}

/// Events after which the clock is looked at.
const LOOKS_AT_CLOCK: u64 = 4096;

/// Whether an event is in the file, and was not made up for this reader.
fn is_in_file(header: &EventHeader) -> bool {
    let kind = Kind::of(header.code);
    let opens = matches!(kind, Kind::Rotate | Kind::FormatDescription) && header.end_low == 0;
    header.flags & ARTIFICIAL_FLAG == 0 && kind != Kind::Heartbeat && !opens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::BinlogFile;
    use crate::source::MemorySource;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn what_lies_between_is_counted_through_files_and_up_to_a_limit() {
        const GTID: u8 = 162;
        const XID: u8 = 16;
        let file = |number: u32| BinlogFile::new(&format!("b.{number:06}")).expect("valid");
        let source = MemorySource::new(file(1));
        let group = |sequence: u8| {
            let body = [sequence, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            source.push(GTID, 0, 100, &body);
            source.push(XID, 0, 100, &[7; 8])
        };
        let first = group(1);
        let second = group(2);
        source.rotate(file(2), 100);
        let third = group(3);
        let on = |from: Position, to: Position, max| {
            let source = source.clone();
            async move {
                let counted = count(&source, &from, &to, max, LONG).await;
                let Counted { events, is_all } = counted.expect("a binlog");
                (events, is_all)
            }
        };
        assert_eq!(on(first.clone(), first.clone(), 9).await, (0, true));
        assert_eq!(on(first.clone(), second.clone(), 9).await, (2, true));
        let all = on(second.clone(), third.clone(), 9).await;
        // The rotation, perhaps the new file's description, and a group.
        assert!(all.1 && (3..=4).contains(&all.0), "{all:?}");
        assert_eq!(on(first.clone(), third.clone(), 3).await, (3, false));
        let gone = Position::start_of(file(9));
        assert!(count(&source, &gone, &third, 9, LONG).await.is_err());
    }
}

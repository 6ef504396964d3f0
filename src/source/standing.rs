//! For `didtail doctor`: is it still the server, and the binlog, that was followed?

use super::locate::time_text;
use super::{Finding, MySqlSource, Outcome, SourceError};
use crate::checkpoint::Checkpoint;

/// What to do about a server that has none of what was read.
const ELSEWHERE: &str = "if the server was replaced on purpose, choose where to go on: \
    `didtail checkpoint reset --to latest` (or a TIME or GTID that both servers have), \
    and then `didtail verify --repair` compares with the new server";

/// What to do about a binlog that is another one under the old name.
const RESET: &str = "the source was restored or its binlog was reset: run `didtail checkpoint \
    reset --to earliest`; `didtail verify --repair` then finds what was written in between";

/// Compares the server with the one that was followed last, and the file of the
/// checkpoint with the one that was read. Returns with the finding the
/// checkpoint that the daemon would go on with: another one on another server.
///
pub async fn standing(source: &MySqlSource, known: &Checkpoint) -> (Finding, Checkpoint) {
    let finding = |outcome, actual: String, fix: Option<&str>| Finding {
        check: "same server",
        outcome,
        expected:
            "the server and the binlog that were read before, or one that has its transactions"
                .to_owned(),
        actual,
        fix: fix.map(ToOwned::to_owned),
    };
    let unknown = |error: &SourceError| finding(Outcome::Unknown, error.to_string(), None);
    let Some(recorded) = &known.server else {
        let actual = "no server was followed since the position was set".to_owned();
        return (finding(Outcome::Good, actual, None), known.clone());
    };
    let now = match source.identity().await {
        Ok(now) => now,
        Err(error) => return (unknown(&error), known.clone()),
    };
    if now != *recorded {
        let (found, there) = match source.behind(&known.gtid, known.event_time).await {
            Ok(located) => {
                let actual = format!(
                    "was {recorded} and is {now}; didtail would go on at {}, behind {}",
                    located.position, known.gtid
                );
                let there = Checkpoint {
                    server: Some(now),
                    position: located.position,
                    file_begun: None,
                    gtid: located.gtid,
                    ..known.clone()
                };
                (finding(Outcome::Note, actual, None), there)
            }
            Err(error) if error.is_transient() => (unknown(&error), known.clone()),
            Err(error) => {
                let actual = format!("was {recorded} and is {now}: {error}");
                (
                    finding(Outcome::Bad, actual, Some(ELSEWHERE)),
                    known.clone(),
                )
            }
        };
        return (found, there);
    }
    let file = &known.position.file;
    let begun = match known.file_begun {
        Some(was) => source
            .file_begun(file)
            .await
            .ok()
            .flatten()
            .map(|now| (was, now)),
        None => None,
    };
    let found = match begun {
        Some((was, now)) if was != now => {
            let (was, now) = (time_text(was), time_text(now));
            let actual = format!("{file} was begun at {now}, and the one that was read at {was}");
            finding(Outcome::Bad, actual, Some(RESET))
        }
        // A file that is gone is told by the resume position.
        Some(_) | None => finding(Outcome::Good, now, None),
    };
    (found, known.clone())
}

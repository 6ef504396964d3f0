//! Is the binlog that the daemon would go on with still there?

use super::{Finding, Outcome};
use crate::binlog::Position;
use crate::source::locate::time_text;
use crate::source::{MySqlSource, SourceError};

/// Checks the position against the files that are left.
pub(super) async fn resume(source: &MySqlSource, position: &Position) -> Vec<Finding> {
    let expected = format!("{position} is in the binlog");
    let finding =
        |outcome, actual: &str| Finding::new("resume position", outcome, &expected, actual);
    let binlogs = match source.binlogs().await {
        Ok(binlogs) => binlogs,
        Err(error @ SourceError::NotGranted { .. }) => {
            return vec![finding(Outcome::Unknown, &error.to_string())];
        }
        Err(error) => return vec![Finding::unknown("resume position", &expected, &error)],
    };
    let reset = "the source was restored, or its binlog was reset: \
        `didtail checkpoint reset --to earliest`, then `didtail verify --since TIME --repair`";
    let (Some((oldest, _)), Some((newest, end))) = (binlogs.first(), binlogs.last()) else {
        return vec![finding(Outcome::Bad, "the source has no binlog").fix(reset)];
    };
    vec![
        match binlogs.iter().find(|(file, _)| *file == position.file) {
            Some((_, size)) if position.next <= *size => {
                let behind = binlogs.iter().filter(|(file, _)| *file > position.file);
                let files = behind.count();
                finding(
                    Outcome::Good,
                    &format!("there, {files} files before the end"),
                )
            }
            Some((file, size)) => {
                let actual = format!("{file} ends at {size}");
                finding(Outcome::Bad, &actual).fix(reset)
            }
            None if position.file < *oldest => {
                let since = match source.oldest_time().await {
                    Ok(Some(time)) => format!(", which begins at {}", time_text(time)),
                    _ => String::new(),
                };
                let actual = format!("deleted; the oldest binlog left is {oldest}{since}");
                finding(Outcome::Bad, &actual).fix(
                "`didtail checkpoint reset --to earliest`: the changes between the last applied \
                 call and the oldest binlog are not in it any more; load them with \
                 `didtail backfill --since TIME` (TIME: last_applied_at of `didtail status`)",
            )
            }
            None => {
                let actual = format!("the binlog ends at {newest}:{end}");
                finding(Outcome::Bad, &actual).fix(reset)
            }
        },
    ]
}

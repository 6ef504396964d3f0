//! Is the binlog that the daemon would go on with still there?

use super::retention::keep_longer;
use super::{Finding, Outcome};
use crate::binlog::{GtidPosition, Position};
use crate::checkpoint::Checkpoint;
use crate::source::locate::time_text;
use crate::source::{Flavour, MySqlSource, SourceError, Target};

/// Checks the position against the files that are left, and against the
/// transactions that were read up to it.
pub(super) async fn resume(source: &MySqlSource, checkpoint: &Checkpoint) -> Vec<Finding> {
    let position = &checkpoint.position;
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
        run `didtail checkpoint reset --to earliest` (or latest); `didtail verify --repair` \
        then finds what was written in between";
    let (Some((oldest, _)), Some((newest, end))) = (binlogs.first(), binlogs.last()) else {
        return vec![finding(Outcome::Bad, "the source has no binlog").fix(reset)];
    };
    vec![
        match binlogs.iter().find(|(file, _)| *file == position.file) {
            Some((_, size)) if position.next <= *size => {
                if let Some(actual) = other_history(source, position, &checkpoint.gtid).await {
                    return vec![finding(Outcome::Bad, &actual).fix(reset)];
                }
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
                let begins = source.oldest_time().await.ok().flatten();
                let since = begins.map(|time| format!(", which begins at {}", time_text(time)));
                let since = since.unwrap_or_default();
                let actual = format!("deleted; the oldest binlog left is {oldest}{since}");
                let applied = checkpoint.event_time;
                let now = source.clock().await.ok();
                #[expect(clippy::cast_precision_loss, reason = "hours, in words")]
                let age = applied.zip(now).map(|(at, now)| (now - at) as f64 / 3600.0);
                let keep = keep_longer(source, age).await;
                finding(Outcome::Bad, &actual).fix(gap(applied, begins, &keep))
            }
            None => {
                let actual = format!("the binlog ends at {newest}:{end}");
                finding(Outcome::Bad, &actual).fix(reset)
            }
        },
    ]
}

/// VICIdial writes a call's disposition up to so long after the call's date
/// (`vdc_db_query.php`, `call_date > now - 4h`).
const DISPOSITION_SECONDS: i64 = 4 * 3600;

/// What is lost between the newest change that was applied and the begin of the
/// oldest binlog, and how it is loaded.
fn gap(applied: Option<i64>, begins: Option<i64>, keep: &str) -> String {
    let reset = "run `didtail checkpoint reset --to earliest`, start didtail, and run";
    let (Some(applied), Some(begins)) = (applied, begins) else {
        return format!(
            "what changed since the newest change that `didtail status` shows cannot be read \
             any more: {reset} `didtail backfill --since TIME` with a time some hours before \
             that. {keep}"
        );
    };
    let (from, to) = (time_text(applied), time_text(begins.max(applied)));
    let since = time_text(applied - DISPOSITION_SECONDS);
    format!(
        "what changed between {from} and {to} cannot be read any more: {reset} \
         `didtail backfill --since {since}`. {keep}"
    )
}

/// After RESET MASTER or a restore the files have their old names and other
/// contents, and the position may fit by chance. The transactions do not:
/// MariaDB tells which had been written up to a place.
async fn other_history(
    source: &MySqlSource,
    position: &Position,
    gtid: &GtidPosition,
) -> Option<String> {
    // Beyond 4 GiB it cannot be asked.
    let can_tell = u32::try_from(position.next).is_ok();
    if gtid.is_empty() || source.server().flavour != Flavour::MariaDb || !can_tell {
        return None;
    }
    let sql = format!(
        "SELECT BINLOG_GTID_POS('{}', {})",
        position.file, position.next
    );
    // A server that cannot answer says nothing against the position.
    let table = source
        .ask("the transactions at a position", &sql)
        .await
        .ok()?;
    let Some(cell) = table.rows.first()?.first()?.as_ref() else {
        // NULL: it found no event that begins there. A look decides.
        let looked = source.locate(&Target::Position(position.clone())).await;
        return looked
            .err()
            .filter(|error| !error.is_transient())
            .map(|_| "another binlog of that name: no event begins there any more".to_owned());
    };
    let actual: GtidPosition = std::str::from_utf8(cell).ok()?.parse().ok()?;
    (actual != *gtid).then(|| {
        format!("another binlog of that name: {actual} had been written there, not {gtid}")
    })
}

//! Rows that were quarantined, tried again.
//!
//! # Why they are read from VICIdial's tables again
//! A row that was quarantined is a state of then. To apply it now would set its call
//! back, past everything that came behind it in the binlog. What it is good for is to
//! say *which* row changed: its key. The row of that key, and what belongs to the
//! same call, is read by SELECT while the store stands still and merged, exactly as
//! `didtail backfill` does it (see [`crate::engine::backfill`]), so that the numbers
//! are those that they would be had the row been understood. The daemon may run.
//!
//! # When a row is done
//! When the rows of its keys could be read and merged, or when it says that they were
//! deleted. One whose key cannot be told, or that is in no table any more, stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::binlog::{
    Kind as EventKind, MySqlValue, Operation, Row, RowChange, RowsEvent, TableMap,
};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::engine::backfill::merge::{Merger, Merging};
use crate::engine::backfill::rows::{Kind, Rows};
use crate::engine::backfill::{gone, sources_of};
use crate::engine::layouts::Layouts;
use crate::engine::policy::EngineError;
use crate::engine::selection::Selection;
use crate::ledger::{CODE_WINDOW_SECONDS, ChangeSet, Counters, Frame};
use crate::source::{Condition, Source, SourceError, archive_of};
use crate::state::{QuarantinedRow, SetAside};
use crate::store::{SqlStore, Store};
use crate::vicidial::{CallName, Detail, Interpreter, Layout, Table};

/// How long the rows of one event may take to be read; the daemon waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(4);

/// The same while nobody waits.
const PATIENCE_ALONE: Duration = Duration::from_secs(60);

/// Tries where the source does not answer in time, or not at all, and the pause
/// between them.
const TRIES: u32 = 5;
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What it was about is in the numbers, as VICIdial has it now.
    Mended,
    /// It stays quarantined, for this reason.
    Stays(String),
}

/// A row that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retried {
    /// [`SetAside::id`].
    pub id: i64,
    /// What became of it.
    pub verdict: Verdict,
}

/// What trying came to.
#[derive(Clone, Debug, Default)]
pub struct RetriedRows {
    /// Each row.
    pub rows: Vec<Retried>,
    /// Calls and dials that changed.
    pub changed: u64,
    /// By DID, what was added to its counters.
    pub dids: BTreeMap<String, Counters>,
}

/// Tries rows of one configured source again. With `dry_run` it finds out what would
/// become of them, and changes nothing.
///
/// # Errors
/// [`EngineError`] when source or store cannot be used; what was merged until then
/// stays.
pub async fn retry(
    config: &Config,
    source: &crate::config::SourceConfig,
    rows: &[SetAside],
    dry_run: bool,
    mut progress: impl FnMut(u64),
) -> Result<RetriedRows, EngineError> {
    let store = Arc::new(SqlStore::open(&config.store.address()).await?);
    let ends = Box::pin(sources_of(config, source, &store)).await?;
    let mut done = RetriedRows::default();
    let Some(stands) = store.progress(&source.name).await? else {
        return Err(EngineError::Replay {
            what: format!("nothing was ever applied of the source `{}`", source.name),
            fix: "start the daemon first: didtail run".to_owned(),
        });
    };
    let landmarks = store.landmarks(&source.name, stands.epoch).await?;
    let mut retry = Retry {
        selection: ends.selection()?,
        merger: ends.merger("quarantine"),
        layouts: Layouts::of(&landmarks),
        dry_run,
        merged: BTreeSet::new(),
    };
    // Those of calls bring their dials with them.
    let mut rows: Vec<&SetAside> = rows.iter().collect();
    rows.sort_by_key(|kept| (is_by_code(&kept.row.table), kept.id));
    for (number, row) in (1..).zip(rows) {
        let verdict = Box::pin(retry.one(&row.row, &mut done)).await?;
        done.rows.push(Retried {
            id: row.id,
            verdict,
        });
        progress(number);
    }
    store.close().await;
    Ok(done)
}

struct Retry<S, St> {
    selection: Selection<S>,
    merger: Merger<St>,
    layouts: Layouts,
    dry_run: bool,
    /// Keys whose rows were merged, or would be: of one call there are often several
    /// rows, and what VICIdial has of it now is behind all of them.
    merged: BTreeSet<String>,
}

/// How the cells of a row are found by name.
enum Names {
    /// By the columns of its time.
    Layout(Arc<Layout>),
    /// By the places that the columns have now: VICIdial's keys are the first columns,
    /// and what was altered lies behind them. Whether that was right shows when a row
    /// with such a key is found.
    Places(Vec<String>),
}

impl Names {
    fn text(&self, row: &Row, column: &str) -> Option<String> {
        match self {
            Self::Layout(layout) => Interpreter::text(layout, row, column),
            Self::Places(names) => {
                let place = names.iter().position(|name| name == column)?;
                let cell = row.cells.get(place)?.as_ref()?;
                if let MySqlValue::Blob(bytes) = cell {
                    String::from_utf8(bytes.clone()).ok()
                } else if let MySqlValue::Int(number) = cell {
                    Some(number.to_string())
                } else {
                    None
                }
            }
        }
    }
}

/// The rows of VICIdial's tables that an event is about.
struct Named {
    table: Table,
    /// `uniqueid`s or caller codes, by the table's key.
    values: BTreeSet<String>,
    /// Those of them that are there behind the event.
    present: BTreeSet<String>,
    /// All of its rows are new: of these an archive says as much as the table.
    is_insert: bool,
    /// Leads of calls.
    leads: BTreeSet<String>,
    /// When the event was written; seconds since 1970 (UTC).
    time: i64,
}

impl<S: Source, St: Store> Retry<S, St> {
    async fn one(
        &mut self,
        row: &QuarantinedRow,
        done: &mut RetriedRows,
    ) -> Result<Verdict, EngineError> {
        let named = match self.named(row).await? {
            Ok(named) => named,
            Err(why) => return Ok(Verdict::Stays(why)),
        };
        if !named.present.is_empty() && named.present.is_subset(&self.merged) {
            return Ok(Verdict::Mended);
        }
        // Nobody waits for this one; what it learns of the tables serves the next.
        let (found, rows) = self.look(&named, PATIENCE_ALONE).await?;
        let brought = rows.details.iter().filter_map(|(_, detail)| {
            if let Detail::Call { row, .. } = detail {
                Some(row.uniqueid.clone())
            } else if let Detail::Dial { caller_code, .. } = detail {
                Some(caller_code.clone())
            } else {
                None
            }
        });
        let brought: BTreeSet<String> = brought.collect();
        if !named.present.is_subset(&found) {
            let why = "no table of VICIdial has its row any more in a form that can be read";
            return Ok(Verdict::Stays(why.to_owned()));
        }
        let change = match self.dry_run {
            true => self.plan(rows).await?,
            false => self.merge(&named).await?,
        };
        done.add(&change);
        self.merged.extend(named.present);
        self.merged.extend(brought);
        Ok(Verdict::Mended)
    }

    /// What merging these rows would change.
    async fn plan(&mut self, rows: Rows) -> Result<ChangeSet, EngineError> {
        let expected = self.stands().await?;
        let merging = self.apply(rows).await?;
        Ok(merging.working.finish(Frame {
            source: self.merger.source.clone(),
            tenant: self.merger.tenant.clone(),
            statuses: None,
            landmarks: Vec::new(),
            checkpoint: expected.clone(),
            expected: Some(expected),
            fencing_token: None,
        }))
    }

    /// Reads the rows once more while the store stands still, and merges them.
    async fn merge(&mut self, named: &Named) -> Result<ChangeSet, EngineError> {
        let mut tries = 0;
        loop {
            let hold = self.merger.store.hold(&self.merger.source).await?;
            let expected = self.stands().await?;
            self.selection.committed(&expected).await?;
            match self.look(named, PATIENCE).await {
                Ok((_, rows)) => {
                    let merging = self.apply(rows).await?;
                    return Ok(self.merger.commit(hold, expected, merging, None).await?);
                }
                Err(error) if tries >= TRIES => return Err(error.into()),
                Err(_) => {
                    drop(hold);
                    tries += 1;
                    tokio::time::sleep(TRY_PAUSE).await;
                }
            }
        }
    }

    async fn stands(&self) -> Result<Checkpoint, EngineError> {
        let progress = self.merger.store.progress(&self.merger.source).await?;
        progress.ok_or_else(|| EngineError::Bug("a store without a position".to_owned()))
    }

    async fn apply(&mut self, rows: Rows) -> Result<Merging, EngineError> {
        let keys = rows.calls();
        let loading = self.merger.load(rows).await?;
        let now = (self.merger.clock)();
        let gone = gone::find(&mut self.selection, &keys, &loading.loaded, now).await?;
        Ok(self.merger.apply(loading, gone))
    }

    async fn look(
        &mut self,
        named: &Named,
        patience: Duration,
    ) -> Result<(BTreeSet<String>, Rows), SourceError> {
        let now = (self.merger.clock)();
        let reading = self.read(named, now);
        match tokio::time::timeout(patience, reading).await {
            Ok(read) => read,
            Err(_) => Err(late()),
        }
    }

    /// Which rows the event is about, or why that cannot be told.
    async fn named(&mut self, row: &QuarantinedRow) -> Result<Result<Named, String>, EngineError> {
        let Some(table) = Table::named(&row.table) else {
            return Ok(Err(format!("its table cannot be told: {}", row.reason)));
        };
        let column = match table {
            Table::Log | Table::LogExtended | Table::CarrierLog => "uniqueid",
            Table::DialLog | Table::DialCidLog | Table::ShakenLog => "caller_code",
            Table::Statuses | Table::CampaignStatuses => {
                return Ok(Err(
                    "flags of statuses are read anew at each start: restart the daemon, and \
                     `didtail recount`"
                        .to_owned(),
                ));
            }
        };
        let changes = match self.changes(table, row).await? {
            Ok(changes) => changes,
            Err(why) => return Ok(Err(why)),
        };
        let (names, changes) = changes;
        let mut named = Named {
            table,
            values: BTreeSet::new(),
            present: BTreeSet::new(),
            is_insert: changes
                .iter()
                .all(|change| matches!(change, RowChange::Insert { .. })),
            leads: BTreeSet::new(),
            time: row.event_time,
        };
        for change in &changes {
            let images: [Option<&Row>; 2] = match change {
                RowChange::Insert { after } => [None, Some(after)],
                RowChange::Update { before, after } => [Some(before), Some(after)],
                RowChange::Delete { before } => [Some(before), None],
            };
            let text = |column: &str| {
                let texts = images.into_iter().flatten();
                let texts = texts.filter_map(|row| names.text(row, column));
                texts.collect::<Vec<_>>()
            };
            let values = text(column);
            if values.is_empty() {
                return Ok(Err(format!("its {column} cannot be read")));
            }
            // The last image is the newest.
            let is_delete = matches!(change, RowChange::Delete { .. });
            named
                .present
                .extend(values.last().filter(|_| !is_delete).cloned());
            named.values.extend(values);
            if table == Table::Log {
                named.leads.extend(text("lead_id"));
            }
        }
        Ok(Ok(named))
    }

    /// The event's rows, by the columns of their time or, where those are not known,
    /// by those of now.
    async fn changes(
        &mut self,
        table: Table,
        row: &QuarantinedRow,
    ) -> Result<Result<(Names, Vec<RowChange>), String>, EngineError> {
        let (EventKind::Rows(kind) | EventKind::CompressedRows(kind)) =
            EventKind::of(row.event_code)
        else {
            return Ok(Err(format!("it is no event of rows: {}", row.reason)));
        };
        let rank = Table::ALL.into_iter().position(|one| one == table);
        let map = match TableMap::decode(&row.table_map, rank.unwrap_or_default()) {
            Ok(map) => Arc::new(map),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let names = match self.layouts.find(table, &map, &row.position) {
            Ok(layout) => Names::Layout(layout),
            // What was deleted is found nowhere, so that a guess would not show.
            Err(misfit) if kind.operation == Operation::Delete => {
                return Ok(Err(misfit.to_string()));
            }
            Err(_) => {
                let now = self.selection.source().columns(table.name()).await?;
                Names::Places(now.into_iter().map(|column| column.name).collect())
            }
        };
        let rows = RowsEvent {
            table: map,
            kind,
            code: row.event_code,
            body: row.body.as_slice().into(),
            offset: row.position.next,
            first_row: 0,
            timestamp: u32::try_from(row.event_time).unwrap_or(0),
        };
        Ok(match rows.decode() {
            Ok(changes) if !changes.is_empty() => Ok((names, changes)),
            Ok(_) => Err("it has no rows".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The rows by their keys, with what else VICIdial has of their calls; and those
    /// keys of the event that the table has. Archives come second: a row that is
    /// archived meanwhile is in one of the two. But an archive keeps a call's early
    /// disposition, so that of a change it says nothing.
    async fn read(
        &mut self,
        named: &Named,
        now: i64,
    ) -> Result<(BTreeSet<String>, Rows), SourceError> {
        let mut rows = Rows::default();
        let mut found = BTreeSet::new();
        for archived in [false, true] {
            let kind = if archived { Kind::Archived } else { Kind::Live };
            let by_code = is_by_code(named.table.name());
            let (mut uniqueids, mut codes) = (BTreeSet::new(), BTreeSet::new());
            if by_code {
                codes.extend(named.values.iter().cloned());
            } else {
                uniqueids.extend(named.values.iter().cloned());
            }
            // Those that VICIdial takes for the same call: renamed or duplicates.
            let of_leads = self
                .by(Table::Log, archived, "lead_id", &named.leads, now)
                .await?;
            let seconds: BTreeSet<&str> = named.values.iter().map(|id| second_of(id)).collect();
            let of_leads = of_leads.iter().filter_map(|detail| {
                let Detail::Call { row, .. } = detail else {
                    return None;
                };
                Some(row.uniqueid.clone())
            });
            let others = of_leads.filter(|uniqueid| seconds.contains(second_of(uniqueid)));
            let others: BTreeSet<String> = others.collect();
            let counts = !archived || named.is_insert;
            // One that was renamed since is there under its new name.
            let is_there = |key: &&String| {
                let mut others = others.iter();
                others.any(|other| second_of(other) == second_of(key))
            };
            if counts {
                found.extend(named.present.iter().filter(is_there).cloned());
            }
            uniqueids.extend(others);
            let mut times = vec![named.time];
            let mut all = Vec::new();
            for table in [Table::Log, Table::LogExtended, Table::CarrierLog] {
                let details = self
                    .by(table, archived, "uniqueid", &uniqueids, now)
                    .await?;
                if counts && table == named.table {
                    found.extend(details.iter().filter_map(key_of).map(str::to_owned));
                }
                for detail in &details {
                    if let Detail::Call { row, .. } = detail {
                        times.push(row.started_at);
                    } else if let Detail::Link { caller_code, .. } = detail {
                        codes.insert(caller_code.clone());
                    }
                }
                all.push((table, details));
            }
            for table in [Table::DialLog, Table::DialCidLog] {
                let mut details = self.by(table, archived, "caller_code", &codes, now).await?;
                // Codes come again after months.
                details.retain(|detail| {
                    let Detail::Dial { at, .. } = detail else {
                        return true;
                    };
                    times.iter().any(|time| is_near(*time, *at))
                });
                if counts && table == named.table {
                    found.extend(details.iter().filter_map(key_of).map(str::to_owned));
                }
                all.push((table, details));
            }
            if named.table == Table::ShakenLog {
                let details = self.reported(named, archived, now).await?;
                found.extend(details.iter().filter_map(key_of).map(str::to_owned));
                all.push((Table::ShakenLog, details));
            }
            // In the order in which VICIdial writes them.
            let order = crate::engine::backfill::rows::TABLES;
            all.sort_by_key(|(table, _)| order.iter().position(|other| other == table));
            for (_, details) in all {
                rows.all += details.len();
                rows.most = rows.most.max(details.len());
                rows.details
                    .extend(details.into_iter().map(|detail| (kind, detail)));
            }
        }
        Ok((found, rows))
    }

    /// The reports of these caller codes. Their table has an index of times alone, so
    /// that only those of about the row's time are looked at.
    async fn reported(
        &mut self,
        named: &Named,
        archived: bool,
        now: i64,
    ) -> Result<Vec<Detail>, SourceError> {
        let table = Table::ShakenLog;
        let name = match archived {
            true => archive_of(table),
            false => Some(table.name()),
        };
        let (Some(name), Some(column)) = (name, table.time_column()) else {
            return Ok(Vec::new());
        };
        let wall = |at: i64| self.merger.rules.zone.wall_clock(at);
        let first = wall(named.time.saturating_sub(CODE_WINDOW_SECONDS));
        let behind = wall(named.time.saturating_add(CODE_WINDOW_SECONDS));
        let values: Vec<String> = named.values.iter().cloned().collect();
        let condition = Condition {
            key: Some(("caller_code", &values)),
            window: Some((column, first, behind)),
        };
        self.selection.details_of(name, table, condition, now).await
    }

    async fn by(
        &mut self,
        table: Table,
        archived: bool,
        column: &str,
        values: &BTreeSet<String>,
        now: i64,
    ) -> Result<Vec<Detail>, SourceError> {
        let archive = archive_of(table).filter(|_| archived);
        let name = match (archived, archive) {
            (false, _) => table.name(),
            (true, Some(archive)) => archive,
            (true, None) => return Ok(Vec::new()),
        };
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<String> = values.iter().cloned().collect();
        let condition = Condition {
            key: Some((column, &values)),
            window: None,
        };
        self.selection.details_of(name, table, condition, now).await
    }
}

impl RetriedRows {
    fn add(&mut self, change: &ChangeSet) {
        self.changed += (change.calls.len() + change.dials.len()) as u64;
        for (did, delta) in &change.stats {
            *self.dids.entry(did.clone()).or_default() += delta.counters;
        }
        self.dids.retain(|_, counters| !counters.is_zero());
    }
}

/// Whether the rows of a table are found by a caller code.
fn is_by_code(table: &str) -> bool {
    matches!(
        Table::named(table),
        Some(Table::DialLog | Table::DialCidLog | Table::ShakenLog)
    )
}

/// What a row of a table is found by.
fn key_of(detail: &Detail) -> Option<&str> {
    if let Detail::Call { row, .. } = detail {
        Some(&row.uniqueid)
    } else if let Detail::Link { uniqueid, .. } | Detail::Carrier { uniqueid, .. } = detail {
        Some(uniqueid)
    } else if let Detail::Dial { caller_code, .. }
    | Detail::Reported {
        name: CallName::CallerCode(caller_code),
        ..
    } = detail
    {
        Some(caller_code)
    } else {
        None
    }
}

/// The part of a `uniqueid` that names a second.
fn second_of(uniqueid: &str) -> &str {
    uniqueid
        .split_once('.')
        .map_or(uniqueid, |(second, _)| second)
}

fn is_near(time: i64, at: i64) -> bool {
    (time.saturating_sub(at)).abs() <= CODE_WINDOW_SECONDS
}

fn late() -> SourceError {
    SourceError::Query {
        what: "the rows that were quarantined".to_owned(),
        detail: "no answer in time: a table may be locked".to_owned(),
    }
}

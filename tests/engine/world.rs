//! One scripted source, one store, one state file, and engines between them.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use didtail::binlog::{BinlogFile, FIRST_EVENT_OFFSET, GtidPosition, Position};
use didtail::checkpoint::{Checkpoint, resume};
use didtail::config::BadRow;
use didtail::engine::{EngineError, Settings, SourceVitals, Summary, follow};
use didtail::ledger::{Counters, Prefer, Rules, Success};
use didtail::source::{Column, MemorySource};
use didtail::state::{QuarantinedRow, StateFile, StatusNote};
use didtail::store::{Dump, MemoryStore, Store};
use didtail::vicidial::Zone;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::events::{self, Change, NOON, Part};

/// The name of the source, and its tenant.
pub(crate) const SOURCE: &str = "dialer";
pub(crate) const TENANT: &str = "default";

/// Everything that outlives an engine.
pub(crate) struct World<St = MemoryStore> {
    pub(crate) source: MemorySource,
    pub(crate) store: Arc<St>,
    folder: tempfile::TempDir,
    /// GTID of the group written last.
    sequence: u64,
    pub(crate) bad_row: BadRow,
    pub(crate) rules: Rules,
    pub(crate) until: Option<Position>,
    /// Days to keep dials and calls.
    pub(crate) keep: (u32, u32),
    pub(crate) fencing_token: Option<u64>,
    /// The epoch that an operator ordered last.
    epoch: Cell<u64>,
}

/// A running engine.
pub(crate) struct Engine {
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<Summary, EngineError>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_store(MemoryStore::new())
    }

    pub(crate) fn dump(&self) -> Dump {
        self.store.dump()
    }

    /// The numbers of a DID; zeros when there are none.
    pub(crate) fn numbers(&self, did: &str) -> Counters {
        let key = (TENANT.to_owned(), did.to_owned());
        let numbers = self.dump().dids.get(&key).copied().flatten();
        numbers.map_or_else(Counters::default, |numbers| numbers.counters)
    }
}

impl<St: Store> World<St> {
    pub(crate) fn with_store(store: St) -> Self {
        let source = MemorySource::new(file("mysql-bin.000001"));
        for table in [
            "vicidial_log",
            "vicidial_log_extended",
            "vicidial_dial_log",
            "vicidial_dial_cid_log",
            "vicidial_carrier_log",
            "vicidial_tiltx_shaken_log",
        ] {
            source.define(table, columns(table));
        }
        Self {
            source,
            store: Arc::new(store),
            folder: tempfile::tempdir().expect("a folder"),
            sequence: 0,
            bad_row: BadRow::Quarantine,
            rules: rules(),
            until: None,
            keep: (0, 0),
            fencing_token: None,
            epoch: Cell::new(1),
        }
    }

    /// When the next group is written; seconds since 1970.
    fn time(&self) -> u32 {
        let second = NOON + i64::try_from(self.sequence).expect("small");
        u32::try_from(second).expect("before 2106")
    }

    /// Writes a group of row changes, ended as MyISAM's are.
    pub(crate) fn group(&mut self, changes: &[Change]) -> Position {
        let parts: Vec<_> = changes.iter().cloned().map(Part::Rows).collect();
        self.parts(&parts)
    }

    /// Writes a group of any parts.
    pub(crate) fn parts(&mut self, parts: &[Part]) -> Position {
        self.open_group();
        let time = self.time();
        for part in parts {
            events::push_part(&self.source, time, part);
        }
        self.close_group()
    }

    pub(crate) fn open_group(&mut self) {
        self.sequence += 1;
        let gtid = events::gtid(self.sequence, false);
        self.source.push(162, 0, self.time(), &gtid);
    }

    /// Writes a part of the open group.
    pub(crate) fn part(&self, part: &Part) -> Position {
        events::push_part(&self.source, self.time(), part)
    }

    pub(crate) fn close_group(&self) -> Position {
        self.source
            .push(2, 0, self.time(), &events::query("COMMIT"))
    }

    /// Writes a DDL statement, a group of its own.
    pub(crate) fn ddl(&mut self, statement: &str) -> Position {
        self.sequence += 1;
        let gtid = events::gtid(self.sequence, true);
        self.source.push(162, 0, self.time(), &gtid);
        self.source
            .push(2, 0, self.time(), &events::query(statement))
    }

    pub(crate) fn gtid(&self) -> GtidPosition {
        gtid_at(self.sequence)
    }

    fn state_path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    pub(crate) fn state(&self) -> StateFile {
        StateFile::open_exclusive(&self.state_path()).expect("nobody else has it")
    }

    pub(crate) fn quarantined(&self) -> Vec<QuarantinedRow> {
        let state = StateFile::open(&self.state_path()).expect("it is there");
        state.quarantined(SOURCE, 100).expect("reads")
    }

    /// What the engine last noted for the operator.
    pub(crate) fn note(&self) -> StatusNote {
        let state = StateFile::open(&self.state_path()).expect("it is there");
        state.status(SOURCE).expect("reads").unwrap_or_default()
    }

    /// Where an engine begins now, as the daemon decides it.
    async fn resume_at(&self, state: &StateFile) -> Checkpoint {
        let local = state.checkpoint(SOURCE).expect("reads");
        let stored = self.store.progress(SOURCE).await.expect("answers");
        let decided = resume(local.as_ref(), stored.as_ref());
        decided.checkpoint().unwrap_or_else(first_checkpoint)
    }

    fn settings(&self) -> Settings {
        Settings {
            source: SOURCE.to_owned(),
            tenant: TENANT.to_owned(),
            database: events::DATABASE.to_owned(),
            rules: self.rules.clone(),
            default_country: "US".to_owned(),
            bad_row: self.bad_row,
            audit_days: 0,
            history_days: 0,
            quarantine_days: 0,
            dials_days: self.keep.0,
            call_records_days: self.keep.1,
            until: self.until.clone(),
            clock: || NOON,
            fencing_token: self.fencing_token,
            dispositions: None,
            vitals: SourceVitals::unwatched(SOURCE, || NOON),
        }
    }

    /// Starts an engine.
    pub(crate) async fn start(&self) -> Engine {
        let state = self.state();
        let start = self.resume_at(&state).await;
        let (shutdown, stop) = watch::channel(false);
        let engine = follow(
            Arc::new(self.source.clone()),
            Arc::clone(&self.store),
            state,
            self.settings(),
            start,
            stop,
        );
        Engine {
            shutdown,
            task: didtail::telemetry::spawn_named("engine", engine),
        }
    }

    /// Waits until everything up to `end` is applied.
    pub(crate) async fn applied(&self, end: &Position) {
        let patience = async {
            while !self.has_applied(end).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Longer than every pause between tries; paused time costs nothing.
        let waited = tokio::time::timeout(Duration::from_secs(600), patience).await;
        assert!(waited.is_ok(), "{end} was never applied");
    }

    pub(crate) async fn has_applied(&self, end: &Position) -> bool {
        let stored = self.store.progress(SOURCE).await.expect("answers");
        stored.is_some_and(|at| at.epoch >= self.epoch.get() && at.position >= *end)
    }

    /// Runs an engine from where the last one stood until `end` is applied.
    pub(crate) async fn run_to(&self, end: &Position) -> Summary {
        let engine = self.start().await;
        self.applied(end).await;
        engine.stop().await.expect("stops in order")
    }

    /// What `didtail checkpoint reset` does.
    pub(crate) fn rewind(&self, position: Position, sequence: u64) {
        let mut state = self.state();
        let epoch = state
            .checkpoint(SOURCE)
            .expect("reads")
            .map_or(1, |c| c.epoch);
        self.epoch.set(epoch + 1);
        let checkpoint = Checkpoint {
            server: None,
            file_begun: None,
            epoch: epoch + 1,
            position,
            gtid: gtid_at(sequence),
            event_time: None,
            revision: 0,
        };
        state
            .reset(SOURCE, &checkpoint, "test", None)
            .expect("writes");
    }
}

impl Engine {
    /// Asks it to stop, and waits.
    pub(crate) async fn stop(self) -> Result<Summary, EngineError> {
        self.shutdown.send_replace(true);
        self.ended().await
    }

    pub(crate) fn ask_to_stop(&self) {
        self.shutdown.send_replace(true);
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Result<Summary, EngineError> {
        self.task.await.expect("no panic")
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it without a warning, as a crash does.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

pub(crate) fn file(name: &str) -> BinlogFile {
    BinlogFile::new(name).expect("a binlog's name")
}

pub(crate) fn first_checkpoint() -> Checkpoint {
    Checkpoint {
        server: None,
        file_begun: None,
        epoch: 1,
        position: Position {
            file: file("mysql-bin.000001"),
            next: FIRST_EVENT_OFFSET,
        },
        gtid: GtidPosition::default(),
        event_time: None,
        revision: 0,
    }
}

pub(crate) fn gtid_at(sequence: u64) -> GtidPosition {
    match sequence {
        0 => GtidPosition::default(),
        _ => format!("0-1-{sequence}").parse().expect("valid"),
    }
}

pub(crate) fn columns(table: &str) -> Vec<Column> {
    let column = |(name, kind): &(&str, &str)| Column {
        name: name.to_lowercase(),
        column_type: (*kind).to_owned(),
        charset: kind.starts_with("varchar").then(|| "latin1".to_owned()),
    };
    events::columns(table).iter().map(column).collect()
}

fn rules() -> Rules {
    Rules {
        success: Success::Set(["SALE".to_owned()].into()),
        transient: ["QUEUE", "INCALL", "DISPO"].map(str::to_owned).into(),
        create_dids: true,
        prefer: Prefer::DialLog,
        takes_posts: true,
        zone: Zone::fixed(0),
        statuses: Arc::default(),
    }
}

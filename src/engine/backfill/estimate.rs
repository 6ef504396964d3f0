//! `didtail backfill --dry-run`: what a load would read. Changes nothing.

use crate::config::{Config, SourceConfig};
use crate::engine::backfill::rows::{Span, TABLES};
use crate::engine::backfill::{Range, bound, new_note};
use crate::engine::policy::EngineError;
use crate::engine::run::{rules, system_clock};
use crate::engine::several::OfSources;
use crate::source::{Finding, MySqlSource, archive_of, state_of, unreadable};
use crate::store::{LoadName, SqlStore, Store, StoreError};

/// What a load of one source would read.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Estimate {
    /// The source.
    pub source: String,
    /// Calls from this wall clock of the dialer on, in seconds as if it showed UTC.
    pub since: i64,
    /// And before this one.
    pub until: i64,
    /// Where it would go on: one that was asked for in the same words had been cut
    /// off there. `None`: from the start.
    pub resumes_at: Option<i64>,
    /// What it would read.
    pub tables: Vec<TableEstimate>,
    /// Tables that it would not read, and what lets them be.
    pub unreadable: Vec<Finding>,
}

/// What a load would read of one table.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TableEstimate {
    /// Its name.
    pub table: String,
    /// `readable`, or why not.
    pub state: &'static str,
    /// Rows in the range, as the server guesses; `None` where it cannot be read.
    pub rows: Option<u64>,
    /// False where each window is found by reading the whole table.
    pub has_index: bool,
}

impl Estimate {
    /// Rows of all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().filter_map(|table| table.rows).sum()
    }
}

/// Says of every configured source what a load of a range would read.
///
/// # Errors
/// [`EngineError`] when the store cannot be asked.
pub async fn estimate(config: &Config, range: &Range) -> Result<OfSources<Estimate>, EngineError> {
    let store = match SqlStore::open_read(&config.store.address()).await {
        Ok(store) => Some(store),
        Err(StoreError::Missing { .. } | StoreError::OlderSchema { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let mut all = OfSources::default();
    for source in &config.sources {
        let one = Box::pin(of_source(config, range, source, store.as_ref())).await;
        all.add(&source.name, one);
    }
    Ok(all)
}

async fn of_source(
    config: &Config,
    range: &Range,
    source: &SourceConfig,
    store: Option<&SqlStore>,
) -> Result<Estimate, EngineError> {
    let server = MySqlSource::connect(&source.connect_settings(&config.state)).await?;
    let rules = rules(config, source, &server).await?;
    let known = match store {
        Some(store) => {
            bound::check(source, &server, store).await?;
            store.load_note(&source.name, LoadName::Command).await?
        }
        None => None,
    };
    let known = known.filter(|note| !note.finished && note.asked == range.asked);
    let new = new_note(&rules.zone, range, system_clock());
    let note = known.as_ref().unwrap_or(&new);
    let rest = Span {
        from: note.next,
        until: note.until,
    };
    Ok(Estimate {
        source: source.name.clone(),
        since: note.since,
        until: note.until,
        resumes_at: (note.next > note.since).then_some(note.next),
        tables: tables(&server, rest).await?,
        unreadable: unreadable(&server).await?,
    })
}

async fn tables(server: &MySqlSource, rest: Span) -> Result<Vec<TableEstimate>, EngineError> {
    let mut tables = Vec::new();
    let live = TABLES.map(|table| (table, Some(table.name())));
    let archives = TABLES.map(|table| (table, archive_of(table)));
    for (table, name) in live.into_iter().chain(archives) {
        let (Some(name), Some(column)) = (name, table.time_column()) else {
            continue;
        };
        let mut found = TableEstimate {
            table: name.to_owned(),
            state: state_of(server, name).await?,
            rows: None,
            has_index: true,
        };
        if found.state == "readable" {
            let (from, until) = (rest.first(), rest.behind());
            found.rows = server.guessed_rows(name, column, from, until).await?;
            found.has_index = server.has_index(name, column).await?;
        }
        tables.push(found);
    }
    Ok(tables)
}

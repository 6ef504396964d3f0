//! `didtail backfill`: the configured sources, one after the other.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::config::{Config, SourceConfig};
use crate::engine::backfill::{Backfill, Ends, Range, bound};
use crate::engine::failover;
use crate::engine::policy::EngineError;
use crate::engine::run::{FIRST_EPOCH, decide, rules, system_clock};
use crate::engine::several::OfSources;
use crate::ledger::{Frame, Working};
use crate::source::{Finding, MySqlSource, Target, unreadable};
use crate::state::{StateError, StateFile};
use crate::store::{LoadName, LoadNote, SqlStore, Store};

/// Failures in a row after which the command gives up: some minutes.
const TRIES: u32 = 12;

/// How often, and after which pause, a daemon that starts is given time to take
/// its first position.
const LOOKS: u32 = 50;
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// What became of the load of one source.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Loaded {
    /// The source.
    pub source: String,
    /// Where a load that had been cut off went on: everything before this wall
    /// clock, in seconds as if it showed UTC, was there. `None`: from the start.
    pub resumed_at: Option<i64>,
    /// Tables that were not read, or not to the end, and what lets them be.
    pub unreadable: Vec<Finding>,
    /// How far it is.
    #[serde(flatten)]
    pub note: LoadNote,
}

/// Loads the calls of a range from every configured source. `progress` is told
/// how far the load of a source is. It may be dropped at any moment; asked for
/// again in the same words it goes on.
///
/// # Errors
/// [`EngineError`] when the store cannot be opened. What was loaded before a source
/// fails stays.
pub async fn backfill(
    config: &Config,
    range: &Range,
    mut progress: impl FnMut(&Loaded) + Send,
) -> Result<OfSources<Loaded>, EngineError> {
    let store = Arc::new(SqlStore::open(&config.store.address()).await?);
    let mut all = OfSources::default();
    for source in &config.sources {
        let one = async {
            let ends = ends(config, source, &store).await?;
            anchor(config, source, &ends).await?;
            let mut load = Backfill::new(&ends, LoadName::Command, Some(TRIES))?;
            let note = load.begin(range).await?;
            let before = note.next > note.since;
            let unreadable = Box::pin(unreadable(&ends.source)).await?;
            let mut done = Loaded {
                source: source.name.clone(),
                resumed_at: before.then_some(note.next),
                unreadable,
                note: note.clone(),
            };
            progress(&done);
            let note = load.run(note, |note| {
                done.note = note.clone();
                progress(&done);
            });
            let note = note.await?;
            Ok(Loaded { note, ..done })
        };
        let loaded = Box::pin(one).await;
        all.add(&source.name, loaded);
    }
    store.close().await;
    Ok(all)
}

/// A configured source and the store, for loading and comparing.
pub(in crate::engine) async fn ends(
    config: &Config,
    source: &SourceConfig,
    store: &Arc<SqlStore>,
) -> Result<Ends<MySqlSource, SqlStore>, EngineError> {
    let server = MySqlSource::connect(&source.connect_settings(&config.state)).await?;
    bound::check(source, &server, store.as_ref()).await?;
    Ok(Ends {
        rules: rules(config, source, &server).await?,
        source: Arc::new(server),
        store: Arc::clone(store),
        name: source.name.clone(),
        tenant: source.tenant.clone(),
        default_country: config.attribution.default_country.clone(),
        clock: system_clock,
        fencing_token: None,
    })
}

/// Gives a source its first position, where it has none: the end of the binlog
/// before the first read. The daemon goes on from there.
async fn anchor(
    config: &Config,
    source: &SourceConfig,
    ends: &Ends<MySqlSource, SqlStore>,
) -> Result<(), EngineError> {
    let name = source.name.as_str();
    let mut looks = 0;
    while ends.store.progress(name).await?.is_none() {
        let mut state = match StateFile::open_exclusive(&config.state.path) {
            Err(StateError::Held { .. }) if looks < LOOKS => {
                looks += 1;
                tokio::time::sleep(LOOK_PAUSE).await;
                continue;
            }
            state => state?,
        };
        let server = ends.source.identity().await?;
        let checkpoint =
            match decide(state.checkpoint(name)?, ends.store.as_ref(), name, None).await? {
                Some(known) => {
                    failover::check_same(name, &known, &server)?;
                    Checkpoint {
                        server: Some(server),
                        ..known
                    }
                }
                None => {
                    let head = ends.source.locate(&Target::Latest).await?;
                    Checkpoint {
                        epoch: FIRST_EPOCH,
                        server: Some(server),
                        position: head.position,
                        file_begun: None,
                        gtid: head.gtid,
                        event_time: head.event_time,
                        revision: 0,
                    }
                }
            };
        let first = Working::new(crate::ledger::Loaded::default()).finish(Frame {
            source: name.to_owned(),
            tenant: source.tenant.clone(),
            statuses: Some(ends.rules.statuses.as_ref().clone()),
            landmarks: Vec::new(),
            expected: None,
            fencing_token: None,
            checkpoint,
        });
        let durable = ends.store.commit(&first).await?;
        state.save_checkpoint(name, durable.checkpoint())?;
    }
    Ok(())
}

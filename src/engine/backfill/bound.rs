//! Is the server that calls are read from the one that the store is about?

use crate::config::{Config, SourceConfig};
use crate::engine::failover;
use crate::engine::policy::EngineError;
use crate::source::{MySqlSource, Source, SourceError};
use crate::state::{StateError, StateFile};
use crate::store::Store;

/// What the state file knows of a source; nothing where there is no such file.
fn state(config: &Config) -> Result<Option<StateFile>, StateError> {
    match StateFile::open(&config.state.path) {
        Ok(state) => Ok(Some(state)),
        Err(StateError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses another server than the one that is followed, as the daemon does: its
/// tables are another database's, or behind what the store has.
///
/// # Errors
/// [`StateError::OtherSource`] where the daemon would refuse it too,
/// [`SourceError::OtherServer`] where the daemon has yet to move there.
pub(super) async fn check(
    source: &SourceConfig,
    server: &MySqlSource,
    store: &impl Store,
) -> Result<(), EngineError> {
    let Some(known) = store.progress(&source.name).await? else {
        return Ok(());
    };
    let Some(recorded) = &known.server else {
        return Ok(());
    };
    let actual = server.identity().await?;
    if *recorded == actual {
        return Ok(());
    }
    let refuse = |reason: String| {
        EngineError::from(failover::other_server(
            &source.name,
            &known,
            &actual,
            reason,
        ))
    };
    if known.gtid.is_empty() {
        return Err(refuse("the old server numbered no transactions".to_owned()));
    }
    match Source::behind(server, &actual, &known.gtid, known.event_time).await {
        Ok(_) => Err(SourceError::OtherServer {
            server: format!("{actual}, and the store was kept from {recorded}"),
        }
        .into()),
        Err(error) if error.is_transient() => Err(error.into()),
        Err(SourceError::ImpossiblePosition { detail, .. }) => Err(refuse(detail)),
        Err(error) => Err(refuse(error.to_string())),
    }
}

/// Since when a source has been followed, in seconds since 1970 (UTC), as far as
/// the state file remembers.
///
/// # Errors
/// [`StateError`] when the file cannot be read.
pub(in crate::engine) fn followed_since(
    config: &Config,
    name: &str,
) -> Result<Option<i64>, StateError> {
    let Some(state) = state(config)? else {
        return Ok(None);
    };
    let history = state.history(name, u32::MAX)?;
    Ok(history.iter().map(|entry| entry.saved_at).min())
}

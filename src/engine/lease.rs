//! Standing by until a source's lease is free, and keeping it while it is followed.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::engine::vitals::SourceVitals;
use crate::store::{Claim, Grant, LEASE_SECONDS, Lease, Store, StoreError};
use crate::telemetry::field;

/// Time between two renewals: two may fail before the lease ends.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);

/// Time between two looks whether the lease of another daemon is over.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a command waits for a lease: one that nobody renews is over by then.
const PATIENCE: Duration = Duration::from_secs(LEASE_SECONDS as u64 + 3);

/// How long giving a lease back may take; after that it ends by itself.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);

/// Asks for the lease of a source once.
pub(super) async fn ask<St: Store>(
    store: &St,
    source: &str,
    holder: &str,
    restarts: bool,
) -> Result<Grant, StoreError> {
    let claim = Claim {
        holder,
        restarts,
        seconds: LEASE_SECONDS,
    };
    store.claim(source, &claim).await
}

/// Takes the lease of a source for a command, which does not stand by for long.
/// `None` when it was time to stop before.
///
/// # Errors
/// [`StoreError::Leased`] when another daemon has it and renews it.
pub(super) async fn take<St: Store>(
    store: &St,
    source: &str,
    holder: &str,
    mut shutdown: watch::Receiver<bool>,
) -> Result<Option<Lease>, StoreError> {
    let began = Instant::now();
    loop {
        let holder = match ask(store, source, holder, true).await? {
            Grant::Held(lease) => return Ok(Some(lease)),
            Grant::Taken { holder, .. } => holder,
        };
        if began.elapsed() >= PATIENCE {
            return Err(StoreError::Leased {
                source_name: source.to_owned(),
                holder,
            });
        }
        if look_later(&mut shutdown).await {
            return Ok(None);
        }
    }
}

/// Waits until another look is worth while, or until it is time to stop: then true.
pub(super) async fn look_later(shutdown: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(LOOK_INTERVAL) => false,
        _ = shutdown.wait_for(|stop| *stop) => true,
    }
}

/// What became of a lease until the work under it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It was given back.
    ToTheEnd,
    /// Another daemon took it.
    Lost,
}

/// Renews the lease until the work is done, and gives it back then. `stop` turns
/// true, and the work is to end, when `shutdown` does or when the lease is lost.
///
/// A store that does not answer loses nothing: whether the lease is lost, the next
/// commit learns as well.
pub(super) async fn keep<St: Store, T>(
    (store, vitals, lease): (&St, &SourceVitals, &Lease),
    mut shutdown: watch::Receiver<bool>,
    stop: &watch::Sender<bool>,
    work: impl Future<Output = T>,
) -> (T, Kept) {
    let source = vitals.name();
    let renewing = async {
        let mut tick = interval(RENEW_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fails = false;
        loop {
            tick.tick().await;
            let error = match store.renew(source, lease).await {
                Ok(true) if fails => {
                    fails = false;
                    vitals.store_works();
                    tracing::info!({ field::SOURCE } = source, "the lease is renewed again");
                    continue;
                }
                Ok(true) => continue,
                Ok(false) => return,
                Err(error) => error,
            };
            // No commit would tell of it while the source is quiet.
            vitals.store_failed(&error);
            if std::mem::replace(&mut fails, true) {
                continue;
            }
            tracing::warn!(
                { field::SOURCE } = source,
                { field::ERROR } = %error,
                { field::CAUSE } = error.cause(),
                { field::HINT } = error.hint().unwrap_or_default(),
                "the lease cannot be renewed; trying again: another daemon may take it when it ends"
            );
        }
    };
    tokio::pin!(work);
    let mut renewing = Box::pin(renewing);
    let mut kept = Kept::ToTheEnd;
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = &mut renewing, if kept == Kept::ToTheEnd => {
                kept = Kept::Lost;
                stop.send_replace(true);
            }
            _ = shutdown.wait_for(|stop| *stop), if !*stop.borrow() => {
                stop.send_replace(true);
            }
        }
    };
    // A renewal under way has the lease's row locked.
    drop(renewing);
    if kept == Kept::ToTheEnd {
        // The work may have met the other one's writes before this was noticed.
        let renewed = timeout(RELEASE_PATIENCE, store.renew(source, lease)).await;
        if matches!(renewed, Ok(Ok(false))) {
            kept = Kept::Lost;
        }
    }
    if kept == Kept::ToTheEnd {
        let released = timeout(RELEASE_PATIENCE, store.release(source, lease)).await;
        if let Ok(Err(error)) = released {
            tracing::debug!(
                { field::SOURCE } = source,
                { field::ERROR } = %error,
                "could not give the lease back; it ends by itself"
            );
        }
    }
    (done, kept)
}

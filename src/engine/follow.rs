//! Follows one source: reads, applies, connects again, shuts down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::binlog::{Position, Reader, Watch};
use crate::checkpoint::Checkpoint;
use crate::engine::apply::{Applier, Moment};
use crate::engine::batch::{BATCHES_WAITING_MAX, Batch};
use crate::engine::failover;
use crate::engine::intake::{Ended, Intake, Reading};
use crate::engine::policy::{self, Action, EngineError};
use crate::engine::vitals::Phase;
use crate::landmark::Landmark;
use crate::source::{Source, SourceError};
use crate::state::Missing;
use crate::store::Store;
use crate::telemetry::{field, spawn_named};
use crate::vicidial::Table;

/// Time between two lines of progress in the log.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);

/// Time between two looks whether a lost source is followed again; the loop turns
/// at least as often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the source may take to say where its binlog ends.
const HEAD_PATIENCE: Duration = Duration::from_secs(2);

/// How long a shutdown waits for the transaction at work.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// What was done until the end.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The source.
    pub source: String,
    /// The position up to which everything is applied.
    pub position: String,
    /// Events read.
    pub events: u64,
    /// Rows of watched tables among them.
    pub rows: u64,
    /// Dispositions applied.
    pub results: u64,
    /// What the numbers lack.
    pub missing: Missing,
    /// Seconds it took.
    pub seconds: f64,
}

/// Everything that following a source needs.
pub(super) struct Follow<S: Source, St: Store> {
    pub(super) source: Arc<S>,
    pub(super) applier: Applier<S, St>,
    pub(super) database: String,
    /// Where to begin; later the applier knows.
    pub(super) start: Checkpoint,
    /// Where to end; `None`: never.
    pub(super) until: Option<Position>,
    /// Turns true when it is time to stop.
    pub(super) shutdown: watch::Receiver<bool>,
    /// The source was lost and is not known to be followed again.
    pub(super) is_lost: bool,
}

enum SessionEnd {
    AtEnd,
    Shutdown,
}

impl<S: Source, St: Store> Follow<S, St> {
    /// Follows until the end, a shutdown, or a failure that no retry mends.
    pub(super) async fn run(mut self, mut reading: Reading) -> Result<Summary, EngineError> {
        let started = Instant::now();
        self.applier.note(Moment::Running)?;
        let mut pauses = policy::pauses();
        let ended = loop {
            let batches_before = self.applier.done.batches;
            let (back, ended) = self.session(reading).await;
            let Some(back) = back else {
                break ended.map(drop);
            };
            reading = back;
            let error = match ended {
                Ok(SessionEnd::AtEnd) => break self.ask_for_the_rest().await,
                Ok(SessionEnd::Shutdown) => break Ok(()),
                Err(EngineError::Source(SourceError::OtherServer { server })) => {
                    match self.move_on(&server).await {
                        Ok(landmarks) => {
                            reading.begin_anew(&landmarks);
                            continue;
                        }
                        Err(EngineError::Source(error))
                            if policy::on_source(&error) == Action::Retry =>
                        {
                            error
                        }
                        Err(error) => break Err(error),
                    }
                }
                Err(EngineError::Source(error)) if policy::on_source(&error) == Action::Retry => {
                    error
                }
                Err(error) => break Err(error),
            };
            if self.applier.done.batches > batches_before {
                pauses = policy::pauses();
            }
            let pause = pauses.next().unwrap_or_default();
            let vitals = &self.applier.with.vitals;
            vitals.set_phase(Phase::Lost, Some(error.to_string()));
            self.is_lost = true;
            // The failure that is being waited out matters more than a note of it.
            drop(self.applier.note(Moment::Waiting(&error)));
            tracing::warn!(
                { field::SOURCE } = self.applier.with.source,
                { field::ERROR } = %error,
                { field::RETRY_MS } = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "lost the source; connecting again"
            );
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = asked_to_stop(&mut self.shutdown) => break Ok(()),
            }
        };
        self.applier.with.vitals.disconnect(false);
        match &ended {
            Ok(()) => {
                self.applier.remember("stop")?;
                self.applier.note(Moment::Stopped(None))?;
            }
            // The failure itself is what the operator must see, even if the
            // note about it cannot be written.
            Err(error) => drop(self.applier.note(Moment::Stopped(Some(error)))),
        }
        ended?;
        let done = self.applier.done.clone();
        Ok(Summary {
            source: self.applier.with.source.clone(),
            position: self.resume_at().position.to_string(),
            events: done.tally.events,
            rows: done.tally.rows,
            results: done.results,
            missing: done.missing,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Goes on with another server, behind what was read; returns what is to be
    /// known there.
    async fn move_on(&mut self, server: &str) -> Result<Vec<Landmark>, EngineError> {
        if self.until.is_some() {
            // Its end was that of the old server's binlog.
            return Err(SourceError::OtherServer {
                server: server.to_owned(),
            }
            .into());
        }
        let known = self.resume_at().clone();
        // What was read is looked for there, however long that takes.
        self.applier.with.vitals.set_phase(Phase::Starting, None);
        let with = &mut self.applier.with;
        let source = self.source.as_ref();
        let landmarks = with.store.landmarks(&with.source, known.epoch);
        let landmarks = landmarks.await?;
        let there =
            failover::move_on(&mut with.state, source, &with.source, &known, server).await?;
        let carried = failover::carried(&landmarks, &known.position, &there.position);
        self.applier.move_to(&there, carried.clone()).await?;
        self.start = there;
        self.is_lost = true;
        Ok(carried)
    }

    fn resume_at(&self) -> &Checkpoint {
        self.applier.durable().unwrap_or(&self.start)
    }

    /// Where the first batch of a session begins.
    fn begins_at(&self) -> &Checkpoint {
        if self.applier.done.batches == 0 {
            &self.start
        } else {
            self.resume_at()
        }
    }

    /// Asks for the dials of all calls that wait: nothing comes any more to do it with.
    async fn ask_for_the_rest(&mut self) -> Result<(), EngineError> {
        loop {
            let here = self.begins_at().position.clone();
            let mut has_asked = false;
            let ask = async |applier: &mut Applier<S, St>| {
                has_asked = applier.ask_again(&here).await?;
                applier.settle().await
            };
            if !self.within_grace(ask).await? || !has_asked {
                return Ok(());
            }
        }
    }

    /// One connection: from the last applied position until it ends.
    async fn session(
        &mut self,
        reading: Reading,
    ) -> (Option<Reading>, Result<SessionEnd, EngineError>) {
        let history = self.applier.history();
        let from = self.begins_at();
        let reader = Reader::new(
            Watch::new(&self.database, &Table::NAMES),
            from.position.clone(),
            from.gtid.clone(),
        );
        let (sender, mut batches) = mpsc::channel(BATCHES_WAITING_MAX);
        let intake = Intake::new(
            Arc::clone(&self.source),
            reader,
            reading,
            sender,
            self.until.clone(),
            history,
            Arc::clone(&self.applier.with.vitals),
        );
        let pulse = self.applier.with.vitals.pulse.clone();
        let intake = spawn_named("intake", pulse.reads(intake.run()));
        let applied = self.apply_all(&mut batches).await;
        drop(batches);
        match applied {
            Ok(Some(end)) => {
                intake.abort();
                (None, Ok(end))
            }
            Err(error @ EngineError::Source(SourceError::OtherServer { .. })) => {
                // Nobody takes its batches, so that it ends and gives back what it knows.
                let reading = intake.await.ok().map(|(reading, _)| reading);
                (reading, Err(error))
            }
            Err(error) => {
                intake.abort();
                (None, Err(error))
            }
            Ok(None) => match intake.await {
                Ok((reading, Ok(Ended::AtEnd))) => (Some(reading), Ok(SessionEnd::AtEnd)),
                Ok((reading, Ok(Ended::NobodyApplies))) => {
                    (Some(reading), Ok(SessionEnd::Shutdown))
                }
                Ok((reading, Err(error))) => (Some(reading), Err(self.placed(error))),
                Err(join) => (
                    None,
                    Err(EngineError::Bug(format!("the intake ended: {join}"))),
                ),
            },
        }
    }

    /// A failure of the stream, which knows where it began, with the place where it
    /// is to go on.
    fn placed(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Source(SourceError::Purged { detail, .. }) => SourceError::Purged {
                wanted: self.resume_at().position.to_string(),
                detail,
            }
            .into(),
            error => error,
        }
    }

    /// Applies what the intake sends, and makes it durable. `Ok(None)`: the intake
    /// ended, and says why.
    async fn apply_all(
        &mut self,
        batches: &mut mpsc::Receiver<Batch>,
    ) -> Result<Option<SessionEnd>, EngineError> {
        let ended = self.apply_each(batches).await;
        // Also where the source failed: the next session begins behind it.
        if matches!(ended, Err(EngineError::Store(_) | EngineError::State(_))) {
            return ended;
        }
        if self.within_grace(Applier::settle).await? {
            ended
        } else {
            Ok(Some(SessionEnd::Shutdown))
        }
    }

    async fn apply_each(
        &mut self,
        batches: &mut mpsc::Receiver<Batch>,
    ) -> Result<Option<SessionEnd>, EngineError> {
        let mut shutdown = self.shutdown.clone();
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        progress.tick().await;
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let mut seen = self.applier.done.clone();
        let vitals = Arc::clone(&self.applier.with.vitals);
        loop {
            vitals.pulse.turn();
            tokio::select! {
                biased;
                // What waits in the channel is read again at the next start.
                () = asked_to_stop(&mut shutdown) => return Ok(Some(SessionEnd::Shutdown)),
                batch = batches.recv() => match batch {
                    Some(batch) => {
                        if !self.within_grace(async |a| a.apply(batch).await).await? {
                            return Ok(Some(SessionEnd::Shutdown));
                        }
                        self.found()?;
                    }
                    None => return Ok(None),
                },
                () = self.applier.landed() => {
                    let here = self.begins_at().position.clone();
                    let settle = async |a: &mut Applier<S, St>| {
                        a.settle().await?;
                        let here = a.durable().map_or(here, |at| at.position.clone());
                        a.take_posts(&here).await
                    };
                    if !self.within_grace(settle).await? {
                        return Ok(Some(SessionEnd::Shutdown));
                    }
                }
                () = vitals.posted.notified() => {
                    let here = self.begins_at().position.clone();
                    let take = async |a: &mut Applier<S, St>| {
                        a.ring();
                        a.take_posts(&here).await
                    };
                    if !self.within_grace(take).await? {
                        return Ok(Some(SessionEnd::Shutdown));
                    }
                }
                _ = progress.tick() => {
                    self.report(&seen);
                    seen = self.applier.done.clone();
                    if !self.is_lost {
                        self.applier.note(Moment::Running)?;
                    }
                    self.check_head().await?;
                    let here = self.begins_at().position.clone();
                    let ask = async |a: &mut Applier<S, St>| a.ask_again(&here).await.map(drop);
                    if !self.within_grace(ask).await? {
                        return Ok(Some(SessionEnd::Shutdown));
                    }
                }
                // Also so that it turns, however little comes.
                _ = look.tick() => {
                    // Everything is read and nothing new comes: it is connected.
                    if self.is_lost && self.applier.with.vitals.reads_nothing() {
                        self.found()?;
                    }
                }
            }
        }
    }

    /// A binlog that is reset while a dump opens leaves the dump on a file that
    /// nobody writes any more, with heartbeats and nothing else. Its end then
    /// lies before what is applied.
    async fn check_head(&mut self) -> Result<(), EngineError> {
        if !self.applier.with.vitals.reads_nothing() {
            return Ok(());
        }
        let here = self.resume_at().position.clone();
        // An address may move to another server while the old one goes on
        // sending heartbeats.
        let server = tokio::time::timeout(HEAD_PATIENCE, self.source.server_now()).await;
        let Ok(Ok(server)) = server else {
            return Ok(());
        };
        self.applier.history().check_server(server.as_deref())?;
        let asked = tokio::time::timeout(HEAD_PATIENCE, self.source.head()).await;
        match asked {
            Ok(Ok(head)) if head < here => Err(SourceError::ImpossiblePosition {
                position: here.to_string(),
                detail: format!("the source's binlog ends at {head}"),
            }
            .into()),
            // A source that does not answer shows in its stream.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The source is followed again, if it was lost.
    fn found(&mut self) -> Result<(), EngineError> {
        if std::mem::take(&mut self.is_lost) {
            tracing::info!(
                { field::SOURCE } = self.applier.with.source,
                { field::POSITION } = %self.resume_at().position,
                "the source is followed again"
            );
            self.applier.note(Moment::Running)?;
        }
        Ok(())
    }

    /// Lets the applier work; after a shutdown was asked for, only as long as it may
    /// take. False when it was given up: then no later batch may be applied,
    /// because its position would stand behind rows that were not.
    async fn within_grace(
        &mut self,
        work: impl AsyncFnOnce(&mut Applier<S, St>) -> Result<(), EngineError>,
    ) -> Result<bool, EngineError> {
        let mut shutdown = self.shutdown.clone();
        let out_of_patience = async {
            asked_to_stop(&mut shutdown).await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        tokio::select! {
            done = work(&mut self.applier) => done.map(|()| true),
            () = out_of_patience => {
                tracing::warn!("gave up on the last transaction; it is applied at the next start");
                Ok(false)
            }
        }
    }

    fn report(&self, before: &crate::engine::apply::Done) {
        let done = &self.applier.done;
        let seconds = PROGRESS_INTERVAL.as_secs().max(1);
        let rate = |now: u64, then: u64| now.saturating_sub(then) / seconds;
        let vitals = &self.applier.with.vitals;
        tracing::info!(
            { field::SOURCE } = self.applier.with.source,
            { field::POSITION } = %self.resume_at().position,
            { field::LAG_SECONDS } = vitals.lag_seconds().unwrap_or_default(),
            idle = vitals.is_idle(),
            events_per_second = rate(done.tally.events, before.tally.events),
            rows_per_second = rate(done.tally.rows, before.tally.rows),
            results_per_second = rate(done.results, before.results),
            missing = ?done.missing.phrases(),
            "following"
        );
    }
}

/// Waits until it is time to stop, or nobody can say so any more. The value
/// stays locked as long as it is looked at, so it is let go here and not
/// carried through what follows.
async fn asked_to_stop(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|stop| *stop).await);
}

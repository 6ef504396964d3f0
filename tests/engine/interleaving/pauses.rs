//! What the engine does between two rows: commits, begins anew, or applies the next
//! batch while the one before is being committed, in whatever way that ends.

use std::time::Duration;

use didtail::ledger::{Frame, Loaded, Working};
use didtail::store::{Dump, Fault, MemoryStore, Store as _};
use didtail::telemetry::spawn_named;
use didtail::vicidial::Zone;

use super::BEHIND_UTC;
use crate::events::Change;
use crate::world::{SOURCE, TENANT, World};

/// What the engine does behind a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pause {
    /// It takes the next one in the same batch, if it is fast.
    No,
    /// It commits.
    Commit,
    /// It commits and starts anew, with nothing in memory.
    Restart,
    /// It commits, and applies the next one meanwhile; the commit ends so.
    Meanwhile(Ending),
}

impl Pause {
    pub(super) const ALL: [Self; 7] = [
        Self::No,
        Self::Commit,
        Self::Restart,
        Self::Meanwhile(Ending::Well),
        Self::Meanwhile(Ending::Refused),
        Self::Meanwhile(Ending::Unheard),
        Self::Meanwhile(Ending::Overtaken),
    ];
}

/// How a commit ends while the next one waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Well,
    /// It fails, and is tried again.
    Refused,
    /// It comes through and nobody hears of it.
    Unheard,
    /// A command has rewritten the store before.
    Overtaken,
}

/// How long a commit takes behind which the next batch is applied.
const SLOW: Duration = Duration::from_millis(50);

/// Lets the next commit take its time and end so.
async fn meanwhile(store: &MemoryStore, ending: Ending) {
    let next = store.commits() + 1;
    match ending {
        Ending::Well => store.on_commit(next, Fault::Slow(SLOW)),
        Ending::Refused => {
            store.on_commit(next, Fault::Slow(SLOW));
            store.on_commit(next, Fault::Reject);
        }
        Ending::Unheard => {
            store.on_commit(next, Fault::Slow(SLOW));
            store.on_commit(next, Fault::LoseAcknowledgement);
        }
        Ending::Overtaken => {
            let hold = store.hold(SOURCE).await.expect("free some time");
            let progress = store.progress(SOURCE).await.expect("answers");
            let Some(expected) = progress else { return };
            let mut checkpoint = expected.clone();
            checkpoint.revision += 1;
            let rewritten = Working::new(Loaded::default()).finish(Frame {
                landmarks: Vec::new(),
                source: SOURCE.to_owned(),
                tenant: TENANT.to_owned(),
                statuses: None,
                expected: Some(expected),
                checkpoint,
                fencing_token: None,
            });
            let store = store.clone();
            spawn_named("command", async move {
                tokio::time::sleep(SLOW).await;
                let committed = store.commit_held(hold, &rewritten, None).await;
                committed.expect("its turn");
            });
        }
    }
}

/// Applies the rows, each a group of its own; all in one batch, or with pauses.
pub(super) fn stored(order: &[Change], pauses: &[Pause]) -> Dump {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new();
        world.rules.zone = Zone::fixed(i32::try_from(-BEHIND_UTC).expect("small"));
        let mut pauses = pauses.iter().cycle();
        let mut engine = None;
        let mut end = None;
        for change in order {
            let at = world.group(std::slice::from_ref(change));
            match pauses.next() {
                None | Some(Pause::No) => {}
                Some(pause) => {
                    let running = match engine.take() {
                        Some(running) => running,
                        None => world.start().await,
                    };
                    match pause {
                        Pause::Restart => {
                            world.applied(&at).await;
                            running.stop().await.expect("stops in order");
                        }
                        Pause::No | Pause::Commit => {
                            world.applied(&at).await;
                            engine = Some(running);
                        }
                        Pause::Meanwhile(ending) => {
                            // This one is on its way, and so is the next.
                            tokio::time::sleep(SLOW / 10).await;
                            meanwhile(&world.store, *ending).await;
                            engine = Some(running);
                        }
                    }
                }
            }
            end = Some(at);
        }
        let end = end.expect("every call has a dial");
        match engine {
            Some(engine) => {
                world.applied(&end).await;
                engine.stop().await.expect("stops in order");
            }
            None => {
                world.run_to(&end).await;
            }
        }
        world.dump()
    })
}

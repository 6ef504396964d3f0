//! What every backend must do, run on each of them.

pub(crate) mod change;
mod commits;
mod history;
mod holds;
mod loads;
mod twins;

use crate::ledger::{AuditEntry, ChangeSet};
use crate::store::{Dump, MemoryStore, SqliteStore, Store};

use self::change::{empty, honest, key};

/// A store whose contents a test can see whole.
pub(crate) trait Inspect: Store {
    async fn contents(&self) -> Dump;
}

impl Inspect for MemoryStore {
    async fn contents(&self) -> Dump {
        self.dump()
    }
}

impl Inspect for SqliteStore {
    async fn contents(&self) -> Dump {
        assert_eq!(self.check_invariant().await.unwrap(), Vec::<String>::new());
        self.dump().await.unwrap()
    }
}

/// A SQLite store in a folder that is removed with the guard.
pub(crate) async fn sqlite() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/optimizer.db", folder.path().display());
    (SqliteStore::open(&url).await.unwrap(), folder)
}

macro_rules! on_every_backend {
    ($($module:ident::$case:ident),+ $(,)?) => {
        mod memory { $(
            #[tokio::test]
            async fn $case() { super::$module::$case(&super::MemoryStore::new()).await; }
        )+ }
        mod sqlite { $(
            #[tokio::test]
            async fn $case() {
                let (store, _folder) = super::sqlite().await;
                super::$module::$case(&store).await;
            }
        )+ }
    };
}

on_every_backend!(
    loads::every_field_comes_back,
    loads::nothing_is_found_in_an_empty_store,
    loads::leads_are_found_within_their_times,
    loads::dids_are_said_to_exist,
    loads::sources_are_kept_apart,
    commits::calls_move_in_chains_and_swaps,
    commits::a_replaced_row_makes_room,
    commits::a_move_onto_a_call_is_refused_whole,
    commits::deltas_add_up,
    commits::the_newest_is_found_anew,
    commits::audit_rows_are_written_once_and_pruned_oldest_first,
    commits::another_writer_is_noticed,
    commits::a_failed_commit_leaves_nothing,
    commits::ten_thousand_rows_are_one_commit,
    holds::who_holds_the_store_makes_the_next_commit,
    holds::a_hold_that_is_dropped_changes_nothing,
    history::changes_are_kept_in_order_and_follow_a_moved_call,
    history::old_history_is_pruned,
    history::pages_name_every_call_and_dial_once,
);

async fn put<S: Inspect>(store: &S, change: ChangeSet) -> Dump {
    let change = honest(&store.contents().await, change);
    let durable = store.commit(&change).await.unwrap();
    assert_eq!(durable.checkpoint(), &change.checkpoint);
    store.contents().await
}

async fn next<S: Inspect>(store: &S) -> ChangeSet {
    empty(&store.contents().await)
}

fn entry(event: &str, at: i64) -> AuditEntry {
    AuditEntry {
        event: event.to_owned(),
        key: key("1.1", 7),
        old: String::new(),
        new: "SALE".to_owned(),
        did: None,
        at,
    }
}

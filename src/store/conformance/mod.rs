//! What every backend must do: one suite, run on each of them.
//!
//! The unit tests run it on memory and SQLite; the live tests take the same files
//! in, and run them on servers.

pub(crate) mod boards;
pub(crate) mod change;
pub(crate) mod commits;
pub(crate) mod history;
pub(crate) mod holds;
pub(crate) mod landmarks;
pub(crate) mod leases;
pub(crate) mod loads;
pub(crate) mod posted;
pub(crate) mod reading;
pub(crate) mod retention;
pub(crate) mod twins;

use crate::ledger::{AuditEntry, ChangeSet};
use crate::store::{Dump, MemoryStore, SqlStore, Store};

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

impl Inspect for SqlStore {
    async fn contents(&self) -> Dump {
        assert_eq!(self.check_invariant().await.unwrap(), Vec::<String>::new());
        self.dump().await.unwrap()
    }
}

/// Runs cases on a backend, each on an empty store of its own: `$make` gives it,
/// with something that removes it.
macro_rules! cases {
    ($name:ident, $make:path; $($module:ident::$case:ident),+ $(,)?) => {
        mod $name { $(
            #[tokio::test]
            async fn $case() {
                let (store, _guard) = $make(stringify!($case)).await;
                super::conformance::$module::$case(&store).await;
            }
        )+ }
    };
}

/// The cases for every store.
macro_rules! on_backend {
    ($name:ident, $make:path) => {
        conformance::cases! { $name, $make;
            loads::every_field_comes_back,
            loads::nothing_is_found_in_an_empty_store,
            loads::leads_are_found_within_their_times,
            loads::dids_are_said_to_exist,
            loads::sources_are_kept_apart,
            loads::calls_without_a_did_are_found_newest_first,
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
            landmarks::what_was_seen_is_kept_by_epoch_and_place,
            landmarks::the_oldest_landmarks_are_forgotten,
            leases::one_has_the_lease,
            leases::a_lease_ends_by_itself,
            leases::who_lost_the_lease_writes_nothing,
            history::changes_are_kept_in_order_and_follow_a_moved_call,
            history::old_history_is_pruned,
            history::loads_are_noted,
            history::pages_name_every_call_and_dial_once,
            posted::results_wait_until_a_commit_takes_them,
            posted::a_key_makes_a_result_one,
            posted::unknown_dids_are_made_or_refused,
            posted::calls_of_posts_are_found_by_their_seconds,
            posted::calls_are_found_by_number_and_second,
            retention::old_rows_go_and_their_numbers_stay,
            retention::the_time_of_the_rule_moves_on_with_what_is_deleted,
            retention::nobody_else_may_have_written_before_rows_go,
            retention::the_last_call_stays_where_no_row_says_better,
        }
    };
}

/// The cases for what a database answers besides.
macro_rules! on_database {
    ($name:ident, $make:path) => {
        conformance::cases! { $name, $make;
            reading::summaries_are_the_view_or_counted_since,
            reading::splits_add_up_to_the_whole,
            reading::totals_count_what_has_no_did_too,
            reading::what_is_behind_a_did_is_named,
            reading::ways_of_attribution_are_counted,
            reading::numbers_are_counted_anew,
            posted::pages_of_calls_and_dids,
            boards::dids_are_compared_with_the_days_before,
            boards::a_dids_days_have_their_campaigns_and_dispositions,
        }
    };
}

pub(crate) use {cases, on_backend, on_database};

async fn put<S: Inspect>(store: &S, change: ChangeSet) -> Dump {
    let change = honest(&store.contents().await, change);
    let durable = store.commit(&change).await.unwrap();
    assert_eq!(durable.checkpoint(), &change.checkpoint);
    store.contents().await
}

async fn next<S: Inspect>(store: &S) -> ChangeSet {
    empty(&store.contents().await)
}

pub(crate) fn entry(event: &str, at: i64) -> AuditEntry {
    AuditEntry {
        event: event.to_owned(),
        key: key("1.1", 7),
        old: String::new(),
        new: "SALE".to_owned(),
        did: None,
        at,
    }
}

//! The suite of every store on real servers: PostgreSQL, MariaDB and MySQL.

#[path = "../../src/store/conformance/mod.rs"]
#[expect(clippy::unwrap_used, reason = "cases of tests")]
mod conformance;
mod partitions;

use std::sync::OnceLock;

use didtail::store::{MemoryStore, SqlStore};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use self::conformance::twins::{batches, keep_equal};
use crate::support::Server;

/// How often random changes are made to one pair of stores.
const ROUNDS: usize = 12;

/// A server for all cases of a kind.
fn server(kind: &'static str, server: &'static OnceLock<Server>) -> &'static Server {
    server.get_or_init(|| Server::of_kind(kind, &format!("stores-{kind}"), &[]))
}

/// An empty store of its own for a case.
async fn empty(server: &Server, case: &str) -> (SqlStore, ()) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name: String = case.chars().take(40).collect();
    let url = server.store_url(&format!("s{number}_{name}"));
    (SqlStore::open(&url).await.expect("a store"), ())
}

async fn twins(server: &Server) {
    let (memory, (store, ())) = (MemoryStore::new(), empty(server, "twins").await);
    let mut runner = TestRunner::deterministic();
    for _ in 0..ROUNDS {
        let tree = batches().new_tree(&mut runner).expect("changes");
        keep_equal(&memory, &store, tree.current()).await;
    }
}

macro_rules! on_servers {
    ($($name:ident: $kind:literal),+ $(,)?) => { $(
        mod $name {
            use super::*;

            static SERVER: OnceLock<Server> = OnceLock::new();

            pub(super) async fn store(case: &str) -> (SqlStore, ()) {
                empty(server($kind, &SERVER), case).await
            }

            conformance::on_backend!(keeps, super::store);
            conformance::on_database!(answers, super::store);

            #[tokio::test]
            async fn random_changes_keep_the_twins_equal() {
                twins(server($kind, &SERVER)).await;
            }
        }
    )+ };
}

on_servers! {
    postgres: "postgres",
    mariadb_11_8: "mariadb-11.8",
    mariadb_10_5: "mariadb-10.5",
    mysql_9: "mysql-9",
}

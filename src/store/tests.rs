//! The suite of every store, on memory and on SQLite.

use proptest::prelude::*;

use crate::store::conformance::twins::{batches, keep_equal};
use crate::store::{MemoryStore, SqlStore, conformance};

/// A store in memory.
fn in_memory(_case: &str) -> std::future::Ready<(MemoryStore, ())> {
    std::future::ready((MemoryStore::new(), ()))
}

/// A SQLite store in a folder that is removed with the guard.
pub(crate) async fn sqlite(_case: &str) -> (SqlStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/optimizer.db", folder.path().display());
    (SqlStore::open(&url).await.unwrap(), folder)
}

conformance::on_backend!(memory_store, super::in_memory);
conformance::on_backend!(sqlite_store, super::sqlite);
conformance::on_database!(sqlite_reading, super::sqlite);

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_changes_keep_the_twins_equal(batches in batches()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (memory, (sqlite, _folder)) = (MemoryStore::new(), sqlite("").await);
            keep_equal(&memory, &sqlite, batches).await;
        });
    }
}

//! Passes methods of a store on to the one inside, for stores that do one thing
//! differently.

/// Writes these methods of [`Store`](didtail::store::Store), and its `Hold`, for a
/// wrapper whose field `inner` is a [`MemoryStore`](didtail::store::MemoryStore).
macro_rules! forward {
    ($($method:ident)*) => {
        type Hold = <didtail::store::MemoryStore as didtail::store::Store>::Hold;

        $(forward!(@ $method);)*
    };
    (@ hold) => {
        forward!(=> hold(source: &str) -> Self::Hold);
    };
    (@ commit_held) => {
        forward!(=> commit_held(
            hold: Self::Hold,
            change: &didtail::ledger::ChangeSet,
            note: Option<(didtail::store::LoadName, &didtail::store::LoadNote)>,
        ) -> didtail::store::Durable);
    };
    (@ posts) => {
        forward!(=> post(
            posts: &[didtail::store::NewPost],
            creates_dids: bool,
        ) -> (Vec<didtail::store::PostOutcome>, u64));
        forward!(=> posted(source: &str, rows_max: u32) -> (Vec<didtail::store::Waiting>, u64));
        forward!(=> forget_post_keys() -> ());
    };
    (@ leases) => {
        forward!(=> claim(source: &str, claim: &didtail::store::Claim<'_>) -> didtail::store::Grant);
        forward!(=> renew(source: &str, lease: &didtail::store::Lease) -> bool);
        forward!(=> release(source: &str, lease: &didtail::store::Lease) -> ());
        forward!(=> lease(source: &str) -> Option<didtail::store::LeaseState>);
    };
    (@ save_load) => {
        forward!(=> save_load(
            source: &str,
            name: didtail::store::LoadName,
            note: &didtail::store::LoadNote,
        ) -> ());
    };
    (@ load_note) => {
        forward!(=> load_note(
            source: &str,
            name: didtail::store::LoadName,
        ) -> Option<didtail::store::LoadNote>);
    };
    (@ landmarks) => {
        forward!(=> landmarks(
            source: &str,
            epoch: u64,
        ) -> Vec<didtail::landmark::Landmark>);
    };
    (@ unattributed) => {
        forward!(=> unattributed(
            source: &str,
            since: i64,
            rows_max: u32,
        ) -> Vec<didtail::store::Unattributed>);
    };
    (@ progress) => {
        forward!(=> progress(source: &str) -> Option<didtail::checkpoint::Checkpoint>);
    };
    (@ load) => {
        forward!(=> load(
            source: &str,
            tenant: &str,
            keys: &didtail::ledger::Keys,
        ) -> didtail::ledger::Loaded);
    };
    (@ commit) => {
        forward!(=> commit(change: &didtail::ledger::ChangeSet) -> didtail::store::Durable);
    };
    (@ statuses) => {
        forward!(=> statuses(source: &str) -> didtail::vicidial::StatusBook);
    };
    (@ history) => {
        forward!(=> history(
            source: &str,
            subject: &didtail::ledger::Subject,
        ) -> Vec<didtail::ledger::ChangeEntry>);
    };
    (@ page) => {
        forward!(=> page(
            source: &str,
            behind: didtail::store::Mark,
            rows_max: u32,
        ) -> Option<didtail::store::Page>);
    };
    (@ prune) => {
        forward!(=> prune(
            tenant: &str,
            trail: didtail::store::Trail,
            before: i64,
            rows_max: u32,
        ) -> u64);
    };
    (@ pruned) => {
        forward!(=> pruned(source: &str) -> didtail::ledger::Pruned);
    };
    (@ sweep) => {
        forward!(=> sweep(prune: &didtail::store::Prune<'_>) -> didtail::store::Swept);
    };
    (=> $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $answer:ty) => {
        async fn $name(&self, $($argument: $kind),*) -> Result<$answer, StoreError> {
            self.inner.$name($($argument),*).await
        }
    };
}

pub(crate) use forward;

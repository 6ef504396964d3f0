//! The three figures that matter of the whole path, measured on a real MariaDB:
//! how fast other tables' events are skipped, how fast watched rows are applied,
//! and how soon a single hang-up is in the store.
//!
//! `cargo bench --bench spine [-- skip | apply | latency | sources] [postgres | mariadb-11.8 |
//! mysql-9]`. Starts a private MariaDB 10.11 and needs nothing else. Beside the
//! first figure stands the floor: a loop that only reads the packets of the same
//! stream off a socket. The others are measured into SQLite, or into private servers
//! of the kinds that are named.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod apply;
mod floor;
mod latency;
mod server;
mod skip;
mod sources;
mod store;

fn main() -> anyhow::Result<()> {
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let (kinds, only): (Vec<String>, Vec<String>) =
        only.into_iter().partition(|name| store::is_kind(name));
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let server = server::Server::start("source")?;
    if wanted("skip") {
        skip::measure(&server)?;
    }
    let mut stores = Vec::new();
    for kind in &kinds {
        stores.push(store::Store::start(kind, &server)?);
    }
    if stores.is_empty() {
        stores.push(store::Store::File(&server));
    }
    if wanted("apply") {
        apply::measure(&server, &stores)?;
    }
    // Into one file they write by turns anyway.
    if wanted("sources") && !kinds.is_empty() {
        sources::measure(&server, &stores)?;
    }
    if wanted("latency") {
        for store in &stores {
            latency::measure(&server, store)?;
        }
    }
    Ok(())
}

//! The three figures that matter of the whole path, measured on a real MariaDB:
//! how fast other tables' events are skipped, how fast watched rows are applied,
//! and how soon a single hang-up is in the store.
//!
//! `cargo bench --bench spine [-- skip | apply | latency]`. Starts a private
//! MariaDB 10.11 and needs nothing else. Beside the first figure stands the
//! floor: a loop that only reads the packets of the same stream off a socket.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod apply;
mod floor;
mod latency;
mod server;
mod skip;

fn main() -> anyhow::Result<()> {
    let only: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let server = server::Server::start()?;
    if wanted("skip") {
        skip::measure(&server)?;
    }
    if wanted("apply") {
        apply::measure(&server)?;
    }
    if wanted("latency") {
        latency::measure(&server)?;
    }
    Ok(())
}

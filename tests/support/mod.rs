//! What the live tests share: servers, a VICIdial database with its didtail,
//! processes, and the comparison of store and source.

mod acknowledged;
mod answering;
mod authority;
mod compare;
mod disk;
mod process;
mod proxy;
mod server;
mod site;

pub use acknowledged::{Commits, Cut};
pub use answering::{address, answering};
pub use authority::Authority;
pub use compare::{Numbers, differences};
pub use disk::Disk;
pub use process::{Daemon, Ended};
pub use proxy::{Proxy, Trouble};
pub use server::Server;
pub use site::Site;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds` gives something; panics with `what` after [`PATIENCE`].
pub fn wait_until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory for this run's files, below cargo's own; those of runs that
/// are over are removed first.
pub fn workspace() -> &'static PathBuf {
    static WORKSPACE: OnceLock<PathBuf> = OnceLock::new();
    WORKSPACE.get_or_init(|| {
        let parent = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("live");
        std::fs::create_dir_all(&parent).expect("a directory for the tests");
        for entry in parent.read_dir().expect("readable").flatten() {
            let owner = PathBuf::from("/proc").join(entry.file_name());
            if !owner.exists() {
                // Another run may be doing the same.
                drop(std::fs::remove_dir_all(entry.path()));
            }
        }
        let mine = parent.join(std::process::id().to_string());
        std::fs::create_dir_all(&mine).expect("a directory for this run");
        mine
    })
}

//! What a service manager hears of the daemon, and what it must not be told: that it
//! is dead, while it only waits.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Daemon, Server, Site, wait_until};

/// How long a manager waits for a sign of life, in microseconds.
const WATCHDOG_US: &str = "400000";

/// Signs of life that span several times as long as that.
const SIGNS: usize = 20;

/// The socket of a service manager, and all that came.
struct Manager {
    folder: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    fn new() -> Self {
        // Of the system's: the paths of sockets are short.
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut message = [0; 8192];
            while let Ok(length) = socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                let lines = text.lines().map(str::to_owned);
                heard.lock().expect("nobody panics").extend(lines);
            }
        });
        Self { folder, said }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    fn daemon(&self, site: &Site, log: &str) -> Daemon {
        self.started(site, "run", log)
    }

    fn started(&self, site: &Site, command: &str, log: &str) -> Daemon {
        let mut command = site.command(&[command]);
        command.env("NOTIFY_SOCKET", self.socket());
        command.env("WATCHDOG_USEC", WATCHDOG_US);
        Daemon::spawn(&mut command, site.path(log))
    }

    /// What came since so many lines.
    fn since(&self, seen: usize) -> Vec<String> {
        self.said.lock().expect("nobody panics")[seen..].to_vec()
    }

    fn seen(&self) -> usize {
        self.since(0).len()
    }

    /// Waits until a line that came since then has these words.
    #[track_caller]
    fn wait_for(&self, seen: usize, words: &str) {
        wait_until(&format!("`{words}` is said"), || {
            let said = self.since(seen);
            said.iter().any(|line| line.contains(words)).then_some(())
        });
    }

    /// Waits for signs of life, and demands that they come as often as they must.
    #[track_caller]
    fn lives_on(&self) {
        let seen = self.seen();
        let begun = std::time::Instant::now();
        wait_until("signs of life come", || {
            let signs = self.since(seen);
            let signs = signs.iter().filter(|line| *line == "WATCHDOG=1");
            (signs.count() >= SIGNS).then_some(())
        });
        // Four in each time that the manager waits; a busy machine may be late.
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    fn count(&self, line: &str) -> usize {
        self.since(0).iter().filter(|said| *said == line).count()
    }
}

#[test]
fn a_daemon_is_ready_when_it_follows_and_alive_while_it_waits() {
    let source = Server::start("service-source", &[]);
    let store = Server::start("service-store", &[]);
    let site = Site::new(&source, "asterisk").on_store(&store.store_url("optimizer"));
    site.calls(20, 1);

    // A store that is not there when the machine starts.
    store.stop();
    let manager = Manager::new();
    let daemon = manager.daemon(&site, "service.log");
    manager.wait_for(0, "STATUS=waiting for the store: ");
    manager.lives_on();
    assert_eq!(manager.count("READY=1"), 0, "it follows nothing yet");
    assert!(manager.count("EXTEND_TIMEOUT_USEC=90000000") >= SIGNS);
    store.start_again();
    manager.wait_for(0, "READY=1");
    manager.wait_for(0, "STATUS=main: following");

    // Another one is ready to take over.
    let other = Site::beside(&source, "asterisk").on_store(&site.store_url());
    let second_manager = Manager::new();
    let second = second_manager.daemon(&other, "service.log");
    second_manager.wait_for(0, "READY=1");
    second_manager.wait_for(0, "STATUS=main: standing by, ");
    second_manager.lives_on();
    assert_eq!(second.end().code, 0);

    // A source that is away, and a store.
    for (server, words) in [
        (&source, "STATUS=main: lost, connecting again: "),
        (&store, "STATUS=main: waiting for the store: "),
    ] {
        let seen = manager.seen();
        server.stop();
        if words.contains("store") {
            // What it cannot write.
            site.calls(5, 2);
        }
        manager.wait_for(seen, words);
        manager.lives_on();
        let seen = manager.seen();
        server.start_again();
        manager.wait_for(seen, "STATUS=main: following");
    }
    assert_eq!(manager.count("READY=1"), 1, "it is said once");
    assert_eq!(daemon.end().code, 0);
    manager.wait_for(0, "STOPPING=1");
    site.catch_up();
    site.assert_equals_source();
}

#[test]
fn who_only_serves_is_ready_once_the_store_is_open() {
    let source = Server::start("service-serve-source", &[]);
    let store = Server::start("service-serve-store", &[]);
    let site = Site::new(&source, "asterisk").on_store(&store.store_url("optimizer"));
    crate::monitor::answering(&site);
    site.catch_up();
    // Nobody needs the source.
    source.stop();
    store.stop();
    let manager = Manager::new();
    let serving = manager.started(&site, "serve", "serve.log");
    manager.wait_for(0, "STATUS=waiting for the store: ");
    manager.lives_on();
    assert_eq!(manager.count("READY=1"), 0, "there is nothing to serve yet");
    store.start_again();
    manager.wait_for(0, "READY=1");
    manager.wait_for(0, "STATUS=serving; main: nobody follows it");
    let seen = manager.seen();
    store.stop();
    manager.wait_for(seen, "STATUS=waiting for the store: ");
    manager.lives_on();
    store.start_again();
    manager.wait_for(seen, "STATUS=serving; main: nobody follows it");
    assert_eq!(serving.end().code, 0);
    manager.wait_for(0, "STOPPING=1");
}

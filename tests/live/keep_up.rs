//! A daemon that keeps up with the source applies a few rows at a time, and
//! ends in the same numbers as one that applies thousands.

use crate::support::{Ended, Server, Site, wait_until};

/// Batches that are seen to end while calls go on.
const BATCHES: usize = 20;

#[test]
fn small_batches_end_in_the_sources_numbers() {
    let server = Server::start("keep-up", &[]);
    let site = Site::new(&server, "asterisk");
    let daemon = site.following();
    // On a machine that has other work a round may be applied in a few large ones.
    let mut positions = Vec::new();
    let mut seed = 0;
    while positions.len() <= BATCHES {
        seed += 1;
        let mut traffic = site.simulator_command("run");
        traffic.args(["--calls", "1500", "--noise", "4", "--connections", "2"]);
        traffic.args(["--seed", &seed.to_string()]);
        let traffic = std::thread::spawn(move || Ended::of(&mut traffic));
        wait_until("the simulator has ended", || {
            positions.extend(site.position());
            traffic.is_finished().then_some(())
        });
        traffic.join().expect("the simulator ran").good();
        positions.dedup();
    }
    site.wait_for_end(&server);
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
    let removed: i64 = site.stored("SELECT count(*) FROM call_records WHERE removed");
    assert!(
        removed > 5,
        "hardly any duplicate was cleaned up: {removed}"
    );
    site.assert_equals_source();
}

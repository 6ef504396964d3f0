//! Killed at any moment, again and again, didtail ends with the source's numbers.

use std::process::Command;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Ended, Server, Site, wait_until};

const CALLS: u32 = 20_000;
const KILLS_MIN: u32 = 10;

#[test]
fn killed_at_random_moments_it_ends_with_the_sources_numbers() {
    let seed = match std::env::var("LIVE_SEED") {
        Ok(seed) => seed.parse().expect("LIVE_SEED is a number"),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs(),
    };
    println!("repeat with LIVE_SEED={seed}");
    let mut moments = Moments(seed | 1, 700);
    let server = Server::start("kill", &[]);
    let site = Site::new(&server, "asterisk");
    let calls = CALLS.to_string();
    let mut arguments = site.simulator_command("run");
    arguments.args(["--calls", &calls, "--noise", "2", "--connections", "6"]);
    let (kills, under_way) = kill_while(&site, arguments, &mut moments, KILLS_MIN);
    println!("killed {kills} times, {under_way} of them under way");
    println!("the rest: {}", site.catch_up());
    assert!(site.assert_equals_source() >= 18_000);
}

/// Runs the traffic to its end, and meanwhile starts and kills didtail, at
/// least so often while it works. Returns how often in all, and how often so.
pub fn kill_while(
    site: &Site,
    mut traffic: Command,
    moments: &mut Moments,
    kills_min: u32,
) -> (u32, u32) {
    std::thread::scope(|scope| {
        // Whatever becomes of didtail, the traffic is over when this returns.
        let traffic = scope.spawn(move || Ended::of(&mut traffic));
        let counted = kill_until(site, &traffic, moments, kills_min);
        traffic.join().expect("the simulator ran").good();
        counted
    })
}

fn kill_until(
    site: &Site,
    traffic: &ScopedJoinHandle<'_, Ended>,
    moments: &mut Moments,
    kills_min: u32,
) -> (u32, u32) {
    let (mut kills, mut under_way) = (0, 0);
    while under_way < kills_min || !traffic.is_finished() {
        let before = site.position();
        let mut daemon = site.daemon();
        // Some die while they start, the others in the middle of their work.
        let works = kills % 3 != 0;
        if works && !traffic.is_finished() {
            let applied = wait_until("it has applied something", || {
                assert!(daemon.is_running(), "it ended: {}", daemon.log());
                let applied = site.position() != before;
                // Nothing comes in a night.
                let is_over = traffic.is_finished() || site.night().exists();
                (applied || is_over).then_some(applied)
            });
            under_way += u32::from(applied);
        }
        site.see_the_night_through(|| traffic.is_finished());
        std::thread::sleep(moments.next());
        let log = daemon.kill();
        assert!(!log.contains("ERROR"), "{log}");
        assert!(!log.contains("error: "), "it ended by itself: {log}");
        kills += 1;
        assert!(kills < 1000, "the simulator is over before it began");
    }
    (kills, under_way)
}

/// A xorshift sequence of short times, of less than so many milliseconds.
#[derive(Debug)]
pub struct Moments(pub u64, pub u64);

impl Moments {
    pub fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(self.0 % self.1)
    }
}

//! What the daemon tells systemd: that it is ready, what it does, that it is alive.
//!
//! Before it is ready it asks for more time instead, so that a store that is down when
//! the machine starts is waited for and a start that hangs ends. A loop that hangs
//! gets no sign of life any more, and systemd starts the daemon again. Where nobody
//! asks (no `NOTIFY_SOCKET`), nothing is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::engine::{Report, Vitals, Watcher};
use crate::telemetry::{field, spawn_named};

/// Time between two looks: readiness is told that late at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A sign of life is given so many times within the time that systemd waits for one.
const SIGNS_PER_WATCHDOG: u32 = 4;

/// Time between two signs where systemd does not say how long it waits.
const SIGN_INTERVAL: Duration = Duration::from_secs(30);

/// How much longer than now a start may take, in microseconds.
const START_EXTENSION_US: u32 = 90_000_000;

/// Begins to tell systemd how things are, until it is time to stop.
pub(super) fn report(vitals: Arc<Vitals>, shutdown: watch::Receiver<bool>) {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        spawn_named("service", tell_until(vitals, shutdown));
    }
}

/// Tells what the daemon ended with: `systemctl status` shows it until the next start.
pub(super) fn failed(error: &str) {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        send(&[NotifyState::Status(error)]);
    }
}

async fn tell_until(vitals: Arc<Vitals>, mut shutdown: watch::Receiver<bool>) {
    let watchdog = sd_notify::watchdog_enabled();
    let sign_every = watchdog.map_or(SIGN_INTERVAL, |limit| limit / SIGNS_PER_WATCHDOG);
    let look_every = LOOK_INTERVAL.min(sign_every).max(Duration::from_millis(10));
    let mut look = interval(look_every);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = Watcher::new(vitals);
    let mut teller = Teller::new(sign_every);
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => break,
            _ = look.tick() => {
                let now = Instant::now();
                let report = watcher.look(now);
                send(&teller.words(&report, now));
            }
        }
    }
    send(&[
        NotifyState::Stopping,
        NotifyState::Status("finishing the current transaction"),
    ]);
}

/// Nothing is done where nobody listens: the next word may be heard.
fn send(words: &[NotifyState<'_>]) {
    if words.is_empty() {
        return;
    }
    if let Err(error) = sd_notify::notify(words) {
        tracing::debug!({ field::ERROR } = %error, "systemd was not told");
    }
}

/// Knows what was told.
struct Teller {
    sign_every: Duration,
    signed: Option<Instant>,
    is_ready: bool,
    status: String,
    /// The sources whose hanging the log was told of.
    hanging: Vec<String>,
}

impl Teller {
    fn new(sign_every: Duration) -> Self {
        Self {
            sign_every,
            signed: None,
            is_ready: false,
            status: String::new(),
            hanging: Vec::new(),
        }
    }

    /// What is to be said now; nothing where it was said.
    fn words<'a>(&mut self, report: &'a Report, now: Instant) -> Vec<NotifyState<'a>> {
        let mut words = Vec::new();
        if report.is_ready && !self.is_ready {
            self.is_ready = true;
            words.push(NotifyState::Ready);
        }
        if report.status != self.status {
            self.status.clone_from(&report.status);
            words.push(NotifyState::Status(&report.status));
        }
        if report.hanging != self.hanging {
            self.hanging.clone_from(&report.hanging);
            if !self.hanging.is_empty() {
                tracing::error!(
                    sources = ?self.hanging,
                    "following these sources hangs; systemd is to start didtail again. Please report it"
                );
            }
        }
        let is_due = self
            .signed
            .is_none_or(|signed| now.duration_since(signed) >= self.sign_every);
        if is_due && self.hanging.is_empty() {
            self.signed = Some(now);
            words.push(NotifyState::Watchdog);
            if !self.is_ready {
                words.push(NotifyState::ExtendTimeoutUsec(START_EXTENSION_US));
            }
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn report(is_ready: bool, status: &str, hanging: &[&str]) -> Report {
        Report {
            is_ready,
            status: status.to_owned(),
            hanging: hanging.iter().map(ToString::to_string).collect(),
        }
    }

    fn said(words: &[NotifyState<'_>]) -> String {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        words.join(" ")
    }

    #[test]
    fn systemd_hears_of_changes_and_signs_of_life() {
        let mut teller = Teller::new(SECOND * 30);
        let begun = Instant::now();
        let mut say =
            |report: Report, seconds| said(&teller.words(&report, begun + SECOND * seconds));
        let starting = report(false, "main: connecting", &[]);
        assert_eq!(
            say(starting.clone(), 0),
            "STATUS=main: connecting WATCHDOG=1 EXTEND_TIMEOUT_USEC=90000000"
        );
        assert_eq!(say(starting.clone(), 29), "");
        assert_eq!(say(starting, 30), "WATCHDOG=1 EXTEND_TIMEOUT_USEC=90000000");
        let following = report(true, "main: following", &[]);
        assert_eq!(say(following.clone(), 31), "READY=1 STATUS=main: following");
        assert_eq!(say(following.clone(), 60), "WATCHDOG=1");
        // Ready is said once, whatever comes.
        assert_eq!(say(report(false, "main: following", &[]), 61), "");
        assert_eq!(say(following, 62), "");
    }

    #[test]
    fn who_hangs_gives_no_sign_of_life() {
        let mut teller = Teller::new(SECOND);
        let now = Instant::now();
        teller.words(&report(true, "", &[]), now);
        let hangs = report(true, "", &["main"]);
        assert_eq!(said(&teller.words(&hangs, now + SECOND * 2)), "");
        assert_eq!(said(&teller.words(&hangs, now + SECOND * 4)), "");
        let turns = report(true, "", &[]);
        assert_eq!(said(&teller.words(&turns, now + SECOND * 5)), "WATCHDOG=1");
    }
}

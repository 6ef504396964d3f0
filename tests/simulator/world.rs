//! The call center that the calls happen in: its caller IDs, campaigns, agents
//! and clock.

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::random::Random;

const DID_AREAS: [u64; 10] = [312, 212, 415, 305, 617, 702, 206, 404, 713, 602];
const CUSTOMER_AREAS: [u64; 8] = [217, 309, 518, 607, 760, 850, 916, 928];
const CAMPAIGNS: [&str; 3] = ["SALESEST", "SALESWST", "RENEWAL"];
pub const SERVERS: [&str; 2] = ["10.10.10.15", "10.10.10.16"];
pub const AGENTS: u64 = 40;

/// A caller ID and how the people it calls and their carriers treat it.
#[derive(Clone)]
pub struct Did {
    pub number: String,
    pub blocked_share: f64,
    pub answer_factor: f64,
}

pub struct World {
    pub seed: u64,
    pub dids: Vec<Did>,
    pub zone: TimeZone,
    /// Whether the database, like its clients, keeps text in latin1.
    pub latin1: bool,
    /// From this call on, agents use a status that was not there before.
    pub new_status_from: u64,
    /// Calls can be of last year.
    pub has_own_clock: bool,
}

impl World {
    pub fn new(seed: u64, dids: u64, zone: &str, latin1: bool) -> Result<Self> {
        Ok(Self {
            seed,
            dids: (0..dids.max(1)).map(did).collect(),
            zone: TimeZone::get(zone).with_context(|| format!("no time zone is named {zone:?}"))?,
            latin1,
            new_status_from: u64::MAX,
            has_own_clock: false,
        })
    }

    /// The wall clock, as VICIdial writes it into DATETIME columns.
    pub fn wall(&self, epoch: i64) -> String {
        self.format(epoch, "%Y-%m-%d %H:%M:%S")
    }

    /// The middle of a caller code: MMDDhhmmss without its first digit, which
    /// is all that fits.
    pub fn code_digits(&self, epoch: i64) -> String {
        self.format(epoch, "%m%d%H%M%S").split_off(1)
    }

    fn format(&self, epoch: i64, pattern: &str) -> String {
        let timestamp = Timestamp::from_second(epoch).expect("calls happen in this age");
        timestamp
            .to_zoned(self.zone.clone())
            .strftime(pattern)
            .to_string()
    }

    pub fn did(&self, random: &mut Random) -> Did {
        let last = self.dids.len() as u64 - 1;
        self.dids[random.between(0, last) as usize].clone()
    }

    /// Leads of different seeds differ, so that one database can take several
    /// runs. Nine digits at most: VICIdial builds uniqueids from them.
    pub fn lead(&self, call: u64, nth: u64) -> u64 {
        (self.seed % 90 + 1) * 10_000_000 + call * 2 + nth
    }

    /// The part of a uniqueid after the dot, which Asterisk counts up.
    pub fn sequence(&self, call: u64, nth: u64) -> u64 {
        (self.seed % 900) * 1_000_000 + (call * 10 + nth) % 1_000_000
    }
}

/// One DID in eight has been reported as spam: carriers block many of its
/// calls, and few people answer the rest.
fn did(index: u64) -> Did {
    let area = DID_AREAS[(index / 12 % 10) as usize];
    let line = index % 12 + index / 120 * 12;
    let reported = index % 8 == 3;
    let mut random = Random::for_call(0x0D1D, index);
    Did {
        number: format!("{area}{}0{:03}", 555 + line / 100, 100 + line % 100),
        blocked_share: if reported { 0.26 } else { 0.01 },
        answer_factor: if reported {
            0.35
        } else {
            0.7 + 0.7 * random.fraction()
        },
    }
}

pub fn customer_number(random: &mut Random) -> String {
    let area = CUSTOMER_AREAS[random.between(0, 7) as usize];
    format!("{area}555{:04}", random.between(1000, 9999))
}

pub fn campaign(random: &mut Random) -> &'static str {
    random.weighted(&[
        (5.0, CAMPAIGNS[0]),
        (3.0, CAMPAIGNS[1]),
        (2.0, CAMPAIGNS[2]),
    ])
}

pub fn agent(random: &mut Random) -> String {
    format!("{}", 6000 + random.between(1, AGENTS))
}

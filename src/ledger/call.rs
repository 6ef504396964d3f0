//! The state kept of each call and of each dial, and what it contributes.
//!
//! # Why the numbers stay true
//! A counter is never bumped by an event. A call's state determines its
//! [`Contribution`]; a change of state subtracts the old contribution and adds
//! the new one. So an event seen twice, a late correction, a re-read and a
//! rewound checkpoint all end in the same numbers.

use crate::ledger::rules::CODE_WINDOW_SECONDS;
use crate::ledger::{Attribution, Counters, Outcome};
use crate::vicidial::{Said, second};

/// What tells one call of a source from every other.
///
/// VICIdial's primary key is `uniqueid` alone, but two Asterisk servers may
/// make the same one; the lead then differs (vicidial.md, uniqueid edge cases).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey {
    /// Asterisk's `uniqueid` of the call, at most 20 characters in VICIdial.
    pub uniqueid: String,
    /// VICIdial's lead.
    pub lead_id: u64,
}

/// Seconds around the time that a `uniqueid` names in which [`Call::opened_at`] lies.
pub const OPENED_WITHIN_SECONDS: i64 = CODE_WINDOW_SECONDS;

/// The time that a `uniqueid` names, in seconds since 1970 (UTC) by Asterisk's clock:
/// it begins with the second in which the channel was made. `None` where a system
/// name stands before that (`systemname` of `asterisk.conf`), or it is made up.
#[must_use]
pub fn named_second(uniqueid: &str) -> Option<i64> {
    let second = second(uniqueid);
    let is_time = second.len() == 10 && second.bytes().all(|byte| byte.is_ascii_digit());
    second.parse().ok().filter(|_| is_time)
}

impl CallKey {
    /// What [`Call::opened_at`] is for a call of this name that is first said to have
    /// begun at a time. Whatever the clocks say, it follows from the name where the
    /// call lies: so nobody has to look everywhere, and no call is overlooked.
    #[must_use]
    pub fn opened_at(&self, began: i64) -> i64 {
        match named_second(&self.uniqueid) {
            Some(named) => began.clamp(
                named.saturating_sub(OPENED_WITHIN_SECONDS),
                named.saturating_add(OPENED_WITHIN_SECONDS),
            ),
            None => began,
        }
    }
}

/// Seconds between the times that two names of one call may name: one is that of the
/// channel to the carrier, the other that of the agent's or the dialer's.
pub(super) const NEAR_SECONDS: i64 = 2;

/// The name of the dial that keeps what was posted of a `uniqueid` without a caller
/// code, and says by which one the call goes now: one that no carrier's row has.
pub(super) fn post_name(uniqueid: &str) -> String {
    format!("post:{uniqueid}")
}

/// Who tells of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOrigin {
    /// A row of VICIdial's.
    #[default]
    Binlog,
    /// Posted results alone, so far.
    Posted,
}

impl CallOrigin {
    /// The name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binlog => "binlog",
            Self::Posted => "posted",
        }
    }

    /// The origin of this name in the store.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Binlog, Self::Posted]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

/// One outbound call as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Call {
    /// The first V or M code seen for this call: later ones name transfers.
    pub caller_code: Option<String>,
    /// The DID dialled from: E.164 where the number is valid, else its digits.
    pub did: Option<String>,
    /// How [`Call::did`] is known.
    pub attribution: Attribution,
    /// The customer's number: E.164 where it is valid, else its digits.
    pub phone_number: String,
    /// `vicidial_log.campaign_id`; empty when NULL.
    pub campaign_id: String,
    /// `vicidial_log.user`; `VDAD` while no agent has the call; empty when NULL.
    pub agent_id: String,
    /// `vicidial_log.list_id`.
    pub list_id: Option<u64>,
    /// `vicidial_log.status` as it is now; empty when NULL.
    pub disposition: String,
    /// The class that the disposition and the carrier's answer put the call in.
    pub outcome: Outcome,
    /// The disposition was a success when it was applied.
    pub successful: bool,
    /// VICIdial flags the disposition as do-not-call.
    pub dnc: bool,
    /// The call is in the statistics.
    pub counted: bool,
    /// VICIdial deleted the row as the duplicate of another row of the same call.
    pub removed: bool,
    /// `length_in_sec`, in seconds; may be negative; `None` until hang-up.
    pub duration_seconds: Option<i64>,
    /// `term_reason`; empty for the ENUM's index 0.
    pub term_reason: String,
    /// Q.850 cause of the carrier log.
    pub hangup_cause: Option<u16>,
    /// SIP code of the carrier log; `None` when it says 0.
    pub sip_code: Option<u16>,
    /// SIP reason of the carrier log.
    pub sip_reason: String,
    /// `called_count`.
    pub called_count: Option<u32>,
    /// The first [`Call::started_at`] as far as the name allows it
    /// ([`CallKey::opened_at`]); it only changes with the name. Seconds since 1970.
    pub opened_at: i64,
    /// `start_epoch`, else `call_date` in the dialer's zone; seconds since 1970 (UTC).
    pub started_at: i64,
    /// `end_epoch`; seconds since 1970 (UTC).
    pub ended_at: Option<i64>,
    /// The day of [`Call::started_at`] in the dialer's zone, `YYYY-MM-DD`.
    pub day: String,
    /// When the source wrote the newest applied change; seconds since 1970 (UTC).
    pub updated_at: i64,
    /// Who tells of it.
    pub origin: CallOrigin,
}

/// What tells one dial attempt of a source from every other.
///
/// A caller code has no year and one digit of the month, so it comes again;
/// the time of the first row that named it tells its uses apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialKey {
    /// VICIdial's caller code, e.g. `V1112150007000012345`; the `uniqueid` for
    /// what was said by rows that name no code.
    pub caller_code: String,
    /// Time of the first row that named the code; seconds since 1970 (UTC).
    pub opened_at: i64,
}

/// One dial attempt: what the dial logs, the carrier log and
/// `vicidial_log_extended` say of one caller code.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dial {
    /// The lead that was dialled.
    pub lead_id: Option<u64>,
    /// The outbound caller ID: E.164 where it is valid, else its digits.
    pub did: Option<String>,
    /// The caller ID that the carrier's dialplan reported to have used instead.
    pub reported: Option<String>,
    /// The dial log's row was found by SELECT: it gives the DID, and is no dial
    /// that was seen.
    pub looked_up: bool,
    /// `call_date` of the dial log in the dialer's zone; seconds since 1970
    /// (UTC); [`DialKey::opened_at`] while only other tables named the code.
    pub dialed_at: i64,
    /// The day of [`Dial::dialed_at`] in the dialer's zone, `YYYY-MM-DD`.
    pub day: String,
    /// A dial log row was seen: the attempt counts as a dial.
    pub counted: bool,
    /// `uniqueid` of the `vicidial_log` row, by `vicidial_log_extended`.
    pub uniqueid: Option<String>,
    /// `dialstatus` of the carrier log, e.g. `BUSY`.
    pub dial_status: String,
    /// Q.850 cause of the carrier log; `None` without a carrier row.
    pub hangup_cause: Option<u16>,
    /// SIP code of the carrier log; `None` when it says 0.
    pub sip_code: Option<u16>,
    /// SIP reason of the carrier log.
    pub sip_reason: String,
    /// What was posted of the call, as [`Said::to_text`] has it.
    pub posted: Option<String>,
}

/// What a call or a dial adds to the statistics of one DID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// The DID.
    pub did: String,
    /// The day, `YYYY-MM-DD` in the dialer's zone.
    pub day: String,
    /// The campaign; empty for dials, whose campaign no dial log tells.
    pub campaign_id: String,
    /// The counters, each 0 or 1, and the talk seconds.
    pub counters: Counters,
    /// When; the newest of a DID is its `last_call_at` or `last_dial_at`.
    pub at: i64,
}

impl Call {
    /// What the call adds; `None` while it does not count or has no DID.
    #[must_use]
    pub fn contribution(&self) -> Option<Contribution> {
        let did = self.did.as_ref().filter(|_| self.counted)?;
        let mut counters = Counters {
            total_calls: 1,
            successful_calls: i64::from(self.successful),
            dnc: i64::from(self.dnc),
            ..Counters::default()
        };
        match self.outcome {
            Outcome::Answered => {
                counters.answered = 1;
                counters.talk_seconds = self.duration_seconds.unwrap_or(0).max(0);
            }
            Outcome::Machine => counters.machine = 1,
            Outcome::NoAnswer => counters.no_answer = 1,
            Outcome::Busy => counters.busy = 1,
            Outcome::Dropped => counters.dropped = 1,
            Outcome::Failed => counters.failed = 1,
            Outcome::Blocked => counters.blocked = 1,
            Outcome::Other => counters.other = 1,
        }
        Some(Contribution {
            did: did.clone(),
            day: self.day.clone(),
            campaign_id: self.campaign_id.clone(),
            counters,
            at: self.started_at,
        })
    }
}

impl Dial {
    /// What was posted of the call.
    #[must_use]
    pub fn said(&self) -> Said {
        self.posted
            .as_deref()
            .map(Said::of_text)
            .unwrap_or_default()
    }

    /// True when the dial log's row is known, and so whether there is a DID.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.counted || self.looked_up
    }

    /// True when the carrier's answer is known.
    #[must_use]
    pub fn has_ending(&self) -> bool {
        self.hangup_cause.is_some() || self.sip_code.is_some()
    }

    /// What the dial adds; `None` without a dial log row or a DID.
    #[must_use]
    pub fn contribution(&self) -> Option<Contribution> {
        let did = self.did.as_ref().filter(|_| self.counted)?;
        Some(Contribution {
            did: did.clone(),
            day: self.day.clone(),
            campaign_id: String::new(),
            counters: Counters {
                dials: 1,
                ..Counters::default()
            },
            at: self.dialed_at,
        })
    }
}

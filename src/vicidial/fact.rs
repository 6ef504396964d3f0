//! What a row of VICIdial says about calls, free of columns and encodings.

use std::sync::Arc;

use crate::vicidial::{Posted, StatusChange, Table};

/// Which row image a fact comes from: the same on every replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Binlog file.
    pub file: Arc<str>,
    /// Offset of the row event in the file, in bytes.
    pub offset: u64,
    /// Number of the row within the event, from 0.
    pub row: u32,
    /// When the source wrote it; seconds since 1970 (UTC).
    pub time: i64,
}

/// One fact and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Where it comes from.
    pub origin: Origin,
    /// What it says.
    pub detail: Detail,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A row of `vicidial_log` as it is now.
    Call {
        /// What an UPDATE changed it from; `None` for an INSERT.
        before: Option<CallBefore>,
        /// The row.
        row: CallRow,
    },
    /// A row of `vicidial_log` as it was read behind a statement. A statement
    /// behind that one may have given it the lead that it has now.
    CallRead(Box<CallRow>),
    /// The same of a row that was found by its lead. It may have another name now
    /// too: where another call of the lead with the same start is known, it may be
    /// that one, and begins none.
    CallOfLead(Box<CallRow>),
    /// A row of `vicidial_log` was deleted soon after its call began: perhaps
    /// VICIdial's clean-up of duplicates. Older rows are archived, which says nothing.
    CallDeleted {
        /// `uniqueid`.
        uniqueid: String,
        /// `lead_id`; `None` where a statement does not name it.
        lead_id: Option<u64>,
        /// Start of the call; seconds since 1970 (UTC).
        started_at: i64,
    },
    /// The calls of a lead that began in one second, as they are behind a
    /// statement that renamed or deleted one of them: whichever is known and
    /// not there any more, it was that one.
    CallsOfSecond {
        /// `lead_id`.
        lead_id: u64,
        /// The second, as `uniqueid` names it: the part before the dot.
        second: String,
        /// Those that were not archived before the statement.
        reach: Reach,
        /// The `uniqueid`s that are there.
        present: Vec<String>,
        /// The `uniqueid` that one of them was given; `None`: one was deleted
        /// as a duplicate.
        renamed_to: Option<String>,
    },
    /// A statement set columns of calls that are not in their table any more, or
    /// not by that name or lead, and says so in literals. It reached them before.
    CallAssigned(Box<CallAssigned>),
    /// A caller code belongs to a call (`vicidial_log_extended`).
    Link {
        /// `uniqueid` of the call.
        uniqueid: String,
        /// The code: V… or M….
        caller_code: String,
        /// `lead_id`, where it is known.
        lead_id: Option<u64>,
        /// `call_date`; seconds since 1970 (UTC).
        at: i64,
    },
    /// A number was dialled (`vicidial_dial_log`, `vicidial_dial_cid_log`).
    Dial {
        /// The code.
        caller_code: String,
        /// `lead_id`, where it is known.
        lead_id: Option<u64>,
        /// The outbound caller ID, normalised.
        did: Option<String>,
        /// `call_date`; seconds since 1970 (UTC).
        at: i64,
        /// True for the row of `vicidial_dial_log`, which leads over the other.
        leading: bool,
        /// The SIP answer in the dial log, where there is one: the only one of
        /// installs without carrier logging.
        sip: Option<SipAnswer>,
    },
    /// The DID that a call really went out with, reported by whoever set it in
    /// the carrier's dialplan: the dial log has what VICIdial wanted.
    Reported {
        /// Names the call.
        name: CallName,
        /// The lead, where it is known.
        lead_id: Option<u64>,
        /// The caller ID, normalised.
        did: String,
        /// When; seconds since 1970 (UTC).
        at: i64,
    },
    /// A client of the HTTP API posted a call's result.
    Posted(Box<Posted>),
    /// How the carrier ended a call (`vicidial_carrier_log`).
    Carrier {
        /// `uniqueid` as the carrier channel had it.
        uniqueid: String,
        /// The code, in VICIdial since schema 1343.
        caller_code: Option<String>,
        /// `lead_id`, where it is known.
        lead_id: Option<u64>,
        /// `call_date`; seconds since 1970 (UTC).
        at: i64,
        /// What it says.
        ending: CarrierEnding,
    },
    /// The status rows changed: what dispositions mean from here on.
    Status(StatusChange),
    /// What a row says that was found by SELECT and may be from before didtail
    /// began to follow the source: it gives calls their DIDs and corrects what
    /// is known, and neither begins a call nor counts as a dial.
    LookedUp(Box<Detail>),
}

/// What a statement set of calls, and of which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallAssigned {
    /// Of those with one of these `uniqueid`s, where it names them so.
    pub uniqueids: Vec<String>,
    /// Of those of this lead.
    pub lead_id: Option<u64>,
    /// Of those that began in this second, as `uniqueid` names it.
    pub second: Option<String>,
    /// Of those that began then or later; seconds since 1970 (UTC).
    pub since: i64,
    /// Of those that were not archived before the statement.
    pub reach: Reach,
    /// Of those with one of these statuses; any where there are none.
    pub statuses: Vec<String>,
    /// Of those that were so.
    pub was: CallPatch,
    /// One of those, or all.
    pub pick: Pick,
    /// `uniqueid` and lead of those that are still in their table.
    pub present: Vec<(String, u64)>,
    /// What it set.
    pub set: CallPatch,
    /// `uniqueid` and lead of calls that are in their table, where the statement
    /// may have given them that lead.
    pub moved: Vec<(String, u64)>,
}

/// Which calls a statement reaches: those whose rows are there when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Those that began then or later; seconds since 1970 (UTC).
    pub since: i64,
    /// And these, by `uniqueid`, which were inserted behind the archiving.
    pub there: Vec<String>,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            since: i64::MIN,
            there: Vec::new(),
        }
    }
}

impl Reach {
    /// Whether it reaches a call with this name that began then, in seconds
    /// since 1970 (UTC).
    #[must_use]
    pub fn has(&self, uniqueid: &str, started_at: i64) -> bool {
        started_at >= self.since || self.there.iter().any(|there| there == uniqueid)
    }
}

/// Which of the calls that meet its conditions a statement reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// All.
    #[default]
    All,
    /// `ORDER BY uniqueid DESC LIMIT 1`.
    GreatestUniqueid,
    /// The first: the statement gives it a name that no other can have too, so
    /// that it fails with the second.
    LeastUniqueid,
    /// `ORDER BY call_date DESC LIMIT 1`.
    Newest,
    /// `ORDER BY call_date LIMIT 1`.
    Oldest,
}

/// Some columns of a row of `vicidial_log`; `None`: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallPatch {
    /// `uniqueid`: the call gets another name.
    pub uniqueid: Option<String>,
    /// `lead_id`: the call becomes another lead's.
    pub lead_id: Option<u64>,
    /// `status`.
    pub status: Option<String>,
    /// `user`.
    pub user: Option<String>,
    /// `campaign_id`.
    pub campaign_id: Option<String>,
    /// `term_reason`.
    pub term_reason: Option<String>,
    /// `list_id`.
    pub list_id: Option<u64>,
    /// `called_count`.
    pub called_count: Option<u32>,
    /// `length_in_sec`, in seconds.
    pub length_in_sec: Option<i64>,
    /// `end_epoch`; seconds since 1970 (UTC).
    pub ended_at: Option<i64>,
}

/// How a report names its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallName {
    /// By its caller code: V… or M….
    CallerCode(String),
    /// By Asterisk's `uniqueid`.
    Uniqueid(String),
}

/// What the called side's carrier answered over SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipAnswer {
    /// The code, 100 to 699.
    pub code: u16,
    /// The reason, e.g. `Network Blocked`.
    pub reason: String,
}

/// The hang-up columns of `vicidial_carrier_log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarrierEnding {
    /// Q.850 cause; 0 when unknown.
    pub hangup_cause: u16,
    /// Asterisk's DIALSTATUS, e.g. `BUSY`.
    pub dial_status: String,
    /// SIP code; `None` for 0.
    pub sip_code: Option<u16>,
    /// SIP reason, e.g. `Network Blocked`.
    pub sip_reason: String,
}

/// What matters of a row of `vicidial_log` before an UPDATE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallBefore {
    /// `uniqueid`.
    pub uniqueid: String,
    /// `lead_id`.
    pub lead_id: u64,
    /// `status`; empty for NULL.
    pub status: String,
}

/// A row of `vicidial_log`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRow {
    /// `uniqueid`.
    pub uniqueid: String,
    /// `lead_id`.
    pub lead_id: u64,
    /// `list_id`.
    pub list_id: Option<u64>,
    /// `campaign_id`; empty for NULL.
    pub campaign_id: String,
    /// `status`; empty for NULL.
    pub status: String,
    /// The customer's number, normalised; empty when there is none.
    pub phone_number: String,
    /// `user`; empty for NULL.
    pub user: String,
    /// `term_reason`; empty for NULL and for ENUM index 0.
    pub term_reason: String,
    /// `length_in_sec`, which may be negative.
    pub length_in_sec: Option<i64>,
    /// `called_count`; absent before schema 1362.
    pub called_count: Option<u32>,
    /// `start_epoch`, else `call_date` in the dialer's zone; seconds since 1970 (UTC).
    pub started_at: i64,
    /// `end_epoch`.
    pub ended_at: Option<i64>,
}

impl CallPatch {
    /// Whether it makes the call another's: its key changes.
    #[must_use]
    pub fn moves(&self) -> bool {
        self.uniqueid.is_some() || self.lead_id.is_some()
    }
}

impl Detail {
    /// The table that says so, for people.
    #[must_use]
    pub fn table(&self) -> &'static str {
        let table = match self {
            Self::Call { .. }
            | Self::CallRead(_)
            | Self::CallOfLead(_)
            | Self::CallDeleted { .. }
            | Self::CallsOfSecond { .. }
            | Self::CallAssigned(_) => Table::Log,
            Self::Link { .. } => Table::LogExtended,
            Self::Dial { leading: true, .. } => Table::DialLog,
            Self::Dial { leading: false, .. } => Table::DialCidLog,
            Self::Carrier { .. } => Table::CarrierLog,
            Self::Reported { .. } => Table::ShakenLog,
            Self::Posted(_) => return "posted_results",
            Self::Status(change) => change.table(),
            Self::LookedUp(detail) => return detail.table(),
        };
        table.name()
    }
}

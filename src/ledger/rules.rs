//! What a disposition counts as: the operator's settings and VICIdial's flags.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ledger::{Attribution, Call, Outcome};
use crate::vicidial::{StatusBook, StatusFlags, Zone};

/// Seconds around a caller code's first use within which the code means the
/// same dial: it has no year, and January and November look alike.
pub const CODE_WINDOW_SECONDS: i64 = 24 * 3600;

/// A call without a caller code is of its lead's newest dial in these seconds
/// before it: the span within which VICIdial itself looks for a lead's call
/// when an agent dispositions it (`vdc_db_query.php`, `call_date > now - 4h`).
pub const LEAD_WINDOW_SECONDS: i64 = 4 * 3600;

/// Which dispositions are a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// These, in upper case.
    Set(BTreeSet<String>),
    /// Those that VICIdial flags as a sale.
    SaleFlag,
}

/// Which of two DIDs is a call's, where the dial log has one and another was
/// reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// That of the dial log.
    DialLog,
    /// The reported one: the carrier's dialplan sets the caller ID itself.
    Reported,
}

impl Prefer {
    /// How good this way of knowing a DID is; a better one replaces it.
    #[must_use]
    pub fn rank(self, way: Attribution) -> u8 {
        match (way, self) {
            (Attribution::None, _) => 0,
            (Attribution::Lead, _) => 1,
            (Attribution::CallerCode, Self::Reported) | (Attribution::Reported, Self::DialLog) => 2,
            (Attribution::CallerCode, Self::DialLog) | (Attribution::Reported, Self::Reported) => 3,
        }
    }
}

/// How dispositions are judged.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which dispositions are a success.
    pub success: Success,
    /// Dispositions of calls that are still going on, in upper case.
    pub transient: BTreeSet<String>,
    /// A DID that is not in the store yet is created; else calls from it stay
    /// without a DID.
    pub create_dids: bool,
    /// Which DID wins.
    pub prefer: Prefer,
    /// Results may be posted: former names of calls are remembered for them.
    pub takes_posts: bool,
    /// The dialer's zone, which makes the days.
    pub zone: Zone,
    /// VICIdial's status flags as they are now.
    pub statuses: Arc<StatusBook>,
}

impl Rules {
    /// True when a call with this disposition counts.
    #[must_use]
    pub fn is_final(&self, disposition: &str) -> bool {
        // MySQL compares without regard to case and to blanks at the end.
        let disposition = disposition.trim_end().to_uppercase();
        !disposition.is_empty() && !self.transient.contains(&disposition)
    }

    /// Judges the call anew from its disposition and the carrier's answer.
    pub fn judge(&self, call: &mut Call) {
        let status = call.disposition.trim_end().to_uppercase();
        let flags = self.statuses.flags(&status, &call.campaign_id);
        call.counted = !call.removed && self.is_final(&status);
        call.successful = match &self.success {
            Success::Set(set) => set.contains(&status),
            Success::SaleFlag => flags.is_some_and(|flags| flags.sale),
        };
        call.dnc = flags.is_some_and(|flags| flags.dnc);
        let class = class(&status, flags);
        let may_hide_a_block = matches!(
            class,
            Outcome::NoAnswer | Outcome::Busy | Outcome::Failed | Outcome::Other
        );
        call.outcome = if may_hide_a_block && is_blocked(call) {
            Outcome::Blocked
        } else {
            class
        };
    }
}

/// Spam blocking by the called side or on its behalf: SIP 603 with the reason
/// that US carriers must give for it, 607 Unwanted (RFC 8197), 608 Rejected
/// (RFC 8688), or Q.850 cause 21, which is what 603 becomes (vicidial.md section 3).
fn is_blocked(call: &Call) -> bool {
    match call.sip_code {
        Some(607 | 608) => true,
        Some(603) if call.sip_reason.to_lowercase().contains("network blocked") => true,
        _ => call.hangup_cause == Some(21),
    }
}

/// The class of a status. The dialer's own statuses come first, because some of
/// their flags say otherwise: DROP and LRERR are "human answered" in stock
/// VICIdial, and AA is not an "answering machine".
fn class(status: &str, flags: Option<StatusFlags>) -> Outcome {
    match status {
        "DROP" | "XDROP" | "PDROP" | "SRDROP" | "KPDROP" | "TIMEOT" | "AFTHRS" | "NANQUE"
        | "IQNANQ" | "MAXCAL" => return Outcome::Dropped,
        "AA" | "AM" | "AL" | "AFAX" | "UNKAM" | "UNKAL" | "AMDXFR" | "ADAIR" => {
            return Outcome::Machine;
        }
        "NA" | "N" | "CPDNA" | "HUC18" | "HUC19" => return Outcome::NoAnswer,
        "AB" | "B" | "CPDB" | "CPDATB" | "HUC17" => return Outcome::Busy,
        "ADC" | "ADCT" | "DC" | "ADCCAR" | "DNCCAR" | "LRERR" | "ERI" | "DISMX" => {
            return Outcome::Failed;
        }
        // A normal end, which says nothing of who answered; and an unknown one.
        "HUC0" | "HUC16" => return Outcome::Other,
        _ if status.starts_with("CPD") || status.starts_with("HUC") => return Outcome::Failed,
        _ => {}
    }
    match flags {
        Some(flags) if flags.answering_machine => Outcome::Machine,
        Some(flags) if flags.human_answered => Outcome::Answered,
        // Of a status in no table only the built-in ones are known; these two
        // are agents' results that every install has.
        None if matches!(status, "SALE" | "RAXFER") => Outcome::Answered,
        None if status == "A" => Outcome::Machine,
        Some(_) | None => Outcome::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let mut statuses = StatusBook::default();
        let human = StatusFlags {
            human_answered: true,
            ..StatusFlags::default()
        };
        statuses.set(
            "SALE",
            "",
            StatusFlags {
                sale: true,
                ..human
            },
        );
        statuses.set("DNC", "", StatusFlags { dnc: true, ..human });
        statuses.set("DROP", "", human);
        statuses.set("AA", "", StatusFlags::default());
        Rules {
            success: Success::Set(["SALE".to_owned(), "A".to_owned()].into()),
            transient: ["QUEUE", "INCALL", "DISPO"].map(str::to_owned).into(),
            create_dids: true,
            prefer: Prefer::DialLog,
            takes_posts: false,
            zone: Zone::fixed(0),
            statuses: Arc::new(statuses),
        }
    }

    fn judged(disposition: &str) -> Call {
        let mut call = Call {
            disposition: disposition.to_owned(),
            ..Call::default()
        };
        rules().judge(&mut call);
        call
    }

    #[test]
    fn dispositions_fall_in_their_classes() {
        for (status, outcome) in [
            ("SALE", Outcome::Answered),
            ("DNC", Outcome::Answered),
            ("DROP", Outcome::Dropped),
            ("AA", Outcome::Machine),
            ("NA", Outcome::NoAnswer),
            ("AB", Outcome::Busy),
            ("ADC", Outcome::Failed),
            ("HUC21", Outcome::Failed),
            ("MINE", Outcome::Other),
        ] {
            assert_eq!(judged(status).outcome, outcome, "{status}");
        }
        assert!(judged("SALE").successful && judged("sale").successful);
        assert!(judged("DNC").dnc);
    }

    #[test]
    fn transient_and_empty_dispositions_do_not_count() {
        for status in ["", "QUEUE", "INCALL", "dispo"] {
            assert!(!judged(status).counted, "{status}");
        }
        assert!(judged("PU").counted);
    }

    #[test]
    fn the_carrier_tells_a_block_from_a_busy_line() {
        let blocked = |code, reason: &str, cause, status: &str| {
            let mut call = Call {
                disposition: status.to_owned(),
                sip_code: code,
                sip_reason: reason.to_owned(),
                hangup_cause: cause,
                ..Call::default()
            };
            rules().judge(&mut call);
            call.outcome == Outcome::Blocked
        };
        assert!(blocked(Some(603), "Network Blocked", Some(17), "AB"));
        assert!(!blocked(Some(603), "Decline", Some(17), "AB"));
        assert!(blocked(Some(608), "", None, "NA"));
        assert!(blocked(None, "", Some(21), "NA"));
        assert!(!blocked(None, "", Some(21), "SALE"));
    }
}

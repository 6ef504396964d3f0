//! Calls that a person answered and no agent took, and recorded surveys.

use super::answered::queued;
use crate::dial::Dial;
use crate::random::Random;
use crate::script::Script;

/// Answered, and hung up before an agent could be found.
pub fn hung_up_early(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    s.pause(9);
    let over = dial.dialled + 9;
    dial.carrier_rows(s, r, super::HUNG_UP, over);
    dial.end_auto_call(s);
    let uniqueid = dial.uniqueid(dial.dialled, 1);
    if r.chance(0.5) {
        s.watched(1, dial.final_row(&uniqueid, "PDROP", 0, dial.dialled));
    } else {
        s.watched(1, dial.final_row(&uniqueid, "DROP", 0, over + 10));
    }
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, dial.dialled));
    dial.lead_status(s, "PDROP");
}

/// No agent was free: the caller gave up, or the queue did.
pub fn dropped(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    let waited = r.seconds(3, 20);
    s.pause(waited);
    let end = start + waited;
    let lead = dial.lead;
    // CALLMENUXFER is no member of the column's ENUM, so '' is stored.
    let (status, reason) = r.weighted(&[
        (5.0, ("DROP", "ABANDON")),
        (2.0, ("DROP", "QUEUETIMEOUT")),
        (1.0, ("SRDROP", "QUEUETIMEOUT")),
        (1.0, ("TIMEOT", "QUEUETIMEOUT")),
        (1.0, ("PM", "QUEUETIMEOUT")),
        (1.0, ("DROP", "CALLMENUXFER")),
    ]);
    let found_by = if reason == "ABANDON" {
        format!("uniqueid LIKE \"{start}%\"")
    } else {
        format!("uniqueid='{uniqueid}'")
    };
    dial.lead_status(s, "DROP");
    dial.carrier_rows(s, r, super::HUNG_UP, end);
    dial.end_auto_call(s);
    s.watched(1, format!("UPDATE vicidial_log set status='{status}',term_reason='{reason}',end_epoch='{end}',length_in_sec='{waited}' where lead_id='{lead}' and {found_by}"));
}

/// AST_VDauto_dial.pl:2696: a dead call that was live changes the lead alone;
/// the call's row says QUEUE for ever.
pub fn vanished(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    queued(dial, s, r);
    s.pause(30);
    dial.end_auto_call(s);
    dial.lead_status(s, "DROP");
}

/// A recorded survey plays; who hangs up early keeps the status PU.
pub fn survey(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    let start = dial.dialled + 8;
    let uniqueid = dial.uniqueid(start, 0);
    s.watched(1, dial.open_row(&uniqueid, "PU", "0.140", start));
    dial.new_extended_row(s, &uniqueid, start);
    s.pause(15);
    if r.chance(0.6) {
        let status = r.weighted(&[
            (2.0, "SVYEXT"),
            (1.0, "SVYVM"),
            (2.0, "SVYHU"),
            (1.0, "SVYREC"),
            (1.0, "SVYCLM"),
            (1.0, "NI"),
            (1.0, "PM"),
        ]);
        s.watched(1, format!("UPDATE vicidial_log set status='{status}',term_reason='CALLER',end_epoch='{}',length_in_sec='15' where lead_id='{}' and uniqueid='{uniqueid}'", start + 15, dial.lead));
    }
    dial.carrier_rows(s, r, super::HUNG_UP, start + 15);
    dial.end_auto_call(s);
}

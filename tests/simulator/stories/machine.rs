//! Calls that an answering machine took, as the dialer's detection writes them,
//! with the duplicate rows it and the clean-up job remove.

use crate::dial::Dial;
use crate::random::Random;
use crate::script::Script;

pub fn detected(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    s.pause(8);
    let start = dial.dialled + 8;
    let uniqueid = dial.uniqueid(start, 0);
    s.noise(1, format!("UPDATE vicidial_auto_calls set status='LIVE',uniqueid='{uniqueid}',stage='LIVE-0' where callerid='{}'", dial.code));
    dial.lead_status(s, "AA");
    match r.between(0, 19) {
        0 => duplicate_found_at_once(dial, s, &uniqueid, start),
        1 => duplicate_found_later(dial, s, &uniqueid, start),
        2..=4 => {
            s.watched(1, dial.open_row(&uniqueid, "QUEUE", "0.117", start));
            dial.new_extended_row(s, &uniqueid, start);
            s.pause(3);
            s.watched(1, format!("UPDATE vicidial_log set status='AA',user='VDAD' where lead_id='{}' and uniqueid LIKE \"{start}%\" order by uniqueid desc limit 1", dial.lead));
        }
        5..=8 => message_left(dial, s, r, &uniqueid, start),
        _ => machine_row(dial, s, &uniqueid, start),
    }
    s.pause(2);
    dial.carrier_rows(s, r, super::HUNG_UP, start + 5);
    dial.end_auto_call(s);
    s.watched(1, format!("UPDATE vicidial_log FORCE INDEX(lead_id) set term_reason='CALLER',end_epoch='{}',length_in_sec='5' where lead_id = '{}' and uniqueid LIKE \"{start}%\"", start + 5, dial.lead));
}

/// The plain case: nothing wrote the call's row before detection did.
fn machine_row(dial: &Dial<'_>, s: &mut Script, uniqueid: &str, start: i64) {
    s.watched(1, dial.final_row(uniqueid, "AA", 3, start));
    s.watched(1, dial.extended_row(uniqueid, &dial.code, start));
}

fn message_left(dial: &Dial<'_>, s: &mut Script, r: &mut Random, uniqueid: &str, start: i64) {
    machine_row(dial, s, uniqueid, start);
    let lead = dial.lead;
    // To the next menu or agent, or played to its end, some minutes later.
    let (first, last) = r.weighted(&[
        (6.0, ("AM", "AL")),
        (1.0, ("UNKAM", "UNKAL")),
        (1.0, ("AM", "AMDXFR")),
        (0.5, ("UNKAM", "UNKXFR")),
        (0.5, ("AM", "ADAIR")),
    ]);
    for (status, pause) in [(first, 2), (last, r.seconds(15, 200))] {
        s.pause(pause);
        dial.lead_status(s, status);
        s.watched(1, format!("UPDATE vicidial_log set status='{status}' where lead_id='{lead}' and uniqueid LIKE \"{start}%\" order by uniqueid desc limit 1"));
    }
}

/// One call became two rows; detection deletes the newest before it counts.
fn duplicate_found_at_once(dial: &Dial<'_>, s: &mut Script, uniqueid: &str, start: i64) {
    let second = dial.uniqueid(start, 2);
    s.watched(1, dial.open_row(uniqueid, "QUEUE", "0.120", start));
    s.watched(1, dial.extended_row(uniqueid, &dial.code, start));
    s.watched(1, dial.open_row(&second, "QUEUE", "0.121", start));
    s.watched(1, dial.extended_row(&second, &dial.code, start));
    let same = format!("lead_id='{}' and uniqueid LIKE \"{start}%\"", dial.lead);
    s.watched(
        1,
        format!("DELETE from vicidial_log where {same} order by uniqueid desc limit 1"),
    );
    s.watched(
        1,
        format!("UPDATE vicidial_log set status='AA' where {same} order by uniqueid desc limit 1"),
    );
}

/// One call became two rows that both count, until the hourly clean-up.
fn duplicate_found_later(dial: &Dial<'_>, s: &mut Script, uniqueid: &str, start: i64) {
    let second = dial.uniqueid(start, 2);
    machine_row(dial, s, uniqueid, start);
    machine_row(dial, s, &second, start);
    s.pause(600);
    s.watched(
        1,
        format!("DELETE from vicidial_log where uniqueid='{second}'"),
    );
}

/// agi-VDAD_ALL_outbound.agi:5182: the line's own detection ends a call that
/// was in the queue already.
pub fn ended_by_cpd(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (_, start) = super::answered::queued(dial, s, r);
    s.pause(3);
    let status = r.weighted(&[(2.0, "AA"), (1.0, "AFAX"), (1.0, "CPDSI"), (1.0, "CPDNA")]);
    dial.lead_status(s, status);
    s.watched(1, format!("UPDATE vicidial_log set status='{status}',term_reason='AGENT',end_epoch='{}',length_in_sec='3' where lead_id='{}' and uniqueid LIKE \"{start}%\"", start + 3, dial.lead));
    dial.carrier_rows(s, r, super::HUNG_UP, start + 4);
    dial.end_auto_call(s);
}

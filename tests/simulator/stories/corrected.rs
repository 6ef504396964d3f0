//! Results that change after the call: a supervisor opens the lead, an API or
//! a quality check sets a status, a clean-up job mends a length.

use crate::dial::Dial;
use crate::random::Random;
use crate::script::Script;

const DAY: u64 = 86_400;

/// Some time after the call, often days: its last disposition was not the last.
pub fn correct(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    let (soonest, latest) = r.weighted(&[
        (6.0, (120, 7200)),
        (2.0, (DAY, 3 * DAY)),
        (1.0, (14 * DAY, 40 * DAY)),
    ]);
    s.pause(r.seconds(soonest, latest));
    if let Some(attempt) = s.attempts.last_mut() {
        attempt.corrected = true;
    }
    let lead = dial.lead;
    match r.between(0, 9) {
        // AST_cleanup_agent_log.pl:1979
        0 => {
            let length = r.between(5, 90);
            s.watched(1, format!("UPDATE vicidial_log SET length_in_sec='{length}',end_epoch=start_epoch+{length} where lead_id='{lead}' and length_in_sec > 90"));
        }
        // Two people correct the same call one after the other.
        1 => {
            newest(s, lead, "SALE");
            s.pause(300);
            newest(s, lead, "NI");
        }
        // non_agent_api.php:15433; the column cuts the status off.
        2 => newest(s, lead, "CALLBACK"),
        // qc_modify_lead.php:1483; two of these are in no table of statuses.
        3 => {
            let status = r.weighted(&[(2.0, "QCPASS"), (1.0, "QCFAIL"), (1.0, "QCCANC")]);
            newest(s, lead, status);
        }
        // admin_modify_lead.php:624, VD_auto_post_VERIFY.agi:260: one row of
        // the lead, not the newest.
        4 => s.watched(1, format!("UPDATE vicidial_log set status='SALE' where lead_id='{lead}' order by call_date limit 1")),
        // admin_modify_lead.php:1698
        _ => {
            let status = r.weighted(&[
                (3.0, "SALE"),
                (2.0, "NI"),
                (2.0, "A"),
                (1.0, "DNC"),
                (1.0, "CALLBK"),
            ]);
            dial.lead_status(s, status);
            newest(s, lead, status);
        }
    }
}

fn newest(s: &mut Script, lead: u64, status: &str) {
    s.watched(1, format!("UPDATE vicidial_log set status='{status}' where lead_id='{lead}' order by call_date desc limit 1"));
}

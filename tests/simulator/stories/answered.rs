//! Calls that a human took: an agent's talk and disposition. One INSERT and
//! several UPDATEs, of which two race.

use crate::dial::{Dial, Dialer};
use crate::random::Random;
use crate::script::Script;
use crate::upkeep::NEW_STATUS;

pub fn by_agent(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    let twin = r.chance(0.04).then(|| dial.uniqueid(start, 2));
    if let Some(twin) = &twin {
        s.watched(1, dial.open_row(twin, "QUEUE", "0.131", start));
    }
    s.pause(r.seconds(1, 3));
    taken(dial, s, &uniqueid, start);
    if r.chance(0.01) {
        // The agent closed the browser: nobody ever ends this row.
        dial.end_auto_call(s);
        return;
    }
    talk_and_hang_up(dial, s, r, &uniqueid, start);
    if let Some(twin) = twin {
        s.pause(600);
        s.watched(
            1,
            format!(
                "DELETE from vicidial_log where lead_id='{}' and uniqueid='{twin}' limit 1",
                dial.lead
            ),
        );
    }
}

/// The routing script has the call and looks for an agent.
pub fn queued(dial: &Dial<'_>, s: &mut Script, r: &mut Random) -> (String, i64) {
    dial.originate(s, r);
    s.pause(8);
    let start = dial.dialled + 8;
    let uniqueid = dial.uniqueid(start, 0);
    s.noise(1, format!("UPDATE vicidial_auto_calls set status='LIVE',uniqueid='{uniqueid}',channel='SIP/carrier-2',stage='LIVE-0' where callerid='{}'", dial.code));
    dial.lead_status(s, "PU");
    let comments = format!("0.{:03}", r.between(80, 320));
    s.watched(1, dial.open_row(&uniqueid, "QUEUE", &comments, start));
    dial.new_extended_row(s, &uniqueid, start);
    (uniqueid, start)
}

pub fn taken(dial: &Dial<'_>, s: &mut Script, uniqueid: &str, start: i64) {
    let Dial {
        lead, list, agent, ..
    } = dial;
    s.more_noise(1, format!("UPDATE vicidial_live_agents set status='QUEUE',lead_id='{lead}',uniqueid='{uniqueid}',callerid='{}' where user='{agent}'", dial.code));
    dial.lead_status(s, "INCALL");
    s.more_noise(1, format!("INSERT INTO vicidial_agent_log (user,server_ip,event_time,lead_id,campaign_id,talk_epoch,status,user_group,uniqueid) values('{agent}','{}','{}','{lead}','{}','{start}',NULL,'AGENTS','{uniqueid}')", dial.server, dial.wall(start), dial.campaign));
    let comments = if lead.is_multiple_of(60) {
        "José"
    } else {
        "AUTO"
    };
    s.watched(1, format!("UPDATE vicidial_log set user='{agent}', comments='{comments}', list_id='{list}', status='INCALL', user_group='AGENTS' where lead_id='{lead}' and uniqueid='{uniqueid}'"));
}

/// The customer's channel and the agent's screen both end the call, in either
/// order, and sometimes the first only after the disposition.
pub fn talk_and_hang_up(
    dial: &Dial<'_>,
    s: &mut Script,
    r: &mut Random,
    uniqueid: &str,
    start: i64,
) {
    let talk = r.seconds(6, 240);
    s.pause(talk.min(60));
    let end = start + talk;
    let caller_first = r.chance(0.5);
    let very_late = !caller_first && r.chance(0.2);
    if caller_first {
        customer_channel_ends(dial, s, r, start, end);
    }
    agent_hangs_up(dial, s, r, uniqueid, start, end + i64::from(caller_first));
    if !caller_first && !very_late {
        customer_channel_ends(dial, s, r, start, end + 1);
    }
    s.pause(r.seconds(2, 20));
    disposition(dial, s, r, end);
    if very_late {
        customer_channel_ends(dial, s, r, start, end + 2);
    }
}

fn customer_channel_ends(dial: &Dial<'_>, s: &mut Script, r: &mut Random, start: i64, end: i64) {
    let Dial { lead, .. } = dial;
    let carrier = crate::dial::Carrier {
        answered: end - start,
        ..super::HUNG_UP
    };
    dial.carrier_rows(s, r, carrier, end);
    dial.end_auto_call(s);
    s.watched(1, format!("UPDATE vicidial_log FORCE INDEX(lead_id) set term_reason='CALLER',end_epoch='{end}',length_in_sec='{}' where lead_id = '{lead}' and uniqueid LIKE \"{start}%\"", end - start));
    s.pause(1);
}

fn agent_hangs_up(
    dial: &Dial<'_>,
    s: &mut Script,
    r: &mut Random,
    uniqueid: &str,
    start: i64,
    end: i64,
) {
    let Dial { lead, agent, .. } = dial;
    // The screen may know the call by another channel than the row does, and
    // then renames the row: its primary key.
    let known_as = if r.chance(0.14) {
        dial.uniqueid(start, 3)
    } else {
        uniqueid.to_owned()
    };
    // The web server's clock can be behind the dialer's.
    let length = match r.between(0, 499) {
        0 => -1,
        1 => end - start - 3600,
        _ => end - start,
    };
    let reason = if r.chance(0.6) {
        "term_reason='AGENT',"
    } else {
        ""
    };
    // Where a call has two rows, both get the same key: the first is changed
    // and logged, the second fails the statement.
    s.may_collide(1, format!("UPDATE vicidial_log set {reason}end_epoch='{end}', length_in_sec='{length}', uniqueid='{known_as}', alt_dial='{}', user='{agent}' where lead_id='{lead}' and uniqueid LIKE \"{start}%\"", dial.alt_dial));
    s.watched(1, dial.extended_row(&known_as, &dial.code, end));
    s.watched(1, format!("UPDATE vicidial_log set status='DISPO' where lead_id='{lead}' and uniqueid='{known_as}' and status='INCALL'"));
    s.more_noise(1, format!("UPDATE vicidial_agent_log set talk_sec='{}',uniqueid='{known_as}' where user='{agent}' and lead_id='{lead}'", (end - start).max(0)));
    s.may_collide(0, format!("UPDATE vicidial_carrier_log set uniqueid='{known_as}' where lead_id='{lead}' and uniqueid='{}'", dial.uniqueid(dial.dialled, 1)));
}

/// The agent says what came of it: of the lead's newest call, whichever it is.
pub fn disposition(dial: &Dial<'_>, s: &mut Script, r: &mut Random, end: i64) {
    let status = r.weighted(&[
        (10.0, "SALE"),
        (12.0, "A"),
        (30.0, "NI"),
        (9.0, "CALLBK"),
        (5.0, "DNC"),
        (9.0, "N"),
        (6.0, "NP"),
        (8.0, "DEC"),
        (3.0, "DC"),
        (3.0, "APPT"),
        (2.0, "maybe"),
        (3.0, NEW_STATUS.0),
    ]);
    // Nobody can choose what the campaign does not have yet.
    let has_new = dial.campaign == NEW_STATUS.1 && dial.call >= dial.world.new_status_from;
    let status = if status == NEW_STATUS.0 && !has_new {
        "NI"
    } else {
        status
    };
    if r.chance(0.01) {
        return;
    }
    let Dial { lead, agent, .. } = dial;
    dial.lead_status(s, status);
    let since = dial.wall(end - 14_400);
    let whose = match dial.dialer {
        Dialer::Auto => format!("user='{agent}' and call_date > \"{since}\""),
        Dialer::Manual => format!(
            "call_date > \"{since}\" and called_count='{}'",
            dial.called_count
        ),
    };
    s.watched(1, format!("UPDATE vicidial_log set status='{status}' where lead_id='{lead}' and {whose} order by uniqueid desc limit 1"));
    s.more_noise(1, format!("UPDATE vicidial_agent_log set dispo_sec='4',status='{status}' where user='{agent}' and lead_id='{lead}'"));
}

//! Calls that a human took: an agent's talk and disposition, drops while
//! queued, transfers. One INSERT and several UPDATEs, of which two race.

use crate::dial::Dial;
use crate::random::Random;
use crate::script::Script;

pub fn by_agent(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    let twin = r.chance(0.02).then(|| dial.uniqueid(start, 2));
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
            format!("DELETE from vicidial_log where uniqueid='{twin}'"),
        );
    }
}

/// The routing script has the call and looks for an agent.
fn queued(dial: &Dial<'_>, s: &mut Script, r: &mut Random) -> (String, i64) {
    dial.originate(s, r);
    s.pause(8);
    let start = dial.dialled + 8;
    let uniqueid = dial.uniqueid(start, 0);
    s.noise(1, format!("UPDATE vicidial_auto_calls set status='LIVE',uniqueid='{uniqueid}',channel='SIP/carrier-2',stage='LIVE-0' where callerid='{}'", dial.code));
    dial.lead_status(s, "PU");
    let comments = format!("0.{:03}", r.between(80, 320));
    s.watched(1, dial.open_row(&uniqueid, "QUEUE", &comments, start));
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, start));
    (uniqueid, start)
}

fn taken(dial: &Dial<'_>, s: &mut Script, uniqueid: &str, start: i64) {
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
    s.watched(1, format!("UPDATE vicidial_log SET term_reason='CALLER',end_epoch='{end}',length_in_sec='{}' where lead_id='{lead}' and uniqueid LIKE \"{start}%\"", end - start));
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
    let known_as = if r.chance(0.12) {
        dial.uniqueid(start, 3)
    } else {
        uniqueid.to_owned()
    };
    // The web server's clock can be behind the dialer's.
    let length = if r.chance(0.004) { -1 } else { end - start };
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
    ]);
    if r.chance(0.01) {
        return;
    }
    let Dial { lead, agent, .. } = dial;
    dial.lead_status(s, status);
    s.watched(1, format!("UPDATE vicidial_log set status='{status}' where lead_id='{lead}' and user='{agent}' and call_date > \"{}\" order by uniqueid desc limit 1", dial.wall(end - 14_400)));
    s.more_noise(1, format!("UPDATE vicidial_agent_log set dispo_sec='4',status='{status}' where user='{agent}' and lead_id='{lead}'"));
}

/// No agent was free: the caller gave up, or the queue did.
pub fn dropped(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    let waited = r.seconds(3, 20);
    s.pause(waited);
    let end = start + waited;
    let lead = dial.lead;
    // CALLMENUXFER is no member of the column's ENUM, so '' is stored.
    let (status, reason) = r.weighted(&[
        (5.0, ("DROP", "ABANDON")),
        (2.0, ("DROP", "QUEUETIMEOUT")),
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

/// A recorded survey plays; who hangs up early keeps the status PU.
pub fn survey(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    let start = dial.dialled + 8;
    let uniqueid = dial.uniqueid(start, 0);
    s.watched(1, dial.open_row(&uniqueid, "PU", "0.140", start));
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, start));
    s.pause(15);
    if r.chance(0.6) {
        let status = r.weighted(&[
            (2.0, "SVYEXT"),
            (2.0, "SVYHU"),
            (1.0, "SVYREC"),
            (1.0, "PM"),
        ]);
        s.watched(1, format!("UPDATE vicidial_log set status='{status}',term_reason='CALLER',end_epoch='{}',length_in_sec='15' where lead_id='{}' and uniqueid='{uniqueid}'", start + 15, dial.lead));
    }
    dial.carrier_rows(s, r, super::HUNG_UP, start + 15);
    dial.end_auto_call(s);
}

/// The fronter passes the call to an in-group: the outbound row ends as XFER,
/// and its extended row is overwritten with the in-group's caller code.
pub fn transferred(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    s.pause(2);
    taken(dial, s, &uniqueid, start);
    let talk = r.seconds(20, 90);
    s.pause(talk.min(40));
    let end = start + talk;
    let Dial {
        lead,
        list,
        campaign,
        phone,
        server,
        code,
        ..
    } = dial;
    s.watched(1, format!("UPDATE vicidial_log set end_epoch='{end}', length_in_sec='{talk}',status='XFER' where uniqueid='{uniqueid}'"));
    let inbound = dial.code_for("Y", end);
    s.noise(1, format!("INSERT INTO vicidial_closer_log (lead_id,list_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,comments,processed,uniqueid) values('{lead}','{list}','CLOSERS','{}','{end}','QUEUE','1','{phone}','VDCL','{campaign}','N','{uniqueid}')", dial.wall(end)));
    s.watched(1, dial.extended_row(&uniqueid, &inbound, end));
    s.may_collide(0, format!("INSERT IGNORE INTO vicidial_inbound_caller_codes SET uniqueid='{uniqueid}',server_ip='{server}',call_date='{}',group_id='CLOSERS',lead_id='{lead}',caller_code='{inbound}',prev_caller_code='{code}'", dial.wall(end)));
    s.pause(30);
    let sold = if r.chance(0.4) { "SALE" } else { "NI" };
    s.noise(1, format!("UPDATE vicidial_closer_log set status='{sold}',end_epoch='{}',length_in_sec='30' where lead_id='{lead}' and uniqueid='{uniqueid}'", end + 30));
    if r.chance(0.3) {
        // The fronter dispositions the call all the same.
        disposition(dial, s, r, end);
    }
    dial.carrier_rows(s, r, super::HUNG_UP, end + 30);
    dial.end_auto_call(s);
}

/// The agent brings in a third party: a dial of its own, without a call row.
pub fn three_way(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    s.pause(2);
    taken(dial, s, &uniqueid, start);
    s.pause(10);
    let code = format!(
        "DC{}W{:010}W",
        &dial.world.code_digits(start + 10)[3..],
        dial.lead
    );
    dial.dial_rows(s, r, &code, "3WAY");
    talk_and_hang_up(dial, s, r, &uniqueid, start);
}

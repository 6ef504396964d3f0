//! Calls that an agent passes on, and dials beside a call: transfers to a group
//! or a remote agent, third parties, leads dialled straight into a group.

use super::answered::{disposition, queued, taken, talk_and_hang_up};
use crate::dial::Dial;
use crate::random::Random;
use crate::script::Script;

/// The fronter passes the call to an in-group: the outbound row ends as XFER,
/// and its extended row is overwritten with the in-group's caller code.
pub fn to_in_group(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    s.pause(2);
    taken(dial, s, &uniqueid, start);
    let talk = r.seconds(20, 90);
    s.pause(talk.min(40));
    let end = start + talk;
    passed_on(s, &uniqueid, "XFER", end, talk);
    in_group_leg(dial, s, r, &uniqueid, end);
    if r.chance(0.3) {
        // The fronter dispositions the call all the same.
        disposition(dial, s, r, end);
    }
    dial.carrier_rows(s, r, super::HUNG_UP, end + 30);
    dial.end_auto_call(s);
}

/// manager_send.php:1197 and api.php:3639: by the uniqueid alone, whoever's it is.
pub fn passed_on(s: &mut Script, uniqueid: &str, status: &str, end: i64, talk: i64) {
    s.watched(1, format!("UPDATE vicidial_log set end_epoch='{end}', length_in_sec='{talk}',status='{status}' where uniqueid='{uniqueid}'"));
}

/// The closer's side: what it says of the call never reaches the outbound row.
pub fn in_group_leg(dial: &Dial<'_>, s: &mut Script, r: &mut Random, uniqueid: &str, end: i64) {
    let Dial {
        lead,
        list,
        campaign,
        phone,
        server,
        code,
        ..
    } = dial;
    let inbound = dial.code_for("Y", end);
    s.noise(1, format!("INSERT INTO vicidial_closer_log (lead_id,list_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,comments,processed,uniqueid) values('{lead}','{list}','CLOSERS','{}','{end}','QUEUE','1','{phone}','VDCL','{campaign}','N','{uniqueid}')", dial.wall(end)));
    s.watched(1, dial.extended_row(uniqueid, &inbound, end));
    s.may_collide(0, format!("INSERT IGNORE INTO vicidial_inbound_caller_codes SET uniqueid='{uniqueid}',server_ip='{server}',call_date='{}',group_id='CLOSERS',lead_id='{lead}',caller_code='{inbound}',prev_caller_code='{code}'", dial.wall(end)));
    s.pause(30);
    let sold = if r.chance(0.4) { "SALE" } else { "NI" };
    s.noise(1, format!("UPDATE vicidial_closer_log set status='{sold}',end_epoch='{}',length_in_sec='30' where lead_id='{lead}' and uniqueid='{uniqueid}'", end + 30));
}

/// Another program than the agent's screen passes the call on. RAXFER is in no
/// table of statuses.
pub fn by_api(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    s.pause(2);
    taken(dial, s, &uniqueid, start);
    s.pause(25);
    passed_on(s, &uniqueid, "RAXFER", start + 25, 25);
    dial.carrier_rows(s, r, super::HUNG_UP, start + 50);
    dial.end_auto_call(s);
}

/// AST_VDremote_agents.pl:516: an agent at an outside number has no screen, so
/// XFER is the last that is heard of the call, but for its length.
pub fn to_remote_agent(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    s.pause(2);
    s.watched(1, format!("UPDATE vicidial_log set status='XFER',user='{}',comments='REMOTE' where uniqueid='{uniqueid}'", dial.agent));
    s.pause(40);
    dial.carrier_rows(s, r, super::HUNG_UP, start + 42);
    dial.end_auto_call(s);
    s.watched(1, format!("UPDATE vicidial_log FORCE INDEX(lead_id) set term_reason='CALLER',end_epoch='{}',length_in_sec='42' where lead_id = '{}' and uniqueid LIKE \"{start}%\"", start + 42, dial.lead));
}

/// The agent brings in a third party: a dial of its own, without a call row.
pub fn three_way(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    s.pause(2);
    taken(dial, s, &uniqueid, start);
    s.pause(10);
    let letters = if r.chance(0.2) { "DO" } else { "DC" };
    let code = format!(
        "{letters}{}W{:010}W",
        &dial.world.code_digits(start + 10)[3..],
        dial.lead
    );
    dial.dial_rows(s, r, &code, "3WAY");
    if letters == "DO" && r.chance(0.5) {
        // manager_send.php:649: the override failed before anything was dialled.
        s.watched(1, format!("UPDATE vicidial_dial_log SET sip_hangup_cause='999',sip_hangup_reason='FAILED' where caller_code='{code}' and lead_id='{}'", dial.lead));
    }
    talk_and_hang_up(dial, s, r, &uniqueid, start);
}

/// A lead goes straight into an in-group: a dial, and no outbound call.
pub fn dialled_in_group(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.code = dial.code_for("Y", dial.dialled);
    dial.originate(s, r);
    s.pause(30);
    dial.end_auto_call(s);
}

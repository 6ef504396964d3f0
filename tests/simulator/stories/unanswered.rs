//! Calls that no human took. Most exist in `vicidial_log` only as one INSERT
//! that already carries their last status.

use crate::dial::{Carrier, Dial};
use crate::random::Random;
use crate::script::Script;

/// It rang until the dialer gave up; its sweep writes the call's row.
pub fn no_answer(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    let rang = r.seconds(18, 28);
    s.pause(rang);
    let over = dial.dialled + rang;
    let dialstatus = r.weighted(&[(3.0, "NOANSWER"), (1.0, "CANCEL")]);
    let carrier = Carrier {
        dialstatus,
        cause: 19,
        sip: 480,
        reason: "Temporarily Unavailable",
        ringing: rang,
        answered: 0,
    };
    dial.carrier_rows(s, r, carrier, over);
    sweep(dial, s, "NA", over + 3);
}

/// The dialer's sweep finds a dead call: its times are the sweep's own.
fn sweep(dial: &Dial<'_>, s: &mut Script, status: &str, at: i64) {
    s.pause(3);
    dial.end_auto_call(s);
    let uniqueid = dial.uniqueid(dial.dialled, 1);
    s.watched(1, dial.final_row(&uniqueid, status, 0, at));
    dial.new_extended_row(s, &uniqueid, at);
    dial.lead_status(s, status);
}

pub fn busy(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (status, dialstatus, cause, sip, reason) = r.weighted(&[
        (5.0, ("AB", "BUSY", 17, 486, "Busy Here")),
        (4.0, ("ADC", "CHANUNAVAIL", 1, 404, "Not Found")),
        (1.0, ("ADCT", "CHANUNAVAIL", 28, 484, "Address Incomplete")),
        (0.5, ("AFAX", "BUSY", 17, 486, "Busy Here")),
        (0.5, ("DNCCAR", "CHANUNAVAIL", 1, 404, "DNC")),
        (
            0.3,
            ("ADCCAR", "CHANUNAVAIL", 28, 484, "Address Incomplete"),
        ),
        (0.3, ("CPDB", "BUSY", 17, 486, "Busy Here")),
        (0.3, ("CPDSUK", "CHANUNAVAIL", 1, 404, "Not Found")),
        (0.3, ("HUC17", "BUSY", 17, 486, "Busy Here")),
        (
            0.3,
            ("HUC34", "CHANUNAVAIL", 34, 503, "Service Unavailable"),
        ),
    ]);
    let carrier = Carrier {
        dialstatus,
        cause,
        sip,
        reason,
        ringing: 2,
        answered: 0,
    };
    failed(dial, s, r, status, carrier);
}

/// The carrier refuses the call because of its caller ID. The status does not
/// tell: it reads "busy" or "no answer"; only the carrier row says why.
pub fn blocked(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (status, dialstatus, cause, sip, reason) = r.weighted(&[
        (6.0, ("AB", "BUSY", 21, 603, "Network Blocked")),
        (1.0, ("NA", "CHANUNAVAIL", 127, 607, "Unwanted")),
        (2.0, ("NA", "CHANUNAVAIL", 127, 608, "Rejected")),
        (1.0, ("NA", "CONGESTION", 21, 0, "")),
    ]);
    let carrier = Carrier {
        dialstatus,
        cause,
        sip,
        reason,
        ringing: 1,
        answered: 0,
    };
    if status == "AB" {
        failed(dial, s, r, status, carrier);
        return;
    }
    dial.originate(s, r);
    dial.carrier_rows(s, r, carrier, dial.dialled + 1);
    sweep(dial, s, status, dial.dialled + 30);
}

/// The hang-up handler writes the call's row itself; the sweep then tries to
/// write it once more.
fn failed(dial: &Dial<'_>, s: &mut Script, r: &mut Random, status: &str, carrier: Carrier) {
    dial.originate(s, r);
    s.pause(2);
    let over = dial.dialled + 2;
    let Dial { lead, dialled, .. } = dial;
    dial.carrier_rows(s, r, carrier, over);
    dial.lead_status(s, status);
    let state = if carrier.dialstatus == "BUSY" {
        "BUSY"
    } else {
        "DISCONNECT"
    };
    s.noise(
        1,
        format!(
            "UPDATE vicidial_auto_calls set status='{state}' where callerid='{}'",
            dial.code
        ),
    );
    s.watched(0, format!("UPDATE vicidial_log FORCE INDEX(lead_id) set status='{status}' where lead_id = '{lead}' and uniqueid LIKE \"{dialled}%\""));
    let uniqueid = dial.uniqueid(dial.dialled, 1);
    s.watched(1, dial.hang_up_row(&uniqueid, status, dial.dialled));
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, dial.dialled));
    s.pause(3);
    dial.end_auto_call(s);
    s.may_collide(0, dial.final_row(&uniqueid, status, 0, over + 3));
    dial.new_extended_row(s, &uniqueid, over + 3);
    dial.lead_status(s, status);
}

/// The channel vanished: the dialer forgets the call, and no row of it is ever
/// written. Only the dial logs know that the DID was used.
pub fn lost(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    s.pause(120);
    dial.end_auto_call(s);
}

/// The dialer could not tell which channel answered: LRERR at once, no length.
pub fn unresolved(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    let start = dial.dialled + 8;
    let uniqueid = dial.uniqueid(start, 0);
    s.watched(1, format!("INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,processed,alt_dial,list_id,called_count) values('{uniqueid}','{}','{}','{}','{start}','LRERR','1','{}','VDAD','N','{}','{}','{}')", dial.lead, dial.campaign, dial.wall(start), dial.phone, dial.alt_dial, dial.list, dial.called_count));
    dial.end_auto_call(s);
    if r.chance(0.3) {
        s.pause(20);
        s.watched(1, format!("UPDATE vicidial_log FORCE INDEX(lead_id) set term_reason='CALLER',end_epoch='{}',length_in_sec='20' where lead_id = '{}' and uniqueid LIKE \"{start}%\"", start + 20, dial.lead));
    }
}

/// AST_VDadapt.pl:2027: nothing wrote the call's row, so an audit does, minutes
/// later. Before that the dialer forgets the call.
pub fn audited(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    lost(dial, s, r);
    s.pause(200);
    let end = dial.dialled + 40;
    let uniqueid = dial.uniqueid(dial.dialled, 1);
    s.watched(1, format!("UPDATE vicidial_dial_log SET uniqueid='{uniqueid}' where caller_code='{}' and lead_id='{}' limit 1", dial.code, dial.lead));
    let Dial {
        lead,
        list,
        campaign,
        phone,
        ..
    } = &*dial;
    s.watched(1, format!("INSERT INTO vicidial_log SET uniqueid='{uniqueid}',lead_id='{lead}',list_id='{list}',campaign_id='{campaign}',call_date='{}',start_epoch='{end}',end_epoch='{end}',length_in_sec='0',status='NA',phone_code='1',phone_number='{phone}',user='VDAD',comments='AUTONA',processed='N',alt_dial='{}',called_count='{}'", dial.wall(end), dial.alt_dial, dial.called_count));
    dial.new_extended_row(s, &uniqueid, end);
}

/// agi-VDAD_ALL_outbound.agi:1105: the carrier's early media decided, and the
/// campaign names the disposition.
pub fn ended_by_sip_event(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    let start = dial.dialled + 3;
    let uniqueid = dial.uniqueid(start, 0);
    let status = r.weighted(&[(2.0, "NA"), (1.0, "SIPEV"), (1.0, "DC")]);
    let Dial {
        lead,
        list,
        campaign,
        phone,
        ..
    } = &*dial;
    s.watched(1, format!("INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,processed,length_in_sec,end_epoch,alt_dial,list_id,called_count,term_reason) values('{uniqueid}','{lead}','{campaign}','{}','{start}','{status}','1','{phone}','VDAD','N','0','{start}','{}','{list}','{}','SYSTEM')", dial.wall(start), dial.alt_dial, dial.called_count));
    dial.new_extended_row(s, &uniqueid, start);
    dial.lead_status(s, status);
    dial.end_auto_call(s);
}

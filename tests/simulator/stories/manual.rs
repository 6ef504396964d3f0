//! Calls that an agent dialled by hand. Their extended row comes before their
//! log row, and calls that never connect get a made-up uniqueid.

use super::answered;
use crate::dial::{Carrier, Dial, Dialer};
use crate::random::Random;
use crate::script::Script;

pub fn dialled(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.alt_dial = "MAIN";
    dial.dialer = Dialer::Manual;
    dial.code = dial.code_for("M", dial.dialled);
    dial.originate(s, r);
    match r.between(0, 9) {
        0..=5 => connected(dial, s, r),
        6..=7 => never_connected(dial, s, r),
        _ => hung_up_unconnected(dial, s, r),
    }
}

fn connected(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    s.pause(9);
    let start = dial.dialled + 9;
    let uniqueid = dial.uniqueid(start, 0);
    s.noise(1, format!("UPDATE vicidial_auto_calls set uniqueid='{uniqueid}',channel='SIP/carrier-1' where callerid='{}'", dial.code));
    // The carrier's hang-up handler will still use the first name.
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, start));
    s.watched(1, dial.manual_row(&uniqueid, start));
    s.pause(5);
    answered::talk_and_hang_up(dial, s, r, &uniqueid, start);
}

/// No row was found at the disposition, so it makes one, named after the lead.
fn never_connected(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    s.pause(25);
    let over = dial.dialled + 25;
    let carrier = Carrier {
        dialstatus: "NOANSWER",
        cause: 19,
        sip: 480,
        reason: "Temporarily Unavailable",
        ringing: 22,
        answered: 0,
    };
    dial.carrier_rows(s, r, carrier, over);
    dial.end_auto_call(s);
    let status = r.weighted(&[(5.0, "N"), (2.0, "B"), (1.0, "DC"), (2.0, "A")]);
    dial.lead_status(s, status);
    let Dial {
        lead,
        campaign,
        list,
        phone,
        agent,
        ..
    } = dial;
    let uniqueid = format!("{over}.{lead:09}");
    s.watched(0, format!("UPDATE vicidial_log set status='{status}' where lead_id='{lead}' and call_date > \"{}\" and called_count='{}' order by uniqueid desc limit 1", dial.wall(over - 14_400), dial.called_count + 100));
    s.watched(1, format!("INSERT INTO vicidial_log SET uniqueid='{uniqueid}',lead_id='{lead}',list_id='{list}',campaign_id='{campaign}',call_date='{}',start_epoch='{over}',end_epoch='{over}',length_in_sec='0',status='{status}',phone_code='1',phone_number='{phone}',user='{agent}',comments='MANUAL',processed='N',user_group='AGENTS',term_reason='AGENT',alt_dial='MAIN',called_count='{}'", dial.wall(over), dial.called_count));
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, over));
}

/// The agent hung up before the screen saw a connection: DONEM, until the
/// agent dispositions the call, which some never do.
fn hung_up_unconnected(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    s.pause(12);
    let over = dial.dialled + 12;
    let uniqueid = dial.uniqueid(dial.dialled, 1);
    let Dial {
        lead,
        campaign,
        list,
        phone,
        agent,
        ..
    } = dial;
    s.watched(1, format!("INSERT INTO vicidial_log (uniqueid,lead_id,list_id,campaign_id,call_date,start_epoch,end_epoch,length_in_sec,status,phone_code,phone_number,user,comments,processed,user_group,term_reason,alt_dial,called_count) values('{uniqueid}','{lead}','{list}','{campaign}','{}','{over}','{over}','0','DONEM','1','{phone}','{agent}','MANUAL','N','AGENTS','AGENT','MAIN','{}')", dial.wall(over), dial.called_count));
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, over));
    dial.carrier_rows(s, r, super::HUNG_UP, over);
    dial.end_auto_call(s);
    if r.chance(0.7) {
        s.pause(6);
        answered::disposition(dial, s, r, over);
    }
}

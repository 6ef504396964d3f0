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
        8 => busy(dial, s, r),
        _ => hung_up_unconnected(dial, s, r),
    }
}

fn connected(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = connect(dial, s);
    s.pause(5);
    answered::talk_and_hang_up(dial, s, r, &uniqueid, start);
}

fn connect(dial: &Dial<'_>, s: &mut Script) -> (String, i64) {
    s.pause(9);
    let start = dial.dialled + 9;
    let uniqueid = dial.uniqueid(start, 0);
    s.noise(1, format!("UPDATE vicidial_auto_calls set uniqueid='{uniqueid}',channel='SIP/carrier-1' where callerid='{}'", dial.code));
    // The carrier's hang-up handler will still use the first name.
    s.more_noise(
        1,
        format!(
            "UPDATE call_log set uniqueid='{uniqueid}' where caller_code='{}'",
            dial.code
        ),
    );
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, start));
    s.watched(1, dial.manual_row(&uniqueid, start));
    (uniqueid, start)
}

/// The agent tries one number of the lead after the other: each row but the
/// last ends as ALTNUM, and the disposition reaches the last alone.
pub fn other_number(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.alt_dial = "MAIN";
    dial.dialer = Dialer::Manual;
    dial.code = dial.code_for("M", dial.dialled);
    dial.originate(s, r);
    let (uniqueid, start) = connect(dial, s);
    s.pause(8);
    let (lead, end) = (dial.lead, start + 8);
    s.watched(1, format!("UPDATE vicidial_log set term_reason='AGENT',end_epoch='{end}', length_in_sec='8', uniqueid='{uniqueid}', alt_dial='MAIN', user='{}' where lead_id='{lead}' and uniqueid LIKE \"{start}%\"", dial.agent));
    s.watched(1, format!("UPDATE vicidial_log set status='ALTNUM' where lead_id='{lead}' and uniqueid='{uniqueid}' and status='INCALL'"));
    dial.carrier_rows(s, r, super::HUNG_UP, end);
    dial.end_auto_call(s);
    let agent = dial.agent.clone();
    dial.again(Dialer::Manual, end + 12, 'h', r);
    dial.agent = agent;
    dial.phone = crate::world::customer_number(r);
    dial.alt_dial = "ALT";
    dial.originate(s, r);
    connected(dial, s, r);
}

/// The carrier said busy: the hang-up handler writes the row, and the agent's
/// disposition finds it.
fn busy(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    s.pause(3);
    let over = dial.dialled + 3;
    let carrier = Carrier {
        dialstatus: "BUSY",
        cause: 17,
        sip: 486,
        reason: "Busy Here",
        ringing: 2,
        answered: 0,
    };
    dial.carrier_rows(s, r, carrier, over);
    let uniqueid = dial.uniqueid(dial.dialled, 1);
    s.watched(1, dial.final_row(&uniqueid, "AB", 0, dial.dialled));
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, dial.dialled));
    // AST_VDauto_dial.pl:2752
    s.watched(
        0,
        format!(
            "UPDATE vicidial_log SET status='AB' where lead_id='{}' and uniqueid LIKE \"{}%\"",
            dial.lead, dial.dialled
        ),
    );
    dial.end_auto_call(s);
    s.pause(6);
    answered::disposition(dial, s, r, over);
}

/// vdc_db_query.php:14514: no row was found at the disposition, so it makes
/// one, named after the lead.
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
    let uniqueid = format!("{over}.{:09}", dial.lead);
    s.watched(0, format!("UPDATE vicidial_log set status='{status}' where lead_id='{}' and call_date > \"{}\" and called_count='{}' order by uniqueid desc limit 1", dial.lead, dial.wall(over - 14_400), dial.called_count + 100));
    s.watched(1, dial.agents_row(&uniqueid, status, over));
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

//! Names that are not unique: uniqueids of two servers that collide or are cut
//! off, and caller codes that come again because they have no year.

use super::answered::{disposition, queued, taken, talk_and_hang_up};
use super::transferred::{in_group_leg, passed_on};
use super::unanswered;
use crate::dial::{Dial, Dialer};
use crate::random::Random;
use crate::script::Script;
use crate::world;

/// Two servers count the same number in the same second. The second call's row
/// is refused, and what finds rows by uniqueid alone finds the first call's.
pub fn colliding(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    let (uniqueid, start) = queued(dial, s, r);
    s.pause(2);
    taken(dial, s, &uniqueid, start);
    let mut second = Dial::new(dial.world, dial.call, Dialer::Auto, dial.dialled, r);
    second.lead = dial.world.lead(dial.call, 1);
    second.phone = world::customer_number(r);
    second.code = second.code_for("V", second.dialled);
    second.kind = dial.kind;
    second.story = dial.story;
    second.originate_silently(s, r);
    s.may_collide(0, second.open_row(&uniqueid, "QUEUE", "0.150", start));
    second.new_extended_row(s, &uniqueid, start);
    s.pause(2);
    taken(&second, s, &uniqueid, start);
    if r.chance(0.5) {
        talk_and_hang_up(dial, s, r, &uniqueid, start);
        s.pause(10);
        passed_on(s, &uniqueid, "XFER", start + 30, 30);
        in_group_leg(&second, s, r, &uniqueid, start + 30);
    } else {
        s.pause(10);
        let over = start + 20;
        made_up_row(&second, s, r, over);
        talk_and_hang_up(dial, s, r, &uniqueid, start);
    }
    dial.end_auto_call(s);
    second.end_auto_call(s);
}

/// vdc_db_query.php:14514: no row was found at the disposition, so it makes
/// one, named after the lead.
pub fn made_up_row(dial: &Dial<'_>, s: &mut Script, r: &mut Random, over: i64) {
    let status = r.weighted(&[(5.0, "NI"), (2.0, "SALE"), (1.0, "DNC"), (2.0, "A")]);
    dial.lead_status(s, status);
    let uniqueid = format!("{over}.{:09}", dial.lead);
    s.watched(1, dial.agents_row(&uniqueid, status, over));
    s.watched(1, dial.extended_row(&uniqueid, &dial.code, over));
}

/// A dialer with a system name: its uniqueids do not fit into the column, so
/// nothing finds the row again by its full name.
pub fn truncated(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.originate(s, r);
    s.pause(8);
    let start = dial.dialled + 8;
    let uniqueid = format!("dialer01-{}", dial.uniqueid(start, 0));
    s.may_collide(1, dial.open_row(&uniqueid, "QUEUE", "0.150", start));
    dial.new_extended_row(s, &uniqueid, start);
    s.pause(2);
    taken(dial, s, &uniqueid, start);
    s.pause(20);
    dial.carrier_rows(s, r, super::HUNG_UP, start + 20);
    if r.chance(0.5) {
        disposition(dial, s, r, start + 20);
    }
    made_up_row(dial, s, r, start + 24);
    dial.end_auto_call(s);
}

/// The same lead at the same second of another year, or of the month that
/// shares its last digit: another call under the same code.
pub fn code_of_last_year(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    const DAY: i64 = 86_400;
    let (now, code) = (dial.dialled, dial.code.clone());
    let before = [61, 62, 365, 366, 730].map(|days| now - days * DAY);
    let mut before = before
        .into_iter()
        .filter(|&then| dial.code_for("V", then) == code);
    let then = before.next().filter(|_| dial.world.has_own_clock);
    let Some(then) = then else {
        unanswered::no_answer(dial, s, r);
        return;
    };
    s.go_back(then);
    dial.dialled = then;
    unanswered::busy(dial, s, r);
    dial.again(Dialer::Auto, now, 'b', r);
    if r.chance(0.5) {
        let (uniqueid, start) = queued(dial, s, r);
        s.pause(2);
        taken(dial, s, &uniqueid, start);
        talk_and_hang_up(dial, s, r, &uniqueid, start);
    } else {
        unanswered::no_answer(dial, s, r);
    }
}

//! What can happen to a call, and how often: one of these stories is told for
//! each call, in the statements and the order that VICIdial writes them in.

mod answered;
mod machine;
mod manual;
mod unanswered;

use crate::dial::{Carrier, Dial, Dialer};
use crate::random::Random;
use crate::script::Script;
use crate::world::{self, World};

#[derive(Clone, Copy)]
enum Story {
    NoAnswer,
    Busy,
    Lost,
    Unresolved,
    HungUpEarly,
    Answered,
    Machine,
    Dropped,
    Survey,
    Manual,
    Transferred,
    ThreeWay,
    OtherNumber,
    CalledAgain,
}

pub const HUNG_UP: Carrier = Carrier {
    dialstatus: "ANSWER",
    cause: 16,
    sip: 0,
    reason: "",
    ringing: 9,
    answered: 40,
};

/// Everything one call writes. `corrected` is the share of calls whose
/// disposition somebody corrects later, `noise` what [`Script::new`] asks for.
pub fn tell(world: &World, call: u64, dialled: i64, corrected: f64, noise: f64) -> Script {
    let mut random = Random::for_call(world.seed, call);
    let r = &mut random;
    let mut script = Script::new(noise);
    let s = &mut script;
    let mut dial = Dial::new(world, call, Dialer::Auto, dialled, r);
    if r.chance(dial.did.blocked_share) {
        unanswered::blocked(&dial, s, r);
    } else {
        match choose(r, dial.did.answer_factor) {
            Story::NoAnswer => unanswered::no_answer(&dial, s, r),
            Story::Busy => unanswered::busy(&dial, s, r),
            Story::Lost => unanswered::lost(&dial, s, r),
            Story::Unresolved => unanswered::unresolved(&dial, s, r),
            Story::HungUpEarly => unanswered::hung_up_early(&dial, s, r),
            Story::Answered => answered::by_agent(&dial, s, r),
            Story::Machine => machine::detected(&dial, s, r),
            Story::Dropped => answered::dropped(&dial, s, r),
            Story::Survey => answered::survey(&dial, s, r),
            Story::Manual => manual::dialled(&mut dial, s, r),
            Story::Transferred => answered::transferred(&dial, s, r),
            Story::ThreeWay => answered::three_way(&dial, s, r),
            Story::OtherNumber => other_number(&mut dial, s, r),
            Story::CalledAgain => called_again(&mut dial, s, r),
        }
    }
    if r.chance(corrected) {
        correct(&dial, s, r);
    }
    script
}

fn choose(r: &mut Random, answer_factor: f64) -> Story {
    r.weighted(&[
        (36.0, Story::NoAnswer),
        (9.0, Story::Busy),
        (1.0, Story::Lost),
        (0.5, Story::Unresolved),
        (1.0, Story::HungUpEarly),
        (18.0 * answer_factor, Story::Answered),
        (14.0 * answer_factor, Story::Machine),
        (3.0 * answer_factor, Story::Dropped),
        (0.7, Story::Survey),
        (7.0, Story::Manual),
        (2.0 * answer_factor, Story::Transferred),
        (1.0 * answer_factor, Story::ThreeWay),
        (3.0, Story::OtherNumber),
        (4.0, Story::CalledAgain),
    ])
}

/// Nobody at the main number, so the lead's other one is dialled at once.
fn other_number(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    unanswered::no_answer(dial, s, r);
    dial.again(Dialer::Auto, dial.dialled + 45, r);
    dial.phone = world::customer_number(r);
    dial.alt_dial = "ALT";
    if r.chance(0.4) {
        answered::by_agent(dial, s, r);
    } else {
        unanswered::no_answer(dial, s, r);
    }
}

/// Nobody there, so the lead comes round again some hours later.
fn called_again(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    unanswered::no_answer(dial, s, r);
    s.pause(600);
    dial.again(Dialer::Auto, dial.dialled + r.seconds(600, 900), r);
    if r.chance(0.5) {
        answered::by_agent(dial, s, r);
    } else {
        unanswered::no_answer(dial, s, r);
    }
}

/// A supervisor opens the lead, or a clean-up job the log, some time after the
/// call: its last disposition was not the last.
fn correct(dial: &Dial<'_>, s: &mut Script, r: &mut Random) {
    s.pause(r.seconds(120, 7200));
    let lead = dial.lead;
    match r.between(0, 3) {
        0 => {
            let length = r.between(5, 90);
            s.watched(1, format!("UPDATE vicidial_log SET length_in_sec='{length}',end_epoch=start_epoch+{length} where lead_id='{lead}' and length_in_sec > 90"));
        }
        1 => {
            // Two people correct the same call one after the other.
            s.watched(1, format!("UPDATE vicidial_log set status='SALE' where lead_id='{lead}' order by call_date desc limit 1"));
            s.pause(300);
            s.watched(1, format!("UPDATE vicidial_log set status='NI' where lead_id='{lead}' order by call_date desc limit 1"));
        }
        _ => {
            let status = r.weighted(&[
                (3.0, "SALE"),
                (2.0, "NI"),
                (2.0, "A"),
                (1.0, "DNC"),
                (1.0, "CALLBK"),
            ]);
            dial.lead_status(s, status);
            s.watched(1, format!("UPDATE vicidial_log set status='{status}' where lead_id='{lead}' order by call_date desc limit 1"));
        }
    }
}

//! What can happen to a call, and how often: one of these stories is told for
//! each call, in the statements and the order that VICIdial writes them in.

mod answered;
mod corrected;
mod dropped;
mod machine;
mod manual;
mod odd;
mod transferred;
mod unanswered;

use crate::dial::{Carrier, Dial, Dialer};
use crate::random::Random;
use crate::script::Script;
use crate::world::{self, World};

/// How a story is told.
type Teller = fn(&mut Dial<'_>, &mut Script, &mut Random);

/// A story's kind, name, teller and share. Of some stories the share falls with
/// the calls that are answered at all.
struct Story {
    kind: char,
    name: &'static str,
    tell: Teller,
    share: f64,
    needs_answer: bool,
}

const fn story(kind: char, name: &'static str, share: f64, tell: Teller) -> Story {
    Story {
        kind,
        name,
        tell,
        share,
        needs_answer: false,
    }
}

const fn answered(kind: char, name: &'static str, share: f64, tell: Teller) -> Story {
    Story {
        needs_answer: true,
        ..story(kind, name, share, tell)
    }
}

const BLOCKED: Story = story('a', "blocked", 0.0, unanswered::blocked);

const STORIES: [Story; 25] = [
    story('a', "no answer", 36.0, unanswered::no_answer),
    story('a', "busy or disconnected", 9.0, unanswered::busy),
    story('a', "vanished", 1.0, unanswered::lost),
    story('a', "unresolved channel", 0.5, unanswered::unresolved),
    story('a', "audited", 0.5, unanswered::audited),
    story(
        'a',
        "ended by a SIP event",
        0.3,
        unanswered::ended_by_sip_event,
    ),
    answered('b', "agent", 18.0, answered::by_agent),
    answered('c', "machine", 14.0, machine::detected),
    answered('c', "end by CPD", 0.4, machine::ended_by_cpd),
    story('d', "hung up before routing", 1.0, dropped::hung_up_early),
    answered('d', "dropped from the queue", 3.0, dropped::dropped),
    answered('d', "vanished from the queue", 0.2, dropped::vanished),
    story('d', "survey", 0.9, dropped::survey),
    story('e', "manual", 7.0, manual::dialled),
    answered('f', "transferred", 2.0, transferred::to_in_group),
    answered('f', "transferred by API", 0.3, transferred::by_api),
    answered('f', "remote agent", 0.4, transferred::to_remote_agent),
    answered('f', "three-way", 1.0, transferred::three_way),
    story(
        'f',
        "dialled into a group",
        0.3,
        transferred::dialled_in_group,
    ),
    story('h', "other number", 3.0, other_number),
    story('h', "other numbers by hand", 1.0, manual::other_number),
    story('a', "called again", 4.0, called_again),
    story('b', "colliding uniqueid", 0.3, odd::colliding),
    story('b', "truncated uniqueid", 0.2, odd::truncated),
    story('a', "caller code of last year", 0.6, odd::code_of_last_year),
];

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
    let mut script = Script::new(noise, dialled);
    let s = &mut script;
    let mut dial = Dial::new(world, call, Dialer::Auto, dialled, r);
    let story = if r.chance(dial.did.blocked_share) {
        &BLOCKED
    } else {
        choose(r, dial.did.answer_factor)
    };
    dial.kind = story.kind;
    dial.story = story.name;
    (story.tell)(&mut dial, s, r);
    if r.chance(corrected) {
        corrected::correct(&dial, s, r);
    }
    script
}

fn choose(r: &mut Random, answer_factor: f64) -> &'static Story {
    let choices: Vec<(f64, &'static Story)> = STORIES
        .iter()
        .map(|story| {
            let factor = if story.needs_answer {
                answer_factor
            } else {
                1.0
            };
            (story.share * factor, story)
        })
        .collect();
    r.weighted(&choices)
}

/// Nobody at the main number, so the lead's other one is dialled at once. Some
/// installations keep a person's numbers as leads of their own.
fn other_number(dial: &mut Dial<'_>, s: &mut Script, r: &mut Random) {
    dial.kind = 'a';
    unanswered::no_answer(dial, s, r);
    dial.again(Dialer::Auto, dial.dialled + 45, 'h', r);
    dial.phone = world::customer_number(r);
    if r.chance(0.2) {
        dial.lead = dial.world.lead(dial.call, 1);
        dial.called_count = 1;
        dial.code = dial.code_for("V", dial.dialled);
    } else {
        dial.alt_dial = r.weighted(&[(6.0, "ALT"), (2.0, "ADDR3"), (1.0, "X1"), (1.0, "XLAST")]);
    }
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
    let kind = if r.chance(0.5) { 'b' } else { 'a' };
    dial.again(Dialer::Auto, dial.dialled + r.seconds(600, 900), kind, r);
    if kind == 'b' {
        answered::by_agent(dial, s, r);
    } else {
        unanswered::no_answer(dial, s, r);
    }
}

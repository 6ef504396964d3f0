//! Whatever VICIdial's programs write first: the same store in the end.
//!
//! Several programs write about one call, each over a connection of its own:
//! the dialer, the scripts in the dialplan, the agent's screen, the listener of
//! the manager interface. Each keeps its own order, and a row must be there
//! before it is changed or deleted; a correction comes when all is over. Every
//! other order is told here, far more than happen: a dial may come after its
//! call's result. Two orders of the same calls, one of them in one batch, must
//! end in equal stores, and in what a model counts from the plans alone.

use std::collections::BTreeMap;

use didtail::ledger::{Counters, DailyKey};
use didtail::store::Dump;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::day::NUMBERS;
use crate::events::{Change, NOON, Row};
use crate::replay::{cases, differences, without_order};
use crate::rows::{Log, carrier, code, dial, dial_cid, link};
use crate::world::TENANT;

mod expected;
mod pauses;

use expected::*;
use pauses::{Pause, stored};

/// The dialer's clock behind UTC, in seconds: its midnight is ten minutes before
/// the rows are written, so that calls lie on two of its days.
const BEHIND_UTC: i64 = 12 * 3600 - 600;
/// When the first call is dialled; seconds after noon.
const FIRST_SECOND: i64 = -1400;
const CALL_SECONDS: i64 = 400;
const THREE_WEEKS: i64 = 21 * 86_400;
const LEAD_SECONDS: i64 = 4 * 3600;

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The sweep writes it with its result.
    NoAnswer,
    /// The hang-up script writes it, after the carrier's row.
    Busy,
    /// An agent takes it from the queue.
    Answered,
    /// As before, and the in-group's script takes over the link.
    Transferred,
    /// The agent's screen dials and writes it; its link comes before its row.
    Manual,
    /// A machine, by two rows: one is cleaned up.
    Machine,
}

#[derive(Clone, Debug)]
struct Plan {
    kind: Kind,
    lead: i64,
    number: usize,
    shown: Shown,
    /// The caller code is told: else its row had a duplicate key.
    linked: bool,
    /// The agent's result.
    status: &'static str,
    /// The agent's screen finds another channel.
    renamed: bool,
    seconds: i64,
    /// Q.850 cause of the carrier's row, where there is one.
    cause: Option<i64>,
    /// The listener of the manager interface brings it by an UPDATE.
    cause_late: bool,
    /// The carrier's row names another channel of the call.
    other_channel: bool,
    corrected: Option<&'static str>,
    weeks_ago: bool,
}

/// Which of the two dial logs shows the DID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Dial,
    Companion,
    Both,
    Nowhere,
}

fn plans() -> impl Strategy<Value = Plan> {
    let kind = select(vec![
        Kind::NoAnswer,
        Kind::Busy,
        Kind::Answered,
        Kind::Transferred,
        Kind::Manual,
        Kind::Machine,
    ]);
    let shown = prop_oneof![
        4 => Just(Shown::Dial),
        2 => Just(Shown::Both),
        1 => Just(Shown::Companion),
        1 => Just(Shown::Nowhere),
    ];
    // Few leads: a second call of the same is one to its other number.
    let known = (kind, 1_i64..4, 0..NUMBERS.len(), shown);
    let chances = (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.3),
        any::<bool>(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
    );
    let results = (
        select(vec!["SALE", "NI", "DROP", "INCALL"]),
        -5_i64..300,
        prop::option::of(select(vec![16_i64, 17, 21])),
        prop::option::weighted(0.3, select(vec!["SALE", "NI", "NA"])),
    );
    (known, chances, results).prop_map(|(known, chances, results)| {
        let (kind, lead, number, shown) = known;
        let (linked, renamed, cause_late, weeks_ago, other_channel) = chances;
        let (status, seconds, cause, corrected) = results;
        Plan {
            kind,
            lead,
            number,
            shown,
            linked: linked || !matches!(kind, Kind::NoAnswer | Kind::Busy),
            status,
            renamed: renamed && matches!(kind, Kind::Answered | Kind::Transferred),
            seconds,
            cause,
            cause_late,
            other_channel,
            corrected,
            // A row deleted later is taken for an archived one.
            weeks_ago: weeks_ago && kind != Kind::Machine,
        }
    })
}

/// One statement.
#[derive(Clone, Copy, Debug)]
enum Step {
    Dial,
    DialCid,
    /// The call's row, or its duplicate.
    Insert(bool, &'static str),
    Status(&'static str),
    Hangup,
    Rename,
    Link,
    /// The agent's screen knows the call's newest `uniqueid`, and leaves the code
    /// of a row that is there.
    LinkOfScreen,
    LinkOfInGroup,
    Carrier(i64),
    Cause(i64),
    CleanUp,
    /// When all is over.
    Correct(&'static str),
}

/// What each program writes about a call.
fn writers(plan: &Plan) -> Vec<Vec<Step>> {
    let mut originate = vec![Step::Dial];
    if matches!(plan.shown, Shown::Companion | Shown::Both) {
        originate.push(Step::DialCid);
    }
    let mut script = Vec::new();
    let mut listener = Vec::new();
    if let Some(cause) = plan.cause {
        script.push(Step::Carrier(if plan.cause_late { 0 } else { cause }));
        if plan.cause_late {
            listener.push(Step::Cause(cause));
        }
    }
    let link = plan.linked.then_some(Step::Link);
    let mut all = Vec::new();
    match plan.kind {
        Kind::NoAnswer => {
            all.push(
                [Step::Insert(false, "NA")]
                    .into_iter()
                    .chain(link)
                    .collect(),
            );
        }
        Kind::Busy => {
            script.push(Step::Insert(false, "AB"));
            script.extend(link);
        }
        Kind::Answered | Kind::Transferred => {
            all.push(vec![Step::Insert(false, "QUEUE"), Step::Link]);
            let mut screen = vec![Step::Status("INCALL")];
            screen.extend(plan.renamed.then_some(Step::Rename));
            screen.extend([Step::LinkOfScreen, Step::Status("DISPO")]);
            screen.push(Step::Status(status(plan)));
            all.push(screen);
            script.push(Step::Hangup);
            if plan.kind == Kind::Transferred {
                all.push(vec![Step::LinkOfInGroup]);
            }
        }
        Kind::Manual => {
            originate.extend([Step::Link, Step::Insert(false, "INCALL")]);
            originate.extend([Step::Status("DISPO"), Step::Status(status(plan))]);
            script.push(Step::Hangup);
        }
        Kind::Machine => {
            all.push(vec![Step::Insert(false, "QUEUE"), Step::Link]);
            all.push(vec![Step::Status("AA"), Step::Status("AL")]);
            all.push(vec![Step::Insert(true, "AA"), Step::CleanUp]);
        }
    }
    all.extend([originate, script, listener]);
    all.push(plan.corrected.map(Step::Correct).into_iter().collect());
    all
}

/// The last status before a correction.
fn status(plan: &Plan) -> &'static str {
    match plan.kind {
        Kind::NoAnswer => "NA",
        Kind::Busy => "AB",
        Kind::Answered | Kind::Manual => plan.status,
        Kind::Transferred => "XFER",
        Kind::Machine => "AL",
    }
}

/// One call in VICIdial's tables while it is told.
struct Told {
    plan: Plan,
    /// One schema a day: the carrier log names the code.
    by_code: bool,
    code: String,
    dialed_second: i64,
    uniqueid: String,
    log: Option<Log>,
    twin: Option<Log>,
    extended: BTreeMap<String, Row>,
    carrier: Option<Row>,
    writers: Vec<std::collections::VecDeque<Step>>,
}

/// What became of a statement.
enum Done {
    /// It makes no sense yet.
    NotYet,
    /// It changed nothing.
    Nothing,
    Wrote(Change),
}

impl Told {
    fn new(number: i64, plan: &Plan, by_code: bool) -> Self {
        let code = code(number * CALL_SECONDS, plan.lead);
        let dialed_second = dialed_second(number, plan);
        Self {
            plan: plan.clone(),
            by_code,
            code: match plan.kind {
                Kind::Manual => code.replacen('V', "M", 1),
                _ => code,
            },
            dialed_second,
            uniqueid: Log::at(dialed_second + 20, plan.lead, "").uniqueid,
            log: None,
            twin: None,
            extended: BTreeMap::new(),
            carrier: None,
            writers: writers(plan).into_iter().map(Into::into).collect(),
        }
    }

    /// Lets one of the call's programs go on, if it can.
    fn go_on(&mut self, writer: usize) -> Done {
        let Some(step) = self.writers[writer].front().copied() else {
            return Done::NotYet;
        };
        let done = self.tell(step);
        if !matches!(done, Done::NotYet) {
            self.writers[writer].pop_front();
        }
        done
    }

    fn tell(&mut self, step: Step) -> Done {
        // Wall clocks are those of the dialer.
        let second = self.dialed_second - BEHIND_UTC;
        let number = |is_shown: bool| {
            if is_shown {
                NUMBERS[self.plan.number]
            } else {
                ""
            }
        };
        let lead = self.plan.lead;
        match step {
            Step::Dial => {
                let is_shown = matches!(self.plan.shown, Shown::Dial | Shown::Both);
                Done::Wrote(dial(&self.code, lead, second, number(is_shown)))
            }
            Step::DialCid => Done::Wrote(dial_cid(&self.code, second, number(true))),
            Step::Insert(is_twin, status) => {
                let mut log = Log::at(self.dialed_second + 20, lead, status);
                let place = if is_twin {
                    &mut self.twin
                } else {
                    &mut self.log
                };
                if is_twin {
                    log.uniqueid.push('1');
                }
                Done::Wrote(place.insert(log).insert())
            }
            Step::Status(status) => self.update(|log| log.status = status.to_owned()),
            Step::Hangup => {
                let seconds = self.plan.seconds;
                self.update(|log| log.seconds = Some(seconds))
            }
            Step::Rename => self.update(|log| log.uniqueid.push('9')),
            Step::Link => self.link(&self.uniqueid.clone(), &self.code.clone(), 21),
            Step::LinkOfScreen => {
                let Some(log) = &self.log else {
                    return Done::NotYet;
                };
                let uniqueid = log.uniqueid.clone();
                let known = self.extended.get(&uniqueid);
                let code = match known.map(|row| &row.values[2]) {
                    Some(crate::events::Value::Text(code)) => code.clone(),
                    _ => self.code.clone(),
                };
                self.link(&uniqueid, &code, 80)
            }
            Step::LinkOfInGroup => {
                let code = self.code.replacen('V', "Y", 1);
                self.link(&self.uniqueid.clone(), &code, 90)
            }
            Step::Carrier(cause) => {
                let insert = self.carrier_row(cause);
                self.carrier = Some(insert.clone());
                Done::Wrote(Change::Insert(insert))
            }
            Step::Cause(cause) => {
                let after = self.carrier_row(cause);
                match self.carrier.take() {
                    Some(before) => Done::Wrote(Change::Update(before, after)),
                    None => Done::NotYet,
                }
            }
            // It looks for two rows of the same second.
            Step::CleanUp => match (&self.log, &self.twin) {
                (Some(_), Some(twin)) => Done::Wrote(twin.delete()),
                _ => Done::NotYet,
            },
            Step::Correct(status) => {
                if self
                    .writers
                    .iter()
                    .map(std::collections::VecDeque::len)
                    .sum::<usize>()
                    > 1
                {
                    return Done::NotYet;
                }
                self.update(|log| log.status = status.to_owned())
            }
        }
    }

    fn update(&mut self, change: impl FnOnce(&mut Log)) -> Done {
        match &mut self.log {
            Some(log) => Done::Wrote(log.update(change)),
            None => Done::NotYet,
        }
    }

    /// `INSERT … ON DUPLICATE KEY UPDATE`.
    fn link(&mut self, uniqueid: &str, code: &str, second: i64) -> Done {
        let second = self.dialed_second - BEHIND_UTC + second;
        let Change::Insert(row) = link(uniqueid, code, self.plan.lead, second) else {
            unreachable!("a link is inserted");
        };
        match self.extended.insert(uniqueid.to_owned(), row.clone()) {
            None => Done::Wrote(Change::Insert(row)),
            Some(before) if before == row => Done::Nothing,
            Some(before) => Done::Wrote(Change::Update(before, row)),
        }
    }

    fn carrier_row(&self, cause: i64) -> Row {
        let code = if self.by_code { self.code.as_str() } else { "" };
        let second = self.dialed_second - BEHIND_UTC + 30;
        let channel = if self.plan.other_channel { "5" } else { "" };
        let uniqueid = format!("{}{channel}", self.uniqueid);
        match carrier(&uniqueid, code, self.plan.lead, second, cause) {
            Change::Insert(row) => row,
            other => unreachable!("{other:?}"),
        }
    }
}

/// When the call is dialled; seconds after noon.
fn dialed_second(number: i64, plan: &Plan) -> i64 {
    FIRST_SECOND + number * CALL_SECONDS - if plan.weeks_ago { THREE_WEEKS } else { 0 }
}

/// The calls' statements in the order in which programs have their turns.
fn told(plans: &[Plan], by_code: bool, turns: &[Index]) -> Vec<Change> {
    let mut calls: Vec<Told> = (0..)
        .zip(plans)
        .map(|(number, plan)| Told::new(number, plan, by_code))
        .collect();
    let mut order = Vec::new();
    let mut turns = turns.iter().cycle();
    loop {
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            let of_call = call.writers.iter().enumerate();
            let of_call = of_call.filter(|(_, steps)| !steps.is_empty());
            open.extend(of_call.map(|(writer, _)| (number, writer)));
        }
        if open.is_empty() {
            return order;
        }
        let turn = turns.next().expect("cycles").index(open.len());
        open.rotate_left(turn);
        let mut tries = open
            .into_iter()
            .map(|(number, writer)| calls[number].go_on(writer));
        match tries.find(|done| !matches!(done, Done::NotYet)) {
            Some(Done::Wrote(change)) => order.push(change),
            Some(Done::Nothing) => {}
            Some(Done::NotYet) | None => panic!("nobody can go on: {order:?}"),
        }
    }
}

/// Of two names of one call a dial has the one that was told last: the script's link
/// may come behind that of the screen, which knows a newer one.
fn comparable(dump: Dump) -> Dump {
    without_order(dump, |uniqueid| {
        uniqueid.split('.').next().map(str::to_owned)
    })
}

fn shown_order(order: &[Change]) -> String {
    let lines: Vec<String> = order.iter().map(|change| format!("{change:?}")).collect();
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_order_of_the_programs_ends_in_the_same_store(
        plans in vec(plans(), 1..6),
        by_code in any::<bool>(),
        turns in vec(any::<Index>(), 60),
        other_turns in vec(any::<Index>(), 60),
        pauses in vec(select(Pause::ALL.to_vec()), 7),
    ) {
        let order = told(&plans, by_code, &turns);
        let other = told(&plans, by_code, &other_turns);
        let at_once = comparable(stored(&order, &[]));
        prop_assert_eq!(of_store(&at_once), counted(&plans, by_code), "\n{}", shown_order(&order));
        let one_by_one = comparable(stored(&other, &pauses));
        prop_assert_eq!(of_store(&one_by_one), counted(&plans, by_code), "\n{}", shown_order(&other));
        let differences = differences(&one_by_one, &at_once);
        prop_assert!(
            differences.is_empty(),
            "{}\nfirst:\n{}\nsecond:\n{}",
            differences.join("\n"),
            shown_order(&other),
            shown_order(&order),
        );
    }
}

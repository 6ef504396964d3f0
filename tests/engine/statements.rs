//! The same statements told as rows and as text: the same store in the end.
//!
//! A random day of statements runs over a table in memory. One engine is told the
//! row images that a source in ROW format writes. Others are told the texts, in
//! pieces of any size, and find the table as it is some statements later, because
//! they come late; between the pieces they go on, are started anew or are killed.

use didtail::binlog::Position;
use didtail::store::Dump;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::day::NUMBERS;
use crate::events::{self, Change, Part};
use crate::replay::{cases, differences, without_order};
use crate::world::{World, columns};

mod table;

use table::{Table, Told};

/// One statement, or a night.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Dial(i64, usize),
    /// A call of a lead, told with its caller code, or without.
    Insert {
        lead: i64,
        status: &'static str,
        linked: bool,
    },
    /// A second row of a call.
    Twin(Index),
    Set {
        call: Index,
        by: By,
        set: Set,
    },
    Rename {
        call: Index,
        by: By,
        /// Named by another second.
        later: bool,
        status: Option<&'static str>,
    },
    Lead {
        call: Index,
        by: By,
        lead: i64,
    },
    /// Of a call's two rows the newer.
    CleanUp(Index, By),
    /// The archiver copies all and deletes what is from before yesterday.
    Night,
    /// TRUNCATE, behind a copy.
    Wipe,
}

/// How a statement names its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Name,
    NameAndLead,
    /// `uniqueid='…' OR uniqueid='…'`, the other of no row.
    Names,
    Second,
    Lead,
    /// `… AND status='…' ORDER BY uniqueid DESC LIMIT 1`
    NewestOfStatus,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Set {
    Status(&'static str),
    Seconds(i64),
    Agent(&'static str),
}

fn ops() -> impl Strategy<Value = Op> {
    let status = || select(vec!["QUEUE", "INCALL", "SALE", "NI", "NA", "DROP"]);
    let by = || {
        select(vec![
            By::Name,
            By::NameAndLead,
            By::Names,
            By::Second,
            By::Lead,
            By::NewestOfStatus,
        ])
    };
    let set = prop_oneof![
        4 => status().prop_map(Set::Status),
        1 => (0_i64..300).prop_map(Set::Seconds),
        1 => select(vec!["6001", "6002"]).prop_map(Set::Agent),
    ];
    let lead = || 1_i64..4;
    prop_oneof![
        3 => (lead(), 0..NUMBERS.len()).prop_map(|(lead, number)| Op::Dial(lead, number)),
        4 => (lead(), status(), any::<bool>()).prop_map(|(lead, status, linked)| Op::Insert {
            lead, status, linked,
        }),
        1 => any::<Index>().prop_map(Op::Twin),
        6 => (any::<Index>(), by(), set).prop_map(|(call, by, set)| Op::Set { call, by, set }),
        3 => (any::<Index>(), by(), any::<bool>(), prop::option::of(status())).prop_map(
            |(call, by, later, status)| Op::Rename { call, by, later, status }
        ),
        2 => (any::<Index>(), by(), lead()).prop_map(|(call, by, lead)| Op::Lead { call, by, lead }),
        2 => (any::<Index>(), by()).prop_map(|(call, by)| Op::CleanUp(call, by)),
        1 => Just(Op::Night),
        1 => Just(Op::Wipe),
    ]
}

/// One engine's turn.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Statements that it reads.
    reads: usize,
    /// Statements that have run since when it looks at the table.
    late: usize,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    GoOn,
    Restart,
    /// It is killed when it has begun, and another begins.
    Kill,
}

fn turns() -> impl Strategy<Value = Turn> {
    let then = select(vec![Then::GoOn, Then::Restart, Then::Kill]);
    (1_usize..8, 0_usize..6, then).prop_map(|(reads, late, then)| Turn { reads, late, then })
}

/// Writes a statement as a group of its own: its text, or its rows.
fn push(world: &World, number: usize, told: &Told, as_text: bool) -> Position {
    let sequence = u64::try_from(number).expect("small") + 1;
    let gtid = events::gtid(sequence, told.is_definition);
    world.source.push(162, 0, told.time, &gtid);
    if told.is_definition {
        return world
            .source
            .push(2, 0, told.time, &events::query(&told.text));
    }
    if as_text {
        let part = Part::Statement(told.text.clone());
        events::push_part(&world.source, told.time, &part);
    } else {
        for change in &told.rows {
            let part = Part::Rows(Change::clone(change));
            events::push_part(&world.source, told.time, &part);
        }
    }
    world.source.push(2, 0, told.time, &events::query("COMMIT"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

fn told_as_rows(told: &[Told]) -> Dump {
    runtime().block_on(async {
        let world = World::new();
        let ends = (0..).zip(told);
        let ends = ends.map(|(number, told)| push(&world, number, told, false));
        if let Some(end) = ends.last() {
            world.run_to(&end).await;
        }
        world.dump()
    })
}

fn told_as_text(told: &[Told], turns: &[Turn]) -> Dump {
    runtime().block_on(async {
        let world = World::new();
        let archive = columns("vicidial_log");
        world.source.define("vicidial_log_archive", archive);
        let mut turns = turns.iter().cycle();
        let mut engine = None;
        let (mut number, mut seen) = (0, 0);
        while number < told.len() {
            let turn = turns.next().expect("cycles");
            let until = (number + turn.reads).min(told.len());
            // A table never goes back to what it was.
            seen = (until + turn.late).min(told.len()).max(seen);
            told[seen - 1].hold(&world.source);
            let mut end = None;
            while number < until {
                end = Some(push(&world, number, &told[number], true));
                number += 1;
            }
            let end = end.expect("at least one");
            let mut running = match engine.take() {
                Some(running) => running,
                None => world.start().await,
            };
            if let Then::Kill = turn.then {
                for _moment in 0..turn.late {
                    tokio::task::yield_now().await;
                }
                running.crash().await;
                running = world.start().await;
            }
            world.applied(&end).await;
            match turn.then {
                Then::GoOn => engine = Some(running),
                Then::Restart | Then::Kill => {
                    running.stop().await.expect("stops in order");
                }
            }
        }
        if let Some(running) = engine {
            running.stop().await.expect("stops in order");
        }
        world.dump()
    })
}

/// A statement that finds its rows by their lead touches more of them than it
/// changes, and which of a call's names its dial has follows from when each was read.
fn comparable(dump: Dump) -> Dump {
    without_order(dump, |_| None)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn statements_read_late_end_in_the_numbers_of_rows(
        ops in vec(ops(), 1..30),
        turns in vec(turns(), 1..9),
    ) {
        let told = Table::run(&ops);
        let rows = comparable(told_as_rows(&told));
        let texts = comparable(told_as_text(&told, &turns));
        let differences = differences(&texts, &rows);
        let lines: Vec<String> = told.iter().map(Told::to_string).collect();
        prop_assert!(
            differences.is_empty(),
            "text, rows:\n{}\nof\n{}\n{turns:?}",
            differences.join("\n"),
            lines.join("\n"),
        );
    }
}

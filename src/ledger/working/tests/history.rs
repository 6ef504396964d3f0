//! What is kept of the changes of calls and dials.

use super::*;

/// Going back through the history gives each state that there was.
#[test]
fn the_history_leads_back_through_every_state() {
    let moved = Detail::Call {
        before: Some(CallBefore {
            uniqueid: "17.1".to_owned(),
            lead_id: 12345,
            status: "INCALL".to_owned(),
        }),
        row: row("17.9", "SALE"),
    };
    let details = [
        call("17.1", "QUEUE"),
        link("17.1", CODE),
        dial(DID),
        call("17.1", "INCALL"),
        moved,
        blocked(),
        call("17.9", "NI"),
        call("17.9", "NI"),
    ];
    let mut working = Working::new(Loaded::default());
    let mut seen: Vec<Call> = Vec::new();
    for (number, detail) in (0..).zip(&details) {
        working.apply(&mut rules(), &fact(number, detail.clone()));
        let now = working.calls.values().next().expect("one call").clone();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    let change = working.finish(frame());
    let (key, call) = change.calls.first_key_value().expect("one");
    let entries = change.history[&Subject::Call(key.clone())].clone();
    let back = crate::ledger::steps(call, entries).expect("its own values");
    // A move is a change of its own, before the row's.
    assert_eq!(back.iter().filter(|step| step.before.is_none()).count(), 1);
    let states: Vec<&str> = back.iter().map(|s| s.after.disposition.as_str()).collect();
    assert_eq!(
        states,
        [
            "QUEUE", "QUEUE", "QUEUE", "INCALL", "INCALL", "SALE", "SALE", "NI"
        ]
    );
    for state in &seen {
        let found = back.iter().any(|step| {
            step.after.contribution() == state.contribution()
                && step.after.disposition == state.disposition
        });
        assert!(found, "{state:?}");
    }
    let left: Vec<_> = change.history.values().flatten().collect();
    assert!(left.iter().all(|entry| entry.left.is_none()));
}

#[test]
fn the_did_that_a_call_leaves_is_noted() {
    let change = run(&[
        dial(DID),
        call("17.1", "NA"),
        Detail::Dial {
            caller_code: "V1112149507000012345".to_owned(),
            lead_id: Some(12345),
            did: Some(REPORTED.to_owned()),
            at: START - 60,
            leading: true,
            sip: None,
        },
        link("17.1", "V1112149507000012345"),
    ]);
    let entries: Vec<_> = change.history.values().flatten().collect();
    let left: Vec<_> = entries.iter().filter_map(|e| e.left.as_deref()).collect();
    assert_eq!(left, [DID]);
    assert_eq!(only_call(&change).did.as_deref(), Some(REPORTED));
}

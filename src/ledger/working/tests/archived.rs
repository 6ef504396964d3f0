//! Copies in the archives: there may be several of one row.

use super::*;

/// Of two copies of a dial the one with the carrier's answer is heard, in either
/// order: each night's archiving makes one.
#[test]
fn the_copy_with_the_answer_is_heard() {
    let mut answered = dial(DID);
    if let Detail::Dial { sip, .. } = &mut answered {
        *sip = Some(SipAnswer {
            code: 608,
            reason: "Rejected".to_owned(),
        });
    }
    for copies in [[dial(DID), answered.clone()], [answered.clone(), dial(DID)]] {
        let mut rules = rules();
        let mut working = Working::new(Loaded::default());
        for (number, copy) in (0..).zip(copies) {
            working.apply_archived(&mut rules, &fact(number, copy));
        }
        let dial = working.dials.values().next().expect("a dial");
        assert_eq!((dial.sip_code, dial.counted), (Some(608), true));
        assert_eq!(working.dials.len(), 1);
    }
}

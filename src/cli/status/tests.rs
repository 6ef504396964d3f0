//! What `didtail status` shows, as it was last agreed on.

use super::source::WAYS;
use super::*;
use crate::cli::screen::tests::on_each;
use crate::cli::snapshots::assert_snapshot;
use crate::config::Overrides;
use crate::ledger::Pruned;
use crate::state::{Missing, Rereads, Skipped, StatusNote};
use crate::store::{Attributed, LeaseState, LoadName, LoadNote};

#[test]
fn only_what_wants_a_look_is_coloured_so() {
    for (line, expected) in [
        ("daemon             running, process 8745", Some(32)),
        ("daemon             not running", Some(31)),
        ("missing            nothing", Some(32)),
        ("missing            2 quarantined rows", Some(33)),
        ("quarantined rows   0", None),
        ("quarantined rows   2", Some(33)),
        (
            "store              sqlite:///var/lib/didtail/optimizer.db",
            None,
        ),
        ("stopped by         the source is gone", Some(31)),
        ("disk               FULL: 0 KiB free in /x", Some(31)),
        ("disk               nearly full: 9 MiB free in /x", Some(33)),
        ("disk               9 GiB free in /x", None),
        (" counted calls               4755    100.0%", None),
    ] {
        assert_eq!(colour(line), expected, "{line}");
    }
}

#[test]
fn the_picture_is_as_agreed_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("didtail.toml");
    std::fs::write(&file, "[[source]]\nurl = \"mysql://didtail@db/asterisk\"\n").expect("a file");
    let config = Config::load(&Overrides {
        config: Some(file),
        without_secrets: true,
        ..Overrides::default()
    });
    let config = config.expect("good");
    const AT: i64 = 1_772_352_000;
    // Half an hour off a whole number of hours: the test may take its time.
    let newest = time::now() - 3 * 3600 - 1800;
    let lease = LeaseState {
        holder: "dialer1/74b1f31e".to_owned(),
        fencing_token: 7,
        acquired_at: AT,
        expires_at: AT + 109,
        now: AT + 100,
    };
    let note = StatusNote {
        missing: Missing {
            statements: 1,
            quarantined: 2,
            ..Missing::default()
        },
        rereads: Rereads {
            changes: 40,
            rows: 52,
            windows: 1,
            ..Rereads::default()
        },
        last_error: Some("the connection to db:3306 failed: no route to host".to_owned()),
        last_error_at: Some(AT),
        ..StatusNote::default()
    };
    let load = LoadNote {
        asked: "backfill:30d".to_owned(),
        since: AT - 100,
        until: AT,
        next: AT - 58,
        finished: false,
        tally: crate::store::LoadTally {
            calls: 3183,
            ..crate::store::LoadTally::default()
        },
    };
    let ways = WAYS.map(|(way, _)| way);
    let known = SourceStatus {
        name: "main".to_owned(),
        note: Some(note),
        position: Some("mysql-bin.000012:4711".to_owned()),
        is_moved: false,
        skipped: Skipped::between(AT - 7200, AT - 3600).into_iter().collect(),
        gtid: "0-1-248047".to_owned(),
        event_time: Some(newest),
        quarantined: 2,
        attributed: Some([
            Attributed::of(ways.into_iter().zip([0, 4633, 101, 21]), 3),
            Attributed::of(ways.into_iter().zip([0, 2590, 37, 14]), 0),
        ]),
        lease: Some(lease),
        own_lease: true,
        is_asked: true,
        pruned: Pruned::default(),
        loads: vec![(LoadName::StartAt, load)],
    };
    let seen = |one, store, holder| Seen {
        all: vec![one],
        store,
        holder,
        disks: vec![Room {
            folder: "/var/lib/didtail".into(),
            free: 9 << 30,
        }],
        own: Some("dialer1/74b1f31e".to_owned()),
    };
    let empty = SourceStatus {
        name: "main".to_owned(),
        is_asked: true,
        ..SourceStatus::default()
    };
    let none = StoreView::None("none yet: the daemon makes it".to_owned());
    let pictures = [
        (
            "it runs",
            seen(known, StoreView::Readable, Some(Some(8745))),
        ),
        ("before the first start", seen(empty, none, None)),
    ];
    let drawn = pictures.map(|(what, seen)| {
        on_each(&format!("didtail status, {what}"), || {
            let text = seen.text(&config);
            text.replace(&time::format(newest), "2026-03-01T08:00:00Z")
        })
    });
    assert_snapshot("status.txt", &drawn.concat());
}

//! Real files in a temporary folder: what is kept, what is refused, and how it is said.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::checkpoint::Checkpoint;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temp dir")
}

fn at(epoch: u64, position: &str) -> Checkpoint {
    Checkpoint {
        epoch,
        server: Some("a".to_owned()),
        file_begun: Some(1_600_000_000),
        position: position.parse().expect("valid"),
        gtid: "0-1-5,1-2-9".parse().expect("valid"),
        event_time: Some(1_700_000_000),
        revision: 0,
    }
}

fn row(position: &str, row_index: u32) -> QuarantinedRow {
    QuarantinedRow {
        position: position.parse().expect("valid"),
        row_index,
        event_time: 1_700_000_000,
        table: "vicidial_log".to_owned(),
        reason: "too short".to_owned(),
        event_code: 30,
        body: vec![1, 2, 3],
        table_map: vec![4],
    }
}

#[test]
fn a_checkpoint_survives_reopening() {
    let folder = folder();
    let path = folder.path().join("new/state.db");
    let mut state = StateFile::open_exclusive(&path).expect("opened");
    assert_eq!(state.checkpoint("main").expect("read"), None);
    state
        .save_checkpoint("main", &at(1, "b.000001:400"))
        .expect("saved");
    state
        .save_checkpoint("main", &at(1, "b.000002:5000000000"))
        .expect("saved");
    state
        .save_checkpoint("other", &at(7, "c.000009:4"))
        .expect("saved");
    drop(state);
    let state = StateFile::open(&path).expect("opened");
    assert_eq!(
        state.checkpoint("main").expect("read"),
        Some(at(1, "b.000002:5000000000"))
    );
    assert_eq!(state.sources().expect("read"), ["main", "other"]);
    let other = state.checkpoint("other").expect("read");
    assert_eq!(other.expect("known").epoch, 7);
}

#[test]
fn a_database_of_something_else_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("other.db");
    // Of any version, as others count them too.
    for version in [0, 3, 99] {
        let other = Connection::open(&path).expect("opened");
        let tables = format!("CREATE TABLE IF NOT EXISTS a (b); PRAGMA user_version = {version};");
        other.execute_batch(&tables).expect("a table");
        drop(other);
        let before = std::fs::read(&path).expect("read");
        for opened in [StateFile::open(&path), StateFile::open_exclusive(&path)] {
            let error = opened.expect_err("refused");
            let text = error.to_string();
            assert!(
                text.ends_with("other.db is a database, but not a state file of didtail"),
                "{text}"
            );
            let hint = error.hint().expect("a hint");
            assert!(hint.contains("[state] path to a file of its own"), "{hint}");
        }
        assert!(
            std::fs::read(&path).expect("read") == before,
            "it was changed"
        );
    }
}

#[test]
fn the_file_is_private() {
    let folder = folder();
    let path = folder.path().join("state.db");
    let mut state = StateFile::open_exclusive(&path).expect("opened");
    state
        .save_checkpoint("main", &at(1, "b.000001:400"))
        .expect("saved");
    for file in ["state.db", "state.db-wal", "state.db.lock"] {
        let metadata = std::fs::metadata(folder.path().join(file)).expect(file);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let folder = folder();
    let path = folder.path().join("state.db");
    assert_eq!(StateFile::holder(&path), None);
    let mut daemon = StateFile::open_exclusive(&path).expect("opened");
    daemon
        .save_checkpoint("main", &at(1, "b.000001:400"))
        .expect("saved");
    let error = StateFile::open_exclusive(&path).expect_err("held");
    let pid = std::process::id();
    assert!(
        matches!(error, StateError::Held { pid: Some(p), .. } if p == pid),
        "{error:?}"
    );
    assert_eq!(StateFile::holder(&path), Some(Some(pid)));
    let reader = StateFile::open(&path).expect("readable");
    assert_eq!(
        reader.checkpoint("main").expect("read"),
        Some(at(1, "b.000001:400"))
    );
    drop(daemon);
    assert_eq!(StateFile::holder(&path), None);
    StateFile::open_exclusive(&path).expect("free again");
}

#[test]
fn a_reset_remembers_where_it_was() {
    let folder = folder();
    let mut state = StateFile::open_exclusive(&folder.path().join("s.db")).expect("opened");
    state
        .save_checkpoint("main", &at(1, "b.000009:4"))
        .expect("saved");
    state
        .reset("main", &at(2, "b.000001:4"), "reset to earliest", None)
        .expect("reset");
    assert_eq!(
        state.checkpoint("main").expect("read"),
        Some(at(2, "b.000001:4"))
    );
    let history = state.history("main", 10).expect("read");
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].checkpoint, at(1, "b.000009:4"));
    assert_eq!(history[0].reason, "reset to earliest");
    let id = history[0].id;
    assert_eq!(
        state.history_entry("main", id).expect("read"),
        Some(history[0].clone())
    );
    assert_eq!(state.history_entry("other", id).expect("read"), None);
}

#[test]
fn the_history_is_bounded() {
    let folder = folder();
    let mut state = StateFile::open_exclusive(&folder.path().join("s.db")).expect("opened");
    state.connection.execute_batch("BEGIN").expect("begun");
    for number in 1..=1010 {
        let checkpoint = at(1, &format!("b.{number:06}:4"));
        state
            .remember("main", &checkpoint, "start")
            .expect("remembered");
    }
    state.connection.execute_batch("COMMIT").expect("committed");
    let history = state.history("main", 5000).expect("read");
    assert_eq!(history.len(), 1000);
    assert_eq!(history[0].checkpoint, at(1, "b.001010:4"));
}

#[test]
fn quarantine_keeps_a_row_once() {
    let folder = folder();
    let mut state = StateFile::open_exclusive(&folder.path().join("s.db")).expect("opened");
    state
        .quarantine("main", &row("b.000001:4", 0))
        .expect("kept");
    state
        .quarantine("main", &row("b.000001:4", 1))
        .expect("kept");
    state
        .quarantine("main", &row("b.000001:4", 0))
        .expect("kept");
    let has = |index| state.has_set_aside("main", &row("b.000001:4", index));
    assert!(has(1).expect("read") && !has(2).expect("read"));
    assert_eq!(state.quarantine_count("main").expect("read"), 2);
    assert_eq!(state.quarantine_count("other").expect("read"), 0);
    assert_eq!(
        state.quarantined("main", 10).expect("read"),
        [row("b.000001:4", 0), row("b.000001:4", 1)]
    );
    let aged = "UPDATE quarantine SET saved_at = saved_at - 3 * 86400 WHERE row_index = 0";
    state.connection.execute_batch(aged).expect("aged");
    assert_eq!(state.prune_quarantine(0).expect("pruned"), 0);
    assert_eq!(state.prune_quarantine(2).expect("pruned"), 1);
    assert_eq!(state.quarantine_count("main").expect("read"), 1);
}

/// A command deals with rows while the daemon has the file, and the daemon is told.
#[test]
fn rows_that_were_dealt_with_are_missing_no_more() {
    let folder = folder();
    let path = folder.path().join("s.db");
    let mut daemon = StateFile::open_exclusive(&path).expect("opened");
    for index in 0..3 {
        daemon
            .quarantine("main", &row("b.000001:4", index))
            .expect("kept");
    }
    let mut note = StatusNote::default();
    note.missing.quarantined = 3;
    daemon.set_status("main", &note).expect("set");
    let missing = |state: &StateFile| {
        let note = state.status("main").expect("read").expect("there");
        note.missing.quarantined
    };
    let mut command = StateFile::open_shared(&path).expect("opened beside the daemon");
    let kept = command.set_aside(0, 2).expect("read");
    let ids: Vec<i64> = kept.iter().map(|kept| kept.id).collect();
    assert_eq!(kept[1].row, row("b.000001:4", 1));
    let behind = command.set_aside(ids[1], 2).expect("read");
    assert_eq!(behind.len(), 1);
    assert_eq!(command.forget_set_aside(&ids).expect("forgotten"), 2);
    assert_eq!(
        command.forget_set_aside(&ids).expect("none"),
        0,
        "once only"
    );
    assert_eq!(command.set_aside_row(ids[0]).expect("read"), None);
    assert_eq!(missing(&command), 1, "also before the daemon knows");
    assert_eq!(daemon.take_mended("main").expect("taken"), 2);
    assert_eq!(daemon.take_mended("main").expect("none"), 0, "once only");
    assert_eq!(missing(&daemon), 1, "also after it");
    assert_eq!(daemon.take_mended("other").expect("none"), 0);
}

#[test]
fn a_note_is_kept() {
    let folder = folder();
    let mut state = StateFile::open_exclusive(&folder.path().join("s.db")).expect("opened");
    let note = StatusNote {
        health: Health::Incomplete,
        last_error: Some("gone".to_owned()),
        ..StatusNote::default()
    };
    state.set_status("main", &note).expect("set");
    let read = state.status("main").expect("read").expect("there");
    assert_eq!(
        StatusNote {
            saved_at: 0,
            ..read
        },
        note
    );
    assert_eq!(state.status("other").expect("read"), None);
}

#[test]
fn reading_creates_nothing() {
    let folder = folder();
    let path = folder.path().join("state.db");
    let error = StateFile::open(&path).expect_err("missing");
    assert!(matches!(error, StateError::Missing { .. }), "{error}");
    std::fs::write(&path, "").expect("written");
    let error = StateFile::open(&path).expect_err("created, not filled");
    assert!(matches!(error, StateError::Missing { .. }), "{error}");
    let files = std::fs::read_dir(folder.path()).expect("read").count();
    assert_eq!(files, 1);
}

#[test]
fn garbage_is_called_damaged_with_the_way_out() {
    let folder = folder();
    let path = folder.path().join("state.db");
    std::fs::write(
        &path,
        "this is no database, and long enough to be looked at".repeat(40),
    )
    .expect("written");
    let errors = [
        StateFile::open(&path).expect_err("garbage"),
        StateFile::open_exclusive(&path).expect_err("garbage"),
    ];
    for error in errors {
        assert!(matches!(error, StateError::Corrupt { .. }), "{error:?}");
        let hint = error.hint().expect("a hint");
        assert!(
            hint.contains("safe in the store") && hint.contains("mv "),
            "{hint}"
        );
    }
}

#[test]
fn a_truncated_or_overwritten_file_is_called_damaged() {
    let folder = folder();
    let path = folder.path().join("state.db");
    for harm in ["cut", "overwrite", "text"] {
        let mut state = StateFile::open_exclusive(&path).expect("opened");
        for index in 0..200 {
            state
                .quarantine("main", &row("b.000001:4", index))
                .expect("kept");
        }
        state
            .save_checkpoint("main", &at(1, "b.000001:4"))
            .expect("saved");
        if harm == "text" {
            let edit = "UPDATE checkpoints SET position = 'nowhere'";
            state.connection.execute_batch(edit).expect("edited");
            let error = state.checkpoint("main").expect_err("damaged");
            assert!(matches!(error, StateError::Corrupt { .. }), "{error:?}");
            continue;
        }
        drop(state);
        let mut bytes = std::fs::read(&path).expect("read");
        match harm {
            "cut" => bytes.truncate(bytes.len() / 2),
            _ => {
                let middle = bytes.len() / 2;
                bytes[8192..middle].fill(0xAA);
            }
        }
        std::fs::write(&path, bytes).expect("written");
        let error = StateFile::open_exclusive(&path).expect_err(harm);
        assert!(
            matches!(error, StateError::Corrupt { .. }),
            "{harm}: {error:?}"
        );
        std::fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn a_newer_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("state.db");
    let state = StateFile::open_exclusive(&path).expect("opened");
    state
        .connection
        .pragma_update(None, "user_version", 99)
        .expect("set");
    drop(state);
    for error in [
        StateFile::open(&path).expect_err("newer"),
        StateFile::open_exclusive(&path).expect_err("newer"),
    ] {
        assert!(
            matches!(error, StateError::NewerVersion { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn an_older_file_is_upgraded_by_a_daemon_alone() {
    let folder = folder();
    let path = folder.path().join("state.db");
    let mut old = Connection::open(&path).expect("a file");
    MIGRATIONS.to_version(&mut old, 5).expect("its version");
    old.execute_batch(
        "INSERT INTO sources VALUES ('main', 'a');
         INSERT INTO checkpoints (source, epoch, position, file_begun)
         VALUES ('main', 3, 'b.000001:400', 1600000000);
         INSERT INTO checkpoint_history (source, epoch, position) VALUES ('main', 2, 'b.000001:4')",
    )
    .expect("rows");
    drop(old);
    let error = StateFile::open(&path).expect_err("older");
    assert!(
        matches!(error, StateError::OlderVersion { .. }),
        "{error:?}"
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("start didtail"))
    );
    let state = StateFile::open_exclusive(&path).expect("upgraded");
    let known = state.checkpoint("main").expect("read").expect("known");
    assert_eq!((known.server.as_deref(), known.epoch), (Some("a"), 3));
    assert_eq!(known.file_begun, Some(1_600_000_000));
    assert_eq!(
        state.history("main", 5).expect("read")[0].checkpoint.server,
        None
    );
}

/// Root passes every permission check, so the folder is one that nobody can write: a file.
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let error = StateFile::open_exclusive(&file.join("state.db")).expect_err("no folder");
    assert!(matches!(error, StateError::NotWritable { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("chown")));
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("made");
    let error = StateFile::open_exclusive(&inner).expect_err("a folder");
    assert!(matches!(error, StateError::NotWritable { .. }), "{error:?}");
}

#[test]
fn the_migrations_are_valid() {
    MIGRATIONS.validate().expect("valid");
}

#[test]
fn what_was_skipped_is_missing_until_it_was_read() {
    let folder = folder();
    let path = folder.path().join("s.db");
    let mut state = StateFile::open_exclusive(&path).expect("opened");
    let stretch = |since, until| Skipped {
        since,
        until,
        is_lost: false,
    };
    let of = |state: &StateFile| state.skipped("main").expect("read");
    let to = |time| Checkpoint {
        event_time: time,
        ..at(2, "b.000009:4")
    };
    assert_eq!(Skipped::between(5, 5), None);
    state
        .reset("main", &to(Some(200)), "forward", Some(stretch(100, 200)))
        .expect("reset");
    state.skip("main", stretch(300, 400)).expect("noted");
    state.skip("main", stretch(300, 350)).expect("known");
    assert_eq!(of(&state), [stretch(100, 200), stretch(300, 400)]);
    state
        .set_status("main", &StatusNote::default())
        .expect("set");
    let note = state.status("main").expect("read").expect("there");
    assert_eq!(
        note.missing.phrases(),
        ["2 skipped stretches of the binlog"]
    );

    // Commands that read calls beside the daemon.
    let mut command = StateFile::open_shared(&path).expect("opened beside the daemon");
    for (read, left) in [
        ((0, 100), vec![stretch(100, 200), stretch(300, 400)]),
        ((120, 150), vec![stretch(100, 200), stretch(300, 400)]),
        ((0, 120), vec![stretch(120, 200), stretch(300, 400)]),
        ((180, 350), vec![stretch(120, 180), stretch(350, 400)]),
        ((100, 180), vec![stretch(350, 400)]),
    ] {
        let read = stretch(read.0, read.1);
        command.close_skipped("main", read).expect("closed");
        assert_eq!(of(&state), left, "{read:?}");
    }
    command
        .close_skipped("other", stretch(0, 900))
        .expect("none");

    // An operator who goes back reads what is behind.
    state
        .reset("main", &to(Some(380)), "back", None)
        .expect("reset");
    assert_eq!(of(&state), [stretch(350, 380)]);
    state
        .reset("main", &to(Some(350)), "back", None)
        .expect("reset");
    assert_eq!(of(&state), []);
}

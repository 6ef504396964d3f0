//! Statements in the log: DDL, TRUNCATE, and changes without row images.

use didtail::binlog::GtidPosition;

use crate::fixture::{self, Read, TABLES};

/// What the statements of a file came to, with the offsets behind them.
fn told(name: &str) -> Vec<(u64, Read)> {
    let (events, _) = fixture::events(name);
    let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
    let read = events.iter().map(|event| {
        let end = u64::from(event.header.end_low);
        (end, fixture::read(&mut reader, event))
    });
    read.filter(|(_, read)| matches!(read, Read::Statement | Read::Definition(_)))
        .collect()
}

/// Each printed statement that writes a watched table, by its verb.
fn printed(name: &str, verbs: &[&str]) -> Vec<u64> {
    let golden = fixture::golden(name);
    let changes = golden.iter().filter(|event| {
        let writes = |line: &String| verbs.iter().any(|verb| line.starts_with(verb));
        event.what.starts_with("Query") && event.lines.iter().any(writes)
    });
    changes.map(|event| event.end).collect()
}

#[test]
fn statements_that_change_rows_are_reported() {
    for (name, at_least) in [("mixed-statement.000001", 5), ("transactions.000001", 1)] {
        let wanted = printed(name, &["INSERT ", "UPDATE ", "DELETE ", "REPLACE "]);
        assert!(wanted.len() >= at_least, "{name}: {wanted:?}");
        let told = told(name);
        let statements = told.iter().filter(|(_, r)| matches!(r, Read::Statement));
        let ends: Vec<u64> = statements.map(|(end, _)| *end).collect();
        assert_eq!(ends, wanted, "{name}");
    }
}

#[test]
fn statements_that_define_tables_are_reported_where_they_end() {
    for name in ["ddl-midstream.000001", "ddl-midstream-metadata-full.000001"] {
        let verbs = [
            "CREATE TABLE",
            "ALTER TABLE",
            "RENAME TABLE",
            "TRUNCATE TABLE",
        ];
        let wanted = printed(name, &verbs);
        let told = told(name);
        let ends: Vec<u64> = told.iter().map(|(end, _)| *end).collect();
        assert_eq!(ends, wanted, "{name}");
        // The rows behind each stand at a position of their own.
        assert!(
            told.iter()
                .all(|(_, read)| matches!(read, Read::Definition(_)))
        );
    }
}

#[test]
fn the_truncate_of_a_memory_table_after_a_restart_is_a_group_of_its_own() {
    let told = told("memory-after-restart.000002");
    let [(end, Read::Definition(rank))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*end, TABLES[*rank]), (546, "live_agents"));
}

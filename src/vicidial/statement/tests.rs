//! VICIdial's own statements, and what each says of its rows.

use super::*;

const RAN: i64 = 1_731_448_100;

const NAMED: [Table; 8] = Table::ALL;

fn of(text: &str) -> Vec<Written> {
    let columns = |table: Table| match table {
        Table::Log => ["uniqueid", "lead_id", "status"]
            .map(str::to_owned)
            .to_vec(),
        Table::LogExtended
        | Table::DialLog
        | Table::DialCidLog
        | Table::CarrierLog
        | Table::Statuses
        | Table::CampaignStatuses
        | Table::ShakenLog => Vec::new(),
    };
    let named: Vec<Table> = NAMED
        .into_iter()
        .filter(|table| text.contains(table.name()))
        .collect();
    written(text.as_bytes(), &named, columns, RAN)
}

fn keyed(text: &str) -> (Table, KeyedRows) {
    match of(text).as_slice() {
        [
            Written {
                table,
                rows: WrittenRows::Keyed(rows),
                ..
            },
        ] => (*table, rows.as_ref().clone()),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn the_best_key_of_each_shape_is_taken() {
    for (text, table, column, values) in [
        (
            "INSERT INTO vicidial_log (uniqueid,lead_id,status) values('1731448000.7','12','NA')",
            Table::Log,
            "uniqueid",
            vec!["1731448000.7"],
        ),
        (
            "INSERT INTO vicidial_log SET uniqueid=\"1731448000.7\",lead_id='12',status='NA'",
            Table::Log,
            "uniqueid",
            vec!["1731448000.7"],
        ),
        (
            "insert ignore into asterisk.vicidial_log values('1.1','2','NA'),('1.2','3','AB')",
            Table::Log,
            "uniqueid",
            vec!["1.1", "1.2"],
        ),
        (
            "UPDATE vicidial_log FORCE INDEX(lead_id) set term_reason='CALLER' where lead_id = 12 and uniqueid LIKE \"1731448000%\"",
            Table::Log,
            "lead_id",
            vec!["12"],
        ),
        (
            "UPDATE vicidial_log set status='SALE' where uniqueid='1731448000.7' limit 1",
            Table::Log,
            "uniqueid",
            vec!["1731448000.7"],
        ),
        (
            "SET STATEMENT max_statement_time=9 FOR UPDATE vicidial_log SET status='A' WHERE lead_id=7",
            Table::Log,
            "lead_id",
            vec!["7"],
        ),
        (
            "INSERT INTO vicidial_dial_log SET caller_code='V1112150007000012345',lead_id='12345',outbound_cid='\\\"V1\\\" <3125551212>'",
            Table::DialLog,
            "caller_code",
            vec!["V1112150007000012345"],
        ),
        (
            "INSERT IGNORE INTO vicidial_carrier_log set uniqueid='1.7',hangup_cause='16'",
            Table::CarrierLog,
            "uniqueid",
            vec!["1.7"],
        ),
        (
            "UPDATE vicidial_carrier_log SET sip_hangup_cause='603' where lead_id='12' and caller_code='V1'",
            Table::CarrierLog,
            "lead_id",
            vec!["12"],
        ),
    ] {
        let (found, rows) = keyed(text);
        assert_eq!((found, rows.column), (table, column), "{text}");
        assert_eq!(rows.values, values, "{text}");
    }
}

#[test]
fn what_narrows_rows_down_is_kept_or_confessed() {
    let (_, rows) = keyed(
        "UPDATE vicidial_log set status='NI' where lead_id='12' and user='6001' and call_date > \"2024-11-12 12:48:00\" order by uniqueid desc limit 1",
    );
    assert_eq!(rows.among.pick, Pick::GreatestUniqueid);
    assert_eq!(
        rows.among.was,
        [("user".to_owned(), Some("6001".to_owned()))]
    );
    assert!(rows.among.since.is_some() && !rows.among.and_more);
    let (_, rows) = keyed(
        "UPDATE vicidial_log set status='DISPO' where lead_id='12' and uniqueid='1.7' and status='INCALL' and 1=1",
    );
    assert_eq!(rows.among.statuses, ["INCALL"]);
    assert_eq!(rows.among.lead_id, Some(12));
    assert!(!rows.among.and_more);
    for more in [
        "length_in_sec > 90",
        "comments != 'REMOTE'",
        "(status='A' or user='6001')",
        "(status='A' or length_in_sec > 9)",
        "rand() < 0.5",
        "uniqueid LIKE '17314480__.7'",
        "uniqueid = 1731448000.10",
    ] {
        let (_, rows) = keyed(&format!(
            "UPDATE vicidial_log SET status='A' where lead_id='12' and {more}"
        ));
        assert!(rows.among.and_more, "{more}");
    }
}

/// What a WHERE says in other ways than `column = 'text'`.
#[test]
fn keys_are_taken_however_they_are_written() {
    let update = |condition: &str| {
        let text = format!("UPDATE vicidial_log SET status='A' where {condition}");
        keyed(&text).1
    };
    for (condition, column, values, and_more) in [
        (
            "uniqueid='1.1' OR uniqueid='1.2'",
            "uniqueid",
            vec!["1.1", "1.2"],
            false,
        ),
        (
            "(uniqueid='1.1' or (uniqueid='1.2')) and user='6'",
            "uniqueid",
            vec!["1.1", "1.2"],
            false,
        ),
        (
            "(uniqueid='1.1' and lead_id=7) or (uniqueid='1.2' and lead_id=8)",
            "uniqueid",
            vec!["1.1", "1.2"],
            true,
        ),
        (
            "(uniqueid,lead_id) IN (('1.1',7),('1.2',8))",
            "uniqueid",
            vec!["1.1", "1.2"],
            true,
        ),
        (
            "(uniqueid,lead_id) = ('1.1','7')",
            "uniqueid",
            vec!["1.1"],
            false,
        ),
        (
            "uniqueid=NAME_CONST('u',_latin1'1.1' COLLATE 'latin1_swedish_ci')",
            "uniqueid",
            vec!["1.1"],
            false,
        ),
        (
            "uniqueid= NAME_CONST('u',_utf8mb4'1.1' COLLATE 'utf8mb4_0900_ai_ci')",
            "uniqueid",
            vec!["1.1"],
            false,
        ),
        ("lead_id=NAME_CONST('l',7)", "lead_id", vec!["7"], false),
        ("uniqueid=x'312e31'", "uniqueid", vec!["1.1"], false),
        ("uniqueid=0x312E31", "uniqueid", vec!["1.1"], false),
        ("uniqueid=_latin1'1.1'", "uniqueid", vec!["1.1"], false),
        ("uniqueid=_latin1 x'312e31'", "uniqueid", vec!["1.1"], false),
    ] {
        let rows = update(condition);
        assert_eq!(
            (rows.column, rows.values),
            (column, values.into_iter().map(str::to_owned).collect()),
            "{condition}"
        );
        assert_eq!(rows.among.and_more, and_more, "{condition}");
    }
    for unsure in [
        "uniqueid='1.1' or user='6'",
        "uniqueid=NAME_CONST('u',1.1)",
        "uniqueid IN (1.1, 1.2)",
        "lead_id=x'37'",
        "uniqueid=@u",
        "not (uniqueid='1.1')",
    ] {
        let written = of(&format!(
            "UPDATE vicidial_log SET status='A' where {unsure}"
        ));
        let is_window = |one: &Written| matches!(one.rows, WrittenRows::Window { .. });
        assert!(
            written.len() == 1 && written.iter().all(is_window),
            "{unsure}: {written:?}"
        );
    }
}

#[test]
fn a_table_among_others_is_found_by_its_own_keys() {
    for text in [
        "UPDATE vicidial_log l, vicidial_list v SET l.status=v.status WHERE l.lead_id=v.lead_id AND l.uniqueid='1.7'",
        "UPDATE vicidial_log JOIN vicidial_list v ON v.lead_id=vicidial_log.lead_id SET vicidial_log.status='A' WHERE vicidial_log.uniqueid='1.7' and v.status='B'",
        "DELETE l FROM vicidial_log l JOIN vicidial_list v ON v.lead_id=l.lead_id WHERE l.uniqueid='1731448000.7'",
        "DELETE FROM l USING vicidial_log l JOIN vicidial_list v ON v.lead_id=l.lead_id WHERE l.uniqueid='1731448000.7'",
    ] {
        let (table, rows) = keyed(text);
        assert_eq!((table, rows.column), (Table::Log, "uniqueid"), "{text}");
        assert!(rows.among.and_more, "{text}");
    }
    // Another table's key, or anybody's, says nothing of the calls.
    for text in [
        "UPDATE vicidial_log l, vicidial_carrier_log c SET l.status='A' WHERE c.uniqueid='1.7'",
        "UPDATE vicidial_log l, vicidial_list v SET l.status='A' WHERE uniqueid='1.7'",
    ] {
        let written = of(text);
        let calls = written.iter().find(|one| one.table == Table::Log);
        assert!(
            matches!(
                calls,
                Some(Written {
                    rows: WrittenRows::Window { .. },
                    ..
                })
            ),
            "{text}: {written:?}"
        );
    }
    assert_eq!(
        of(
            "DELETE v FROM vicidial_log l JOIN vicidial_list v ON v.lead_id=l.lead_id WHERE l.uniqueid='1731448000.7'"
        ),
        []
    );
}

#[test]
fn names_that_the_statement_puts_together_are_told() {
    let (_, rows) =
        keyed("UPDATE vicidial_log SET uniqueid=concat(uniqueid,'9') WHERE uniqueid='1.7'");
    let from = Some("1.7".to_owned());
    assert_eq!(
        rows.effect,
        Effect::Renamed {
            to: "1.79".to_owned(),
            from
        }
    );
    assert_eq!(rows.new_values, ["1.79"]);
    let (_, rows) = keyed("UPDATE vicidial_log SET lead_id='9' WHERE lead_id='7'");
    assert_eq!(
        (rows.values, rows.new_values),
        (vec!["7".to_owned()], vec!["9".to_owned()])
    );
}

#[test]
fn renamed_and_deleted_calls_are_told() {
    let (_, rows) = keyed(
        "UPDATE vicidial_log set end_epoch='1', uniqueid='1731448000.9', user='6' where lead_id='12' and uniqueid LIKE \"1731448000%\"",
    );
    let to = "1731448000.9".to_owned();
    assert_eq!(rows.effect, Effect::Renamed { to, from: None });
    assert_eq!(rows.among.prefix.as_deref(), Some("1731448000"));
    let (_, rows) = keyed("DELETE from vicidial_log where uniqueid='1731448000.7'");
    assert_eq!(rows.effect, Effect::Deleted);
    let (_, rows) = keyed(
        "DELETE from vicidial_log where lead_id='12' and uniqueid LIKE \"1731448000%\" order by uniqueid desc limit 1",
    );
    assert_eq!(rows.effect, Effect::Deleted);
    // A day later it is an archive's.
    assert_eq!(
        of("DELETE from vicidial_log where uniqueid='1731340000.7'"),
        []
    );
    for (text, is_bounded) in [
        (
            "DELETE FROM vicidial_log WHERE call_date < '2024-11-01 00:00:00'",
            true,
        ),
        ("DELETE FROM vicidial_log", false),
    ] {
        let written = of(text);
        let [
            Written {
                rows: WrittenRows::Archived { before },
                ..
            },
        ] = written.as_slice()
        else {
            panic!("{text}: {written:?}");
        };
        assert_eq!(before.is_some(), is_bounded, "{text}");
    }
}

#[test]
fn caller_codes_are_taken_from_the_statement() {
    let plain = of(
        "INSERT INTO vicidial_log_extended set uniqueid='1.7',call_date='2024-11-12 21:46:40',lead_id='12',caller_code='V1112150007000012345'",
    );
    let [
        Written {
            rows: WrittenRows::Link(link),
            ..
        },
    ] = plain.as_slice()
    else {
        panic!("{plain:?}");
    };
    assert_eq!((link.uniqueid.as_str(), link.lead_id), ("1.7", Some(12)));
    let (_, rows) = keyed(
        "INSERT INTO vicidial_log_extended set uniqueid='1.7',caller_code='V1112150007000012345' ON DUPLICATE KEY UPDATE caller_code='V1112150007000012345'",
    );
    assert_eq!(rows.links.len(), 1);
    assert!(rows.inserted.is_empty(), "it may have been there");
}

#[test]
fn what_nobody_reads_and_other_tables_are_passed_over() {
    for text in [
        "UPDATE vicidial_log set processed='Y' where processed='N'",
        "INSERT IGNORE INTO vicidial_log_archive SELECT * from vicidial_log",
        "UPDATE vicidial_list set status='A' where lead_id=(select lead_id from vicidial_log where uniqueid='1.7')",
        "DELETE FROM vicidial_log_archive where uniqueid in (select uniqueid from vicidial_log)",
    ] {
        assert_eq!(of(text), [], "{text}");
    }
}

#[test]
fn rows_without_a_key_are_those_of_a_time() {
    for text in [
        "UPDATE vicidial_log set status='A' where status='AA'",
        "UPDATE vicidial_log set status='A' where call_date > '2024-11-01 00:00:00'",
        "UPDATE vicidial_log l, vicidial_log_extended e set l.status='A' where l.uniqueid=e.uniqueid",
        "INSERT INTO vicidial_log SELECT * FROM somewhere",
        "INSERT INTO vicidial_log SET uniqueid=@name",
        "LOAD DATA INFILE 'x' INTO TABLE vicidial_log",
        "UPDATE vicidial_log SET ((((",
        "INSERT INTO vicidial_tiltx_shaken_log set caller_code='V1',db_time='2024-11-12 10:00:00'",
    ] {
        let written = of(text);
        let is_window = |written: &Written| matches!(written.rows, WrittenRows::Window { .. });
        assert!(
            !written.is_empty() && written.iter().all(is_window),
            "{text}: {written:?}"
        );
    }
    let bounded = of(
        "UPDATE vicidial_log set status='A' where call_date between '2024-11-01 10:00:00' and '2024-11-01 11:00:00'",
    );
    let [
        Written {
            rows: WrittenRows::Window { from, until },
            shape,
            ..
        },
    ] = bounded.as_slice()
    else {
        panic!("{bounded:?}");
    };
    assert!(from.is_some() && until.is_some());
    assert_eq!(shape, "UPDATE vicidial_log by call_date");
}

#[test]
fn status_tables_are_read_whole() {
    for text in [
        "INSERT INTO vicidial_statuses (status) values('X')",
        "UPDATE vicidial_campaign_statuses set sale='Y' where status='X'",
        "DELETE from vicidial_statuses where status='X'",
    ] {
        let written = of(text);
        assert!(
            matches!(
                written.as_slice(),
                [Written {
                    rows: WrittenRows::All,
                    ..
                }]
            ),
            "{text}: {written:?}"
        );
    }
}

/// As long as a line, a statement must not take a page of stack.
#[test]
fn chains_and_nests_out_of_proportion_are_not_taken_apart() {
    let chain = format!(
        "UPDATE vicidial_log SET status='A' WHERE lead_id=1{}",
        " and lead_id=1".repeat(5_000)
    );
    let nest = format!(
        "UPDATE vicidial_log SET status={}1{} WHERE lead_id=1",
        "(".repeat(5_000),
        ")".repeat(5_000)
    );
    for text in [chain, nest] {
        let written = of(&text);
        assert!(matches!(
            written.as_slice(),
            [Written {
                rows: WrittenRows::Window { .. },
                ..
            }]
        ));
    }
}

#[test]
fn literals_become_what_the_columns_store() {
    let column = |name: &str, column_type: &str| Column {
        name: name.to_owned(),
        column_type: column_type.to_owned(),
        charset: None,
    };
    let columns = [
        column("status", "varchar(6)"),
        column("term_reason", "enum('CALLER','AGENT','NONE')"),
        column("length_in_sec", "int(10)"),
    ];
    let said = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let said: SaidRow = vec![
        said("status", "CALLBACK"),
        said("term_reason", "CALLMENUXFER"),
        said("length_in_sec", "-3600"),
        ("user".to_owned(), None),
    ];
    let patch = patch(&said, &columns);
    assert_eq!(patch.status.as_deref(), Some("CALLBA"));
    assert_eq!(patch.term_reason.as_deref(), Some(""));
    assert_eq!(patch.length_in_sec, Some(-3600));
    assert_eq!(patch.user, None);
}

//! Statements: which rows they change is found out, or said not to be known, for
//! any text at all.

use didtail::vicidial::{Table, written};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::{alone, fuzz};

/// For statements of a few kilobytes.
const MEMORY_MAX: usize = 32 << 20;

/// Statements as VICIdial's programs write them.
const STATEMENTS: [&str; 14] = [
    "UPDATE vicidial_log FORCE INDEX(lead_id) set status='AB' where lead_id = '1234' and uniqueid LIKE \"1731448000%\"",
    "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,phone_code,phone_number,user,processed,length_in_sec,end_epoch,alt_dial,list_id,called_count) values('1731448000.12','1234','SALESEST','2024-11-12 21:46:40','1731448000','NA','1','2175551234','VDAD','N','0','1731448000','MAIN','101','1')",
    "INSERT INTO vicidial_log SET uniqueid='1731448000.12',lead_id='1234',list_id='101',status='ADC',campaign_id='SALESEST',call_date='2024-11-12 21:46:40'",
    "UPDATE vicidial_log set term_reason='AGENT',end_epoch='1731448080', length_in_sec='80', uniqueid='1731448000.99', alt_dial='MAIN', user='6001' where lead_id='1234' and uniqueid LIKE \"1731448000%\"",
    "UPDATE vicidial_log set status='SALE' where lead_id='1234' and user='6001' and call_date > \"2024-11-12 17:46:40\" order by uniqueid desc limit 1",
    "INSERT IGNORE INTO vicidial_log_extended SET uniqueid='1731448000.12',server_ip='10.10.10.15',call_date='2024-11-12 21:46:40',lead_id='1234',caller_code='V1122146400000001234',custom_call_id='' ON DUPLICATE KEY UPDATE server_ip='10.10.10.15',call_date='2024-11-12 21:46:40',lead_id='1234',caller_code='V1122146400000001234'",
    "INSERT INTO vicidial_dial_log SET caller_code='V1122146400000001234',lead_id='1234',server_ip='10.10.10.15',call_date='2024-11-12 21:46:40',extension='8368',channel='Local/912175551234@default',timeout='60000',outbound_cid='\\\"V1122146400000001234\\\" <3125550100>',context='default'",
    "DELETE from vicidial_log where lead_id='1234' and uniqueid='1731448000.13' limit 1",
    "UPDATE vicidial_log set processed='Y' where uniqueid IN('1731448000.12','1731448000.13','') and processed='N'",
    "INSERT IGNORE INTO vicidial_log_archive SELECT * from vicidial_log",
    "DELETE FROM vicidial_log WHERE call_date < '2024-10-12 00:00:00'",
    "update vicidial_log a inner join vicidial_carrier_log b on a.lead_id=b.lead_id set a.status='ADC' where b.dialstatus='CHANUNAVAIL'",
    "update  vicidial_log\n   set status = 'NI'\n where campaign_id='SALESEST' and call_date >= '2024-11-12 00:00:00' and call_date<='2024-11-12 23:59:59'",
    "UPDATE vicidial_carrier_log SET sip_hangup_cause='603',sip_hangup_reason='Network Blocked' where lead_id='1234' and caller_code='V1122146400000001234'",
];

/// Pieces that make a statement strange.
const PIECES: [&str; 28] = [
    "'",
    "\"",
    "`",
    "\\",
    "(",
    ")",
    "((((((((",
    "))))",
    "/*",
    "*/",
    "-- ",
    "#",
    ";",
    ",",
    "=",
    " OR ",
    " NOT ",
    "- - - -",
    "NULL",
    "0x",
    "%",
    "SELECT ",
    "UNION ",
    "CASE WHEN ",
    "\0",
    "\u{e9}",
    "vicidial_dial_log",
    "1e999",
];

fn tables() -> [Table; 3] {
    [Table::Log, Table::LogExtended, Table::DialLog]
}

fn columns(_: Table) -> Vec<String> {
    ["uniqueid", "lead_id", "list_id"]
        .map(str::to_owned)
        .to_vec()
}

/// Every change that is found is of one of the tables, and finds an end.
fn look(text: &[u8]) {
    for change in written(text, &tables(), columns, 1_731_448_000) {
        assert!(!change.shape.is_empty());
    }
}

#[test]
fn any_change_of_a_statement_is_borne() {
    let pieces = vec((any::<Index>(), select(PIECES.to_vec())), 0..12);
    let bytes = vec((any::<Index>(), any::<u8>()), 0..6);
    let cut = (any::<Index>(), any::<Index>(), any::<bool>());
    let strategy = (select(STATEMENTS.to_vec()), pieces, bytes, cut);
    fuzz(
        &strategy,
        MEMORY_MAX,
        |(text, pieces, bytes, (from, to, is_cut))| {
            let mut text = text.as_bytes().to_vec();
            for (place, piece) in pieces {
                let at = place.index(text.len());
                text.splice(at..at, piece.bytes());
            }
            for (place, byte) in bytes {
                *place.get_mut(&mut text) = byte;
            }
            if is_cut {
                let (from, to) = (from.index(text.len()), to.index(text.len()));
                text.drain(from.min(to)..from.max(to));
            }
            look(&text);
        },
    );
}

#[test]
fn any_bytes_are_borne() {
    fuzz(&vec(any::<u8>(), 0..2000), MEMORY_MAX, |bytes| look(&bytes));
}

#[test]
fn any_sequence_of_words_is_borne() {
    let words: Vec<&str> = STATEMENTS
        .iter()
        .flat_map(|text| text.split_inclusive([' ', '(', ',', '=']))
        .chain(PIECES)
        .collect();
    fuzz(&vec(select(words), 0..120), MEMORY_MAX, |words| {
        look(words.concat().as_bytes());
    });
}

/// What nests, or goes on, for as long as a packet may be.
#[test]
fn deep_and_long_statements_are_borne() {
    let deep = [
        "(",
        "NOT ",
        "-",
        "CASE WHEN ",
        "(SELECT ",
        "a=",
        "1+",
        "1 OR ",
        "'x',",
        "(1),",
        ",",
        "/*",
        "' ' ",
    ];
    for piece in deep {
        for count in [100, 10_000, 200_000 / piece.len()] {
            let middle = piece.repeat(count);
            for head in [
                "UPDATE vicidial_log SET status=",
                "INSERT INTO vicidial_log VALUES ",
                "DELETE FROM vicidial_log WHERE uniqueid IN (",
                "UPDATE vicidial_log SET status='A' WHERE ",
            ] {
                let text = format!("{head}{middle}");
                // Some hundred bytes for each token, twice.
                alone((64 << 20) + text.len() * 1024, || look(text.as_bytes()));
            }
        }
    }
}

//! What servers really say, and what it is taken for.

use super::*;

fn kind(error: &SourceError) -> &'static str {
    match error {
        SourceError::Unreachable { .. } => "unreachable",
        SourceError::Silent { .. } => "silent",
        SourceError::AccessDenied { .. } => "access denied",
        SourceError::NotGranted { .. } => "not granted",
        SourceError::Tls { .. } => "tls",
        SourceError::Plugin { .. } => "plugin",
        SourceError::Unfit(_) => "unfit",
        SourceError::Purged { .. } => "purged",
        SourceError::ServerIdClash { .. } => "clash",
        SourceError::ServerIdOfSource { .. } => "own id",
        SourceError::ImpossiblePosition { .. } => "impossible",
        SourceError::OtherServer { .. } => "other server",
        SourceError::OtherHistory { .. } => "other history",
        SourceError::PacketTooLarge { .. } => "too large",
        SourceError::CorruptBinlog { .. } => "corrupt",
        SourceError::Damaged { .. } => "damaged",
        SourceError::Truncated { .. } => "truncated",
        SourceError::NotABinlog { .. } => "no binlog",
        SourceError::File { .. } => "file",
        SourceError::NotCommitted { .. } => "not committed",
        SourceError::Query { .. } => "query",
    }
}

fn dump(code: u16, message: &str) -> SourceError {
    let message = message.to_owned();
    SourceError::from_dump(
        WireError::Refused { code, message },
        "db:3306",
        "b.000001:4",
        7,
        "SHOW REPLICAS",
    )
}

#[test]
fn the_five_meanings_of_1236_are_told_apart() {
    for (message, expected) in [
        (
            "Could not find first log file name in binary log index file",
            "purged",
        ),
        (
            "Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required binlog files have been purged.",
            "purged",
        ),
        (
            "The slave is connecting using CHANGE MASTER TO MASTER_AUTO_POSITION = 1, but the master has purged binary logs containing GTIDs that the slave requires.",
            "purged",
        ),
        (
            "Cannot replicate because the master purged required binary logs. Replicate the missing transactions from elsewhere",
            "purged",
        ),
        (
            "A slave with the same server_uuid/server_id as this slave has connected to the master; the first event 'b.000001' at 4",
            "clash",
        ),
        (
            "A slave with the same server_id as this slave has connected to the master",
            "clash",
        ),
        (
            "Client requested master to start replication from impossible position; the first event 'b.000001' at 99",
            "impossible",
        ),
        (
            "Client requested master to start replication from position > file size",
            "impossible",
        ),
        (
            "bogus data in log event; the first event 'b.000001' at 5",
            "impossible",
        ),
        (
            "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on master; the first event",
            "too large",
        ),
        (
            "event read from binlog did not pass checksum algorithm check specified on --binlog-checksum option; the first event",
            "corrupt",
        ),
        (
            "binlog truncated in the middle of event; consider out of disk space on master; the first event",
            "corrupt",
        ),
    ] {
        let error = dump(1236, message);
        assert_eq!(kind(&error), expected, "{message}");
        assert!(error.hint().is_some() && !error.is_transient(), "{message}");
    }
}

#[test]
fn mariadb_has_a_code_of_its_own_for_a_clash() {
    let error = dump(4052, "A slave with the same server_id is already connected");
    assert_eq!(kind(&error), "clash");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("with SHOW REPLICAS; on the source"), "{hint}");
}

#[test]
fn network_errors_of_the_server_are_worth_another_try() {
    for code in [1040, 1053, 1158, 1159, 1160, 1161, 1927, 4031] {
        assert!(dump(code, "x").is_transient(), "{code}");
    }
    let io = WireError::Io(std::io::ErrorKind::ConnectionReset.into());
    assert!(SourceError::from_wire(io, "db:3306", "x").is_transient());
}

#[test]
fn a_wrong_password_is_not_a_missing_grant() {
    let login = WireError::Refused {
        code: 1045,
        message: "Access denied for user".to_owned(),
    };
    let login = SourceError::from_wire(login, "db:3306", "a session");
    assert_eq!(kind(&login), "access denied");
    // MariaDB and MySQL answer a dump without the privilege like this.
    assert_eq!(kind(&dump(1045, "Access denied for user")), "not granted");
    let text = "Access denied; you need (at least one of) the REPLICATION SLAVE privilege(s) for this operation";
    assert_eq!(kind(&dump(1227, text)), "not granted");
}

//! Everything that can go wrong with a source, told apart by what to do about it.
//!
//! The server's error 1236 alone is five different things, and a replica id
//! used twice looks like a purged log at first sight. What the server says is
//! therefore sorted here, once, and every kind carries the command that mends it.

use super::frame::FrameError;
use super::preflight::Finding;
use super::wire::{UNKNOWN_HOST, WireError};

/// A failure of the VICIdial database or of the way to it.
///
/// `Display` says what happened; [`SourceError::hint`] says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Nobody answers at the address, or the connection broke: worth another try.
    #[error("the connection to {address} failed: {detail}")]
    Unreachable {
        /// `host:port` or socket path.
        address: String,
        /// What the network or the server said.
        detail: String,
    },
    /// The source sent nothing, not even a heartbeat, for longer than the deadline.
    #[error("the source sent nothing for {seconds} s, not even a heartbeat")]
    Silent {
        /// The deadline that passed, in seconds.
        seconds: u64,
    },
    /// The user, its password or the host it may come from is wrong.
    #[error("{address} refused the login: {detail}")]
    AccessDenied {
        /// `host:port` or socket path.
        address: String,
        /// What the server said.
        detail: String,
    },
    /// The login works, and the user may not do this.
    #[error("the user may not {action}: {detail}")]
    NotGranted {
        /// What was tried.
        action: String,
        /// What the server said.
        detail: String,
    },
    /// TLS could not be agreed on, or the certificate does not pass.
    #[error("TLS with {address} failed: {detail}")]
    Tls {
        /// `host:port`.
        address: String,
        /// What is wrong, and why.
        detail: String,
        /// How to mend it.
        fix: String,
    },
    /// The account is identified in a way that didtail does not speak.
    #[error("{address} refused the login: {detail}")]
    Plugin {
        /// `host:port` or socket path.
        address: String,
        /// Which way.
        detail: String,
    },
    /// The source is not set up to be followed: every reason at once.
    #[error("the source cannot be followed:{}", lines(.0))]
    Unfit(Vec<Finding>),
    /// The binlog that is needed next was deleted.
    #[error("the source has deleted the binlog that is needed next ({wanted}): {detail}")]
    Purged {
        /// The position, transaction or time that is wanted.
        wanted: String,
        /// What the server said, or from when on the binlog is still there.
        detail: String,
    },
    /// Another replica registered with the same id and was given the stream.
    #[error("another replica of the source uses the server_id {server_id} too")]
    ServerIdClash {
        /// The id.
        server_id: u32,
        /// The server's statement that lists its replicas.
        list: &'static str,
    },
    /// The configured id is that of the server that is to be followed.
    #[error("{server_id} is the server_id of the source itself")]
    ServerIdOfSource {
        /// The id.
        server_id: u32,
    },
    /// No event begins there.
    #[error("there is no event at {position}: {detail}")]
    ImpossiblePosition {
        /// The position asked for.
        position: String,
        /// What the server said.
        detail: String,
    },
    /// Another server answers at the address than the one that was followed.
    #[error("another server answers now: {server}")]
    OtherServer {
        /// What it calls itself.
        server: String,
    },
    /// A binlog file has the name of one that was read, and is another.
    #[error("the binlog at {position} is another one than was read before: {detail}")]
    OtherHistory {
        /// The position that was to be read on from.
        position: String,
        /// How it shows.
        detail: String,
    },
    /// The server refuses to send an event because of its size.
    #[error("the source cannot send an event, because it is too large: {detail}")]
    PacketTooLarge {
        /// What the server said.
        detail: String,
    },
    /// The server cannot read its own binlog.
    #[error("the source cannot read its binlog: {detail}")]
    CorruptBinlog {
        /// What the server said.
        detail: String,
    },
    /// An event arrived damaged.
    #[error("an event was damaged on its way: {detail}")]
    Damaged {
        /// What does not fit.
        detail: String,
    },
    /// A binlog file ends within an event.
    #[error("the binlog file ends within the event at {position}")]
    Truncated {
        /// Where the cut event begins.
        position: String,
    },
    /// Something on disk or on the wire is no binlog.
    #[error("this is no binlog that can be read: {detail}")]
    NotABinlog {
        /// What is wrong.
        detail: String,
    },
    /// A file that was given is none to read from.
    #[error("{detail}")]
    File {
        /// Which file, and what is wrong with it.
        detail: String,
        /// How to mend it.
        fix: String,
    },
    /// The binlog has transactions that the tables do not show yet.
    #[error("the source's tables do not show yet what its binlog has before {position}")]
    NotCommitted {
        /// The position.
        position: String,
    },
    /// A statement failed.
    #[error("asking the source for {what} failed: {detail}")]
    Query {
        /// What was asked for.
        what: String,
        /// What the server said.
        detail: String,
    },
}

impl SourceError {
    /// How to mend it, as exact commands where there are any.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { detail, .. } if detail.starts_with(UNKNOWN_HOST) => {
                "check the host name in the url of the [[source]]: `getent hosts NAME` shows whether this machine knows it; a daemon that had followed it before tries again by itself"
            }
            Self::Unreachable { .. } => {
                "check that the server runs and that its port or socket can be reached from here; a daemon that had followed it before tries again by itself"
            }
            Self::Silent { .. } => {
                "check the network between here and the source; didtail connects again by itself"
            }
            Self::AccessDenied { .. } => {
                "check user and password_file of the [[source]], and on the server: SELECT user, host FROM mysql.user; an account with REQUIRE SSL needs tls = \"required\", one with REQUIRE X509 tls_cert and tls_key too"
            }
            Self::NotGranted { .. } => "run `didtail doctor`: it prints the exact GRANT statements",
            Self::Tls { fix, .. } | Self::File { fix, .. } => return Some(fix.clone()),
            Self::Plugin { .. } => {
                "give didtail an account with a password of its own; on MariaDB: ALTER USER didtail IDENTIFIED VIA ed25519 USING PASSWORD('...'); (or mysql_native_password); on MySQL: ALTER USER didtail IDENTIFIED WITH caching_sha2_password BY '...';"
            }
            Self::Unfit(findings) => return unfit_hint(findings),
            Self::Purged { .. } => {
                "start didtail again: it says from when to when changes cannot be read any more, and the commands that load them (`didtail checkpoint reset --to earliest`, then `didtail backfill --since TIME`). Keep binlogs for longer (expire_logs_days) than didtail may be down"
            }
            Self::ServerIdClash { list, .. } => {
                return Some(format!(
                    "see who it is with {list}; on the source, and give this [[source]] another server_id"
                ));
            }
            Self::ServerIdOfSource { .. } => {
                "choose another server_id for this [[source]], or remove it: then didtail chooses one"
            }
            Self::ImpossiblePosition { .. } => {
                "if it was not mistyped, the source was restored or its binlog was reset: run `didtail checkpoint reset --to earliest` (or latest); `didtail verify --repair` then finds what was written in between"
            }
            Self::OtherServer { .. } => {
                "start didtail again: it goes on behind the transactions that it has read, where this server has them"
            }
            Self::OtherHistory { .. } => {
                "the source was restored or its binlog was reset: run `didtail checkpoint reset --to earliest`; `didtail verify --repair` then finds what was written in between"
            }
            Self::PacketTooLarge { .. } => {
                "on the source: SET GLOBAL max_allowed_packet = 1073741824; SET GLOBAL slave_max_allowed_packet = 1073741824; where the position is not one that didtail wrote itself, it points into an event: run `didtail checkpoint reset --to earliest`"
            }
            Self::CorruptBinlog { .. } => {
                "find the damaged file on the source with mysqlbinlog --verify-binlog-checksum, then run `didtail checkpoint reset --to NEXT-FILE:4`: what the damaged file held is not in the numbers before `didtail verify --repair` has read it from VICIdial's tables"
            }
            Self::Damaged { .. } => {
                "didtail reads it again; where the same event fails every time, the file on the source is damaged: check it with mysqlbinlog --verify-binlog-checksum"
            }
            Self::Truncated { .. } => {
                "the server crashed while it wrote this file, or the copy is incomplete; everything before it is usable"
            }
            Self::NotABinlog { .. } => "check the path, and that the file comes from log_bin",
            Self::NotCommitted { .. } => {
                "didtail tries again by itself; where it goes on, the server waits for a semi-synchronous replica with every transaction: SHOW STATUS LIKE 'Rpl_semi_sync%'"
            }
            Self::Query { .. } => "run `didtail doctor`: it checks the whole source",
        };
        Some(hint.to_owned())
    }

    /// True when trying again can help without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Damaged { .. }
            | Self::NotCommitted { .. } => true,
            Self::AccessDenied { .. }
            | Self::NotGranted { .. }
            | Self::Tls { .. }
            | Self::Plugin { .. }
            | Self::Unfit(_)
            | Self::Purged { .. }
            | Self::ServerIdClash { .. }
            | Self::ServerIdOfSource { .. }
            | Self::ImpossiblePosition { .. }
            | Self::OtherServer { .. }
            | Self::OtherHistory { .. }
            | Self::PacketTooLarge { .. }
            | Self::CorruptBinlog { .. }
            | Self::Truncated { .. }
            | Self::NotABinlog { .. }
            | Self::File { .. }
            | Self::Query { .. } => false,
        }
    }

    /// Sorts a failed login or statement; `what` is what was asked for.
    pub(crate) fn from_wire(error: WireError, address: &str, what: &str) -> Self {
        let detail = error.to_string();
        let address = address.to_owned();
        match error {
            WireError::Io(_) | WireError::Late(_) => Self::Unreachable { address, detail },
            WireError::Tls(fault) => Self::Tls {
                address,
                detail,
                fix: fault.fix,
            },
            WireError::Plugin { .. } => Self::Plugin { address, detail },
            WireError::Refused { code, .. } => match code {
                // Wrong password, host blocked or not allowed, plugin missing, TLS demanded, password expired.
                1045 | 1129 | 1130 | 1251 | 1524 | 1698 | 1820 | 1862 | 3118 | 3159 | 3878 => {
                    Self::AccessDenied { address, detail }
                }
                1044 | 1142 | 1143 | 1227 | 1370 => Self::NotGranted {
                    action: format!("read {what}"),
                    detail,
                },
                code if passes(code) => Self::Unreachable { address, detail },
                _ => Self::Query {
                    what: what.to_owned(),
                    detail,
                },
            },
        }
    }

    /// Sorts what ended or refused a dump that was to begin at `position`. The
    /// login has passed by then, so that "access denied" is about privileges.
    /// `list` is the server's statement that lists its replicas.
    pub(crate) fn from_dump(
        error: WireError,
        address: &str,
        position: &str,
        server_id: u32,
        list: &'static str,
    ) -> Self {
        match error {
            WireError::Refused {
                code: 1236,
                message,
            } => Self::from_1236(message, position, server_id, list),
            // MariaDB's own code for it (`ER_SLAVE_SAME_ID`).
            WireError::Refused { code: 4052, .. } => Self::ServerIdClash { server_id, list },
            WireError::Refused {
                code: 1045 | 1227, ..
            } => Self::NotGranted {
                action: "follow the binlog".to_owned(),
                detail: error.to_string(),
            },
            error => Self::from_wire(error, address, "the binlog"),
        }
    }

    /// Tells the meanings of `ER_MASTER_FATAL_ERROR_READING_BINLOG` apart by its text.
    fn from_1236(detail: String, position: &str, server_id: u32, list: &'static str) -> Self {
        let lower = detail.to_ascii_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
        let position = position.to_owned();
        if says(&[
            "same server_uuid",
            "same server_id",
            "server_uuid/server_id",
        ]) {
            Self::ServerIdClash { server_id, list }
        } else if says(&["could not find", "purged", "missing the gtid"]) {
            Self::Purged {
                wanted: position,
                detail,
            }
        } else if says(&["impossible position", "> file size", "bogus data"]) {
            Self::ImpossiblePosition { position, detail }
        } else if says(&["max_allowed_packet", "too large"]) {
            Self::PacketTooLarge { detail }
        } else if says(&["binary log is not open"]) {
            Self::Query {
                what: "the binlog".to_owned(),
                detail,
            }
        } else {
            // Checksum, truncated in the middle, out of disk space, I/O errors.
            Self::CorruptBinlog { detail }
        }
    }
}

impl From<FrameError> for SourceError {
    fn from(error: FrameError) -> Self {
        let detail = error.to_string();
        match error {
            FrameError::Size { .. } | FrameError::Checksum { .. } | FrameError::Early { .. } => {
                Self::Damaged { detail }
            }
            FrameError::Algorithm { .. } => Self::NotABinlog { detail },
        }
    }
}

/// True for server errors that end by themselves: too many connections,
/// shutdown, a killed connection or statement, locks, timeouts, a full disk,
/// and the network errors the server reports about itself.
fn passes(code: u16) -> bool {
    matches!(
        code,
        1021 | 1040 | 1041 | 1053 | 1077 | 1078 | 1079 | 1135 | 1152 | 1158
            ..=1161
                | 1184
                | 1203
                | 1205
                | 1213
                | 1226
                | 1317
                | 1927
                | 1969
                | 3024
                | 3168
                | 3169
                | 4031
    )
}

/// The bad findings, a line each.
fn lines(findings: &[Finding]) -> String {
    bad(findings)
        .map(|f| {
            format!(
                "\n  {}: expected {}; found {}",
                f.check, f.expected, f.actual
            )
        })
        .collect()
}

/// The repairs of the bad findings, a line each.
fn unfit_hint(findings: &[Finding]) -> Option<String> {
    let mut fixes: Vec<&str> = Vec::new();
    for fix in bad(findings).filter_map(|f| f.fix.as_deref()) {
        // One GRANT often mends several.
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    (!fixes.is_empty()).then(|| fixes.join("\n"))
}

fn bad(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings
        .iter()
        .filter(|f| f.outcome == super::preflight::Outcome::Bad)
}

#[cfg(test)]
mod tests;

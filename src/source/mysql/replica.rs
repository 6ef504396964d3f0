//! The replica id: every reader of a binlog needs one that nobody else uses.
//!
//! A server hands the stream to the newest reader with an id and throws the
//! older one out, so that two readers with one id take it from each other for
//! ever. The id is therefore looked for among the connected replicas first.

use super::MySqlSource;
use super::skip::Skip;
use crate::binlog::{BinlogFile, FIRST_EVENT_OFFSET, Position};
use crate::source::SourceError;
use crate::source::wire::{Cell, text};

/// Where ids chosen by didtail begin. People number their servers from 1, or
/// by an address; both end below in practice.
const CHOSEN_FIRST: u64 = 3_000_000_000;

/// How many ids didtail chooses from.
const CHOSEN_COUNT: u64 = 1_000_000_000;

/// Ids tried before giving up; one other reader in a billion is a coincidence.
const CHOICES_MAX: u32 = 8;

/// Longest name that every server accepts for a replica (`HOSTNAME_LENGTH`).
const LABEL_BYTES_MAX: usize = 60;

/// A start of a dump that the protocol can name.
pub(super) struct Start {
    pub(super) file: BinlogFile,
    pub(super) next: u32,
    /// Where reading begins, if that is further on.
    pub(super) skip: Option<Skip>,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To follow the source.
    Follow,
    /// To look at a few events, beside a daemon that follows the source and
    /// must not be thrown out by it.
    Look,
}

/// Who a stream registers as.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) server_id: u32,
    /// How it shows up in the list of replicas: tells which daemon it is.
    pub(super) label: String,
}

impl MySqlSource {
    /// An id that no other connected replica has.
    pub(super) async fn replica(&self, purpose: Purpose) -> Result<Replica, SourceError> {
        let label = label(&self.settings.name, purpose);
        let list = self.server.list_replicas();
        let own = self.ask("its server_id", "SELECT @@GLOBAL.server_id").await;
        let own = own
            .ok()
            .and_then(|table| table.scalar()?.parse::<u32>().ok());
        let others = self.other_server_ids(&label, list).await;
        let configured = self
            .settings
            .server_id
            .filter(|_| purpose == Purpose::Follow);
        if let Some(server_id) = configured {
            return if own == Some(server_id) {
                Err(SourceError::ServerIdOfSource { server_id })
            } else if others.contains(&server_id) {
                Err(SourceError::ServerIdClash { server_id, list })
            } else {
                Ok(Replica { server_id, label })
            };
        }
        let mut last = 0;
        for attempt in 0..CHOICES_MAX {
            last = chosen(&label, attempt);
            if own != Some(last) && !others.contains(&last) {
                let server_id = last;
                return Ok(Replica { server_id, label });
            }
        }
        Err(SourceError::ServerIdClash {
            server_id: last,
            list,
        })
    }

    /// The ids of the server's other replicas. An entry with our own
    /// label is a connection of ours that the server has not missed yet; it
    /// ends when we come back. Empty where the user may not ask.
    async fn other_server_ids(&self, label: &str, list: &str) -> Vec<u32> {
        let Ok(table) = self.ask("its replicas", list).await else {
            return Vec::new();
        };
        let column = |name: &str| {
            let mut names = table.columns.iter();
            names.position(|column| column.eq_ignore_ascii_case(name))
        };
        let (Some(id), Some(host)) = (column("Server_id"), column("Host")) else {
            return Vec::new();
        };
        let value = |row: &[Cell], at: usize| row.get(at).and_then(text);
        let others = table.rows.iter();
        let others = others.filter(|row| value(row, host).as_deref() != Some(label));
        others
            .filter_map(|row| value(row, id)?.parse().ok())
            .collect()
    }

    /// The position as the protocol can name it, in 32 bits. Beyond 4 GiB of a
    /// file mostly nothing but its end follows a group, and there the next file begins.
    pub(super) async fn addressable(&self, from: &Position) -> Result<Start, SourceError> {
        if let Ok(next) = u32::try_from(from.next) {
            return Ok(Start {
                file: from.file.clone(),
                next,
                skip: None,
            });
        }
        let binlogs = self.binlogs().await?;
        let mut rest = binlogs.iter().skip_while(|(file, _)| *file != from.file);
        let (file, skip) = match (rest.next(), rest.next()) {
            (Some((_, size)), Some((file, _))) if *size <= from.next => (file, None),
            _ => (&from.file, Some(Skip::to(from.next))),
        };
        Ok(Start {
            file: file.clone(),
            next: u32::try_from(FIRST_EVENT_OFFSET).unwrap_or(0),
            skip,
        })
    }
}

/// The daemon's label is the same after every restart, so that a connection it
/// left behind is known for its own; a look's is new every time.
fn label(source: &str, purpose: Purpose) -> String {
    let look = match purpose {
        Purpose::Follow => String::new(),
        Purpose::Look => format!("?{}", std::process::id()),
    };
    let mut label = format!("didtail{look}:{source}@{}", hostname());
    let mut end = LABEL_BYTES_MAX.min(label.len());
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    label.truncate(end);
    label
}

/// The id chosen at the n-th attempt: the same after every restart.
fn chosen(label: &str, attempt: u32) -> u32 {
    let hash = fnv1a(label.as_bytes(), u64::from(attempt));
    u32::try_from(CHOSEN_FIRST + hash % CHOSEN_COUNT).unwrap_or(u32::MAX)
}

/// FNV-1a: a hash that stays the same in every version of every library.
pub(super) fn fnv1a(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_ids_are_high_stable_and_differ() {
        let first = chosen("didtail:main@dialer", 0);
        assert_eq!(first, chosen("didtail:main@dialer", 0));
        assert_ne!(first, chosen("didtail:main@dialer", 1));
        assert_ne!(first, chosen("didtail:other@dialer", 0));
        assert!(u64::from(first) >= CHOSEN_FIRST);
    }
}

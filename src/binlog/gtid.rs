//! Which transactions have been read, in the way each flavour counts them.
//!
//! MariaDB numbers transactions within a replication domain, and a position is
//! the last one of each domain (<https://mariadb.com/kb/en/gtid/>). MySQL
//! numbers them by the server that first wrote them, and a position is a set.
//! It is kept beside every file position, because after a failover only the
//! GTIDs still mean something.

mod set;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mysql_cdc::providers::mariadb::gtid::gtid::Gtid as WireGtid;
use mysql_cdc::providers::mariadb::gtid::gtid_list::GtidList;

pub use set::{GtidSet, GtidSource, SourceGtid};

use crate::binlog::DecodeError;
use crate::binlog::bytes::Bytes;

/// Most domains kept; real installations have one to a handful.
const DOMAINS_MAX: usize = 1024;

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gtid {
    /// Of MariaDB.
    MariaDb(DomainGtid),
    /// Of MySQL.
    MySql(SourceGtid),
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MariaDb(gtid) => gtid.fmt(f),
            Self::MySql(gtid) => gtid.fmt(f),
        }
    }
}

/// One MariaDB transaction: `domain-server-sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainGtid {
    /// Replication domain.
    pub domain: u32,
    /// `server_id` of the server that first wrote the transaction.
    pub server: u32,
    /// Number of the transaction within the domain.
    pub sequence: u64,
}

impl From<&WireGtid> for DomainGtid {
    fn from(wire: &WireGtid) -> Self {
        Self {
            domain: wire.domain_id,
            server: wire.server_id,
            sequence: wire.sequence,
        }
    }
}

impl fmt::Display for DomainGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// The transactions read so far: MariaDB's last of every domain, or MySQL's set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidPosition {
    last_by_domain: BTreeMap<u32, DomainGtid>,
    executed: GtidSet,
}

impl GtidPosition {
    /// Moves behind a transaction: MariaDB's domain to it, MySQL's set to hold it.
    pub fn advance(&mut self, gtid: &Gtid) {
        match gtid {
            Gtid::MariaDb(gtid) => self.advance_domain(*gtid),
            Gtid::MySql(gtid) => self.executed.insert(gtid),
        }
    }

    fn advance_domain(&mut self, gtid: DomainGtid) {
        if self.last_by_domain.len() < DOMAINS_MAX || self.last_by_domain.contains_key(&gtid.domain)
        {
            self.last_by_domain.insert(gtid.domain, gtid);
        }
    }

    /// Takes what a file says, at its start, of the files before it.
    pub fn merge(&mut self, before: &Self) {
        for gtid in before.domains() {
            self.advance_domain(*gtid);
        }
        self.executed.merge(&before.executed);
    }

    /// True before the first transaction, and on sources without GTIDs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_by_domain.is_empty() && self.executed.is_empty()
    }

    /// MariaDB's last transaction of each domain, in domain order.
    pub fn domains(&self) -> impl Iterator<Item = &DomainGtid> {
        self.last_by_domain.values()
    }

    /// MariaDB's last transaction of a domain.
    #[must_use]
    pub fn last_of(&self, domain: u32) -> Option<&DomainGtid> {
        self.last_by_domain.get(&domain)
    }

    /// MySQL's set.
    #[must_use]
    pub fn executed(&self) -> &GtidSet {
        &self.executed
    }

    /// True when a transaction has been read. MariaDB's are taken to be
    /// numbered in ascending order within their domain.
    #[must_use]
    pub fn has(&self, gtid: &Gtid) -> bool {
        match gtid {
            Gtid::MariaDb(gtid) => {
                let last = self.last_of(gtid.domain);
                last.is_some_and(|last| last.sequence >= gtid.sequence)
            }
            Gtid::MySql(gtid) => self.executed.contains(gtid),
        }
    }

    /// True when every transaction of `other` has been read at `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other
            .domains()
            .all(|wanted| self.has(&Gtid::MariaDb(*wanted)))
            && self.executed.covers(&other.executed)
    }

    /// The part of it that is about domains and servers which `names` has too.
    #[must_use]
    pub fn only_named_by(&self, names: &Self) -> Self {
        let mut part = self.clone();
        let named = &names.last_by_domain;
        part.last_by_domain
            .retain(|domain, _| named.contains_key(domain));
        part.executed.retain_sources_of(&names.executed);
        part
    }

    /// MySQL's sets as an operator means them: `UUID:7` says up to 7, where no
    /// earlier number is given.
    #[must_use]
    pub fn begun_at_the_first(mut self) -> Self {
        self.executed.fill_below();
        self
    }

    /// Reads the body of MariaDB's GTID_LIST event: a count whose upper four
    /// bits are flags, then domain, server and sequence of each. A domain comes
    /// once for each server that wrote it, the newest last.
    pub(super) fn decode_list(body: &[u8]) -> Result<Self, DecodeError> {
        let mut position = Self::default();
        let mut bytes = Bytes::new(body);
        for _gtid in 0..bytes.uint(4)? & 0x0fff_ffff {
            let (domain, server) = (bytes.uint(4)?, bytes.uint(4)?);
            position.advance_domain(DomainGtid {
                domain: u32::try_from(domain).unwrap_or(0),
                server: u32::try_from(server).unwrap_or(0),
                sequence: bytes.uint(8)?,
            });
        }
        Ok(position)
    }

    /// Reads the body of MySQL's PREVIOUS_GTIDS event.
    pub(super) fn decode_previous(body: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            executed: GtidSet::decode(body)?,
            ..Self::default()
        })
    }
}

impl fmt::Display for GtidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for gtid in self.domains() {
            write!(f, "{comma}{gtid}")?;
            comma = ",";
        }
        if self.executed.is_empty() {
            return Ok(());
        }
        write!(f, "{comma}{}", self.executed)
    }
}

/// A text that is no GTID position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no GTID position: expected MariaDB's DOMAIN-SERVER-SEQUENCE or MySQL's UUID:1-NUMBER, several separated by commas"
)]
pub struct GtidError {
    text: String,
}

impl FromStr for GtidPosition {
    type Err = GtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || GtidError {
            text: text.chars().take(80).collect(),
        };
        let mut position = Self::default();
        // Only MySQL's have colons.
        if text.contains(':') {
            position.executed = text.parse().map_err(|()| error())?;
            return Ok(position);
        }
        // The library's parser indexes the three parts without a look first.
        let well_formed = text.is_empty() || text.split(',').all(|g| g.split('-').count() == 3);
        if !well_formed {
            return Err(error());
        }
        let list = GtidList::parse(text).map_err(|_| error())?;
        for wire in &list.gtids {
            position.advance_domain(DomainGtid::from(wire));
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> GtidPosition {
        text.parse().expect("valid")
    }

    #[test]
    fn a_position_keeps_one_entry_per_domain() {
        let mut position = position("1-2-120,0-1-5");
        position.advance(&Gtid::MariaDb(DomainGtid {
            domain: 1,
            server: 3,
            sequence: 121,
        }));
        assert_eq!(position.to_string(), "0-1-5,1-3-121");
    }

    #[test]
    fn covering_compares_every_domain() {
        assert!(position("0-1-5,1-1-9").covers(&position("0-1-5")));
        assert!(!position("0-1-5").covers(&position("0-1-5,1-1-1")));
        assert!(!position("0-1-4").covers(&position("0-1-5")));
    }

    #[test]
    fn the_flavours_are_told_apart_and_never_cover_each_other() {
        let text = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:x:7";
        let (mysql, mariadb) = (position(text), position("0-1-5"));
        assert_eq!(mysql.to_string(), text);
        assert!(!mysql.covers(&mariadb) && !mariadb.covers(&mysql));
        assert!(mysql.covers(&GtidPosition::default()));
        assert!(position("").is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["x", "1-2", "1-2-x", "1-1-1,1-1-2", "1-2-3-4", "x:1"] {
            assert!(bad.parse::<GtidPosition>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let mut body = 2_u32.to_le_bytes().to_vec();
        for (domain, server, sequence) in [(0_u32, 1_u32, 42_u64), (7, 3, 5)] {
            body.extend(domain.to_le_bytes());
            body.extend(server.to_le_bytes());
            body.extend(sequence.to_le_bytes());
        }
        let list = GtidPosition::decode_list(&body).expect("a list");
        assert_eq!(list.to_string(), "0-1-42,7-3-5");
        assert!(GtidPosition::decode_list(&body[..30]).is_err());
        assert!(GtidPosition::decode_list(&[]).is_err());
        assert!(GtidPosition::decode_list(&u32::MAX.to_le_bytes()).is_err());
    }
}

//! Which transactions of which replication domain have been read: MariaDB GTIDs.
//!
//! A MariaDB GTID position is one entry per domain, the last transaction of
//! each (<https://mariadb.com/kb/en/gtid/>). It is kept beside every file
//! position, because after a failover only the GTID still means something.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mysql_cdc::providers::mariadb::gtid::gtid::Gtid as WireGtid;
use mysql_cdc::providers::mariadb::gtid::gtid_list::GtidList;

/// Most domains kept; real installations have one to a handful.
const DOMAINS_MAX: usize = 1024;

/// One MariaDB transaction: `domain-server-sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// Replication domain.
    pub domain: u32,
    /// `server_id` of the server that first wrote the transaction.
    pub server: u32,
    /// Number of the transaction within the domain.
    pub sequence: u64,
}

impl From<&WireGtid> for Gtid {
    fn from(wire: &WireGtid) -> Self {
        Self {
            domain: wire.domain_id,
            server: wire.server_id,
            sequence: wire.sequence,
        }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// The last transaction read of every domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidPosition {
    last_by_domain: BTreeMap<u32, Gtid>,
}

impl GtidPosition {
    /// Moves the domain of `gtid` to it.
    pub fn advance(&mut self, gtid: Gtid) {
        if self.last_by_domain.len() < DOMAINS_MAX || self.last_by_domain.contains_key(&gtid.domain)
        {
            self.last_by_domain.insert(gtid.domain, gtid);
        }
    }

    /// True before the first transaction, and on sources without GTIDs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_by_domain.is_empty()
    }

    /// The last transaction of each domain, in domain order.
    pub fn iter(&self) -> impl Iterator<Item = &Gtid> {
        self.last_by_domain.values()
    }

    /// True when every transaction of `other` has been read at `self`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|wanted| {
            self.last_by_domain
                .get(&wanted.domain)
                .is_some_and(|last| last.sequence >= wanted.sequence)
        })
    }
}

impl fmt::Display for GtidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, gtid) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

/// A text that is no MariaDB GTID position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no MariaDB GTID position: expected DOMAIN-SERVER-SEQUENCE, several separated by commas"
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
        // The library's parser indexes the three parts without a look first.
        let well_formed = text.is_empty() || text.split(',').all(|g| g.split('-').count() == 3);
        if !well_formed {
            return Err(error());
        }
        let list = GtidList::parse(text).map_err(|_| error())?;
        let mut position = Self::default();
        for wire in &list.gtids {
            position.advance(Gtid::from(wire));
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_keeps_one_entry_per_domain() {
        let mut position: GtidPosition = "1-2-120,0-1-5".parse().expect("valid");
        position.advance(Gtid {
            domain: 1,
            server: 3,
            sequence: 121,
        });
        assert_eq!(position.to_string(), "0-1-5,1-3-121");
    }

    #[test]
    fn covering_compares_every_domain() {
        let position = |text: &str| text.parse::<GtidPosition>().expect("valid");
        assert!(position("0-1-5,1-1-9").covers(&position("0-1-5")));
        assert!(!position("0-1-5").covers(&position("0-1-5,1-1-1")));
        assert!(!position("0-1-4").covers(&position("0-1-5")));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["x", "1-2", "1-2-x", "1-1-1,1-1-2", "1-2-3-4"] {
            assert!(bad.parse::<GtidPosition>().is_err(), "{bad}");
        }
    }
}

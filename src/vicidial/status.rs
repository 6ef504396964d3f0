//! What VICIdial's statuses mean: its own flags, campaign over system.
//!
//! Defaults and meaning of the flags: vicidial.md section 4. A status may be in
//! no table at all (`DONEM`, `RAXFER`, custom ones): then nothing is known of it.

use std::collections::BTreeMap;

use crate::vicidial::Table;

/// The flags of one status row that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusFlags {
    /// `human_answered`.
    pub human_answered: bool,
    /// `sale`.
    pub sale: bool,
    /// `dnc`.
    pub dnc: bool,
    /// `answering_machine`; absent before schema 1460.
    pub answering_machine: bool,
}

/// Which status row: MySQL compares both without regard to case and to blanks
/// at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusKey {
    status: String,
    /// Empty: the row is the system's.
    campaign_id: String,
}

impl StatusKey {
    /// The row of a status; `campaign_id` is empty for `vicidial_statuses`.
    #[must_use]
    pub fn new(status: &str, campaign_id: &str) -> Self {
        Self {
            status: status.trim_end().to_uppercase(),
            campaign_id: campaign_id.trim_end().to_uppercase(),
        }
    }
}

/// What happened to the status rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// A row is new or changed.
    Set {
        /// The row.
        key: StatusKey,
        /// What an UPDATE of its key changed it from.
        renamed_from: Option<StatusKey>,
        /// Its flags.
        flags: StatusFlags,
    },
    /// A row is gone.
    Removed(StatusKey),
    /// All rows of one of the two tables are gone.
    Emptied {
        /// True for those of campaigns, false for the system's.
        campaigns: bool,
    },
}

impl StatusChange {
    /// The table that it happened to.
    #[must_use]
    pub fn table(&self) -> Table {
        let campaigns = match self {
            Self::Set { key, .. } | Self::Removed(key) => !key.campaign_id.is_empty(),
            Self::Emptied { campaigns } => *campaigns,
        };
        if campaigns {
            Table::CampaignStatuses
        } else {
            Table::Statuses
        }
    }
}

/// All status rows, by status and campaign; the empty campaign is the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusBook {
    rows: BTreeMap<StatusKey, StatusFlags>,
}

impl StatusBook {
    /// Sets a row; `campaign_id` is empty for `vicidial_statuses`.
    pub fn set(&mut self, status: &str, campaign_id: &str, flags: StatusFlags) {
        self.rows.insert(StatusKey::new(status, campaign_id), flags);
    }

    /// Follows a change of the tables.
    pub fn apply(&mut self, change: &StatusChange) {
        match change {
            StatusChange::Set {
                key,
                renamed_from,
                flags,
            } => {
                if let Some(old) = renamed_from {
                    self.rows.remove(old);
                }
                self.rows.insert(key.clone(), *flags);
            }
            StatusChange::Removed(key) => {
                self.rows.remove(key);
            }
            StatusChange::Emptied { campaigns } => {
                let stays = |key: &StatusKey| key.campaign_id.is_empty() == *campaigns;
                self.rows.retain(|key, _| stays(key));
            }
        }
    }

    /// The flags of a status in a campaign, else the system's, else none.
    #[must_use]
    pub fn flags(&self, status: &str, campaign_id: &str) -> Option<StatusFlags> {
        self.rows
            .get(&StatusKey::new(status, campaign_id))
            .or_else(|| self.rows.get(&StatusKey::new(status, "")))
            .copied()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when no row was loaded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaign_rows_stand_over_the_systems() {
        let sale = StatusFlags {
            sale: true,
            ..StatusFlags::default()
        };
        let mut book = StatusBook::default();
        book.set("UPSELL", "", StatusFlags::default());
        book.set("UPSELL", "SOLAR", sale);
        assert_eq!(book.flags("upsell", "solar"), Some(sale));
        assert_eq!(book.flags("UPSELL", "OTHER"), Some(StatusFlags::default()));
        book.apply(&StatusChange::Removed(StatusKey::new("UPSELL", "SOLAR")));
        assert_eq!(book.flags("UPSELL", "SOLAR"), Some(StatusFlags::default()));
        assert_eq!(book.flags("NONE", "SOLAR"), None);
    }

    #[test]
    fn a_renamed_row_leaves_its_old_place_and_an_emptied_table_its_rows() {
        let flags = StatusFlags::default();
        let mut book = StatusBook::default();
        book.set("SALE", "", flags);
        book.set("APPT", "SOLAR", flags);
        book.apply(&StatusChange::Set {
            key: StatusKey::new("MEET ", "SOLAR"),
            renamed_from: Some(StatusKey::new("appt", "SOLAR")),
            flags,
        });
        assert_eq!(book.flags("APPT", "SOLAR"), None);
        assert_eq!(book.flags("MEET", "SOLAR"), Some(flags));
        book.apply(&StatusChange::Emptied { campaigns: true });
        assert_eq!(book.flags("MEET", "SOLAR"), None);
        assert_eq!(book.flags("SALE", "SOLAR"), Some(flags));
        book.apply(&StatusChange::Emptied { campaigns: false });
        assert!(book.is_empty());
    }
}

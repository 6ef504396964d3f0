//! What VICIdial's statuses mean: its own flags, campaign over system.
//!
//! Defaults and meaning of the flags: vicidial.md section 4. A status may be in
//! no table at all (`DONEM`, `RAXFER`, custom ones): then nothing is known of it.

use std::collections::BTreeMap;

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

/// All status rows, by status and campaign; the empty campaign is the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusBook {
    rows: BTreeMap<(String, String), StatusFlags>,
}

impl StatusBook {
    /// Sets a row; `campaign_id` is empty for `vicidial_statuses`.
    pub fn set(&mut self, status: &str, campaign_id: &str, flags: StatusFlags) {
        self.rows.insert(key(status, campaign_id), flags);
    }

    /// Removes a row.
    pub fn remove(&mut self, status: &str, campaign_id: &str) {
        self.rows.remove(&key(status, campaign_id));
    }

    /// The flags of a status in a campaign, else the system's, else none.
    #[must_use]
    pub fn flags(&self, status: &str, campaign_id: &str) -> Option<StatusFlags> {
        self.rows
            .get(&key(status, campaign_id))
            .or_else(|| self.rows.get(&key(status, "")))
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

/// MySQL compares these columns without regard to case.
fn key(status: &str, campaign_id: &str) -> (String, String) {
    (status.to_uppercase(), campaign_id.to_uppercase())
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
        book.remove("UPSELL", "SOLAR");
        assert_eq!(book.flags("UPSELL", "SOLAR"), Some(StatusFlags::default()));
        assert_eq!(book.flags("NONE", "SOLAR"), None);
    }
}

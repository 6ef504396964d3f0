//! What clients of the HTTP API say of calls: the result, by whoever saw the call end.
//!
//! # Why joined
//! Several clients post about one call, late, twice and in any order. What they say is
//! joined: of each field the newest word counts, of two that are equally new the
//! greater; of the DID the oldest, then the lesser, since the call went out with one.
//! Joining is commutative, associative and idempotent, so that every order of the same
//! posts ends in the same state.

use serde::{Deserialize, Serialize};

/// One posted result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// Asterisk's `uniqueid` as the client's channel had it.
    pub uniqueid: String,
    /// VICIdial's caller code, V… or M…, where the client knows it.
    pub caller_code: Option<String>,
    /// When it was said; seconds since 1970 (UTC).
    pub at: i64,
    /// What was said.
    pub said: Said,
}

/// A word and when it was said, in seconds since 1970 (UTC).
pub type Word<T> = Option<(i64, T)>;

/// What was said of one call, all of it together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// When it was spoken of first.
    pub first_at: Option<i64>,
    /// The DID that it went out with, normalised.
    pub did: Word<String>,
    /// The number that was dialled, normalised.
    pub phone_number: Word<String>,
    /// VICIdial's status.
    pub status: Word<String>,
    /// Q.850 cause.
    pub hangup_cause: Word<u16>,
    /// Asterisk's DIALSTATUS.
    pub dial_status: Word<String>,
    /// Seconds.
    pub duration: Word<i64>,
    /// The campaign.
    pub campaign_id: Word<String>,
    /// The agent.
    pub agent_id: Word<String>,
}

impl Said {
    /// Takes over what another one says.
    pub fn join(&mut self, other: Self) {
        let Self {
            first_at,
            did,
            phone_number,
            status,
            hangup_cause,
            dial_status,
            duration,
            campaign_id,
            agent_id,
        } = other;
        self.first_at = least(self.first_at.take(), first_at);
        self.did = least(self.did.take(), did);
        self.phone_number = self.phone_number.take().max(phone_number);
        self.status = self.status.take().max(status);
        self.hangup_cause = self.hangup_cause.take().max(hangup_cause);
        self.dial_status = self.dial_status.take().max(dial_status);
        self.duration = self.duration.take().max(duration);
        self.campaign_id = self.campaign_id.take().max(campaign_id);
        self.agent_id = self.agent_id.take().max(agent_id);
    }

    /// As the store keeps it.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Texts and numbers always are JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the store; nothing where it is not what [`Said::to_text`] writes.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// What stands for VICIdial's status while VICIdial has said nothing: the posted
    /// one, else the cause as VICIdial writes such, e.g. `HUC17`.
    #[must_use]
    pub fn disposition(&self) -> String {
        match (&self.status, &self.hangup_cause) {
            (Some((_, status)), _) => status.clone(),
            (None, Some((_, cause))) => format!("HUC{cause}"),
            (None, None) => String::new(),
        }
    }
}

/// The lesser of two that may be absent.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(at: i64, status: &str, did: &str) -> Said {
        Said {
            first_at: Some(at),
            status: Some((at, status.to_owned())),
            did: Some((at, did.to_owned())),
            ..Said::default()
        }
    }

    #[test]
    fn every_order_of_the_same_words_says_the_same() {
        let words = [
            said(5, "NI", "+1"),
            said(9, "SALE", "+2"),
            said(9, "DNC", "+0"),
            Said {
                hangup_cause: Some((20, 16)),
                ..Said::default()
            },
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut joined = Said::default();
            for place in order {
                joined.join(words[place].clone());
                joined.join(words[place].clone());
            }
            assert_eq!(joined.disposition(), "SALE");
            assert_eq!(joined.did, Some((5, "+1".to_owned())));
            assert_eq!(joined.first_at, Some(5));
            assert_eq!(Said::of_text(&joined.to_text()), joined);
        }
        assert_eq!(words[3].disposition(), "HUC16");
        assert_eq!(Said::of_text("{"), Said::default());
    }
}

//! What differs from the store, one by one: for comparing without writing.

use crate::ledger::working::Working;
use crate::ledger::{Call, CallKey, Dial, DialKey};

impl Working {
    /// Calls that differ from what was loaded: the key and the state that the
    /// store has, if it has the call, and those that it should have.
    pub fn differing_calls(
        &self,
    ) -> impl Iterator<Item = (Option<(&CallKey, &Call)>, (&CallKey, &Call))> {
        self.calls.iter().filter_map(|(key, call)| {
            let stored = self.stored_keys.get(key);
            let before = stored.and_then(|stored| self.loaded.calls.get_key_value(stored));
            let is_same = before.is_some_and(|(stored, before)| stored == key && before == call);
            (!is_same).then_some((before, (key, call)))
        })
    }

    /// Dials that differ from what was loaded.
    pub fn differing_dials(&self) -> impl Iterator<Item = (Option<&Dial>, (&DialKey, &Dial))> {
        self.dials.iter().filter_map(|(key, dial)| {
            let before = self.loaded.dials.get(key);
            (before != Some(dial)).then_some((before, (key, dial)))
        })
    }
}

//! A small generator of random numbers, so that one seed always writes the
//! same calls: a failure seen once can be written again.

/// splitmix64: tiny, and good enough to choose what happens to a call.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// Each call gets a generator of its own, so that its content does not
    /// depend on which calls were written before it.
    pub fn for_call(seed: u64, call: u64) -> Self {
        let mut mixed = Self(seed ^ call.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        mixed.next();
        mixed
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// Seconds from `low` to `high`, as the signed kind that times are kept in.
    pub fn seconds(&mut self, low: u64, high: u64) -> i64 {
        i64::try_from(self.between(low, high)).expect("a call lasts less than the universe")
    }

    pub fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// One of the choices, each as likely as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(f64, T)]) -> T {
        let total: f64 = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.fraction() * total;
        for (weight, choice) in choices {
            left -= weight;
            if left < 0.0 {
                return *choice;
            }
        }
        choices.last().expect("a choice is offered").1
    }
}

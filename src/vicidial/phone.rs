//! Phone numbers in one form: E.164 where the number is valid, else its digits.
//!
//! VICIdial stores what was typed or imported. The same DID appears as
//! `3125550100`, `13125550100` and `+1 312 555 0100` in campaign, list and CID
//! group settings, and must be one DID here.

use phonenumber::{Mode, country};

/// Numbers remembered: the DIDs of any installation, and the customers being called.
const REMEMBERED_MAX: usize = 16_384;

/// The same, beside the stream.
const REMEMBERED_ASIDE: usize = 64;

/// Longest text taken for a number; VICIdial's widest column has 100 characters.
const TEXT_BYTES_MAX: usize = 100;

/// Normalises numbers under a default country, and remembers what it found:
/// validating against the numbering plans costs microseconds.
#[derive(Debug)]
pub struct Phones {
    country: country::Id,
    known: quick_cache::unsync::Cache<String, String>,
}

impl Phones {
    /// The same country, for what is rare: few numbers are remembered.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self {
            country: self.country,
            known: quick_cache::unsync::Cache::new(REMEMBERED_ASIDE),
        }
    }

    /// Numbers without a country are of this one, e.g. `US`; `None` for an
    /// unknown two-letter code.
    #[must_use]
    pub fn new(default_country: &str) -> Option<Self> {
        Some(Self {
            country: default_country.parse().ok()?,
            known: quick_cache::unsync::Cache::new(REMEMBERED_MAX),
        })
    }

    /// The number's one form; `None` when the text has no digit.
    pub fn normalise(&mut self, text: &str) -> Option<String> {
        self.with_code("", text)
    }

    /// The same, for a number whose country calling code stands in a column of
    /// its own (`phone_code`).
    pub fn with_code(&mut self, calling_code: &str, text: &str) -> Option<String> {
        if !text.bytes().any(|b| b.is_ascii_digit()) || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let key = format!("{calling_code}|{text}");
        if let Some(number) = self.known.get(&key) {
            return Some(number.clone());
        }
        let number = self.parse(calling_code, text).unwrap_or_else(|| {
            let digits = text.chars().filter(char::is_ascii_digit);
            digits.collect()
        });
        self.known.insert(key, number.clone());
        Some(number)
    }

    fn parse(&self, calling_code: &str, text: &str) -> Option<String> {
        let international = text.trim_start().starts_with('+');
        let code: String = calling_code.chars().filter(char::is_ascii_digit).collect();
        if !code.is_empty() && !international {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            if let Some(number) = valid(None, &format!("+{code}{digits}")) {
                return Some(number);
            }
        }
        valid(Some(self.country), text)
    }
}

fn valid(country: Option<country::Id>, text: &str) -> Option<String> {
    let number = phonenumber::parse(country, text).ok()?;
    phonenumber::is_valid(&number).then(|| number.format().mode(Mode::E164).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_did_has_one_form() {
        let mut phones = Phones::new("US").expect("known");
        for text in ["3125550100", "13125550100", "+1 (312) 555-0100"] {
            assert_eq!(phones.normalise(text).as_deref(), Some("+13125550100"));
        }
        assert_eq!(
            phones.with_code("44", "02079460123").as_deref(),
            Some("+442079460123")
        );
    }

    #[test]
    fn what_is_no_number_keeps_its_digits() {
        let mut phones = Phones::new("US").expect("known");
        assert_eq!(phones.normalise("ext 12-34").as_deref(), Some("1234"));
        assert_eq!(
            phones.normalise("0000000000").as_deref(),
            Some("0000000000")
        );
        assert_eq!(phones.normalise("anonymous"), None);
        assert_eq!(phones.normalise(""), None);
    }
}

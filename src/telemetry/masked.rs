//! Phone numbers as the log may show them: recognisable, not dialable.

use std::fmt;

/// Shows a phone number as `312*****23`.
///
/// The ends let an operator find the call; short numbers show nothing, since
/// their ends would be most of them.
#[derive(Clone, Copy)]
pub struct Masked<'a>(pub &'a str);

/// Characters shown at the beginning: an area code.
const SHOWN_FIRST: usize = 3;
/// Characters shown at the end.
const SHOWN_LAST: usize = 2;
/// Shortest number of which anything is shown.
const LENGTH_MIN: usize = 8;

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.chars().count();
        for (index, character) in self.0.chars().enumerate() {
            let shown = index < SHOWN_FIRST || index + SHOWN_LAST >= length;
            if shown && length >= LENGTH_MIN {
                write!(f, "{character}")?;
            } else {
                f.write_str("*")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_recognisable_and_not_dialable() {
        assert_eq!(Masked("3125550123").to_string(), "312*****23");
        assert_eq!(Masked("+13125550123").to_string(), "+13*******23");
        assert_eq!(Masked("5550123").to_string(), "*******");
        assert_eq!(Masked("").to_string(), "");
        assert_eq!(format!("{:?}", Masked("éé12345678")), "éé1*****78");
    }
}

//! How wide and high the terminal is: the one place where that is asked.

/// Columns below which a terminal is not believed to have so few: one over a serial
/// line or in a script says 0 where it does not know.
const WIDTH_MIN: u16 = 20;

/// Columns and rows of the terminal; `None` where stdout is none, or where it does not
/// know its size.
pub(super) fn size() -> Option<(u16, u16)> {
    believed(measured())
}

/// Columns of the terminal; `None`: lines may be as long as they like.
pub(super) fn width() -> Option<u16> {
    size().map(|(width, _)| width)
}

fn believed(measured: Option<(u16, u16)>) -> Option<(u16, u16)> {
    measured.filter(|(width, _)| *width >= WIDTH_MIN)
}

#[cfg(not(test))]
fn measured() -> Option<(u16, u16)> {
    let (width, height) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some((width.0, height.0))
}

#[cfg(test)]
use tests::measured;

#[cfg(test)]
pub(in crate::cli) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static PRETENDED: Cell<Option<u16>> = const { Cell::new(None) };
    }

    /// Whatever terminal the test has.
    pub(super) fn measured() -> Option<(u16, u16)> {
        PRETENDED.get().map(|width| (width, 25))
    }

    /// What is drawn on a narrow terminal, on a usual one, and where the width is not
    /// known: each that is another one, below each other.
    pub(in crate::cli) fn on_each(title: &str, draw: impl Fn() -> String) -> String {
        let on = |width| {
            PRETENDED.set(width);
            draw()
        };
        let unknown = on(None);
        assert_eq!(unknown, on(Some(0)), "0 is no width");
        let mut drawn: Vec<(String, String)> = Vec::new();
        for (width, text) in [
            ("60", on(Some(60))),
            ("100", on(Some(100))),
            ("not known", unknown),
        ] {
            match drawn.last_mut() {
                Some((widths, same)) if *same == text => widths.push_str(&format!(", {width}")),
                _ => drawn.push((width.to_owned(), text)),
            }
        }
        let drawn = drawn.iter();
        let texts = drawn.map(|(widths, text)| format!("==== {title} ({widths}) ====\n\n{text}\n"));
        texts.collect()
    }

    #[test]
    fn a_width_that_cannot_be_is_not_known() {
        assert_eq!(believed(Some((0, 0))), None);
        assert_eq!(believed(Some((19, 25))), None);
        assert_eq!(believed(Some((20, 25))), Some((20, 25)));
        assert_eq!(believed(None), None);
    }
}

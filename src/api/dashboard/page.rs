//! The frame of every page, and how numbers and times are written on it.

use maud::{DOCTYPE, Markup, html};

use crate::api::moment;

/// Seconds after which a page without scripts is read again.
const READ_AGAIN_SECONDS: u32 = 30;

/// Where one is, and as whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    /// The tenant of who is logged in.
    pub(super) tenant: Option<&'a str>,
    /// The page shows what changes.
    pub(super) is_live: bool,
}

/// A whole page.
pub(super) fn page(frame: Frame<'_>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (frame.title) " · didtail" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/dashboard.css";
                script src="/assets/dashboard.js" defer {}
                @if frame.is_live {
                    noscript { meta http-equiv="refresh" content=(READ_AGAIN_SECONDS); }
                }
            }
            body data-refreshes[frame.is_live] {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.home href="/" { "didtail" }
                    @if let Some(tenant) = frame.tenant {
                        span.tenant { "tenant " b { (tenant) } }
                        form method="post" action="/logout" {
                            button type="submit" { "Log out" }
                        }
                    }
                }
                main #main { (content) }
                p #stale role="status" hidden {}
            }
        }
    }
}

/// A number as people read it.
pub(super) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    if number < 0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

/// Seconds as minutes and seconds.
pub(super) fn minutes(seconds: i64) -> String {
    format!("{}:{:02}", seconds / 60, seconds.rem_euclid(60))
}

/// A time span of so many seconds, in its greatest unit.
pub(super) fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..120 => (seconds, "s"),
        120..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{} {unit}", number(count))
}

/// A moment (seconds since 1970, UTC). A script writes it in the reader's own zone.
pub(super) fn time(at: i64) -> Markup {
    let exact = moment(at);
    let text = exact.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(exact) { (text) } }
}

/// How long ago a moment was, as of `now`.
pub(super) fn ago(at: i64, now: i64) -> Markup {
    html! { time.ago datetime=(moment(at)) { (span((now - at).max(0))) " ago" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(
            [0, 12, 123, 1234, 1_234_567, -1000].map(number),
            ["0", "12", "123", "1,234", "1,234,567", "-1,000"]
        );
        assert_eq!([Some(0.3149), None].map(percent), ["31.5 %", "–"]);
        assert_eq!([0, 61, 3599].map(minutes), ["0:00", "1:01", "59:59"]);
        assert_eq!(
            [0, 119, 120, 7199, 7200, 200_000].map(span),
            ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]
        );
    }

    #[test]
    fn what_comes_from_outside_is_text() {
        let frame = Frame {
            title: "<script>alert(1)</script>",
            tenant: Some("\"><img src=x onerror=alert(1)>"),
            is_live: false,
        };
        let page = page(frame, &html! {}).into_string();
        assert!(
            !page.contains("<script>") && !page.contains("<img"),
            "{page}"
        );
    }
}

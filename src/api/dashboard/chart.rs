//! Pictures, drawn on the server as SVG: bars of days, lines of minutes.
//!
//! Colours are classes of the style sheet, so that they follow the theme and no style
//! stands in a page. Each picture says in words what it shows, for who does not see it.

use maud::{Markup, html};

use super::course::Minute;
use super::number;
use crate::store::Tally;

/// Width of a day's bar in a sparkline, and what is left between two; the unit of these
/// pictures is arbitrary, they are stretched to their place.
const BAR: usize = 6;
const GAP: usize = 2;

/// Height of a sparkline.
const SPARK_HEIGHT: usize = 24;

/// Height of a chart of days or minutes.
const CHART_HEIGHT: usize = 100;

/// What share of each day's calls a sparkline shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spark {
    Calls,
    Answered,
    Blocked,
}

impl Spark {
    fn class(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Answered => "answered",
            Self::Blocked => "blocked",
        }
    }

    /// Value of a day, and the most that one can be.
    fn scale(self, day: &Tally, most: i64) -> (i64, i64) {
        match self {
            Self::Calls => (day.calls, most),
            Self::Answered => (day.answered, day.calls),
            Self::Blocked => (day.blocked, day.calls),
        }
    }
}

/// A bar a day, the oldest first.
pub(super) fn spark(kind: Spark, days: &[Tally]) -> Markup {
    let most = days.iter().map(|day| day.calls).max().unwrap_or(0);
    let width = days.len() * (BAR + GAP);
    let bars = days.iter().enumerate().filter_map(|(place, day)| {
        let (value, whole) = kind.scale(day, most);
        let height = part_of(SPARK_HEIGHT, value, whole)?;
        Some((place * (BAR + GAP), SPARK_HEIGHT - height, height))
    });
    html! {
        svg.spark.(kind.class()) viewBox=(format!("0 0 {width} {SPARK_HEIGHT}"))
            preserveAspectRatio="none" aria-hidden="true" {
            @for (x, y, height) in bars {
                rect x=(x) y=(y) width=(BAR) height=(height) {}
            }
        }
    }
}

/// A height for a part of a whole, at least one where there is something.
fn part_of(height: usize, part: i64, whole: i64) -> Option<usize> {
    if part <= 0 || whole <= 0 {
        return None;
    }
    let scaled = i64::try_from(height).ok()?.saturating_mul(part) / whole;
    usize::try_from(scaled)
        .ok()
        .map(|scaled| scaled.clamp(1, height))
}

/// A DID's days: of each how many calls were answered, blocked, and neither.
pub(super) fn days(days: &[(String, Tally)]) -> Markup {
    let most = days.iter().map(|(_, day)| day.calls).max().unwrap_or(0);
    let width = days.len() * (BAR + GAP);
    html! {
        figure.chart {
            svg viewBox=(format!("0 0 {width} {CHART_HEIGHT}")) preserveAspectRatio="none"
                role="img" aria-label="Calls a day, answered and blocked ones apart; the table below has the numbers" {
                @for (place, (name, day)) in days.iter().enumerate() {
                    @let x = place * (BAR + GAP);
                    g {
                        title {
                            (name) ": " (number(day.calls)) " calls, "
                            (number(day.answered)) " answered, " (number(day.blocked)) " blocked"
                        }
                        rect.back x=(x) y="0" width=(BAR + GAP) height=(CHART_HEIGHT) {}
                        @for (class, y, height) in stack(day, most) {
                            rect.(class) x=(x) y=(y) width=(BAR) height=(height) {}
                        }
                    }
                }
            }
            figcaption {
                span.key.answered { "answered" } " "
                span.key.blocked { "blocked" } " "
                span.key.rest { "other calls" } " "
                span.scale { "highest day " (number(most)) }
            }
        }
    }
}

/// The parts of a day's bar from below: class, place from above, height.
fn stack(day: &Tally, most: i64) -> Vec<(&'static str, usize, usize)> {
    let rest = day.calls - day.answered - day.blocked;
    let mut top = CHART_HEIGHT;
    let mut parts = Vec::new();
    for (class, part) in [
        ("answered", day.answered),
        ("blocked", day.blocked),
        ("rest", rest),
    ] {
        if let Some(height) = part_of(CHART_HEIGHT, part, most) {
            let height = height.min(top);
            top -= height;
            parts.push((class, top, height));
        }
    }
    parts
}

/// A source's minutes, the last at the right.
pub(super) fn minutes(
    title: &str,
    class: &'static str,
    minutes: &[Minute],
    value: impl Fn(&Minute) -> Option<i64>,
    scale: impl Fn(i64) -> String,
) -> Markup {
    let values: Vec<Option<i64>> = minutes.iter().map(value).collect();
    let most = values.iter().flatten().copied().max().unwrap_or(0);
    let newest = values.last().copied().flatten();
    let said = match newest {
        Some(newest) => format!("{title}: now {}, at most {}", scale(newest), scale(most)),
        None => format!("{title}: not known"),
    };
    let begin = super::course::MINUTES.saturating_sub(minutes.len());
    let width = super::course::MINUTES;
    html! {
        figure.chart.small {
            svg viewBox=(format!("0 0 {width} {CHART_HEIGHT}")) preserveAspectRatio="none"
                role="img" aria-label=(said) {
                rect.back x="0" y="0" width=(width) height=(CHART_HEIGHT) {}
                @for (place, value) in values.iter().enumerate() {
                    @if let Some(height) = value.and_then(|value| part_of(CHART_HEIGHT, value, most)) {
                        rect.(class) x=(begin + place) y=(CHART_HEIGHT - height) width="1" height=(height) {}
                    }
                }
            }
            figcaption { (said) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(calls: i64, answered: i64, blocked: i64) -> Tally {
        Tally {
            calls,
            answered,
            blocked,
            ..Tally::default()
        }
    }

    #[test]
    fn bars_are_as_high_as_the_numbers() {
        let days = [day(10, 5, 0), day(0, 0, 0), day(20, 1, 20)];
        let heights = |kind| {
            let drawn = spark(kind, &days).into_string();
            let parts = drawn.split(" height=\"").skip(1);
            let height = |part: &str| part.split('"').next().and_then(|text| text.parse().ok());
            parts.map(|part| height(part).expect("a number")).collect()
        };
        let calls: Vec<usize> = heights(Spark::Calls);
        assert_eq!(calls, [12, 24]);
        let answered: Vec<usize> = heights(Spark::Answered);
        assert_eq!(answered, [12, 1]);
        let blocked: Vec<usize> = heights(Spark::Blocked);
        assert_eq!(blocked, [24]);
    }

    #[test]
    fn the_parts_of_a_day_stand_on_one_another() {
        assert_eq!(
            stack(&day(100, 30, 50), 200),
            [("answered", 85, 15), ("blocked", 60, 25), ("rest", 50, 10)]
        );
        assert_eq!(stack(&day(0, 0, 0), 0), []);
        // Rounded up, they are no higher than the picture.
        let parts = stack(&day(3, 1, 2), 3);
        assert_eq!(parts.iter().map(|(_, _, height)| height).sum::<usize>(), 99);
    }
}

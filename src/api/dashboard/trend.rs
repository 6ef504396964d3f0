//! Whether a DID has turned bad: carriers block it, or people no longer answer it.
//!
//! A DID is compared with itself, on some days and on those right before: campaigns and
//! hours differ too much to compare one with another. Of few calls nothing is said, and
//! a difference counts only where chance hardly makes one.

use std::fmt;

use crate::ledger::share;
use crate::store::Tally;

/// Calls from which on the share of blocked ones is looked at.
const CALLS_MIN: i64 = 20;

/// Calls on either side from which on answer rates are compared.
const CALLS_COMPARED_MIN: i64 = 50;

/// Standard errors of a 95 % interval.
const LIKELY: f64 = 1.96;

/// Standard errors that chance makes once in some hundred comparisons: with some hundred
/// DIDs on a page more often than once would be an alarm each time one looks.
const CERTAIN: f64 = 3.0;

/// Share of blocked calls that is surely reached: bad, and worth a look.
const BLOCKED_BAD: f64 = 0.10;
/// As [`BLOCKED_BAD`].
const BLOCKED_WATCH: f64 = 0.03;

/// What is left of the answer rate: bad, and worth a look.
const ANSWERS_BAD: f64 = 0.5;
/// As [`ANSWERS_BAD`].
const ANSWERS_WATCH: f64 = 0.75;

/// How much a DID wants looking at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing stands out.
    #[default]
    Fine,
    /// Worth a look.
    Watch,
    /// It should not be dialled from.
    Bad,
}

impl Level {
    /// A word for it, beside whatever colour.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Watch => "watch",
            Self::Bad => "bad",
        }
    }
}

/// What stands out of a DID. Shares are of the calls, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sign {
    /// So many of its calls are blocked; on the days before, if there were enough.
    Blocked { share: f64, before: Option<f64> },
    /// Fewer of its calls are answered than on the days before.
    FewerAnswers { share: f64, before: f64 },
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        match self {
            Self::Blocked {
                share,
                before: Some(before),
            } => write!(
                f,
                "{} blocked, {} before",
                percent(*share),
                percent(*before)
            ),
            Self::Blocked {
                share,
                before: None,
            } => write!(f, "{} blocked", percent(*share)),
            Self::FewerAnswers { share, before } => {
                write!(
                    f,
                    "{} answered, {} before",
                    percent(*share),
                    percent(*before)
                )
            }
        }
    }
}

/// What is said of a DID.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Judgement {
    pub(super) level: Level,
    pub(super) signs: Vec<Sign>,
}

/// Whether there are too few calls to say anything.
pub(super) fn says_nothing(recent: &Tally) -> bool {
    recent.calls < CALLS_MIN
}

/// Compares a DID's recent days with those before.
pub(super) fn judge(before: &Tally, recent: &Tally) -> Judgement {
    let mut judgement = Judgement::default();
    for (level, sign) in [blocked(before, recent), answers(before, recent)]
        .into_iter()
        .flatten()
    {
        judgement.level = judgement.level.max(level);
        judgement.signs.push(sign);
    }
    judgement
}

fn blocked(before: &Tally, recent: &Tally) -> Option<(Level, Sign)> {
    if says_nothing(recent) {
        return None;
    }
    let earlier = share(before.blocked, before.calls).filter(|_| before.calls >= CALLS_MIN);
    let share = share(recent.blocked, recent.calls)?;
    let surely = at_least(recent.blocked, recent.calls);
    let has_doubled = earlier.is_some_and(|earlier| {
        let apart = standard_errors(
            (before.blocked, before.calls),
            (recent.blocked, recent.calls),
        );
        apart >= CERTAIN && share >= 2.0 * earlier
    });
    let level = if surely >= BLOCKED_BAD || (has_doubled && surely >= BLOCKED_WATCH) {
        Level::Bad
    } else if surely >= BLOCKED_WATCH || has_doubled {
        Level::Watch
    } else {
        return None;
    };
    let before = earlier;
    Some((level, Sign::Blocked { share, before }))
}

fn answers(before: &Tally, recent: &Tally) -> Option<(Level, Sign)> {
    if before.calls.min(recent.calls) < CALLS_COMPARED_MIN {
        return None;
    }
    let earlier = share(before.answered, before.calls)?;
    let share = share(recent.answered, recent.calls)?;
    let apart = standard_errors(
        (before.answered, before.calls),
        (recent.answered, recent.calls),
    );
    if apart > -CERTAIN {
        return None;
    }
    let level = if share <= ANSWERS_BAD * earlier {
        Level::Bad
    } else if share <= ANSWERS_WATCH * earlier {
        Level::Watch
    } else {
        return None;
    };
    let before = earlier;
    Some((level, Sign::FewerAnswers { share, before }))
}

#[expect(clippy::cast_precision_loss, reason = "a share of that many calls")]
fn float(number: i64) -> f64 {
    number as f64
}

/// The lower end of Wilson's 95 % interval of a share.
fn at_least(part: i64, whole: i64) -> f64 {
    let (part, whole) = (float(part), float(whole));
    let squared = LIKELY * LIKELY;
    let middle = part + squared / 2.0;
    let half = LIKELY
        * (part * (whole - part) / whole + squared / 4.0)
            .max(0.0)
            .sqrt();
    ((middle - half) / (whole + squared)).max(0.0)
}

/// How far the second share is above the first, in standard errors of what both would
/// be if they were one.
fn standard_errors(first: (i64, i64), second: (i64, i64)) -> f64 {
    let ((part, whole), (parts, wholes)) = (first, second);
    let (Some(one), Some(other), Some(both)) = (
        share(part, whole),
        share(parts, wholes),
        share(part + parts, whole + wholes),
    ) else {
        return 0.0;
    };
    let error = both * (1.0 - both) * (1.0 / float(whole) + 1.0 / float(wholes));
    if error > 0.0 {
        (other - one) / error.sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(calls: i64, answered: i64, blocked: i64) -> Tally {
        Tally {
            calls,
            answered,
            blocked,
            ..Tally::default()
        }
    }

    fn level(before: Tally, recent: Tally) -> Level {
        judge(&before, &recent).level
    }

    #[test]
    fn few_calls_say_nothing() {
        assert_eq!(level(of(0, 0, 0), of(0, 0, 0)), Level::Fine);
        assert_eq!(level(of(1000, 300, 0), of(19, 0, 19)), Level::Fine);
        assert_eq!(level(of(49, 49, 0), of(1000, 0, 0)), Level::Fine);
    }

    #[test]
    fn a_blocked_did_is_bad_whatever_it_was_before() {
        assert_eq!(level(of(0, 0, 0), of(20, 2, 8)), Level::Bad);
        assert_eq!(level(of(500, 100, 200), of(500, 100, 200)), Level::Bad);
        assert_eq!(level(of(0, 0, 0), of(200, 40, 12)), Level::Watch);
        assert_eq!(level(of(0, 0, 0), of(200, 40, 2)), Level::Fine);
    }

    #[test]
    fn a_did_that_was_never_blocked_and_is_now_is_bad_below_the_limit() {
        assert_eq!(level(of(1000, 200, 5), of(1000, 200, 60)), Level::Bad);
        assert_eq!(level(of(1000, 200, 55), of(1000, 200, 60)), Level::Watch);
    }

    #[test]
    fn an_answer_rate_that_falls_is_told_where_it_is_no_chance() {
        assert_eq!(level(of(1000, 240, 0), of(1000, 110, 0)), Level::Bad);
        assert_eq!(level(of(1000, 240, 0), of(1000, 170, 0)), Level::Watch);
        assert_eq!(level(of(1000, 240, 0), of(1000, 220, 0)), Level::Fine);
        assert_eq!(level(of(50, 12, 0), of(50, 8, 0)), Level::Fine);
        assert_eq!(level(of(1000, 110, 0), of(1000, 240, 0)), Level::Fine);
    }

    #[test]
    fn what_stands_out_is_said() {
        let judged = judge(&of(1000, 240, 10), &of(1000, 110, 310));
        let said: Vec<String> = judged.signs.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["31 % blocked, 1 % before", "11 % answered, 24 % before"]
        );
    }
}

//! The first page: how the sources are, and the tenant's DIDs as a table.

use maud::{Markup, html};

use super::board::{Board, Days, Row, Seen, Sort, View};
use super::chart::{self, Spark};
use super::course::Minute;
use super::page::{ago, minutes, number, percent, span};
use super::trend::{Judgement, Level, says_nothing};
use crate::api::health::{Condition, SourceReport};
use crate::ledger::share;
use crate::store::Tally;

/// A source on the page.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) report: SourceReport,
    pub(super) minutes: Vec<Minute>,
    /// Seconds since the source sent an event.
    pub(super) event_age: Option<u64>,
}

/// How the sources are.
pub(super) fn sources(cards: &[Card], store_error: Option<&str>) -> Markup {
    html! {
        section #sources data-live aria-labelledby="sources-title" {
            h2 #sources-title { "Sources" }
            @if let Some(error) = store_error {
                p.banner.bad role="alert" { b { "The store cannot be used. " } (error) }
            }
            @if cards.is_empty() {
                p { "No source of this tenant is followed here." }
            }
            div.cards { @for card in cards { (source(card)) } }
        }
    }
}

fn source(card: &Card) -> Markup {
    let report = &card.report;
    let (class, word) = state(report.health);
    let lag = report.lag_seconds;
    html! {
        article.card.(class) {
            h3 { (report.source) " " span.state.(class) { (word) } }
            @for reason in &report.reasons { p.reason { (reason) } }
            p.facts {
                @match lag {
                    Some(lag) => { "behind by " b { (span(lag)) } },
                    None => { "how far behind is not known" },
                }
                @if report.idle { ", nothing more to read" }
                @if let Some(age) = card.event_age {
                    "; last event " (span(i64::try_from(age).unwrap_or(i64::MAX))) " ago"
                }
            }
            // Whoever only looks on has applied nothing.
            @if report.health != Condition::Standby { (courses(card)) }
        }
    }
}

fn courses(card: &Card) -> Markup {
    html! {
        div.courses {
            (chart::minutes("Seconds behind", "lag", &card.minutes, |minute| minute.lag_seconds, span))
            (chart::minutes("Changes a minute", "changes", &card.minutes,
                |minute| i64::try_from(minute.changes).ok(), number))
        }
        p.note { "The last six hours, as far as this daemon has run." }
    }
}

/// Three states and a word: green, amber, red.
fn state(health: Condition) -> (&'static str, &'static str) {
    match health {
        Condition::Running => ("good", "running"),
        Condition::Standby => ("good", "followed elsewhere"),
        Condition::Incomplete => ("watch", "incomplete"),
        Condition::Stopped => ("bad", "not followed"),
    }
}

/// What is asked of the table: outside of what is read again, so that nobody's typing
/// is disturbed.
pub(super) fn asked(view: &View) -> Markup {
    html! {
        section.asked aria-labelledby="dids-title" {
            h2 #dids-title { "DIDs" }
            nav aria-label="Days" {
                @for days in Days::ALL {
                    @let other = View { days, page: 0, ..view.clone() };
                    a href=(address(&other)) aria-current=[(days == view.days).then_some("true")] {
                        (days.title())
                    }
                }
            }
            form #search method="get" action="/" role="search" {
                label for="q" { "Number or status" }
                input #q type="search" name="q" value=(view.search) maxlength="40" autocomplete="off";
                label.check {
                    input type="checkbox" name="signs" value="1" checked[view.only_signs];
                    " only what stands out"
                }
                @if view.days != Days::default() {
                    input type="hidden" name="days" value=(view.days.as_str());
                }
                @if view.sort != Sort::default() {
                    input type="hidden" name="sort" value=(view.sort.as_str());
                }
                @if view.is_reversed { input type="hidden" name="reverse" value="1"; }
                button type="submit" { "Show" }
            }
        }
    }
}

fn address(view: &View) -> String {
    let query = view.query();
    if query.is_empty() {
        "/".to_owned()
    } else {
        format!("/?{query}")
    }
}

/// The address of a DID's page.
fn did_address(number: &str, days: Days) -> String {
    let number: String = url::form_urlencoded::byte_serialize(number.as_bytes()).collect();
    match days == Days::default() {
        true => format!("/dids/{number}"),
        false => format!("/dids/{number}?days={}", days.as_str()),
    }
}

/// The tenant's numbers, and the table.
pub(super) fn dids(
    board: &Board,
    seen: &Seen<'_>,
    view: &View,
    sparks: &dyn Fn(i64) -> Vec<Tally>,
    now: i64,
) -> Markup {
    html! {
        section #dids data-live aria-labelledby="dids-title" {
            (tiles(&board.recent))
            p.summary {
                (number_of(board.count(Level::Bad))) " bad, "
                (number_of(board.count(Level::Watch))) " to watch of "
                (number_of(board.rows.len())) " DIDs; "
                (board.days.recent) " to " (board.days.until)
                ", compared with the days from " (board.days.before) " on"
            }
            @if board.is_cut {
                p.banner.watch { "There are more DIDs: these are those that were called from last." }
            }
            @if seen.count == 0 {
                p.empty { (nothing(board, view)) }
            } @else {
                (table(seen, view, sparks, now))
                (pages(seen, view))
            }
        }
    }
}

fn number_of(count: usize) -> String {
    number(i64::try_from(count).unwrap_or(i64::MAX))
}

fn nothing(board: &Board, view: &View) -> &'static str {
    if board.rows.is_empty() {
        "No DID yet: they come with the first dials and calls."
    } else if view.only_signs && view.search.is_empty() {
        "Nothing stands out."
    } else {
        "No DID is like that."
    }
}

/// The numbers of some calls at a glance.
pub(super) fn tiles(tally: &Tally) -> Markup {
    let talk = share(tally.talk_seconds, tally.answered);
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a call")]
    let talk = talk.map_or_else(|| "–".to_owned(), |seconds| minutes(seconds.round() as i64));
    let tiles = [
        ("Dials", number(tally.dials)),
        ("Calls", number(tally.calls)),
        ("Answered", percent(share(tally.answered, tally.calls))),
        ("Blocked", percent(share(tally.blocked, tally.calls))),
        ("Successful", percent(share(tally.successful, tally.calls))),
        ("Average talk", talk),
    ];
    html! {
        dl.tiles {
            @for (name, value) in tiles { div { dt { (name) } dd { (value) } } }
        }
    }
}

/// The columns: title, what it is sorted by, whether a narrow screen goes without.
const COLUMNS: [(&str, Sort, bool); 7] = [
    ("State", Sort::State, false),
    ("DID", Sort::Number, false),
    ("Calls", Sort::Calls, false),
    ("Answered", Sort::Answered, false),
    ("Blocked", Sort::Blocked, false),
    ("Successful", Sort::Successful, true),
    ("Last call", Sort::LastCall, true),
];

fn table(seen: &Seen<'_>, view: &View, sparks: &dyn Fn(i64) -> Vec<Tally>, now: i64) -> Markup {
    html! {
        div.scrolls tabindex="0" role="region" aria-label="Table of DIDs" {
            table {
                caption.hidden { "DIDs with their calls of the chosen days, and bars of the last days" }
                thead {
                    tr { @for (title, sort, is_wide) in COLUMNS { (head(title, sort, is_wide, view)) } }
                }
                tbody { @for row in &seen.rows { (line(row, view, &sparks(row.did.id), now)) } }
            }
        }
    }
}

fn head(title: &str, sort: Sort, is_wide: bool, view: &View) -> Markup {
    let is_sorted = view.sort == sort;
    let direction = match view.descends() {
        true => "descending",
        false => "ascending",
    };
    html! {
        th scope="col" .wide[is_wide] aria-sort=[is_sorted.then_some(direction)] {
            a href=(address(&view.by(sort))) {
                (title)
                @if is_sorted { span aria-hidden="true" { (if view.descends() { " ▾" } else { " ▴" }) } }
            }
        }
    }
}

fn line(row: &Row, view: &View, days: &[Tally], now: i64) -> Markup {
    let recent = &row.did.recent;
    let share = |part| percent(share(part, recent.calls));
    html! {
        tr.(row.judgement.level.as_str()) {
            td.judged {
                @if says_nothing(recent) { span.chip { "few calls" } } @else { (judged(&row.judgement)) }
            }
            th scope="row" {
                a href=(did_address(&row.did.phone_number, view.days)) { (row.did.phone_number) }
                @if row.did.status != "active" { " " span.chip { (row.did.status) } }
            }
            td.figure { (number(recent.calls)) (chart::spark(Spark::Calls, days)) }
            td.figure { (share(recent.answered)) (chart::spark(Spark::Answered, days)) }
            td.figure { (share(recent.blocked)) (chart::spark(Spark::Blocked, days)) }
            td.figure.wide { (share(recent.successful)) }
            td.wide {
                @match row.did.last_call_at {
                    Some(at) => (ago(at, now)),
                    None => "never",
                }
            }
        }
    }
}

/// What is said of a DID.
pub(super) fn judged(judgement: &Judgement) -> Markup {
    html! {
        span.state.(judgement.level.as_str()) { (judgement.level.as_str()) }
        @for sign in &judgement.signs { " " span.sign { (sign.to_string()) } }
    }
}

fn pages(seen: &Seen<'_>, view: &View) -> Markup {
    let last = seen.count.saturating_sub(1) / super::board::PAGE_ROWS;
    let to = |page: usize| {
        address(&View {
            page,
            ..view.clone()
        })
    };
    html! {
        @if last > 0 {
            nav.pages aria-label="Pages" {
                @if seen.page > 0 { a rel="prev" href=(to(seen.page - 1)) { "Earlier" } }
                span { "Page " (seen.page + 1) " of " (last + 1) }
                @if seen.page < last { a rel="next" href=(to(seen.page + 1)) { "Later" } }
            }
        }
    }
}

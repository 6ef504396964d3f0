//! One DID's page: its last days, campaigns, dispositions and calls.

use maud::{Markup, html};

use super::board::{Days, back};
use super::chart;
use super::overview::{judged, tiles};
use super::page::{number, percent, time};
use super::trend::judge;
use crate::ledger::share;
use crate::store::{
    CallRecord, Compared, DidRow, RecordPage, RecordQuery, SqlStore, StoreError, Stretches, Tally,
};
use jiff::civil::Date;

/// Days of the chart and its table.
const DAYS: i64 = 30;

/// Calls that are shown.
const CALLS: u32 = 50;

/// All that is shown of a DID.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) row: DidRow,
    compared: Compared,
    stretches: Stretches,
    /// The last [`DAYS`], the oldest first.
    days: Vec<(String, Tally)>,
    /// Of the recent stretch.
    campaigns: Vec<(String, Tally)>,
    /// Likewise.
    dispositions: Vec<(String, Tally)>,
    calls: RecordPage,
}

impl Story {
    /// Reads what there is of a tenant's DID.
    pub(super) async fn read(
        store: &SqlStore,
        tenant: &str,
        row: DidRow,
        (days, last_day): (Days, Date),
    ) -> Result<Self, StoreError> {
        let stretches = days.until(last_day);
        let first = back(last_day, 2 * DAYS - 1).to_string();
        let read = store.days_of(tenant, &[row.id], &first).await?;
        let of_day = |name: &str| {
            let found = read.iter().find(|day| day.day == name);
            found.map(|day| day.tally).unwrap_or_default()
        };
        let names = (0..DAYS).rev().map(|ago| back(last_day, ago).to_string());
        let shown = names.map(|name| {
            let tally = of_day(&name);
            (name, tally)
        });
        let shown = shown.collect();
        let mut compared = Compared {
            id: row.id,
            phone_number: row.phone_number.clone(),
            status: row.status.clone(),
            last_call_at: row.last_call_at,
            before: Tally::default(),
            recent: Tally::default(),
        };
        for day in &read {
            if (&stretches.recent..=&stretches.until).contains(&&day.day) {
                compared.recent += day.tally;
            } else if (&stretches.before..&stretches.recent).contains(&&day.day) {
                compared.before += day.tally;
            }
        }
        let mut campaigns = store.campaigns_on(tenant, row.id, &stretches).await?;
        let mut dispositions = store.dispositions_on(tenant, row.id, &stretches).await?;
        for parts in [&mut campaigns, &mut dispositions] {
            // Of dials no log tells either.
            parts.retain(|(_, tally)| tally.calls > 0);
            parts.sort_by(|(a, x), (b, y)| y.calls.cmp(&x.calls).then(a.cmp(b)));
        }
        let query = RecordQuery {
            did: Some(row.phone_number.clone()),
            rows_max: CALLS,
            ..RecordQuery::default()
        };
        let calls = store.call_records(tenant, &query).await?;
        Ok(Self {
            row,
            compared,
            stretches,
            days: shown,
            campaigns,
            dispositions,
            calls,
        })
    }

    /// The page's content.
    pub(super) fn content(&self, days: Days) -> Markup {
        let judgement = judge(&self.compared.before, &self.compared.recent);
        let row = &self.row;
        html! {
            nav.crumbs aria-label="Where you are" { a href="/" { "All DIDs" } }
            section #did data-live aria-labelledby="did-title" {
                h1 #did-title { (row.phone_number) " " (judged(&judgement)) }
                p.facts {
                    "status " b { (row.status) } ", " (row.origin) ", known since " (time(row.created_at))
                }
                nav aria-label="Days" {
                    @for other in Days::ALL {
                        a href=(format!("?days={}", other.as_str()))
                            aria-current=[(other == days).then_some("true")] { (other.title()) }
                    }
                }
                (tiles(&self.compared.recent))
                p.summary {
                    (self.stretches.recent) " to " (self.stretches.until)
                    ", compared with the days from " (self.stretches.before) " on"
                }
                h2 { "By campaign" }
                (parts("Campaign", &self.campaigns))
                h2 { "By disposition" }
                (parts("Disposition", &self.dispositions))
                h2 { "The last " (DAYS) " days" }
                (chart::days(&self.days))
                (self.table_of_days())
                h2 { "Recent calls" }
                p.note { "Times are in your own zone, days in the dialer's." }
                (self.table_of_calls())
            }
        }
    }

    fn table_of_days(&self) -> Markup {
        let days: Vec<&(String, Tally)> = self.days.iter().rev().collect();
        html! {
            details {
                summary { "The numbers of the last " (DAYS) " days" }
                div.scrolls tabindex="0" role="region" aria-label="Numbers by day" {
                    table {
                        thead {
                            tr {
                                @for title in ["Day", "Dials", "Calls", "Answered", "Blocked", "Successful"] {
                                    th scope="col" { (title) }
                                }
                            }
                        }
                        tbody {
                            @for (name, day) in days {
                                tr {
                                    th scope="row" { (name) }
                                    td.figure { (number(day.dials)) }
                                    td.figure { (number(day.calls)) }
                                    td.figure { (percent(share(day.answered, day.calls))) }
                                    td.figure { (percent(share(day.blocked, day.calls))) }
                                    td.figure { (percent(share(day.successful, day.calls))) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn table_of_calls(&self) -> Markup {
        html! {
            @if self.calls.calls.is_empty() { p.empty { "No calls are kept." } } @else {
                div.scrolls tabindex="0" role="region" aria-label="Recent calls" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Began" }
                                th scope="col" { "Called" }
                                th scope="col" { "Disposition" }
                                th scope="col" { "Outcome" }
                                th scope="col" { "Seconds" }
                                th.wide scope="col" { "Campaign" }
                                th.wide scope="col" { "Agent" }
                                th.wide scope="col" { "DID known by" }
                            }
                        }
                        tbody { @for record in &self.calls.calls { (call(record)) } }
                    }
                }
                @if self.calls.next.is_some() {
                    p.note { "Earlier ones: GET /api/v1/call-records?did=" (self.row.phone_number.replace('+', "%2B")) }
                }
            }
        }
    }
}

fn call(record: &CallRecord) -> Markup {
    let call = &record.call;
    html! {
        tr .uncounted[!call.counted] {
            th scope="row" { (time(call.started_at)) }
            td { (call.phone_number) }
            td { (call.disposition) }
            td { @if call.counted { (words(call.outcome.as_str())) } @else { "not yet" } }
            td.figure { @if let Some(seconds) = call.duration_seconds { (number(seconds)) } }
            td.wide { (call.campaign_id) }
            td.wide { (call.agent_id) }
            td.wide { (words(call.attribution.as_str())) }
        }
    }
}

/// A name of the store as people write it.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// The numbers of some parts, those with the most calls first.
fn parts(title: &str, parts: &[(String, Tally)]) -> Markup {
    html! {
        @if parts.is_empty() { p.empty { "No calls on these days." } } @else {
            div.scrolls tabindex="0" role="region" aria-label=(title) {
                table {
                    thead {
                        tr {
                            @for title in [title, "Calls", "Answered", "Blocked", "Successful"] {
                                th scope="col" { (title) }
                            }
                        }
                    }
                    tbody {
                        @for (name, part) in parts {
                            tr {
                                th scope="row" { @if name.is_empty() { "none" } @else { (name) } }
                                td.figure { (number(part.calls)) }
                                td.figure { (percent(share(part.answered, part.calls))) }
                                td.figure { (percent(share(part.blocked, part.calls))) }
                                td.figure { (percent(share(part.successful, part.calls))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

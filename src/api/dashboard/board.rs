//! The table of DIDs: what was asked of it, and which of a tenant's DIDs that shows.
//!
//! All DIDs of a tenant are read at once, sorted and searched here, and kept for a
//! moment: whoever looks at the table and sorts it, and all who watch it, cost the store
//! one look.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::ToSpan as _;
use jiff::civil::Date;
use quick_cache::unsync::Cache;

use super::trend::{Judgement, Level, judge};
use crate::ledger::share;
use crate::store::{Compared, SqlStore, StoreError, Stretches, Tally};

/// DIDs of the table; of more those that were called from last.
pub(super) const DIDS_MAX: u32 = 10_000;

/// DIDs of a page.
pub(super) const PAGE_ROWS: usize = 50;

/// How long a table is shown without another look into the store.
const KEPT: Duration = Duration::from_secs(2);

/// Tables kept: of a tenant and a stretch of days each.
const KEPT_MAX: usize = 16;

/// Characters of a search that are looked at.
const SEARCH_MAX: usize = 40;

/// How many days are compared with those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Days {
    /// The newest day, with the seven before.
    One,
    /// Seven days, with the seven before.
    #[default]
    Seven,
    /// Thirty days, with the thirty before.
    Thirty,
}

impl Days {
    pub(super) const ALL: [Self; 3] = [Self::One, Self::Seven, Self::Thirty];

    /// As in an address.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Seven => "7",
            Self::Thirty => "30",
        }
    }

    /// As on a page.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::One => "1 day",
            Self::Seven => "7 days",
            Self::Thirty => "30 days",
        }
    }

    fn counts(self) -> (i64, i64) {
        match self {
            Self::One => (1, 7),
            Self::Seven => (7, 7),
            Self::Thirty => (30, 30),
        }
    }

    /// The stretches that end with a day.
    pub(super) fn until(self, last: Date) -> Stretches {
        let (recent, before) = self.counts();
        Stretches {
            before: back(last, recent + before - 1).to_string(),
            recent: back(last, recent - 1).to_string(),
            until: last.to_string(),
        }
    }
}

/// So many days before; the calendar's first day where there are not so many.
pub(super) fn back(day: Date, days: i64) -> Date {
    day.checked_sub(days.days()).unwrap_or(Date::MIN)
}

/// [`last_day`] of what is in the store.
pub(super) async fn read_last_day(
    store: &SqlStore,
    tenant: &str,
    now: i64,
) -> Result<Date, StoreError> {
    let newest = store.newest_day(tenant, now).await?;
    Ok(last_day(newest.as_deref(), now))
}

/// The day that a tenant's recent days end with: that of the newest call until now, if
/// it can be today anywhere on earth; else today in UTC. `now`: seconds since 1970 (UTC).
fn last_day(newest: Option<&str>, now: i64) -> Date {
    let today = jiff::Timestamp::from_second(now).unwrap_or_default();
    let today = today.to_zoned(jiff::tz::TimeZone::UTC).date();
    let newest = newest.and_then(|day| day.parse::<Date>().ok());
    let is_today = |day: &Date| (back(today, 1)..=back(today, -1)).contains(day);
    newest.filter(is_today).unwrap_or(today)
}

/// By what the table is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Those that turned bad first, then by calls.
    #[default]
    State,
    Number,
    Calls,
    Answered,
    Blocked,
    Successful,
    LastCall,
}

impl Sort {
    pub(super) const ALL: [Self; 7] = [
        Self::State,
        Self::Number,
        Self::Calls,
        Self::Answered,
        Self::Blocked,
        Self::Successful,
        Self::LastCall,
    ];

    /// As in an address.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Number => "number",
            Self::Calls => "calls",
            Self::Answered => "answered",
            Self::Blocked => "blocked",
            Self::Successful => "successful",
            Self::LastCall => "last-call",
        }
    }

    /// Whether the greatest come first unless one asks otherwise.
    fn descends(self) -> bool {
        self != Self::Number
    }
}

/// What is asked of the table; what is not understood is as if it were not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Part of a number, or a status.
    pub(super) search: String,
    /// Only those that stand out.
    pub(super) only_signs: bool,
    pub(super) days: Days,
    pub(super) sort: Sort,
    /// The other way round than [`Sort`] has it.
    pub(super) is_reversed: bool,
    /// From 0.
    pub(super) page: usize,
}

impl View {
    /// As the query of an address has it.
    pub(super) fn of(query: &str) -> Self {
        let mut view = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "q" => view.search = value.trim().chars().take(SEARCH_MAX).collect(),
                "signs" => view.only_signs = value == "1",
                "days" => {
                    let known = Days::ALL.into_iter().find(|days| days.as_str() == value);
                    view.days = known.unwrap_or_default();
                }
                "sort" => {
                    let known = Sort::ALL.into_iter().find(|sort| sort.as_str() == value);
                    view.sort = known.unwrap_or_default();
                }
                "reverse" => view.is_reversed = value == "1",
                "page" => {
                    let page = value.parse::<usize>().ok().filter(|page| *page > 0);
                    view.page = page.map_or(0, |page| page - 1);
                }
                _ => {}
            }
        }
        view
    }

    /// The query of its address; what is as it is without being said is left out.
    pub(super) fn query(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !self.search.is_empty() {
            query.append_pair("q", &self.search);
        }
        if self.only_signs {
            query.append_pair("signs", "1");
        }
        if self.days != Days::default() {
            query.append_pair("days", self.days.as_str());
        }
        if self.sort != Sort::default() {
            query.append_pair("sort", self.sort.as_str());
        }
        if self.is_reversed {
            query.append_pair("reverse", "1");
        }
        if self.page > 0 {
            query.append_pair("page", &(self.page + 1).to_string());
        }
        query.finish()
    }

    /// Sorted by something; the other way round if it is sorted by it already.
    pub(super) fn by(&self, sort: Sort) -> Self {
        Self {
            sort,
            is_reversed: self.sort == sort && !self.is_reversed,
            page: 0,
            ..self.clone()
        }
    }

    /// Whether the greatest come first.
    pub(super) fn descends(&self) -> bool {
        self.sort.descends() != self.is_reversed
    }
}

/// A DID of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) did: Compared,
    pub(super) judgement: Judgement,
}

/// A tenant's DIDs.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) days: Stretches,
    pub(super) last_day: Date,
    pub(super) rows: Vec<Row>,
    /// Of all of them, on the recent days.
    pub(super) recent: Tally,
    /// There are more than [`DIDS_MAX`].
    pub(super) is_cut: bool,
}

/// What is seen of a table.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) rows: Vec<&'a Row>,
    /// Rows of all pages.
    pub(super) count: usize,
    /// The page that is seen, from 0; the last where there are not so many.
    pub(super) page: usize,
}

impl Board {
    pub(super) fn new(days: Stretches, last_day: Date, mut dids: Vec<Compared>) -> Self {
        let rows_max = usize::try_from(DIDS_MAX).unwrap_or(usize::MAX);
        let is_cut = dids.len() > rows_max;
        dids.truncate(rows_max);
        let mut recent = Tally::default();
        let rows = dids.into_iter().map(|did| {
            recent += did.recent;
            let judgement = judge(&did.before, &did.recent);
            Row { did, judgement }
        });
        let rows = rows.collect();
        Self {
            days,
            last_day,
            rows,
            recent,
            is_cut,
        }
    }

    /// How many DIDs are of a level.
    pub(super) fn count(&self, level: Level) -> usize {
        let of_level = |row: &&Row| row.judgement.level == level;
        self.rows.iter().filter(of_level).count()
    }

    /// What a view sees.
    pub(super) fn seen(&self, view: &View) -> Seen<'_> {
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| row.is_in(view)).collect();
        rows.sort_by(|a, b| {
            let order = match view.descends() {
                true => b.compare(a, view.sort),
                false => a.compare(b, view.sort),
            };
            // What has no such number is last either way.
            let is_without = |row: &Row| row.is_without(view.sort);
            is_without(a)
                .cmp(&is_without(b))
                .then(order)
                .then_with(|| b.did.recent.calls.cmp(&a.did.recent.calls))
                .then_with(|| a.did.phone_number.cmp(&b.did.phone_number))
        });
        let count = rows.len();
        let page = view.page.min(count.saturating_sub(1) / PAGE_ROWS);
        let rows = rows.into_iter().skip(page * PAGE_ROWS).take(PAGE_ROWS);
        Seen {
            rows: rows.collect(),
            count,
            page,
        }
    }
}

impl Row {
    fn is_in(&self, view: &View) -> bool {
        let has_sign = self.judgement.level != Level::Fine;
        if view.only_signs && !has_sign {
            return false;
        }
        // However a number is written, its digits are the same.
        let is_number = |c: char| c.is_ascii_digit() || "+-(). ".contains(c);
        let digits: String = view.search.chars().filter(char::is_ascii_digit).collect();
        let by_number = view.search.chars().all(is_number)
            && !digits.is_empty()
            && self.did.phone_number.contains(&digits);
        let status = self.did.status.to_lowercase();
        let by_status = status.contains(&view.search.to_lowercase());
        view.search.is_empty() || by_number || by_status
    }

    fn share(&self, sort: Sort) -> Option<f64> {
        let recent = &self.did.recent;
        let part = match sort {
            Sort::Answered => recent.answered,
            Sort::Blocked => recent.blocked,
            Sort::Successful => recent.successful,
            Sort::State | Sort::Number | Sort::Calls | Sort::LastCall => return None,
        };
        share(part, recent.calls)
    }

    fn is_without(&self, sort: Sort) -> bool {
        match sort {
            Sort::Answered | Sort::Blocked | Sort::Successful => self.share(sort).is_none(),
            Sort::LastCall => self.did.last_call_at.is_none(),
            Sort::State | Sort::Number | Sort::Calls => false,
        }
    }

    fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        match sort {
            Sort::State => self.judgement.level.cmp(&other.judgement.level),
            Sort::Number => self.did.phone_number.cmp(&other.did.phone_number),
            Sort::Calls => self.did.recent.calls.cmp(&other.did.recent.calls),
            Sort::LastCall => self.did.last_call_at.cmp(&other.did.last_call_at),
            Sort::Answered | Sort::Blocked | Sort::Successful => {
                let (own, others) = (self.share(sort), other.share(sort));
                own.partial_cmp(&others).unwrap_or(Ordering::Equal)
            }
        }
    }
}

/// The tables that were read last.
#[derive(Debug)]
pub(crate) struct Boards(Mutex<Cache<(String, Days), Kept>>);

#[derive(Clone, Debug)]
struct Kept {
    board: Arc<Board>,
    at: Instant,
}

impl Boards {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Cache::new(KEPT_MAX)))
    }

    /// The table of a tenant that was read a moment ago.
    pub(super) fn kept(&self, tenant: &str, days: Days, now: Instant) -> Option<Arc<Board>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&(tenant.to_owned(), days))?;
        let is_young = now.saturating_duration_since(kept.at) < KEPT;
        is_young.then(|| Arc::clone(&kept.board))
    }

    /// Reads the table of a tenant, and keeps it. `now`: seconds since 1970 (UTC).
    pub(super) async fn read(
        &self,
        store: &SqlStore,
        tenant: &str,
        days: Days,
        now: i64,
    ) -> Result<Arc<Board>, StoreError> {
        let last_day = read_last_day(store, tenant, now).await?;
        let stretches = days.until(last_day);
        let dids = store.compared(tenant, &stretches, DIDS_MAX + 1).await?;
        let board = Arc::new(Board::new(stretches, last_day, dids));
        let kept = Kept {
            board: Arc::clone(&board),
            at: Instant::now(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((tenant.to_owned(), days), kept);
        Ok(board)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_800_000_000; // 2027-01-15 08:00 UTC

    fn did(number: &str, status: &str, calls: i64, answered: i64, blocked: i64) -> Compared {
        Compared {
            id: calls,
            phone_number: number.to_owned(),
            status: status.to_owned(),
            last_call_at: (calls > 0).then_some(NOON + calls),
            before: Tally::default(),
            recent: Tally {
                calls,
                answered,
                blocked,
                ..Tally::default()
            },
        }
    }

    fn board() -> Board {
        let last = last_day(None, NOON);
        let dids = vec![
            did("+13125550100", "active", 100, 30, 0),
            did("+13125550101", "active", 40, 2, 30),
            did("+13125550102", "paused", 0, 0, 0),
            did("+13125550103", "active", 200, 20, 1),
        ];
        Board::new(Days::Seven.until(last), last, dids)
    }

    #[track_caller]
    fn assert_seen(query: &str, endings: &[&str]) {
        let board = board();
        let seen = board.seen(&View::of(query));
        let of = |row: &&Row| row.did.phone_number.replace("+1312555", "");
        let rows: Vec<String> = seen.rows.iter().map(of).collect();
        assert_eq!(rows, endings, "{query}");
    }

    #[test]
    fn the_table_is_sorted_and_searched() {
        assert_seen("", &["0101", "0103", "0100", "0102"]);
        assert_seen("sort=number", &["0100", "0101", "0102", "0103"]);
        assert_seen("sort=number&reverse=1", &["0103", "0102", "0101", "0100"]);
        assert_seen("sort=answered", &["0100", "0103", "0101", "0102"]);
        assert_seen("sort=answered&reverse=1", &["0101", "0103", "0100", "0102"]);
        assert_seen("sort=calls", &["0103", "0100", "0101", "0102"]);
        assert_seen(
            "sort=last-call&reverse=1",
            &["0101", "0100", "0103", "0102"],
        );
        assert_seen("q=(312)+555-0101", &["0101"]);
        assert_seen("q=PAUSED", &["0102"]);
        assert_seen("q=nothing", &[]);
        assert_seen("q=x1", &[]);
        assert_seen("signs=1", &["0101"]);
        assert_seen(
            "sort=nonsense&days=9&page=7",
            &["0101", "0103", "0100", "0102"],
        );
        assert_eq!(board().count(Level::Bad), 1);
        assert_eq!(board().recent.calls, 340);
    }

    #[test]
    fn an_address_says_what_is_seen() {
        for query in ["", "q=%2B1312&signs=1&days=30&sort=calls&reverse=1&page=3"] {
            assert_eq!(View::of(query).query(), query);
        }
        let view = View::of("q=x&page=4");
        let by_calls = view.by(Sort::Calls);
        assert_eq!(by_calls.query(), "q=x&sort=calls");
        assert_eq!(by_calls.by(Sort::Calls).query(), "q=x&sort=calls&reverse=1");
        assert_eq!(
            by_calls.by(Sort::Calls).by(Sort::Calls).query(),
            "q=x&sort=calls"
        );
    }

    #[test]
    fn the_days_end_with_the_newest_that_can_be_today() {
        let day = |newest| last_day(newest, NOON).to_string();
        assert_eq!(day(None), "2027-01-15");
        assert_eq!(day(Some("2027-01-16")), "2027-01-16");
        assert_eq!(day(Some("2027-01-14")), "2027-01-14");
        assert_eq!(day(Some("2026-06-01")), "2027-01-15");
        assert_eq!(day(Some("nonsense")), "2027-01-15");
        let week = Days::Seven.until(last_day(None, NOON));
        assert_eq!(
            (week.before.as_str(), week.recent.as_str()),
            ("2027-01-02", "2027-01-09")
        );
        let one = Days::One.until(last_day(None, NOON));
        assert_eq!(
            (one.before.as_str(), one.recent.as_str(), one.until.as_str()),
            ("2027-01-08", "2027-01-15", "2027-01-15")
        );
    }
}

//! What a request asks for, in its query: every parameter checked, and every bad one
//! named.

use std::collections::BTreeMap;

use axum::http::Uri;

use super::answer::BadFields;
use crate::store::RecordMark;
use crate::vicidial::Phones;

/// Rows of a page, unless asked otherwise, and at most.
const ROWS: u32 = 100;
/// As [`ROWS`].
const ROWS_MAX: u32 = 1000;

/// Longest value of a parameter, in bytes.
const VALUE_BYTES_MAX: usize = 255;

/// The parameters of a request, taken one by one.
#[derive(Debug)]
pub(super) struct Parameters {
    given: BTreeMap<String, String>,
    pub(super) bad: BadFields,
}

impl Parameters {
    /// Those of a query; none may be there that is not `known`, nor twice.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Self {
        let (mut given, mut bad) = (BTreeMap::new(), BadFields::default());
        let query = uri.query().unwrap_or_default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            // A name that is sent back is cut short.
            let shown: String = name.chars().take(40).collect();
            if !known.contains(&name.as_ref()) {
                bad.add(
                    &shown,
                    format!("no such parameter: there are {}", known.join(", ")),
                );
            } else if value.len() > VALUE_BYTES_MAX {
                bad.add(&shown, format!("longer than {VALUE_BYTES_MAX} bytes"));
            } else if value.contains('\0') {
                bad.add(&shown, "has a NUL character");
            } else if given
                .insert(name.into_owned(), value.into_owned())
                .is_some()
            {
                bad.add(&shown, "given twice");
            }
        }
        Self { given, bad }
    }

    /// A text as it is.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    fn read<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.given.remove(name)?;
        self.bad.take(name, read(&value))
    }

    /// How many rows.
    pub(super) fn limit(&mut self) -> u32 {
        let read = |value: &str| {
            let number = value.parse().ok();
            let number = number.filter(|number| (1..=ROWS_MAX).contains(number));
            number.ok_or_else(|| format!("expected a number from 1 to {ROWS_MAX}"))
        };
        self.read("limit", read).unwrap_or(ROWS)
    }

    /// A time: seconds since 1970, or RFC 3339.
    pub(super) fn time(&mut self, name: &str) -> Option<i64> {
        self.read(name, time)
    }

    /// A phone number as it is said, and in its one form.
    pub(super) fn number(&mut self, name: &str, phones: &mut Phones) -> Option<(String, String)> {
        self.read(name, |value| {
            let number = phones.normalise(value);
            let number = number.map(|number| (value.to_owned(), number));
            number.ok_or_else(|| "expected a phone number".to_owned())
        })
    }

    /// A place between calls.
    pub(super) fn mark(&mut self) -> Option<RecordMark> {
        self.read("cursor", |value| {
            let text = opened(value)?;
            let parts = text.split_once('.');
            let parts = parts.and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
            let (started_at, id) = parts.ok_or_else(foreign)?;
            Ok(RecordMark { started_at, id })
        })
    }

    /// A place between DIDs.
    pub(super) fn behind(&mut self) -> Option<String> {
        self.read("cursor", opened)
    }
}

/// A time in seconds since 1970.
///
/// # Errors
/// What was expected.
pub(super) fn time(value: &str) -> Result<i64, String> {
    let seconds = value
        .parse()
        .ok()
        .filter(|at| (0..=MOMENT_MAX).contains(at));
    let at = seconds.or_else(|| Some(value.parse::<jiff::Timestamp>().ok()?.as_second()));
    at.filter(|at| (0..=MOMENT_MAX).contains(at))
        .ok_or_else(|| "expected a time: RFC 3339, or seconds since 1970".to_owned())
}

/// The end of the year 9999.
const MOMENT_MAX: i64 = 253_402_300_799;

/// A place as text that nobody is to make up.
pub(super) fn sealed(place: &str) -> String {
    hex::encode(place)
}

/// A place between calls as such.
pub(super) fn sealed_mark(mark: RecordMark) -> String {
    sealed(&format!("{}.{}", mark.started_at, mark.id))
}

fn opened(cursor: &str) -> Result<String, String> {
    let bytes = hex::decode(cursor).map_err(|_| foreign())?;
    String::from_utf8(bytes).map_err(|_| foreign())
}

fn foreign() -> String {
    "expected the nextCursor of an answer".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_parameter_is_named() {
        let uri = "/?limit=0&since=yesterday&cursor=x&odd=1&did=a&did=b&campaign=%00";
        let known = ["limit", "since", "cursor", "did", "campaign", "until"];
        let mut parameters = Parameters::of(&uri.parse().expect("a URI"), &known);
        let mut phones = Phones::new("US").expect("known");
        assert_eq!(parameters.limit(), ROWS);
        assert_eq!(parameters.time("since"), None);
        assert_eq!(parameters.mark(), None);
        assert_eq!(parameters.number("did", &mut phones), None);
        let refused = parameters.bad.done().expect_err("all are bad");
        assert_eq!(refused.status(), 400);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let body = runtime
            .expect("a runtime")
            .block_on(axum::body::to_bytes(refused.into_body(), 4096))
            .expect("a body");
        let document: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let named = document["errors"].as_object().expect("by field");
        let named: Vec<&str> = named.keys().map(String::as_str).collect();
        assert_eq!(
            named,
            ["campaign", "cursor", "did", "limit", "odd", "since"]
        );
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, at) in [
            ("1700000000", Some(1_700_000_000)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("2023-11-14T23:13:20+01:00", Some(1_700_000_000)),
            ("2023-11-14", None),
            ("-1", None),
            ("99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(time(text).ok(), at, "{text}");
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let mark = RecordMark {
            started_at: -5,
            id: 7,
        };
        let uri = format!("/?cursor={}", sealed_mark(mark));
        let mut parameters = Parameters::of(&uri.parse().expect("a URI"), &["cursor"]);
        assert_eq!(parameters.mark(), Some(mark));
    }
}

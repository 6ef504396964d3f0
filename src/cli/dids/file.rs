//! DIDs as CSV: what a spreadsheet or another program makes of a list of numbers.

use std::collections::BTreeMap;

use csv::{ByteRecord, ReaderBuilder, Trim, WriterBuilder};
use jiff::Timestamp;

use crate::cli::time;
use crate::store::{DidEntries, DidEntry, DidRecord};
use crate::vicidial::Phones;

/// The columns of an export; an import takes them in any order.
const COLUMNS: [&str; 5] = ["phone_number", "tenant", "status", "origin", "created_at"];

/// Longest status, in characters; the store's column has as many.
const STATUS_MAX: usize = 32;

/// The origins that the store knows.
const ORIGINS: [&str; 3] = ["observed", "imported", "reported"];

/// Fewest digits of a number; shorter ones are extensions.
const DIGITS_MIN: usize = 3;

/// Most digits of one, by E.164.
const DIGITS_MAX: usize = 15;

/// Most characters of a cell that are repeated in a message.
const SHOWN_MAX: usize = 40;

/// Whose DIDs a file may have.
#[derive(Debug)]
pub(super) struct Tenants<'a> {
    /// Whose they are where the file does not say it; `None`: it has to.
    pub(super) default: Option<&'a str>,
    /// The configured ones.
    pub(super) known: Vec<&'a str>,
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) entries: DidEntries,
    /// Lines with a DID.
    pub(super) lines: u64,
    /// Those of them that name one a second time.
    pub(super) repeated: u64,
    /// Lines with a number that is kept by its digits.
    pub(super) by_digits: Vec<String>,
}

/// Which column is where.
#[derive(Default)]
struct Header {
    phone_number: usize,
    others: BTreeMap<&'static str, usize>,
}

/// Reads a file.
///
/// # Errors
/// Every line that is wrong, with its number and why.
pub(super) fn parse(
    bytes: &[u8],
    phones: &mut Phones,
    tenants: &Tenants<'_>,
) -> Result<Given, Vec<String>> {
    // As spreadsheets begin a file in UTF-8.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first_line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let delimiter = if first_line.contains(&b';') && !first_line.contains(&b',') {
        b';'
    } else {
        b','
    };
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .trim(Trim::All)
        .from_reader(bytes);
    let mut header = None;
    let (mut given, mut wrong) = (Given::default(), Vec::new());
    let mut first_lines: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut record = ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            // Nothing else can go wrong with bytes in memory.
            Err(error) => {
                wrong.push(error.to_string());
                break;
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        if record.iter().all(<[u8]>::is_empty) {
            continue;
        }
        let header = match &header {
            Some(header) => header,
            None => match read_header(&record) {
                Ok(found) => {
                    let is_row = found.is_none();
                    let found = header.insert(found.unwrap_or_default());
                    if !is_row {
                        continue;
                    }
                    found
                }
                Err(what) => return Err(vec![format!("line {line}: {what}")]),
            },
        };
        given.lines += 1;
        match entry(&record, header, phones, tenants) {
            Err(what) => wrong.push(format!("line {line}: {what}")),
            Ok((key, entry, is_valid)) => {
                if !is_valid {
                    given.by_digits.push(format!("line {line}: {}", key.1));
                }
                if let Some(known) = given.entries.get(&key) {
                    given.repeated += 1;
                    if *known != entry {
                        let first = first_lines.get(&key).copied().unwrap_or(0);
                        wrong.push(format!(
                            "line {line}: {} is in line {first} too, and there it says something else",
                            key.1
                        ));
                    }
                    continue;
                }
                first_lines.insert(key.clone(), line);
                given.entries.insert(key, entry);
            }
        }
    }
    if header.is_none() {
        wrong.push(format!(
            "the file is empty: the first line names the columns, e.g. {}",
            COLUMNS[..3].join(",")
        ));
    }
    if wrong.is_empty() {
        Ok(given)
    } else {
        Err(wrong)
    }
}

/// The columns that the first line names; `None` where it is a number already.
fn read_header(record: &ByteRecord) -> Result<Option<Header>, String> {
    let names: Vec<String> = record
        .iter()
        .map(|cell| String::from_utf8_lossy(cell).to_lowercase())
        .collect();
    let mut header = Header::default();
    let mut has_number = false;
    for (index, name) in names.iter().enumerate() {
        let Some(column) = COLUMNS.into_iter().find(|column| column == name) else {
            continue;
        };
        let is_second = if column == COLUMNS[0] {
            header.phone_number = index;
            std::mem::replace(&mut has_number, true)
        } else {
            header.others.insert(column, index).is_some()
        };
        if is_second {
            return Err(format!("the column `{column}` is there twice"));
        }
    }
    if has_number {
        return Ok(Some(header));
    }
    match names.as_slice() {
        [only] if number_of(only).is_ok() => Ok(None),
        _ => Err(format!(
            "there is no column `phone_number`: the first line names the columns, e.g. {}",
            COLUMNS[..3].join(",")
        )),
    }
}

type Read = ((String, String), DidEntry, bool);

fn entry(
    record: &ByteRecord,
    header: &Header,
    phones: &mut Phones,
    tenants: &Tenants<'_>,
) -> Result<Read, String> {
    let cell = |index: usize| -> Result<&str, String> {
        let bytes = record.get(index).unwrap_or_default();
        std::str::from_utf8(bytes)
            .map_err(|_| "it is not UTF-8: save the file as CSV UTF-8".to_owned())
    };
    let other = |column: &str| -> Result<Option<&str>, String> {
        match header.others.get(column) {
            Some(index) => Ok(Some(cell(*index)?).filter(|text| !text.is_empty())),
            None => Ok(None),
        }
    };
    let text = number_of(cell(header.phone_number)?)?;
    let number = phones
        .normalise(text)
        .ok_or_else(|| format!("`{}` is no phone number", shown(text)))?;
    let tenant = match other("tenant")? {
        Some(named) if !tenants.known.contains(&named) => {
            return Err(format!(
                "no [[source]] has the tenant `{}`; the configuration has: {}",
                shown(named),
                tenants.known.join(", ")
            ));
        }
        Some(named) => named,
        None => tenants.default.ok_or_else(|| {
            format!(
                "it does not say whose DID this is: --tenant NAME, or a column `tenant`, one of {}",
                tenants.known.join(", ")
            )
        })?,
    };
    let status = other("status")?.map(status).transpose()?;
    let origin = other("origin")?.map(origin).transpose()?;
    let created_at = other("created_at")?.map(created_at).transpose()?;
    let is_valid = number.starts_with('+');
    let entry = DidEntry {
        status,
        origin,
        created_at,
    };
    Ok(((tenant.to_owned(), number), entry, is_valid))
}

/// A cell that can be a phone number: digits, and what is written between them.
fn number_of(cell: &str) -> Result<&str, String> {
    if cell.is_empty() {
        return Err("it has no phone number".to_owned());
    }
    let shown = shown(cell);
    let digits = cell.bytes().filter(u8::is_ascii_digit).count();
    let is_foreign = |c: char| !(c.is_ascii_digit() || " +-()./\u{a0}".contains(c));
    if let Some(foreign) = cell.chars().find(|c| is_foreign(*c)) {
        let is_scientific = matches!(foreign, 'e' | 'E') && cell.contains('+');
        return Err(if is_scientific {
            format!("`{shown}` lost digits in a spreadsheet: format the column as text there")
        } else {
            format!("`{shown}` is no phone number: `{foreign}` cannot be in one")
        });
    }
    match digits {
        ..DIGITS_MIN => Err(format!(
            "`{shown}` is no phone number: it has {digits} digits"
        )),
        DIGITS_MIN..=DIGITS_MAX => Ok(cell),
        _ => Err(format!(
            "`{shown}` is no phone number: it has {digits} digits, and at most {DIGITS_MAX} are possible"
        )),
    }
}

fn status(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.len() <= STATUS_MAX && text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "the status `{}` is none: letters, digits, - and _, at most {STATUS_MAX}",
        shown(text)
    ))
}

fn origin(text: &str) -> Result<String, String> {
    if ORIGINS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "the origin `{}` is none of {}",
        shown(text),
        ORIGINS.join(", ")
    ))
}

fn created_at(text: &str) -> Result<i64, String> {
    let time: Option<Timestamp> = text.parse().ok();
    let seconds = time
        .map(Timestamp::as_second)
        .filter(|seconds| *seconds >= 0);
    seconds.ok_or_else(|| {
        format!(
            "created_at `{}` is no time like 2026-03-01T08:00:00Z",
            shown(text)
        )
    })
}

/// A cell as a message repeats it.
fn shown(cell: &str) -> String {
    let mut shown: String = cell
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_MAX)
        .collect();
    if shown.len() < cell.len() {
        shown.push('…');
    }
    shown
}

/// The DIDs as [`parse`] reads them.
///
/// # Errors
/// None that can happen in memory.
pub(super) fn write(dids: &[DidRecord]) -> Result<String, csv::Error> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for did in dids {
        let created_at = time::format(did.created_at);
        let texts = [
            &did.phone_number,
            &did.tenant,
            &did.status,
            &did.origin,
            &created_at,
        ];
        writer.write_record(texts)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|e| csv::Error::from(e.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Given, Vec<String>> {
        let mut phones = Phones::new("US").expect("known");
        let tenants = Tenants {
            default: Some("default"),
            known: vec!["default", "west"],
        };
        parse(text.as_bytes(), &mut phones, &tenants)
    }

    fn numbers(text: &str) -> Vec<(String, String)> {
        let given = read(text).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        given.entries.into_keys().collect()
    }

    fn default(number: &str) -> (String, String) {
        ("default".to_owned(), number.to_owned())
    }

    #[test]
    fn numbers_come_in_every_usual_form() {
        let expected = vec![default("+12125550100"), default("+13125550100")];
        for text in [
            "phone_number\n2125550100\n3125550100\n",
            "2125550100\n3125550100\n",
            "\u{feff}Phone_Number;note\r\n(212) 555-0100;first\r\n+1 312.555.0100;\r\n\r\n",
            "note,phone_number\n\"a, b\",12125550100\n,\"13125550100\"\n,3125550100",
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }

    #[test]
    fn the_other_columns_are_kept() {
        let text = "status,phone_number,tenant,origin,created_at\n\
                    resting,2125550100,west,observed,2026-03-01T08:00:00Z\n,3125550100,,,\n";
        let given = read(text).expect("good");
        let west = &given.entries[&("west".to_owned(), "+12125550100".to_owned())];
        assert_eq!(west.status.as_deref(), Some("resting"));
        assert_eq!(west.origin.as_deref(), Some("observed"));
        assert_eq!(west.created_at, Some(1_772_352_000));
        assert_eq!(given.entries[&default("+13125550100")], DidEntry::default());
        assert_eq!(given.lines, 2);
    }

    #[test]
    fn each_wrong_line_is_named_with_its_reason() {
        for (line, expected) in [
            (
                "x12125550100",
                "line 2: `x12125550100` is no phone number: `x` cannot be in one",
            ),
            ("1.31256E+10", "lost digits in a spreadsheet"),
            ("12", "it has 2 digits"),
            ("1234567890123456", "at most 15"),
            (",active", "line 2: it has no phone number"),
            ("2125550100,in use", "the status `in use` is none"),
            ("2125550100,,east", "no [[source]] has the tenant `east`"),
            (
                "2125550100,,,guessed",
                "is none of observed, imported, reported",
            ),
            ("2125550100,,,,yesterday", "is no time like"),
        ] {
            let text =
                format!("phone_number,status,tenant,origin,created_at\n{line}\n3125550100\n");
            let wrong = read(&text).expect_err(line);
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains(expected), "{wrong:?}");
        }
        let wrong = read("phone_number\nx\n3125550100\ny\n").expect_err("two lines");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[1].starts_with("line 4: "), "{wrong:?}");
        let mut bytes = b"phone_number,status\n2125550100,act".to_vec();
        bytes.push(0xff);
        let mut phones = Phones::new("US").expect("known");
        let tenants = Tenants {
            default: None,
            known: vec!["a", "b"],
        };
        let wrong = parse(&bytes, &mut phones, &tenants).expect_err("a byte");
        assert!(
            wrong[0].contains("whose DID") || wrong[0].contains("UTF-8"),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_file_without_numbers_says_what_was_expected() {
        for text in ["", "\n\n", "number,status\n2125550100,active\n", "hello"] {
            let wrong = read(text).expect_err(text);
            assert!(
                wrong[0].contains("the first line names the columns"),
                "{wrong:?}"
            );
        }
        let wrong = read("phone_number,phone_number\n").expect_err("twice");
        assert!(wrong[0].contains("twice"), "{wrong:?}");
    }

    #[test]
    fn a_did_may_be_named_twice_if_both_say_the_same() {
        let given = read("phone_number,status\n2125550100,\n+12125550100,\n").expect("the same");
        assert_eq!(
            (given.lines, given.repeated, given.entries.len()),
            (2, 1, 1)
        );
        let wrong = read("phone_number,status\n2125550100,a\n12125550100,b\n").expect_err("not");
        assert!(wrong[0].contains("is in line 2 too"), "{wrong:?}");
    }

    #[test]
    fn what_is_no_valid_number_is_kept_by_its_digits_and_told() {
        let given = read("0000000000\n").expect("good");
        assert_eq!(given.by_digits, ["line 1: 0000000000"]);
        assert!(given.entries.contains_key(&default("0000000000")));
    }

    #[test]
    fn an_export_reads_as_what_it_was() {
        let did = DidRecord {
            tenant: "west".to_owned(),
            phone_number: "+12125550100".to_owned(),
            status: "resting".to_owned(),
            origin: "observed".to_owned(),
            created_at: 1_772_352_000,
            dials: 5,
            total_calls: 4,
        };
        let csv = write(std::slice::from_ref(&did)).expect("written");
        let given = read(&csv).expect("good");
        let expected = DidEntry {
            status: Some(did.status),
            origin: Some(did.origin),
            created_at: Some(did.created_at),
        };
        let key = (did.tenant, did.phone_number);
        assert_eq!(given.entries, BTreeMap::from([(key, expected)]));
    }
}

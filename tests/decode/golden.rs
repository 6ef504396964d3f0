//! Reads the text that `mariadb-binlog -vv` printed of a fixture.

use std::collections::BTreeSet;

/// One event as printed.
#[derive(Debug, Default)]
pub(crate) struct Event {
    /// Offset behind the event.
    pub(crate) end: u64,
    /// What it is, e.g. `Write_rows: table id 22 flags: STMT_END_F`.
    pub(crate) what: String,
    /// The lines below that belong to no row, e.g. the statement.
    pub(crate) lines: Vec<String>,
    /// The changed rows.
    pub(crate) rows: Vec<Row>,
}

/// One changed row as printed.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// INSERT, UPDATE or DELETE.
    pub(crate) verb: String,
    /// The table, without its database.
    pub(crate) table: String,
    /// The image under WHERE; empty for INSERT.
    pub(crate) before: Vec<Cell>,
    /// The image under SET; empty for DELETE.
    pub(crate) after: Vec<Cell>,
}

/// One value as printed.
#[derive(Debug)]
pub(crate) struct Cell {
    /// The column, from 0.
    pub(crate) column: usize,
    /// The value.
    pub(crate) text: Vec<u8>,
    /// Its type, e.g. `VARSTRING(20)`.
    pub(crate) kind: String,
}

impl Event {
    pub(crate) fn is_rows(&self) -> bool {
        self.what.contains("_rows: table id")
    }

    /// Number of the table map that a row event or a table map names.
    pub(crate) fn table_id(&self) -> Option<u64> {
        let behind = ["_rows: table id ", "mapped to number "];
        let text = behind
            .iter()
            .find_map(|label| Some(self.what.split_once(label)?.1))?;
        text.split(' ').next()?.parse().ok()
    }

    /// Whether a line below says exactly this.
    pub(crate) fn says(&self, line: &str) -> bool {
        self.lines.iter().any(|said| said == line)
    }
}

/// The events in their order.
pub(crate) fn parse(text: &[u8]) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut in_where = false;
    for line in text.split(|&b| b == b'\n') {
        if let Some(event) = head(line) {
            events.push(event);
            continue;
        }
        let Some(event) = events.last_mut() else {
            continue;
        };
        let Some(row_line) = line.strip_prefix(b"### ") else {
            event.lines.push(String::from_utf8_lossy(line).into_owned());
            continue;
        };
        if let Some(cell) = cell(row_line) {
            let row = event.rows.last_mut().expect("a value follows its row");
            let image = if in_where {
                &mut row.before
            } else {
                &mut row.after
            };
            image.push(cell);
            continue;
        }
        match row_line {
            b"WHERE" => in_where = true,
            b"SET" => in_where = false,
            _ => event.rows.push(row(row_line)),
        }
    }
    events
}

/// The tables that the events name.
pub(crate) fn tables(events: &[Event]) -> BTreeSet<String> {
    let maps = events.iter().filter_map(|event| {
        let (_, name) = event.what.split_once("Table_map: `asterisk`.`")?;
        Some(name.split('`').next()?.to_owned())
    });
    maps.collect()
}

/// `#231114 22:21:40 server id 77  end_log_pos 1644 CRC32 0xfd29a3ce \tAnnotate_rows:`
fn head(line: &[u8]) -> Option<Event> {
    let line = std::str::from_utf8(line).ok()?;
    let (_, rest) = line.strip_prefix('#')?.split_once("end_log_pos ")?;
    let (numbers, what) = rest.split_once('\t')?;
    Some(Event {
        end: numbers.split(' ').next()?.parse().ok()?,
        what: what.to_owned(),
        ..Event::default()
    })
}

/// `UPDATE `asterisk`.`call_log_my``
fn row(line: &[u8]) -> Row {
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split('`').collect();
    assert_eq!(words.get(1), Some(&"asterisk"), "{line}");
    let verb = line.split(' ').next().expect("a verb");
    Row {
        verb: verb.to_owned(),
        table: words[3].to_owned(),
        ..Row::default()
    }
}

/// `  @2=1 /* INT meta=0 nullable=0 is_null=0 */`
fn cell(line: &[u8]) -> Option<Cell> {
    let line = line.strip_prefix(b"  @")?;
    let equals = line.iter().position(|&b| b == b'=')?;
    let comment = line.windows(4).rposition(|four| four == b" /* ")?;
    let number: usize = std::str::from_utf8(&line[..equals]).ok()?.parse().ok()?;
    let kind = std::str::from_utf8(&line[comment + 4..]).ok()?;
    Some(Cell {
        column: number - 1,
        text: line[equals + 1..comment].to_vec(),
        kind: kind.split(" meta=").next()?.to_owned(),
    })
}

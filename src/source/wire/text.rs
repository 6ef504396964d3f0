//! Statements and their results, in the protocol's text form.
//!
//! Values stay the bytes the server sent: a text column may hold anything.

use super::packets::{Packets, invalid};
use super::{WireError, refusal};

/// The statement command.
const COM_QUERY: u8 = 0x03;

/// Memory that one result may take, with what a value costs beside its bytes:
/// the largest question asked is a page of call rows, a few megabytes.
const RESULT_BYTES_MAX: usize = 128 << 20;

/// What a value costs beside its bytes: itself, and what the allocator adds.
const CELL_BYTES: usize = size_of::<Cell>() + 16;

/// Columns that one result may have: the server's own limit on a table.
const COLUMNS_MAX: usize = 4096;

/// One value; `None` is NULL.
pub(crate) type Cell = Option<Vec<u8>>;

/// A statement's result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// Column names, as the server sent them.
    pub(crate) columns: Vec<String>,
    /// The rows, each with as many values as there are columns.
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The value of the first row in the column of that name (any case), as text.
    pub(crate) fn first(&self, column: &str) -> Option<String> {
        let at = self
            .columns
            .iter()
            .position(|name| name.eq_ignore_ascii_case(column))?;
        text(self.rows.first()?.get(at)?)
    }

    /// The first value of the first row, as text.
    pub(crate) fn scalar(&self) -> Option<String> {
        text(self.rows.first()?.first()?)
    }
}

/// A value as text; bytes that are not UTF-8 are replaced.
pub(crate) fn text(cell: &Cell) -> Option<String> {
    let bytes = cell.as_deref()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// Sends a statement and reads its result.
pub(super) async fn query(packets: &mut Packets, sql: &str) -> Result<Table, WireError> {
    let mut payload = Vec::with_capacity(sql.len() + 1);
    payload.push(COM_QUERY);
    payload.extend(sql.as_bytes());
    packets.begin();
    packets.accept(RESULT_BYTES_MAX);
    packets.send(&payload).await?;
    let malformed = || invalid("the server's result is malformed");
    let columns = {
        let payload = packets.receive().await?;
        refusal(payload)?;
        match payload.first() {
            Some(0x00) => return Ok(Table::default()),
            // A request for a local file, which nobody asked for.
            Some(0xfb) | None => return Err(malformed().into()),
            Some(_) => length(payload)
                .map(|(columns, _)| columns)
                .filter(|columns| *columns <= COLUMNS_MAX)
                .ok_or_else(malformed)?,
        }
    };
    let mut table = Table::default();
    let mut room = RESULT_BYTES_MAX;
    for _ in 0..columns {
        let payload = packets.receive().await?;
        refusal(payload)?;
        take(&mut room, payload.len())?;
        table
            .columns
            .push(column_name(payload).ok_or_else(malformed)?);
    }
    if !is_end(packets.receive().await?) {
        return Err(malformed().into());
    }
    loop {
        let payload = packets.receive().await?;
        refusal(payload)?;
        if is_end(payload) {
            return Ok(table);
        }
        take(&mut room, payload.len() + columns * CELL_BYTES)?;
        let row = row(payload, table.columns.len()).ok_or_else(malformed)?;
        table.rows.push(row);
    }
}

/// Takes what a part of a result needs of the room that is left.
fn take(room: &mut usize, bytes: usize) -> Result<(), WireError> {
    *room = room
        .checked_sub(bytes)
        .ok_or_else(|| invalid("the server's result is larger than 128 MiB"))?;
    Ok(())
}

/// True for the packet behind the columns and behind the rows.
fn is_end(payload: &[u8]) -> bool {
    payload.first() == Some(&0xfe) && payload.len() < 9
}

/// A length-encoded number, and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let wide = |count: usize| {
        let mut eight = [0; 8];
        eight.get_mut(..count)?.copy_from_slice(rest.get(..count)?);
        let number = usize::try_from(u64::from_le_bytes(eight)).ok()?;
        Some((number, rest.get(count..)?))
    };
    match first {
        0xfc => wide(2),
        0xfd => wide(3),
        0xfe => wide(8),
        0xfb | 0xff => None,
        small => Some((usize::from(*small), rest)),
    }
}

/// A length-encoded string, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = length(bytes)?;
    rest.split_at_checked(length)
}

/// The name in a column's definition: behind catalogue, database, table and its origin.
fn column_name(payload: &[u8]) -> Option<String> {
    let mut rest = payload;
    for _ in 0..4 {
        rest = string(rest)?.1;
    }
    let (name, _) = string(rest)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn row(payload: &[u8], columns: usize) -> Option<Vec<Cell>> {
    let mut cells = Vec::with_capacity(columns);
    let mut rest = payload;
    for _ in 0..columns {
        if let Some((0xfb, behind)) = rest.split_first() {
            cells.push(None);
            rest = behind;
        } else {
            let (value, behind) = string(rest)?;
            cells.push(Some(value.to_vec()));
            rest = behind;
        }
    }
    rest.is_empty().then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_nulls_and_raw_bytes() {
        let cells = row(b"\x03abc\xfb\x00\xfc\x02\x00\xe9\xff", 4).expect("valid");
        let expected = [
            Some(b"abc".to_vec()),
            None,
            Some(vec![]),
            Some(vec![0xe9, 0xff]),
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn a_cut_row_is_refused_wherever_it_ends() {
        let whole = b"\x03abc\xfb\xfd\x02\x00\x00xy";
        assert!(row(whole, 3).is_some());
        for cut in 0..whole.len() {
            assert!(row(&whole[..cut], 3).is_none(), "{cut}");
        }
        assert!(row(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xffx", 1).is_none());
        assert!(row(whole, 2).is_none());
    }
}

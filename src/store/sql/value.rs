//! What goes into a column and comes out of one, in every backend.
//!
//! Two kinds do for all that the store keeps: whole numbers and text. Booleans
//! are 0 or 1, times are seconds, unsigned numbers keep their bits.

use serde_json::Value as Cell;

use crate::ledger::{Attribution, CallOrigin, Outcome};

/// A value on its way to a backend; what is absent still has a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Value<'a> {
    /// A BIGINT.
    Int(Option<i64>),
    /// A text.
    Text(Option<&'a str>),
}

/// What a column holds.
pub(in crate::store) trait Field: Sized {
    /// Its NULL.
    const NULL: Value<'static>;

    /// For a column.
    fn value(&self) -> Value<'_>;

    /// From a column; `None` when didtail cannot have written that.
    fn from_cell(cell: Cell) -> Option<Self>;
}

impl Field for i64 {
    const NULL: Value<'static> = Value::Int(None);

    fn value(&self) -> Value<'_> {
        Value::Int(Some(*self))
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        cell.as_i64()
    }
}

/// Numbers that a column has as a BIGINT.
macro_rules! number {
    ($($type:ty: $to:expr, $from:expr);+ $(;)?) => { $(
        impl Field for $type {
            const NULL: Value<'static> = i64::NULL;

            fn value(&self) -> Value<'_> {
                Value::Int(Some($to(*self)))
            }

            fn from_cell(cell: Cell) -> Option<Self> {
                $from(i64::from_cell(cell)?)
            }
        }
    )+ };
}

number! {
    u64: u64::cast_signed, |bits: i64| Some(bits.cast_unsigned());
    u32: i64::from, |n: i64| n.try_into().ok();
    u16: i64::from, |n: i64| n.try_into().ok();
    bool: i64::from, |n: i64| Some(n != 0);
}

impl Field for String {
    const NULL: Value<'static> = Value::Text(None);

    fn value(&self) -> Value<'_> {
        Value::Text(Some(self))
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        match cell {
            Cell::String(text) => Some(text),
            Cell::Null | Cell::Bool(_) | Cell::Number(_) | Cell::Array(_) | Cell::Object(_) => None,
        }
    }
}

/// Names that a column has as text.
macro_rules! name {
    ($($type:ty),+) => { $(
        impl Field for $type {
            const NULL: Value<'static> = String::NULL;

            fn value(&self) -> Value<'_> {
                Value::Text(Some(self.as_str()))
            }

            fn from_cell(cell: Cell) -> Option<Self> {
                Self::from_name(cell.as_str()?)
            }
        }
    )+ };
}

name!(Attribution, CallOrigin, Outcome);

impl<T: Field> Field for Option<T> {
    const NULL: Value<'static> = T::NULL;

    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(T::NULL, T::value)
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        if cell.is_null() {
            Some(None)
        } else {
            T::from_cell(cell).map(Some)
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

/// A row that was read, taken apart from the left.
#[derive(Debug)]
pub(in crate::store) struct Row(std::vec::IntoIter<Cell>);

impl Row {
    pub(super) fn new(cells: Vec<Cell>) -> Self {
        Self(cells.into_iter())
    }

    /// The next column.
    ///
    /// # Errors
    /// When it holds what didtail does not write.
    pub(in crate::store) fn take<T: Field>(&mut self) -> Result<T, sqlx::Error> {
        let foreign = "a column holds a value that didtail does not write";
        let cell = self.0.next().unwrap_or(Cell::Null);
        T::from_cell(cell).ok_or_else(|| sqlx::Error::Decode(foreign.into()))
    }
}

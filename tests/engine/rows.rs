//! Rows as VICIdial writes them.

use crate::events::{Change, NOON, Row, Value};

/// A row of `vicidial_log`, to be varied.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) uniqueid: String,
    pub(crate) lead: i64,
    pub(crate) campaign: &'static str,
    pub(crate) start: i64,
    pub(crate) seconds: Option<i64>,
    pub(crate) status: String,
    pub(crate) user: &'static str,
}

impl Log {
    /// The call of a lead that begins so many seconds after noon.
    pub(crate) fn at(second: i64, lead: i64, status: &str) -> Self {
        Self {
            uniqueid: format!("{}.{lead}", NOON + second),
            lead,
            campaign: "SOLAR",
            start: NOON + second,
            seconds: None,
            status: status.to_owned(),
            user: "VDAD",
        }
    }

    pub(crate) fn row(&self) -> Row {
        Row {
            table: "vicidial_log",
            values: vec![
                text(&self.uniqueid),
                Value::Int(self.lead),
                text(self.campaign),
                Value::Time(self.start),
                Value::Int(self.start),
                self.seconds.map_or(Value::Null, Value::Int),
                text(&self.status),
                text("2125550143"),
                text(self.user),
            ],
        }
    }

    pub(crate) fn insert(&self) -> Change {
        Change::Insert(self.row())
    }

    pub(crate) fn delete(&self) -> Change {
        Change::Delete(self.row())
    }

    /// Changes the row and says so.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Self)) -> Change {
        let before = self.row();
        change(self);
        Change::Update(before, self.row())
    }

    pub(crate) fn disposition(&mut self, status: &str) -> Change {
        self.update(|log| log.status = status.to_owned())
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The caller code of a call at this second after noon.
pub(crate) fn code(second: i64, lead: i64) -> String {
    format!("V112{:06}{lead:010}", second % 1_000_000)
}

/// A dial in `vicidial_dial_log`; an empty number means none.
pub(crate) fn dial(code: &str, lead: i64, second: i64, number: &str) -> Change {
    let cid = match number {
        "" => format!("\"{code}\""),
        _ => format!("\"{code}\" <{number}>"),
    };
    Change::Insert(Row {
        table: "vicidial_dial_log",
        values: vec![
            text(code),
            Value::Int(lead),
            Value::Time(NOON + second),
            text(&cid),
        ],
    })
}

/// The same in `vicidial_dial_cid_log`.
pub(crate) fn dial_cid(code: &str, second: i64, number: &str) -> Change {
    Change::Insert(Row {
        table: "vicidial_dial_cid_log",
        values: vec![text(code), Value::Time(NOON + second), text(number)],
    })
}

/// The caller code of a call, in `vicidial_log_extended`.
pub(crate) fn link(uniqueid: &str, code: &str, lead: i64, second: i64) -> Change {
    Change::Insert(Row {
        table: "vicidial_log_extended",
        values: vec![
            text(uniqueid),
            Value::Time(NOON + second),
            text(code),
            Value::Int(lead),
        ],
    })
}

/// How the carrier ended a call; an empty code as before schema 1343.
pub(crate) fn carrier(uniqueid: &str, code: &str, lead: i64, second: i64, cause: i64) -> Change {
    Change::Insert(Row {
        table: "vicidial_carrier_log",
        values: vec![
            text(uniqueid),
            Value::Time(NOON + second),
            Value::Int(cause),
            text("BUSY"),
            Value::Int(lead),
            text(code),
        ],
    })
}

/// The caller ID that the STIR/SHAKEN script of the carrier's dialplan used.
pub(crate) fn shaken(code: &str, second: i64, number: &str) -> Change {
    Change::Insert(Row {
        table: "vicidial_tiltx_shaken_log",
        values: vec![Value::Time(NOON + second), text(code), text(number)],
    })
}

//! Landmarks as the rows of `landmarks`.

use std::collections::BTreeSet;

use crate::landmark::Sight;
use crate::vicidial::Table;

/// Of what kind a landmark is; of one place and kind there is one a subject.
pub(in crate::store) fn kind(sight: &Sight) -> &'static str {
    match sight {
        Sight::Columns { .. } => "columns",
        Sight::Archived { .. } => "archived",
        Sight::Inserted { .. } => "inserted",
    }
}

/// The table or the call that it is about.
pub(in crate::store) fn subject(sight: &Sight) -> &str {
    match sight {
        Sight::Columns { table, .. } | Sight::Archived { table, .. } => table.name(),
        Sight::Inserted { uniqueid, .. } => uniqueid,
    }
}

/// What is to be known of that, as JSON.
pub(in crate::store) fn value(sight: &Sight) -> Result<String, serde_json::Error> {
    match sight {
        Sight::Columns { columns, .. } => serde_json::to_string(columns),
        Sight::Archived { before, .. } => serde_json::to_string(before),
        Sight::Inserted { leads, .. } => serde_json::to_string(leads),
    }
}

/// The landmark of a row; `None` of one that this program does not know.
pub(in crate::store) fn sight(
    kind: &str,
    subject: String,
    value: &str,
) -> Result<Option<Sight>, serde_json::Error> {
    let table = || Table::named(&subject);
    Ok(match kind {
        "columns" => match table() {
            Some(table) => Some(Sight::Columns {
                table,
                columns: serde_json::from_str(value)?,
            }),
            None => None,
        },
        "archived" => match table() {
            Some(table) => Some(Sight::Archived {
                table,
                before: serde_json::from_str(value)?,
            }),
            None => None,
        },
        "inserted" => {
            let leads: BTreeSet<String> = serde_json::from_str(value)?;
            Some(Sight::Inserted {
                uniqueid: subject,
                leads,
            })
        }
        _ => None,
    })
}

//! VICIdial's status rows as they are now, from whichever of the two tables
//! and columns exist.

use crate::source::{Source, SourceError};
use crate::vicidial::{StatusFlags, Table};

/// The columns that are read, as far as they exist.
const COLUMNS: [&str; 6] = [
    "status",
    "campaign_id",
    "human_answered",
    "sale",
    "dnc",
    "answering_machine",
];

/// A status row.
pub(super) struct StatusRow {
    pub(super) status: String,
    /// Empty in the system's table.
    pub(super) campaign_id: String,
    pub(super) flags: StatusFlags,
}

/// The rows of one of the two status tables; none where it does not exist.
///
/// # Errors
/// [`SourceError`] when the source cannot be asked.
pub(super) async fn rows<S: Source>(
    source: &S,
    table: Table,
) -> Result<Vec<StatusRow>, SourceError> {
    let existing = source.columns(table.name()).await?;
    let columns: Vec<_> = COLUMNS
        .into_iter()
        .filter_map(|wanted| existing.iter().find(|column| column.name == wanted))
        .collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    if !table.needed().iter().all(|needed| names.contains(needed)) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for row in source.rows(table.name(), &names).await? {
        let text = |wanted: &str| {
            let mut cells = columns.iter().zip(&row);
            let (column, cell) = cells.find(|(column, _)| column.name == wanted)?;
            Some(column.decode(cell.as_ref()?))
        };
        let flag = |wanted: &str| text(wanted).as_deref() == Some("Y");
        let campaign_id = text("campaign_id").unwrap_or_default();
        if table == Table::CampaignStatuses && campaign_id.is_empty() {
            // About no call, and not to pass for the system's.
            continue;
        }
        found.push(StatusRow {
            status: text("status").unwrap_or_default(),
            campaign_id,
            flags: StatusFlags {
                human_answered: flag("human_answered"),
                sale: flag("sale"),
                dnc: flag("dnc"),
                answering_machine: flag("answering_machine"),
            },
        });
    }
    Ok(found)
}

//! From a changed row of a watched table to the facts in it.

use std::sync::Arc;

use crate::binlog::{Row, RowChange};
use crate::vicidial::SaidRow;
use crate::vicidial::cells::Cells;
use crate::vicidial::fact::{
    CallBefore, CallName, CallRow, CarrierEnding, Detail, Fact, Origin, SipAnswer,
};
use crate::vicidial::{
    Layout, Phones, StatusChange, StatusFlags, StatusKey, Table, Zone, caller_code,
};

/// A row deleted alone, as VICIdial's clean-up does it, and later than this
/// after its call began is archived, not cleaned up: VICIdial looks for
/// duplicates 150 to 10 minutes back (vicidial.md, uniqueid edge cases).
const DUPLICATE_SECONDS_MAX: i64 = 4 * 3600;

/// Reads rows in one installation's terms: its time zone and its country.
#[derive(Debug)]
pub struct Interpreter {
    zone: Zone,
    phones: Phones,
}

/// A row whose values cannot be what VICIdial writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The row has no usable key.
    #[error("the row of {table} has no {column}")]
    NoKey {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

impl Interpreter {
    /// Reads rows of a dialer in this zone, with numbers of this country.
    #[must_use]
    pub fn new(zone: Zone, phones: Phones) -> Self {
        Self { zone, phones }
    }

    /// Another for the same installation, for rows that are read now and then.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self {
            zone: self.zone.clone(),
            phones: self.phones.aside(),
        }
    }

    /// The dialer's zone.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The fact in a changed row, if there is one.
    ///
    /// # Errors
    /// [`RowError`] when the row cannot be a row of its table.
    pub fn fact(
        &mut self,
        layout: &Layout,
        change: &RowChange,
        origin: Origin,
    ) -> Result<Option<Fact>, RowError> {
        let cells = |row| Cells { layout, row };
        let detail = match change {
            RowChange::Insert { after } => self.present(cells(after), None, origin.time)?,
            RowChange::Update { before, after } => {
                self.present(cells(after), Some(cells(before)), origin.time)?
            }
            RowChange::Delete { before } => self.gone(cells(before), origin.time)?,
        };
        Ok(detail.map(|detail| Fact { origin, detail }))
    }

    /// What rows read by SELECT say, as if they were inserted now.
    ///
    /// # Errors
    /// As [`Interpreter::fact`].
    pub fn selected(
        &mut self,
        layout: &Layout,
        row: &Row,
        time: i64,
    ) -> Result<Option<Detail>, RowError> {
        self.present(Cells { layout, row }, None, time)
    }

    /// The text in one column of a row, perhaps of a partial image; `None` also
    /// for an empty one.
    #[must_use]
    pub fn text(layout: &Layout, row: &Row, column: &str) -> Option<String> {
        Cells { layout, row }.some_text(column)
    }

    /// What a row, perhaps of a partial image, has in its columns, as a statement
    /// would say it. NULL and what is empty are left out.
    #[must_use]
    pub fn said(layout: &Layout, row: &Row) -> SaidRow {
        let cells = Cells { layout, row };
        let said = layout.names().filter_map(|name| {
            let time = || cells.wall_clock(name).map(|wall| wall.to_string());
            let text = cells.some_text(name).or_else(time)?;
            Some((name.to_owned(), Some(text)))
        });
        said.collect()
    }

    fn present(
        &mut self,
        cells: Cells<'_>,
        before: Option<Cells<'_>>,
        time: i64,
    ) -> Result<Option<Detail>, RowError> {
        Ok(match cells.layout.table {
            Table::Log => {
                let row = self.call_row(cells, time)?;
                let before = match before {
                    Some(old) => {
                        let (uniqueid, lead_id) = call_key(old)?;
                        Some(CallBefore {
                            uniqueid,
                            lead_id,
                            status: old.text_or_empty("status"),
                        })
                    }
                    None => None,
                };
                Some(Detail::Call { before, row })
            }
            Table::LogExtended => {
                let code = cells.text_or_empty("caller_code");
                let uniqueid = needed(cells, "uniqueid")?;
                // Later codes of the same call name its transfers.
                caller_code::is_outbound(&code).then(|| Detail::Link {
                    uniqueid,
                    caller_code: code,
                    lead_id: lead(cells),
                    at: self.at(cells, time),
                })
            }
            Table::DialLog => {
                let cid = cells.text_or_empty("outbound_cid");
                let did = caller_code::number_in_brackets(&cid)
                    .and_then(|number| self.phones.normalise(number));
                Some(Detail::Dial {
                    caller_code: needed(cells, "caller_code")?,
                    lead_id: lead(cells),
                    did,
                    at: self.at(cells, time),
                    leading: true,
                    sip: sip_answer(cells),
                })
            }
            Table::DialCidLog => {
                let cid = cells.text_or_empty("outbound_cid");
                Some(Detail::Dial {
                    caller_code: needed(cells, "caller_code")?,
                    lead_id: None,
                    did: self.phones.normalise(&cid),
                    at: self.at(cells, time),
                    leading: false,
                    sip: None,
                })
            }
            Table::ShakenLog => {
                let code = cells.text_or_empty("caller_code");
                let number = cells.text_or_empty("calleridtouse");
                match self.phones.normalise(&number) {
                    Some(did) if caller_code::is_outbound(&code) => Some(Detail::Reported {
                        lead_id: caller_code::lead(&code),
                        name: CallName::CallerCode(code),
                        did,
                        at: self.wall_clock(cells, "db_time", time),
                    }),
                    Some(_) | None => None,
                }
            }
            Table::CarrierLog => Some(Detail::Carrier {
                uniqueid: needed(cells, "uniqueid")?,
                caller_code: cells
                    .some_text("caller_code")
                    .filter(|code| caller_code::is_outbound(code)),
                lead_id: lead(cells),
                at: self.at(cells, time),
                ending: CarrierEnding {
                    hangup_cause: cells.narrow("hangup_cause").unwrap_or(0),
                    dial_status: cells.text_or_empty("dialstatus"),
                    sip_code: cells.narrow("sip_hangup_cause").filter(|code| *code != 0),
                    sip_reason: cells.text_or_empty("sip_hangup_reason"),
                },
            }),
            Table::Statuses | Table::CampaignStatuses => {
                let old = before.map(status_key).transpose()?.flatten();
                match status_key(cells)? {
                    Some(key) => Some(Detail::Status(StatusChange::Set {
                        renamed_from: old.filter(|old| *old != key),
                        key,
                        flags: StatusFlags {
                            human_answered: cells.flag("human_answered"),
                            sale: cells.flag("sale"),
                            dnc: cells.flag("dnc"),
                            answering_machine: cells.flag("answering_machine"),
                        },
                    })),
                    None => old.map(|old| Detail::Status(StatusChange::Removed(old))),
                }
            }
        })
    }

    fn gone(&self, cells: Cells<'_>, time: i64) -> Result<Option<Detail>, RowError> {
        Ok(match cells.layout.table {
            Table::Log => {
                let started_at = self.started_at(cells, time);
                if !may_be_duplicate(started_at, time) {
                    return Ok(None);
                }
                let (uniqueid, lead_id) = call_key(cells)?;
                Some(Detail::CallDeleted {
                    uniqueid,
                    lead_id: Some(lead_id),
                    started_at,
                })
            }
            Table::Statuses | Table::CampaignStatuses => {
                status_key(cells)?.map(|key| Detail::Status(StatusChange::Removed(key)))
            }
            // Archived: what they said stays true.
            Table::LogExtended
            | Table::DialLog
            | Table::DialCidLog
            | Table::CarrierLog
            | Table::ShakenLog => None,
        })
    }

    fn call_row(&mut self, cells: Cells<'_>, time: i64) -> Result<CallRow, RowError> {
        let (uniqueid, lead_id) = call_key(cells)?;
        let code = cells.text_or_empty("phone_code");
        let number = cells.text_or_empty("phone_number");
        Ok(CallRow {
            uniqueid,
            lead_id,
            list_id: cells.narrow("list_id"),
            campaign_id: cells.text_or_empty("campaign_id"),
            status: cells.text_or_empty("status"),
            phone_number: self.phones.with_code(&code, &number).unwrap_or_default(),
            user: cells.text_or_empty("user"),
            term_reason: cells.text_or_empty("term_reason"),
            length_in_sec: cells.int("length_in_sec"),
            called_count: cells.narrow("called_count"),
            started_at: self.started_at(cells, time),
            ended_at: cells.int("end_epoch").filter(|epoch| *epoch > 0),
        })
    }

    /// Epochs decide; `call_date` has no zone and is written by three different
    /// hosts, so it serves only where there is no epoch.
    fn started_at(&self, cells: Cells<'_>, time: i64) -> i64 {
        match cells.int("start_epoch") {
            Some(epoch) if epoch > 0 => epoch,
            _ => self.at(cells, time),
        }
    }

    /// `call_date`, else the time at which the source wrote the row.
    fn at(&self, cells: Cells<'_>, time: i64) -> i64 {
        self.wall_clock(cells, "call_date", time)
    }

    fn wall_clock(&self, cells: Cells<'_>, column: &str, time: i64) -> i64 {
        cells
            .wall_clock(column)
            .and_then(|wall| self.zone.seconds(wall))
            .unwrap_or(time)
    }
}

impl Origin {
    /// The text that names the row image: `FILE:OFFSET/ROW@SECONDS`.
    #[must_use]
    pub fn to_event(&self) -> String {
        let Self {
            file,
            offset,
            row,
            time,
        } = self;
        format!("{file}:{offset}/{row}@{time}")
    }

    /// An origin in this file.
    #[must_use]
    pub fn new(file: &Arc<str>, offset: u64, row: u32, time: i64) -> Self {
        Self {
            file: Arc::clone(file),
            offset,
            row,
            time,
        }
    }
}

/// True when a call that began at `started_at` is young enough at `time` for
/// its row to be deleted as a duplicate.
pub(super) fn may_be_duplicate(started_at: i64, time: i64) -> bool {
    time.saturating_sub(started_at) <= DUPLICATE_SECONDS_MAX
}

/// The part of a `uniqueid` before the dot: the second in which the channel was
/// made, on one Asterisk server.
#[must_use]
pub fn second(uniqueid: &str) -> &str {
    uniqueid.split('.').next().unwrap_or_default()
}

fn lead(cells: Cells<'_>) -> Option<u64> {
    cells.narrow("lead_id").filter(|lead| *lead != 0)
}

/// The codes that SIP has.
pub(super) const SIP_CODES: std::ops::Range<u16> = 100..700;

/// 0 is "not known", and 999 VICIdial's own mark of a dial that it refused
/// (`manager_send.php`): no code of SIP.
fn sip_answer(cells: Cells<'_>) -> Option<SipAnswer> {
    let code: u16 = cells.narrow("sip_hangup_cause")?;
    SIP_CODES.contains(&code).then(|| SipAnswer {
        code,
        reason: cells.text_or_empty("sip_hangup_reason"),
    })
}

fn call_key(cells: Cells<'_>) -> Result<(String, u64), RowError> {
    Ok((
        needed(cells, "uniqueid")?,
        cells.narrow("lead_id").unwrap_or(0),
    ))
}

/// Which status row it is; `None` for a campaign's row without a campaign,
/// which is about no call and must not pass for the system's.
fn status_key(cells: Cells<'_>) -> Result<Option<StatusKey>, RowError> {
    let status = needed(cells, "status")?;
    if cells.layout.table == Table::Statuses {
        return Ok(Some(StatusKey::new(&status, "")));
    }
    let campaign_id = cells.some_text("campaign_id");
    Ok(campaign_id.map(|campaign| StatusKey::new(&status, &campaign)))
}

fn needed(cells: Cells<'_>, column: &'static str) -> Result<String, RowError> {
    cells.some_text(column).ok_or(RowError::NoKey {
        table: cells.layout.table.name(),
        column,
    })
}

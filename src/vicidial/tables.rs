//! The eight tables of VICIdial that are watched, and what each is good for.

/// A watched table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `vicidial_log`: one row a call that VICIdial counts as a call.
    Log,
    /// `vicidial_log_extended`: the caller code of a call.
    LogExtended,
    /// `vicidial_dial_log`: each dial, with the caller ID it was dialled from.
    DialLog,
    /// `vicidial_dial_cid_log`: the same, the caller ID alone; since March 2022.
    DialCidLog,
    /// `vicidial_carrier_log`: how the carrier ended the call.
    CarrierLog,
    /// `vicidial_statuses`: what a disposition means.
    Statuses,
    /// `vicidial_campaign_statuses`: the same, for one campaign.
    CampaignStatuses,
    /// `vicidial_tiltx_shaken_log`: the caller ID that the STIR/SHAKEN script of
    /// the carrier's dialplan really used (`agi-TILTX_SHAKEN.agi`); since schema 1634.
    ShakenLog,
}

impl Table {
    /// Every watched table; its place here is its rank in the binlog's watch list.
    pub const ALL: [Self; 8] = [
        Self::Log,
        Self::LogExtended,
        Self::DialLog,
        Self::DialCidLog,
        Self::CarrierLog,
        Self::Statuses,
        Self::CampaignStatuses,
        Self::ShakenLog,
    ];

    /// The names of [`Table::ALL`].
    pub const NAMES: [&'static str; 8] = [
        "vicidial_log",
        "vicidial_log_extended",
        "vicidial_dial_log",
        "vicidial_dial_cid_log",
        "vicidial_carrier_log",
        "vicidial_statuses",
        "vicidial_campaign_statuses",
        "vicidial_tiltx_shaken_log",
    ];

    /// The table's name in VICIdial.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "vicidial_log",
            Self::LogExtended => "vicidial_log_extended",
            Self::DialLog => "vicidial_dial_log",
            Self::DialCidLog => "vicidial_dial_cid_log",
            Self::CarrierLog => "vicidial_carrier_log",
            Self::Statuses => "vicidial_statuses",
            Self::CampaignStatuses => "vicidial_campaign_statuses",
            Self::ShakenLog => "vicidial_tiltx_shaken_log",
        }
    }

    /// The table of this name, as VICIdial writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The table of this rank in [`Table::ALL`].
    #[must_use]
    pub fn of_rank(rank: usize) -> Option<Self> {
        Self::ALL.get(rank).copied()
    }

    /// Columns without which nothing can be made of the table's rows.
    #[must_use]
    pub fn needed(self) -> &'static [&'static str] {
        match self {
            Self::Log => &[
                "uniqueid",
                "lead_id",
                "status",
                "start_epoch",
                "call_date",
                "length_in_sec",
                "campaign_id",
                "user",
                "phone_number",
            ],
            Self::LogExtended => &["uniqueid", "caller_code", "call_date"],
            Self::DialLog => &["caller_code", "lead_id", "call_date", "outbound_cid"],
            Self::DialCidLog => &["caller_code", "call_date", "outbound_cid"],
            Self::CarrierLog => &["uniqueid", "call_date", "dialstatus", "hangup_cause"],
            Self::Statuses => &["status"],
            Self::CampaignStatuses => &["status", "campaign_id"],
            Self::ShakenLog => &["caller_code", "calleridtouse"],
        }
    }

    /// Every column that is read, as far as an install has it.
    #[must_use]
    pub fn read(self) -> Vec<&'static str> {
        let more: &[&str] = match self {
            Self::Log => &[
                "list_id",
                "phone_code",
                "term_reason",
                "end_epoch",
                "called_count",
            ],
            Self::LogExtended => &["lead_id"],
            Self::DialLog => &["sip_hangup_cause", "sip_hangup_reason"],
            Self::DialCidLog => &[],
            Self::CarrierLog => &[
                "lead_id",
                "caller_code",
                "sip_hangup_cause",
                "sip_hangup_reason",
            ],
            Self::Statuses | Self::CampaignStatuses => {
                &["human_answered", "sale", "dnc", "answering_machine"]
            }
            Self::ShakenLog => &["db_time"],
        };
        [self.needed(), more].concat()
    }

    /// The value that a column has where an INSERT gives it none
    /// (`MySQL_AST_CREATE_tables.sql`); `None` for NULL.
    #[must_use]
    pub fn default_of(self, column: &str) -> Option<&'static str> {
        match (self, column) {
            (Self::Log, "term_reason") => Some("NONE"),
            (Self::Log, "called_count")
            | (Self::DialLog | Self::CarrierLog, "sip_hangup_cause") => Some("0"),
            (_, _) => None,
        }
    }

    /// The column with the time of a row, as a wall clock; `None` for status tables.
    #[must_use]
    pub fn time_column(self) -> Option<&'static str> {
        match self {
            Self::Log | Self::LogExtended | Self::DialLog | Self::DialCidLog | Self::CarrierLog => {
                Some("call_date")
            }
            Self::ShakenLog => Some("db_time"),
            Self::Statuses | Self::CampaignStatuses => None,
        }
    }

    /// Columns that older installs lack, and what is lost there.
    #[must_use]
    pub fn since(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::CarrierLog => &[
                (
                    "caller_code",
                    "a carrier's answer is matched to its call by uniqueid alone",
                ),
                (
                    "sip_hangup_cause",
                    "blocked calls are told by Q.850 cause 21 alone",
                ),
            ],
            Self::Statuses | Self::CampaignStatuses => &[(
                "answering_machine",
                "machines are told by the dialer's own dispositions alone",
            )],
            Self::Log | Self::LogExtended | Self::DialLog | Self::DialCidLog | Self::ShakenLog => {
                &[]
            }
        }
    }

    /// What is lost in an install without the table; `None` for the one that
    /// must exist.
    #[must_use]
    pub fn without(self) -> Option<&'static str> {
        match self {
            Self::Log => None,
            Self::LogExtended => Some("calls are matched to their dials by lead and time alone"),
            Self::DialLog => Some("calls cannot be attributed to a DID, and dials are not counted"),
            Self::DialCidLog => {
                Some("DIDs of CID groups and local presence are taken from vicidial_dial_log")
            }
            Self::CarrierLog => Some("blocked calls cannot be told from busy and unanswered ones"),
            Self::Statuses => {
                Some("the meaning of system dispositions is guessed from their names")
            }
            Self::CampaignStatuses => {
                Some("the meaning of campaigns' own dispositions is not known")
            }
            Self::ShakenLog => {
                Some("a caller ID that a STIR/SHAKEN script replaces in the dialplan is not seen")
            }
        }
    }
}

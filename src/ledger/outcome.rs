//! How a call ended, in eight classes, and where a call's DID is known from.

/// The class of a counted call. Each counted call is in exactly one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A person answered.
    Answered,
    /// An answering machine, a fax or a pager answered.
    Machine,
    /// Nobody answered.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// A person answered and no agent was there in time.
    Dropped,
    /// The call could not be completed: disconnected number, no route, an error.
    Failed,
    /// The carrier or the called side refused the call as spam, by the carrier log.
    Blocked,
    /// None of these, or a status of which nothing is known.
    #[default]
    Other,
}

impl Outcome {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Answered,
        Self::Machine,
        Self::NoAnswer,
        Self::Busy,
        Self::Dropped,
        Self::Failed,
        Self::Blocked,
        Self::Other,
    ];

    /// The name in the store, also that of the counter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Machine => "machine",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Other => "other",
        }
    }

    /// The class of this name in the store.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.as_str() == name)
    }
}

/// How the DID of a call is known.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// Not known.
    #[default]
    None,
    /// By the newest dial of the same lead before the call.
    Lead,
    /// By the call's own caller code and the dial log.
    CallerCode,
    /// Reported for this call by the dialplan.
    Reported,
}

impl Attribution {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::None, Self::Lead, Self::CallerCode, Self::Reported];

    /// The name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lead => "lead",
            Self::CallerCode => "caller_code",
            Self::Reported => "reported",
        }
    }

    /// The way of this name in the store.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == name)
    }
}

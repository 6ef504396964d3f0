//! Is this source set up to be followed? Every answer at once.

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at, e.g. `binlog_format`.
    pub check: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What didtail needs.
    pub expected: String,
    /// What is there.
    pub actual: String,
    /// The exact command or setting that mends it.
    pub fix: Option<String>,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As needed.
    Good,
    /// didtail cannot run like this.
    Bad,
    /// Could not be told; not the same as good.
    Unknown,
    /// Worth knowing; didtail runs.
    Note,
}

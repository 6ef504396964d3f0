//! How a command fails: an exit code, what happened, why, and how to mend it.

use std::process::ExitCode;

use crate::api::ApiError;
use crate::config::{Config, ConfigError};
use crate::engine::{EngineError, SourceFailure};
use crate::source::SourceError;
use crate::state::StateError;
use crate::store::StoreError;
use crate::telemetry::TelemetryError;

/// Exit codes. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// The configuration is wrong, or the operator has to do something first.
    Operator = 1,
    /// The source failed.
    Source = 3,
    /// The store failed, or the disk is full where the state file is.
    Store = 4,
    /// What was compared differs.
    Differences = 5,
    /// didtail has a bug.
    Bug = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) error: anyhow::Error,
    pub(super) hint: Option<String>,
}

impl Failure {
    /// The operator has to do something, namely `hint`.
    pub(super) fn operator(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            exit: Exit::Operator,
            error: anyhow::Error::msg(what.into()),
            hint: Some(hint.into()),
        }
    }

    /// What is behind it, the nearest first. Some wrappers repeat what is in them:
    /// what was said is not said again.
    fn causes(&self) -> Vec<String> {
        let mut said = vec![self.error.to_string()];
        for cause in self.error.chain().skip(1) {
            let text = cause.to_string();
            if !said.iter().any(|known| known.contains(&text)) {
                said.push(text);
            }
        }
        said.split_off(1)
    }

    /// Three kinds of lines for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        for cause in self.causes() {
            text.push_str(&format!("caused by: {cause}\n"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> String {
        let document = serde_json::json!({
            "error": self.error.to_string(),
            "caused_by": self.causes(),
            "hint": self.hint,
            "exit_code": self.exit as u8,
        });
        format!("{document}\n")
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self {
            exit: Exit::Operator,
            hint: error.hint(),
            error: error.into(),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self {
            exit: match error {
                // It goes on by itself when there is room, so whoever keeps it running
                // is to start it again.
                StateError::DiskFull { .. } => Exit::Store,
                _ => Exit::Operator,
            },
            hint: error.hint(),
            error: error.into(),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self {
            exit: Exit::Source,
            hint: error.hint(),
            error: error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self {
            exit: Exit::Store,
            hint: error.hint(),
            error: error.into(),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let hint = error.hint();
        match error {
            EngineError::Source(error) => error.into(),
            EngineError::Store(error) => error.into(),
            EngineError::State(error) => error.into(),
            EngineError::BadRow { .. } => Self {
                exit: Exit::Source,
                hint,
                error: error.into(),
            },
            EngineError::Replay { .. } => Self {
                exit: Exit::Operator,
                hint,
                error: error.into(),
            },
            EngineError::Bug(_) => Self {
                exit: Exit::Bug,
                hint,
                error: error.into(),
            },
        }
    }
}

/// Of a command that reads the store: what it says of the store decides.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let store = error.downcast_ref::<StoreError>();
        Self {
            exit: store.map_or(Exit::Operator, |_| Exit::Store),
            hint: store.and_then(StoreError::hint),
            error,
        }
    }
}

impl Failure {
    /// The only source's failure, for which there is nothing else to print; those of
    /// several are handed back.
    pub(super) fn of_only(
        failed: Vec<SourceFailure>,
        config: &Config,
    ) -> Result<Vec<SourceFailure>, Self> {
        if config.sources.len() > 1 {
            return Ok(failed);
        }
        match failed.into_iter().next() {
            Some(only) => Err(only.error.into()),
            None => Ok(Vec::new()),
        }
    }

    /// Of several sources, those that failed: the first says how to mend it. `None`
    /// where none did.
    pub(super) fn of_sources(failed: Vec<SourceFailure>) -> Option<Self> {
        let words = failed
            .iter()
            .map(|one| format!("source `{}`: {}", one.source, one.error));
        let words: Vec<String> = words.collect();
        let failure = Self::from(failed.into_iter().next()?.error);
        Some(Self {
            error: failure.error.context(words.join("; ")),
            ..failure
        })
    }
}

/// The sources that failed, for programs.
pub(super) fn failed_json(failed: &[SourceFailure]) -> serde_json::Value {
    let one = |one: &SourceFailure| {
        serde_json::json!({
            "source": one.source,
            "error": one.error.to_string(),
            "hint": one.error.hint(),
        })
    };
    failed.iter().map(one).collect()
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self {
            exit: Exit::Operator,
            hint: Some(error.hint()),
            error: error.into(),
        }
    }
}

impl From<TelemetryError> for Failure {
    fn from(error: TelemetryError) -> Self {
        Self {
            exit: Exit::Bug,
            hint: None,
            error: error.into(),
        }
    }
}

/// Of the terminal, pipes and the async runtime.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self {
            exit: Exit::Operator,
            hint: None,
            error: error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_failure_says_what_why_and_how_to_mend_it() {
        let cause = Err::<(), _>(anyhow::anyhow!("no route to host"));
        let failure = Failure {
            exit: Exit::Source,
            error: cause.context("the source is gone").expect_err("an error"),
            hint: Some("plug it in".to_owned()),
        };
        assert_eq!(
            failure.text(),
            "error: the source is gone\ncaused by: no route to host\nhint: plug it in\n"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.json()).expect("JSON");
        assert_eq!(json["caused_by"][0], "no route to host");
        assert_eq!(json["exit_code"], 3);
    }

    #[test]
    fn a_full_disk_is_no_mistake_of_an_operator() {
        let path = || "/var/lib/didtail/state.db".into();
        let full = EngineError::State(StateError::DiskFull { path: path() });
        assert_eq!(Failure::from(full).exit, Exit::Store);
        let missing = StateError::Missing { path: path() };
        assert_eq!(Failure::from(missing).exit, Exit::Operator);
    }

    #[test]
    fn what_a_wrapper_repeats_is_said_once() {
        let error = anyhow::anyhow!("1045: no").context("the server said: 1045: no");
        let failure = Failure::from(error.context("the login is refused"));
        assert_eq!(
            failure.text(),
            "error: the login is refused\ncaused by: the server said: 1045: no\n"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.json()).expect("JSON");
        assert_eq!(json["caused_by"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_missing_configuration_names_its_cause_once() {
        let overrides = crate::config::Overrides {
            config: Some("/nowhere/didtail.toml".into()),
            ..Default::default()
        };
        let error = crate::config::Config::load(&overrides).expect_err("missing");
        let text = Failure::from(error).text();
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}

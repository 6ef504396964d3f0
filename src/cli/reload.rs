//! SIGHUP: what can change while the daemon runs does, and the rest is named.
//!
//! A configuration that is wrong changes nothing: the old one stays in force as a whole.

use std::io::IsTerminal;

use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::failure::Failure;
use super::run::tell_trouble;
use crate::api::Tls;
use crate::config::{Config, DispositionsConfig, Effective, LogConfig, Overrides};
use crate::telemetry;
use crate::telemetry::field;

/// Keys that hold as soon as they are read.
const AT_ONCE: [&str; 3] = [
    "dispositions.success",
    "dispositions.transient",
    "log.level",
];

/// Keys that hold as soon as they are read where the API has a certificate already.
const OF_IDENTITY: [&str; 2] = ["api.tls_cert", "api.tls_key"];

/// What is in force, and whom to tell of changes.
pub(super) struct Reload {
    overrides: Overrides,
    values: Vec<Effective>,
    secrets: Vec<(String, String)>,
    log: LogConfig,
    dispositions: watch::Sender<DispositionsConfig>,
    /// The certificate of the API, where it has one.
    tls: Option<Tls>,
}

impl Reload {
    /// Begins with what is in force.
    pub(super) fn new(
        overrides: Overrides,
        config: &Config,
        tls: Option<Tls>,
    ) -> Result<Self, Failure> {
        let (_, values) = Config::load_explained(&overrides)?;
        Ok(Self {
            overrides,
            values,
            secrets: secrets(config),
            log: config.log.clone(),
            dispositions: watch::Sender::new(config.dispositions.clone()),
            tls,
        })
    }

    /// What is told of a change of `[dispositions]`.
    pub(super) fn dispositions(&self) -> watch::Receiver<DispositionsConfig> {
        self.dispositions.subscribe()
    }

    /// SIGHUPs from now on; `None` on a terminal, whose end is one too and is to end
    /// the daemon.
    pub(super) fn hangups() -> std::io::Result<Option<Signal>> {
        if std::io::stderr().is_terminal() {
            return Ok(None);
        }
        signal(SignalKind::hangup()).map(Some)
    }

    /// Reads the configuration again at each SIGHUP; never ends.
    pub(super) async fn listen(mut self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            self.reload();
        }
    }

    fn reload(&mut self) {
        match Config::load_explained(&self.overrides) {
            Ok((config, values)) => self.take(&config, values),
            Err(error) => tracing::error!(
                { field::ERROR } = %error,
                { field::HINT } = error.hint().unwrap_or_default(),
                "the configuration was read again and is wrong; the old one stays in force"
            ),
        }
    }

    /// Puts in force what can be, and tells of the rest.
    fn take(&mut self, config: &Config, values: Vec<Effective>) {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let mut waiting = changed(&self.values, &values);
        let has_new_identity = self.read_identity(config);
        let holds =
            |key: &str| AT_ONCE.contains(&key) || (has_new_identity && OF_IDENTITY.contains(&key));
        let at_once: Vec<String> = waiting.extract_if(.., |key| holds(key)).collect();
        waiting.extend(changed_secrets(&self.secrets, &secrets(config)));
        if self.log.level != config.log.level {
            self.log.level.clone_from(&config.log.level);
            if let Err(error) = telemetry::set_level(&self.log) {
                tracing::error!({ field::ERROR } = %error, "the log level stays as it was");
            }
        }
        let is_new = self.dispositions.send_if_modified(|known| {
            let is_new = *known != config.dispositions;
            known.clone_from(&config.dispositions);
            is_new
        });
        // What waits for a restart is told again at the next SIGHUP.
        for value in values {
            if holds(&value.key) {
                self.values.retain(|known| known.key != value.key);
                self.values.push(value);
            }
        }
        tracing::info!(changed = ?at_once, "the configuration was read again");
        // Who only serves judges no calls.
        if is_new && self.dispositions.receiver_count() > 0 {
            tracing::info!(
                "calls that change from now on are judged by the new [dispositions]; `didtail recount` judges all others"
            );
        }
        if !waiting.is_empty() {
            tracing::warn!(
                keys = ?waiting,
                { field::HINT } = "systemctl restart didtail",
                "these keys have changed too, and hold from the next start on"
            );
        }
    }

    /// Reads the API's certificate again, which may be another one in the same files;
    /// true when new connections get it.
    fn read_identity(&self, config: &Config) -> bool {
        let identity = config.api.as_ref().and_then(|api| api.tls.as_ref());
        let (Some(tls), Some(identity)) = (&self.tls, identity) else {
            return false;
        };
        match tls.read_again(identity) {
            Ok(()) => {
                tracing::info!("new connections get the certificate that is in tls_cert now");
                tell_trouble(tls);
                true
            }
            Err(error) => {
                tracing::error!(
                    { field::ERROR } = %error,
                    { field::HINT } = error.hint(),
                    "the API's certificate stays the old one"
                );
                false
            }
        }
    }
}

/// Keys whose values differ, each once.
fn changed(known: &[Effective], now: &[Effective]) -> Vec<String> {
    let value_in = |all: &[Effective], key: &str| {
        let found = all.iter().find(|value| value.key == key);
        found.map(|value| value.value.clone())
    };
    let mut keys: Vec<String> = known.iter().chain(now).map(|v| v.key.clone()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| value_in(known, key) != value_in(now, key));
    keys
}

/// Passwords by who needs them: a file may have another one under the same name.
fn secrets(config: &Config) -> Vec<(String, String)> {
    let sources = config.sources.iter();
    let passwords = sources.map(|source| (format!("source {}", source.name), &source.password));
    passwords
        .chain([("the store".to_owned(), &config.store.password)])
        .filter_map(|(whose, password)| {
            let password = password.as_ref()?.expose_secret();
            Some((whose, password.to_owned()))
        })
        .collect()
}

fn changed_secrets(known: &[(String, String)], now: &[(String, String)]) -> Vec<String> {
    let is_new = |one: &&(String, String)| !known.contains(*one);
    let whose = now.iter().filter(is_new).map(|(whose, _)| whose);
    whose
        .map(|whose| format!("the password of {whose}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn values(pairs: &[(&str, &str)]) -> Vec<Effective> {
        let value = |(key, value): &(&str, &str)| Effective {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            origin: Origin::Default,
        };
        pairs.iter().map(value).collect()
    }

    #[test]
    fn keys_that_are_new_gone_or_different_have_changed() {
        let known = values(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = values(&[("a", "1"), ("b", "20"), ("d", "4")]);
        assert_eq!(changed(&known, &now), ["b", "c", "d"]);
        assert_eq!(changed(&known, &known), Vec::<String>::new());
    }

    #[test]
    fn a_new_password_is_named_and_not_shown() {
        let of = |password: &str| vec![("source main".to_owned(), password.to_owned())];
        let said = changed_secrets(&of("old"), &of("new"));
        assert_eq!(said, ["the password of source main"]);
        assert_eq!(
            changed_secrets(&of("old"), &of("old")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn the_keys_that_hold_at_once_exist() {
        let overrides = Overrides {
            source_url: Some("mysql://u@h/d".to_owned()),
            ..Overrides::default()
        };
        let (_, values) = Config::load_explained(&overrides).expect("valid");
        for key in AT_ONCE {
            assert!(values.iter().any(|value| value.key == key), "{key}");
        }
    }
}

//! Lays flags over environment over file over defaults, and refuses unknown keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Effective;
use super::address::mask_password;
use super::error::{ConfigError, Origin, Problem};
use super::keys::{self, KEYS, Kind};

/// Where the configuration is looked for when nobody names a file.
pub const DEFAULT_PATH: &str = "/etc/didtail/didtail.toml";

/// What the command line and the environment say.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`: must exist.
    pub config: Option<PathBuf>,
    /// `--source-url`.
    pub source_url: Option<String>,
    /// `--store-url`.
    pub store_url: Option<String>,
    /// `--state`.
    pub state: Option<String>,
    /// `--start-at`.
    pub start_at: Option<String>,
    /// Passwords, certificates and keys are not read: nobody connects.
    pub without_secrets: bool,
    /// Nobody connects to a source here: there may be none, and theirs of the former
    /// are not read.
    pub only_serves: bool,
    /// Log level from `-v` and `-q`.
    pub log_level: Option<String>,
    /// Environment variables. Only `DIDTAIL_*` and `CREDENTIALS_DIRECTORY` are looked at.
    pub environment: BTreeMap<String, String>,
}

impl Overrides {
    /// The environment of this process.
    #[must_use]
    pub fn process_environment() -> BTreeMap<String, String> {
        std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into(),
                    value.to_string_lossy().into(),
                )
            })
            .filter(|(name, _): &(String, String)| {
                name.starts_with("DIDTAIL_") || name == "CREDENTIALS_DIRECTORY"
            })
            .collect()
    }
}

/// A value as set, before it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// From the environment or a flag: the key says how to read it; or a text of the file.
    Text(String),
    Number(i64),
    List(Vec<String>),
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All values set, by section, number of the section, and key.
#[derive(Debug, Default)]
pub(super) struct Layers {
    settings: BTreeMap<(&'static str, usize, &'static str), Setting>,
    /// Number of `[[source]]` sections.
    pub(super) sources: usize,
    pub(super) problems: Vec<Problem>,
    /// The file that was read, if there was one.
    pub(super) file: Option<PathBuf>,
    /// `DIDTAIL_SOURCE_PASSWORD` and `DIDTAIL_STORE_PASSWORD`, by section.
    pub(super) passwords: BTreeMap<&'static str, String>,
}

/// Variables whose name is not `DIDTAIL_<SECTION>__<KEY>`.
const SHORT_VARIABLES: &[(&str, &str, &str)] = &[
    ("DIDTAIL_SOURCE_URL", "source", "url"),
    ("DIDTAIL_STORE_URL", "store", "url"),
    ("DIDTAIL_STATE", "state", "path"),
    ("DIDTAIL_START_AT", "source", "start_at"),
];

const CONFIG_VARIABLE: &str = "DIDTAIL_CONFIG";

/// What the variables of the API's clients begin with, which may run beside didtail.
const CLIENT_VARIABLES: &str = "DIDTAIL_CLIENT_";

/// Variables with a password, and whose it is.
const PASSWORD_VARIABLES: [(&str, &str); 2] = [
    ("DIDTAIL_SOURCE_PASSWORD", "source"),
    ("DIDTAIL_STORE_PASSWORD", "store"),
];

impl Layers {
    pub(super) fn collect(overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        layers.read_file(overrides)?;
        layers.read_environment(&overrides.environment);
        layers.read_flags(overrides);
        Ok(layers)
    }

    pub(super) fn setting(&self, section: &str, index: usize, name: &str) -> Option<&Setting> {
        let key = keys::find(section, name)?;
        self.settings.get(&(key.section, index, key.name))
    }

    pub(super) fn problem(&mut self, origin: &Origin, key: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            origin: origin.clone(),
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// The value as it would be written in the environment.
    pub(super) fn text(&self, section: &str, index: usize, name: &str) -> Option<String> {
        match self.setting(section, index, name) {
            Some(setting) => Some(match &setting.value {
                Value::Text(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::List(texts) => texts.join(","),
            }),
            None => keys::find(section, name)?.default.map(str::to_owned),
        }
    }

    pub(super) fn origin(&self, section: &str, index: usize, name: &str) -> Origin {
        self.setting(section, index, name)
            .map_or(Origin::Default, |setting| setting.origin.clone())
    }

    pub(super) fn effective(&self) -> Vec<Effective> {
        let mut values = Vec::new();
        for key in KEYS {
            let count = if key.section == "source" {
                self.sources
            } else {
                1
            };
            for index in 0..count {
                if let Some(text) = self.text(key.section, index, key.name) {
                    values.push(Effective {
                        key: full_key(key.section, index, key.name),
                        value: match key.kind {
                            Kind::Text => mask_password(&text),
                            Kind::Number | Kind::List => text,
                        },
                        origin: self.origin(key.section, index, key.name),
                    });
                }
            }
        }
        values
    }

    fn read_file(&mut self, overrides: &Overrides) -> Result<(), ConfigError> {
        let named = overrides.config.clone().or_else(|| {
            overrides
                .environment
                .get(CONFIG_VARIABLE)
                .map(PathBuf::from)
        });
        let path = named.clone().unwrap_or_else(|| DEFAULT_PATH.into());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if named.is_none() && e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        self.file = Some(path.clone());
        self.read_text(&path, &text)
    }

    /// Fails at once on broken syntax, since what follows it cannot be trusted.
    fn read_text(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let at = |start: usize| Origin::File {
            path: path.to_owned(),
            line: text.bytes().take(start).filter(|b| *b == b'\n').count() + 1,
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mut errors: Vec<_> = errors
                .iter()
                .map(|error| (error.span().map_or(0, |span| span.start), error))
                .collect();
            errors.sort_by_key(|(start, _)| *start);
            let problem = |(start, error): &(usize, &toml::de::Error)| Problem {
                origin: at(*start),
                key: String::new(),
                message: error.message().to_owned(),
            };
            let problems = errors.iter().map(problem).collect();
            return Err(ConfigError::Invalid { problems });
        }
        for (section, value) in document.get_ref() {
            let origin = at(section.span().start);
            let name: &str = section.get_ref();
            if !keys::is_section(name) {
                let known = KEYS.iter().map(|key| key.section);
                let near = keys::suggestion(name, known);
                self.problem(&origin, name, format!("unknown section{near}"));
                continue;
            }
            match (name, value.get_ref()) {
                ("source", DeValue::Array(entries)) => {
                    for entry in entries.iter() {
                        self.read_source(entry, &at);
                    }
                }
                ("source", _) => self.problem(&origin, name, "write [[source]], one per source"),
                (_, DeValue::Table(table)) => self.read_table(name, 0, table, &at),
                _ => self.problem(&origin, name, format!("expected a section [{name}]")),
            }
        }
        Ok(())
    }

    fn read_source(&mut self, entry: &Spanned<DeValue<'_>>, at: &impl Fn(usize) -> Origin) {
        match entry.get_ref() {
            DeValue::Table(table) => {
                let index = self.sources;
                self.sources += 1;
                self.read_table("source", index, table, at);
            }
            other => {
                let message = format!("expected a section [[source]], not {}", other.type_str());
                self.problem(&at(entry.span().start), "source", message);
            }
        }
    }

    fn read_table(
        &mut self,
        section: &str,
        index: usize,
        table: &DeTable<'_>,
        at: &impl Fn(usize) -> Origin,
    ) {
        for (name, value) in table {
            let origin = at(name.span().start);
            let full = format!("{section}.{}", name.get_ref());
            let Some(key) = keys::find(section, name.get_ref()) else {
                self.unknown_key(&origin, section, name.get_ref());
                continue;
            };
            match understand(key.kind, value.get_ref()) {
                Some(value) => {
                    let place = (key.section, index, key.name);
                    self.settings.insert(place, Setting { value, origin });
                }
                None => {
                    let expected = match key.kind {
                        Kind::Text => "a text in quotes",
                        Kind::Number => "a whole number without quotes",
                        Kind::List => "a list of texts, e.g. [\"SALE\", \"A\"]",
                    };
                    let found = value.get_ref().type_str();
                    self.problem(&origin, &full, format!("expected {expected}, not {found}"));
                }
            }
        }
    }

    fn unknown_key(&mut self, origin: &Origin, section: &str, name: &str) {
        let siblings = KEYS.iter().filter(|key| key.section == section);
        let mut near = keys::suggestion(name, siblings.map(|key| key.name));
        if near.is_empty() {
            // The right key in the wrong section is the other common slip.
            if let Some(key) = KEYS.iter().find(|key| key.name == name) {
                near = format!("; it belongs to [{}]", key.section);
            }
        }
        let full = format!("{section}.{name}");
        self.problem(origin, &full, format!("unknown key{near}"));
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, String>) {
        for (variable, text) in environment {
            let Some(rest) = variable.strip_prefix("DIDTAIL_") else {
                continue;
            };
            let short = SHORT_VARIABLES.iter().find(|(name, ..)| name == variable);
            let password = PASSWORD_VARIABLES.iter().find(|(name, _)| name == variable);
            let origin = Origin::Environment(variable.clone());
            if variable == CONFIG_VARIABLE || variable.starts_with(CLIENT_VARIABLES) {
                continue;
            } else if let Some((_, section)) = password {
                self.passwords.insert(section, text.clone());
            } else if let Some((_, section, name)) = short {
                self.set(section, name, text, origin);
            } else {
                let lower = rest.to_ascii_lowercase();
                let key = lower
                    .split_once("__")
                    .and_then(|(section, name)| keys::find(section, name));
                match key {
                    Some(key) => self.set(key.section, key.name, text, origin),
                    None => self.unknown_variable(variable, origin),
                }
            }
        }
    }

    fn unknown_variable(&mut self, variable: &str, origin: Origin) {
        let mut known: Vec<String> = KEYS
            .iter()
            .map(|key| format!("DIDTAIL_{}__{}", key.section, key.name).to_ascii_uppercase())
            .collect();
        known.extend(SHORT_VARIABLES.iter().map(|(name, ..)| (*name).to_owned()));
        known.extend(PASSWORD_VARIABLES.map(|(name, _)| name.to_owned()));
        known.push(CONFIG_VARIABLE.to_owned());
        let near = keys::suggestion(variable, known.iter().map(String::as_str));
        self.problem(&origin, "", format!("unknown environment variable{near}"));
    }

    fn read_flags(&mut self, overrides: &Overrides) {
        let flags = [
            ("source", "url", "--source-url", &overrides.source_url),
            ("store", "url", "--store-url", &overrides.store_url),
            ("state", "path", "--state", &overrides.state),
            ("source", "start_at", "--start-at", &overrides.start_at),
            ("log", "level", "-v/-q", &overrides.log_level),
        ];
        for (section, name, flag, text) in flags {
            if let Some(text) = text {
                self.set(section, name, text, Origin::Flag(flag));
            }
        }
    }

    /// Sets a value from outside the file. For sources that works while there is one.
    fn set(&mut self, section: &'static str, name: &'static str, text: &str, origin: Origin) {
        if section == "source" {
            if self.sources > 1 {
                let message = "the file has several [[source]] sections: set it there";
                self.problem(&origin, &format!("{section}.{name}"), message);
                return;
            }
            // `--start-at` alone names no source.
            if name == "url" {
                self.sources = 1;
            }
        }
        let value = Value::Text(text.to_owned());
        let setting = Setting { value, origin };
        self.settings.insert((section, 0, name), setting);
    }
}

/// Takes a value of the file; `None` when it is of another kind than the key.
fn understand(kind: Kind, value: &DeValue<'_>) -> Option<Value> {
    match (kind, value) {
        (Kind::Text | Kind::List, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Kind::Number, DeValue::Integer(number)) => {
            let digits = number.as_str();
            i64::from_str_radix(digits, number.radix())
                .ok()
                .map(Value::Number)
        }
        (Kind::List, DeValue::Array(entries)) => entries
            .iter()
            .map(|entry| entry.get_ref().as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(Value::List),
        _ => None,
    }
}

/// How a key is called in messages.
pub(super) fn full_key(section: &str, index: usize, name: &str) -> String {
    match index {
        0 => format!("{section}.{name}"),
        _ => format!("{section}[{index}].{name}"),
    }
}

//! Turns the layers into a [`Config`], and collects what is wrong on the way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use phonenumber::country;
use secrecy::SecretString;

use super::error::{ConfigError, Origin};
use super::keys;
use super::layers::{DEFAULT_PATH, Layers, Overrides, full_key};
use super::{
    ApiConfig, AttributionConfig, BadRow, Config, DispositionsConfig, Effective, ErrorsConfig,
    Identity, LogConfig, LogFormat, Prefer, RetentionConfig, SourceConfig, SourceUrl, StateConfig,
    StoreConfig, StoreUrl, Success, TlsConfig, TlsMode, UnknownDid, values,
};

/// As [`Config::load_explained`].
pub(super) fn read(overrides: &Overrides) -> Result<(Config, Vec<Effective>), ConfigError> {
    let mut reader = Reader {
        layers: Layers::collect(overrides)?,
        credentials: overrides
            .environment
            .get("CREDENTIALS_DIRECTORY")
            .map(PathBuf::from),
        without_secrets: overrides.without_secrets,
        only_serves: overrides.only_serves,
        warnings: Vec::new(),
        exposed_files: Vec::new(),
    };
    let config = reader.config();
    let effective = reader.layers.effective();
    let mut problems = reader.layers.problems;
    problems.sort_by_key(|problem| match problem.origin {
        Origin::File { line, .. } => line,
        Origin::Default | Origin::Environment(_) | Origin::Flag(_) => usize::MAX,
    });
    match config {
        Some(config) if problems.is_empty() => Ok((config, effective)),
        _ => Err(ConfigError::Invalid { problems }),
    }
}

struct Reader {
    layers: Layers,
    credentials: Option<PathBuf>,
    without_secrets: bool,
    only_serves: bool,
    warnings: Vec<String>,
    exposed_files: Vec<PathBuf>,
}

impl Reader {
    /// `None` only when a problem was noted; reads everything before it gives up.
    fn config(&mut self) -> Option<Config> {
        let state = self.parsed("state", 0, "path", |text| {
            Ok(StateConfig {
                path: values::path(text)?,
            })
        });
        let store = self.store();
        let sources = self.sources();
        let dispositions = self.dispositions();
        let attribution = self.attribution();
        let bad_row = self.choice(
            "errors",
            0,
            "bad_row",
            &[("quarantine", BadRow::Quarantine), ("stop", BadRow::Stop)],
        );
        if let (Some(state), Some(store)) = (&state, &store) {
            let same = |file: &Path| values::is_same_file(file, &state.path);
            if store.url.file().is_some_and(same) {
                let origin = self.layers.origin("state", 0, "path");
                let message = "state.path and store.url are the same file: each needs its own";
                self.layers.problem(&origin, "state.path", message);
            }
        }
        let retention = self.retention();
        let log = self.log();
        let api = self.api();
        Some(Config {
            state: state?,
            store: store?,
            sources,
            dispositions: dispositions?,
            attribution: attribution?,
            errors: ErrorsConfig { bad_row: bad_row? },
            retention: retention?,
            log: log?,
            api,
            warnings: std::mem::take(&mut self.warnings),
            exposed_files: std::mem::take(&mut self.exposed_files),
        })
    }

    fn api(&mut self) -> Option<ApiConfig> {
        let tls = self.identity();
        let listen: SocketAddr = self.parsed("api", 0, "listen", |text| {
            text.parse()
                .map_err(|_| "expected ADDRESS:PORT, e.g. 127.0.0.1:5000".to_owned())
        })?;
        if !listen.ip().is_loopback() {
            let how = match tls {
                Some(_) => " without a password",
                None => {
                    ", unencrypted and without a password, and keys of the API go to it \
                     unencrypted (tls_cert, tls_key)"
                }
            };
            self.warnings.push(format!(
                "[api] listen = \"{listen}\": whoever can reach this address may read /metrics \
                 and /healthz{how}; a firewall should let in Prometheus alone"
            ));
        }
        Some(ApiConfig { listen, tls })
    }

    /// Both files, which must fit each other.
    fn identity(&mut self) -> Option<Identity> {
        self.demand_both("api", 0, ["tls_cert", "tls_key"]);
        let cert = self.parsed("api", 0, "tls_cert", values::path);
        let key = self.parsed("api", 0, "tls_key", values::path);
        let identity = Identity {
            cert: cert?,
            key: key?,
        };
        if !self.without_secrets {
            self.note_exposed(&identity.key);
            if let Err(error) = identity.read() {
                let origin = self.layers.origin("api", 0, error.key);
                let key = full_key("api", 0, error.key);
                self.layers.problem(&origin, &key, error.what);
            }
        }
        Some(identity)
    }

    /// Each of two keys needs the other.
    fn demand_both(&mut self, section: &'static str, index: usize, [one, other]: [&str; 2]) {
        for (have, need) in [(one, other), (other, one)] {
            let set = |name| self.layers.setting(section, index, name).is_some();
            if set(have) && !set(need) {
                let origin = self.layers.origin(section, index, have);
                let key = full_key(section, index, have);
                self.layers
                    .problem(&origin, &key, format!("it needs {need} too"));
            }
        }
    }

    /// Takes note of a file that is not for everybody, and which everybody may read.
    fn note_exposed(&mut self, file: &Path) {
        if values::is_exposed(file) && !self.exposed_files.iter().any(|known| known == file) {
            self.exposed_files.push(file.to_owned());
        }
    }

    fn store(&mut self) -> Option<StoreConfig> {
        let (url, in_url) = self.parsed("store", 0, "url", StoreUrl::parse)?;
        let password = match url {
            StoreUrl::File(_) => None,
            StoreUrl::Server(_) => self.password("store", 0, "store", in_url),
        };
        Some(StoreConfig { url, password })
    }

    fn sources(&mut self) -> Vec<SourceConfig> {
        if self.layers.sources == 0 && !self.only_serves {
            let message = match &self.layers.file {
                Some(file) => format!(
                    "{} names no source: add [[source]] with its url, or pass --source-url",
                    file.display()
                ),
                None => format!(
                    "no source: there is no {DEFAULT_PATH}, and neither --source-url nor \
                     DIDTAIL_SOURCE_URL is given"
                ),
            };
            self.layers.problem(&Origin::Default, "", message);
        }
        let mut sources: Vec<SourceConfig> = Vec::new();
        for index in 0..self.layers.sources {
            if let Some(source) = self.source(index) {
                if sources.iter().any(|other| other.name == source.name) {
                    let origin = self.layers.origin("source", index, "name");
                    let message = format!("two sources are named `{}`", source.name);
                    self.layers.problem(&origin, "source.name", message);
                }
                if let Some(same) = sources.iter().find(|s| s.url.is_same_database(&source.url)) {
                    let origin = self.layers.origin("source", index, "url");
                    let message = format!(
                        "`{}` and `{}` are the same database: its calls would count twice",
                        same.name, source.name
                    );
                    self.layers.problem(&origin, "source.url", message);
                }
                sources.push(source);
            }
        }
        sources
    }

    fn source(&mut self, index: usize) -> Option<SourceConfig> {
        let name = self.parsed("source", index, "name", values::name);
        let url = self.parsed("source", index, "url", SourceUrl::parse);
        if self.layers.setting("source", index, "url").is_none() {
            let message = "missing; expected mysql://USER@HOST:3306/DATABASE";
            self.layers
                .problem(&Origin::Default, &full_key("source", index, "url"), message);
        }
        let is_socket = url.as_ref().is_some_and(|(url, _)| url.socket.is_some());
        let tls = self.tls(index, is_socket);
        let start_at = self.parsed("source", index, "start_at", values::start_at);
        let tenant = self.parsed("source", index, "tenant", values::name);
        let server_id = self.parsed("source", index, "server_id", |text| match text.parse() {
            Ok(id) if id > 0 => Ok(id),
            _ => Err(format!("expected a number from 1 to {}", u32::MAX)),
        });
        let time_zone = self.parsed("source", index, "time_zone", values::time_zone);
        let (name, (url, in_url)) = (name?, url?);
        let password = self.password("source", index, &name, in_url);
        Some(SourceConfig {
            name,
            url,
            password,
            tls: tls?,
            start_at: start_at?,
            tenant: tenant?,
            server_id,
            time_zone: time_zone?,
        })
    }

    /// Whether what only a connection to a source needs is left alone.
    fn without_source_secrets(&self) -> bool {
        self.without_secrets || self.only_serves
    }

    /// Picks the password of a section; the order is that of
    /// [`SourceConfig::password`]. `name` is that of the systemd credential.
    fn password(
        &mut self,
        section: &'static str,
        index: usize,
        name: &str,
        in_url: Option<SecretString>,
    ) -> Option<SecretString> {
        if section == "source" && self.without_source_secrets() {
            return None;
        }
        let origin = self.layers.origin(section, index, "url");
        let variable = format!("DIDTAIL_{}_PASSWORD", section.to_uppercase());
        if in_url.is_some() && matches!(origin, Origin::Flag(_)) {
            self.warnings.push(format!(
                "the password on the command line can be read by every user of this machine; \
                 use password_file or {variable}"
            ));
            return in_url;
        }
        if let Some(password) = self.layers.passwords.get(section).cloned() {
            if section == "source" && self.layers.sources > 1 {
                let message = "there are several sources: use password_file";
                self.layers
                    .problem(&Origin::Environment(variable), "", message);
            }
            return Some(password.into());
        }
        if in_url.is_some() && matches!(origin, Origin::Environment(_)) {
            return in_url;
        }
        if self
            .layers
            .setting(section, index, "password_file")
            .is_some()
        {
            let file = self.parsed(section, index, "password_file", values::path)?;
            self.note_exposed(&file);
            return self.parsed(section, index, "password_file", |text| {
                values::read_password(Path::new(text))
            });
        }
        if let Some(credentials) = &self.credentials {
            let file = credentials.join(format!("{name}.password"));
            if file.exists() {
                let password = values::read_password(&file);
                return password
                    .map_err(|message| self.layers.problem(&Origin::Default, section, message))
                    .ok();
            }
        }
        in_url
    }

    fn tls(&mut self, index: usize, is_socket: bool) -> Option<TlsConfig> {
        let modes = [
            ("disabled", TlsMode::Disabled),
            ("preferred", TlsMode::Preferred),
            ("required", TlsMode::Required),
            ("verify-ca", TlsMode::VerifyCa),
            ("verify-identity", TlsMode::VerifyIdentity),
        ];
        let mode = self.choice("source", index, "tls", &modes);
        let file = if self.without_source_secrets() {
            values::path
        } else {
            values::readable
        };
        let ca = self.parsed("source", index, "tls_ca", file);
        let cert = self.parsed("source", index, "tls_cert", file);
        let key = self.parsed("source", index, "tls_key", file);
        self.demand_both("source", index, ["tls_cert", "tls_key"]);
        let has_ca = self.layers.setting("source", index, "tls_ca").is_some();
        let verifies = matches!(mode, Some(TlsMode::VerifyCa | TlsMode::VerifyIdentity));
        // A socket has no TLS, whatever is set.
        if verifies && !has_ca && !is_socket {
            let origin = self.layers.origin("source", index, "tls");
            let message = "it needs tls_ca, the PEM file of the authority that signed the \
                           server's certificate (MySQL makes one: ca.pem in its data directory)";
            self.layers
                .problem(&origin, &full_key("source", index, "tls"), message);
        }
        if mode == Some(TlsMode::Disabled) && (ca.is_some() || cert.is_some()) {
            let origin = self.layers.origin("source", index, "tls");
            let message = "`disabled` contradicts the certificates; use `verify-ca`";
            self.layers
                .problem(&origin, &full_key("source", index, "tls"), message);
        }
        Some(TlsConfig {
            mode: mode?,
            ca,
            cert,
            key,
        })
    }

    fn dispositions(&mut self) -> Option<DispositionsConfig> {
        let success = self.parsed("dispositions", 0, "success", values::success);
        let transient = self.parsed("dispositions", 0, "transient", values::statuses);
        if let (Some(Success::Set(success)), Some(transient)) = (&success, &transient) {
            for both in success.intersection(transient) {
                let origin = self.layers.origin("dispositions", 0, "success");
                let message =
                    format!("`{both}` is in `transient` too, so it would never be counted");
                self.layers
                    .problem(&origin, "dispositions.success", message);
            }
        }
        Some(DispositionsConfig {
            success: success?,
            transient: transient?,
        })
    }

    fn attribution(&mut self) -> Option<AttributionConfig> {
        let prefer = self.choice(
            "attribution",
            0,
            "prefer",
            &[
                ("dial-log", Prefer::DialLog),
                ("reported", Prefer::Reported),
            ],
        );
        let unknown_did = self.choice(
            "attribution",
            0,
            "unknown_did",
            &[
                ("create", UnknownDid::Create),
                ("unattributed", UnknownDid::Unattributed),
            ],
        );
        let default_country = self.parsed("attribution", 0, "default_country", |text| {
            text.parse::<country::Id>()
                .map(|_| text.to_owned())
                .map_err(|_| "expected a country of 2 capital letters, e.g. US".to_owned())
        });
        Some(AttributionConfig {
            prefer: prefer?,
            unknown_did: unknown_did?,
            default_country: default_country?,
        })
    }

    fn retention(&mut self) -> Option<RetentionConfig> {
        let mut days = |name| self.parsed("retention", 0, name, values::days);
        let audit_days = days("audit_days");
        let history_days = days("history_days");
        let quarantine_days = days("quarantine_days");
        let dials_days = days("dials_days");
        let call_records_days = days("call_records_days");
        Some(RetentionConfig {
            audit_days: audit_days?,
            history_days: history_days?,
            quarantine_days: quarantine_days?,
            dials_days: dials_days?,
            call_records_days: call_records_days?,
        })
    }

    fn log(&mut self) -> Option<LogConfig> {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = self.choice("log", 0, "format", &formats);
        let level = self.parsed("log", 0, "level", values::log_level);
        Some(LogConfig {
            format: format?,
            level: level?,
        })
    }

    /// Reads one value; `None` when it is not set or a problem was noted.
    fn parsed<T>(
        &mut self,
        section: &str,
        index: usize,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.layers.text(section, index, name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                let origin = self.layers.origin(section, index, name);
                self.layers
                    .problem(&origin, &full_key(section, index, name), message);
                None
            }
        }
    }

    /// Reads a value that is one of a few words.
    fn choice<T: Copy>(
        &mut self,
        section: &str,
        index: usize,
        name: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.parsed(section, index, name, |text| {
            let known = choices.iter().find(|(word, _)| *word == text);
            known.map(|(_, value)| *value).ok_or_else(|| {
                let words: Vec<String> = choices.iter().map(|(w, _)| format!("`{w}`")).collect();
                let near = keys::suggestion(text, choices.iter().map(|(word, _)| *word));
                format!("expected one of {}, not `{text}`{near}", words.join(", "))
            })
        })
    }
}

//! Every key there is, with its default: the one list that the reader, the
//! typo suggestions and the test of the sample file share.

/// What a key's value looks like in the file. In the environment all are text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// A list of texts; in the environment separated by commas.
    List,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As it would be written in the environment; `None` when there is none.
    pub(super) default: Option<&'static str>,
}

const fn key(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
) -> Key {
    Key {
        section,
        name,
        kind,
        default,
    }
}

/// Name of the source when nobody named it.
pub(super) const DEFAULT_SOURCE: &str = "main";

/// All keys, in the order of the sample file.
pub(super) const KEYS: &[Key] = &[
    key(
        "state",
        "path",
        Kind::Text,
        Some("/var/lib/didtail/state.db"),
    ),
    key(
        "store",
        "url",
        Kind::Text,
        Some("sqlite:///var/lib/didtail/optimizer.db"),
    ),
    key("store", "password_file", Kind::Text, None),
    key("source", "name", Kind::Text, Some(DEFAULT_SOURCE)),
    key("source", "url", Kind::Text, None),
    key("source", "password_file", Kind::Text, None),
    key("source", "tls", Kind::Text, Some("preferred")),
    key("source", "tls_ca", Kind::Text, None),
    key("source", "tls_cert", Kind::Text, None),
    key("source", "tls_key", Kind::Text, None),
    key("source", "start_at", Kind::Text, Some("latest")),
    key("source", "tenant", Kind::Text, Some("default")),
    key("source", "server_id", Kind::Number, None),
    key("source", "time_zone", Kind::Text, Some("auto")),
    key("dispositions", "success", Kind::List, Some("SALE,A")),
    key(
        "dispositions",
        "transient",
        Kind::List,
        Some("QUEUE,INCALL,DISPO"),
    ),
    key("attribution", "prefer", Kind::Text, Some("dial-log")),
    key("attribution", "unknown_did", Kind::Text, Some("create")),
    key("attribution", "default_country", Kind::Text, Some("US")),
    key("errors", "bad_row", Kind::Text, Some("quarantine")),
    key("retention", "audit_days", Kind::Number, Some("7")),
    key("retention", "history_days", Kind::Number, Some("30")),
    key("retention", "quarantine_days", Kind::Number, Some("30")),
    key("retention", "dials_days", Kind::Number, Some("90")),
    key("retention", "call_records_days", Kind::Number, Some("0")),
    key("log", "format", Kind::Text, Some("text")),
    key("log", "level", Kind::Text, Some("info")),
    key("api", "listen", Kind::Text, None),
    key("api", "tls_cert", Kind::Text, None),
    key("api", "tls_key", Kind::Text, None),
];

/// Looks up a key.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// True for a section of [`KEYS`].
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section == name)
}

/// `; did you mean …?` with the nearest of the candidates, or nothing.
pub(super) fn suggestion<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    candidates
        .map(|known| (strsim::damerau_levenshtein(wrong, known), known))
        // More than every third letter wrong is another word, not a typo.
        .filter(|(edits, known)| *edits <= (known.len() / 3).max(1))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}

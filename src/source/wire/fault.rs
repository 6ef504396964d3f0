//! What is wrong with TLS: in words an operator can act on, and how to mend it.
//!
//! A library says `invalid peer certificate: UnknownIssuer`. Here that becomes
//! which file lacks which authority. What is no fault of a setting or of a
//! certificate, such as a handshake that was cut or damaged on its way, is
//! told apart, because trying again helps there and nowhere else.

use std::io;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription as Alert, CertificateError as Bad, Error};

use super::WireError;
use crate::source::settings::{ConnectSettings, TlsMode};

/// Why TLS cannot be used, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFault {
    /// What is wrong, and why.
    pub(crate) what: String,
    /// How to mend it.
    pub(crate) fix: String,
}

impl TlsFault {
    pub(super) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }

    /// The settings ask for TLS, and the server has none.
    pub(super) fn not_offered(mode: TlsMode) -> Self {
        Self::new(
            format!("the server offers no TLS, and tls = \"{mode}\" demands it"),
            "give the server a certificate (ssl_ca, ssl_cert and ssl_key under [mysqld] in its \
             my.cnf, then restart it); or, where the network between is trusted, set tls = \
             \"preferred\" in the [[source]]",
        )
    }

    /// A file that the settings name cannot be used.
    pub(super) fn file(what: String) -> Self {
        Self::new(
            what,
            "check tls_ca, tls_cert and tls_key of the [[source]]: each is a PEM file that the \
             user didtail may read; to see what is in one: openssl x509 -in FILE -noout -text",
        )
    }

    /// Sorts an error of a handshake; `None` for what the network may have done.
    fn of(error: &Error, settings: &ConnectSettings) -> Option<Self> {
        match error {
            Error::InvalidCertificate(bad) => Some(Self::certificate(bad, settings)),
            Error::AlertReceived(alert) => Self::alert(*alert),
            Error::PeerIncompatible(why) => Some(Self::no_common_ground(&format!("{why:?}"))),
            _ => None,
        }
    }

    /// What a verifier has against the server's certificate.
    fn certificate(bad: &Bad, settings: &ConnectSettings) -> Self {
        const RENEW: &str = "renew the certificate on the server (ssl_cert in its my.cnf), then \
            FLUSH SSL; on MariaDB, ALTER INSTANCE RELOAD TLS; on MySQL";
        const CLOCK: &str = "check the clocks of both machines (timedatectl); where they are \
            right, wait until then or have a new certificate made";
        match bad {
            Bad::UnknownIssuer => Self::new(
                format!(
                    "the server's certificate was signed by no authority in {}",
                    authorities(settings)
                ),
                format!(
                    "put the certificate of the authority that signed it into tls_ca of the \
                     [[source]] (on the server: SHOW VARIABLES LIKE 'ssl_ca';). Who that is \
                     says: openssl s_client -starttls mysql -connect {} -showcerts </dev/null. \
                     A certificate that the server made up itself, as MariaDB 11.4 and newer do \
                     without ssl_cert, cannot be verified: tls = \"required\" encrypts all the same",
                    settings.address()
                ),
            ),
            Bad::NotValidForNameContext { presented, .. } => {
                Self::wrong_name(&settings.host, presented)
            }
            Bad::NotValidForName => Self::wrong_name(&settings.host, &[]),
            Bad::ExpiredContext { not_after, .. } => Self::new(
                format!(
                    "the server's certificate, or its authority's, expired on {}",
                    date(*not_after)
                ),
                RENEW,
            ),
            Bad::Expired => Self::new("the server's certificate has expired", RENEW),
            Bad::NotValidYetContext { not_before, .. } => Self::new(
                format!(
                    "the server's certificate is valid only from {} on",
                    date(*not_before)
                ),
                CLOCK,
            ),
            Bad::NotValidYet => Self::new("the server's certificate is not valid yet", CLOCK),
            Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => Self::new(
                "the server's certificate is not one for servers (extendedKeyUsage)",
                "have one made with extendedKeyUsage = serverAuth",
            ),
            other => {
                let said = format!("{other:?}");
                if said.contains("CaUsedAsEndEntity") {
                    Self::new(
                        "the server uses an authority's certificate (CA:TRUE) as its own",
                        "have a certificate made for the server that this authority signs \
                         (basicConstraints = CA:FALSE); until then tls = \"required\" encrypts \
                         without checking",
                    )
                } else {
                    Self::unusable(&said)
                }
            }
        }
    }

    /// A certificate that no verifier reads, in the library's words.
    fn unusable(said: &str) -> Self {
        let what = if said.contains("UnsupportedCertVersion") {
            "the server's certificate is a version 1 certificate, which cannot be verified"
                .to_owned()
        } else {
            format!("the server's certificate cannot be used: {said}")
        };
        Self::new(
            what,
            "have an X.509 certificate of version 3 made for the server; until then \
             tls = \"required\" encrypts without checking",
        )
    }

    fn wrong_name(host: &str, presented: &[String]) -> Self {
        let names: Vec<&str> = presented.iter().map(|name| plain(name)).collect();
        let whose = if names.is_empty() {
            "names no host at all (it has no subjectAltName)".to_owned()
        } else {
            format!("is for {}", names.join(", "))
        };
        let own = match host.parse::<std::net::IpAddr>() {
            Ok(address) => format!("IP:{address}"),
            Err(_) => format!("DNS:{host}"),
        };
        let first = match names.first() {
            Some(name) => format!("write {name} as the host in the url of the [[source]], or "),
            None => String::new(),
        };
        Self::new(
            format!("the server's certificate {whose}, and not for {host}"),
            format!(
                "{first}have a certificate made with subjectAltName = {own}; tls = \"verify-ca\" \
                 checks everything but the name"
            ),
        )
    }

    /// What the server says of our side.
    fn alert(alert: Alert) -> Option<Self> {
        match alert {
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::AccessDenied
            | Alert::NoCertificate => Some(Self::new(
                format!("the server does not accept didtail's own certificate ({alert:?})"),
                "tls_cert of the [[source]] must not have expired and must come from the \
                 authority in the server's ssl_ca: openssl verify -CAfile SSL_CA TLS_CERT",
            )),
            Alert::HandshakeFailure
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::UnrecognisedName
            | Alert::NoApplicationProtocol => Some(Self::no_common_ground(&format!("{alert:?}"))),
            _ => None,
        }
    }

    fn no_common_ground(why: &str) -> Self {
        Self::new(
            format!("the server and didtail have no TLS version or cipher in common ({why})"),
            "didtail speaks TLS 1.2 and 1.3: let the server do so too (tls_version in my.cnf)",
        )
    }
}

impl std::fmt::Display for TlsFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// Finds the fault of TLS in an error of a connection that is being made. With
/// TLS 1.3 the server's opinion of our certificate comes after the handshake,
/// in place of the first packet.
pub(super) fn explain(error: WireError, settings: &ConnectSettings) -> WireError {
    let WireError::Io(error) = error else {
        return error;
    };
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner.and_then(|inner| TlsFault::of(inner, settings)) {
        Some(fault) => WireError::Tls(fault),
        None => WireError::Io(worded(error)),
    }
}

/// The words for a handshake that the network spoilt.
fn worded(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(inner) => io::Error::new(error.kind(), format!("TLS broke off: {inner}")),
        None => error,
    }
}

fn authorities(settings: &ConnectSettings) -> String {
    match &settings.tls_ca {
        Some(path) => path.display().to_string(),
        None => "tls_ca".to_owned(),
    }
}

/// `db.example` of rustls' `DnsName("db.example")`.
fn plain(name: &str) -> &str {
    name.split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .map_or(name, |inner| inner.trim_matches('"'))
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_people_write_them() {
        assert_eq!(plain("DnsName(\"db.example\")"), "db.example");
        assert_eq!(plain("*.example"), "*.example");
        let fault = TlsFault::wrong_name("10.0.0.5", &["DnsName(\"db\")".to_owned()]);
        assert_eq!(
            fault.what,
            "the server's certificate is for db, and not for 10.0.0.5"
        );
        assert!(
            fault.fix.starts_with("write db as the host"),
            "{}",
            fault.fix
        );
        assert!(fault.fix.contains("subjectAltName = IP:10.0.0.5"));
        let fault = TlsFault::wrong_name("db", &[]);
        assert!(fault.what.contains("no subjectAltName"), "{}", fault.what);
        assert!(fault.fix.contains("DNS:db"), "{}", fault.fix);
    }

    #[test]
    fn an_old_certificate_is_named_by_its_version() {
        let fault = TlsFault::unusable("Other(OtherError(UnsupportedCertVersion))");
        assert!(
            fault.what.contains("is a version 1 certificate"),
            "{}",
            fault.what
        );
        assert!(fault.fix.contains("of version 3"), "{}", fault.fix);
    }

    #[test]
    fn what_the_network_may_have_done_is_no_fault() {
        for alert in [
            Alert::BadRecordMac,
            Alert::DecodeError,
            Alert::InternalError,
        ] {
            assert_eq!(TlsFault::alert(alert), None, "{alert:?}");
        }
        assert!(TlsFault::alert(Alert::UnknownCA).is_some());
        assert!(TlsFault::alert(Alert::ProtocolVersion).is_some());
    }
}

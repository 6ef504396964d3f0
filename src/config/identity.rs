//! The certificate by which clients of the API know this machine, and its key: read
//! when the configuration is checked, and again by who listens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

/// The one protocol that is spoken.
const ALPN: &[u8] = b"http/1.1";

/// `[api] tls_cert` and `tls_key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the certificate, and behind it those of the authorities between it
    /// and one that clients know.
    pub cert: PathBuf,
    /// PEM file of its key, without a passphrase.
    pub key: PathBuf,
}

/// Both files, read.
#[derive(Clone, Debug)]
pub struct Certified {
    /// How to speak TLS with them.
    pub server: Arc<ServerConfig>,
    /// When the certificate itself begins to hold and when it ends, in seconds since 1970
    /// (UTC); `None` where it is written otherwise than RFC 5280 demands. Clients may take
    /// it all the same.
    pub lasts: Option<(i64, i64)>,
}

impl Certified {
    /// What clients hold against it at a time, in seconds since 1970 (UTC), or will within
    /// a week; `None` while all is well.
    #[must_use]
    pub fn trouble(&self, now: i64) -> Option<String> {
        let day = |at: i64| match jiff::Timestamp::from_second(at) {
            Ok(at) => at.strftime("%F %H:%M UTC").to_string(),
            // RFC 5280 has no such year.
            Err(_) => at.to_string(),
        };
        let (begins, ends) = self.lasts?;
        if now < begins {
            let begins = day(begins);
            return Some(format!(
                "holds from {begins} on: clients refuse it until then"
            ));
        }
        if now > ends {
            return Some(format!("ended at {}: clients refuse it", day(ends)));
        }
        // One that lasts a few days is renewed when half of them are over.
        let notice = NOTICE_SECONDS.min((ends - begins) / 4);
        (ends - now < notice).then(|| format!("ends at {}: clients refuse it then", day(ends)))
    }
}

/// How long before its end a certificate should have been renewed.
const NOTICE_SECONDS: i64 = 7 * 86_400;

/// Files that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct IdentityError {
    /// The key of `[api]` that names the file.
    pub key: &'static str,
    /// What is wrong with it, and how to mend it.
    pub what: String,
}

impl Identity {
    /// Reads both files: TLS 1.2 and 1.3 with this certificate.
    ///
    /// # Errors
    /// [`IdentityError`] when one of them cannot be read, or they are not of one another.
    pub fn read(&self) -> Result<Certified, IdentityError> {
        let of_cert = |what| IdentityError {
            key: "tls_cert",
            what,
        };
        let of_key = |what| IdentityError {
            key: "tls_key",
            what,
        };
        let certificates = certificates(&self.cert).map_err(of_cert)?;
        let lasts = certificates.first().and_then(lasts);
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| of_key(unreadable(&self.key, "private key", &error)))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| of_cert(error.to_string()))?
            .with_no_client_auth();
        let mut config =
            builder
                .with_single_cert(certificates, key)
                .map_err(|error| match error {
                    Error::InconsistentKeys(_) => of_key(format!(
                        "{} is not the key of the certificate in {}: `openssl pkey -pubout -in` \
                         that and `openssl x509 -pubkey -noout -in` this must print the same",
                        self.key.display(),
                        self.cert.display()
                    )),
                    Error::General(what) => {
                        of_key(format!("{} cannot be used: {what}", self.key.display()))
                    }
                    other => of_cert(format!("{} cannot be used: {other}", self.cert.display())),
                })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Certified {
            server: Arc::new(config),
            lasts,
        })
    }
}

/// See [`Certified::lasts`].
fn lasts(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let seconds = |time: Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
    Some((seconds(validity.not_before)?, seconds(validity.not_after)?))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unreadable(path, "certificate", &error))?;
    if all.is_empty() {
        return Err(unreadable(path, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(all)
}

/// What is wrong with a file that should hold a `what`.
fn unreadable(path: &Path, what: &str, error: &pem::Error) -> String {
    let path = path.display();
    match error {
        pem::Error::Io(error) => format!("cannot read {path}: {error}"),
        pem::Error::NoItemsFound => format!(
            "{path} holds no {what} in PEM form (-----BEGIN …-----); one with a passphrase is none"
        ),
        other => format!("{path} holds no {what} that can be read: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::server::ResolvesServerCertUsingSni;

    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn trouble_is_told_in_time_and_not_before() {
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        let mut certified = Certified {
            server: Arc::new(server),
            lasts: Some((100 * DAY, 190 * DAY)),
        };
        for (now, trouble) in [
            (100 * DAY - 1, "holds from 1970-04-11 00:00 UTC on"),
            (100 * DAY, ""),
            (183 * DAY, ""),
            (183 * DAY + 1, "ends at 1970-07-10 00:00 UTC"),
            (190 * DAY, "ends at"),
            (190 * DAY + 1, "ended at 1970-07-10 00:00 UTC"),
        ] {
            let told = certified.trouble(now).unwrap_or_default();
            assert!(told.starts_with(trouble), "{now}: {told}");
            assert_eq!(told.is_empty(), trouble.is_empty(), "{now}: {told}");
        }
        // One of six days is renewed after three.
        certified.lasts = Some((100 * DAY, 106 * DAY));
        assert_eq!(certified.trouble(104 * DAY), None);
        assert!(certified.trouble(105 * DAY).is_some());
        certified.lasts = None;
        assert_eq!(certified.trouble(0), None);
    }

    #[test]
    fn a_certificate_that_is_written_oddly_has_no_end() {
        for bytes in [
            &b""[..],
            b"\x30\x03\x02\x01\x01",
            b"\x30\x84\xff\xff\xff\xff",
        ] {
            assert_eq!(lasts(&CertificateDer::from(bytes)), None);
        }
    }
}

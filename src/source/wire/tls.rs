//! TLS to the source, with exactly the checks that the operator chose.
//!
//! MariaDB makes up a certificate where none is configured, and 11.4.0 made
//! up ones of X.509 version 1, which no verifier reads. So `preferred` and
//! `required` look at no certificate at all, and `verify-ca` at everything in
//! it but the host name.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::fault::TlsFault;
use crate::source::settings::{ConnectSettings, TlsMode};

/// Prepares TLS for one connection; an error says in words what is wrong with
/// the settings.
pub(super) fn config(settings: &ConnectSettings) -> Result<Arc<ClientConfig>, TlsFault> {
    prepared(settings).map_err(TlsFault::file)
}

fn prepared(settings: &ConnectSettings) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(settings, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match (&settings.tls_cert, &settings.tls_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|e| format!("tls_cert and tls_key do not fit: {e}"))?
        }
        _ => return Err("tls_cert and tls_key must be given together".to_owned()),
    };
    Ok(Arc::new(config))
}

/// The name that the server's certificate must carry.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TlsFault> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        TlsFault::new(
            format!("`{host}` cannot be the name in a certificate"),
            "write the server's name or address into the url of the [[source]]",
        )
    })
}

fn verifier(
    settings: &ConnectSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if matches!(
        settings.tls,
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required
    ) {
        return Ok(Arc::new(Unverified {
            schemes: provider
                .signature_verification_algorithms
                .supported_schemes(),
        }));
    }
    let Some(ca) = &settings.tls_ca else {
        return Err(format!("tls = \"{}\" needs tls_ca", settings.tls));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|e| unreadable(ca, &e))?;
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| unreadable(ca, &e))?;
    if settings.tls == TlsMode::VerifyIdentity {
        Ok(chain)
    } else {
        Ok(Arc::new(ChainOnly { chain }))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| unreadable(path, &e))?;
    if all.is_empty() {
        Err(format!("{} holds no PEM certificate", path.display()))
    } else {
        Ok(all)
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{} cannot be used: {error}", path.display())
}

/// Accepts any server. A signature proves nothing without a trusted
/// certificate, so it is not looked at either.
#[derive(Debug)]
struct Unverified {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Checks everything but the host name.
#[derive(Debug)]
struct ChainOnly {
    chain: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self
            .chain
            .verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verdict {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

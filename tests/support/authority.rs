//! A certificate authority for one test, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ended, workspace};

/// Its certificate and the ones it signed, each with its key, as PEM files.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes one; `name` is for its directory.
    pub fn new(name: &str) -> Self {
        let dir = workspace().join(format!("authority-{name}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let authority = Self { dir };
        let subject = format!("/CN=authority {name}");
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        authority
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A file of a signed certificate: `NAME.pem` or `NAME.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Signs a certificate for these names, e.g. `DNS:db,IP:127.0.0.1`, that is
    /// valid now. Without names it has none.
    pub fn sign(&self, name: &str, names: &str) {
        self.sign_for(name, names, "20200101000000Z", "20991231000000Z");
    }

    /// The same, valid between two times, as openssl writes them.
    pub fn sign_for(&self, name: &str, names: &str, from: &str, until: &str) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let subject = format!("/CN={name}");
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        let alternatives = match names {
            "" => String::new(),
            names => format!("subjectAltName = {names}\n"),
        };
        let config = format!(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\n\
             default_md = sha256\npolicy = any\nunique_subject = no\nrand_serial = yes\n\
             x509_extensions = leaf\n[any]\ncommonName = supplied\n\
             [leaf]\nbasicConstraints = CA:FALSE\n{alternatives}"
        );
        std::fs::write(self.file("ca.cnf"), config).expect("written");
        std::fs::write(self.file("index.txt"), "").expect("written");
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.cnf",
            "-cert",
            "ca.pem",
            "-keyfile",
            "ca.key",
            "-startdate",
            from,
            "-enddate",
            until,
            "-in",
            &request,
            "-out",
            &format!("{name}.pem"),
        ]);
    }

    /// Puts one of its certificates where a server looks for its own.
    pub fn install(&self, name: &str, certificate: &Path, key: &Path) {
        for (from, to) in [("pem", certificate), ("key", key)] {
            std::fs::copy(self.file(&format!("{name}.{from}")), to).expect("copied");
        }
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        Ended::of(command.args(arguments).current_dir(&self.dir)).good();
    }
}

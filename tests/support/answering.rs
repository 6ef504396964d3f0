//! A daemon that answers over HTTP, and where.

use super::{Daemon, Site};

/// Lets the site's daemons answer, on a free port.
pub fn answering(site: &Site) {
    let config = site.config() + "\n[api]\nlisten = \"127.0.0.1:0\"\n";
    site.configure(&config);
}

/// Where the daemon says that it answers.
#[track_caller]
pub fn address(daemon: &mut Daemon) -> String {
    daemon.wait_for("answering over HTTP");
    let log = daemon.log();
    let (_, behind) = log.split_once("answering over HTTP address=").expect("it");
    let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
    behind[..end].to_owned()
}

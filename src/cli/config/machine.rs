//! What this machine says of its VICIdial: where the database is, which zone its
//! clocks show, and which user didtail runs as.

use std::collections::BTreeMap;
use std::path::Path;

use crate::vicidial::Zone;

/// VICIdial's own configuration, on dialers, web servers and all-in-one machines.
pub(super) const ASTGUICLIENT: &str = "/etc/astguiclient.conf";

/// Longest configuration of VICIdial that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Where VICIdial's database is, by its own configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Vicidial {
    pub(super) server: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) database: Option<String>,
    /// VICIdial's own account, which is not for didtail: it may write everything.
    pub(super) user: Option<String>,
}

impl Vicidial {
    /// What a file says; `None` where it cannot be read. Its passwords are passed over.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let size = std::fs::metadata(path).ok()?.len();
        let bytes = std::fs::read(path).ok().filter(|_| size <= BYTES_MAX)?;
        Some(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Lines such as `VARDB_server => localhost`, read as VICIdial's programs do.
    fn parse(text: &str) -> Self {
        let mut values = BTreeMap::new();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            if let Some((name, value)) = line.split_once('=') {
                let value = value.replace(['>', ' ', '\t', '\r'], "");
                values.insert(name.trim().to_owned(), value);
            }
        }
        let mut take = |name: &str| values.remove(name).filter(|value| !value.is_empty());
        Self {
            server: take("VARDB_server"),
            port: take("VARDB_port").and_then(|port| port.parse().ok()),
            database: take("VARDB_database"),
            user: take("VARDB_user"),
        }
    }
}

/// The zone of this machine's clock, where it has an IANA name.
pub(super) fn time_zone() -> Option<String> {
    let told = std::fs::read_to_string("/etc/timezone").ok();
    let told = told.map(|text| text.trim().to_owned());
    let linked = std::fs::read_link("/etc/localtime").ok();
    let linked = linked.and_then(|path| {
        let path = path.to_str()?.to_owned();
        Some(path.split_once("zoneinfo/")?.1.to_owned())
    });
    // The link is what the clock goes by.
    let mut names = [linked, told].into_iter().flatten();
    names.find(|name| Zone::named(name).is_some())
}

/// User and group of a name.
pub(super) fn user(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        let (_, uid, gid) = (fields.next(), fields.next()?, fields.next()?);
        let ids = (uid.parse().ok()?, gid.parse().ok()?);
        is_it.then_some(ids)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_as_vicidial_reads_it() {
        let text = "# astguiclient.conf\n\nVARserver_ip => 10.0.0.5\n\
                    # Database connection information\nVARDB_server => 10.0.0.9 # the db\n\
                    VARDB_database =>\tasterisk\r\nVARDB_user => cron\nVARDB_pass => 1234\n\
                    VARDB_custom_user => custom\nVARDB_port => 3307\n";
        let expected = Vicidial {
            server: Some("10.0.0.9".to_owned()),
            port: Some(3307),
            database: Some("asterisk".to_owned()),
            user: Some("cron".to_owned()),
        };
        assert_eq!(Vicidial::parse(text), expected);
        assert_eq!(
            Vicidial::parse("nonsense\nVARDB_server =>\n"),
            Vicidial::default()
        );
    }

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(user("root"), Some((0, 0)));
        assert_eq!(user("nobody-of-this-name"), None);
    }
}

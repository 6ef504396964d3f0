//! A network that cuts, stalls, slows down and damages, at random points of
//! the stream: it costs time, and no number.

use crate::support::{Authority, Daemon, Proxy, Server, Site, Trouble};

/// Longest pause before another try: thirty seconds, and as much by chance.
const PAUSE_MS_MAX: u64 = 60_000;

/// Bytes of a connection within which it happens: two or three times what the
/// simulator writes at once. After a reconnect didtail first looks through all that is
/// new, so that a link which never brings that gets it nowhere.
const WITHIN: u64 = 1_000_000;

/// Seeds from which the simulator writes different rows.
const SEEDS_MAX: u32 = 10;

/// Lets a site's didtail reach its server through the proxy alone.
fn through(site: &Site, server: &Server, proxy: &Proxy, more: &str) {
    let (direct, proxied) = (server.port().to_string(), proxy.port().to_string());
    let config = site.config().replace(&direct, &proxied);
    site.configure(&(config + more));
}

/// The pauses before each new try, in milliseconds.
fn pauses(log: &str) -> Vec<u64> {
    let values = log.split("retry_ms=").skip(1);
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    values.map(number).collect()
}

/// Writes calls while the daemon follows, until each trouble has struck a few
/// times, and demands that the store is what the source is.
fn survives(server: &Server, site: &Site, proxy: &Proxy, troubles: &[Trouble]) -> Daemon {
    proxy.set(troubles);
    let daemon = site.following();
    let mut seed = 1;
    while troubles.iter().any(|one| proxy.struck(*one) < 2) {
        site.calls(40, seed);
        site.wait_for_end(server);
        seed += 1;
        assert!(seed < SEEDS_MAX, "no trouble: {}", daemon.log());
    }
    site.calls(40, seed);
    proxy.set(&[]);
    site.wait_for_end(server);
    let calls = site.assert_equals_source();
    assert!(calls > 50, "{calls}");
    daemon
}

#[test]
fn a_network_that_cuts_damages_and_crawls() {
    let server = Server::start("bad-network", &[]);
    let site = Site::new(&server, "asterisk");
    let proxy = Proxy::new(server.port(), 1, WITHIN, false);
    through(&site, &server, &proxy, "tls = \"disabled\"\n");
    let troubles = [Trouble::Cut, Trouble::Corrupt, Trouble::Throttle];
    let log = survives(&server, &site, &proxy, &troubles).stop();
    let lost = log.matches("lost the source; connecting again").count();
    assert!(lost >= 5, "{log}");
    assert!(log.contains("the source is followed again"), "{log}");
    assert!(log.contains("closed the connection"), "{log}");
    let damage = [
        "an event was damaged on its way",
        "packets are out of order",
    ];
    assert!(damage.iter().any(|words| log.contains(words)), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    let pauses = pauses(&log);
    assert_eq!(pauses.len(), lost, "{log}");
    assert!(
        pauses.iter().all(|ms| (100..PAUSE_MS_MAX).contains(ms)),
        "{pauses:?}"
    );
    println!(
        "{lost} reconnects, {} connections, pauses {pauses:?}",
        proxy.connections()
    );
}

/// Under TLS every byte is protected, the answers to questions too.
#[test]
fn an_encrypted_connection_that_is_damaged() {
    let authority = Authority::new("damaged");
    authority.sign("server", "IP:127.0.0.1");
    let files = [
        ("ca", authority.ca()),
        ("cert", authority.file("server.pem")),
        ("key", authority.file("server.key")),
    ]
    .map(|(name, file)| format!("--ssl-{name}={}", file.display()));
    let server = Server::start("bad-tls", &[&files[0], &files[1], &files[2]]);
    let site = Site::new(&server, "asterisk");
    let proxy = Proxy::new(server.port(), 2, WITHIN, true);
    let ca = authority.ca();
    let tls = format!("tls = \"verify-identity\"\ntls_ca = \"{}\"\n", ca.display());
    through(&site, &server, &proxy, &tls);
    let troubles = [Trouble::Corrupt, Trouble::Cut];
    let log = survives(&server, &site, &proxy, &troubles).stop();
    assert!(log.contains("decrypt"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

/// Half open: the peer is gone and nobody was told. The stream's own deadline
/// ends it.
#[test]
fn a_connection_on_which_nothing_comes_any_more() {
    let server = Server::start("stalled", &[]);
    let site = Site::new(&server, "asterisk");
    let proxy = Proxy::new(server.port(), 3, 1, false);
    through(&site, &server, &proxy, "tls = \"disabled\"\n");
    site.calls(20, 1);
    let mut daemon = site.following();
    site.wait_for_end(&server);
    proxy.stall();
    site.calls(20, 2);
    daemon.wait_for("the source sent nothing for 30 s, not even a heartbeat");
    site.wait_for_end(&server);
    site.assert_equals_source();
    daemon.stop();
}

//! The clients that are shipped for dialers (`packaging/clients`), run by Perl as they are:
//! against a daemon, and with this test as the Asterisk that runs the AGI script and has
//! the manager interface.

mod attack;
mod dialer;
mod middle;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use self::dialer::{Dialer, HungUp, NUMBER, SECRET_DIGITS, now};
use self::middle::{Middle, Way, nobody};
use crate::monitor::{PATIENCE, address, answering};
use crate::support::{Daemon, Disk, Server, Site, wait_until};

/// A daemon that follows and answers, a way to it, and a dialer.
fn site_with_dialer(database: &str) -> (Site, Daemon, Middle, Dialer) {
    let site = Site::new(Server::shared(), database);
    answering(&site);
    let mut daemon = site.following();
    let middle = Middle::new(&address(&mut daemon));
    let dialer = Dialer::new(&site, "dialer");
    dialer.posts_to(&nobody(), "");
    (site, daemon, middle, dialer)
}

#[track_caller]
fn has_calls(site: &Site, calls: i64) {
    wait_until("the results are calls", || {
        let count = site.stored::<i64>("SELECT count(*) FROM call_records");
        assert!(count <= calls, "{count} calls instead of {calls}");
        let waiting = site.stored::<i64>("SELECT count(*) FROM posted_results");
        (count == calls && waiting == 0).then_some(())
    });
}

#[test]
fn the_did_that_the_dialplan_reports_is_the_calls() {
    let server = Server::shared();
    let site = Site::new(server, "clients_agi");
    answering(&site);
    let config = std::fs::read_to_string(site.path("didtail.toml")).expect("a configuration");
    site.configure(&(config + "\n[attribution]\nprefer = \"reported\"\n"));
    let mut daemon = site.following();
    let middle = Middle::new(&address(&mut daemon));
    let dialer = Dialer::new(&site, "dialer");
    dialer.posts_to(&middle.address, "");
    let mut call = HungUp::new(10);
    let (code, start) = (call.caller_code.clone(), now());
    let cid = call.caller_id;
    site.sql(
        server,
        &format!(
            "INSERT INTO vicidial_dial_log SET caller_code='{code}',lead_id='12010',\
             call_date=FROM_UNIXTIME({start}),outbound_cid='\"{code}\" <{cid}>'"
        ),
    );
    for variable in [
        ("DIALSTATUS", "ANSWER"),
        ("HANGUPCAUSE", "0"),
        ("ANSWEREDTIME", "41"),
    ] {
        call.variables.insert(variable.0, variable.1.to_owned());
    }
    assert_eq!(dialer.hang_up(&call), "");
    // The other end of the Local channel, which dialled nothing, and one of a transfer.
    let mut other = HungUp::new(11);
    other.variables.remove("DIALSTATUS");
    assert_eq!(dialer.hang_up(&other), "");
    other = HungUp::new(12);
    other.caller_code = other.caller_code.replace('V', "Y");
    assert_eq!(dialer.hang_up(&other), "");
    wait_until("it is posted", || dialer.waiting().is_empty().then_some(()));
    // VICIdial has another channel of the call.
    site.sql(
        server,
        &format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
             phone_code,phone_number,user,length_in_sec) values('{start}.000009','12010','SALESEST',\
             FROM_UNIXTIME({start}),'{start}','SALE','1','2025550143','6001','38'); \
             INSERT INTO vicidial_log_extended SET uniqueid='{start}.000009',server_ip='10.0.0.1',\
             call_date=FROM_UNIXTIME({start}),lead_id='12010',caller_code='{code}'"
        ),
    );
    site.wait_for_end(server);
    has_calls(&site, 1);
    let of_call = "SELECT d.phone_number || ' ' || c.attribution || ' ' || c.disposition || ' ' \
                   || c.hangup_cause FROM call_records c JOIN dids d ON d.id = c.did_id";
    wait_until("the DID is the reported one", || {
        let said = site.stored::<Option<String>>(of_call);
        (said? == "+13125550177 reported SALE 16").then_some(())
    });
    let posts = middle.posts();
    assert_eq!(posts.len(), 1, "{posts:?}");
    let body: serde_json::Value = serde_json::from_str(&posts[0].1).expect("JSON");
    assert_eq!(body["duration"], 41);
    assert_eq!(body["uniqueid"], call.uniqueid);
    site.assert_invariant();
    let log = daemon.stop();
    assert!(!log.contains(SECRET_DIGITS), "{log}");
}

#[test]
fn what_an_api_that_is_down_did_not_take_is_posted_once() {
    let (site, daemon, middle, dialer) = site_with_dialer("clients_down");
    for n in 0..8 {
        assert_eq!(dialer.hang_up(&HungUp::new(n)), "");
    }
    let ended = dialer.now();
    assert_eq!((ended.code, ended.stderr.as_str()), (75, ""));
    let kept = dialer.waiting();
    assert_eq!(kept.len(), 8);
    let said = dialer.spool(&["--status"]).good();
    assert!(
        said.contains("waiting   8 ") && said.contains("trouble   http://"),
        "{said}"
    );

    dialer.posts_to(&middle.address, "");
    let said = dialer.spool(&["--check"]).good();
    assert!(said.contains("answers and knows the key"), "{said}");
    // While one posts, another one does not.
    let (here, there) = channel();
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().expect("mine");
    middle.set(Way::Stopped(here, Arc::clone(&gate)));
    let asked = middle.posts().len();
    let mut command = dialer.client("didtail-spool");
    let first = Daemon::spawn(command.arg("--loop"), dialer.dir.join("loop.log"));
    there.recv_timeout(PATIENCE).expect("it posts");
    let said = dialer.spool(&["--now"]).good();
    assert!(said.contains("another process is posting"), "{said}");
    assert_eq!(middle.posts().len(), asked + 1);
    middle.set(Way::Open);
    drop(closed);
    wait_until("all is posted", || {
        dialer.waiting().is_empty().then_some(())
    });
    first.kill();
    let posts = &middle.posts()[asked..];
    let names: Vec<String> = posts.iter().map(|post| post.0.clone() + ".json").collect();
    // The first was stopped, and posted again; the others were posted once, in order.
    assert_eq!(names[0], kept[0]);
    assert_eq!(names[1..], kept);
    has_calls(&site, 8);
    site.assert_invariant();
    daemon.stop();
}

#[test]
fn who_is_killed_while_it_posts_loses_and_doubles_nothing() {
    let (site, daemon, middle, dialer) = site_with_dialer("clients_killed");
    dialer.posts_to(&middle.address, "");
    let (here, there) = channel();
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().expect("mine");
    middle.set(Way::Stopped(here.clone(), Arc::clone(&gate)));
    // The script ends although its post gets no answer.
    assert_eq!(dialer.hang_up(&HungUp::new(1)), "");
    dialer.kill_sender(&there);
    assert_eq!(dialer.waiting().len(), 1);
    // Now the API has it, and the client does not know.
    middle.set(Way::Swallowed(here, Arc::clone(&gate)));
    let mut sender = dialer.client("didtail-spool").spawn().expect("perl");
    dialer.kill_sender(&there);
    sender.wait().expect("it ended");
    assert_eq!(dialer.waiting().len(), 1);
    drop(closed);
    middle.set(Way::Open);
    dialer.now().good();
    assert_eq!(dialer.waiting(), Vec::<String>::new());
    let posts = middle.posts();
    let same: BTreeSet<_> = posts.iter().map(|(key, body, _)| (key, body)).collect();
    assert_eq!((posts.len(), same.len()), (3, 1), "{posts:?}");
    assert!(!posts[0].0.is_empty());
    has_calls(&site, 1);
    daemon.stop();
}

#[test]
fn what_cannot_be_posted_is_kept_and_says_why() {
    let (site, daemon, middle, dialer) = site_with_dialer("clients_refused");
    let mut bad = HungUp::new(1);
    bad.uniqueid = "9999999999.1".to_owned();
    dialer.hang_up(&bad);
    dialer.hang_up(&HungUp::new(2));
    assert_eq!(dialer.now().code, 75);
    assert_eq!(dialer.waiting().len(), 2);

    let key = std::fs::read_to_string(dialer.dir.join("client.key")).expect("a key");
    dialer.posts_to(&middle.address, "");
    dialer.secret("client.key", "didtail_wrong");
    dialer.is_stopped("does not know the key");
    dialer.secret("client.key", key.trim());
    dialer.posts_to(&middle.address, "source = elsewhere");
    dialer.is_stopped("no such source: there are main");
    dialer.posts_to(&middle.address, "source = main&limit=1");
    dialer.is_stopped("no such source: there are main");
    dialer.posts_to(&middle.address, "colour = blue");
    dialer.is_stopped("line 6: expected NAME = VALUE");
    dialer.posts_to(&middle.address, "");
    // Another server's word is not didtail's.
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
        "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    ] {
        middle.set(Way::Said(answer));
        dialer.is_stopped("not as didtail does");
    }

    let ended = dialer.now();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("refused"), "{}", ended.stderr);
    assert_eq!(dialer.waiting(), Vec::<String>::new());
    let refused = dialer.results("spool/refused");
    assert_eq!(refused.len(), 1);
    let answer = dialer.dir.join("spool/refused").join(&refused[0]);
    let answer = std::fs::read_to_string(answer.with_extension("answer")).expect("an answer");
    assert!(answer.contains("uniqueid"), "{answer}");
    let said = dialer.spool(&["--again"]).good();
    assert!(said.contains("1 of the refused"), "{said}");
    assert_eq!(dialer.results("spool/refused"), refused);
    has_calls(&site, 1);
    daemon.stop();
}

#[test]
fn retry_after_is_waited_for_and_a_full_spool_says_so() {
    let (site, daemon, middle, dialer) = site_with_dialer("clients_busy");
    dialer.posts_to(&nobody(), "spool_max = 2");
    for n in 0..2 {
        assert_eq!(dialer.hang_up(&HungUp::new(n)), "");
    }
    let said = dialer.hang_up(&HungUp::new(2));
    assert!(said.contains("is full: 2 results wait"), "{said}");
    assert_eq!(dialer.waiting().len(), 2);
    dialer.posts_to(&middle.address, "");
    let mut call = HungUp::new(3);
    call.variables.remove("DIDTAIL_NUMBER");
    let said = dialer.hang_up(&call);
    assert!(said.contains("does not set DIDTAIL_NUMBER"), "{said}");

    middle.set(Way::Said(
        "HTTP/1.1 503 Busy\r\nRetry-After: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    ));
    // Whoever tried in vain before may have to be waited for.
    wait_until("all is posted", || {
        dialer.spool(&[]);
        dialer.waiting().is_empty().then_some(())
    });
    let posts = middle.posts();
    assert_eq!(posts.len(), 3, "{posts:?}");
    assert!(posts[1].2 - posts[0].2 >= Duration::from_secs(2));
    has_calls(&site, 2);
    daemon.stop();
}

#[test]
fn a_full_disk_takes_the_newest_result_alone() {
    let site = Site::new(Server::shared(), "clients_disk");
    let dialer = Dialer::new(&site, "dialer");
    dialer.posts_to(&nobody(), "");
    let disk = Disk::mount(&dialer.dir.join("spool"), "256k");
    assert_eq!(dialer.hang_up(&HungUp::new(1)), "");
    let kept = dialer.waiting();
    assert_eq!(kept.len(), 1);
    let filler = disk.file("filler");
    std::fs::write(&filler, vec![0; 1 << 20]).expect_err("the disk is small");
    let said = dialer.hang_up(&HungUp::new(2));
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(dialer.waiting(), kept);
    std::fs::remove_file(&filler).expect("it is there");
    assert_eq!(dialer.hang_up(&HungUp::new(3)), "");
    assert_eq!(dialer.waiting().len(), 2);
    assert_eq!(dialer.waiting()[0], kept[0]);
}

/// Takes a connection to the manager interface and its login.
fn logged_in(listener: &TcpListener, answer: &str) -> (TcpStream, String) {
    let (mut client, _) = listener.accept().expect("a client");
    client.write_all(b"Asterisk Call Mana").expect("it reads");
    client.flush().expect("it reads");
    client.write_all(b"ger/5.0.1\r\n").expect("it reads");
    let mut login = String::new();
    let mut from = BufReader::new(&client);
    while !login.ends_with("\r\n\r\n") {
        assert_ne!(from.read_line(&mut login).expect("a login"), 0);
    }
    write!(client, "{answer}\r\n\r\n").expect("it reads");
    (client, login)
}

/// A hang-up as Asterisk 13 and newer tell of it.
fn hangup_event(n: u32, channel: &str, name: &str) -> String {
    let second = now();
    let mut event = format!("Event: Hangup\r\nPrivilege: call,all\r\nChannel: {channel}\r\n");
    write!(
        event,
        "CallerIDNum: 9{NUMBER}\r\nCallerIDName: <unknown>\r\nConnectedLineNum: 3125550100\r\n\
         ConnectedLineName: {name}\r\nExten: \r\nUniqueid: {second}.{n:06}\r\n\
         Linkedid: {second}.000001\r\nCause: 17\r\nCause-txt: User busy\r\n\r\n"
    )
    .expect("a text");
    event
}

#[test]
fn the_listener_takes_the_causes_of_outbound_calls() {
    let (site, daemon, middle, dialer) = site_with_dialer("clients_ami");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ami = listener.local_addr().expect("an address");
    let settings = format!("ami_address = {ami}\ndial_prefix = 9");
    dialer.posts_to(&middle.address, &settings);
    dialer.secret("ami.secret", "not-a-secret");
    let log = dialer.dir.join("ami.log");
    let mut client = Daemon::spawn(&mut dialer.client("didtail-ami"), log);

    let (refused, _) = logged_in(
        &listener,
        "Response: Error\r\nMessage: Authentication failed",
    );
    client.wait_for("the login of didtail is refused");
    drop(refused);
    let success = "Response: Success\r\nMessage: Authentication accepted";
    let (mut asterisk, login) = logged_in(&listener, success);
    assert!(
        login.contains("Username: didtail\r\nSecret: not-a-secret\r\n"),
        "{login}"
    );
    let (code, other) = ("V1123194000000012001", "M1123194000000012002");
    let mut events = hangup_event(1, "Local/912025550143@default-0001;2", code);
    events += &hangup_event(2, "SIP/agent-0002", "<unknown>");
    events += &hangup_event(3, "SIP/carrier-0003", code);
    events += &hangup_event(4, "SIP/carrier-0004", code).replace("Hangup", "HangupRequest");
    for piece in events.as_bytes().chunks(97) {
        asterisk.write_all(piece).expect("it reads");
    }
    wait_until("one is kept", || {
        (dialer.waiting().len() == 1).then_some(())
    });
    drop(asterisk);
    client.wait_for("Asterisk closed the connection");
    let (mut asterisk, _) = logged_in(&listener, success);
    let event = hangup_event(5, "PJSIP/carrier-0005", other);
    asterisk.write_all(event.as_bytes()).expect("it reads");
    wait_until("another one is kept", || {
        (dialer.waiting().len() == 2).then_some(())
    });
    dialer.now().good();
    assert_eq!(dialer.waiting(), Vec::<String>::new());
    has_calls(&site, 2);
    let busy = "SELECT count(*) FROM call_records WHERE outcome = 'busy' AND hangup_cause = 17 \
                AND phone_number = '+12025550143' AND did_id IS NULL";
    assert_eq!(site.stored::<i64>(busy), 2);
    let said = client.kill();
    assert!(
        !said.contains("not-a-secret") && !said.contains(SECRET_DIGITS),
        "{said}"
    );
    daemon.stop();
}

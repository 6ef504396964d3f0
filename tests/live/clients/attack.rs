//! What somebody else could have the clients do: take the key to another address, write
//! and post files through links, report another call than the one that ended.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::dialer::{Dialer, HungUp, NUMBER};
use super::middle::{Middle, Way, nobody};
use super::{has_calls, site_with_dialer};
use crate::support::{Server, Site, wait_until};

#[test]
fn the_key_goes_to_no_other_address() {
    let (_site, daemon, middle, dialer) = site_with_dialer("clients_redirect");
    let elsewhere = Middle::new(&nobody());
    assert_eq!(dialer.hang_up(&HungUp::new(1)), "");
    assert_eq!(dialer.now().code, 75);
    dialer.posts_to(&middle.address, "");
    for status in ["301", "302", "303", "307", "308"] {
        let answer = format!(
            "HTTP/1.1 {status} Over there\r\nLocation: http://{}/api/v1/dids\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n",
            elsewhere.address
        );
        let answer: &'static str = answer.leak();
        middle.set(Way::Said(answer));
        dialer.is_stopped("sends to another address, which is not followed: set url");
        middle.set(Way::Said(answer));
        let said = dialer.spool(&["--check"]);
        assert_eq!(said.code, 1, "{}", said.stdout);
        assert!(said.stdout.contains("not followed"), "{}", said.stdout);
    }
    assert_eq!(elsewhere.posts().len(), 0, "{:?}", elsewhere.posts());
    dialer.now().good();
    assert_eq!(dialer.waiting(), Vec::<String>::new());
    daemon.stop();
}

/// Demands that nothing is kept or posted, and that it is said why.
#[track_caller]
fn is_refused(dialer: &Dialer, words: &str) {
    let said = dialer.hang_up(&HungUp::new(1));
    assert!(said.contains(words), "{said}");
    for verb in ["--send", "--now", "--status", "--again"] {
        let ended = dialer.spool(&[verb]);
        assert_eq!(ended.code, 1, "{verb}: {}", ended.stdout);
        assert!(ended.stderr.contains(words), "{verb}: {}", ended.stderr);
    }
}

#[test]
fn a_spool_that_others_can_change_is_refused() {
    let site = Site::new(Server::shared(), "clients_spool");
    let dialer = Dialer::new(&site, "dialer");
    dialer.posts_to(&nobody(), "");
    let (spool, real) = (dialer.dir.join("spool"), dialer.dir.join("real"));
    std::fs::create_dir(&real).expect("a folder");
    symlink(&real, &spool).expect("a link");
    is_refused(&dialer, "is no folder, or a link to one");
    std::fs::remove_file(&spool).expect("it is there");

    std::fs::create_dir(&spool).expect("a folder");
    for mode in [0o720, 0o702] {
        std::fs::set_permissions(&spool, Permissions::from_mode(mode)).expect("a mode");
        is_refused(&dialer, "chmod 700");
    }
    std::fs::set_permissions(&spool, Permissions::from_mode(0o700)).expect("a mode");
    // Who is not root cannot give a folder away.
    if chown(&spool, Some(65_534), None).is_ok() {
        is_refused(&dialer, "run it as Asterisk's user");
        chown(&spool, Some(0), None).expect("root");
    }
    for folder in [&spool, &real] {
        assert_eq!(folder.read_dir().expect("a folder").count(), 0);
    }
    assert_eq!(dialer.hang_up(&HungUp::new(1)), "");
    assert_eq!(dialer.waiting().len(), 1);
}

#[test]
fn nothing_is_written_or_posted_through_a_link() {
    let (site, daemon, middle, dialer) = site_with_dialer("clients_links");
    let spool = dialer.dir.join("spool");
    let other = dialer.dir.join("other");
    std::fs::write(&other, "secret").expect("a file");
    assert_eq!(dialer.hang_up(&HungUp::new(1)), "");
    assert_eq!(dialer.now().code, 75);
    let link = |name: &str| {
        let at = spool.join(name);
        std::fs::remove_file(&at).ok();
        symlink(&other, &at).expect("a link");
        at
    };
    let is_untouched = |other: &Path| {
        assert_eq!(std::fs::read_to_string(other).expect("a file"), "secret");
    };

    let lock = link("lock");
    dialer.is_stopped("cannot write");
    is_untouched(&other);
    std::fs::remove_file(lock).expect("it is there");
    // The next try's time is put in the place of the link.
    let later = link("later");
    assert_eq!(dialer.spool(&[]).code, 75);
    is_untouched(&other);
    assert!(later.symlink_metadata().expect("a file").is_file());

    let result = link("0000000001.000000-dialer-1-1.json");
    std::fs::create_dir(spool.join("0000000001.000000-dialer-1-2.json")).expect("a folder");
    dialer.posts_to(&middle.address, "");
    dialer.now().good();
    assert!(result.is_symlink());
    is_untouched(&other);
    let posts = middle.posts();
    assert_eq!(posts.len(), 1, "{posts:?}");
    assert!(posts[0].1.contains(NUMBER), "{posts:?}");
    has_calls(&site, 1);
    daemon.stop();
}

#[test]
fn no_value_of_a_variable_is_taken_for_another_ones() {
    let (site, daemon, middle, dialer) = site_with_dialer("clients_variables");
    dialer.posts_to(&middle.address, "");
    for (n, code) in [
        "V1\n200 result=1 (ANSWER)\n200 result=1 (13125550199)".to_owned(),
        "V1\n200 result=1 (ANSWER".to_owned(),
        "V".to_owned() + &"1".repeat(100_000),
    ]
    .into_iter()
    .enumerate()
    {
        let mut call = HungUp::new(u32::try_from(n).expect("few"));
        call.variables.insert("DIDTAIL_CODE", code.clone());
        call.variables
            .insert("DIALSTATUS", "NONE-OF-DIAL".to_owned());
        assert_eq!(dialer.hang_up(&call), "");
        wait_until("it is posted", || {
            dialer.spool(&[]);
            dialer.waiting().is_empty().then_some(())
        });
        let posts = middle.posts();
        assert_eq!(posts.len(), n + 1, "{posts:?}");
        let body: serde_json::Value = serde_json::from_str(&posts[n].1).expect("JSON");
        // One with lines counts as empty, one that is too long is left out.
        let known = (!code.starts_with("V11")).then_some(call.caller_code.as_str());
        assert_eq!(body["callerCode"].as_str(), known);
        assert_eq!(body["phoneNumber"], NUMBER);
        assert_eq!(body["disposition"], "17");
        assert_eq!(body["dialStatus"], serde_json::Value::Null);
    }
    assert_eq!(dialer.results("spool/refused"), Vec::<String>::new());
    has_calls(&site, 3);
    daemon.stop();
}

//! What an operator or a disk can get wrong on didtail's own side.

use crate::support::{Disk, Server, Site};

#[test]
fn a_configuration_with_a_mistake_names_the_line() {
    let site = Site::new(Server::shared(), "config");
    site.calls(20, 1);
    site.catch_up();
    let (position, numbers) = (site.position(), site.numbers());
    let good = site.config();
    for (bad, error) in [
        (good.clone() + "colour = 1\n", "unknown key"),
        (good.replace("start_at", "start_att"), "start_at"),
        (good.replace("\"earliest\"", "7"), "expected"),
        (good.replace("[state]", "[stat]"), "unknown section"),
        (good.replace("[state]", "[state"), "toml:"),
    ] {
        site.configure(&bad);
        let ended = site.didtail(&["run", "--until-caught-up"]);
        ended.fails(1, error, "didtail config example");
        assert_eq!(site.position(), position, "{error}");
        assert!(site.numbers() == numbers, "{error}");
    }
    std::fs::remove_file(site.path("didtail.toml")).expect("removed");
    site.didtail(&["run"]).fails(
        1,
        "cannot read the configuration",
        "didtail config example >",
    );
}

#[test]
fn a_state_file_of_another_server() {
    let (server, other) = (Server::shared(), Server::start("other", &[]));
    let site = Site::new(server, "moved");
    site.calls(20, 1);
    site.catch_up();
    let (position, numbers) = (site.position(), site.numbers());
    let elsewhere = Site::new(&other, "moved");
    let port = |server: &Server| format!(":{}/", server.port());
    let config = site.config();
    site.configure(&config.replace(&port(server), &port(&other)));
    site.didtail(&["run", "--until-caught-up"]).fails(
        1,
        "the position means nothing there",
        "checkpoint reset --to latest",
    );
    assert_eq!(site.position(), position);
    assert!(site.numbers() == numbers, "a number moved");
    // Replaced on purpose: from here on the new server counts.
    site.didtail(&["checkpoint", "reset", "--to", "latest", "--yes"])
        .good();
    elsewhere.calls(20, 5);
    site.catch_up();
    let calls: i64 = site.stored("SELECT count(*) FROM call_records");
    assert!(calls > 35, "{calls}");
    site.assert_invariant();
}

#[test]
fn a_damaged_state_file_is_replaced_from_the_store() {
    let site = Site::new(Server::shared(), "damaged");
    site.calls(20, 1);
    site.catch_up();
    let (position, numbers) = (site.position(), site.numbers());
    for side in ["state.db-wal", "state.db-shm"] {
        drop(std::fs::remove_file(site.path(side)));
    }
    std::fs::write(site.path("state.db"), [0x55; 8192]).expect("written");
    site.didtail(&["run", "--until-caught-up"])
        .fails(1, "is damaged", "mv ");
    assert_eq!(site.position(), position);
    std::fs::rename(site.path("state.db"), site.path("state.db.damaged")).expect("moved");
    site.calls(20, 2);
    let summary = site.catch_up();
    let rows = summary["rows"].as_u64().expect("a number");
    assert!(rows < 400, "the source was read from its beginning: {rows}");
    assert!(site.numbers() != numbers, "nothing was applied");
    site.assert_equals_source();
}

#[test]
fn a_store_that_cannot_be_written() {
    let site = Site::new(Server::shared(), "place");
    let config = site.config();
    let store = format!("{}/store.db", site.dir.display());
    let below_a_file = format!("{}/password/store.db", site.dir.display());
    site.configure(&config.replace(&store, &below_a_file));
    site.didtail(&["run"])
        .fails(4, "password/store.db", "its folder must exist");
    let disk = Disk::mount(&site.path("disk"), "1m");
    disk.remount("ro");
    let on_disk = disk.file("store.db");
    site.configure(&config.replace(&store, &on_disk));
    site.didtail(&["run"]).fails(4, "is not writable", "chown");
    assert!(!site.path("store.db").exists());
    disk.remount("rw");
    site.didtail(&["run", "--until-caught-up"]).good();
}

#[test]
fn a_full_disk_stops_it_and_room_lets_it_go_on() {
    let server = Server::shared();
    let site = Site::new(server, "full");
    let disk = Disk::mount(&site.path("disk"), "2m");
    let config = site.config();
    let store = format!("{}/store.db", site.dir.display());
    site.configure(&config.replace(&store, &disk.file("store.db")));
    site.calls(1500, 1);
    let ended = site.didtail(&["run", "--until-caught-up"]);
    ended.fails(4, "is full", "make room");
    assert!(ended.stderr.contains("nothing is lost"), "{}", ended.stderr);
    // It does not stay down for good, and one that waits goes on by itself.
    let mut daemon = site.daemon();
    daemon.wait_for("the store failed; the stream waits and nothing is lost");
    disk.remount("size=64m");
    daemon.wait_for("the store works again");
    daemon.stop();
    site.catch_up();
    std::os::unix::fs::symlink(disk.file("store.db"), site.path("store.db")).expect("a link");
    site.assert_equals_source();
}

#[test]
fn a_disk_that_is_full_from_the_start_is_said_and_tried_again() {
    let site = Site::new(Server::shared(), "full_first");
    let disk = Disk::mount(&site.path("disk"), "2m");
    let filler = disk.file("filler");
    // Until there is no room for another byte.
    drop(std::fs::write(&filler, vec![1; 4 << 20]));
    let at = site.dir.display().to_string();
    let config = site.config();
    let config = config.replace(&format!("{at}/state.db"), &disk.file("state.db"));
    site.configure(&config.replace(&format!("{at}/store.db"), &disk.file("store.db")));
    // As an exit code that the service manager starts it again after.
    for arguments in [vec!["run"], vec!["run", "--until-caught-up"]] {
        site.didtail(&arguments)
            .fails(4, "is full", "nothing is lost");
    }
    let status = site.didtail(&["status", "--json"]);
    assert!(status.stdout.contains("\"full\": true"), "{status:?}");
    let status = site.didtail(&["status"]);
    assert!(status.stdout.contains("disk   FULL: "), "{status:?}");
    let doctor = site.didtail(&["doctor"]);
    assert_eq!(doctor.code, 1);
    assert!(doctor.stdout.contains("the disk is full: "), "{doctor:?}");
    assert!(doctor.stdout.contains("make room: df -h "), "{doctor:?}");
    // Room, and it goes on; while it becomes scarce again that is worth a note.
    disk.remount("size=64m");
    site.calls(20, 1);
    site.didtail(&["run", "--until-caught-up"]).good();
    let doctor = site.didtail(&["doctor"]);
    assert!(doctor.stdout.contains("nearly full: "), "{doctor:?}");
    std::fs::remove_file(filler).expect("removed");
}

//! Whose the files are: root before the service's first start, the service, and users
//! who are neither.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::support::{Ended, Server, Site};

/// The service's user, and one who is neither that nor root.
const SERVICE: u32 = 65_534;
const OTHER: u32 = 1;

#[expect(clippy::print_stderr, reason = "a test that is not run says so")]
fn not_run(why: &str) {
    eprintln!("not run: {why}");
}

/// A site with its own files in a folder that belongs to the service; `None` where
/// these tests cannot be several users.
fn site(name: &str) -> Option<(Site, PathBuf)> {
    let site = Site::new(Server::shared(), name);
    let folder = site.path("own");
    std::fs::create_dir(&folder).expect("a folder");
    let at = site.dir.display().to_string();
    let config = site.config();
    let config = config.replace(&format!("{at}/state.db"), &format!("{at}/own/state.db"));
    site.configure(&config.replace(&format!("{at}/store.db"), &format!("{at}/own/store.db")));
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o750)).expect("a mode");
    let is_root = std::fs::metadata("/proc/self").expect("it").uid() == 0;
    if !is_root || chown(&folder, Some(SERVICE), Some(SERVICE)).is_err() {
        not_run("only root can be several users");
        return None;
    }
    let mut seen = site.command(&["config", "check"]);
    if !seen
        .uid(OTHER)
        .gid(OTHER)
        .output()
        .is_ok_and(|ended| ended.status.success())
    {
        not_run("another user cannot reach the program or its configuration");
        return None;
    }
    Some((site, folder))
}

/// didtail as another user.
fn of(site: &Site, user: u32, arguments: &[&str]) -> Ended {
    Ended::of(site.command(arguments).uid(user).gid(user))
}

/// The files in a folder, each with its owner.
fn owners(folder: &Path) -> Vec<(String, u32)> {
    let files = folder.read_dir().expect("readable").map(|file| {
        let file = file.expect("a file");
        let owner = file.metadata().expect("there").uid();
        (file.file_name().to_string_lossy().into_owned(), owner)
    });
    files.collect()
}

#[test]
fn what_root_makes_first_is_the_services() {
    let Some((site, folder)) = site("root_first") else {
        return;
    };
    site.calls(30, 1);
    // Whoever compares or asks makes nothing.
    site.didtail(&["verify"])
        .fails(4, "there is no store", "systemctl start didtail");
    site.didtail(&["backfill", "--since", "1d", "--dry-run"])
        .good();
    assert_eq!(owners(&folder), []);
    site.didtail(&["store", "migrate"]).good();
    let daemon = site.following();
    let during = owners(&folder);
    assert!(during.len() >= 6, "with the side files: {during:?}");
    let of_root = during.iter().filter(|(_, owner)| *owner != SERVICE);
    assert_eq!(of_root.count(), 0, "{during:?}");
    daemon.stop();
    of(&site, SERVICE, &["run", "--until-caught-up"]).good();
    site.didtail(&["verify"]).good();
    of(&site, SERVICE, &["status"]).good();
}

#[test]
fn who_may_not_is_told_who_may() {
    let Some((site, folder)) = site("wrong_owner") else {
        return;
    };
    of(&site, SERVICE, &["run", "--until-caught-up"]).good();
    let run_as = "sudo -u nobody didtail";
    of(&site, OTHER, &["status"]).fails(1, "state.db", run_as);
    of(&site, OTHER, &["stats"]).fails(4, "store.db", run_as);
    let mut bundle = site.command(&["support-bundle"]);
    let bundle = bundle.current_dir(&site.dir).uid(SERVICE).gid(SERVICE);
    Ended::of(bundle).fails(1, "Permission denied", "--out /tmp/");
    let store = folder.join("store.db");
    chown(&store, Some(0), Some(0)).expect("root's");
    let hint = format!(
        "{0} belongs to root, and this runs as nobody: sudo chown nobody: {0}",
        store.display()
    );
    let run = ["run", "--until-caught-up"];
    of(&site, SERVICE, &run).fails(4, "is not writable", &hint);
    chown(&store, Some(SERVICE), Some(SERVICE)).expect("given back");
    let state = folder.join("state.db");
    chown(&state, Some(0), Some(0)).expect("root's");
    of(&site, SERVICE, &run).fails(1, "cannot be read and written", "sudo chown nobody: ");
}

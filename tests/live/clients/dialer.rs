//! A dialer with its clients, and the Asterisk that runs the AGI script.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::monitor::PATIENCE;
use crate::support::{Ended, Site, wait_until};

/// The number that is dialled, and as it must not be in any log.
pub(super) const NUMBER: &str = "12025550143";
pub(super) const SECRET_DIGITS: &str = "5550143";

/// A dialer: the clients' settings, key and spool.
pub(super) struct Dialer {
    pub(super) dir: PathBuf,
}

impl Dialer {
    pub(super) fn new(site: &Site, name: &str) -> Self {
        let dir = site.path(name);
        std::fs::create_dir(&dir).expect("a folder");
        let dialer = Self { dir };
        let key = site.didtail(&["api-key", "create", "--label", name, "--json"]);
        dialer.secret("client.key", key.json()["key"].as_str().expect("a key"));
        dialer
    }

    /// Writes a file that holds a secret.
    pub(super) fn secret(&self, name: &str, text: &str) {
        let file = self.dir.join(name);
        std::fs::write(&file, format!("{text}\n")).expect("a file");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("a mode");
    }

    /// Lets the clients post to this address, with further settings.
    pub(super) fn posts_to(&self, address: &str, settings: &str) {
        let dir = self.dir.display();
        let text = format!(
            "# of a test\nurl = http://{address}\nkey_file = {dir}/client.key\n\
             spool = {dir}/spool\nami_secret_file = {dir}/ami.secret\n{settings}\n"
        );
        std::fs::write(self.dir.join("client.conf"), text).expect("a configuration");
    }

    /// A client, ready to be started.
    pub(super) fn client(&self, name: &str) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/clients");
        let mut command = Command::new(folder.join(name));
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("DIDTAIL_CLIENT_CONFIG", self.dir.join("client.conf"));
        command
    }

    pub(super) fn spool(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.client("didtail-spool").args(arguments))
    }

    /// Posts now, once no process of the AGI script's is at it any more.
    #[track_caller]
    pub(super) fn now(&self) -> Ended {
        wait_until("nobody else posts", || {
            let ended = self.spool(&["--now"]);
            let is_alone = !ended.stdout.contains("another process is posting");
            is_alone.then_some(ended)
        })
    }

    /// Demands that somebody has to do something, which is said, and that all is kept.
    #[track_caller]
    pub(super) fn is_stopped(&self, words: &str) {
        let before = self.waiting();
        let ended = self.now();
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert_eq!(self.waiting(), before);
    }

    /// The results that wait.
    pub(super) fn waiting(&self) -> Vec<String> {
        self.results("spool")
    }

    pub(super) fn results(&self, folder: &str) -> Vec<String> {
        let files = self.dir.join(folder).read_dir().into_iter().flatten();
        let names = files.map(|file| file.expect("a file").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let mut found: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
        found.sort();
        found
    }

    /// Waits until a client posts, and kills it.
    pub(super) fn kill_sender(&self, at: &Receiver<()>) {
        at.recv_timeout(PATIENCE).expect("a client posts");
        let pid = std::fs::read_to_string(self.dir.join("spool/lock")).expect("a lock");
        Ended::of(Command::new("kill").args(["-s", "KILL", pid.trim()])).good();
        wait_until("it is gone", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
                .then_some(())
        });
    }

    /// Plays the Asterisk of one hang-up: what it says first, then its variables.
    /// Returns what the script wrote to the console; it must end, and well.
    #[track_caller]
    pub(super) fn hang_up(&self, call: &HungUp) -> String {
        let mut command = self.client("agi-didtail-result.agi");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.stderr(Stdio::piped()).spawn().expect("perl");
        let mut to = script.stdin.take().expect("a pipe");
        let from = BufReader::new(script.stdout.take().expect("a pipe"));
        write!(
            to,
            "agi_network: no\nagi_request: agi-didtail-result.agi\nagi_channel: Local/9{NUMBER}@default-1;2\n\
             agi_uniqueid: {}\nagi_callerid: {}\nagi_calleridname: {}\nagi_context: default\n\
             agi_extension: h\nagi_priority: 2\n\n",
            call.uniqueid, call.caller_id, call.caller_code
        )
        .expect("it reads");
        // It reads until nobody has the other end any more, as Asterisk does.
        for line in from.lines() {
            let line = line.expect("text");
            let text = line.strip_prefix("GET FULL VARIABLE ").expect(&line);
            let (before, rest) = text.split_once("${").expect(text);
            let (name, behind) = rest.split_once('}').expect(text);
            // One that is not set is empty, as Asterisk has it.
            let value = call.variables.get(name).map_or("", String::as_str);
            let answer = format!("200 result=1 ({before}{value}{behind})\n");
            to.write_all(b"HANGUP\n").expect("it reads");
            to.write_all(answer.as_bytes()).expect("it reads");
        }
        let output = script.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(!said.contains(SECRET_DIGITS), "{said}");
        said
    }
}

/// A call at the extension h.
pub(super) struct HungUp {
    pub(super) uniqueid: String,
    pub(super) caller_id: &'static str,
    pub(super) caller_code: String,
    pub(super) variables: BTreeMap<&'static str, String>,
}

impl HungUp {
    /// The n-th of now, which nobody answered.
    pub(super) fn new(n: u32) -> Self {
        let variables = [
            ("DIALSTATUS", "BUSY"),
            ("HANGUPCAUSE", "17"),
            ("DIDTAIL_NUMBER", NUMBER),
            ("DIDTAIL_DID", "3125550177"),
        ];
        Self {
            uniqueid: format!("{}.{n:06}", now()),
            caller_id: "3125550100",
            caller_code: format!("V112319{n:03}{:010}", 12_000 + n),
            variables: variables
                .map(|(name, value)| (name, value.to_owned()))
                .into(),
        }
    }
}

pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

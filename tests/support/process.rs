//! didtail as processes: one that ends, and one that runs until it is stopped.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output};

use super::wait_until;

/// A command that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output: Output = command.output().expect("the program can be run");
        Self {
            code: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Demands that it went well, and returns what it printed.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// Demands a failure that says what happened and how to mend it.
    #[track_caller]
    pub fn fails(&self, code: i32, error: &str, hint: &str) {
        assert_eq!(self.code, code, "{}", self.stderr);
        let (mut section, mut said, mut hinted) = ("", String::new(), String::new());
        for line in self.stderr.lines() {
            for begin in ["error: ", "caused by: ", "hint: "] {
                if line.starts_with(begin) {
                    section = begin;
                }
            }
            match section {
                "hint: " => hinted += line,
                "" => {}
                _ => said += line,
            }
        }
        assert!(said.contains(error), "no `{error}` in: {}", self.stderr);
        assert!(hinted.contains(hint), "no hint `{hint}`: {}", self.stderr);
    }

    /// What was printed, as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.good();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// `didtail run`; dies with the value.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, with its log in a file.
    pub fn spawn(command: &mut Command, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).expect("a log file");
        let child = command.stderr(file).spawn().expect("didtail starts");
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        self.wait_for_times(words, 1);
    }

    /// Waits until it has said this so many times.
    #[track_caller]
    pub fn wait_for_times(&mut self, words: &str, times: usize) {
        wait_until(&format!("the daemon says `{words}`"), || {
            if self.log().matches(words).count() >= times {
                return Some(());
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended: {}", self.log());
            None
        });
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Sends a signal, e.g. `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        Ended::of(Command::new("kill").args(["-s", name, &pid])).good();
    }

    /// Ends it at once, wherever it is.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("a child");
        self.log()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> Ended {
        let status = wait_until("the daemon ends", || {
            self.child.try_wait().expect("a child")
        });
        Ended {
            code: code(status),
            stdout: String::new(),
            stderr: self.log(),
        }
    }

    /// Asks it to end, unless it did so already, and says how it ended.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        if self.is_running() {
            self.signal("TERM");
        }
        self.wait()
    }

    /// Stops it in order and returns its log.
    #[track_caller]
    pub fn stop(self) -> String {
        let ended = self.end();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stderr
    }

    /// The most memory it has used so far, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size") / 1024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The exit code; a signal counts as shells count it.
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

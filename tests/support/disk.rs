//! Disks that are small, full or read-only.

use std::path::Path;
use std::process::Command;

use super::Ended;

/// A small file system of its own; only root may mount one.
#[derive(Debug)]
pub struct Disk(String);

impl Disk {
    /// Mounts one of so many bytes, e.g. `2m`.
    pub fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).expect("a directory");
        let disk = Self(at.display().to_string());
        let user = Ended::of(Command::new("id").arg("-u")).good();
        let options = format!("size={size},mode=0700,uid={}", user.trim());
        as_root(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs", &disk.0]).good();
        disk
    }

    /// The path of a file on it.
    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// Makes it larger (`size=64m`), or another in some other way.
    pub fn remount(&self, option: &str) {
        let options = format!("remount,{option}");
        as_root(&["mount", "-o", &options, &self.0]).good();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(as_root(&["umount", "--lazy", &self.0]));
    }
}

fn as_root(words: &[&str]) -> Ended {
    let root = Ended::of(Command::new("id").arg("-u")).good().trim() == "0";
    if root {
        Ended::of(Command::new(words[0]).args(&words[1..]))
    } else {
        Ended::of(Command::new("sudo").arg("-n").args(words))
    }
}

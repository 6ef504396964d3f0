//! One process at a time may write a state file.
//!
//! SQLite's own locks last for a statement; a daemon works for weeks. The
//! operating system drops this lock when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::StateError;
use crate::folder;

/// Held while the value lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the state file at `path`.
    pub(super) fn take(path: &Path) -> Result<Self, StateError> {
        let lock = lock_path(path);
        let made = folder::make_private(&lock);
        let mut file = made
            .and_then(|()| OpenOptions::new().read(true).write(true).open(&lock))
            .map_err(|e| StateError::of_io(path, &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Held {
                    path: path.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(e)) => return Err(StateError::of_io(path, &e)),
        }
        let pid = std::process::id();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{pid}"))
            .map_err(|e| StateError::of_io(path, &e))?;
        Ok(Self { _file: file })
    }
}

/// The process that holds the state file at `path`: `Some(None)` when it left no id.
pub(super) fn holder(path: &Path) -> Option<Option<u32>> {
    let mut file = File::open(lock_path(path)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_pid(&mut file)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

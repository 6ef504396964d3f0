//! The folder of a file that is didtail's own: whose it is, and what room it has.
//!
//! The service runs as a user of its own, and root runs commands beside it, often
//! before the service's first start. What root makes in somebody else's folder is
//! therefore given to the owner of the folder, or the service could not open it. SQLite
//! gives its `-wal` and `-shm` to the owner of the database by itself.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags, access, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;

const ROOT: u32 = 0;

/// Below so many bytes a disk is as good as full: no batch fits.
const FULL_BELOW: u64 = 1 << 20;

/// Below so many it soon may be: SQLite's write-ahead log alone takes a quarter of it
/// at times.
const SCARCE_BELOW: u64 = 256 << 20;

/// What is written to see whether there is room.
const TRIED_BYTES: usize = 64 << 10;

/// Makes an empty file that its owner alone may read, unless there is one already, which
/// this user must be able to read and write.
///
/// That is asked and not tried: a process that closes a file drops the locks that SQLite
/// has on it.
///
/// # Errors
/// What the operating system says; nothing is made then.
pub(crate) fn make_private(path: &Path) -> std::io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let given = match made {
        Ok(file) => give_away(&file, path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Ok(access(path, Access::READ_OK | Access::WRITE_OK)?);
        }
        Err(error) => return Err(error),
    };
    if given.is_err() {
        // Left behind it would be in the way of who may make it.
        drop(std::fs::remove_file(path));
    }
    given
}

/// Gives a new file to the owner of its folder, where only root is between them.
fn give_away(file: &File, path: &Path) -> std::io::Result<()> {
    let folder = std::fs::metadata(folder_of(path))?;
    let is_given = file.metadata()?.uid() == folder.uid();
    if is_given || !geteuid().is_root() {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid())).map_err(|error| {
        let owner = name_of(folder.uid());
        let what = format!("it cannot be given to {owner}, who owns its folder: {error}");
        Error::new(error.kind(), what)
    })
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What lets this user work with the SQLite file at `path`, where it is a matter of who
/// owns it, the files beside it and their folder. `None` where it is not.
pub(crate) fn remedy(path: &Path) -> Option<String> {
    let me = geteuid().as_raw();
    if me == ROOT {
        return None;
    }
    let folder = folder_of(path);
    if access(folder, Access::WRITE_OK) == Err(Errno::ROFS) {
        return Some(format!(
            "{0} is read-only, as nearly everything is for the service: put it into \
             /var/lib/didtail, or: sudo systemctl edit didtail, and there [Service] \
             ReadWritePaths={0}",
            folder.display()
        ));
    }
    let owner = std::fs::metadata(folder).ok()?.uid();
    if owner != me && owner != ROOT {
        let (owner, me) = (name_of(owner), name_of(me));
        return Some(format!(
            "{} belongs to {owner}, and this runs as {me}: sudo -u {owner} didtail …",
            folder.display()
        ));
    }
    let others = beside(path).filter_map(|file| {
        let owner = std::fs::symlink_metadata(&file).ok()?.uid();
        (owner != me).then_some((file, owner))
    });
    let others: Vec<(PathBuf, u32)> = others.collect();
    let (what, owner) = match others.first() {
        Some((file, owner)) => (file.as_path(), *owner),
        None if owner != me => (folder, owner),
        None => return None,
    };
    let all = others.iter().map(|(file, _)| file.display().to_string());
    let all: Vec<String> = all.collect();
    let all = match all.is_empty() {
        true => folder.display().to_string(),
        false => all.join(" "),
    };
    let (owner, me) = (name_of(owner), name_of(me));
    Some(format!(
        "{} belongs to {owner}, and this runs as {me}: sudo chown {me}: {all}",
        what.display()
    ))
}

/// A database, and what may be beside it.
fn beside(path: &Path) -> impl Iterator<Item = PathBuf> {
    ["", "-wal", "-shm", ".lock"].into_iter().map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

/// The room on the disk of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// Bytes that who is not root may still write there.
    pub(crate) free: u64,
}

impl Room {
    /// Where the file at `path` is, or is to be. `None` where that cannot be told, as of
    /// file systems that take memory as they need it.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let folder = folder_of(path);
        let disk = statvfs(folder).ok().filter(|disk| disk.f_blocks > 0)?;
        Some(Self {
            folder: folder.to_owned(),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }

    /// Of each of these files, a folder once.
    pub(crate) fn of_all<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<Self> {
        let mut all: Vec<Self> = paths.into_iter().filter_map(Self::of).collect();
        all.dedup_by(|one, other| one.folder == other.folder);
        all
    }

    /// Nothing can be written.
    pub(crate) fn is_full(&self) -> bool {
        self.free < FULL_BELOW
    }

    /// Soon nothing can be.
    pub(crate) fn is_scarce(&self) -> bool {
        self.free < SCARCE_BELOW
    }

    /// The free room, for people.
    pub(crate) fn text(&self) -> String {
        let (size, unit) = match self.free {
            free if free < 1 << 20 => (free >> 10, "KiB"),
            free if free < 1 << 30 => (free >> 20, "MiB"),
            free => (free >> 30, "GiB"),
        };
        format!("{size} {unit} free in {}", self.folder.display())
    }
}

/// Whether the disk of the file at `path` is full.
pub(crate) fn is_full(path: &Path) -> bool {
    Room::of(path).is_some_and(|room| room.is_full())
}

/// Writes something into the folder of the file at `path`, which has no name and is gone
/// at once: a quota, a mount and permissions are seen by nothing else.
///
/// # Errors
/// What the operating system says; a file system that has no files without a name is
/// not tried.
pub(crate) fn try_to_write(path: &Path) -> std::io::Result<()> {
    let flags = i32::try_from(OFlags::TMPFILE.bits()).map_err(Error::other)?;
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .mode(0o600)
        .open(folder_of(path));
    match file {
        Ok(mut file) => file.write_all(&vec![0; TRIED_BYTES]),
        Err(error) => match error.kind() {
            ErrorKind::Unsupported | ErrorKind::IsADirectory => Ok(()),
            _ => Err(error),
        },
    }
}

/// The name of the user that this runs as.
pub(crate) fn own_name() -> String {
    name_of(geteuid().as_raw())
}

/// The name of a user of this machine, or the number where it has none.
fn name_of(user: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = user.to_string();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    named.unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_folder() {
        const NOBODY: u32 = 65_534;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("optimizer.db");
        if !geteuid().is_root() {
            eprintln!("not run: giving a folder away needs root");
            make_private(&path).expect("made");
            return;
        }
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
        make_private(&path).expect("made");
        let made = path.metadata().expect("there");
        assert_eq!((made.uid(), made.gid()), (NOBODY, NOBODY));
        assert_eq!(made.mode() & 0o777, 0o600);
        // What is there already stays whose it is.
        chown(&path, Some(1), Some(1)).expect("given away");
        make_private(&path).expect("there");
        assert_eq!(path.metadata().expect("there").uid(), 1);
    }

    #[test]
    fn room_is_told_in_units_that_people_read() {
        let room = |free| Room {
            folder: "/var/lib/didtail".into(),
            free,
        };
        for (free, text, is_full, is_scarce) in [
            (0, "0 KiB", true, true),
            (FULL_BELOW - 1, "1023 KiB", true, true),
            (FULL_BELOW, "1 MiB", false, true),
            (SCARCE_BELOW, "256 MiB", false, false),
            (5 << 30, "5 GiB", false, false),
        ] {
            let room = room(free);
            assert_eq!(room.text(), format!("{text} free in /var/lib/didtail"));
            assert_eq!((room.is_full(), room.is_scarce()), (is_full, is_scarce));
        }
    }

    #[test]
    fn trying_to_write_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("optimizer.db");
        try_to_write(&path).expect("room");
        assert_eq!(folder.path().read_dir().expect("readable").count(), 0);
        let nowhere = folder.path().join("nowhere").join("optimizer.db");
        try_to_write(&nowhere).expect_err("no such folder");
        assert_eq!(Room::of(&nowhere), None);
        let both = [path.as_path(), &folder.path().join("state.db")];
        assert!(Room::of_all(both).len() <= 1, "a folder is told of once");
    }

    #[test]
    fn a_user_is_known_by_name_or_by_number() {
        assert_eq!(name_of(ROOT), "root");
        assert_eq!(name_of(4_000_000_000), "4000000000");
    }
}

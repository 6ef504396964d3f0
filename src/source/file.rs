//! Binlog files on disk as a source: for `didtail replay` and for fixtures.
//!
//! Files are read by blocking calls, since they are local and read in order.
//! The end of the last file is the end of the world: a stream there waits for
//! ever, as on an idle server. Whoever replays stops at [`Source::head`].

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::{self, Framer, OwnedEvent};
use super::{Column, Condition, EventStream, Source, SourceError, TableRow};
use crate::binlog::{
    BinlogFile, FIRST_EVENT_OFFSET, GtidPosition, HEADER_BYTES, Position, RawEvent, Reader, Watch,
};

/// The first bytes of every binlog file.
const MAGIC: [u8; 4] = *b"\xfebin";

/// The first bytes of an encrypted one of MySQL.
const MAGIC_ENCRYPTED: [u8; 4] = *b"\xfdbin";

/// Code of the event behind which MariaDB's events are encrypted.
const START_ENCRYPTION: u8 = 164;

/// Largest event that a server writes (`max_allowed_packet`, 1 GiB).
const EVENT_BYTES_MAX: u32 = 1 << 30;

/// Bytes read from disk at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// Room for one event that is kept for the next.
const EVENT_BYTES_KEPT: usize = 1 << 20;

/// What to do about files that are none to read from.
const ENCRYPTED: &str = "its server alone can read it: let didtail follow that, or copy the binlog \
    from it with mysqlbinlog --read-from-remote-server --raw";
const NO_BINLOG: &str = "check the path, and that the file comes from log_bin, e.g. \
    /var/lib/mysql/mysql-bin.000012, or is a copy of such a file";
const COPY_AGAIN: &str = "copy the file again";
const FOLDER: &str = "name the files in it, e.g. `didtail replay /backup/mysql-bin.0*`";
const NAMES: &str = "give the files under the names that the server gave them, e.g. \
    mysql-bin.000012: the number says in which order they are read";

/// Ends of names and first bytes of files that were packed, who packed them, and
/// what unpacks them.
const PACKED: [(&str, &[u8], &str, &str); 4] = [
    ("gz", b"\x1f\x8b", "gzip", "gunzip FILE"),
    ("zst", b"\x28\xb5\x2f\xfd", "zstd", "zstd -d FILE"),
    ("xz", b"\xfd7zX", "xz", "unxz FILE"),
    ("bz2", b"BZh", "bzip2", "bunzip2 FILE"),
];

/// Who packed a file that begins like this, and what unpacks it.
fn packed_by(magic: &[u8]) -> Option<(&'static str, &'static str)> {
    let found = PACKED
        .iter()
        .find(|(_, begin, ..)| magic.starts_with(begin));
    found.map(|(_, _, packer, unpack)| (*packer, *unpack))
}

/// Splits the bytes of one binlog file into events, each verified.
pub struct Splitter<R> {
    read: R,
    file: BinlogFile,
    /// Offset of the next event.
    offset: u64,
    /// Bytes of the whole file.
    length: u64,
    buffer: Vec<u8>,
    framer: Framer,
}

impl<R: Read> Splitter<R> {
    /// Reads the start of a binlog file that is `length` bytes long.
    ///
    /// # Errors
    /// [`SourceError::File`] when it does not begin as one.
    pub fn new(mut read: R, file: BinlogFile, length: u64) -> Result<Self, SourceError> {
        let mut magic = [0; 4];
        let refuse = |what: &str, fix: &str| SourceError::File {
            detail: format!("{file} {what}"),
            fix: fix.to_owned(),
        };
        if length == 0 {
            return Err(refuse("is empty", COPY_AGAIN));
        }
        read.read_exact(&mut magic).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => refuse("is too short for a binlog", NO_BINLOG),
            _ => refuse(&format!("cannot be read: {e}"), COPY_AGAIN),
        })?;
        match magic {
            MAGIC => Ok(Self {
                read,
                file,
                offset: FIRST_EVENT_OFFSET,
                length,
                buffer: Vec::new(),
                framer: Framer::new(),
            }),
            MAGIC_ENCRYPTED => Err(refuse("is encrypted", ENCRYPTED)),
            magic => Err(match packed_by(&magic) {
                Some((packer, unpack)) => refuse(
                    &format!("is compressed by {packer}"),
                    &format!("unpack it first, to the name that the server gave it: {unpack}"),
                ),
                None => refuse("does not begin like a binlog", NO_BINLOG),
            }),
        }
    }

    /// Where the next event begins.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            file: self.file.clone(),
            next: self.offset,
        }
    }

    /// The next event; `None` behind the last one.
    ///
    /// # Errors
    /// [`SourceError::Truncated`] where the file ends within an event, and
    /// others where its bytes are no event.
    pub fn event(&mut self) -> Result<Option<RawEvent<'_>>, SourceError> {
        if self.offset >= self.length {
            return Ok(None);
        }
        let size = self.read_header()?;
        // Grows with what is there, whatever the header says.
        let rest = u64::from(size - HEADER_BYTES);
        let got = self.read.by_ref().take(rest).read_to_end(&mut self.buffer);
        let got = got.map_err(|e| self.refuse(&format!("cannot be read: {e}")))?;
        if got as u64 != rest {
            return Err(self.truncated());
        }
        let place = self.position();
        self.offset += u64::from(size);
        let event = self.framer.open(&self.buffer);
        let event = event.map_err(|e| at(&place, e.into()))?;
        if event.header.code == START_ENCRYPTION {
            return Err(SourceError::File {
                detail: format!("{} is encrypted", self.file),
                fix: ENCRYPTED.to_owned(),
            });
        }
        Ok(Some(event))
    }

    /// Reads a header into the buffer and returns the event's size.
    fn read_header(&mut self) -> Result<u32, SourceError> {
        self.buffer.clear();
        self.buffer.shrink_to(EVENT_BYTES_KEPT);
        let wanted = u64::from(HEADER_BYTES);
        let got = self
            .read
            .by_ref()
            .take(wanted)
            .read_to_end(&mut self.buffer);
        got.map_err(|e| self.refuse(&format!("cannot be read: {e}")))?;
        let Some(header) = frame::header(&self.buffer) else {
            return Err(self.truncated());
        };
        if header.size < HEADER_BYTES || header.size > EVENT_BYTES_MAX {
            return Err(self.refuse(&format!("claims an event of {} bytes", header.size)));
        }
        if u64::from(header.size) > self.length.saturating_sub(self.offset) {
            return Err(self.truncated());
        }
        Ok(header.size)
    }

    fn truncated(&self) -> SourceError {
        SourceError::Truncated {
            position: self.position().to_string(),
        }
    }

    fn refuse(&self, what: &str) -> SourceError {
        SourceError::NotABinlog {
            detail: format!("{} {what}", self.position()),
        }
    }
}

impl<R: Read + Seek> Splitter<R> {
    /// Moves on to the event that begins at `next`, by the sizes on the way.
    fn skip_to(&mut self, next: u64) -> Result<(), SourceError> {
        let impossible = |position: Position| SourceError::ImpossiblePosition {
            position: Position {
                file: position.file,
                next,
            }
            .to_string(),
            detail: "no event begins there".to_owned(),
        };
        while self.offset < next {
            if self.offset >= self.length {
                return Err(impossible(self.position()));
            }
            let size = self.read_header()?;
            let rest = i64::from(size - HEADER_BYTES);
            let moved = self.read.seek(SeekFrom::Current(rest));
            moved.map_err(|e| self.refuse(&format!("cannot be read: {e}")))?;
            self.offset += u64::from(size);
        }
        if self.offset == next {
            Ok(())
        } else {
            Err(impossible(self.position()))
        }
    }
}

/// Adds the place to an error about one event.
fn at(place: &Position, error: SourceError) -> SourceError {
    match error {
        SourceError::Damaged { detail } => SourceError::Damaged {
            detail: format!("{place}: {detail}"),
        },
        other => other,
    }
}

/// Binlog files on disk.
pub struct FileSource {
    files: BTreeMap<BinlogFile, PathBuf>,
    columns: BTreeMap<String, Vec<Column>>,
    /// Bytes that streams have handed out.
    read: Arc<AtomicU64>,
}

/// `mysql-bin.index`, `mysql-bin.000012.idx`.
fn is_index(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|extension| extension == "index" || extension == "idx")
}

impl FileSource {
    /// Takes the files, which are read in the order of their numbers.
    ///
    /// # Errors
    /// [`SourceError::File`] when there is none, a name has no number, two have
    /// the same, or a file does not begin like a binlog.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SourceError> {
        let mut files = BTreeMap::new();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str());
            // The server's own lists of files and of GTIDs lie beside them.
            if paths.len() > 1 && name.is_some_and(is_index) {
                continue;
            }
            if path.is_dir() {
                let detail = format!("{} is a folder", path.display());
                return Err(refused(detail, FOLDER));
            }
            let file = BinlogFile::new(name.unwrap_or_default()).map_err(|_| nameless(path))?;
            drop(split(&file, path)?);
            if let Some(other) = files.insert(file, path.clone()) {
                let detail = format!(
                    "{} and {} have the same name",
                    other.display(),
                    path.display()
                );
                return Err(refused(detail, "give one of the two"));
            }
        }
        if files.is_empty() {
            return Err(refused("no binlog was given".to_owned(), NO_BINLOG));
        }
        Ok(Self {
            files,
            columns: BTreeMap::new(),
            read: Arc::default(),
        })
    }

    /// Sets the columns of a table, which no file tells.
    #[must_use]
    pub fn with_columns(mut self, table: &str, columns: Vec<Column>) -> Self {
        self.columns.insert(table.to_owned(), columns);
        self
    }

    /// The files' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &BinlogFile> {
        self.files.keys()
    }

    /// The bytes of one of the files; `None` where it cannot be looked at.
    #[must_use]
    pub fn length(&self, file: &BinlogFile) -> Option<u64> {
        let path = self.files.get(file)?;
        Some(std::fs::metadata(path).ok()?.len())
    }

    /// Counts the bytes of the events that streams hand out from now on, but
    /// not those of [`Source::look`].
    pub fn count_bytes(&mut self, counter: &Arc<AtomicU64>) {
        self.read = Arc::clone(counter);
    }

    /// The start of the first file.
    #[must_use]
    pub fn start(&self) -> Option<Position> {
        let (file, _) = self.files.first_key_value()?;
        Some(Position::start_of(file.clone()))
    }
}

fn refused(detail: String, fix: &str) -> SourceError {
    SourceError::File {
        detail,
        fix: fix.to_owned(),
    }
}

/// A file whose name says not which one it is.
fn nameless(path: &Path) -> SourceError {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let packed = PACKED.iter().find(|(end, ..)| extension == Some(*end));
    match packed {
        Some((_, _, packer, unpack)) => refused(
            format!("{} is compressed by {packer}", path.display()),
            &format!(
                "unpack it first: {}",
                unpack.replace("FILE", &path.display().to_string())
            ),
        ),
        None => refused(
            format!("{} has no number at its end", path.display()),
            NAMES,
        ),
    }
}

fn split(file: &BinlogFile, path: &Path) -> Result<Splitter<BufReader<File>>, SourceError> {
    let refuse = |e: std::io::Error| {
        let fix = match e.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "let the user that didtail runs as read it: chmod, or copy it to a folder of its own"
            }
            _ => NO_BINLOG,
        };
        refused(format!("{} cannot be read: {e}", path.display()), fix)
    };
    let opened = File::open(path).map_err(refuse)?;
    let length = opened.metadata().map_err(refuse)?.len();
    let buffered = BufReader::with_capacity(BUFFER_BYTES, opened);
    Splitter::new(buffered, file.clone(), length)
}

impl Source for FileSource {
    type Stream = FileStream;

    async fn stream(&self, from: &Position) -> Result<FileStream, SourceError> {
        let Some(path) = self.files.get(&from.file) else {
            return Err(SourceError::Purged {
                wanted: from.to_string(),
                detail: "no such file was given".to_owned(),
            });
        };
        let mut splitter = split(&from.file, path)?;
        let mut opening = VecDeque::from([OwnedEvent::rotate_to(from)]);
        if from.next > FIRST_EVENT_OFFSET {
            if let Some(format) = splitter.event()? {
                opening.push_back(OwnedEvent::from(format).repeated());
            }
            splitter.skip_to(from.next)?;
        }
        let rest = self.files.range(from.file.clone()..).skip(1);
        Ok(FileStream {
            splitter,
            opening,
            last: None,
            rest: rest
                .map(|(file, path)| (file.clone(), path.clone()))
                .collect(),
            broken: false,
            read: Arc::clone(&self.read),
            end: None,
        })
    }

    async fn look(&self, from: &Position) -> Result<FileStream, SourceError> {
        let mut stream = self.stream(from).await?;
        stream.read = Arc::default();
        Ok(stream)
    }

    /// Reads the last file through, past a group that a crash cut off.
    async fn head(&self) -> Result<Position, SourceError> {
        let Some((file, path)) = self.files.last_key_value() else {
            unreachable!("open() refuses an empty list");
        };
        let mut splitter = split(file, path)?;
        let start = Position::start_of(file.clone());
        let mut reader = Reader::new(Watch::new("", &[]), start, GtidPosition::default());
        loop {
            match splitter.event() {
                // What cannot be decoded is said when it is streamed.
                Ok(Some(event)) => reader.pass(event),
                Ok(None) | Err(SourceError::Truncated { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(reader.position().clone())
    }

    async fn columns(&self, table: &str) -> Result<Vec<Column>, SourceError> {
        Ok(self.columns.get(table).cloned().unwrap_or_default())
    }

    /// Nothing: binlog files have no tables.
    async fn select(
        &self,
        _table: &str,
        _columns: &[&str],
        _condition: Condition<'_>,
    ) -> Result<Vec<TableRow>, SourceError> {
        Ok(Vec::new())
    }

    /// There are files, and no tables behind them.
    async fn rows(&self, _table: &str, _columns: &[&str]) -> Result<Vec<TableRow>, SourceError> {
        Ok(Vec::new())
    }
}

/// A stream of a [`FileSource`].
pub struct FileStream {
    splitter: Splitter<BufReader<File>>,
    /// Events made up for this stream, before the file's.
    opening: VecDeque<OwnedEvent>,
    /// The made-up event that was handed out last.
    last: Option<OwnedEvent>,
    /// The files behind the open one.
    rest: VecDeque<(BinlogFile, PathBuf)>,
    broken: bool,
    read: Arc<AtomicU64>,
    /// What is taken for the end of the last file.
    end: Option<Position>,
}

impl FileStream {
    /// Ends the stream there: behind it a file may be cut off.
    pub(super) fn end_at(&mut self, end: Position) {
        self.rest.retain(|(file, _)| *file <= end.file);
        self.end = Some(end);
        self.shorten();
    }

    fn shorten(&mut self) {
        if let Some(end) = self
            .end
            .as_ref()
            .filter(|end| end.file == self.splitter.file)
        {
            self.splitter.length = self.splitter.length.min(end.next);
        }
    }

    /// Whether everything in the last file was handed out.
    pub(super) fn is_at_end(&self) -> bool {
        let is_file_over = self.splitter.offset >= self.splitter.length;
        self.opening.is_empty() && self.rest.is_empty() && is_file_over
    }

    /// The next event; `None` at the end of the last file.
    fn read(&mut self) -> Result<Option<RawEvent<'_>>, SourceError> {
        if self.broken {
            return Err(SourceError::Unreachable {
                address: self.splitter.file.to_string(),
                detail: "the stream has failed before".to_owned(),
            });
        }
        if self.opening.is_empty()
            && self.splitter.offset >= self.splitter.length
            && let Some((file, path)) = self.rest.pop_front()
        {
            self.broken = true;
            self.splitter = split(&file, &path)?;
            self.shorten();
            self.broken = false;
            let start = Position::start_of(file);
            self.opening.push_back(OwnedEvent::rotate_to(&start));
        }
        if let Some(event) = self.opening.pop_front() {
            return Ok(Some(self.last.insert(event).raw()));
        }
        let Self {
            splitter,
            broken,
            read,
            ..
        } = self;
        let event = splitter.event();
        *broken = event.is_err();
        if let Ok(Some(event)) = &event {
            read.fetch_add(u64::from(event.header.size), Ordering::Relaxed);
        }
        event
    }
}

impl EventStream for FileStream {
    async fn next(&mut self) -> Result<RawEvent<'_>, SourceError> {
        match self.read()? {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }

    fn try_next(&mut self) -> Option<Result<RawEvent<'_>, SourceError>> {
        self.read().transpose()
    }
}

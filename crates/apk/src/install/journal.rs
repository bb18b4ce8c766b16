//! What a transaction was doing when it was interrupted.
//!
//! A line a record, each with its CRC-32, appended before what it speaks of is done. The last line
//! may be torn; what comes after a torn line is not there. The order of things is told in
//! [`super::recover`].

use std::fs::File;
use std::io::{self, Write as _};

use base::Digest;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::beneath::{Beneath, is};
use super::place::Placing;

/// The journal of a root whose database is only being made: packages may still say where its folder
/// is.
pub(super) const FIRST: &str = ".apk-journal";

/// The journal of a database, by its folder.
pub(super) fn path(folder: &str) -> String {
    format!("{folder}/journal")
}

/// Bytes of a journal that is read.
const MAXIMUM: u64 = 1 << 30;

/// Something that is going to be done, or is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Record {
    /// A transaction begins, upon this database.
    Begin(Begin),
    /// A package is going to be unpacked beside its place.
    Unpack {
        /// `name-version`.
        package: String,
        /// The package's name, from which the temporary names are made.
        name: String,
    },
    /// Temporary files are going to lie in this directory.
    Touch {
        /// The directory.
        path: String,
    },
    /// This directory is going to be made.
    Make {
        /// The directory.
        path: String,
    },
    /// This directory's mode and owner are going to change.
    Change {
        /// The directory.
        path: String,
        /// The mode before.
        mode: u32,
        /// The owner before.
        uid: u32,
        /// The group before.
        gid: u32,
    },
    /// The temporary files are gone, and nothing of the package is to stay.
    Undone,
    /// Files are going to be put in place and removed; nothing can stop that any more.
    Place(Box<Placing>),
    /// They are.
    Placed {
        /// Whether some could not be.
        broken_files: bool,
    },
    /// The step is done, its scripts too.
    Done {
        /// Whether a script failed.
        broken_script: bool,
    },
    /// The database was written beside its place, and its files are going to get their names.
    Database {
        /// The files, by their final paths, with the SHA-256 of each.
        files: Vec<(String, Digest)>,
    },
}

/// How a transaction begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    /// SHA-256 of `installed`, as it is read.
    pub(super) installed: Digest,
    /// The kernel's run: another one means that the machine stopped.
    pub(super) boot: String,
    /// The packages that are going to change, by name.
    pub(super) changing: Vec<String>,
    /// Directories that an earlier, interrupted transaction changed, and no trigger was told.
    pub(super) modified: Vec<String>,
}

/// A journal that is written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// Whether it must survive that the machine stops.
    durable: bool,
}

impl Journal {
    /// Begins a journal.
    pub(super) fn create(
        beneath: &Beneath,
        path: &str,
        begin: Begin,
        durable: bool,
    ) -> io::Result<Journal> {
        let place = beneath.place(path)?;
        let mode = Mode::from_raw_mode(0o644);
        let file = place.create_anew(OFlags::WRONLY | OFlags::APPEND, mode)?;
        let mut journal = Journal {
            file: File::from(file),
            durable,
        };
        let begun = journal.append(&Record::Begin(begin)).and_then(|()| {
            journal.sync()?;
            if durable {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::fsync(openat(&*place.directory, ".", flags, Mode::empty())?)?;
            }
            Ok(())
        });
        match begun {
            Ok(()) => Ok(journal),
            Err(error) => {
                // Nothing was done that it could tell of; the first error says why.
                let _ = place.unlink();
                Err(error)
            }
        }
    }

    /// Goes on with a journal that was interrupted, after its last whole record.
    pub(super) fn resume(
        beneath: &Beneath,
        path: &str,
        length: u64,
        durable: bool,
    ) -> io::Result<Journal> {
        let place = beneath.place(path)?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(
            &*place.directory,
            place.name(),
            flags,
            Mode::empty(),
        )?);
        file.set_len(length)?;
        Ok(Journal { file, durable })
    }

    /// Writes a record. It is there for whoever comes after this process, at once.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let json = serde_json::to_string(record).map_err(io::Error::other)?;
        let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        self.file.write_all(line.as_bytes())
    }

    /// Makes what was written survive that the machine stops, if it has to.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.durable {
            self.file.sync_data()?;
        }
        Ok(())
    }

    /// Removes the journal: the transaction is over.
    pub(super) fn remove(beneath: &Beneath, path: &str) -> io::Result<()> {
        let place = beneath.place(path)?;
        match unlinkat(&*place.directory, place.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a journal tells nothing.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is a link, which nobody put there who keeps a journal.
    Link,
    /// It can't be read.
    File(io::Error),
    /// A record that was written whole says what this version knows nothing of.
    Unknown(serde_json::Error),
}

/// The records of a journal, up to the first that is torn, and the bytes they take; none if there
/// is no journal. A journal whose first record is torn had nothing to tell.
pub(super) fn read(
    beneath: &Beneath,
    path: &str,
) -> Result<Option<(Vec<Record>, u64)>, Unreadable> {
    let found = beneath.place(path).and_then(|place| place.stat());
    if found.is_ok_and(|found| is(&found, FileType::Symlink)) {
        return Err(Unreadable::Link);
    }
    let bytes = beneath.read(path, MAXIMUM).map_err(Unreadable::File)?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let mut records = Vec::new();
    let mut length = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(json) = whole(line) else { break };
        records.push(serde_json::from_str(json).map_err(Unreadable::Unknown)?);
        length += line.len() as u64;
    }
    Ok(Some((records, length)))
}

/// A line's record, if all of it was written.
fn whole(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (crc, json) = line.split_once(' ')?;
    let crc = u32::from_str_radix(crc, 16).ok()?;
    (crc32fast::hash(json.as_bytes()) == crc).then_some(json)
}

/// The kernel's present run.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

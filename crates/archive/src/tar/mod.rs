//! Tar: a writer whose bytes equal those of Go's archive/tar, and a bounded reader.
//!
//! Formats: POSIX.1-2001 pax Interchange Format (ustar and extended headers), and what GNU tar adds.

mod field;
mod path;
mod reader;
mod record;
mod writer;

use std::collections::BTreeMap;

use base::Sha1;
use serde::{Deserialize, Serialize};

pub use path::{UnsafePath, safe_path};
pub(crate) use reader::printable;
pub use reader::{End, Entry, ReadError, Reader};
pub use record::InvalidRecord;
pub use writer::{WriteError, Writer};

const BLOCK: usize = 512;

/// What one entry says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Relative to the archive's root: no leading `./` or `/`, no trailing `/`. The root itself,
    /// which other programs' archives hold, is read as `.`.
    pub path: String,
    /// What the entry is.
    pub kind: EntryKind,
    /// Permission bits with set-user-id, set-group-id and sticky: at most 0o7777.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Owner's name, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Group's name, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Modification time in seconds since 1970-01-01 UTC.
    pub mtime: u64,
    /// Extended attributes (`SCHILY.xattr.*`), by full name, such as `security.capability`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// apk's checksum of a file's content or of a symbolic link's target
    /// (`APK-TOOLS.checksum.SHA1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Sha1>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file with `size` bytes of content.
    File {
        /// Bytes of content that follow the header.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Any text; it is never followed here.
        target: String,
    },
    /// Another name of a file that came earlier.
    HardLink {
        /// That file's path, relative to the archive's root.
        target: String,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl EntryKind {
    /// The bytes of content that follow the header.
    pub fn size(&self) -> u64 {
        match self {
            EntryKind::File { size } => *size,
            _ => 0,
        }
    }

    /// The kind in words: `file`, `directory`, `symbolic link` …
    pub fn words(&self) -> &'static str {
        match self {
            EntryKind::File { .. } => "file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink { .. } => "symbolic link",
            EntryKind::HardLink { .. } => "hard link",
            EntryKind::CharDevice { .. } => "character device",
            EntryKind::BlockDevice { .. } => "block device",
            EntryKind::Fifo => "named pipe",
        }
    }
}

impl Header {
    /// An entry of root's, at time 0, with the mode usual for its kind: 0755 for directories, 0777
    /// for symbolic links, else 0644.
    pub fn new(path: impl Into<String>, kind: EntryKind) -> Header {
        let mode = match kind {
            EntryKind::Directory => 0o755,
            EntryKind::Symlink { .. } => 0o777,
            _ => 0o644,
        };
        Header {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            mtime: 0,
            xattrs: BTreeMap::new(),
            checksum: None,
        }
    }

    /// A regular file, 0644.
    pub fn file(path: impl Into<String>, size: u64) -> Header {
        Header::new(path, EntryKind::File { size })
    }

    /// A directory, 0755.
    pub fn directory(path: impl Into<String>) -> Header {
        Header::new(path, EntryKind::Directory)
    }

    /// A symbolic link, 0777.
    pub fn symlink(path: impl Into<String>, target: impl Into<String>) -> Header {
        Header::new(
            path,
            EntryKind::Symlink {
                target: target.into(),
            },
        )
    }
}

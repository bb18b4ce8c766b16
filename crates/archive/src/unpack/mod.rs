//! Unpacking archives of strangers into a folder, and nowhere else.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::tar;

/// Whose the unpacked files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ownership {
    /// The caller's.
    #[default]
    Ignore,
    /// As the archive says, by number; needs root.
    Keep,
}

/// The times of unpacked files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Times {
    /// As the archive says.
    #[default]
    Keep,
    /// The same for all.
    Fixed(u64),
    /// The time of unpacking.
    Now,
}

/// What becomes of devices and named pipes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Special {
    /// They are an error.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
    /// They are made; devices need root.
    Create,
}

/// What becomes of apk's checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksums {
    /// They are not looked at.
    #[default]
    Ignore,
    /// Where there is one, it must be right.
    Check,
    /// Every file and symbolic link must have one, and it must be right.
    Require,
}

/// Which names are accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Names {
    /// Those that [`tar::safe_path`] accepts: packages.
    #[default]
    Safe,
    /// All that stay beneath the folder, also with control characters, empty or `.` components, or
    /// not UTF-8: archives of upstream sources.
    Any,
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Leading components cut from every name and hard-link target; what has no more is left out.
    pub strip_components: u32,
    /// Whose the files are.
    pub ownership: Ownership,
    /// Their times.
    pub times: Times,
    /// Whether extended attributes are set. Some need root.
    pub xattrs: bool,
    /// Devices and named pipes.
    pub special: Special,
    /// apk's checksums.
    pub checksums: Checksums,
    /// Which names are accepted.
    pub names: Names,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries made.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

/// An archive cannot be unpacked. What was unpacked before stays: unpack into a folder that is thrown
/// away on failure.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive cannot be read.
    #[error(transparent)]
    Read(#[from] tar::ReadError),
    /// The folder cannot be opened.
    #[error("cannot open the folder `{}`: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Unpacks an archive into the folder `into`, which exists.
///
/// No name is followed out of the folder: symbolic links are made but never walked through, neither those of
/// the archive nor those that were there. The process's umask has no influence. Directories get
/// their modes at the end, so one that is not writable is filled too. Later entries replace earlier
/// ones, but a directory is only ever a directory.
pub fn unpack<R: Read>(
    _reader: tar::Reader<R>,
    _into: &Path,
    _options: &Options,
) -> Result<Unpacked, UnpackError> {
    unimplemented!()
}

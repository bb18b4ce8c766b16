use std::fmt;
use std::io;
use std::path::PathBuf;

use archive::gzip::GzipError;
use archive::tar;
use archive::tree::TreeError;
use archive::unpack::UnpackError;
use base::{Digest, Sha1};

use super::InfoError;
use crate::adb::AdbError;
use crate::dependency::Identity;
use crate::signature::{KeyringError, SignatureError};

/// A member of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Signatures and control.
    Control,
    /// The files.
    Data,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Control => "control",
            Part::Data => "data",
        })
    }
}

/// A package can't be read, isn't trusted, or can't be written.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The system refused.
    #[error("can't read package {}: {source}", path.display())]
    Read {
        /// The package.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is not an apk package: {reason}", path.display())]
    NotAPackage {
        /// The file.
        path: PathBuf,
        /// What it is or lacks.
        reason: &'static str,
    },
    /// A package of format 3 is damaged or hostile.
    #[error("package {} can't be used: {source}; get it again from its source", path.display())]
    Adb {
        /// The package.
        path: PathBuf,
        /// What is wrong.
        source: AdbError,
    },
    /// The file ends too early.
    #[error(
        "package {} is truncated: it ends within its {part} member; get it again from its source",
        path.display()
    )]
    Truncated {
        /// The package.
        path: PathBuf,
        /// Where it ends.
        part: Part,
    },
    /// A member is no gzip.
    #[error(
        "package {} is damaged in its {part} member: {source}; get it again from its source",
        path.display()
    )]
    Gzip {
        /// The package.
        path: PathBuf,
        /// The member.
        part: Part,
        /// What is wrong.
        source: GzipError,
    },
    /// A member is no tar archive, or has an entry that is not allowed.
    #[error("package {} can't be used: its {part} member: {source}", path.display())]
    Tar {
        /// The package.
        path: PathBuf,
        /// The member.
        part: Part,
        /// What is wrong.
        source: tar::ReadError,
    },
    /// The control member is larger than any real one.
    #[error(
        "the control member of package {} is larger than {limit} bytes: no real package's is",
        path.display()
    )]
    ControlTooLarge {
        /// The package.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// An entry stands where it can't be.
    #[error("package {}: `{entry}` {reason}", path.display())]
    Entry {
        /// The package.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file's directory has no entry.
    #[error(
        "package {}: `{entry}` stands before or without an entry for its directory `{directory}`; apk refuses that: have the directory added",
        path.display()
    )]
    Orphan {
        /// The package.
        path: PathBuf,
        /// The file.
        entry: String,
        /// The directory.
        directory: String,
    },
    /// Its `.PKGINFO` is no good.
    #[error("package {}: {source}", path.display())]
    Info {
        /// The package.
        path: PathBuf,
        /// What is wrong.
        source: InfoError,
    },
    /// It has no datahash.
    #[error(
        "package {} has no datahash, so nothing vouches for its files; have it made again by a current builder",
        path.display()
    )]
    NoDatahash {
        /// The package.
        path: PathBuf,
    },
    /// It is another one by now.
    #[error("package {} was changed while it was read; see who writes there, and try again", path.display())]
    Changed {
        /// The package.
        path: PathBuf,
    },
    /// It is signed already, or in a way that is not that of format 2.
    #[error("package {} is signed already, or of format 3; only what was just built is signed here", path.display())]
    Sealed {
        /// The package.
        path: PathBuf,
    },
    /// It isn't signed by a trusted key.
    #[error("package {}: {source}", path.display())]
    Signature {
        /// The package.
        path: PathBuf,
        /// Why.
        source: SignatureError,
    },
    /// Its data isn't what its control member names.
    #[error(
        "the data of package {} is not what its .PKGINFO says: datahash {recorded}, in fact {actual}; get it again from its source",
        path.display()
    )]
    WrongDatahash {
        /// The package.
        path: PathBuf,
        /// As `.PKGINFO` says.
        recorded: Digest,
        /// As the data is.
        actual: Digest,
    },
    /// A file isn't what its entry says.
    #[error(
        "`{entry}` in package {} has SHA-1 {actual}, its entry says {recorded}; have the package made again",
        path.display()
    )]
    WrongFileChecksum {
        /// The package.
        path: PathBuf,
        /// The file.
        entry: String,
        /// As the entry says.
        recorded: Sha1,
        /// As the contents are.
        actual: Sha1,
    },
    /// A file of a package of format 3 isn't what its entry says.
    #[error(
        "`{entry}` in package {} has hash {actual}, its entry says {recorded}; get it again from its source",
        path.display()
    )]
    WrongFileHash {
        /// The package.
        path: PathBuf,
        /// The file.
        entry: String,
        /// As the entry says, in hex.
        recorded: String,
        /// As the contents are, in hex.
        actual: String,
    },
    /// The index names another size.
    #[error(
        "package {} has {actual} bytes, its index says {indexed}; renew the index or get the package again",
        path.display()
    )]
    WrongSize {
        /// The package.
        path: PathBuf,
        /// As the index says, in bytes.
        indexed: u64,
        /// As the file is, in bytes.
        actual: u64,
    },
    /// The index names another package.
    #[error(
        "package {} is {actual_name} {actual}, its index says {indexed_name} {indexed}; renew the index or get the package again",
        path.display()
    )]
    WrongIdentity {
        /// The package.
        path: PathBuf,
        /// Name and version as the index says.
        indexed_name: String,
        /// Identity as the index says.
        indexed: Identity,
        /// Name and version as the package says.
        actual_name: String,
        /// Identity of the package.
        actual: Identity,
    },
    /// It can't be unpacked.
    #[error("package {} can't be unpacked: {source}", path.display())]
    Unpack {
        /// The package.
        path: PathBuf,
        /// Why.
        source: UnpackError,
    },
    /// What it is to hold can't be written as format 3.
    #[error("can't write package {}: {source}", path.display())]
    Payload {
        /// The package to be.
        path: PathBuf,
        /// What is wrong.
        source: AdbError,
    },
    /// The package can't be signed.
    #[error("package {} can't be signed: {source}", path.display())]
    Sign {
        /// The package to be.
        path: PathBuf,
        /// Why.
        source: KeyringError,
    },
    /// The package can't be written.
    #[error("can't write package {}: {source}", path.display())]
    Write {
        /// The package to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The finished package can't be put in place.
    #[error("can't write package {}: {source}", path.display())]
    Place {
        /// The package to be.
        path: PathBuf,
        /// Why.
        source: store::WriteError,
    },
    /// Its files can't be written.
    #[error("can't write package {}: {source}", path.display())]
    Tree {
        /// The package to be.
        path: PathBuf,
        /// Why.
        source: TreeError,
    },
}

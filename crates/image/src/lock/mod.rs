//! Locks: which packages an image has, by every byte, in apko's format (`pkg/lock`).
//!
//! A build by a lock needs no index. What the lock names is looked for in the store, then where the
//! lock says it is; every member of a package is held to the lock, and the packages to each other.

mod decode;
mod follow;
mod write;

use apk::dependency::{Dependency, Identity};
use apk::repository::RepositoryError;
use base::{Arch, Digest, Problem};
use serde::Serialize;
use store::StoreError;

pub use follow::{Locked, follow};
pub use write::lock;

use crate::plan::PlanError;

/// A lock, its fields in apko's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// `v1`.
    pub version: String,
    /// The image file that it was made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<LockedFile>,
    /// What the image is made of.
    pub contents: LockedContents,
    /// SHA-256 of `contents`, as [`Lock::seal`] makes it: who changes a lock by hand is found out.
    /// apko's locks have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// The image file of a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockedFile {
    /// Its path, as it was given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `sha256-` and the hash of its bytes and of those of what it includes, in base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub checksum: String,
}

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockedContents {
    /// The keys that signed the indexes.
    pub keyring: Vec<LockedKey>,
    /// Repositories to build from.
    pub build_repositories: Vec<LockedRepository>,
    /// Repositories that only the image names.
    pub runtime_repositories: Vec<LockedRepository>,
    /// Repositories to build from that the image names.
    pub repositories: Vec<LockedRepository>,
    /// The packages of every architecture, in the order in which they are installed.
    pub packages: Vec<LockedPackage>,
}

/// A key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockedKey {
    /// Its path or URL, without the scheme.
    pub name: String,
    /// Its path or URL.
    pub url: String,
    /// The key in PEM.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub content: String,
}

/// A repository for one architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockedRepository {
    /// Its path or URL, without the scheme.
    pub name: String,
    /// Its index.
    pub url: String,
    /// apk's name of the architecture.
    pub architecture: String,
}

/// A package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Where it is: a path or URL.
    pub url: String,
    /// Its version.
    pub version: String,
    /// apk's name of the architecture that it is installed on.
    pub architecture: String,
    /// Its signature member; empty if it has none.
    pub signature: LockedMember,
    /// Its control member.
    pub control: LockedMember,
    /// Its data member.
    pub data: LockedMember,
    /// Its identity: `Q1` and the SHA-1 of its control member.
    pub checksum: String,
    /// The line of the lock that names it.
    #[serde(skip)]
    pub line: usize,
}

/// A part of a package file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockedMember {
    /// `bytes=FIRST-LAST`.
    pub range: String,
    /// `sha1-` or `sha256-` and the hash in base64.
    pub checksum: String,
}

/// A lock can't be made or followed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It can't be read, or isn't one.
    #[error("{}", all(.0))]
    Problems(Vec<Problem>),
    /// The image can't be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A package can't be had.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A package has no place in this format.
    #[error("{package} is of apk's format 3, for which locks have no words; build it in format 2")]
    Format {
        /// The package.
        package: String,
    },
    /// A package file can't be read.
    #[error("package {package} can't be read: {source}")]
    Read {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A package isn't what the lock says.
    #[error(
        "line {line} of the lock: the {member} of {package} is {found}, but the lock says {expected}; \
         if nobody touched the lock, get the package again from where it came, else make the lock anew by `polpo image lock`"
    )]
    Member {
        /// The line of the package in the lock.
        line: usize,
        /// The package.
        package: String,
        /// Which part.
        member: &'static str,
        /// What it is.
        found: String,
        /// What the lock says.
        expected: String,
    },
    /// The packages don't hold together.
    #[error(
        "line {line} of the lock: {package} for {arch} needs `{term}`, which no package of the lock is or provides; \
         was it edited by hand? Make it anew by `polpo image lock`"
    )]
    Missing {
        /// The line of the package in the lock.
        line: usize,
        /// Who needs it.
        package: String,
        /// On which architecture.
        arch: Arch,
        /// What is missing.
        term: Dependency,
    },
    /// Two packages of it don't go together.
    #[error(
        "line {line} of the lock: {package} for {arch} forbids `{term}`, which is in the lock too; \
         was it edited by hand? Make it anew by `polpo image lock`"
    )]
    Forbidden {
        /// The line of the package in the lock.
        line: usize,
        /// Who forbids it.
        package: String,
        /// On which architecture.
        arch: Arch,
        /// What is forbidden.
        term: Dependency,
    },
    /// A place is none.
    #[error("line {line} of the lock: `{url}` is no place of a package: {reason}")]
    Place {
        /// The line of the package in the lock.
        line: usize,
        /// The place.
        url: String,
        /// Why.
        reason: String,
    },
    /// JSON can't be written.
    #[error("the lock can't be written as JSON")]
    Json(#[from] serde_json::Error),
}

fn all(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl Lock {
    /// The bytes of the file: two spaces a level, a newline at the end, as Go writes it.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        crate::go_json::pretty(self)
    }

    /// What [`Lock::checksum`] has to be.
    ///
    /// # Errors
    /// None in practice.
    pub fn seal(&self) -> Result<String, serde_json::Error> {
        Ok(checksum(&Digest::of(&oci::json::to_vec(&(
            &self.config,
            &self.contents,
        ))?)))
    }
}

/// `sha256-` and the hash in base64.
pub(crate) fn checksum(digest: &Digest) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(digest.as_bytes());
    format!("sha256-{text}")
}

fn sha1(bytes: &[u8]) -> String {
    use base64::Engine as _;
    let sum = base::Sha1::of(bytes);
    format!(
        "sha1-{}",
        base64::engine::general_purpose::STANDARD.encode(sum.as_bytes())
    )
}

/// The three members of a package file, as a lock has them.
fn members(
    package: &apk::package::Package,
) -> Result<(LockedMember, LockedMember, LockedMember), LockError> {
    use std::io::{Read as _, Seek as _};
    let title = || format!("{}-{}", package.info().name, package.info().version);
    let Identity::Sha1(_) = package.identity() else {
        return Err(LockError::Format { package: title() });
    };
    let failed = |source| LockError::Read {
        package: title(),
        source,
    };
    let data = package.data_offset();
    let control = package.control().len() as u64;
    let signature = data.saturating_sub(control);
    let mut file = std::fs::File::open(package.path()).map_err(failed)?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(signature)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    file.seek(std::io::SeekFrom::Start(data)).map_err(failed)?;
    let (digest, length) = Digest::of_all(file).map_err(failed)?;
    let range =
        |first: u64, length: u64| format!("bytes={first}-{}", (first + length).saturating_sub(1));
    let signature = if signature == 0 {
        LockedMember::default()
    } else {
        LockedMember {
            range: range(0, signature),
            checksum: sha1(&bytes),
        }
    };
    Ok((
        signature,
        LockedMember {
            range: range(data - control, control),
            checksum: sha1(package.control()),
        },
        LockedMember {
            range: range(data, length),
            checksum: checksum(&digest),
        },
    ))
}

//! Indexes of repositories: `APKINDEX.tar.gz`, a signature member before a gzipped tar of
//! `DESCRIPTION` and `APKINDEX` (apk-package(5), v2), and `Packages.adb`, an ADB (apk-mkndx(8)).

mod archive_file;
mod stamp;
pub(crate) mod text;
mod v3;

pub use archive_file::{DESCRIPTION_LIMIT, FILE_NAME, IndexError, MAXIMUM_INDEX};
pub(crate) use archive_file::{IndexContents, IndexFile, blake3_of, bytes_of};
pub use stamp::{Freshness, StaleIndex, Stamp, Stamping};
pub use text::TextError;
pub use v3::{AdbIndex, StoredIndex};

use base::Arch;

use crate::dependency::Identity;
use crate::package::{Defect, Package, PackageInfo, Written};
use crate::repository::NamePattern;
use crate::solver::{Candidate, shared};

/// One package of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// `C`, or `hashes` in format 3: the hash of the package's compressed control member, or of its
    /// payload.
    pub identity: Identity,
    /// `S`: bytes of the package file.
    pub size: u64,
    /// All else. `datahash`, `triggers` and `packager` are not in an index; `licenses` is one text.
    pub info: PackageInfo,
}

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The text of `DESCRIPTION`, without a line end.
    pub description: String,
    /// How the files of packages are called, put behind the repository's place. Format 3 alone has
    /// it; if it doesn't say, the repository's layout does.
    pub names: Option<NamePattern>,
    /// The packages, in the file's order; [`Index::merge`] sorts them.
    pub entries: Vec<IndexEntry>,
}

impl IndexEntry {
    /// The entry for a package file.
    pub fn of(package: &Package) -> IndexEntry {
        IndexEntry::new(package.info(), package.identity(), package.size())
    }

    /// The entry for a package that was just written.
    pub fn written(written: &Written) -> IndexEntry {
        IndexEntry::new(&written.info, written.identity, written.size)
    }

    fn new(info: &PackageInfo, identity: Identity, size: u64) -> IndexEntry {
        let license = info.license();
        IndexEntry {
            identity,
            size,
            info: PackageInfo {
                licenses: (!license.is_empty())
                    .then_some(license)
                    .into_iter()
                    .collect(),
                triggers: Vec::new(),
                vendored: Vec::new(),
                packager: String::new(),
                datahash: None,
                ..info.clone()
            },
        }
    }

    /// The entry as the index of `arch` lists it: apk looks for a package in the folder that its
    /// entry's architecture names, so one that suits all is listed as the folder's own.
    #[must_use]
    pub fn for_arch(mut self, arch: Arch) -> IndexEntry {
        if self.info.arch == "noarch" {
            self.info.arch = arch.apk().to_owned();
        }
        self
    }

    /// The package's file name in a repository.
    pub fn file_name(&self) -> String {
        self.info.file_name()
    }

    /// What the solver needs of it.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            name: self.info.name.clone(),
            version: self.info.version.clone(),
            arch: self.info.arch.clone(),
            origin: self.info.origin.clone(),
            identity: Some(self.identity),
            depends: shared(self.info.depends.clone()),
            provides: shared(self.info.provides.clone()),
            install_if: shared(self.info.install_if.clone()),
            provider_priority: self.info.provider_priority.unwrap_or(0),
            size: self.size,
            installed_size: self.info.installed_size,
            cached: false,
            defects: self
                .info
                .defects
                .iter()
                .filter(|defect| defect.fatal)
                .map(|Defect { field, reason, .. }| format!("{field}: {reason}"))
                .collect(),
        }
    }
}

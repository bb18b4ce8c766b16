//! Unpacking a package into a folder that no database knows of: apk's `extract`.

use std::io;
use std::path::Path;

use archive::Limits;
use archive::unpack::{
    Existing, Flaw, Imperfect, Options, Ownership, Special, UnpackError, Unpacker, Xattrs,
};

use super::beneath::Beneath;
use super::owners::Owners;
use crate::package::{Package, PackageError};

/// How a package is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bare {
    /// Owners are set, by the names that the system knows, else by their numbers. Needs root.
    pub owners: bool,
    /// All extended attributes are set, not only those that an ordinary user may set.
    pub system_xattrs: bool,
    /// Files that are there give way; without, they are an error.
    pub overwrite: bool,
}

impl Bare {
    /// As much as the caller may: without root, neither owners nor the system's attributes.
    pub fn permitted() -> Bare {
        let root = rustix::process::getuid().is_root();
        Bare {
            owners: root,
            system_xattrs: root,
            overwrite: false,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// The paths, in the order of the package.
    pub paths: Vec<String>,
    /// What could not be set.
    pub flaws: Vec<Flaw>,
}

/// A package can't be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// It is not what it should be. Nothing was written.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file can't be made. What came before it stays.
    #[error("package {package}: {source}")]
    Unpack {
        /// The package.
        package: String,
        /// Why.
        source: UnpackError,
    },
    /// The names of owners can't be looked up.
    #[error("can't look up owners in {system}: {source}")]
    Owners {
        /// The system whose names count.
        system: String,
        /// Why.
        source: io::Error,
    },
}

/// Unpacks the files of a package into a folder, which exists: everything is checked before
/// anything is written. Symbolic links of the folder are not followed, directories that are there
/// stay as they are. Names of owners are looked up in the root `system`.
///
/// # Errors
/// See [`BareError`].
pub fn unpack_bare(
    package: &Package,
    into: &Path,
    system: &Path,
    how: &Bare,
    limits: &Limits,
) -> Result<Unpacked, BareError> {
    package.manifest(limits)?;
    let unpack_failed = |source| BareError::Unpack {
        package: package.path().display().to_string(),
        source,
    };
    let owners_failed = |source| BareError::Owners {
        system: system.display().to_string(),
        source,
    };
    let options = Options {
        ownership: match how.owners {
            true => Ownership::Keep,
            false => Ownership::Ignore,
        },
        set_id: true,
        xattrs: match how.system_xattrs {
            true => Xattrs::All,
            false => Xattrs::User,
        },
        special: Special::Create,
        existing: match how.overwrite {
            true => Existing::ReplaceFiles,
            false => Existing::Refuse,
        },
        imperfect: Imperfect::Note,
        ..Options::default()
    };
    let beneath = Beneath::open(system).map_err(owners_failed)?;
    let mut owners = Owners::default();
    let mut paths = Vec::new();
    let mut unpacker = Unpacker::new(into, &options).map_err(unpack_failed)?;
    package.visit(limits, |entry, content| {
        // apk keeps such names for itself.
        if entry.path.starts_with('.') {
            return Ok::<(), BareError>(());
        }
        let mut header = entry.header();
        if entry.is_directory() {
            // As apk has it: those of directories are not set.
            header.xattrs.clear();
        }
        if how.owners {
            let user = (entry.user.as_str(), entry.uid);
            let group = (entry.group.as_str(), entry.gid);
            let (uid, gid) = owners
                .resolve(&beneath, user, group)
                .map_err(owners_failed)?;
            (header.uid, header.gid) = (uid.into(), gid.into());
        }
        unpacker.add(&header, content).map_err(unpack_failed)?;
        paths.push(entry.path.clone());
        Ok(())
    })?;
    let unpacked = unpacker.finish().map_err(unpack_failed)?;
    Ok(Unpacked {
        paths,
        flaws: unpacked.imperfect,
    })
}

//! Checking a file from elsewhere: a package or an index, of whichever format.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use archive::Limits;
use archive::gzip::Members;
use archive::tar::{self, End};

use crate::adb;
use crate::index::{Index, IndexError};
use crate::package::{Package, PackageError};
use crate::signature::{Keyring, SignatureError};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A package.
    Package,
    /// An index of a repository.
    Index,
}

/// Whose signatures are good enough.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'k> {
    /// The keys that are trusted.
    pub keyring: &'k Keyring,
    /// Files that none of them signed are taken too. A signature in the name of one of them must
    /// be right all the same.
    pub anyone: bool,
}

/// A file is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ends before it says what it is.
    #[error("{} is too short for a package or an index; get it again from its source", path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
    /// It is neither a package nor an index.
    #[error("{} is neither a package nor an index: {reason}", path.display())]
    Neither {
        /// The file.
        path: PathBuf,
        /// What it is or lacks.
        reason: &'static str,
    },
    /// As a package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// As an index.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl VerifyError {
    /// What is wrong with the signature, if that is it.
    pub fn signature(&self) -> Option<&SignatureError> {
        match self {
            VerifyError::Package(PackageError::Signature { source, .. })
            | VerifyError::Index(IndexError::Signature { source, .. }) => Some(source),
            _ => None,
        }
    }

    /// What the system said when the file was opened or read, if that is it.
    pub fn system(&self) -> Option<&io::Error> {
        match self {
            VerifyError::Read { source, .. }
            | VerifyError::Package(PackageError::Read { source, .. })
            | VerifyError::Index(IndexError::Read { source, .. }) => Some(source),
            _ => None,
        }
    }
}

/// Checks a file: its signature, then every hash that it holds.
///
/// # Errors
/// See [`VerifyError`]; `limits` bound what a package may inflate to.
pub fn verify(path: &Path, trust: &Trust<'_>, limits: &Limits) -> Result<Kind, VerifyError> {
    let kind = kind_of(path)?;
    match kind {
        Kind::Package => {
            let package = Package::open(path)?;
            trust.of_package(&package)?;
            package.manifest(limits)?;
        }
        Kind::Index => match Index::read(path, trust.keyring) {
            Err(IndexError::Signature { source, .. }) if trust.takes(&source) => {
                Index::read_unverified(path)?;
            }
            read => _ = read?,
        },
    }
    Ok(kind)
}

impl Trust<'_> {
    /// Checks the signature of a package.
    ///
    /// # Errors
    /// [`PackageError::Signature`].
    pub fn of_package(&self, package: &Package) -> Result<(), PackageError> {
        match package.verify(self.keyring) {
            Err(PackageError::Signature { source, .. }) if self.takes(&source) => Ok(()),
            verified => verified.map(drop),
        }
    }

    fn takes(&self, error: &SignatureError) -> bool {
        self.anyone && !matches!(error, SignatureError::Wrong { .. })
    }
}

/// What a file is, by its first entry.
///
/// # Errors
/// It can't be read, or is neither.
pub fn kind_of(path: &Path) -> Result<Kind, VerifyError> {
    let unreadable = |source| VerifyError::Read {
        path: path.to_owned(),
        source,
    };
    let neither = |reason| VerifyError::Neither {
        path: path.to_owned(),
        reason,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(VerifyError::Short {
                path: path.to_owned(),
            });
        }
        read => read.map_err(unreadable)?,
    }
    let file = File::open(path).map_err(unreadable)?;
    if magic.starts_with(b"ADB") {
        // Damage shows again, and is described, where the file is read as what it is.
        let schema = adb::Reader::new(file, Limits::control()).map(|reader| reader.schema());
        return match schema {
            Ok(adb::schema::INDEX_ID) => Ok(Kind::Index),
            Ok(adb::schema::INSTALLED_ID) => Err(neither("it is an installed database")),
            _ => Ok(Kind::Package),
        };
    }
    if !magic.starts_with(&[0x1f, 0x8b]) {
        return Err(neither("it begins neither as gzip nor as ADB does"));
    }
    let limits = Limits::control();
    let mut members = Members::new(file, limits);
    while let Ok(Some(member)) = members.next() {
        let mut tar = tar::Reader::new(member, limits).ending(End::Segment);
        while let Ok(Some(entry)) = tar.next() {
            let name = &entry.header().path;
            if !name.starts_with(".SIGN.") {
                return Ok(match name.starts_with('.') {
                    true => Kind::Package,
                    false => Kind::Index,
                });
            }
        }
        if tar.into_inner().finish().is_err() {
            break;
        }
    }
    Ok(Kind::Package)
}

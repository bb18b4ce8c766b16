//! Where packages come from: a folder or a URL with an index per architecture.

mod loaded;

pub use loaded::{ChoiceError, LoadedRepository, choose};

use std::fmt;
use std::path::{Path, PathBuf};

use base::Arch;
use url::Url;

use crate::catalogue::CatalogueError;
use crate::index::{FILE_NAME, Index, IndexError};
use crate::package::PackageError;
use crate::signature::Keyring;

/// A repository, as a line of `/etc/apk/repositories` or an image file names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    /// Where it is.
    pub location: Location,
    /// Its tag without `@`: only terms with the tag draw from it.
    pub tag: Option<String>,
}

/// A repository's place. The index of an architecture is `<place>/<arch>/APKINDEX.tar.gz`, its
/// packages lie beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// An `http` or `https` URL.
    Url(Url),
}

/// The line names no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRepository {
    /// The URL can't be used.
    #[error(
        "`{text}` is no repository: {reason}; expected [@tag] followed by a folder or an http(s) URL"
    )]
    Location {
        /// The line.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The tag is empty or nothing follows it.
    #[error("`{0}` is no repository: a tag is written `@name folder-or-URL`")]
    Tag(String),
}

/// A repository can't be opened, or a package of it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Its index is missing.
    #[error(
        "repository {repository} has no index for {arch}: {} does not exist; check the path, build packages into it with `polpo build`, or leave the repository out",
        path.display()
    )]
    NoIndex {
        /// The repository.
        repository: String,
        /// The architecture.
        arch: Arch,
        /// Where the index should be.
        path: PathBuf,
    },
    /// Its index is no good.
    #[error("repository {repository}: {source}")]
    Index {
        /// The repository.
        repository: String,
        /// What is wrong.
        source: IndexError,
    },
    /// Its index says nothing of a package.
    #[error("repository {repository}: {source}")]
    Catalogue {
        /// The repository.
        repository: String,
        /// Why.
        source: CatalogueError,
    },
    /// It is not a folder.
    #[error("repository {repository} is not a folder of this machine; fetch its index first")]
    Remote {
        /// The repository.
        repository: String,
    },
    /// An entry's name or version can't be a file's.
    #[error("repository {repository} lists a package `{name}`, which can't be a file's name")]
    FileName {
        /// The repository.
        repository: String,
        /// The name and version, escaped.
        name: String,
    },
    /// A package that it lists is no good.
    #[error("repository {repository}: {source}")]
    Package {
        /// The repository.
        repository: String,
        /// What is wrong.
        source: PackageError,
    },
}

impl Repository {
    /// Reads `[@tag] place`, where the place is a folder, a `file:` URL, or an `http(s)` URL.
    ///
    /// # Errors
    /// See [`InvalidRepository`].
    pub fn parse(text: &str) -> Result<Repository, InvalidRepository> {
        let line = text.trim();
        let (tag, place) = match line.strip_prefix('@') {
            Some(tagged) => match tagged.split_once([' ', '\t']) {
                Some((tag, place)) if !tag.is_empty() => (Some(tag.to_owned()), place.trim()),
                _ => return Err(InvalidRepository::Tag(text.to_owned())),
            },
            None => (None, line),
        };
        let invalid = |reason: String| InvalidRepository::Location {
            text: text.to_owned(),
            reason,
        };
        if place.is_empty() {
            return Err(invalid("nothing is named".to_owned()));
        }
        let location = if let Some(path) = place.strip_prefix("file://") {
            Location::Folder(path.into())
        } else if place.contains("://") {
            let url = Url::parse(place).map_err(|error| invalid(error.to_string()))?;
            if !matches!(url.scheme(), "http" | "https") {
                return Err(invalid(format!("{}: is not supported", url.scheme())));
            }
            Location::Url(url)
        } else {
            Location::Folder(place.into())
        };
        Ok(Repository { location, tag })
    }

    /// A folder of this machine, without a tag.
    pub fn folder(path: impl Into<PathBuf>) -> Repository {
        Repository {
            location: Location::Folder(path.into()),
            tag: None,
        }
    }

    /// The folder of an architecture's index and packages, where it is on this machine.
    pub fn arch_folder(&self, arch: Arch) -> Option<PathBuf> {
        match &self.location {
            Location::Folder(folder) => Some(folder.join(arch.apk())),
            Location::Url(_) => None,
        }
    }

    /// Reads the index for `arch`, which a key of the keyring must have signed.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub fn open(&self, arch: Arch, keyring: &Keyring) -> Result<LoadedRepository, RepositoryError> {
        self.load(arch, |path| Index::read(path, keyring))
    }

    /// Reads the index for `arch`, whoever made it.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub fn open_unverified(&self, arch: Arch) -> Result<LoadedRepository, RepositoryError> {
        self.load(arch, Index::read_unverified)
    }

    fn load(
        &self,
        arch: Arch,
        read: impl FnOnce(&Path) -> Result<Index, IndexError>,
    ) -> Result<LoadedRepository, RepositoryError> {
        let folder = self
            .arch_folder(arch)
            .ok_or_else(|| RepositoryError::Remote {
                repository: self.to_string(),
            })?;
        let path = folder.join(FILE_NAME);
        let index = read(&path).map_err(|source| match source {
            IndexError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                RepositoryError::NoIndex {
                    repository: self.to_string(),
                    arch,
                    path: path.clone(),
                }
            }
            source => RepositoryError::Index {
                repository: self.to_string(),
                source,
            },
        })?;
        Ok(LoadedRepository {
            repository: self.clone(),
            name: self.to_string(),
            arch,
            folder,
            catalogue: index.into(),
        })
    }
}

impl fmt::Display for Repository {
    /// As [`Repository::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, "@{tag} ")?;
        }
        match &self.location {
            Location::Folder(folder) => folder.display().fmt(f),
            Location::Url(url) => url.fmt(f),
        }
    }
}

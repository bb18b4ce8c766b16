//! Where packages come from: a folder or a URL with an index per architecture.

mod arch_name;
mod discovery;
mod grammar;
mod loaded;
mod naming;
mod proof;
mod remote;

pub use arch_name::{ArchName, InvalidArchName};
pub use discovery::{DiscoveredKey, DiscoveryError};
pub use grammar::{
    FILE as LIST_FILE, FOLDERS as LIST_FOLDERS, LineProblem, LineReason, ListError,
    MAXIMUM_REPOSITORIES, MAXIMUM_TAGS, RepositoryList,
};
pub use loaded::{
    Choice, ChoiceError, Chosen, JointChoiceError, LoadedRepository, Offered, choose,
    choose_together, solve,
};
pub use naming::{InvalidNamePattern, NamePattern};
pub use proof::{Proof, ProofRequirement, ReadProofs, Vouched, lacking};
pub use remote::{
    Access, AccessSettings, IndexState, InvalidRepositoryMirror, Opened, PlaceError, Refresh,
    RepositoryMirror,
};

use std::fmt;
use std::path::{Path, PathBuf};

use store::Store;
use url::Url;

use crate::catalogue::{Catalogue, CatalogueError};
use crate::index::{FILE_NAME, IndexError, StaleIndex};
use crate::package::PackageError;
use crate::signature::Keyring;

/// A v3 index's file name in a repository's folder of an architecture.
pub const V3_FILE_NAME: &str = "Packages.adb";

/// A repository, as a line of `/etc/apk/repositories` or an image file names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    /// Where it is: what its index and packages lie below, or the index itself.
    pub location: Location,
    /// Where its index is, seen from there.
    pub layout: Layout,
    /// Its tag without `@`: only terms with the tag draw from it.
    pub tag: Option<String>,
}

/// Where a repository's index and packages lie, seen from its location (apk-repositories(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// `v2`: the index is `<arch>/APKINDEX.tar.gz`, the packages lie in folders of their
    /// architecture.
    V2,
    /// `v3`: the same with `<arch>/Packages.adb`.
    V3,
    /// `ndx`: the location is the index, of one architecture; the packages lie beside it.
    Index,
}

/// A place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A path of this machine.
    Folder(PathBuf),
    /// A URL that can be fetched, with the credentials that its line has.
    Url(Url),
}

/// The line names no repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no repository: {reason}")]
pub struct InvalidRepository {
    /// The line, credentials left out.
    pub text: String,
    /// What is wrong.
    pub reason: LineReason,
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
        arch: ArchName,
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
    /// Its index is of format 2, its name says 3.
    #[error("repository {repository}: {} is no index of format 3; if it is one of format 2, write v2 before the repository", path.display())]
    NotV3 {
        /// The repository.
        repository: String,
        /// The index.
        path: PathBuf,
    },
    /// Its index is no good any more.
    #[error("repository {repository}: {source}")]
    Stale {
        /// The repository.
        repository: String,
        /// Why.
        source: StaleIndex,
    },
    /// Its index says nothing of a package.
    #[error("repository {repository}: {source}")]
    Catalogue {
        /// The repository.
        repository: String,
        /// Why.
        source: CatalogueError,
    },
    /// It, or a package of it, is not on this machine.
    #[error("repository {repository}: {place} is not on this machine; fetch it first")]
    Remote {
        /// The repository.
        repository: String,
        /// What is elsewhere.
        place: String,
    },
    /// No place gave what is asked of it.
    #[error("repository {repository}: can't fetch {what}{}", listed(reasons))]
    Unreachable {
        /// The repository.
        repository: String,
        /// Its index, or a package by name and version.
        what: String,
        /// Every place asked and why it did not help, in order.
        reasons: Vec<(String, PlaceError)>,
    },
    /// The keys that its server names can't be had.
    #[error("repository {repository}: {source}")]
    Discovery {
        /// The repository.
        repository: String,
        /// Why.
        source: DiscoveryError,
    },
    /// Several things can't be had.
    #[error("{}", together(.0))]
    Several(Vec<RepositoryError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A file of this machine can't be read or written.
    #[error(transparent)]
    Disk(#[from] store::WriteError),
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

fn listed(reasons: &[(String, PlaceError)]) -> String {
    let mut text = String::from(":");
    for (place, reason) in reasons {
        text.push_str(&format!("\n  {place}: {reason}"));
    }
    if reasons.is_empty() {
        text.push_str(" it was never fetched");
    }
    text
}

fn together(errors: &[RepositoryError]) -> String {
    let missing: Vec<String> = errors.iter().filter_map(offline_only).collect();
    if missing.len() == errors.len() {
        return format!(
            "the network is not to be used (offline) and {} things were never fetched:\n  {}",
            missing.len(),
            missing.join("\n  ")
        );
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    format!(
        "{} things can't be had:\n{}",
        errors.len(),
        texts.join("\n")
    )
}

/// What an error is about, if nothing but the offline mode is in the way.
fn offline_only(error: &RepositoryError) -> Option<String> {
    let RepositoryError::Unreachable {
        repository,
        what,
        reasons,
    } = error
    else {
        return None;
    };
    let offline =
        |error: &PlaceError| matches!(error, PlaceError::Refused(store::Refusal::Offline));
    (reasons.iter().any(|(_, error)| offline(error))).then(|| format!("{what} ({repository})"))
}

impl Repository {
    /// Reads `[v2|v3|ndx] [@tag] place`, where the place is a folder, a `file:` URL, or a URL that
    /// can be fetched. A place that ends in `.adb` or `.tar.gz` is an index.
    ///
    /// # Errors
    /// See [`InvalidRepository`].
    pub fn parse(text: &str) -> Result<Repository, InvalidRepository> {
        grammar::single(text).map_err(|(text, reason)| InvalidRepository { text, reason })
    }

    /// A folder of this machine, without a tag.
    pub fn folder(path: impl Into<PathBuf>) -> Repository {
        Repository {
            location: Location::Folder(path.into()),
            layout: Layout::V2,
            tag: None,
        }
    }

    /// Whether it is not on this machine.
    pub fn is_remote(&self) -> bool {
        matches!(self.location, Location::Url(_))
    }

    /// Where the index of an architecture is.
    pub fn index(&self, arch: impl Into<ArchName>) -> Location {
        let file = match self.layout {
            Layout::V2 => FILE_NAME,
            Layout::V3 => V3_FILE_NAME,
            Layout::Index => return self.location.clone(),
        };
        let arch = arch.into();
        self.location.join(&format!("{arch}/{file}"))
    }

    /// What the names of packages are put behind.
    pub(crate) fn base(&self) -> Location {
        match self.layout {
            Layout::V2 | Layout::V3 => self.location.clone(),
            Layout::Index => self.location.parent(),
        }
    }

    /// How packages are called where the index does not say.
    pub(crate) fn names(&self) -> NamePattern {
        NamePattern::standard(match self.layout {
            Layout::V2 | Layout::V3 => NamePattern::REPOSITORY,
            Layout::Index => NamePattern::BESIDE_INDEX,
        })
    }

    /// The folder of an architecture's index, where it is on this machine.
    pub fn arch_folder(&self, arch: impl Into<ArchName>) -> Option<PathBuf> {
        match self.index(arch).parent() {
            Location::Folder(folder) => Some(folder),
            Location::Url(_) => None,
        }
    }

    /// Reads the index for `arch`, which a key of the keyring must have signed; without a keyring,
    /// whoever made it. It must be on this machine. What is made of it is kept in the store, if
    /// there is one, and found there the next time.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub fn open(
        &self,
        arch: impl Into<ArchName>,
        keyring: Option<&Keyring>,
        store: Option<&Store>,
    ) -> Result<LoadedRepository, RepositoryError> {
        let arch = &arch.into();
        match self.index(arch) {
            Location::Folder(path) => self.open_index(arch, &path, keyring, store),
            url => Err(RepositoryError::Remote {
                repository: self.to_string(),
                place: url.to_string(),
            }),
        }
    }

    /// Makes a repository of its index for `arch`, which is the file at `path`. Without a keyring,
    /// whoever made it. What was made of it is kept in the store.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub(crate) fn open_index(
        &self,
        arch: &ArchName,
        path: &Path,
        keyring: Option<&Keyring>,
        store: Option<&Store>,
    ) -> Result<LoadedRepository, RepositoryError> {
        // As in apk, the name of an index promises its format; the signature says nothing of it.
        if self.index(arch).to_string().ends_with(".adb") && !is_v3(path)? {
            return Err(RepositoryError::NotV3 {
                repository: self.to_string(),
                path: path.to_owned(),
            });
        }
        let catalogue = Catalogue::open(path, keyring, store).map_err(|source| match source {
            IndexError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                RepositoryError::NoIndex {
                    repository: self.to_string(),
                    arch: arch.clone(),
                    path: path.to_owned(),
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
            arch: arch.clone(),
            base: self.base(),
            names: catalogue.names().unwrap_or_else(|| self.names()),
            catalogue,
            proof: None,
        })
    }
}

/// Whether the file is of format 3, or missing, which is told elsewhere.
fn is_v3(path: &Path) -> Result<bool, RepositoryError> {
    use std::io::Read as _;
    let mut magic = Vec::new();
    match std::fs::File::open(path).and_then(|file| file.take(3).read_to_end(&mut magic)) {
        Ok(_) => Ok(magic == b"ADB"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(store::WriteError::at("read", path)(error).into()),
    }
}

impl Location {
    /// The place of a relative path below this one.
    #[must_use]
    pub fn join(&self, relative: &str) -> Location {
        match self {
            Location::Folder(folder) => Location::Folder(folder.join(relative)),
            Location::Url(url) => {
                let mut url = url.clone();
                // Fails for URLs without a host, which no location is.
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop_if_empty().extend(relative.split('/'));
                }
                Location::Url(url)
            }
        }
    }

    /// The place whose name has this at its end, too.
    fn with_suffix(&self, suffix: &str) -> Location {
        match self {
            Location::Folder(path) => {
                let mut path = path.clone().into_os_string();
                path.push(suffix);
                Location::Folder(path.into())
            }
            Location::Url(url) => {
                let mut url = url.clone();
                url.set_path(&format!("{}{suffix}", url.path()));
                Location::Url(url)
            }
        }
    }

    /// The place that holds this one.
    fn parent(&self) -> Location {
        match self {
            Location::Folder(path) => Location::Folder(match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            }),
            Location::Url(url) => {
                let mut url = url.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop_if_empty().pop();
                }
                Location::Url(url)
            }
        }
    }
}

impl fmt::Display for Repository {
    /// As [`Repository::parse`] reads it, but for credentials, which are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layout {
            Layout::V3 => f.write_str("v3 ")?,
            Layout::Index if !grammar::names_index(&self.location) => f.write_str("ndx ")?,
            Layout::V2 if grammar::names_index(&self.location) => f.write_str("v2 ")?,
            Layout::V2 | Layout::Index => {}
        }
        if let Some(tag) = &self.tag {
            write!(f, "@{tag} ")?;
        }
        self.location.fmt(f)
    }
}

impl fmt::Display for Location {
    /// The path, or the URL without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Folder(folder) => {
                let path = folder.display().to_string();
                // A path may look like a URL.
                if path.contains("://") {
                    f.write_str("file:")?;
                }
                f.write_str(&path)
            }
            Location::Url(url) => {
                let shown = store::without_credentials(url.as_str());
                // In a path, credentials may be all that follows; slashes at its end don't count.
                f.write_str(match shown.strip_suffix("//") {
                    Some(before) => before.trim_end_matches('/'),
                    None => &shown,
                })
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! Repositories wherever they are: their indexes and packages are brought to this machine.
//!
//! What comes is checked before it is kept: an index against the keyring, a package against its
//! index and its data against itself. What was kept is checked again whenever it is used.

mod asker;
mod proofs;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use archive::Limits;
use base::{Digest, Event, Reporter};
use futures_util::StreamExt as _;
use futures_util::stream;
use store::{Arrived, Network, Refusal, Store, StoreError, Wanted, WriteError};
use url::Url;

use asker::Asker;

use super::discovery::{DiscoveredKey, DiscoveryError, discover};
use super::{
    ArchName, LoadedRepository, Location, NamePattern, ProofRequirement, Repository,
    RepositoryError,
};
use crate::dependency::Identity;
use crate::index::{Freshness, IndexEntry, IndexError, StaleIndex};
use crate::install::CacheFolder;
use crate::package::{Package, PackageError};
use crate::signature::Keyring;

/// Bytes of a package whose index does not say how many it has.
const MAXIMUM_PACKAGE: u64 = 16 << 30;

/// The record of a package, by its identity, that was checked as a whole.
const CHECKED: &str = "checked-package";

/// How repositories are come by.
#[derive(Clone, Debug)]
pub struct AccessSettings {
    /// apk's cache (`/etc/apk/cache`, `--cache-dir`), with apk's file names. Without one, the
    /// store alone.
    pub cache_folder: Option<CacheFolder>,
    /// Whether packages are kept in apk's cache too, not indexes alone.
    pub cache_packages: bool,
    /// Whether apk's cache may be written to. If not, what comes is kept in the store.
    pub cache_writable: bool,
    /// Other places for repositories, asked before their own.
    pub mirrors: Vec<RepositoryMirror>,
    /// How many packages are fetched at the same time.
    pub parallel: usize,
    /// When a server is asked whether its index has changed.
    pub refresh: Refresh,
    /// Go on with an index fetched before when the server can't be asked.
    pub accept_stale: bool,
    /// Trust, for a repository, the keys that its server names (`apk-configuration`).
    pub discover_keys: bool,
    /// How recent indexes must be.
    pub freshness: Freshness,
    /// Who must have built packages again before they are chosen.
    pub proof: Option<ProofRequirement>,
}

impl Default for AccessSettings {
    fn default() -> AccessSettings {
        AccessSettings {
            cache_folder: None,
            cache_packages: true,
            cache_writable: true,
            mirrors: Vec::new(),
            parallel: 8,
            refresh: Refresh::Always,
            accept_stale: false,
            discover_keys: false,
            freshness: Freshness::default(),
            proof: None,
        }
    }
}

/// When a server is asked whether its index has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// Once by each [`Access`].
    Always,
    /// When the index in apk's cache is older (`--cache-max-age`).
    OlderThan {
        /// The age at which it is asked.
        age: Duration,
        /// The time by which ages are told.
        now: SystemTime,
    },
    /// Only when there is no index yet.
    WhenMissing,
}

/// Another place for every repository whose URL begins like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryMirror {
    /// What the URLs begin with, without a slash at the end.
    pub of: String,
    /// Where the rest of such a URL is found too.
    pub at: Location,
}

/// The text names no mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no mirror of repositories: {reason}; write URL=PLACE")]
pub struct InvalidRepositoryMirror {
    /// The text, credentials left out.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl std::str::FromStr for RepositoryMirror {
    type Err = InvalidRepositoryMirror;

    /// Reads `URL=PLACE`, where the place is a URL or a folder.
    fn from_str(text: &str) -> Result<RepositoryMirror, InvalidRepositoryMirror> {
        let invalid = |reason: String| InvalidRepositoryMirror {
            text: store::without_credentials(text),
            reason,
        };
        let (of, at) = text
            .split_once('=')
            .ok_or_else(|| invalid("there is no `=`".to_owned()))?;
        let place = |text: &str| {
            Location::parse(text.trim_end_matches('/'))
                .map_err(|reason| invalid(reason.to_string()))
        };
        let Location::Url(of) = place(of)? else {
            return Err(invalid(
                "a folder of this machine needs no mirror".to_owned(),
            ));
        };
        if at.is_empty() {
            return Err(invalid("no place follows the `=`".to_owned()));
        }
        Ok(RepositoryMirror {
            of: bare(&of),
            at: place(at)?,
        })
    }
}

/// How an index was come by.
#[derive(Debug)]
pub enum IndexState {
    /// It lies on this machine.
    Local,
    /// It came from its server.
    Fetched,
    /// Its server says that it has not changed.
    Unchanged,
    /// It was fetched before, and the server was not asked.
    Kept,
    /// It was fetched before, and the server could not be asked.
    Stale(RepositoryError),
}

/// A repository, with how its index was come by.
#[derive(Debug)]
pub struct Opened {
    /// The repository.
    pub repository: LoadedRepository,
    /// Where its index is from.
    pub state: IndexState,
    /// The keys that its server names, trusted for this repository alone.
    pub keys: Vec<DiscoveredKey>,
}

/// Why a place did not give an index or a package.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It gave nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What it gave is no index to trust.
    #[error(transparent)]
    Index(IndexError),
    /// What it gave is an index that is not recent enough.
    #[error(transparent)]
    Stale(StaleIndex),
    /// What it gave is not the package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// It can't be used otherwise.
    #[error(transparent)]
    Repository(Box<RepositoryError>),
    /// A file of this machine can't be read or written.
    #[error(transparent)]
    Disk(#[from] WriteError),
    /// A check was broken off.
    #[error("the check was broken off")]
    BrokenOff,
}

/// The way to repositories.
#[derive(Debug)]
pub struct Access {
    store: Store,
    network: Network,
    settings: AccessSettings,
    /// The indexes that need not be asked for again, by their URL.
    asked: Mutex<BTreeMap<String, PathBuf>>,
    discovered: Mutex<BTreeMap<String, Vec<DiscoveredKey>>>,
}

impl Access {
    /// Asks nobody yet.
    pub fn new(store: Store, network: Network, settings: AccessSettings) -> Access {
        Access {
            store,
            network,
            settings,
            asked: Mutex::default(),
            discovered: Mutex::default(),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Opens a repository for `arch`, whose index a key of the keyring must have signed. Without
    /// a keyring, whoever made it.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub async fn open(
        &self,
        repository: &Repository,
        arch: impl Into<ArchName>,
        keyring: Option<&Keyring>,
        reporter: &dyn Reporter,
    ) -> Result<Opened, RepositoryError> {
        let arch = &arch.into();
        let mut opened = self.open_index(repository, arch, keyring, reporter).await?;
        if let Some(requirement) = &self.settings.proof {
            let proof = self.prove(requirement, repository, arch, reporter).await?;
            opened.repository.proof = Some(proof);
        }
        Ok(opened)
    }

    async fn open_index(
        &self,
        repository: &Repository,
        arch: &ArchName,
        keyring: Option<&Keyring>,
        reporter: &dyn Reporter,
    ) -> Result<Opened, RepositoryError> {
        let url = match repository.index(arch) {
            Location::Url(url) => url,
            Location::Folder(path) => {
                let loaded = repository.open_index(arch, &path, keyring, Some(&self.store))?;
                // Who holds the folder holds what was seen of it too: only its age counts.
                let fresh = self.settings.freshness.check(loaded.stamp(), None);
                fresh.map_err(|source| RepositoryError::Stale {
                    repository: repository.to_string(),
                    source,
                })?;
                return Ok(Opened {
                    repository: loaded,
                    state: IndexState::Local,
                    keys: Vec::new(),
                });
            }
        };
        let keys = self.keys(repository, keyring, reporter).await?;
        let widened;
        let keyring = match keyring {
            Some(known) if !keys.is_empty() => {
                let mut keyring = known.clone();
                for key in &keys {
                    keyring.add(key.name.clone(), key.key.clone());
                }
                widened = keyring;
                Some(&widened)
            }
            other => other,
        };
        let asker = Asker {
            access: self,
            repository,
            arch,
            keyring,
            reporter,
        };
        let (repository, state) = asker.index(&url).await?;
        Ok(Opened {
            repository,
            state,
            keys,
        })
    }

    /// Opens repositories for `arch`, in their order.
    ///
    /// # Errors
    /// [`RepositoryError::Several`] with all that can't be opened, or the only one that can't.
    pub async fn open_all(
        &self,
        repositories: &[Repository],
        arch: impl Into<ArchName>,
        keyring: Option<&Keyring>,
        reporter: &dyn Reporter,
    ) -> Result<Vec<Opened>, RepositoryError> {
        let arch = &arch.into();
        let work = repositories
            .iter()
            .map(|repository| self.open(repository, arch, keyring, reporter));
        self.together(work).await
    }

    /// Brings a package to this machine and says where it is. It is the one that the index speaks
    /// of; a package that lies on this machine is left where it is, its data yet to be checked.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub async fn package(
        &self,
        repository: &LoadedRepository,
        entry: &IndexEntry,
        reporter: &dyn Reporter,
    ) -> Result<PathBuf, RepositoryError> {
        let places = repository.package_places(entry)?;
        if places
            .iter()
            .all(|place| matches!(place, Location::Folder(_)))
        {
            let package = repository.open_package(entry)?;
            return Ok(package.path().to_owned());
        }
        if let Some(path) = self.cached(entry)? {
            return Ok(path);
        }
        let name = format!("{}-{}", entry.info.name, entry.info.version);
        let mut reasons = Vec::new();
        for place in places.iter().flat_map(|place| self.alternatives(place)) {
            match self.package_from(&place, &name, entry, reporter).await {
                Ok(path) => return Ok(path),
                Err(PlaceError::Refused(Refusal::Store(error))) => {
                    return Err(RepositoryError::Store(error));
                }
                Err(error) => reasons.push((place.to_string(), error)),
            }
        }
        Err(self.unreachable(&repository.repository, &name, reasons))
    }

    /// Brings packages to this machine, several at a time, and says where each is.
    ///
    /// # Errors
    /// [`RepositoryError::Several`] with all that can't be had, or the only one that can't.
    pub async fn packages<'a>(
        &self,
        wanted: impl IntoIterator<Item = (&'a LoadedRepository, &'a IndexEntry)>,
        reporter: &dyn Reporter,
    ) -> Result<Vec<PathBuf>, RepositoryError> {
        let work = wanted
            .into_iter()
            .map(|(repository, entry)| self.package(repository, entry, reporter));
        self.together(work).await
    }

    /// The SHA-256 of an entry's package, if it is in the store and was checked as a whole before.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn checked(&self, entry: &IndexEntry) -> Result<Option<Digest>, StoreError> {
        self.checked_package(&entry.identity)
    }

    /// The SHA-256 of the package with this identity, if it is in the store and was checked as a
    /// whole before.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn checked_package(&self, identity: &Identity) -> Result<Option<Digest>, StoreError> {
        let digest: Option<Digest> = self.store.record_get(CHECKED, &record_key(identity))?;
        Ok(digest.filter(|digest| self.store.contains(digest)))
    }

    /// Remembers that the package of the store with this SHA-256 is, as a whole, the entry's.
    ///
    /// # Errors
    /// The store can't be written to.
    pub fn remember_checked(&self, entry: &IndexEntry, digest: Digest) -> Result<(), StoreError> {
        self.store
            .record_put(CHECKED, &record_key(&entry.identity), &digest)
    }

    async fn together<T>(
        &self,
        work: impl Iterator<Item = impl Future<Output = Result<T, RepositoryError>>>,
    ) -> Result<Vec<T>, RepositoryError> {
        let results: Vec<Result<T, RepositoryError>> = stream::iter(work)
            .buffered(self.settings.parallel.max(1))
            .collect()
            .await;
        let (mut done, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(value) => done.push(value),
                Err(error) => errors.push(error),
            }
        }
        match errors.pop() {
            None => Ok(done),
            Some(only) if errors.is_empty() => Err(only),
            Some(last) => {
                errors.push(last);
                Err(RepositoryError::Several(errors))
            }
        }
    }

    async fn keys(
        &self,
        repository: &Repository,
        keyring: Option<&Keyring>,
        reporter: &dyn Reporter,
    ) -> Result<Vec<DiscoveredKey>, RepositoryError> {
        let (Some(keyring), Location::Url(url)) = (keyring, repository.base()) else {
            return Ok(Vec::new());
        };
        // An object store has nobody who could name keys.
        if !self.settings.discover_keys || !matches!(url.scheme(), "http" | "https") {
            return Ok(Vec::new());
        }
        let name = bare(&url);
        if let Some(known) = locked(&self.discovered).get(&name) {
            return Ok(known.clone());
        }
        let failed = |source: DiscoveryError| RepositoryError::Discovery {
            repository: repository.to_string(),
            source,
        };
        let mut keys = discover(&self.network, &self.store, &url, reporter)
            .await
            .map_err(failed)?;
        for key in &keys {
            let message = match keyring.get(&key.name) {
                Some(known) if *known == key.key => continue,
                Some(_) => format!(
                    "{name} names a key {} ({}) other than the trusted one of that name; it is not trusted",
                    key.name,
                    key.key.id()
                ),
                None => format!(
                    "{name} names its key {} ({}), trusted for it alone",
                    key.name,
                    key.key.id()
                ),
            };
            reporter.report(Event::Notice { message: &message });
        }
        keys.retain(|key| keyring.get(&key.name).is_none());
        locked(&self.discovered).insert(name, keys.clone());
        Ok(keys)
    }

    /// A place's mirrors, then the place itself.
    fn alternatives(&self, place: &Location) -> Vec<Location> {
        let mut places = Vec::new();
        if let Location::Url(url) = place {
            let text = bare(url);
            for mirror in &self.settings.mirrors {
                if let Some(rest) = text.strip_prefix(&mirror.of)
                    && let Some(rest) = rest.strip_prefix('/')
                {
                    let decoded: Vec<String> = rest
                        .split('/')
                        .map(|part| {
                            percent_encoding::percent_decode_str(part)
                                .decode_utf8_lossy()
                                .into_owned()
                        })
                        .collect();
                    places.push(mirror.at.join(&decoded.join("/")));
                }
            }
        }
        places.push(place.clone());
        places
    }

    fn unreachable(
        &self,
        repository: &Repository,
        what: &str,
        reasons: Vec<(String, PlaceError)>,
    ) -> RepositoryError {
        RepositoryError::Unreachable {
            repository: repository.to_string(),
            what: what.to_owned(),
            reasons,
        }
    }

    /// The package as it was kept before, if it still is the one. What is not any more is removed.
    fn cached(&self, entry: &IndexEntry) -> Result<Option<PathBuf>, RepositoryError> {
        if let Some((folder, name)) = self.cache_place(entry)
            && folder.find(&name).is_some()
        {
            let path = folder.path().join(&name);
            if is_package(&path, entry) {
                return Ok(Some(path));
            }
            if self.settings.cache_writable {
                folder.remove(&name)?;
            }
        }
        let digest = self.checked(entry)?;
        let stored = digest.and_then(|digest| self.store.path(&digest));
        Ok(stored.filter(|path| is_package(path, entry)))
    }

    /// Where apk would keep the package, and by what name.
    fn cache_place(&self, entry: &IndexEntry) -> Option<(&CacheFolder, String)> {
        let name = NamePattern::standard(NamePattern::CACHE).file_name(entry);
        let plain = archive::tar::safe_path(&name).is_ok() && !name.contains('/');
        let folder = self.settings.cache_folder.as_ref()?;
        (plain && self.settings.cache_packages).then_some((folder, name))
    }

    async fn package_from(
        &self,
        place: &Location,
        name: &str,
        entry: &IndexEntry,
        reporter: &dyn Reporter,
    ) -> Result<PathBuf, PlaceError> {
        let url = match place {
            Location::Url(url) => url,
            Location::Folder(path) if path.is_file() => {
                check_whole(path.clone(), entry.clone()).await?;
                return Ok(path.clone());
            }
            Location::Folder(_) => return Err(Refusal::NotThere.into()),
        };
        let wanted = Wanted {
            name,
            url,
            limit: MAXIMUM_PACKAGE,
            size: (entry.size > 0).then_some(entry.size),
            expected: None,
            only_https: false,
        };
        loop {
            let arrived = self.network.fetch(&self.store, &wanted, reporter).await?;
            let checked = check_whole(arrived.path().to_owned(), entry.clone()).await;
            match checked {
                Ok(()) => return self.keep(arrived, entry),
                // The parts may be of two files: once more, from the beginning.
                Err(_) if arrived.is_resumed() => drop(arrived),
                Err(error) => return Err(error),
            }
        }
    }

    fn keep(&self, arrived: Arrived, entry: &IndexEntry) -> Result<PathBuf, PlaceError> {
        if let Some((folder, name)) = self
            .cache_place(entry)
            .filter(|_| self.settings.cache_writable)
        {
            copy(arrived.path(), folder, &name)?;
            return Ok(folder.path().join(name));
        }
        let digest = arrived.digest();
        let path = arrived.keep(&self.store).map_err(Refusal::Store)?;
        self.remember_checked(entry, digest)
            .map_err(Refusal::Store)?;
        Ok(path)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bare(url: &Url) -> String {
    store::without_credentials(url.as_str())
        .trim_end_matches('/')
        .to_owned()
}

fn record_key(identity: &Identity) -> Digest {
    Digest::of(identity.to_string().as_bytes())
}

/// Whether the file is the package that the entry speaks of: its size and its identity.
fn is_package(path: &Path, entry: &IndexEntry) -> bool {
    fs::metadata(path).is_ok_and(|metadata| entry.size == 0 || metadata.len() == entry.size)
        && Package::open(path).is_ok_and(|package| package.check_entry(entry).is_ok())
}

/// Checks the file as a whole: the index vouches for its control part, and that for its data.
async fn check_whole(path: PathBuf, entry: IndexEntry) -> Result<(), PlaceError> {
    let check = move || {
        let package = Package::open(&path)?;
        package.check_entry(&entry)?;
        package.manifest(&Limits::default()).map(drop)
    };
    match tokio::task::spawn_blocking(check).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(PlaceError::BrokenOff),
    }
}

fn copy(from: &Path, folder: &CacheFolder, name: &str) -> Result<(), WriteError> {
    let mut source = File::open(from).map_err(WriteError::at("read", from))?;
    folder.write(name, &mut source)
}

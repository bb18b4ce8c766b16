//! Asking servers for indexes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base::{Digest, Reporter};
use store::{Refusal, StoreError, Validators, Wanted, WriteError};
use url::Url;

use super::super::{ArchName, LoadedRepository, Location, Repository, RepositoryError};
use super::{Access, IndexState, PlaceError, Refresh, bare, copy, locked};
use crate::index::{MAXIMUM_INDEX, Stamp};
use crate::install::CacheFolder;
use crate::signature::Keyring;

/// The record of the greatest stamp of the indexes that were at a URL.
const SEEN: &str = "index-stamp";

/// Asks for the index of one repository.
pub(super) struct Asker<'a> {
    pub(super) access: &'a Access,
    pub(super) repository: &'a Repository,
    pub(super) arch: &'a ArchName,
    pub(super) keyring: Option<&'a Keyring>,
    pub(super) reporter: &'a dyn Reporter,
}

impl Asker<'_> {
    /// The index at this place, or as it was kept before.
    pub(super) async fn index(
        &self,
        url: &Url,
    ) -> Result<(LoadedRepository, IndexState), RepositoryError> {
        let name = bare(url);
        let before = locked(&self.access.asked).get(&name).cloned();
        if let Some(path) = before {
            return Ok((self.read(&path, url)?, IndexState::Unchanged));
        }
        let (path, loaded, state) = self.ask(url).await?;
        self.remember(loaded.stamp(), url)?;
        locked(&self.access.asked).insert(name, path);
        Ok((loaded, state))
    }

    async fn ask(
        &self,
        url: &Url,
    ) -> Result<(PathBuf, LoadedRepository, IndexState), RepositoryError> {
        let cached = self.cached(url)?;
        let asks = match (&cached, self.access.settings.refresh) {
            (None, _) | (_, Refresh::Always) => true,
            (Some(_), Refresh::WhenMissing) => false,
            (Some(cached), Refresh::OlderThan { age, now }) => cached.is_older(age, now),
        };
        let (mut reasons, mut offline) = (Vec::new(), false);
        if asks {
            for place in self.access.alternatives(&Location::Url(url.clone())) {
                match self.from(&place, url).await {
                    Ok(found) => return Ok(found),
                    Err(PlaceError::Refused(Refusal::Store(error))) => {
                        return Err(RepositoryError::Store(error));
                    }
                    Err(error) => {
                        if matches!(error, PlaceError::Refused(Refusal::Offline)) {
                            offline = true;
                        }
                        reasons.push((place.to_string(), error));
                    }
                }
            }
        }
        let what = format!("the index for {}", self.arch);
        let may = !asks || offline || self.access.settings.accept_stale;
        match cached.filter(|_| may) {
            None => Err(self.access.unreachable(self.repository, &what, reasons)),
            Some(cached) => {
                let state = if asks && !offline {
                    IndexState::Stale(self.access.unreachable(self.repository, &what, reasons))
                } else {
                    IndexState::Kept
                };
                Ok((cached.path.clone(), self.read(&cached.path, url)?, state))
            }
        }
    }

    /// Asks one place. What comes is verified before it counts.
    async fn from(
        &self,
        place: &Location,
        own: &Url,
    ) -> Result<(PathBuf, LoadedRepository, IndexState), PlaceError> {
        let url = match place {
            Location::Folder(path) => {
                let loaded = self.verified(path, own)?;
                return Ok((path.clone(), loaded, IndexState::Local));
            }
            Location::Url(url) => url,
        };
        let access = self.access;
        let known = access
            .network
            .known(&access.store, url)
            .map_err(Refusal::Store)?;
        let name = format!("index of {}", self.repository);
        let wanted = Wanted {
            name: &name,
            url,
            limit: MAXIMUM_INDEX,
            size: None,
            expected: None,
            only_https: false,
        };
        let former = match &known {
            Some(known) => Some(known.path.clone()),
            None if url == own => self.apks(url),
            None => None,
        };
        let mut validators = match (&known, &former) {
            (Some(known), _) => known.validators.clone(),
            (None, Some(path)) => dated(path)?,
            (None, None) => Validators::default(),
        };
        loop {
            let arrived = access
                .network
                .fetch_changed(&access.store, &wanted, &validators, self.reporter)
                .await?;
            let Some(arrived) = arrived else {
                let Some(path) = &former else {
                    return Err(Refusal::Nonsense("304 to a question without a condition").into());
                };
                let loaded = self.verified(path, own)?;
                let path = self.place_in_cache(path, own)?;
                return Ok((path, loaded, IndexState::Unchanged));
            };
            let loaded = match self.verified(arrived.path(), own) {
                Ok(loaded) => loaded,
                Err(_) if arrived.is_resumed() => {
                    // The parts may be of two files: once more, from the beginning.
                    validators = Validators::default();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (digest, validators) = (arrived.digest(), arrived.validators().clone());
            let path = arrived.keep(&access.store).map_err(Refusal::Store)?;
            access
                .network
                .remember(&access.store, url, digest, &validators)
                .map_err(Refusal::Store)?;
            let path = self.place_in_cache(&path, own)?;
            return Ok((path, loaded, IndexState::Fetched));
        }
    }

    /// The index that apk has put into its cache.
    fn apks(&self, url: &Url) -> Option<PathBuf> {
        let (folder, name) = self.cache_place(url)?;
        folder.find(&name).map(|_| folder.path().join(name))
    }

    /// The greatest stamp that was seen at this place. Of an index whose signature doesn't matter,
    /// its stamp does not either.
    fn seen(&self, url: &Url) -> Result<Option<Stamp>, StoreError> {
        match self.keyring {
            Some(_) => self.access.store.record_get(SEEN, &seen_key(url)),
            None => Ok(None),
        }
    }

    fn remember(&self, stamp: Option<Stamp>, url: &Url) -> Result<(), StoreError> {
        // What another process may have seen meanwhile counts too.
        let is_newer = stamp > self.seen(url)? || self.access.settings.freshness.accept_older;
        if self.keyring.is_none() || !is_newer {
            return Ok(());
        }
        self.access.store.record_put(SEEN, &seen_key(url), &stamp)
    }

    /// Reads an index of the repository, which must be recent enough.
    fn read(&self, path: &Path, url: &Url) -> Result<LoadedRepository, RepositoryError> {
        let store = Some(&self.access.store);
        let loaded = self
            .repository
            .open_index(self.arch, path, self.keyring, store)?;
        let seen = self.seen(url)?;
        let freshness = self.access.settings.freshness;
        match freshness.check(loaded.stamp(), seen) {
            Ok(()) => Ok(loaded),
            Err(source) => Err(RepositoryError::Stale {
                repository: self.repository.to_string(),
                source,
            }),
        }
    }

    fn verified(&self, path: &Path, url: &Url) -> Result<LoadedRepository, PlaceError> {
        self.read(path, url).map_err(|error| match error {
            RepositoryError::Stale { source, .. } => PlaceError::Stale(source),
            RepositoryError::Store(error) => PlaceError::Refused(Refusal::Store(error)),
            RepositoryError::Index { source, .. } => PlaceError::Index(source),
            RepositoryError::NoIndex { .. } => PlaceError::Refused(Refusal::NotThere),
            other => PlaceError::Repository(Box::new(other)),
        })
    }

    /// The index as it was kept before: in apk's cache, else in the store.
    fn cached(&self, url: &Url) -> Result<Option<CachedIndex>, RepositoryError> {
        if let Some((folder, name)) = self.cache_place(url) {
            if let Some(found) = folder.find(&name) {
                return Ok(Some(CachedIndex {
                    path: folder.path().join(name),
                    modified: Some(found.modified),
                }));
            }
            // Else it may be in the store, where it was kept instead.
            if self.access.settings.cache_writable {
                return Ok(None);
            }
        }
        for place in self.access.alternatives(&Location::Url(url.clone())) {
            if let Location::Url(url) = place
                && let Some(known) = self.access.network.known(&self.access.store, &url)?
            {
                return Ok(Some(CachedIndex {
                    path: known.path,
                    modified: None,
                }));
            }
        }
        Ok(None)
    }

    /// Where apk would keep the index: named by the beginning of the SHA-256 of its URL.
    fn cache_place(&self, url: &Url) -> Option<(&CacheFolder, String)> {
        let folder = self.access.settings.cache_folder.as_ref()?;
        let hash = Digest::of(url.as_str().as_bytes()).hex();
        let hash = hash.get(..8).unwrap_or_default();
        Some((folder, format!("APKINDEX.{hash}.tar.gz")))
    }

    /// Copies an index into apk's cache, if one is used, and says where it is to be read.
    fn place_in_cache(&self, path: &Path, url: &Url) -> Result<PathBuf, PlaceError> {
        let writable = self.access.settings.cache_writable;
        let Some((folder, name)) = self.cache_place(url).filter(|_| writable) else {
            return Ok(path.to_owned());
        };
        // What was not changed may lie there already; its new copy tells when it was asked for.
        copy(path, folder, &name)?;
        Ok(folder.path().join(name))
    }
}

fn seen_key(url: &Url) -> Digest {
    Digest::of(bare(url).as_bytes())
}

struct CachedIndex {
    path: PathBuf,
    modified: Option<SystemTime>,
}

impl CachedIndex {
    fn is_older(&self, age: Duration, now: SystemTime) -> bool {
        match self.modified.map(|modified| now.duration_since(modified)) {
            Some(Ok(passed)) => passed > age,
            // A file of the future is as new as any.
            Some(Err(_)) => false,
            None => true,
        }
    }
}

/// apk keeps of a server's answer no more than when it came, and goes by that.
fn dated(path: &Path) -> Result<Validators, WriteError> {
    let metadata = fs::metadata(path).map_err(WriteError::at("read", path))?;
    let modified = metadata.modified().map_err(WriteError::at("read", path))?;
    Ok(Validators {
        etag: None,
        last_modified: Some(httpdate::fmt_http_date(modified)),
    })
}

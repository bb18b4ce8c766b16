//! Bringing what is stated of a repository's packages to this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::{Event, Reporter};
use store::{Refusal, Wanted, WriteError};
use url::Url;

use super::super::proof::{Proof, ProofRequirement};
use super::super::{ArchName, LoadedRepository, Location, Repository, RepositoryError};
use super::{Access, PlaceError};
use crate::index::IndexEntry;

/// Bytes of the statements of a repository.
const MAXIMUM: u64 = 256 << 20;

impl Access {
    /// What the builders that are trusted state of the packages of a repository. A repository
    /// without statements proves nothing.
    pub(super) async fn prove(
        &self,
        requirement: &ProofRequirement,
        repository: &Repository,
        arch: &ArchName,
        reporter: &dyn Reporter,
    ) -> Result<Proof, RepositoryError> {
        let file = SmallFile {
            what: format!("{} for {arch}", requirement.file),
            place: repository.index(arch).parent().join(&requirement.file),
            limit: MAXIMUM,
        };
        let Some((place, bytes)) = self.small_file(&file, repository, reporter).await? else {
            return Ok(Proof::new(requirement.builders, BTreeMap::new()));
        };
        let vouched = (requirement.read)(&bytes);
        for note in &vouched.notes {
            let message = format!("{place}: {note}");
            reporter.report(Event::Notice { message: &message });
        }
        Ok(Proof::new(requirement.builders, vouched.builders))
    }

    /// The bytes of the file that lies beside an entry's package and has its name with `suffix`, of no
    /// more than `limit` bytes; none if there is no such file. Nothing vouches for them.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub async fn beside_package(
        &self,
        repository: &LoadedRepository,
        entry: &IndexEntry,
        suffix: &str,
        limit: u64,
        reporter: &dyn Reporter,
    ) -> Result<Option<Vec<u8>>, RepositoryError> {
        for place in repository.package_places(entry)? {
            let file = SmallFile {
                what: format!("{}{suffix}", entry.file_name()),
                place: place.with_suffix(suffix),
                limit,
            };
            let found = self.small_file(&file, &repository.repository, reporter);
            if let Some((_, bytes)) = found.await? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// A file as it is now, or without the network as it was kept, and where it was found.
    async fn small_file(
        &self,
        file: &SmallFile,
        repository: &Repository,
        reporter: &dyn Reporter,
    ) -> Result<Option<(Location, Vec<u8>)>, RepositoryError> {
        let mut reasons = Vec::new();
        for place in self.alternatives(&file.place) {
            let path = match &place {
                Location::Folder(path) => Ok(path.clone()),
                Location::Url(url) => self.small_remote(url, file, repository, reporter).await,
            };
            let found = path.and_then(|path| {
                let bytes = store::find_bounded(&path, file.limit);
                bytes.map_err(|error| WriteError::at("read", &path)(error).into())
            });
            match found {
                Ok(Some(bytes)) => return Ok(Some((place, bytes))),
                Ok(None) | Err(PlaceError::Refused(Refusal::NotThere)) => {}
                Err(PlaceError::Refused(Refusal::Store(error))) => {
                    return Err(RepositoryError::Store(error));
                }
                Err(error) => reasons.push((place.to_string(), error)),
            }
        }
        match reasons.is_empty() {
            true => Ok(None),
            false => Err(self.unreachable(repository, &file.what, reasons)),
        }
    }

    async fn small_remote(
        &self,
        url: &Url,
        file: &SmallFile,
        repository: &Repository,
        reporter: &dyn Reporter,
    ) -> Result<PathBuf, PlaceError> {
        let known = self.network.known(&self.store, url);
        let known = known.map_err(Refusal::Store)?;
        let name = format!("{} of {repository}", file.what);
        let wanted = Wanted {
            name: &name,
            url,
            limit: file.limit,
            size: None,
            expected: None,
            only_https: false,
        };
        let validators = known.as_ref().map(|known| known.validators.clone());
        let validators = validators.unwrap_or_default();
        let arrived = self
            .network
            .fetch_changed(&self.store, &wanted, &validators, reporter)
            .await;
        match (arrived, known) {
            (Ok(Some(arrived)), _) => {
                let (digest, validators) = (arrived.digest(), arrived.validators().clone());
                let path = arrived.keep(&self.store).map_err(Refusal::Store)?;
                self.network
                    .remember(&self.store, url, digest, &validators)
                    .map_err(Refusal::Store)?;
                Ok(path)
            }
            (Ok(None) | Err(Refusal::Offline), Some(known)) => Ok(known.path),
            (Ok(None), None) => {
                Err(Refusal::Nonsense("304 to a question without a condition").into())
            }
            (Err(refusal), _) => Err(refusal.into()),
        }
    }
}

/// A file beside an index or a package, which a repository may have or not.
struct SmallFile {
    /// What is told when it can't be had.
    what: String,
    /// Where it is, in the repository's own place.
    place: Location,
    /// Bytes it may have.
    limit: u64,
}

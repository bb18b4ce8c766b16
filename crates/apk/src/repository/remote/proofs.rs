//! Bringing what builders state of a repository's packages to this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::{Event, Reporter};
use store::{Refusal, Wanted, WriteError};
use url::Url;

use super::super::proof::{Proof, ProofRequirement};
use super::super::{ArchName, Location, Repository, RepositoryError};
use super::{Access, PlaceError};

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
        let place = repository.index(arch).parent().join(&requirement.file);
        let mut reasons = Vec::new();
        for place in self.alternatives(&place) {
            let path = match &place {
                Location::Folder(path) => Ok(path.clone()),
                Location::Url(url) => self.statements(url, repository, reporter).await,
            };
            let found = path.and_then(|path| {
                let bytes = store::find_bounded(&path, MAXIMUM);
                bytes.map_err(|error| WriteError::at("read", &path)(error).into())
            });
            match found {
                Ok(Some(bytes)) => {
                    let vouched = (requirement.read)(&bytes);
                    for note in &vouched.notes {
                        let message = format!("{place}: {note}");
                        reporter.report(Event::Notice { message: &message });
                    }
                    return Ok(Proof::new(requirement.builders, vouched.builders));
                }
                Ok(None) | Err(PlaceError::Refused(Refusal::NotThere)) => {}
                Err(PlaceError::Refused(Refusal::Store(error))) => {
                    return Err(RepositoryError::Store(error));
                }
                Err(error) => reasons.push((place.to_string(), error)),
            }
        }
        if reasons.is_empty() {
            return Ok(Proof::new(requirement.builders, BTreeMap::new()));
        }
        let what = format!("{} for {arch}", requirement.file);
        Err(self.unreachable(repository, &what, reasons))
    }

    /// The file of statements, as it is now, or without the network as it was kept.
    async fn statements(
        &self,
        url: &Url,
        repository: &Repository,
        reporter: &dyn Reporter,
    ) -> Result<PathBuf, PlaceError> {
        let known = self.network.known(&self.store, url);
        let known = known.map_err(Refusal::Store)?;
        let name = format!("statements of {repository}");
        let wanted = Wanted {
            name: &name,
            url,
            limit: MAXIMUM,
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

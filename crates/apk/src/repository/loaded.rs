use std::path::PathBuf;

use base::Arch;

use super::{Repository, RepositoryError};
use crate::catalogue::Catalogue;
use crate::dependency::Dependency;
use crate::index::IndexEntry;
use crate::package::Package;
use crate::solver::{self, Candidate, Request, Sources, Universe, Unsolvable};

/// A repository whose index was read.
#[derive(Clone, Debug)]
pub struct LoadedRepository {
    /// The repository.
    pub repository: Repository,
    /// Its line, for messages.
    pub name: String,
    /// The architecture that was asked for.
    pub arch: Arch,
    /// The folder that holds the packages.
    pub folder: PathBuf,
    /// What its index says.
    pub catalogue: Catalogue,
}

impl LoadedRepository {
    /// What the solver needs, in the index's order.
    pub fn candidates(&self) -> Vec<Candidate> {
        (0..self.catalogue.len())
            .filter_map(|place| self.catalogue.candidate(place))
            .collect()
    }

    /// All that the index says of the package at a place of it.
    ///
    /// # Errors
    /// [`RepositoryError::Catalogue`].
    pub fn entry(&self, place: usize) -> Result<IndexEntry, RepositoryError> {
        self.catalogue
            .entry(place)
            .map_err(|source| RepositoryError::Catalogue {
                repository: self.name.clone(),
                source,
            })
    }

    /// Where an entry's package file lies.
    ///
    /// # Errors
    /// [`RepositoryError::FileName`] when its name or version would lead elsewhere.
    pub fn package_path(&self, entry: &IndexEntry) -> Result<PathBuf, RepositoryError> {
        let name = entry.file_name();
        if name.contains('/') || archive::tar::safe_path(&name).is_err() {
            return Err(RepositoryError::FileName {
                repository: self.name.clone(),
                name: name.escape_debug().to_string(),
            });
        }
        Ok(self.folder.join(name))
    }

    /// Opens an entry's package and checks that it is the one the index speaks of. The signature
    /// of the index vouches for the package; its data is checked when it is read.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub fn open_package(&self, entry: &IndexEntry) -> Result<Package, RepositoryError> {
        let path = self.package_path(entry)?;
        let failed = |source| RepositoryError::Package {
            repository: self.name.clone(),
            source,
        };
        let package = Package::open(&path).map_err(failed)?;
        package.check_entry(entry).map_err(failed)?;
        Ok(package)
    }
}

/// Packages can't be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// Nothing satisfies all that is asked for.
    #[error(transparent)]
    Unsolvable(#[from] Box<Unsolvable>),
    /// What was chosen can't be looked up.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Chooses packages for `world` as apk would on an empty root of `arch`: each with the repository
/// that it comes from, in the order in which they are installed. Earlier repositories win ties.
///
/// # Errors
/// See [`ChoiceError`].
pub fn choose<'r>(
    repositories: &'r [LoadedRepository],
    arch: Arch,
    world: &[Dependency],
) -> Result<Vec<(&'r LoadedRepository, IndexEntry)>, ChoiceError> {
    let candidates: Vec<Vec<Candidate>> = repositories
        .iter()
        .map(LoadedRepository::candidates)
        .collect();
    let tables: Vec<solver::Repository<'_>> = repositories
        .iter()
        .zip(&candidates)
        .map(|(repository, packages)| solver::Repository {
            name: &repository.name,
            tag: repository.repository.tag.as_deref(),
            available: true,
            packages,
        })
        .collect();
    let arches = [arch.apk()];
    let universe = Universe::new(Sources {
        arches: &arches,
        repositories: &tables,
        ..Sources::default()
    });
    let solution = universe
        .solve(&Request {
            world,
            ..Request::default()
        })
        .map_err(Box::new)?;
    // Nothing is installed, so every package chosen has a place in a repository.
    let chosen = solution.packages().filter_map(|selected| {
        let (repository, place) = selected.place?;
        Some((repositories.get(repository)?, place))
    });
    chosen
        .map(|(repository, place)| Ok((repository, repository.entry(place)?)))
        .collect()
}

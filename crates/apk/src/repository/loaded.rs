use std::path::PathBuf;

use base::Arch;

use super::{Repository, RepositoryError};
use crate::dependency::Dependency;
use crate::index::{Index, IndexEntry};
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
    /// The index.
    pub index: Index,
}

impl LoadedRepository {
    /// What the solver needs, in the index's order.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.index
            .entries
            .iter()
            .map(IndexEntry::candidate)
            .collect()
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

/// Chooses packages for `world` as apk would on an empty root of `arch`: each with the repository
/// that it comes from, in the order in which they are installed. Earlier repositories win ties.
///
/// # Errors
/// Nothing satisfies all that is asked for.
pub fn choose<'r>(
    repositories: &'r [LoadedRepository],
    arch: Arch,
    world: &[Dependency],
) -> Result<Vec<(&'r LoadedRepository, &'r IndexEntry)>, Box<Unsolvable>> {
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
    Ok(solution
        .packages()
        .filter_map(|selected| {
            let (repository, entry) = selected.place?;
            let repository = repositories.get(repository)?;
            Some((repository, repository.index.entries.get(entry)?))
        })
        .collect())
}

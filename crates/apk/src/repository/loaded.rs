use std::path::{Path, PathBuf};

use base::Arch;

use super::{ArchName, Location, NamePattern, Proof, Repository, RepositoryError};
use crate::catalogue::{Catalogue, Reachable};
use crate::dependency::Dependency;
use crate::index::{IndexEntry, Stamp};
use crate::package::Package;
use crate::solver::joint::{JointError, Member};
use crate::solver::{self, Candidate, Request, Solution, Sources, Universe, Unsolvable};

/// A repository whose index was read.
#[derive(Clone, Debug)]
pub struct LoadedRepository {
    /// The repository.
    pub repository: Repository,
    /// Its line, for messages.
    pub name: String,
    /// The architecture that was asked for.
    pub arch: ArchName,
    /// What the names of packages are put behind.
    pub base: Location,
    /// How packages are called.
    pub names: NamePattern,
    /// What its index says.
    pub catalogue: Catalogue,
    /// Who has built its packages again, where that counts.
    pub proof: Option<Proof>,
}

impl LoadedRepository {
    /// What the solver needs, in the index's order.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = self.catalogue.candidates();
        self.judge(&mut candidates);
        candidates
    }

    /// How recent its index is, if that is written in it.
    pub fn stamp(&self) -> Option<Stamp> {
        Stamp::of(self.catalogue.description())
    }

    fn judge(&self, candidates: &mut [Candidate]) {
        if let Some(proof) = &self.proof {
            candidates
                .iter_mut()
                .for_each(|candidate| proof.mark(candidate));
        }
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

    /// Whether its packages lie on this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.base, Location::Folder(_)) && !self.names.is_absolute()
    }

    /// Where an entry's package may be, best first. apk looks for one that suits every
    /// architecture in a folder of its own; others keep it beside the index.
    ///
    /// # Errors
    /// [`RepositoryError::FileName`] when its name or version would lead elsewhere.
    pub fn package_places(&self, entry: &IndexEntry) -> Result<Vec<Location>, RepositoryError> {
        let mut places = vec![self.package_place(entry)?];
        if entry.info.arch == "noarch" {
            let mut beside = entry.clone();
            beside.info.arch = self.arch.to_string();
            let beside = self.package_place(&beside)?;
            if !places.contains(&beside) {
                places.push(beside);
            }
        }
        Ok(places)
    }

    /// The first of an entry's places: where the index says that its package is.
    ///
    /// # Errors
    /// [`RepositoryError::FileName`] when its name or version would lead elsewhere.
    pub fn package_place(&self, entry: &IndexEntry) -> Result<Location, RepositoryError> {
        let name = self.names.file_name(entry);
        let refused = || RepositoryError::FileName {
            repository: self.name.clone(),
            name: name.escape_debug().to_string(),
        };
        let plain = !entry.file_name().contains('/') && !entry.info.arch.contains('/');
        if self.names.is_absolute() && plain {
            return Location::parse(&name).map_err(|_| refused());
        }
        if !plain || archive::tar::safe_path(&name).is_err() {
            return Err(refused());
        }
        Ok(self.base.join(&name))
    }

    /// Where an entry's package file lies, in a repository of this machine.
    ///
    /// # Errors
    /// [`RepositoryError::FileName`] when its name or version would lead elsewhere,
    /// [`RepositoryError::Remote`] when it is not on this machine.
    pub fn package_path(&self, entry: &IndexEntry) -> Result<PathBuf, RepositoryError> {
        let mut paths = Vec::new();
        for place in self.package_places(entry)? {
            match place {
                Location::Folder(path) => paths.push(path),
                url => {
                    return Err(RepositoryError::Remote {
                        repository: self.name.clone(),
                        place: url.to_string(),
                    });
                }
            }
        }
        // The last is the one that errors name.
        let last = paths.pop().unwrap_or_default();
        Ok(paths.into_iter().find(|path| path.exists()).unwrap_or(last))
    }

    /// Opens an entry's package and checks that it is the one the index speaks of. The signature
    /// of the index vouches for the package; its data is checked when it is read.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub fn open_package(&self, entry: &IndexEntry) -> Result<Package, RepositoryError> {
        self.open_package_at(&self.package_path(entry)?, entry)
    }

    /// As [`LoadedRepository::open_package`], of a package that was brought to `path`.
    ///
    /// # Errors
    /// See [`RepositoryError`].
    pub fn open_package_at(
        &self,
        path: &Path,
        entry: &IndexEntry,
    ) -> Result<Package, RepositoryError> {
        let failed = |source| RepositoryError::Package {
            repository: self.name.clone(),
            source,
        };
        let package = Package::open(path).map_err(failed)?;
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
) -> Result<Vec<Chosen<'r>>, ChoiceError> {
    let sources = Sources {
        arches: &[arch.apk()],
        ..Sources::default()
    };
    let request = Request {
        world,
        ..Request::default()
    };
    let offered = Offered {
        repositories,
        offline: None,
    };
    solve(offered, sources, &request, |_, solution| {
        // Nothing is installed, so every package chosen has a place in a repository.
        let solution = solution.map_err(Box::new)?;
        let places = solution.packages().filter_map(|selected| selected.place);
        let chosen = places.filter_map(|(index, place)| Some((repositories.get(index)?, place)));
        chosen
            .map(|(repository, place)| Ok((repository, repository.entry(place)?)))
            .collect()
    })
}

/// One architecture of a choice that is made for several together.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'r, 'c> {
    /// The architecture.
    pub arch: Arch,
    /// Its repositories; earlier ones win ties.
    pub repositories: &'r [LoadedRepository],
    /// What is there already and stays in its version.
    pub installed: &'c [IndexEntry],
    /// What is asked for, beside what is there already.
    pub world: &'c [Dependency],
}

/// Packages can't be chosen for several architectures together.
#[derive(Debug, thiserror::Error)]
pub enum JointChoiceError {
    /// One architecture has no solution, or there is none with equal versions.
    #[error(transparent)]
    Joint(#[from] Box<JointError>),
    /// What was chosen can't be looked up.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// A chosen package, and the repository that it comes from.
pub type Chosen<'r> = (&'r LoadedRepository, IndexEntry);

/// Chooses packages for several architectures so that a name has one version on all of them: for
/// each, in their order, what is to be installed, in that order.
///
/// # Errors
/// See [`JointChoiceError`].
pub fn choose_together<'r>(
    choices: &[Choice<'r, '_>],
) -> Result<Vec<Vec<Chosen<'r>>>, JointChoiceError> {
    struct Materials {
        arch: &'static str,
        installed: Vec<Candidate>,
        tables: Vec<Vec<Candidate>>,
        world: Vec<Dependency>,
    }
    let materials: Vec<Materials> = choices
        .iter()
        .map(|choice| {
            let kept = choice.installed.iter().filter_map(|entry| {
                let version = entry.info.version.parse().ok()?;
                Some(Dependency::exact(entry.info.name.as_str(), version))
            });
            Materials {
                arch: choice.arch.apk(),
                installed: choice.installed.iter().map(IndexEntry::candidate).collect(),
                tables: choice
                    .repositories
                    .iter()
                    .map(LoadedRepository::candidates)
                    .collect(),
                world: choice.world.iter().cloned().chain(kept).collect(),
            }
        })
        .collect();
    let arches: Vec<[&str; 1]> = materials.iter().map(|material| [material.arch]).collect();
    let installed: Vec<Vec<solver::Installed<'_>>> = materials
        .iter()
        .map(|material| {
            let packages = material.installed.iter();
            packages
                .map(|package| solver::Installed { package, tag: None })
                .collect()
        })
        .collect();
    let tables: Vec<Vec<solver::Repository<'_>>> = choices
        .iter()
        .zip(&materials)
        .map(|(choice, material)| {
            let offered = Offered {
                repositories: choice.repositories,
                offline: None,
            };
            offered.tables(|index| material.tables.get(index).map_or(&[], Vec::as_slice))
        })
        .collect();
    let universes: Vec<Universe<'_>> = arches
        .iter()
        .zip(installed.iter().zip(&tables))
        .map(|(arches, (installed, repositories))| {
            Universe::new(Sources {
                arches,
                installed,
                repositories,
                ..Sources::default()
            })
        })
        .collect();
    let members: Vec<Member<'_, '_>> = universes
        .iter()
        .zip(&materials)
        .map(|(universe, material)| Member {
            arch: material.arch,
            universe,
            request: Request {
                world: &material.world,
                ..Request::default()
            },
        })
        .collect();
    let solutions = solver::joint::solve(&members).map_err(Box::new)?;
    choices
        .iter()
        .zip(solutions)
        .map(|(choice, solution)| {
            let is_new = |name: &str| choice.installed.iter().all(|entry| entry.info.name != name);
            let new = solution
                .packages()
                .filter(|selected| is_new(&selected.package.name));
            let places = new.filter_map(|selected| selected.place);
            places
                .filter_map(|(index, place)| Some((choice.repositories.get(index)?, place)))
                .map(|(repository, place)| Ok((repository, repository.entry(place)?)))
                .collect()
        })
        .collect()
}

/// What repositories offer.
#[derive(Clone, Copy)]
pub struct Offered<'o> {
    /// The repositories, first wins ties.
    pub repositories: &'o [LoadedRepository],
    /// Without network: which packages of remote repositories are at hand all the same.
    pub offline: Option<&'o dyn Fn(&Candidate) -> bool>,
}

impl<'o> Offered<'o> {
    fn mark(&self, candidates: &mut [Candidate]) {
        if let Some(is_cached) = self.offline {
            for candidate in candidates {
                candidate.cached = is_cached(candidate);
            }
        }
    }

    fn tables(&self, packages: impl Fn(usize) -> &'o [Candidate]) -> Vec<solver::Repository<'o>> {
        let repositories = self.repositories.iter().enumerate();
        let table = |(index, of): (usize, &'o LoadedRepository)| solver::Repository {
            name: &of.name,
            tag: of.repository.tag.as_deref(),
            available: self.offline.is_none() || !of.repository.is_remote(),
            packages: packages(index),
        };
        repositories.map(table).collect()
    }
}

/// Solves `request` over what is `offered` and what is in `sources` beside repositories. `answer`
/// is handed the solution, or why there is none, and the universe that it was found in: only what
/// can be reached, if that suffices.
pub fn solve<T>(
    offered: Offered<'_>,
    sources: Sources<'_>,
    request: &Request<'_>,
    answer: impl FnOnce(&Universe<'_>, Result<Solution<'_>, Unsolvable>) -> T,
) -> T {
    let catalogues = offered.repositories.iter().map(|of| &of.catalogue);
    let catalogues: Vec<&Catalogue> = catalogues.collect();
    let installed = sources.installed.iter().map(|installed| installed.package);
    let unindexed = sources.unindexed.iter().map(|unindexed| unindexed.package);
    let world = request.world.iter().map(|term| term.name.as_str());
    let goals = request.goals.iter().map(|goal| goal.name);
    let mut reachable =
        Reachable::find(&catalogues, installed.chain(unindexed), world.chain(goals));
    for (index, repository) in offered.repositories.iter().enumerate() {
        let candidates = reachable.candidates_mut(index);
        repository.judge(candidates);
        offered.mark(candidates);
    }
    let some = offered.tables(|index| reachable.candidates(index));
    let universe = Universe::new(Sources {
        repositories: &some,
        reachable: Some(&reachable),
        ..sources
    });
    if let Some(solution) = universe.try_solve(request) {
        return answer(&universe, Ok(solution));
    }
    // What would help may be something that could not be reached.
    let repositories = offered.repositories.iter();
    let mut all: Vec<Vec<Candidate>> = repositories.map(LoadedRepository::candidates).collect();
    all.iter_mut()
        .for_each(|candidates| offered.mark(candidates));
    let all = offered.tables(|index| all.get(index).map_or(&[], Vec::as_slice));
    let universe = Universe::new(Sources {
        repositories: &all,
        ..sources
    });
    answer(&universe, universe.solve(request))
}

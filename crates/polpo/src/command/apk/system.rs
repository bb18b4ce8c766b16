//! A system that was opened: what is installed and what can be had.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use apk::database::InstalledPackage;
use apk::dependency::{Dependency, Identity};
use apk::index::IndexEntry;
use apk::install::{Root, Statistics};
use apk::package::PackageInfo;
use apk::repository::{self, ArchName, InvalidArchName, LoadedRepository, Offered};
use apk::solver::{
    Candidate, Installed, Request, Solution, Sources, Unindexed, UnindexedKind, Universe,
    Unsolvable,
};

use super::package_cache::{PackageCache, package_name};
use super::plan::Supply;
use crate::output::failure::Failure;

/// What [`Context::open`](super::context::Context::open) found.
#[derive(Default)]
pub(crate) struct System {
    /// The database; none if it was not asked for.
    pub(crate) root: Option<Root>,
    /// The architectures that packages may have besides `noarch`, the system's own first.
    pub(crate) arches: Vec<String>,
    /// Those whose indexes were read, in order.
    pub(crate) repositories: Vec<LoadedRepository>,
    /// Where the indexes of all repositories are, read or not.
    pub(crate) index_places: Vec<String>,
    /// Packages that no repository has, of which the cache keeps a list for a system in memory.
    pub(crate) kept: Vec<Extra>,
    /// Where packages and indexes are kept.
    pub(crate) cache: Option<PackageCache>,
    /// The way to servers, where there are remote repositories: its store may have packages that
    /// the cache has not.
    pub(crate) access: Option<Rc<repository::Access>>,
    /// Whether servers may be asked for packages.
    pub(crate) network: bool,
    /// How many must have built a package again before it is installed.
    pub(crate) rebuilt_by: Option<u32>,
    /// How many remote repositories have no index at hand.
    pub(crate) unavailable: usize,
    /// How many remote repositories have only an old index at hand.
    pub(crate) stale: usize,
}

/// A package that is in no index: a file of the command line, one that `add --virtual` makes, or
/// one that the cache keeps.
#[derive(Clone, Debug)]
pub(crate) struct Extra {
    pub(crate) entry: IndexEntry,
    pub(crate) kind: UnindexedKind,
    /// Where its file lies, if it has one.
    pub(crate) file: Option<PathBuf>,
}

impl System {
    /// A package that no index has. A file is what rebuilders of any of the repositories state of it.
    fn judged(&self, extra: &Extra) -> Candidate {
        let mut candidate = extra.entry.candidate();
        if let (Some(required), Some(_)) = (self.rebuilt_by, &extra.file) {
            let proofs = self.repositories.iter().filter_map(|of| of.proof.as_ref());
            let vouched = proofs.map(|proof| proof.vouched(&extra.entry.identity));
            let lacking = repository::lacking(vouched.max().unwrap_or(0), required);
            candidate.defects.extend(lacking);
        }
        candidate
    }

    /// What was asked for.
    pub(crate) fn world(&self) -> &[Dependency] {
        self.root.as_ref().map_or(&[], Root::world)
    }

    /// The architecture whose indexes are read.
    pub(crate) fn arch(&self) -> Result<ArchName, Failure> {
        let name = self.arches.first().map_or("", String::as_str);
        name.parse()
            .map_err(|error: InvalidArchName| Failure::Usage(error.to_string()))
    }

    /// What the index of a repository says of the package at a place.
    pub(crate) fn entry(&self, repository: usize, place: usize) -> Result<IndexEntry, Failure> {
        let loaded = self
            .repositories
            .get(repository)
            .ok_or_else(|| Failure::Usage("a repository is gone".to_owned()))?;
        loaded
            .entry(place)
            .map_err(|error| Failure::failed("a package can't be looked up", error))
    }

    /// The installed packages, in the order of the database.
    pub(crate) fn installed(&self) -> &[InstalledPackage] {
        self.root.as_ref().map_or(&[], Root::installed)
    }

    /// The installed packages, as the solver sees them.
    pub(crate) fn installed_candidates(&self) -> Vec<Candidate> {
        let installed = self.installed().iter();
        installed.map(|package| package.entry.candidate()).collect()
    }

    /// Whether anything has or mentions a name: the world, an installed package or an index.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.world().iter().any(|term| term.name == name)
            || self.installed().iter().any(|package| {
                let info = &package.entry.info;
                info.name == name || terms(info).any(|term| term.name == name)
            })
            || self
                .repositories
                .iter()
                .any(|repository| repository.catalogue.mentions(name))
    }

    /// Every name of a package or of something provided, and those of the world; sorted.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> =
            self.world().iter().map(|term| term.name.clone()).collect();
        for package in self.installed() {
            let info = &package.entry.info;
            names.insert(info.name.clone());
            names.extend(info.provides.iter().map(|term| term.name.clone()));
        }
        for repository in &self.repositories {
            for candidate in repository.candidates() {
                names.insert(candidate.name);
                names.extend(candidate.provides.iter().map(|term| term.name.clone()));
            }
        }
        names
    }

    /// Whether a repository has a name.
    pub(crate) fn is_available(&self, name: &str) -> bool {
        let mut repositories = self.repositories.iter();
        repositories.any(|repository| repository.catalogue.providers(name).next().is_some())
    }

    /// Whether a repository has this very package.
    pub(crate) fn has_entry(&self, entry: &IndexEntry) -> bool {
        let mut repositories = self.repositories.iter();
        repositories.any(|repository| {
            let catalogue = &repository.catalogue;
            catalogue.find_identity(&entry.identity).is_some()
        })
    }

    /// Whether the bytes of a package need no network.
    pub(crate) fn is_local(&self, supply: &Supply) -> bool {
        match supply {
            Supply::Repository { repository, .. } => {
                let repository = self.repositories.get(*repository);
                repository.is_some_and(|loaded| !loaded.repository.is_remote())
            }
            Supply::File(..) | Supply::Virtual(_) | Supply::None => true,
        }
    }

    /// What is installed, counted.
    pub(crate) fn statistics(&self) -> Statistics {
        let packages = self.installed();
        let mut directories = BTreeSet::new();
        let mut statistics = Statistics {
            packages: packages.len(),
            ..Statistics::default()
        };
        for package in packages {
            statistics.bytes = statistics
                .bytes
                .saturating_add(package.entry.info.installed_size);
            for directory in &package.directories {
                statistics.files += directory.files.len();
                let mut path = directory.path.as_str();
                while directories.insert(path) && !path.is_empty() {
                    path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                }
            }
        }
        statistics.directories = directories.len();
        statistics
    }

    /// Solves `request` over all packages that can be chosen, and hands `answer` the outcome with
    /// the universe that it was found in.
    pub(crate) fn solve<T>(
        &self,
        extras: &[Extra],
        request: &Request<'_>,
        answer: impl FnOnce(&Universe<'_>, Result<Solution<'_>, Unsolvable>) -> T,
    ) -> T {
        let installed = self.installed_candidates();
        let installed: Vec<Installed<'_>> = self
            .installed()
            .iter()
            .zip(&installed)
            .map(|(installed, package)| Installed {
                package,
                tag: installed.repository_tag.as_deref(),
            })
            .collect();
        let extras: Vec<&Extra> = self.kept.iter().chain(extras).collect();
        let unindexed: Vec<Candidate> = extras.iter().map(|extra| self.judged(extra)).collect();
        let unindexed: Vec<Unindexed<'_>> = extras
            .iter()
            .zip(&unindexed)
            .map(|(extra, package)| Unindexed {
                package,
                kind: extra.kind,
            })
            .collect();
        let arches: Vec<&str> = self.arches.iter().map(String::as_str).collect();
        let tags = self.world().iter().filter_map(|term| term.tag.as_deref());
        let tags: Vec<&str> = tags.collect();
        let sources = Sources {
            arches: &arches,
            tags: &tags,
            installed: &installed,
            unindexed: &unindexed,
            ..Sources::default()
        };
        let cached = self.cached_files();
        let is_cached = |candidate: &Candidate| {
            candidate.identity.is_some_and(|identity| {
                let name = package_name(&candidate.name, &candidate.version, &identity);
                cached.get(&name) == Some(&candidate.size) || self.is_stored(&identity)
            })
        };
        let offered = Offered {
            repositories: &self.repositories,
            offline: (!self.network).then_some(&is_cached),
        };
        repository::solve(offered, sources, request, answer)
    }

    /// Whether polpo's store has a package. A store that can't be read has nothing.
    fn is_stored(&self, identity: &Identity) -> bool {
        let access = self.access.as_ref();
        let found = access.and_then(|access| access.checked_package(identity).ok());
        found.flatten().is_some()
    }

    /// The names and sizes of the files that the cache of packages has.
    fn cached_files(&self) -> BTreeMap<String, u64> {
        let cache = self.cache.as_ref().filter(|cache| cache.packages);
        // A cache that can't be read has nothing.
        let files = cache.and_then(|cache| cache.files().ok());
        let files = files.unwrap_or_default().into_iter();
        files.map(|file| (file.name, file.size)).collect()
    }
}

/// All that a package speaks of.
fn terms(info: &PackageInfo) -> impl Iterator<Item = &Dependency> {
    info.provides
        .iter()
        .chain(&info.depends)
        .chain(&info.install_if)
        .chain(&info.replaces)
}

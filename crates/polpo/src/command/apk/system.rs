//! A system that was opened: what is installed and what can be had.
#![expect(dead_code, reason = "commands are being moved in")]

use apk::dependency::Dependency;
use apk::index::IndexEntry;
use apk::install::Root;
use apk::repository::LoadedRepository;
use apk::solver::{Candidate, Installed, Repository, Sources, Unindexed, UnindexedKind, Universe};

/// What [`Context::open`](super::context::Context::open) found.
#[derive(Default)]
pub(crate) struct System {
    /// The database; none if it was not asked for.
    pub(crate) root: Option<Root>,
    /// The architectures that packages may have besides `noarch`, the system's own first.
    pub(crate) arches: Vec<String>,
    /// Those whose indexes were read, in order.
    pub(crate) repositories: Vec<LoadedRepository>,
    /// How many remote repositories have no index at hand.
    pub(crate) unavailable: usize,
    /// How many remote repositories have only an old index at hand.
    pub(crate) stale: usize,
}

/// A package that is in no index: a file of the command line, or one that `add --virtual` makes.
#[derive(Clone, Debug)]
pub(crate) struct Extra {
    pub(crate) entry: IndexEntry,
    pub(crate) kind: UnindexedKind,
    /// Where the file lies, of a file.
    pub(crate) file: Option<std::path::PathBuf>,
}

impl System {
    /// What was asked for.
    pub(crate) fn world(&self) -> &[Dependency] {
        self.root.as_ref().map_or(&[], Root::world)
    }

    /// Hands `work` all packages that can be chosen.
    pub(crate) fn with_universe<T>(
        &self,
        extras: &[Extra],
        work: impl FnOnce(&Universe<'_>) -> T,
    ) -> T {
        let candidates: Vec<Vec<Candidate>> = self
            .repositories
            .iter()
            .map(LoadedRepository::candidates)
            .collect();
        let repositories: Vec<Repository<'_>> = self
            .repositories
            .iter()
            .zip(&candidates)
            .map(|(repository, packages)| Repository {
                name: &repository.name,
                tag: repository.repository.tag.as_deref(),
                available: true,
                packages,
            })
            .collect();
        let packages = self.root.as_ref().map_or(&[][..], Root::installed);
        let installed: Vec<Candidate> = packages
            .iter()
            .map(|package| package.entry.candidate())
            .collect();
        let installed: Vec<Installed<'_>> = packages
            .iter()
            .zip(&installed)
            .map(|(installed, package)| Installed {
                package,
                tag: installed.repository_tag.as_deref(),
            })
            .collect();
        let unindexed: Vec<Candidate> =
            extras.iter().map(|extra| extra.entry.candidate()).collect();
        let unindexed: Vec<Unindexed<'_>> = extras
            .iter()
            .zip(&unindexed)
            .map(|(extra, package)| Unindexed {
                package,
                kind: extra.kind,
            })
            .collect();
        let arches: Vec<&str> = self.arches.iter().map(String::as_str).collect();
        let universe = Universe::new(Sources {
            arches: &arches,
            installed: &installed,
            unindexed: &unindexed,
            repositories: &repositories,
        });
        work(&universe)
    }
}

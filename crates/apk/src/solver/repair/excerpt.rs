use std::collections::BTreeSet;
use std::sync::Arc;

use super::variant::Variant;
use super::{Tried, chosen, options};
use crate::dependency::Dependency;
use crate::solver::propagate::attempt;
use crate::solver::remedy::Adjustment;
use crate::solver::request::{
    Candidate, Installed, Repository, Request, Sources, Unindexed, UnindexedKind,
};
use crate::solver::state::{Banned, Solver};
use crate::solver::universe::Universe;

/// The packages that a request can lead to, copied so that they can be changed.
pub(super) struct Excerpt {
    /// The names that the world speaks of.
    names: BTreeSet<String>,
    arches: Vec<String>,
    installed: Vec<(Candidate, Option<String>)>,
    unindexed: Vec<(Candidate, UnindexedKind)>,
    repositories: Vec<Shelf>,
}

#[derive(Clone)]
struct Shelf {
    name: String,
    tag: Option<String>,
    available: bool,
    packages: Vec<Candidate>,
}

impl Excerpt {
    pub(super) fn new(universe: &Universe<'_>, request: &Request<'_>) -> Excerpt {
        let (left_out, banned) = (BTreeSet::new(), Banned::new());
        let mut solver = Solver::new(universe, request, &left_out, &banned);
        let reached = solver.reached();
        let has = |package: &&Candidate| reached.contains(package.name.as_str());
        let sources = universe.sources();
        let installed = sources.installed.iter();
        let unindexed = sources.unindexed.iter();
        let repositories = sources.repositories.iter();
        Excerpt {
            names: request.world.iter().map(|term| term.name.clone()).collect(),
            arches: sources
                .arches
                .iter()
                .map(|arch| (*arch).to_owned())
                .collect(),
            installed: installed
                .filter(|of| has(&of.package))
                .map(|of| (of.package.clone(), of.tag.map(str::to_owned)))
                .collect(),
            unindexed: unindexed
                .filter(|of| has(&of.package))
                .map(|of| (of.package.clone(), of.kind))
                .collect(),
            repositories: repositories
                .map(|of| Shelf {
                    name: of.name.to_owned(),
                    tag: of.tag.map(str::to_owned),
                    available: of.available,
                    packages: of.packages.iter().filter(has).cloned().collect(),
                })
                .collect(),
        }
    }

    /// Whether it holds all that the variant can lead to.
    pub(super) fn covers(&self, variant: &Variant) -> bool {
        let mut names = variant.names().into_iter();
        names.all(|name| self.names.contains(name))
    }

    /// Solves `request` with the sources changed.
    pub(super) fn attempt(
        &self,
        variant: &Variant,
        request: &Request<'_>,
        work: &mut u64,
    ) -> Tried {
        let mut installed = self.installed.clone();
        let mut unindexed = self.unindexed.clone();
        let mut repositories = self.repositories.clone();
        for change in &variant.of_sources {
            match change {
                Adjustment::AllowNetwork => {
                    for repository in &mut repositories {
                        repository.available = true;
                    }
                }
                Adjustment::AddRepository { terms, arches } => {
                    repositories.extend(supply(terms, arches));
                }
                Adjustment::RelaxPackage {
                    package,
                    term,
                    with,
                } => {
                    let installed = installed.iter_mut().map(|(package, _)| package);
                    let unindexed = unindexed.iter_mut().map(|(package, _)| package);
                    let indexed = repositories.iter_mut().flat_map(|of| &mut of.packages);
                    for candidate in installed.chain(unindexed).chain(indexed) {
                        if options::label(candidate) == *package {
                            relax(candidate, term, with.as_ref());
                        }
                    }
                }
                _ => {}
            }
        }
        let arches: Vec<&str> = self.arches.iter().map(String::as_str).collect();
        let installed: Vec<Installed<'_>> = installed
            .iter()
            .map(|(package, tag)| Installed {
                package,
                tag: tag.as_deref(),
            })
            .collect();
        let unindexed: Vec<Unindexed<'_>> = unindexed
            .iter()
            .map(|(package, kind)| Unindexed {
                package,
                kind: *kind,
            })
            .collect();
        let repositories: Vec<Repository<'_>> = repositories
            .iter()
            .map(|of| Repository {
                name: &of.name,
                tag: of.tag.as_deref(),
                available: of.available,
                packages: &of.packages,
            })
            .collect();
        let universe = Universe::new(Sources {
            arches: &arches,
            installed: &installed,
            unindexed: &unindexed,
            repositories: &repositories,
            ..Sources::default()
        });
        *work += universe.packages.len() as u64;
        attempt(&universe, request, &Banned::new(), work).map(|solution| chosen(&solution, variant))
    }
}

/// A repository with a package that all of `terms` accept.
fn supply(terms: &[Dependency], arches: &[String]) -> Option<Shelf> {
    let package = Candidate {
        name: terms.first()?.name.clone(),
        version: options::version_for(terms)?,
        arch: arches.first().cloned().unwrap_or_default(),
        size: 1,
        installed_size: 1,
        ..Candidate::default()
    };
    Some(Shelf {
        name: String::new(),
        tag: terms.iter().find_map(|term| term.tag.clone()),
        available: true,
        packages: vec![package],
    })
}

fn relax(candidate: &mut Candidate, term: &Dependency, with: Option<&Dependency>) {
    let depends = std::mem::take(&mut candidate.depends).into_iter();
    let depends = depends.filter_map(|known| match (*known == *term, with) {
        (false, _) => Some(known),
        (true, with) => with.cloned().map(Arc::new),
    });
    candidate.depends = depends.collect();
}

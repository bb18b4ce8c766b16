use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use super::order::{Key, Order, Spoken};
use super::request::{Candidate, Preferences, Request};
use super::universe::{NameId, PackageId, Provider, Term, UNTAGGED, Universe, tag_bit};
use crate::dependency::Constraint;

/// [`Preferences`] as bits.
pub(super) type Flags = u8;
pub(super) const UPGRADE: Flags = 1;
pub(super) const AVAILABLE: Flags = 2;
pub(super) const REINSTALL: Flags = 4;
pub(super) const LATEST: Flags = 8;
pub(super) const INSTALLED: Flags = 16;
pub(super) const REMOVE: Flags = 32;

pub(super) fn flags(preferences: &Preferences) -> Flags {
    [
        (preferences.upgrade, UPGRADE),
        (preferences.available, AVAILABLE),
        (preferences.reinstall, REINSTALL),
        (preferences.latest, LATEST),
        (preferences.installed, INSTALLED),
        (preferences.remove, REMOVE),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |flags, (_, flag)| flags | flag)
}

/// Versions of packages, by name, that may not be chosen.
pub(super) type Banned<'b> = BTreeMap<&'b str, Rc<BTreeSet<&'b str>>>;

/// Which queue of undecided names a name waits in.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Waiting {
    #[default]
    Nowhere,
    /// Only one choice is left, and all that could still change it is decided.
    Decided,
    /// Something may be chosen for it.
    Selectable,
    /// Nothing may be chosen for it as things stand.
    Open,
}

/// What is known of a name.
#[derive(Clone, Default)]
pub(super) struct NameState<'a> {
    /// Who provides it; meaningful once `locked`.
    pub(super) chosen: Option<Provider<'a>>,
    /// Among names that wait, the greatest goes first.
    pub(super) order: i32,
    pub(super) requirers: u32,
    pub(super) merge_depends: u32,
    pub(super) merge_provides: u32,
    pub(super) waiting: Waiting,
    pub(super) seen: bool,
    pub(super) locked: bool,
    pub(super) dirty: bool,
    pub(super) check_depends: bool,
    pub(super) check_install_if: bool,
    pub(super) has_install_if: bool,
    pub(super) no_install_if: bool,
    pub(super) install_if_needed: bool,
    pub(super) has_options: bool,
    pub(super) has_selectable: bool,
    pub(super) has_virtual_provides: bool,
    pub(super) dependents_decided: bool,
    /// A goal was set for it.
    pub(super) has_goal: bool,
    /// The count of reconsiderations when its dependents were last told to check it.
    pub(super) told_at: u64,
}

/// What is known of a package.
#[derive(Clone, Default)]
pub(super) struct PackageState {
    pub(super) conflicts: u32,
    /// Tags, as bits, that it may come from.
    pub(super) pinning_allowed: u64,
    pub(super) flags: Flags,
    pub(super) flags_inherited: Flags,
    pub(super) seen: bool,
    pub(super) available: bool,
    pub(super) selectable: bool,
    pub(super) tag_allowed: bool,
    pub(super) tag_preferred: bool,
    pub(super) depends_used: bool,
    pub(super) depends_merged: bool,
    pub(super) in_changes: bool,
    pub(super) install_if_met: bool,
    pub(super) install_if_failed: bool,
    pub(super) failed: bool,
    /// How many of the names that it provides are known to be seen.
    provides_seen: u32,
    /// When it was dropped last, counted in names that were reconsidered.
    pub(super) disqualified_at: u64,
    /// When what may be installed because of one of its names was told of it last.
    pub(super) told_at: u64,
    /// When it was last seen to provide the name that was reconsidered.
    pub(super) provides_at: u64,
}

/// A term of the world.
#[derive(Clone, Copy)]
pub(super) struct WorldTerm<'w> {
    pub(super) term: Term<'w>,
    /// The bit of its tag.
    pub(super) tag: u64,
    pub(super) left_out: bool,
}

/// The search: what is known of every name and package, and what waits to be looked at.
pub(super) struct Solver<'u, 'a, 'w> {
    pub(super) universe: &'u Universe<'a>,
    pub(super) world: Vec<WorldTerm<'w>>,
    /// Names that the universe does not know, numbered after those it knows.
    pub(super) unknown: Vec<&'w str>,
    pub(super) names: Vec<NameState<'a>>,
    pub(super) packages: Vec<PackageState>,
    pub(super) dirty: VecDeque<NameId>,
    pub(super) decided: VecDeque<NameId>,
    pub(super) selectable: BTreeSet<(i32, NameId)>,
    pub(super) open: BTreeSet<(i32, NameId)>,
    pub(super) reconsidered: u64,
    pub(super) discovered: u64,
    /// How often a provider of a name was looked at.
    pub(super) looked: u64,
    banned: &'u Banned<'u>,
    pub(super) failures: u32,
    pub(super) ignore_conflicts: bool,
    pub(super) preupgrade: bool,
    pub(super) newest_across_repositories: bool,
    pub(super) any_unversioned_provider: bool,
    pub(super) world_flags: Flags,
    last_order: i32,
    /// For names whose providers are sorted, for each rank a later one or the same, so that none
    /// between may be chosen any more.
    later: BTreeMap<(NameId, Key), Vec<u32>>,
}

impl<'u, 'a, 'w> Solver<'u, 'a, 'w> {
    /// Nothing decided yet. `left_out` are indexes into the sorted world.
    pub(super) fn new(
        universe: &'u Universe<'a>,
        request: &Request<'w>,
        left_out: &BTreeSet<usize>,
        banned: &'u Banned<'u>,
    ) -> Solver<'u, 'a, 'w> {
        let mut unknown: Vec<&'w str> = Vec::new();
        let mut tags: Vec<&str> = universe.tags().to_vec();
        let mut world: Vec<WorldTerm<'w>> = request
            .world
            .iter()
            .map(|dependency| {
                let name = universe.name_id(&dependency.name).unwrap_or_else(|| {
                    let name = dependency.name.as_str();
                    let place = unknown.iter().position(|known| *known == name);
                    let place = place.unwrap_or_else(|| {
                        unknown.push(name);
                        unknown.len() - 1
                    });
                    (universe.name_count() + place) as NameId
                });
                let tag = match &dependency.tag {
                    None => UNTAGGED,
                    Some(tag) => {
                        let place = tags.iter().position(|known| known == tag);
                        tag_bit(place.unwrap_or_else(|| {
                            tags.push(tag);
                            tags.len() - 1
                        }))
                    }
                };
                WorldTerm {
                    term: Term { name, dependency },
                    tag,
                    left_out: false,
                }
            })
            .collect();
        world.sort_by_cached_key(|term| {
            let name = &term.term.dependency.name;
            (name.to_ascii_lowercase(), name.clone())
        });
        for index in left_out {
            if let Some(term) = world.get_mut(*index) {
                term.left_out = true;
            }
        }
        let mut solver = Solver {
            names: vec![NameState::default(); universe.name_count() + unknown.len()],
            packages: vec![PackageState::default(); universe.packages.len()],
            universe,
            world,
            unknown,
            dirty: VecDeque::new(),
            decided: VecDeque::new(),
            selectable: BTreeSet::new(),
            open: BTreeSet::new(),
            reconsidered: 0,
            discovered: 0,
            looked: 0,
            banned,
            failures: 0,
            ignore_conflicts: request.ignore_conflicts,
            preupgrade: request.preupgrade,
            newest_across_repositories: request.newest_across_repositories,
            any_unversioned_provider: request.any_unversioned_provider,
            world_flags: flags(&request.preferences),
            last_order: 0,
            later: BTreeMap::new(),
        };
        for goal in request.goals {
            solver.set_goal(goal.name, flags(&goal.preferences), flags(&goal.inherited));
        }
        solver
    }

    fn set_goal(&mut self, name: &str, flags: Flags, inherited: Flags) {
        let id = self.universe.name_id(name).or_else(|| {
            let place = self.unknown.iter().position(|unknown| *unknown == name)?;
            Some((self.universe.name_count() + place) as NameId)
        });
        let Some(id) = id else { return };
        self.names[id as usize].has_goal = true;
        for provider in self.universe.providers(id) {
            let package = &mut self.packages[provider.package as usize];
            package.flags |= flags;
            package.flags_inherited |= inherited;
        }
    }

    pub(super) fn name(&self, id: NameId) -> &NameState<'a> {
        &self.names[id as usize]
    }

    pub(super) fn name_mut(&mut self, id: NameId) -> &mut NameState<'a> {
        &mut self.names[id as usize]
    }

    pub(super) fn package(&self, id: PackageId) -> &PackageState {
        &self.packages[id as usize]
    }

    pub(super) fn package_mut(&mut self, id: PackageId) -> &mut PackageState {
        &mut self.packages[id as usize]
    }

    /// Whether `provider` (none: the name stays empty) is what `term` of `by` asks for. A package
    /// never conflicts with itself.
    pub(super) fn is_provided(
        &self,
        by: Option<PackageId>,
        term: &Term<'_>,
        provider: Option<Provider<'_>>,
    ) -> bool {
        let conflict = term.dependency.conflict;
        let Some(provider) = provider else {
            return conflict;
        };
        if conflict && by == Some(provider.package) {
            return true;
        }
        if term.dependency.constraint.is_none() {
            return !conflict;
        }
        if self.any_unversioned_provider && provider.version.is_none() {
            return conflict;
        }
        let identity = self.universe.package(provider.package).candidate.identity;
        term.dependency.matches(provider.version, identity.as_ref()) != conflict
    }

    /// The providers that `term` speaks of, for [`Solver::is_provided`], if they need not each be
    /// asked.
    pub(super) fn spoken_of(&self, term: &Term<'_>) -> Option<Spoken<'u>> {
        let constraint = term.dependency.constraint.as_ref();
        let by_identity = matches!(constraint, Some(Constraint::Identity(_)));
        if self.any_unversioned_provider && by_identity {
            // Their order doesn't tell who has a version.
            return None;
        }
        let mut spoken = self.universe.spoken_of(term)?;
        if self.any_unversioned_provider && constraint.is_some() {
            spoken.leave_out_those_without();
        }
        Some(spoken)
    }

    /// As [`Solver::is_provided`] of the provider at `place`, of which `spoken` tells.
    pub(super) fn is_provided_by(
        &self,
        by: Option<PackageId>,
        term: &Term<'_>,
        (place, provider): (usize, &Provider<'_>),
        spoken: Option<&Spoken<'_>>,
    ) -> bool {
        let conflict = term.dependency.conflict;
        match spoken {
            None => self.is_provided(by, term, Some(*provider)),
            Some(spoken) => {
                (conflict && by == Some(provider.package)) || spoken.has(place) != conflict
            }
        }
    }

    /// Whether one of the providers of a name may be chosen that have these ranks.
    pub(super) fn any_selectable(
        &mut self,
        name: NameId,
        (key, order): (Key, &Order),
        ranks: Range<u32>,
    ) -> bool {
        let providers = self.universe.providers(name);
        let Solver {
            packages, later, ..
        } = self;
        let later = later.entry((name, key));
        let later = later.or_insert_with(|| (0..=order.places.len() as u32).collect());
        // What may not be chosen once may not be chosen later: it is passed over ever after.
        let mut rank = ranks.start;
        while let Some(place) = order.places.get(rank as usize)
            && rank < ranks.end
        {
            let next = later[rank as usize];
            if next == rank {
                let package = providers[*place as usize].package;
                if packages[package as usize].selectable {
                    return true;
                }
                later[rank as usize] = rank + 1;
            } else {
                later[rank as usize] = later[next as usize];
            }
            rank = later[rank as usize];
        }
        false
    }

    pub(super) fn fail(&mut self, package: Option<PackageId>) {
        let Some(package) = package else { return };
        let state = self.package_mut(package);
        if !state.failed {
            state.failed = true;
            self.failures += 1;
        }
    }

    /// Finds every name and package that the world can lead to, and orders the names: those with a
    /// goal first, then those that are packages, then what was found later before what was found
    /// earlier.
    pub(super) fn discover(&mut self, name: NameId) {
        enum Step {
            Name(NameId),
            Package(PackageId),
            /// The names that a package provides, from the first that is not seen yet.
            Provides(PackageId),
            Order(NameId),
        }
        let universe = self.universe;
        let mut steps = vec![Step::Name(name)];
        let mut found = Vec::new();
        while let Some(step) = steps.pop() {
            match step {
                Step::Name(name) => {
                    if self.name(name).seen {
                        continue;
                    }
                    self.name_mut(name).seen = true;
                    let providers = universe.providers(name);
                    found.extend(providers.iter().map(|found| Step::Package(found.package)));
                    let conditional = |name: NameId| universe.conditional(name).iter();
                    found.extend(conditional(name).map(|name| Step::Name(*name)));
                    for provider in providers {
                        let own = universe.package(provider.package).name;
                        found.extend(conditional(own).map(|name| Step::Name(*name)));
                        found.push(Step::Provides(provider.package));
                    }
                    found.push(Step::Order(name));
                    for provider in providers {
                        let terms = universe.install_if(provider.package).iter();
                        found.extend(terms.map(|term| Step::Name(term.name)));
                    }
                }
                Step::Package(package) => {
                    if self.package(package).seen {
                        continue;
                    }
                    self.discover_package(package);
                    let terms = universe.depends(package).iter();
                    found.extend(terms.map(|term| Step::Name(term.name)));
                }
                Step::Provides(package) => {
                    // Every level of the search goes on where another has stopped: what is behind
                    // is seen, and a package may provide very many names.
                    let from = self.package(package).provides_seen as usize;
                    let provides = universe.provides(package);
                    let rest = provides.get(from..).unwrap_or_default().iter();
                    let seen = rest.take_while(|provided| self.name(provided.name).seen);
                    let next = from + seen.count();
                    self.package_mut(package).provides_seen = next as u32;
                    if let Some(provided) = provides.get(next) {
                        found.push(Step::Name(provided.name));
                        found.push(Step::Provides(package));
                    }
                }
                Step::Order(name) => self.order(name),
            }
            let new = |step: &Step| match step {
                Step::Name(name) => !self.name(*name).seen,
                Step::Package(package) => !self.package(*package).seen,
                Step::Provides(_) | Step::Order(_) => true,
            };
            steps.extend(found.drain(..).rev().filter(new));
        }
    }

    /// The packages found that may not be chosen.
    pub(super) fn banned(&self) -> Vec<PackageId> {
        if self.banned.is_empty() {
            return Vec::new();
        }
        let is_banned = |package: &Candidate| {
            let versions = self.banned.get(package.name.as_str());
            versions.is_some_and(|versions| versions.contains(package.version.as_str()))
        };
        let packages = self.packages.iter().zip(&self.universe.packages);
        packages
            .enumerate()
            .filter(|(_, (state, package))| state.seen && is_banned(package.candidate))
            .map(|(id, _)| id as PackageId)
            .collect()
    }

    /// The names of the packages that the world can lead to.
    pub(super) fn reached(&mut self) -> BTreeSet<&'u str> {
        for term in self.world.clone() {
            self.discover(term.term.name);
        }
        let universe = self.universe;
        let packages = self.packages.iter().zip(&universe.packages);
        let packages = packages.filter(|(state, _)| state.seen);
        packages
            .map(|(_, package)| package.candidate.name.as_str())
            .collect()
    }

    fn discover_package(&mut self, id: PackageId) {
        let package = self.universe.package(id);
        let world_available = self.world_flags & AVAILABLE != 0;
        let state = &mut self.packages[id as usize];
        let is_virtual = package.candidate.installed_size == 0;
        self.discovered += 1;
        state.seen = true;
        state.pinning_allowed = UNTAGGED;
        state.available = package.is_file() || package.reachable;
        state.selectable = !package.uninstallable
            && (state.available
                || package.is_cached()
                || package.unindexed.is_some()
                || is_virtual
                || package.installed);
        state.install_if_failed =
            package.candidate.install_if.is_empty() || (world_available && !state.available);
        state.tag_preferred = package.is_file() || is_virtual || package.tags & UNTAGGED != 0;
        state.tag_allowed = state.tag_preferred || package.unindexed.is_some() || package.installed;
    }

    fn order(&mut self, name: NameId) {
        let mut no_install_if = true;
        let mut is_package = false;
        for provider in self.universe.providers(name) {
            no_install_if &= self.package(provider.package).install_if_failed;
            is_package |= self.universe.package(provider.package).name == name;
        }
        self.last_order += 1;
        let mut order = self.last_order;
        if is_package {
            order |= 1 << 30;
        }
        if !self.name(name).has_goal {
            order |= 1 << 31;
        }
        let state = self.name_mut(name);
        state.no_install_if = no_install_if;
        state.order = order;
    }
}

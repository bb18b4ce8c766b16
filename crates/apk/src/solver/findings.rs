//! Finds, in the state that an unsuccessful search ends with, what stood in its way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use base::did_you_mean;

use super::changes::Step;
use super::propagate::MOST_TAGS;
use super::remedy::Search;
use super::state::Solver;
use super::universe::{NameId, PackageId, Provider, Term, UNTAGGED};
use super::unsolvable::{
    Alternative, Conflict, Demand, Missing, Rejected, Rival, Suggestion, Unsolvable,
};
use crate::version::compare;

/// A chosen package has or provides the name, and may be chosen by it.
const PRESENT: u8 = 1;
/// The same, but it is there only because of its `install_if`.
const FOLLOWS: u8 = 2;
/// Only packages provide the name that may not be chosen by it.
const VIRTUAL: u8 = 4;
/// Reported already.
const MISSING: u8 = 8;

/// How many names are compared at most to find one that was meant.
const MOST_SUGGESTIONS: usize = 100_000;

/// For how many names such a one is looked for.
const MOST_MEANT: usize = 100;

/// How many rivals, demands and links of the ways to them are told in all: what packages have against
/// each other grows with the square of their number. Beyond, each conflict tells of one.
pub(super) const MOST_TOLD: usize = 200_000;

/// How many links of a way are told in any case: its beginning, and so many before its end.
pub(super) const FEW_LINKS: usize = 8;

/// The terms of the world, but for those left out, whose tag no repository has.
pub(super) fn unknown_tags(solver: &Solver<'_, '_, '_>) -> Unsolvable {
    let universe = solver.universe;
    let known: BTreeSet<&str> = universe
        .sources()
        .repositories
        .iter()
        .filter_map(|repository| repository.tag)
        .collect();
    let unknown = solver.world.iter().filter(|term| {
        let tag = term.term.dependency.tag.as_deref();
        let unknown = tag.is_some_and(|tag| !known.contains(tag));
        unknown && !universe.tag_in_use(term.tag) && !term.left_out
    });
    let conflicts = unknown.map(|term| Conflict::UnknownTag {
        term: term.term.dependency.clone(),
        known: known.iter().map(|tag| (*tag).to_owned()).collect(),
    });
    Unsolvable {
        conflicts: conflicts.collect(),
        ..surroundings(solver)
    }
}

/// There are more tags than bits for them.
pub(super) fn too_many_tags(solver: &Solver<'_, '_, '_>) -> Unsolvable {
    let conflict = Conflict::TooManyTags {
        tags: solver.universe.tags().len(),
        limit: MOST_TAGS,
    };
    Unsolvable {
        conflicts: vec![conflict],
        ..surroundings(solver)
    }
}

/// What made the search fail, and how many terms were looked at to find out. `steps` are those to the
/// incomplete solution.
pub(super) fn explain(solver: &Solver<'_, '_, '_>, steps: &[Step]) -> (Unsolvable, u64) {
    let mut findings = Findings::new(solver, steps);
    findings.discover();
    let world = solver.world.iter().map(|term| term.term);
    let mut conflicts = findings.missing(world.collect());
    for step in steps {
        let Some(after) = step.after else { continue };
        conflicts.extend(findings.rejected(after, step.tag_after));
        conflicts.extend(findings.missing(solver.universe.depends(after).to_vec()));
    }
    if conflicts.is_empty() {
        conflicts = findings.dead_ends(steps);
    }
    if conflicts.is_empty() {
        let unmet =
            |term: &&Term<'_>| !solver.is_provided(None, term, solver.name(term.name).chosen);
        let world = solver.world.iter().map(|term| &term.term);
        let missing = world.filter(unmet).map(|term| findings.missing_name(term));
        conflicts = missing.map(Conflict::Missing).collect();
    }
    let mut unsolvable = unknown_tags(solver);
    unsolvable.conflicts.extend(conflicts);
    (unsolvable, findings.looked)
}

fn surroundings(solver: &Solver<'_, '_, '_>) -> Unsolvable {
    let sources = solver.universe.sources();
    Unsolvable {
        conflicts: Vec::new(),
        causes: Vec::new(),
        search: Search::Complete,
        repositories: sources
            .repositories
            .iter()
            .map(|repository| repository.name.to_owned())
            .collect(),
        arches: sources
            .arches
            .iter()
            .map(|arch| (*arch).to_owned())
            .collect(),
    }
}

/// Who brought a package in.
#[derive(Clone, Copy)]
enum Reason<'t> {
    World(Term<'t>),
    Package(PackageId),
    Follows,
}

/// The way to a package.
#[derive(Clone, Copy)]
struct Way<'t> {
    reason: Reason<'t>,
    /// The term of the world that it begins with, if one does.
    head: Option<Term<'t>>,
    /// How many packages it leads over, the last one counted.
    length: usize,
}

struct Findings<'s, 'u, 'a, 'w> {
    solver: &'s Solver<'u, 'a, 'w>,
    marked: Vec<bool>,
    names: Vec<u8>,
    packages: Vec<u8>,
    ways: BTreeMap<PackageId, Way<'s>>,
    /// How much may still be told, see [`MOST_TOLD`].
    left: usize,
    /// For how many names another that was meant may still be looked for.
    suggestions: usize,
    /// How many terms were looked at.
    looked: u64,
    /// Who has or provides some names.
    alternatives: BTreeMap<BTreeSet<NameId>, Arc<[Alternative]>>,
}

impl<'s, 'u: 's, 'a: 's, 'w> Findings<'s, 'u, 'a, 'w> {
    fn new(solver: &'s Solver<'u, 'a, 'w>, steps: &[Step]) -> Findings<'s, 'u, 'a, 'w> {
        let mut marked = vec![false; solver.packages.len()];
        for id in steps.iter().filter_map(|step| step.after) {
            marked[id as usize] = true;
        }
        let mut findings = Findings {
            solver,
            marked,
            names: vec![0; solver.names.len()],
            packages: vec![0; solver.packages.len()],
            ways: BTreeMap::new(),
            left: MOST_TOLD,
            suggestions: MOST_MEANT,
            looked: 0,
            alternatives: BTreeMap::new(),
        };
        findings.find_ways(steps);
        findings
    }

    /// From the world on, by the shortest way.
    fn find_ways(&mut self, steps: &[Step]) {
        let solver = self.solver;
        let mut queue = VecDeque::new();
        let chosen = |name: NameId| solver.name(name).chosen.map(|chosen| chosen.package);
        for term in solver
            .world
            .iter()
            .filter(|term| !term.term.dependency.conflict)
        {
            if let Some(package) = chosen(term.term.name) {
                queue.push_back((package, Reason::World(term.term)));
            }
        }
        let mut followers = steps.iter().filter_map(|step| step.after);
        loop {
            let (package, reason) = match queue.pop_front() {
                Some(next) => next,
                None => match followers.next() {
                    Some(package) => (package, Reason::Follows),
                    None => return,
                },
            };
            if self.ways.contains_key(&package) {
                continue;
            }
            let (head, length) = match reason {
                Reason::World(term) => (Some(term), 0),
                Reason::Follows => (None, 0),
                Reason::Package(by) => {
                    let before = self.ways.get(&by);
                    before.map_or((None, 0), |before| (before.head, before.length))
                }
            };
            let length = length + 1;
            let way = Way {
                reason,
                head,
                length,
            };
            self.ways.insert(package, way);
            for term in solver.universe.depends(package) {
                if let (Some(next), false) = (chosen(term.name), term.dependency.conflict) {
                    queue.push_back((next, Reason::Package(package)));
                }
            }
        }
    }

    /// What the world leads to among the chosen packages.
    fn discover(&mut self) {
        let universe = self.solver.universe;
        let wanted = |term: &Term<'_>| !term.dependency.conflict;
        let world = self
            .solver
            .world
            .iter()
            .map(|term| term.term)
            .filter(wanted);
        let mut pending: Vec<(NameId, u8)> = world.map(|term| (term.name, PRESENT)).collect();
        while let Some((name, state)) = pending.pop() {
            for provider in universe.providers(name) {
                let id = provider.package;
                if !self.marked[id as usize] {
                    continue;
                }
                let mut state = state;
                let priority = universe.package(id).candidate.provider_priority;
                let by_name = priority != 0 || self.solver.any_unversioned_provider;
                if state != VIRTUAL && !by_name && !self.owns(id, name) {
                    state = VIRTUAL;
                }
                if self.packages[id as usize] & state != 0 {
                    continue;
                }
                self.packages[id as usize] |= state;
                self.names[universe.package(id).name as usize] |= state;
                for provided in universe.provides(id) {
                    let is_virtual = provided.dependency.version().is_none();
                    let state = if state == FOLLOWS && is_virtual {
                        VIRTUAL
                    } else {
                        state
                    };
                    self.names[provided.name as usize] |= state;
                }
                let depends = universe.depends(id).iter().copied().filter(wanted);
                pending.extend(depends.map(|term| (term.name, PRESENT)));
                if state != VIRTUAL {
                    for name in universe.names_of(id) {
                        self.discover_followers(name, &mut pending);
                    }
                }
            }
        }
    }

    fn discover_followers(&self, name: NameId, pending: &mut Vec<(NameId, u8)>) {
        let universe = self.solver.universe;
        let names = universe.conditional(name).iter();
        for provider in names.flat_map(|name| universe.providers(*name)) {
            let id = provider.package;
            let terms = universe.install_if(id);
            let met = !terms.is_empty()
                && self.marked[id as usize]
                && terms.iter().all(|term| {
                    let there = self.names[term.name as usize] & (PRESENT | FOLLOWS) != 0;
                    there != term.dependency.conflict
                });
            if met {
                pending.extend(universe.names_of(id).map(|name| (name, FOLLOWS)));
            }
        }
    }

    /// Has the name, or provides it with a version.
    fn owns(&self, package: PackageId, name: NameId) -> bool {
        let universe = self.solver.universe;
        universe.package(package).name == name
            || universe
                .provides(package)
                .iter()
                .any(|provided| provided.name == name && provided.dependency.version().is_some())
    }

    fn label(&self, package: PackageId) -> String {
        let candidate = self.solver.universe.package(package).candidate;
        format!("{}-{}", candidate.name, candidate.version)
    }

    fn demand(&mut self, by: Option<PackageId>, term: &Term<'_>) -> Demand {
        let way = by.and_then(|by| self.ways.get(&by));
        let head = way.and_then(|way| way.head);
        let length = way.map_or(1, |way| way.length);
        let links = match length > self.left.max(FEW_LINKS) {
            true => FEW_LINKS,
            false => length,
        };
        self.left = self.left.saturating_sub(links + 1);
        let mut chain = Vec::with_capacity(links + 2);
        let mut at = by;
        while let Some(package) = at {
            if chain.len() == links {
                chain.push("…".to_owned());
                break;
            }
            chain.push(self.label(package));
            at = match self.ways.get(&package).map(|way| way.reason) {
                Some(Reason::Package(package)) => Some(package),
                Some(Reason::World(_) | Reason::Follows) | None => None,
            };
        }
        if by.is_some() {
            chain.extend(head.map(|head| head.dependency.to_string()));
        }
        chain.reverse();
        Demand {
            by: by.map(|package| self.label(package)),
            term: term.dependency.clone(),
            chain,
            unasked: by.is_some() && head.is_none(),
        }
    }

    /// Whether no more may be told than the first of a list.
    fn is_enough(&self, told: usize) -> bool {
        self.left == 0 && told > 0
    }

    /// The names among `terms` that nothing chosen has.
    fn missing(&mut self, terms: Vec<Term<'s>>) -> Vec<Conflict>
    where
        'w: 's,
    {
        let mut missing = Vec::new();
        for term in terms {
            let state = &mut self.names[term.name as usize];
            if term.dependency.conflict || *state & (PRESENT | FOLLOWS | MISSING) != 0 {
                continue;
            }
            *state |= MISSING;
            missing.push(Conflict::Missing(self.missing_name(&term)));
        }
        missing
    }

    fn missing_name(&mut self, term: &Term<'_>) -> Missing {
        let universe = self.solver.universe;
        let name = term.dependency.name.as_str();
        let world = self.solver.world.iter();
        let world = world.filter(|of| of.term.name == term.name && !of.term.dependency.conflict);
        let mut required_by: Vec<Demand> = world.map(|of| self.demand(None, &of.term)).collect();
        let mut seen = BTreeSet::new();
        for name in universe.dependents(term.name) {
            if self.is_enough(required_by.len()) {
                break;
            }
            // One package of a name will do.
            let mut packages = universe.providers(*name).iter().map(|of| of.package);
            let found = packages.find_map(|id| {
                if !self.marked[id as usize] || !seen.insert(id) {
                    return None;
                }
                let mut terms = universe.depends(id).iter();
                let wanted = |of: &&Term<'_>| of.name == term.name && !of.dependency.conflict;
                Some((id, terms.find(wanted)?))
            });
            if let Some((id, term)) = found {
                required_by.push(self.demand(Some(id), term));
            }
        }
        let providers = self.provided_by(term.name);
        let suggestion = if providers.is_empty() && self.suggestions > 0 {
            self.suggestions -= 1;
            self.suggest(name)
        } else {
            None
        };
        Missing {
            name: name.to_owned(),
            required_by,
            providers,
            suggestion,
        }
    }

    /// Package names where all their versions provide the name, else single packages.
    fn provided_by(&self, name: NameId) -> Vec<String> {
        let universe = self.solver.universe;
        let mut counts: BTreeMap<NameId, usize> = BTreeMap::new();
        for provider in universe.providers(name) {
            *counts
                .entry(universe.package(provider.package).name)
                .or_default() += 1;
        }
        let mut words = Vec::new();
        for provider in universe.providers(name) {
            let own = universe.package(provider.package).name;
            let Some(count) = counts.get_mut(&own) else {
                continue;
            };
            if *count == universe.providers(own).len() {
                words.push(universe.names()[own as usize].to_owned());
                *count = 0;
            } else if *count > 0 {
                words.push(self.label(provider.package));
                *count -= 1;
            }
        }
        words
    }

    fn suggest(&self, name: &str) -> Option<Suggestion> {
        if name.len() < 4 {
            // Too many are like it.
            return None;
        }
        let universe = self.solver.universe;
        let kind = |name: &str| name.split_once(':').map(|(kind, _)| kind.to_owned());
        let wanted = kind(name);
        let candidates = universe.names().iter().enumerate().take(MOST_SUGGESTIONS);
        let candidates = candidates.filter(|(id, known)| {
            // A far shorter or longer name is none that was meant.
            known.len().abs_diff(name.len()) <= name.len() / 3 + 1
                && kind(known) == wanted
                && !universe.providers(*id as NameId).is_empty()
        });
        let meant = did_you_mean(name, candidates.map(|(_, known)| *known))?;
        let providers = universe.providers(universe.name_id(meant)?);
        let package = self.label(providers.last()?.package);
        Some(Suggestion {
            name: meant.to_owned(),
            package,
        })
    }

    /// What stands against a chosen package, if anything does.
    fn rejected(&mut self, id: PackageId, tag: u64) -> Option<Conflict> {
        let universe = self.solver.universe;
        let package = universe.package(id);
        let candidate = package.candidate;
        let wrong_arch = package.uninstallable
            && !candidate.arch.is_empty()
            && candidate.arch != "noarch"
            && !universe.sources().arches.contains(&candidate.arch.as_str());
        let mut rejected = Rejected {
            name: candidate.name.clone(),
            version: candidate.version.clone(),
            uninstallable: package.uninstallable,
            defects: candidate.defects.clone(),
            arch: wrong_arch.then(|| candidate.arch.clone()),
            masked: self.masked(id, tag),
            rivals: self.rivals(id),
            breaks: self.demands(id, false),
            satisfies: Vec::new(),
            alternatives: Arc::default(),
        };
        if !rejected.is_reason() {
            return None;
        }
        rejected.satisfies = self.demands(id, true);
        let names = rejected.breaks.iter();
        let names = names.filter_map(|demand| universe.name_id(&demand.term.name));
        rejected.alternatives = self.alternatives(names.collect());
        Some(Conflict::Package(rejected))
    }

    /// All that have or provide one of the names.
    fn alternatives(&mut self, names: BTreeSet<NameId>) -> Arc<[Alternative]> {
        if let Some(known) = self.alternatives.get(&names) {
            return Arc::clone(known);
        }
        let universe = self.solver.universe;
        let providers = names.iter().flat_map(|name| universe.providers(*name));
        let mut all: Vec<Alternative> = providers.map(|provider| self.offer(provider)).collect();
        all.sort();
        all.dedup();
        let all: Arc<[Alternative]> = all.into();
        self.alternatives.insert(names, Arc::clone(&all));
        all
    }

    fn offer(&self, provider: &Provider<'_>) -> Alternative {
        Alternative {
            package: self.label(provider.package),
            version: provider.version.map(str::to_owned),
        }
    }

    fn masked(&self, id: PackageId, tag: u64) -> Vec<String> {
        let universe = self.solver.universe;
        let package = universe.package(id);
        let reachable = package.reachable || package.is_cached() || package.is_file();
        if package.installed {
            return Vec::new();
        }
        if !reachable {
            return vec!["--no-network".to_owned()];
        }
        if package.repository_tags == 0 && package.is_cached() {
            return vec!["cache".to_owned()];
        }
        if package.repository_tags & (UNTAGGED | tag) != 0 {
            return Vec::new();
        }
        let tags = universe.tags().iter().enumerate();
        tags.filter(|(index, _)| package.repository_tags & super::universe::tag_bit(*index) != 0)
            .map(|(_, tag)| format!("@{tag}"))
            .collect()
    }

    /// The packages that failed, those before all that were ruled out themselves.
    fn dead_ends(&mut self, steps: &[Step]) -> Vec<Conflict> {
        let failed = |id: &PackageId| self.solver.package(*id).failed;
        let failed: Vec<PackageId> = steps
            .iter()
            .filter_map(|step| step.after)
            .filter(failed)
            .collect();
        let ruled_out = |id: &PackageId| !self.solver.package(*id).selectable;
        let first: Vec<PackageId> = failed.iter().copied().filter(ruled_out).collect();
        let packages = if first.is_empty() { failed } else { first };
        let dead_end = |id: PackageId| {
            let mut satisfies = self.demands(id, true);
            satisfies.retain(|demand| !demand.term.conflict);
            Conflict::DeadEnd {
                package: self.label(id),
                satisfies,
            }
        };
        packages.into_iter().map(dead_end).collect()
    }

    /// Other chosen packages of a name that only one may have.
    fn rivals(&mut self, id: PackageId) -> Vec<Rival> {
        let universe = self.solver.universe;
        let marked = |provider: &&Provider<'_>| self.marked[provider.package as usize];
        let own = universe.package(id).name;
        let mut rivals = Vec::new();
        for other in universe.providers(own).iter().filter(marked) {
            if other.package != id && !self.is_enough(rivals.len()) {
                self.left = self.left.saturating_sub(1);
                rivals.push(Rival {
                    package: self.label(other.package),
                    provides: None,
                });
            }
        }
        for provided in universe.provides(id) {
            let version = provided
                .dependency
                .version()
                .map(|version| version.as_str());
            let mut itself = true;
            for other in universe.providers(provided.name).iter().filter(marked) {
                if version.is_none() && other.version.is_none() {
                    continue;
                }
                if itself && other.package == id && other.version == version {
                    itself = false;
                    continue;
                }
                if self.is_enough(rivals.len()) {
                    return rivals;
                }
                self.left = self.left.saturating_sub(1);
                rivals.push(Rival {
                    package: self.label(other.package),
                    provides: Some(provided.dependency.clone()),
                });
            }
        }
        rivals
    }

    /// The terms that the package meets (or else: breaks), the world's first.
    fn demands(&mut self, id: PackageId, met: bool) -> Vec<Demand> {
        let solver = self.solver;
        let universe = solver.universe;
        let meets =
            |by: Option<PackageId>, term: &Term<'_>| solver.meets(by, term, id) == Some(met);
        let mut world: Vec<Term<'_>> = solver.world.iter().map(|term| term.term).collect();
        world.retain(|term| meets(None, term));
        world.sort_by_key(|term| weight(term));
        let mut packages: BTreeSet<PackageId> = universe
            .names_of(id)
            .flat_map(|name| universe.dependent_packages(name))
            .collect();
        packages.retain(|package| self.marked[*package as usize]);
        let mut packages: Vec<PackageId> = packages.into_iter().collect();
        let terms = packages.iter().map(|id| universe.depends(*id).len() as u64);
        self.looked += terms.sum::<u64>();
        packages.sort_by(|left, right| {
            let (left, right) = (universe.package(*left), universe.package(*right));
            let (left, right) = (left.candidate, right.candidate);
            let lower = |name: &str| name.to_ascii_lowercase();
            lower(&left.name)
                .cmp(&lower(&right.name))
                .then_with(|| left.name.cmp(&right.name))
                .then_with(|| compare(&left.version, &right.version))
        });
        // Nearly all terms of a package that has very many speak of other names.
        let mut names: Vec<NameId> = universe.names_of(id).collect();
        names.sort_unstable();
        let of_packages = packages.into_iter().flat_map(|package| {
            let terms = universe.depends(package).iter();
            let terms = terms.filter(|term| names.binary_search(&term.name).is_ok());
            let mut terms: Vec<&Term<'_>> =
                terms.filter(|term| meets(Some(package), term)).collect();
            terms.sort_by_key(|term| weight(term));
            terms.into_iter().map(move |term| (package, term))
        });
        let world = world.iter().map(|term| (None, term));
        let of_packages = of_packages.map(|(package, term)| (Some(package), term));
        let mut demands = Vec::new();
        for (by, term) in world.chain(of_packages) {
            if self.is_enough(demands.len()) {
                break;
            }
            demands.push(self.demand(by, term));
        }
        demands
    }
}

/// The order in which apk lists terms: by the bits of their operator.
fn weight(term: &Term<'_>) -> u8 {
    use crate::dependency::Constraint;
    use crate::version::Operator;
    let bits = match &term.dependency.constraint {
        None => 7,
        Some(Constraint::Identity(_) | Constraint::NoIdentity(_)) => 6,
        Some(Constraint::Version(operator, _)) => match operator {
            Operator::Equal => 1,
            Operator::Less => 2,
            Operator::LessOrEqual => 3,
            Operator::Greater => 4,
            Operator::GreaterOrEqual => 5,
            Operator::Fuzzy => 9,
            Operator::LessOrFuzzy => 11,
            Operator::GreaterOrFuzzy => 13,
        },
    };
    bits + if term.dependency.conflict { 16 } else { 0 }
}

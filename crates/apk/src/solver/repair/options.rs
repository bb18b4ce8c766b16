//! Changes that might remove a conflict, and how they are put.

use std::collections::{BTreeMap, BTreeSet};

use super::Chosen;
use super::variant::Variant;
use crate::dependency::{Constraint, Dependency};
use crate::solver::remedy::Adjustment;
use crate::solver::request::Candidate;
use crate::solver::universe::Universe;
use crate::solver::unsolvable::{Conflict, Demand, Missing, Rejected, Suggestion, Unsolvable};
use crate::version::{Operator, Version, compare, is_valid};

/// How many packages are proposed in place of one.
const MOST_PROVIDERS: usize = 8;

/// Of how many demands on a package it is considered how they might be changed.
const MOST_DEMANDS: usize = 100;

/// Changes that might remove what stands in the way of `part`, of the world of `variant`: those
/// that ask least of the user first.
pub(super) fn options(
    universe: &Universe<'_>,
    variant: &Variant,
    part: &Variant,
    reason: &Unsolvable,
) -> Vec<Adjustment> {
    let mut options = Options {
        universe,
        variant,
        part,
        arches: &reason.arches,
        found: Vec::new(),
    };
    for conflict in &reason.conflicts {
        match conflict {
            Conflict::UnknownTag { term, known } => options.known_tags(term, known),
            Conflict::TooManyTags { .. } => {}
            Conflict::Missing(missing) => options.missing(missing),
            Conflict::Package(rejected) => options.rejected(rejected),
            Conflict::DeadEnd { package, satisfies } => options.dead_end(package, satisfies),
        }
    }
    for preference in variant.preferences.iter().copied() {
        options.add(Adjustment::WithoutPreference { preference });
    }
    for term in &part.world {
        options.add(Adjustment::Drop { term: term.clone() });
    }
    options.found.sort_by_key(rank);
    options.found
}

struct Options<'o, 'a> {
    universe: &'o Universe<'a>,
    variant: &'o Variant,
    part: &'o Variant,
    arches: &'o [String],
    found: Vec<Adjustment>,
}

impl Options<'_, '_> {
    fn add(&mut self, option: Adjustment) {
        if !self.found.contains(&option) {
            self.found.push(option);
        }
    }

    /// The terms of the world for a name.
    fn asked_for(&self, name: &str) -> Vec<Dependency> {
        let world = self.part.world.iter();
        let world = world.filter(|term| !term.conflict && term.name == name);
        world.cloned().collect()
    }

    fn known_tags(&mut self, term: &Dependency, known: &[String]) {
        let tags = known.iter().take(MOST_PROVIDERS).map(Some);
        for tag in tags.chain([None]) {
            let with = Dependency {
                tag: tag.cloned(),
                ..term.clone()
            };
            let term = term.clone();
            self.add(Adjustment::UseTag { term, with });
        }
    }

    fn missing(&mut self, missing: &Missing) {
        let asked_for = self.asked_for(&missing.name);
        if let Some(Suggestion { name: meant, .. }) = &missing.suggestion {
            for term in &asked_for {
                let with = Dependency {
                    name: meant.clone(),
                    ..term.clone()
                };
                let any = Dependency {
                    constraint: None,
                    ..with.clone()
                };
                for with in [with, any] {
                    let term = term.clone();
                    self.add(Adjustment::Rename { term, with });
                }
            }
        }
        for demand in missing.required_by.iter().take(MOST_DEMANDS) {
            self.older_of(demand);
        }
        if missing.providers.is_empty() {
            self.supply(missing.required_by.iter().take(MOST_DEMANDS));
        } else {
            for term in self.provider_names(&missing.name) {
                self.add(Adjustment::Add { term });
            }
        }
    }

    /// Packages that have or provide a name: any version of each, and the single ones.
    fn provider_names(&self, name: &str) -> Vec<Dependency> {
        let mut terms = Vec::new();
        let providers: Vec<&Candidate> = self
            .universe
            .providers_of(name)
            .map(|selected| selected.package)
            .collect();
        for package in &providers {
            let term = Dependency::any(package.name.as_str());
            if !terms.contains(&term) && package.name != name && terms.len() < MOST_PROVIDERS {
                terms.push(term);
            }
        }
        let exact = providers.iter().take(MOST_PROVIDERS);
        terms.extend(exact.filter_map(|package| exactly(package)));
        terms
    }

    fn rejected(&mut self, rejected: &Rejected) {
        let demands = || {
            let breaks = rejected.breaks.iter().take(MOST_DEMANDS);
            breaks.chain(rejected.satisfies.iter().take(MOST_DEMANDS))
        };
        for place in &rejected.masked {
            match place.strip_prefix('@') {
                None => self.add(Adjustment::AllowNetwork),
                Some(tag) => self.with_tag(tag, &rejected.name, &rejected.satisfies),
            }
        }
        for demand in demands() {
            self.relax(demand);
            self.older_of(demand);
        }
        self.older(&rejected.label());
        // A name of which there is none that will do: not one that something is chosen for.
        let broken = |name: &str| {
            let mut breaks = rejected.breaks.iter();
            breaks.any(|of| !of.term.conflict && of.term.name == name)
        };
        if rejected.uninstallable || rejected.rivals.is_empty() {
            let uninstallable = rejected.uninstallable;
            self.supply(demands().filter(|of| uninstallable || broken(&of.term.name)));
        }
        if !rejected.rivals.is_empty() || rejected.breaks.iter().any(|of| of.term.conflict) {
            let satisfies = rejected.satisfies.iter().take(MOST_DEMANDS);
            for demand in satisfies.filter(|of| !of.term.conflict) {
                for term in self.provider_names(&demand.term.name) {
                    let new = self
                        .variant
                        .world
                        .iter()
                        .all(|known| known.name != term.name);
                    if new && term.name != rejected.name && term.constraint.is_none() {
                        self.add(Adjustment::Add { term });
                    }
                }
            }
        }
    }

    fn with_tag(&mut self, tag: &str, name: &str, satisfies: &[Demand]) {
        let tagged = |term: &Dependency| Dependency {
            tag: Some(tag.to_owned()),
            ..term.clone()
        };
        let satisfies = satisfies.iter().take(MOST_DEMANDS);
        for demand in satisfies.filter(|demand| !demand.term.conflict) {
            // Tags hold for what a package depends on too.
            let head = match demand.chain.first() {
                None => Some(demand.term.clone()),
                Some(head) => {
                    let mut world = self.part.world.iter();
                    world.find(|term| term.to_string() == *head).cloned()
                }
            };
            if let Some(term) = head {
                let with = tagged(&term);
                self.add(Adjustment::UseTag { term, with });
            }
        }
        if self.variant.world.iter().all(|term| term.name != name) {
            let term = tagged(&Dependency::any(name));
            self.add(Adjustment::Add { term });
        }
    }

    fn relax(&mut self, demand: &Demand) {
        let term = demand.term.clone();
        let any = Dependency {
            constraint: None,
            ..term.clone()
        };
        match &demand.by {
            None if term.conflict || term.constraint.is_none() => {}
            None => self.add(Adjustment::Relax { term, with: any }),
            Some(package) => {
                let with = match (term.conflict, &term.constraint) {
                    (true, _) => None,
                    (false, None) => return,
                    (false, Some(_)) => Some(any),
                };
                let package = package.clone();
                self.add(Adjustment::RelaxPackage {
                    package,
                    term,
                    with,
                });
            }
        }
    }

    /// An older version of the packages that lead to the demand, of those nearest to it.
    fn older_of(&mut self, demand: &Demand) {
        for label in demand.chain.iter().rev().take(MOST_PROVIDERS) {
            self.older(label);
        }
    }

    /// An older version of the package: apk takes the newest even where it cannot be installed.
    fn older(&mut self, label: &str) {
        let Some((name, version)) = self.split(label) else {
            return;
        };
        let universe = self.universe;
        let packages = universe.providers_of(&name);
        let mut versions: Vec<Version> = packages
            .filter(|selected| selected.package.name == name)
            .filter_map(|selected| Version::parse(&selected.package.version).ok())
            .filter(|known| compare(known.as_str(), &version).is_le())
            .collect();
        versions.sort_by(|left, right| right.cmp(left));
        versions.dedup();
        let asked_for = self.asked_for(&name);
        // Below each version but the oldest.
        for pair in versions.windows(2).take(MOST_PROVIDERS) {
            let [bound, next] = pair else { continue };
            let below = Constraint::Version(Operator::Less, bound.clone());
            let exactly = Constraint::Version(Operator::Equal, next.clone());
            if self.variant.world.iter().all(|term| term.name != name) {
                let term = Dependency {
                    constraint: Some(below),
                    ..Dependency::any(name.as_str())
                };
                self.add(Adjustment::Add { term });
                continue;
            }
            for term in &asked_for {
                if term.matches(Some(next.as_str()), None) {
                    let constraint = match term.constraint {
                        None => below.clone(),
                        Some(_) => exactly.clone(),
                    };
                    let with = Dependency {
                        constraint: Some(constraint),
                        ..term.clone()
                    };
                    let term = term.clone();
                    self.add(Adjustment::Narrow { term, with });
                }
            }
        }
    }

    /// Name and version of a package that there is.
    fn split(&self, of: &str) -> Option<(String, String)> {
        let mut places = of.match_indices('-').map(|(at, _)| at);
        let at = places.find(|at| {
            let mut packages = self.universe.providers_of(&of[..*at]);
            packages.any(|selected| label(selected.package) == of)
        })?;
        Some((of[..at].to_owned(), of[at + 1..].to_owned()))
    }

    /// A repository with what all the demands for one name accept.
    fn supply<'d>(&mut self, demands: impl Iterator<Item = &'d Demand>) {
        let mut by_name: BTreeMap<&str, Vec<Dependency>> = BTreeMap::new();
        for demand in demands.filter(|demand| !demand.term.conflict) {
            let terms = by_name.entry(&demand.term.name).or_default();
            if !terms.contains(&demand.term) {
                terms.push(demand.term.clone());
            }
        }
        for (name, mut terms) in by_name {
            strictest(&mut terms);
            let world = self.variant.world.iter();
            let world = world.filter(|term| term.name == name && !term.conflict);
            let mut all: Vec<Dependency> = world.chain(&terms).cloned().collect();
            strictest(&mut all);
            // What is asked for otherwise has to be met too, if that can be.
            let terms = match version_for(&all) {
                Some(_) => all,
                None => terms,
            };
            if version_for(&terms).is_some() {
                let arches = self.arches.to_vec();
                self.add(Adjustment::AddRepository { terms, arches });
            }
        }
    }

    fn dead_end(&mut self, package: &str, satisfies: &[Demand]) {
        let mut names: Vec<&str> = Vec::new();
        for demand in satisfies.iter().take(MOST_DEMANDS) {
            if !names.contains(&demand.term.name.as_str()) {
                names.push(&demand.term.name);
            }
        }
        for name in names {
            for term in self.provider_names(name) {
                let world = &self.variant.world;
                if world.iter().all(|known| known.name != term.name) || term.constraint.is_some() {
                    self.add(Adjustment::Add { term });
                }
            }
            let asked_for = self.asked_for(name);
            for term in asked_for {
                for selected in self.universe.providers_of(name) {
                    if let (Some(with), true) = (exactly(selected.package), term.tag.is_none())
                        && label(selected.package) != package
                    {
                        let term = term.clone();
                        self.add(Adjustment::Rename { term, with });
                    }
                }
            }
        }
    }
}

/// The terms of the world that the conflicts go back to, as written.
pub(in crate::solver) fn heads(conflicts: &[Conflict]) -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    for conflict in conflicts {
        let demands: Vec<&Demand> = match conflict {
            Conflict::UnknownTag { term, .. } => {
                heads.insert(term.to_string());
                continue;
            }
            Conflict::TooManyTags { .. } => continue,
            Conflict::Missing(missing) => missing.required_by.iter().collect(),
            Conflict::Package(rejected) => {
                rejected.breaks.iter().chain(&rejected.satisfies).collect()
            }
            Conflict::DeadEnd { satisfies, .. } => satisfies.iter().collect(),
        };
        for demand in demands {
            heads.insert(match demand.chain.first() {
                Some(head) => head.clone(),
                None => demand.term.to_string(),
            });
        }
    }
    heads
}

/// Lower ones ask less of the user.
fn rank(option: &Adjustment) -> usize {
    match option {
        Adjustment::WithoutPreference { .. } => 0,
        Adjustment::UseTag { .. } => 1,
        Adjustment::Rename { .. } => 2,
        Adjustment::Add { .. } => 3,
        Adjustment::Narrow { .. } => 4,
        Adjustment::Relax { .. } => 5,
        Adjustment::AllowNetwork => 6,
        Adjustment::NotFor { .. } | Adjustment::Drop { .. } => 7,
        Adjustment::AddRepository { .. } => 8,
        Adjustment::RelaxPackage { .. } => 9,
    }
}

/// Whether the other change is to the same term, and no more than this one.
pub(super) fn is_like(option: &Adjustment, other: &Adjustment) -> bool {
    match (option, other) {
        (Adjustment::Add { term }, Adjustment::Add { term: other }) => term.name == other.name,
        (Adjustment::Narrow { term, .. }, Adjustment::Narrow { term: other, .. })
        | (Adjustment::Rename { term, .. }, Adjustment::Rename { term: other, .. }) => {
            term == other
        }
        _ => false,
    }
}

/// `name-version`.
pub(super) fn label(package: &Candidate) -> String {
    format!("{}-{}", package.name, package.version)
}

fn exactly(package: &Candidate) -> Option<Dependency> {
    let version = Version::parse(&package.version).ok()?;
    Some(Dependency::exact(package.name.as_str(), version))
}

/// A version that all of `terms` accept, whether there is one of that version or not.
pub(super) fn version_for(terms: &[Dependency]) -> Option<String> {
    let named = terms.iter().filter_map(Dependency::version);
    let mut versions: Vec<String> = Vec::new();
    for version in named {
        let text = version.as_str();
        let bare = text.split("-r").next().unwrap_or(text);
        versions.push(text.to_owned());
        versions.push(format!("{bare}-r999999"));
        versions.push(format!("{bare}_alpha"));
    }
    versions.push("1".to_owned());
    versions.into_iter().find(|version| {
        let accepts = |term: &Dependency| term.matches(Some(version), None) != term.conflict;
        is_valid(version) && terms.iter().all(accepts)
    })
}

/// Leaves out what the other terms for the same name say too.
fn strictest(terms: &mut Vec<Dependency>) {
    let implied = |term: &Dependency, by: &Dependency| match (&term.constraint, &by.constraint) {
        _ if term.conflict || by.conflict => false,
        (None, by) => by.is_some(),
        (Some(Constraint::Version(of, version)), Some(Constraint::Version(other, bound))) => {
            // `>1` says nothing beside `>2`, nor `<2` beside `<1`.
            let directed = matches!(of, Operator::Less | Operator::Greater);
            of == other
                && directed
                && bound != version
                && of.accepts(bound.as_str(), version.as_str())
        }
        _ => false,
    };
    let mut all: Vec<Dependency> = Vec::new();
    for term in std::mem::take(terms) {
        if !all.contains(&term) {
            all.push(term);
        }
    }
    terms.extend(all.iter().cloned());
    terms.retain(|term| !all.iter().any(|by| implied(term, by)));
}

/// The same change, but that no more versions are accepted than reach what was chosen.
pub(super) fn tighter(change: &Adjustment, chosen: &Chosen) -> Option<Adjustment> {
    match change {
        Adjustment::AddRepository { terms, arches } => {
            let demands = chosen.demands.get(&terms.first()?.name)?;
            let mut terms = terms.clone();
            terms.extend(demands.iter().cloned());
            strictest(&mut terms);
            terms.sort_by_key(|term| term.conflict);
            version_for(&terms)?;
            let arches = arches.clone();
            Some(Adjustment::AddRepository { terms, arches })
        }
        Adjustment::Relax { term, .. } => Some(Adjustment::Relax {
            term: term.clone(),
            with: reaching(term, chosen)?,
        }),
        Adjustment::RelaxPackage {
            package,
            term,
            with: Some(_),
        } => Some(Adjustment::RelaxPackage {
            package: package.clone(),
            term: term.clone(),
            with: Some(reaching(term, chosen)?),
        }),
        _ => None,
    }
}

fn reaching(term: &Dependency, chosen: &Chosen) -> Option<Dependency> {
    if chosen.demands.contains_key(&term.name) {
        // Nobody knows which versions another repository has.
        return None;
    }
    let version = chosen.versions.get(&term.name)?;
    let Some(Constraint::Version(operator, named)) = &term.constraint else {
        return None;
    };
    let (operator, text) = match operator {
        Operator::Less | Operator::LessOrEqual | Operator::LessOrFuzzy => {
            (Operator::LessOrEqual, version.as_str())
        }
        Operator::Greater | Operator::GreaterOrEqual | Operator::GreaterOrFuzzy => {
            (Operator::GreaterOrEqual, version.as_str())
        }
        Operator::Equal => (Operator::Equal, version.as_str()),
        Operator::Fuzzy => (Operator::Fuzzy, as_exact_as(version, named.as_str())),
    };
    let constraint = Constraint::Version(operator, Version::parse(text).ok()?);
    Some(Dependency {
        constraint: Some(constraint),
        ..term.clone()
    })
}

/// As many numbers of `version` as `named` has: `2.10` of `2.10.3-r1` for `2.4`.
fn as_exact_as<'v>(version: &'v str, named: &str) -> &'v str {
    let dots = named.matches('.').count();
    let numbers = version
        .find(|character: char| character != '.' && !character.is_ascii_digit())
        .unwrap_or(version.len());
    let mut ends = version[..numbers].match_indices('.').map(|(at, _)| at);
    &version[..ends.nth(dots).unwrap_or(numbers)]
}

//! Changes that might remove a conflict, and how they are put.

use std::collections::{BTreeMap, BTreeSet};

use super::variant::Variant;
use crate::dependency::{Constraint, Dependency};
use crate::solver::remedy::{Adjustment, Remedy};
use crate::solver::request::Candidate;
use crate::solver::universe::Universe;
use crate::solver::unsolvable::{Conflict, Demand, Missing, Rejected, Unsolvable};
use crate::version::{Operator, Version, is_valid};

/// How many packages are proposed in place of one.
const MOST_PROVIDERS: usize = 8;

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
        if let Some((meant, _)) = &missing.suggestion {
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
        if missing.providers.is_empty() {
            self.supply(missing.required_by.iter());
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
        let demands = || rejected.breaks.iter().chain(&rejected.satisfies);
        for place in &rejected.masked {
            match place.strip_prefix('@') {
                None => self.add(Adjustment::AllowNetwork),
                Some(tag) => self.with_tag(tag, &rejected.name, &rejected.satisfies),
            }
        }
        for demand in demands() {
            self.relax(demand);
        }
        let wrong_version = rejected.breaks.iter().any(|of| !of.term.conflict);
        if rejected.uninstallable || (wrong_version && rejected.rivals.is_empty()) {
            self.supply(demands());
        }
        if !rejected.rivals.is_empty() || rejected.breaks.iter().any(|of| of.term.conflict) {
            for demand in rejected.satisfies.iter().filter(|of| !of.term.conflict) {
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
        for demand in satisfies.iter().filter(|demand| !demand.term.conflict) {
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

    /// A repository with what all the demands for one name accept.
    fn supply<'d>(&mut self, demands: impl Iterator<Item = &'d Demand>) {
        let mut by_name: BTreeMap<&str, Vec<Dependency>> = BTreeMap::new();
        for demand in demands.filter(|demand| !demand.term.conflict) {
            let terms = by_name.entry(&demand.term.name).or_default();
            if !terms.contains(&demand.term) {
                terms.push(demand.term.clone());
            }
        }
        for mut terms in by_name.into_values() {
            strictest(&mut terms);
            if version_for(&terms).is_some() {
                let arches = self.arches.to_vec();
                self.add(Adjustment::AddRepository { terms, arches });
            }
        }
    }

    fn dead_end(&mut self, package: &str, satisfies: &[Demand]) {
        let mut names: Vec<&str> = Vec::new();
        for demand in satisfies {
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
        Adjustment::Relax { .. } => 4,
        Adjustment::AllowNetwork => 5,
        Adjustment::NotFor { .. } | Adjustment::Drop { .. } => 6,
        Adjustment::AddRepository { .. } => 7,
        Adjustment::RelaxPackage { .. } => 8,
    }
}

pub(super) fn rank_of_remedy(remedy: &Remedy) -> usize {
    remedy.changes.iter().map(rank).max().unwrap_or_default()
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
        let accepts = |term: &Dependency| term.matches(Some(version), None);
        is_valid(version) && terms.iter().all(accepts)
    })
}

/// Leaves out what the other terms for the same name say too.
fn strictest(terms: &mut Vec<Dependency>) {
    let implied = |term: &Dependency, by: &Dependency| match (&term.constraint, &by.constraint) {
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
    let all = terms.clone();
    terms.retain(|term| !all.iter().any(|by| implied(term, by)));
}

/// The same change, but that no more versions are accepted than reach what was chosen.
pub(super) fn tighter(
    change: &Adjustment,
    chosen: &BTreeMap<String, String>,
) -> Option<Adjustment> {
    match change {
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

fn reaching(term: &Dependency, chosen: &BTreeMap<String, String>) -> Option<Dependency> {
    let version = chosen.get(&term.name)?;
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

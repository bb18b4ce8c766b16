//! Says which architecture lacks what, and what would help.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::search::{Blocked, Budget, Limit, State, agree, by_version, offered};
use super::{Difference, Disagreement, Member, Place};
use crate::dependency::Dependency;
use crate::solver::findings::{FEW_LINKS, MOST_TOLD};
use crate::solver::remedy::{Adjustment, Remedy};
use crate::solver::request::{Candidate, Repository, Request, Sources};
use crate::solver::state::Banned;
use crate::solver::universe::Universe;
use crate::version::Version;

/// How many versions of a name are said.
const SHOWN: usize = 4;

/// How many names are told that differ.
const MOST_NAMES: usize = 16;

/// What keeps the members, each of which chooses `alone` by itself, from equal versions.
pub(super) fn explain<'a>(
    members: &[Member<'_, 'a>],
    alone: &[State<'a>],
    blocked: &Blocked<'a>,
    limited: bool,
) -> Disagreement {
    let mut budget = Budget::to_explain(members);
    let mut names = match blocked {
        Blocked::Nothing(names) | Blocked::Limit(names) => names.clone(),
        Blocked::Unsolvable(at, banned) => culprits(&members[*at], banned, &mut budget),
    };
    names.truncate(MOST_NAMES);
    let mut told = Told {
        members,
        alone,
        ways: members
            .iter()
            .zip(alone)
            .map(|(member, state)| Ways::find(&state.chosen, member.request.world))
            .collect(),
        left: MOST_TOLD,
    };
    let mut names: Vec<Difference> = names
        .into_iter()
        .map(|name| told.difference(name))
        .collect();
    let remedies = remedies(&mut told, &mut names, &mut budget);
    Disagreement {
        names,
        remedies,
        limited,
    }
}

/// The names whose versions have to be allowed again, all others being without part in it.
fn culprits<'a>(member: &Member<'_, 'a>, banned: &Banned<'a>, budget: &mut Budget) -> Vec<&'a str> {
    let names: Vec<&'a str> = banned.keys().copied().collect();
    let mut needed = banned.clone();
    // Of very many, most have no part in it: they are left out many at a time.
    let mut parts = vec![names.as_slice()];
    while let Some(part) = parts.pop() {
        let mut fewer = needed.clone();
        fewer.retain(|name, _| part.binary_search(name).is_err());
        match budget.solve(member, fewer.clone()) {
            Ok(None) => needed = fewer,
            Ok(Some(_)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Ok(Some(_)) => {}
            Err(Limit) => break,
        }
    }
    needed.into_keys().collect()
}

/// How the packages of a solution came to be chosen: from a term of the world, by the shortest way.
struct Ways<'w, 'a> {
    chosen: Vec<&'a Candidate>,
    /// For each package, what brought it in.
    reasons: Vec<Reason<'w>>,
}

#[derive(Clone, Copy)]
enum Reason<'w> {
    World(&'w Dependency),
    Package(usize),
    /// Its `install_if`.
    Follows,
}

impl<'w, 'a> Ways<'w, 'a> {
    fn find(chosen: &[&'a Candidate], world: &'w [Dependency]) -> Ways<'w, 'a> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, package) in chosen.iter().enumerate() {
            let provided = package.provides.iter().map(|provided| &provided.name);
            for name in provided.chain([&package.name]) {
                by_name.entry(name).or_default().push(at);
            }
        }
        let meets = |package: &Candidate, term: &Dependency| {
            let own = package.name == term.name && term.matches(Some(&package.version), None);
            own || package.provides.iter().any(|provided| {
                let version = provided.version().map(|version| version.as_str());
                provided.name == term.name && term.matches(version, None)
            })
        };
        let mut reasons: Vec<Option<Reason<'w>>> = vec![None; chosen.len()];
        let mut queue: VecDeque<(&Dependency, Reason<'w>)> = VecDeque::new();
        for term in world.iter().filter(|term| !term.conflict) {
            queue.push_back((term, Reason::World(term)));
        }
        let mut followers = 0..chosen.len();
        loop {
            let found: Vec<usize> = match queue.pop_front() {
                Some((term, reason)) => {
                    let packages = by_name.get(term.name.as_str()).into_iter().flatten();
                    let new = packages
                        .copied()
                        .filter(|at| reasons[*at].is_none() && meets(chosen[*at], term));
                    let new: Vec<usize> = new.collect();
                    for at in &new {
                        reasons[*at] = Some(reason);
                    }
                    new
                }
                None => match followers.find(|at| reasons[*at].is_none()) {
                    Some(at) => {
                        reasons[at] = Some(Reason::Follows);
                        vec![at]
                    }
                    None => break,
                },
            };
            for at in found {
                for term in chosen[at].depends.iter().filter(|term| !term.conflict) {
                    queue.push_back((term, Reason::Package(at)));
                }
            }
        }
        Ways {
            chosen: chosen.to_vec(),
            reasons: reasons.into_iter().flatten().collect(),
        }
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.chosen.iter().position(|package| package.name == name)
    }

    /// The packages from this one back, and the term of the world that leads to the last, if one
    /// does.
    fn back(&self, at: usize) -> (Vec<usize>, Option<&'w Dependency>) {
        let mut back = vec![at];
        let mut reason = self.reasons[at];
        while let Reason::Package(by) = reason {
            back.push(by);
            reason = self.reasons[by];
        }
        match reason {
            Reason::World(term) => (back, Some(term)),
            Reason::Package(_) | Reason::Follows => (back, None),
        }
    }
}

/// What is told of the members.
struct Told<'t, 'm, 'a> {
    members: &'t [Member<'m, 'a>],
    alone: &'t [State<'a>],
    ways: Vec<Ways<'t, 'a>>,
    /// How many links of chains may still be told.
    left: usize,
}

impl<'a> Told<'_, '_, 'a> {
    fn difference(&mut self, name: &str) -> Difference {
        let mut places = Vec::new();
        for (member, ways) in self.members.iter().zip(&self.ways) {
            let mut offered: Vec<&str> =
                offered(member, name, &Banned::new()).into_iter().collect();
            offered.sort_by(|left, right| by_version(right, left));
            let chosen = ways.place_of(name);
            places.push(Place {
                arch: member.arch.to_owned(),
                offered: offered.into_iter().map(str::to_owned).collect(),
                chosen: chosen.map(|at| ways.chosen[at].version.clone()),
                chain: chosen.map_or_else(Vec::new, |at| chain(ways, at, &mut self.left)),
            });
        }
        Difference {
            name: name.to_owned(),
            places,
        }
    }
}

fn chain(ways: &Ways<'_, '_>, at: usize, left: &mut usize) -> Vec<String> {
    let (back, head) = ways.back(at);
    let links = match back.len() > (*left).max(FEW_LINKS) {
        true => FEW_LINKS,
        false => back.len(),
    };
    *left = left.saturating_sub(links + 1);
    let labels = back.iter().take(links).map(|at| {
        let package = ways.chosen[*at];
        format!("{}-{}", package.name, package.version)
    });
    let mut chain: Vec<String> = labels.collect();
    if links < back.len() {
        chain.push("…".to_owned());
    }
    chain.extend(head.map(Dependency::to_string));
    chain.reverse();
    chain
}

/// Changes to the members' requests or sources, after each of which they agree. `names` are those
/// that differ; one that differs only after a change is added.
fn remedies(
    told: &mut Told<'_, '_, '_>,
    names: &mut Vec<Difference>,
    budget: &mut Budget,
) -> Vec<Remedy> {
    let mut remedies: Vec<Remedy> = Vec::new();
    let mut supplies: Vec<Adjustment> = Vec::new();
    let mut others: Vec<Adjustment> = Vec::new();
    for difference in names.iter() {
        supplies.extend(addition(difference));
        others.extend(omissions(told, difference));
    }
    for change in &supplies {
        match agree_with(told, std::slice::from_ref(change), budget) {
            Ok(Ok(())) => remedies.push(Remedy {
                changes: vec![change.clone()],
            }),
            Ok(Err(_)) => {}
            Err(Limit) => return remedies,
        }
    }
    // What is newer on one architecture often is so in several names: all of them are brought.
    while remedies.is_empty() && supplies.len() == names.len() {
        let nothing = match agree_with(told, &supplies, budget) {
            Ok(Ok(())) => {
                remedies.push(Remedy { changes: supplies });
                break;
            }
            Ok(Err(disagree)) => disagree.nothing,
            Err(Limit) => return remedies,
        };
        let is_new = |name: &&String| names.iter().all(|known| known.name != **name);
        let new: Vec<&String> = nothing.iter().filter(is_new).collect();
        if new.is_empty() || new.len() + names.len() > MOST_NAMES {
            break;
        }
        let new: Vec<Difference> = new.into_iter().map(|name| told.difference(name)).collect();
        supplies.extend(new.iter().filter_map(addition));
        names.extend(new);
    }
    names.sort_by(|left, right| left.name.cmp(&right.name));
    let mut tried: Vec<Adjustment> = Vec::new();
    for change in others {
        if tried.contains(&change) {
            continue;
        }
        match agree_with(told, std::slice::from_ref(&change), budget) {
            Ok(Ok(())) => remedies.push(Remedy {
                changes: vec![change.clone()],
            }),
            Ok(Err(_)) => {}
            Err(Limit) => return remedies,
        }
        tried.push(change);
    }
    remedies
}

/// What one architecture chooses, for those that chose another version and lack it.
fn addition(difference: &Difference) -> Option<Adjustment> {
    let chosen = difference.places.iter().filter(|of| of.chosen.is_some());
    let versions = chosen.clone().filter_map(|place| place.chosen.as_deref());
    let version = versions.max_by(by_version)?;
    let arches: Vec<String> = chosen
        .filter(|place| place.offered.iter().all(|offered| offered != version))
        .map(|place| place.arch.clone())
        .collect();
    let version = Version::parse(version).ok()?;
    if arches.is_empty() {
        return None;
    }
    let terms = vec![Dependency::exact(difference.name.as_str(), version)];
    Some(Adjustment::AddRepository { terms, arches })
}

/// For each architecture, what it asks for that leads to the name.
fn omissions(told: &Told<'_, '_, '_>, difference: &Difference) -> Vec<Adjustment> {
    let members = told.members.iter().zip(&told.ways);
    let omissions = members.filter_map(|(member, ways)| {
        let (_, head) = ways.back(ways.place_of(&difference.name)?);
        let term = head?;
        // What is there already stays.
        let mut installed = member.universe.sources().installed.iter();
        let is_there = installed.any(|of| {
            let version = term.version().map(Version::as_str);
            of.package.name == term.name && version == Some(&of.package.version)
        });
        (!is_there).then(|| Adjustment::NotFor {
            term: term.clone(),
            arch: member.arch.to_owned(),
        })
    });
    omissions.collect()
}

/// The members with the changes made have no solution with equal versions.
struct Disagree {
    /// Architectures that chose one of these names have no version of it in common, if that is why.
    nothing: Vec<String>,
}

/// Whether the members agree once the changes are made.
fn agree_with(
    told: &Told<'_, '_, '_>,
    changes: &[Adjustment],
    budget: &mut Budget,
) -> Result<Result<(), Disagree>, Limit> {
    let worlds: Vec<Vec<Dependency>> = told
        .members
        .iter()
        .map(|member| {
            let mut world = member.request.world.to_vec();
            for change in changes {
                if let Adjustment::NotFor { term, arch } = change
                    && member.arch == arch
                {
                    world.retain(|known| known != term);
                }
            }
            world
        })
        .collect();
    let members = told.members.iter().zip(told.alone);
    let supplied: Vec<Vec<Candidate>> = members
        .map(|(member, state)| {
            let changes = changes.iter();
            changes
                .filter_map(|change| supply(member, state, change))
                .collect()
        })
        .collect();
    let repositories: Vec<Vec<Repository<'_>>> = told
        .members
        .iter()
        .zip(&supplied)
        .map(|(member, supplied)| {
            let mut repositories = member.universe.sources().repositories.to_vec();
            repositories.push(Repository {
                name: "",
                tag: None,
                available: true,
                packages: supplied,
            });
            repositories
        })
        .collect();
    let mut universes: Vec<Option<Universe<'_>>> = Vec::new();
    for ((member, supplied), repositories) in told.members.iter().zip(&supplied).zip(&repositories)
    {
        if supplied.is_empty() {
            universes.push(None);
            continue;
        }
        budget.spend(member.universe.packages.len() as u64)?;
        universes.push(Some(Universe::new(Sources {
            repositories,
            ..*member.universe.sources()
        })));
    }
    let mut changed: Vec<Member<'_, '_>> = Vec::new();
    let mut alone: Vec<State<'_>> = Vec::new();
    for (((member, state), world), universe) in told
        .members
        .iter()
        .zip(told.alone)
        .zip(&worlds)
        .zip(&universes)
    {
        let with = Member {
            arch: member.arch,
            universe: universe.as_ref().unwrap_or(member.universe),
            request: Request {
                world,
                ..member.request
            },
        };
        let is_same = universe.is_none() && world.len() == member.request.world.len();
        alone.push(match is_same {
            true => state.clone(),
            false => match budget.solve(&with, Banned::new())? {
                Some(state) => state,
                None => {
                    return Ok(Err(Disagree {
                        nothing: Vec::new(),
                    }));
                }
            },
        });
        changed.push(with);
    }
    match agree(&changed, alone, budget) {
        Ok(_) => Ok(Ok(())),
        Err(Blocked::Limit(_)) => Err(Limit),
        Err(Blocked::Unsolvable(..)) => Ok(Err(Disagree {
            nothing: Vec::new(),
        })),
        Err(Blocked::Nothing(names)) => Ok(Err(Disagree {
            nothing: names.into_iter().map(str::to_owned).collect(),
        })),
    }
}

/// The package that the change adds for this member: like the one that it chooses of that name, but
/// of the version wanted.
fn supply(member: &Member<'_, '_>, alone: &State<'_>, change: &Adjustment) -> Option<Candidate> {
    let Adjustment::AddRepository { terms, arches } = change else {
        return None;
    };
    let term = terms.first()?;
    let version = term.version()?;
    if !arches.iter().any(|arch| arch == member.arch) {
        return None;
    }
    let mut chosen = alone.chosen.iter();
    let like = chosen.find(|package| package.name == term.name)?;
    let mut package = Candidate::clone(like);
    package.identity = None;
    for provided in &mut package.provides {
        if provided
            .version()
            .is_some_and(|of| of.as_str() == like.version)
        {
            Arc::make_mut(provided).constraint = term.constraint.clone();
        }
    }
    package.version = version.to_string();
    Some(package)
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arches: BTreeSet<&str> = self
            .names
            .iter()
            .flat_map(|difference| &difference.places)
            .map(|place| place.arch.as_str())
            .collect();
        let arches: Vec<&str> = arches.into_iter().collect();
        write!(
            f,
            "no choice of packages has the same versions for {}",
            arches.join(", ")
        )?;
        for difference in &self.names {
            write!(f, "\n  {} has to be the same, but", difference.name)?;
            for place in &difference.places {
                place.fmt(f)?;
            }
        }
        let mut word = "help";
        for remedy in &self.remedies {
            write!(f, "\n    {word}: {remedy}")?;
            word = "or";
        }
        match self.limited {
            true => {
                f.write_str("\n  the search ended at its limit: there may be a choice all the same")
            }
            false => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n    {} has ", self.arch)?;
        match self.offered.as_slice() {
            [] => f.write_str("none of it")?,
            offered if offered.len() > SHOWN => {
                let more = offered.len() - SHOWN;
                write!(f, "{} and {more} older", offered[..SHOWN].join(", "))?;
            }
            offered => f.write_str(&offered.join(", "))?,
        }
        if !self.chain.is_empty() {
            write!(f, " ({})", self.chain.join(" → "))?;
        }
        Ok(())
    }
}

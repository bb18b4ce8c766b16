//! One solve over several architectures that keeps versions equal: a name that is chosen on two of
//! them has the same version on both.
//!
//! # What is chosen
//! 1. Each architecture is solved by itself, as apk would. If the versions agree, that is the
//!    answer.
//! 2. Otherwise, of each name whose versions differ, what is not there on every architecture that
//!    chose it is ruled out; if all of it is there, the highest version chosen is, where it was
//!    chosen. Then the architectures are solved again, with the rest of the versions: so that of a
//!    name that is newer on one of them, the newest that all have is taken. This is repeated until
//!    the versions agree.
//! 3. If that leads nowhere, other ways are tried: the first name that differs is taken off either
//!    the one architecture in its version or the other in its own. One of the two holds for every
//!    answer, so that no answer is missed that apk's search could find; but for a limit, see
//!    [`Disagreement::limited`].
//!
//! Each round rules out at least one version on one architecture, and takes nothing back, so there
//! are no more rounds than versions. The second search is a tree whose branches are as short, and
//! of which no more than a fixed number is walked.

mod differ;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::propagate::attempt;
use super::remedy::{Adjustment, Remedy};
use super::repair::find_causes;
use super::request::{Request, Solution};
use super::state::Banned;
use super::universe::Universe;
use super::unsolvable::Unsolvable;
use crate::version::compare;

/// How often architectures are solved in the second search.
const MOST_ATTEMPTS: u32 = 500;

/// One of the architectures.
#[derive(Clone, Copy)]
pub struct Member<'m, 'a> {
    /// Its name, for messages.
    pub arch: &'m str,
    /// What there is to choose from.
    pub universe: &'m Universe<'a>,
    /// What is asked for; usually the same for all of them.
    pub request: Request<'m>,
}

/// The architectures have no solution with equal versions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JointError {
    /// One of them has none at all.
    #[error("for {arch}, {unsolvable}")]
    Unsolvable {
        /// The architecture.
        arch: String,
        /// Those that have a solution by themselves.
        solvable: Vec<String>,
        /// Why it has none, and what would help.
        unsolvable: Box<Unsolvable>,
    },
    /// Each has one, but not of equal versions.
    #[error(transparent)]
    Versions(Disagreement),
}

/// Names of which the architectures have no version in common that would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
pub struct Disagreement {
    /// The names, in order.
    pub names: Vec<Difference>,
    /// Changes that would help, those that ask least first. Each was tried.
    pub remedies: Vec<Remedy>,
    /// The search ended at its limit: there may be a solution all the same.
    pub limited: bool,
}

/// A name, and what the architectures have of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The name.
    pub name: String,
    /// The architectures, in order.
    pub places: Vec<Place>,
}

/// What an architecture has of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The architecture.
    pub arch: String,
    /// The versions that there are, the newest first.
    pub offered: Vec<String>,
    /// The one that is chosen when it is solved by itself.
    pub chosen: Option<String>,
    /// How it comes to be chosen: the term of the world, the package chosen for it, and so on, up
    /// to the package itself. Empty if it is not chosen.
    pub chain: Vec<String>,
}

/// Solves for all of `members`: a solution for each, in their order.
///
/// # Errors
/// [`JointError`]: one has no solution by itself, or there is none with equal versions.
pub fn solve<'a>(members: &[Member<'_, 'a>]) -> Result<Vec<Solution<'a>>, JointError> {
    let alone = solve_each(members)?;
    let blocked = match agree(members, alone.clone()) {
        Ok(solutions) => return Ok(solutions),
        Err(blocked) => blocked,
    };
    let mut search = Search {
        members,
        attempts: 0,
        limited: false,
    };
    let banned = vec![Banned::new(); members.len()];
    if let Some(solutions) = search.walk(&banned, alone.clone()) {
        return Ok(solutions);
    }
    let limited = search.limited;
    Err(JointError::Versions(differ::explain(
        members, &alone, &blocked, limited,
    )))
}

/// Each by itself.
fn solve_each<'a>(members: &[Member<'_, 'a>]) -> Result<Vec<Solution<'a>>, JointError> {
    let alone: Vec<Result<Solution<'a>, Unsolvable>> = members
        .iter()
        .map(|member| solve_with(member, &Banned::new()))
        .collect();
    let solvable = members.iter().zip(&alone);
    let solvable = solvable.filter(|(_, solution)| solution.is_ok());
    let solvable: Vec<String> = solvable.map(|(member, _)| member.arch.to_owned()).collect();
    let mut solutions = Vec::with_capacity(members.len());
    for (member, solution) in members.iter().zip(alone) {
        solutions.push(solution.map_err(|mut unsolvable| {
            find_causes(member.universe, &member.request, &mut unsolvable);
            if !solvable.is_empty() {
                only_for(member.arch, &mut unsolvable);
            }
            JointError::Unsolvable {
                arch: member.arch.to_owned(),
                solvable: solvable.clone(),
                unsolvable: Box::new(unsolvable),
            }
        })?);
    }
    Ok(solutions)
}

/// What has to be left out is left out for this architecture; the others can have it.
fn only_for(arch: &str, unsolvable: &mut Unsolvable) {
    let causes = unsolvable.causes.iter_mut();
    let remedies = causes.flat_map(|cause| &mut cause.remedies);
    for change in remedies.flat_map(|remedy| &mut remedy.changes) {
        if let Adjustment::Drop { term } = change {
            *change = Adjustment::NotFor {
                term: term.clone(),
                arch: arch.to_owned(),
            };
        }
    }
}

fn solve_with<'a>(member: &Member<'_, 'a>, banned: &Banned) -> Result<Solution<'a>, Unsolvable> {
    attempt(member.universe, &member.request, banned, &mut 0)
}

/// What keeps the first search from an answer.
enum Blocked {
    /// Architectures that chose this name have no version of it in common.
    Nothing(String),
    /// This architecture has no solution without these versions.
    Unsolvable(usize, Banned),
}

/// The first search: rules out versions until the rest agree.
fn agree<'a>(
    members: &[Member<'_, 'a>],
    mut solutions: Vec<Solution<'a>>,
) -> Result<Vec<Solution<'a>>, Blocked> {
    let mut banned = vec![Banned::new(); members.len()];
    loop {
        let chosen = versions(&solutions);
        let differing: Vec<&String> = differing(&chosen).collect();
        if differing.is_empty() {
            return Ok(solutions);
        }
        let mut changed = BTreeSet::new();
        for name in differing {
            let of = &chosen[name];
            let offers: Vec<BTreeSet<String>> = of
                .keys()
                .map(|at| offered(&members[*at], name, &banned[*at]))
                .collect();
            let common = common(&offers);
            if common.is_empty() {
                return Err(Blocked::Nothing(name.clone()));
            }
            let mut lost = false;
            for (at, offer) in of.keys().zip(&offers) {
                for version in offer.difference(&common) {
                    ban(&mut banned[*at], name, version);
                    changed.insert(*at);
                    lost = true;
                }
            }
            if let (false, Some(highest)) = (lost, highest(of.values())) {
                for (at, _) in of.iter().filter(|(_, version)| **version == highest) {
                    ban(&mut banned[*at], name, &highest);
                    changed.insert(*at);
                }
            }
        }
        for at in changed {
            match solve_with(&members[at], &banned[at]) {
                Ok(solution) => solutions[at] = solution,
                Err(_) => return Err(Blocked::Unsolvable(at, banned[at].clone())),
            }
        }
    }
}

/// The second search.
struct Search<'s, 'm, 'a> {
    members: &'s [Member<'m, 'a>],
    attempts: u32,
    limited: bool,
}

impl<'a> Search<'_, '_, 'a> {
    fn walk(
        &mut self,
        banned: &[Banned],
        solutions: Vec<Solution<'a>>,
    ) -> Option<Vec<Solution<'a>>> {
        // A stack of its own: there may be as many steps as versions.
        let mut open = vec![(banned.to_vec(), solutions)];
        while let Some((banned, solutions)) = open.pop() {
            let chosen = versions(&solutions);
            let Some(name) = differing(&chosen).next() else {
                return Some(solutions);
            };
            let of = &chosen[name];
            let highest = highest(of.values())?;
            let high = of.iter().find(|(_, version)| **version == highest)?.0;
            let low = of.iter().find(|(_, version)| **version != highest)?;
            // It is gone there, or else all that is not the same is gone here.
            let gone = vec![highest.clone()];
            let offered = offered(&self.members[*low.0], name, &banned[*low.0]);
            let others = offered.into_iter().filter(|version| *version != highest);
            let branches = [(*low.0, others.collect()), (*high, gone)];
            for (at, versions) in branches {
                let mut banned = banned.clone();
                for version in &versions {
                    ban(&mut banned[at], name, version);
                }
                if self.attempts >= MOST_ATTEMPTS {
                    self.limited = true;
                    return None;
                }
                self.attempts += 1;
                if let Ok(solution) = solve_with(&self.members[at], &banned[at]) {
                    let mut solutions = solutions.clone();
                    solutions[at] = solution;
                    open.push((banned, solutions));
                }
            }
        }
        None
    }
}

fn ban(banned: &mut Banned, name: &str, version: &str) {
    let versions = banned.entry(name.to_owned()).or_default();
    versions.insert(version.to_owned());
}

/// The versions of each name, by the places of the architectures that chose it.
fn versions(solutions: &[Solution<'_>]) -> BTreeMap<String, BTreeMap<usize, String>> {
    let mut versions: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for (at, solution) in solutions.iter().enumerate() {
        for selected in solution.packages() {
            let of = versions.entry(selected.package.name.clone()).or_default();
            of.insert(at, selected.package.version.clone());
        }
    }
    versions
}

fn differing(chosen: &BTreeMap<String, BTreeMap<usize, String>>) -> impl Iterator<Item = &String> {
    let differs = |of: &BTreeMap<usize, String>| {
        let mut versions = of.values();
        let first = versions.next();
        versions.any(|version| Some(version) != first)
    };
    let differing = chosen.iter().filter(move |(_, of)| differs(of));
    differing.map(|(name, _)| name)
}

/// The versions of the packages of that name, but for those ruled out.
fn offered(member: &Member<'_, '_>, name: &str, banned: &Banned) -> BTreeSet<String> {
    let none = BTreeSet::new();
    let banned = banned.get(name).unwrap_or(&none);
    let providers = member.universe.providers_of(name);
    let versions = providers
        .filter(|selected| selected.package.name == name)
        .map(|selected| selected.package.version.clone());
    versions
        .filter(|version| !banned.contains(version))
        .collect()
}

fn common(offers: &[BTreeSet<String>]) -> BTreeSet<String> {
    let Some((first, others)) = offers.split_first() else {
        return BTreeSet::new();
    };
    let everywhere = |version: &&String| others.iter().all(|offer| offer.contains(*version));
    first.iter().filter(everywhere).cloned().collect()
}

fn highest<'v>(versions: impl Iterator<Item = &'v String>) -> Option<String> {
    versions
        .max_by(|left, right| compare(left, right).then_with(|| left.cmp(right)))
        .cloned()
}

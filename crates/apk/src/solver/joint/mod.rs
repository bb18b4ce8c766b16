//! One solve over several architectures that keeps versions equal: a name that is chosen on two of
//! them has the same version on both.
//!
//! # What is chosen
//! 1. Each architecture is solved by itself, as apk would. If the versions agree, that is the
//!    answer.
//! 2. Otherwise, of each name whose versions differ, what is not there on every architecture that
//!    chose it is ruled out; if all of it is there, the highest version chosen is, where it was
//!    chosen (of a name that this happened to often, more of those above what the others chose).
//!    Then the architectures are solved again, with the rest of the versions: so that of a name
//!    that is newer on one of them, the newest that all have is taken. This is repeated until the
//!    versions agree.
//! 3. If that leads nowhere, other ways are tried: the first name that differs is taken off either
//!    the one architecture in its version or the other in its own. One of the two holds for every
//!    answer, so that no answer is missed, but for a limit, see [`Disagreement::limited`], and where
//!    apk's search, which does not go back, finds nothing on an architecture though there is
//!    something.
//!
//! Each round rules out at least one version on one architecture, and takes nothing back, so there
//! are no more rounds than versions. The second search is a tree whose branches are as short, and
//! of which no more than a fixed number is walked. Both have a limit of work besides, which grows
//! with the indexes.
//!
//! Architectures are taken in the order of their names, whatever order they are given in.

mod differ;
mod search;

use serde::Serialize;

use super::propagate::attempt;
use super::remedy::{Adjustment, Remedy};
use super::repair::find_causes;
use super::request::{Request, Solution};
use super::state::Banned;
use super::universe::Universe;
use super::unsolvable::Unsolvable;
use search::{Budget, Limit, State, agree, walk};

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
    /// The names, in order. Of very many, the first.
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
    /// The architectures, by name.
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
    /// to the package itself. No term begins it where that goes back to a package that came by its
    /// `install_if`. Where there is very much to tell, `…` stands for the middle of long ones.
    /// Empty if it is not chosen.
    pub chain: Vec<String>,
}

/// Solves for all of `members`: a solution for each, in their order.
///
/// # Errors
/// [`JointError`]: one has no solution by itself, or there is none with equal versions.
pub fn solve<'a>(members: &[Member<'_, 'a>]) -> Result<Vec<Solution<'a>>, JointError> {
    let mut places: Vec<usize> = (0..members.len()).collect();
    places.sort_by_key(|place| members[*place].arch);
    let sorted: Vec<Member<'_, 'a>> = places.iter().map(|place| members[*place]).collect();
    let solutions = solve_sorted(&sorted)?;
    let mut placed: Vec<(usize, Solution<'a>)> = places.into_iter().zip(solutions).collect();
    placed.sort_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, solution)| solution).collect())
}

fn solve_sorted<'a>(members: &[Member<'_, 'a>]) -> Result<Vec<Solution<'a>>, JointError> {
    let alone = solve_each(members)?;
    let states: Vec<State<'a>> = alone.iter().map(State::of).collect();
    if search::differing(&states).is_empty() {
        return Ok(alone);
    }
    let agreed = agree(members, states.clone(), &mut Budget::of_first(members));
    let blocked = match agreed {
        Ok(states) => return found(members, &states),
        Err(blocked) => blocked,
    };
    let mut budget = Budget::of_second(members);
    let limited = match walk(members, states.clone(), &mut budget) {
        Ok(Some(states)) => return found(members, &states),
        Ok(None) => false,
        Err(Limit) => true,
    };
    let disagreement = differ::explain(members, &states, &blocked, limited);
    Err(JointError::Versions(disagreement))
}

/// The solutions that `states` come from.
fn found<'a>(
    members: &[Member<'_, 'a>],
    states: &[State<'a>],
) -> Result<Vec<Solution<'a>>, JointError> {
    let solve = |(member, state): (&Member<'_, 'a>, &State<'a>)| {
        attempt(member.universe, &member.request, &state.banned, &mut 0).map_err(|unsolvable| {
            JointError::Unsolvable {
                arch: member.arch.to_owned(),
                solvable: Vec::new(),
                unsolvable: Box::new(unsolvable),
            }
        })
    };
    members.iter().zip(states).map(solve).collect()
}

/// Each by itself.
fn solve_each<'a>(members: &[Member<'_, 'a>]) -> Result<Vec<Solution<'a>>, JointError> {
    let alone: Vec<Result<Solution<'a>, Unsolvable>> = members
        .iter()
        .map(|member| attempt(member.universe, &member.request, &Banned::new(), &mut 0))
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

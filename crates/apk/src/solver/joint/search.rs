//! The two searches for solutions of equal versions.

use std::cmp::Ordering;
// Looked up only, never iterated: the random order of its buckets shows nowhere.
#[allow(clippy::disallowed_types)]
use std::collections::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Member;
use crate::solver::propagate::attempt_silently;
use crate::solver::request::{Candidate, Solution};
use crate::solver::state::Banned;
use crate::version::compare;

/// How often architectures are solved in the second search.
const MOST_ATTEMPTS: u32 = 500;

/// How many packages and names the first search looks at in any case.
const MOST_FIRST: u64 = 2_500_000;

/// The same for the second.
const MOST_SECOND: u64 = 1_000_000;

/// The same to find out what is to blame, and what would help.
const MOST_TO_EXPLAIN: u64 = 1_500_000;

/// How often each package there is may be looked at, if that comes to more.
const MOST_ROUNDS: u64 = 16;

/// About how many packages that are passed over cost what one does that is looked at.
const PASSED: u64 = 32;

/// How often the versions of a name are ruled out one at a time; after that, twice as many each
/// time.
const SINGLY: u32 = 16;

/// What a search may still cost. It counts work rather than time, so that the answer is always the
/// same.
pub(super) struct Budget {
    work: u64,
    attempts: u32,
}

/// The limit of a search was reached.
pub(super) struct Limit;

impl Budget {
    fn new(members: &[Member<'_, '_>], work: u64) -> Budget {
        let packages = members.iter().map(|of| of.universe.packages.len() as u64);
        Budget {
            work: work.max(MOST_ROUNDS * packages.sum::<u64>()),
            attempts: u32::MAX,
        }
    }

    pub(super) fn of_first(members: &[Member<'_, '_>]) -> Budget {
        Budget::new(members, MOST_FIRST)
    }

    pub(super) fn of_second(members: &[Member<'_, '_>]) -> Budget {
        Budget {
            attempts: MOST_ATTEMPTS,
            ..Budget::new(members, MOST_SECOND)
        }
    }

    pub(super) fn to_explain(members: &[Member<'_, '_>]) -> Budget {
        Budget::new(members, MOST_TO_EXPLAIN)
    }

    /// Whatever follows is done, however dear it is, but nothing behind that if nothing is left.
    pub(super) fn spend(&mut self, work: u64) -> Result<(), Limit> {
        if self.work == 0 || self.attempts == 0 {
            return Err(Limit);
        }
        self.work = self.work.saturating_sub(work);
        Ok(())
    }

    /// Solves for an architecture without some versions; none if there is no solution.
    pub(super) fn solve<'a>(
        &mut self,
        member: &Member<'_, 'a>,
        banned: Banned<'a>,
    ) -> Result<Option<State<'a>>, Limit> {
        let universe = member.universe;
        self.spend((universe.packages.len() + universe.name_count()) as u64 / PASSED)?;
        self.attempts -= 1;
        let mut work = 0;
        let solution = attempt_silently(universe, &member.request, &banned, &mut work);
        self.work = self.work.saturating_sub(work);
        Ok(solution.map(|solution| State {
            banned: Rc::new(banned),
            ..State::of(&solution)
        }))
    }
}

/// What is ruled out for an architecture, and what it chooses then.
#[derive(Clone)]
pub(super) struct State<'a> {
    pub(super) banned: Rc<Banned<'a>>,
    /// In the order of installation.
    pub(super) chosen: Rc<[&'a Candidate]>,
}

impl<'a> State<'a> {
    pub(super) fn of(solution: &Solution<'a>) -> State<'a> {
        State {
            banned: Rc::default(),
            chosen: solution
                .packages()
                .map(|selected| selected.package)
                .collect(),
        }
    }
}

/// What keeps the first search from an answer.
pub(super) enum Blocked<'a> {
    /// Architectures that chose one of these names have no version of it in common.
    Nothing(Vec<&'a str>),
    /// This architecture has no solution without these versions.
    Unsolvable(usize, Banned<'a>),
    /// Nothing, but that it takes too long: of these names versions differ.
    Limit(Vec<&'a str>),
}

/// The first search: rules out versions until the rest agree.
pub(super) fn agree<'a>(
    members: &[Member<'_, 'a>],
    mut states: Vec<State<'a>>,
    budget: &mut Budget,
) -> Result<Vec<State<'a>>, Blocked<'a>> {
    let mut falls: BTreeMap<&'a str, Falls<'a>> = BTreeMap::new();
    loop {
        let differing = differing(&states);
        if differing.is_empty() {
            return Ok(states);
        }
        let mut banned: BTreeMap<usize, Banned<'a>> = BTreeMap::new();
        let mut nothing = Vec::new();
        for (name, of) in &differing {
            let offers: Vec<BTreeSet<&'a str>> = of
                .keys()
                .map(|at| offered(&members[*at], name, &states[*at].banned))
                .collect();
            let common = common(&offers);
            if common.is_empty() {
                nothing.push(*name);
                continue;
            }
            let mut ban = |at: &usize, versions: &[&'a str]| {
                if !versions.is_empty() {
                    let banned = banned.entry(*at);
                    let banned = banned.or_insert_with(|| Banned::clone(&states[*at].banned));
                    rule_out(banned, name, versions);
                }
            };
            let mut lost = false;
            for (at, offer) in of.keys().zip(&offers) {
                let versions: Vec<&str> = offer.difference(&common).copied().collect();
                ban(at, &versions);
                lost |= !versions.is_empty();
            }
            if let (false, Some(highest)) = (lost, of.values().copied().max_by(by_version)) {
                let versions = falls.entry(name).or_default().next(of, highest, &common);
                for (at, _) in of.iter().filter(|(_, version)| **version == highest) {
                    ban(at, &versions);
                }
            }
        }
        if !nothing.is_empty() {
            return Err(Blocked::Nothing(nothing));
        }
        for (at, banned) in banned {
            match budget.solve(&members[at], banned.clone()) {
                Ok(Some(state)) => states[at] = state,
                Ok(None) => return Err(Blocked::Unsolvable(at, banned)),
                Err(Limit) => return Err(Blocked::Limit(differing.into_keys().collect())),
            }
        }
    }
}

/// How the versions of a name were ruled out where the highest was chosen.
#[derive(Default)]
struct Falls<'a> {
    times: u32,
    /// The versions that all had when it was asked for first, the newest first.
    order: Vec<&'a str>,
}

impl<'a> Falls<'a> {
    /// The versions to rule out next: the highest alone, but of a name that has very many of them
    /// some more, down to what the others chose.
    fn next(
        &mut self,
        of: &BTreeMap<usize, &'a str>,
        highest: &'a str,
        common: &BTreeSet<&'a str>,
    ) -> Vec<&'a str> {
        self.times += 1;
        let count = 1usize << self.times.saturating_sub(SINGLY).min(30);
        if count == 1 {
            return vec![highest];
        }
        if self.order.is_empty() {
            self.order = common.iter().copied().collect();
            self.order.sort_by(|left, right| by_version(right, left));
        }
        let from = self.order.iter().position(|version| *version == highest);
        let from = self.order[from.unwrap_or(self.order.len())..].iter();
        let others: BTreeSet<&str> = of.values().copied().filter(|of| *of != highest).collect();
        let until = from
            .copied()
            .take_while(|version| !others.contains(version));
        let mut versions: Vec<&str> = until.filter(|of| common.contains(of)).take(count).collect();
        if versions.is_empty() {
            versions.push(highest);
        }
        versions
    }
}

/// A way that the second search may take from a state: this name is not chosen on that
/// architecture in this version, or in no other.
struct Branch<'a> {
    from: Rc<[State<'a>]>,
    at: usize,
    name: &'a str,
    version: &'a str,
    without: bool,
}

/// The second search.
pub(super) fn walk<'a>(
    members: &[Member<'_, 'a>],
    states: Vec<State<'a>>,
    budget: &mut Budget,
) -> Result<Option<Vec<State<'a>>>, Limit> {
    // A stack of its own: there may be as many steps as versions.
    let mut open = Vec::new();
    let mut states = states;
    loop {
        let differing = differing(&states);
        let Some((name, of)) = differing.first_key_value() else {
            return Ok(Some(states));
        };
        let chosen: usize = states.iter().map(|state| state.chosen.len()).sum();
        budget.spend(chosen as u64 / PASSED)?;
        let highest = of.iter().max_by(|left, right| by_version(left.1, right.1));
        let high = of
            .iter()
            .find(|(_, version)| Some(*version) == highest.map(|of| of.1));
        let low = of
            .iter()
            .find(|(_, version)| Some(*version) != highest.map(|of| of.1));
        if let (Some((high, version)), Some((low, _))) = (high, low) {
            let from: Rc<[State<'a>]> = states.into();
            // It is gone there, or else all that is not the same is gone here.
            open.extend([(*low, false), (*high, true)].map(|(at, without)| Branch {
                from: Rc::clone(&from),
                at,
                name,
                version,
                without,
            }));
        }
        states = loop {
            let Some(branch) = open.pop() else {
                return Ok(None);
            };
            let Branch {
                from,
                at,
                name,
                version,
                without,
            } = branch;
            let member = &members[at];
            let mut banned = Banned::clone(&from[at].banned);
            match without {
                true => rule_out(&mut banned, name, &[version]),
                false => {
                    let offered = offered(member, name, &banned);
                    let others: Vec<&str> =
                        offered.into_iter().filter(|of| *of != version).collect();
                    rule_out(&mut banned, name, &others);
                }
            }
            if let Some(state) = budget.solve(member, banned)? {
                let mut states = from.to_vec();
                states[at] = state;
                break states;
            }
        };
    }
}

fn rule_out<'a>(banned: &mut Banned<'a>, name: &'a str, versions: &[&'a str]) {
    Rc::make_mut(banned.entry(name).or_default()).extend(versions);
}

/// The names whose versions differ, each with those that were chosen, by the places of the
/// architectures that did.
pub(super) fn differing<'a>(states: &[State<'a>]) -> BTreeMap<&'a str, BTreeMap<usize, &'a str>> {
    #[allow(clippy::disallowed_types)]
    let mut first: HashMap<&str, &str, foldhash::fast::RandomState> = HashMap::default();
    let mut differing: BTreeMap<&'a str, BTreeMap<usize, &'a str>> = BTreeMap::new();
    for package in states.iter().flat_map(|state| state.chosen.iter()) {
        let version = first.entry(&package.name).or_insert(&package.version);
        if *version != package.version {
            differing.entry(&package.name).or_default();
        }
    }
    if differing.is_empty() {
        return differing;
    }
    for (at, state) in states.iter().enumerate() {
        for package in state.chosen.iter() {
            if let Some(of) = differing.get_mut(package.name.as_str()) {
                of.insert(at, &package.version);
            }
        }
    }
    differing
}

/// The versions of the packages of that name, but for those ruled out.
pub(super) fn offered<'a>(
    member: &Member<'_, 'a>,
    name: &str,
    banned: &Banned<'a>,
) -> BTreeSet<&'a str> {
    let banned = banned.get(name);
    let providers = member.universe.providers_of(name);
    let versions = providers
        .filter(|selected| selected.package.name == name)
        .map(|selected| selected.package.version.as_str());
    versions
        .filter(|version| banned.is_none_or(|banned| !banned.contains(version)))
        .collect()
}

fn common<'a>(offers: &[BTreeSet<&'a str>]) -> BTreeSet<&'a str> {
    let Some((first, others)) = offers.split_first() else {
        return BTreeSet::new();
    };
    let everywhere = |version: &&&str| others.iter().all(|offer| offer.contains(*version));
    first.iter().filter(everywhere).copied().collect()
}

/// The order of versions; of those that apk holds equal, of their letters.
pub(super) fn by_version(left: &&str, right: &&str) -> Ordering {
    compare(left, right).then_with(|| left.cmp(right))
}

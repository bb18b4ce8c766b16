//! Finds the causes of an unsuccessful search, and the smallest changes that remove them.
//!
//! Whatever is proposed has been tried: the request, changed so, is solved again. What costs too
//! much is left, by a limit that counts work rather than time, so that the answer is always the
//! same.
//!
//! 1. The world is cut down, term by term, to a part that is still unsolvable, for a reason that
//!    the whole was unsolvable for ([`Repair::smallest_part`]).
//! 2. What stands in the way of that part suggests changes ([`options`]).
//! 3. Each is tried on the whole request. If none solves it, the one that removes this cause and
//!    leaves the fewest others is made, and the search goes on from there ([`Repair::run`]).
//! 4. In the end each remedy is tried together with those of the other causes; constraints are
//!    relaxed no further than needed ([`Repair::settle`]).

mod excerpt;
mod options;
mod variant;

use std::collections::{BTreeMap, BTreeSet};

use super::propagate::attempt;
use super::remedy::{Adjustment, Cause, Remedy, Search};
use super::request::{Request, Solution};
use super::state::Banned;
use super::universe::Universe;
use super::unsolvable::{Conflict, Unsolvable};
use crate::dependency::Dependency;
use excerpt::Excerpt;
pub(super) use options::heads;
use variant::Variant;

/// How often a request is solved anew at most.
const MOST_ATTEMPTS: u32 = 10_000;
/// How many packages and names are looked at in all.
const MOST_WORK: u64 = 2_000_000;
/// Of how many conflicts causes are looked for: with more, there are as many things to change.
const MOST_CONFLICTS: usize = 100;
/// How many causes are told apart.
const MOST_CAUSES: usize = 16;
/// In worlds of no more terms, all are considered that could be dropped.
const MOST_TERMS: usize = 16;
/// How many changes are tried together in place of more.
const MOST_TOGETHER: usize = 3;
/// How many remedies of two changes are looked for.
const MOST_PAIRS: usize = 4;
/// How many remedies a cause has.
const MOST_REMEDIES: usize = 8;

/// The limit of work was reached.
struct Limit;

/// What was chosen.
#[derive(Default)]
struct Chosen {
    /// The versions of names.
    versions: BTreeMap<String, String>,
    /// What is asked of the names that a repository was added for.
    demands: BTreeMap<String, Vec<Dependency>>,
}

/// Changes that remove a cause, with the names in the causes that are left then.
type Found = Vec<(Vec<Adjustment>, BTreeSet<String>)>;

/// What was chosen, or why nothing was.
type Tried = Result<Chosen, Unsolvable>;

/// Completes `unsolvable`, the answer to `request`, with its causes.
pub(in crate::solver) fn find_causes(
    universe: &Universe<'_>,
    request: &Request<'_>,
    unsolvable: &mut Unsolvable,
) {
    if matches!(unsolvable.conflicts[..], [Conflict::TooManyTags { .. }]) {
        return;
    }
    if unsolvable.conflicts.len() > MOST_CONFLICTS {
        unsolvable.search = Search::Limited;
        return;
    }
    let mut repair = Repair {
        universe,
        request,
        excerpt: None,
        attempts: 0,
        work: 0,
    };
    let mut causes = Vec::new();
    let complete = repair.run(unsolvable, &mut causes);
    if complete.is_err() {
        unsolvable.search = Search::Limited;
    }
    unsolvable.causes = causes;
}

struct Repair<'s, 'a, 'r> {
    universe: &'s Universe<'a>,
    request: &'s Request<'r>,
    excerpt: Option<Excerpt>,
    attempts: u32,
    work: u64,
}

impl Repair<'_, '_, '_> {
    /// Solves the request as changed.
    fn attempt(&mut self, variant: &Variant) -> Result<Tried, Limit> {
        if self.attempts >= MOST_ATTEMPTS || self.work >= MOST_WORK {
            return Err(Limit);
        }
        self.attempts += 1;
        let goals = variant.goals(self.request);
        let request = variant.request(self.request, &goals);
        if !variant.of_sources.is_empty() {
            let excerpt = match self.excerpt.take() {
                Some(excerpt) if excerpt.covers(variant) => excerpt,
                _ => Excerpt::new(self.universe, &request),
            };
            let tried = excerpt.attempt(variant, &request, &mut self.work);
            self.excerpt = Some(excerpt);
            return Ok(tried);
        }
        let solution = attempt(self.universe, &request, &Banned::new(), &mut self.work);
        Ok(solution.map(|solution| chosen(&solution, variant)))
    }

    fn run(&mut self, unsolvable: &Unsolvable, causes: &mut Vec<Cause>) -> Result<(), Limit> {
        let base = Variant::new(self.request);
        if let Err(limit) = self.pass(&base, unsolvable, &[], causes) {
            // None was tried to the end.
            for cause in causes {
                cause.remedies.clear();
            }
            return Err(limit);
        }
        let complete = self.fewer(&base, unsolvable, causes).map(|fewer| {
            if let Some(fewer) = fewer {
                *causes = fewer;
            }
        });
        // What was found is worth as much again.
        (self.attempts, self.work) = (0, 0);
        self.join(&base, unsolvable, causes)?;
        self.settle(&base, causes)?;
        complete
    }

    /// Removes one cause after the other. The first remedies of all solve the request. Changes in
    /// `preferred` are made where they help.
    fn pass(
        &mut self,
        base: &Variant,
        unsolvable: &Unsolvable,
        preferred: &[&Adjustment],
        causes: &mut Vec<Cause>,
    ) -> Result<(), Limit> {
        let mut variant = base.clone();
        let mut state = unsolvable.clone();
        while causes.len() < MOST_CAUSES {
            let (part, reason) = self.smallest_part(&variant, &state)?;
            let options = options::options(self.universe, &variant, &part, &reason);
            causes.push(Cause {
                terms: part.world.clone(),
                conflicts: reason.conflicts,
                remedies: Vec::new(),
            });
            let mut found = self.try_each(&variant, &part, options)?;
            if causes.len() == 1 && found.iter().all(|(_, left)| !left.is_empty()) {
                found.extend(self.try_drops(&variant, &part)?);
            }
            let solved = found.iter().any(|(_, left)| left.is_empty());
            found.retain(|(_, left)| !solved || left.is_empty());
            let before = names(&state);
            let weight = |(changes, left): &(Vec<Adjustment>, BTreeSet<String>)| {
                let preferred = changes.iter().any(|change| preferred.contains(&change));
                // What is only supposed had better not show in what is said of other causes.
                let supposed = changes.iter().any(Variant::is_of_sources);
                let new = left.difference(&before).count();
                (!preferred, changes.len(), new, left.len(), supposed)
            };
            let best = found.iter().map(weight).min().ok_or(Limit)?;
            let at = found.iter().position(|of| weight(of) == best);
            let (made, _) = found.remove(at.unwrap_or_default());
            for change in &made {
                variant = variant.with(change);
            }
            found.insert(0, (made, BTreeSet::new()));
            let remedies = found.into_iter().map(|(changes, _)| Remedy { changes });
            if let Some(cause) = causes.last_mut() {
                cause.remedies = remedies.collect();
            }
            match self.attempt(&variant)? {
                Ok(_) => return Ok(()),
                Err(after) => state = after,
            }
        }
        Err(Limit)
    }

    /// What stands in the way only once another cause is removed is no cause by itself: then all are
    /// one.
    fn join(
        &mut self,
        base: &Variant,
        unsolvable: &Unsolvable,
        causes: &mut Vec<Cause>,
    ) -> Result<(), Limit> {
        for at in 0..causes.len() {
            let mut part = base.clone();
            part.world.clone_from(&causes[at].terms);
            if self.attempt(&part)?.is_ok() {
                let first = causes.iter().filter_map(|cause| cause.remedies.first());
                let changes = first.flat_map(|remedy| remedy.changes.iter().cloned());
                let changes = changes.collect();
                *causes = vec![whole_cause(base, unsolvable, changes)];
                break;
            }
        }
        Ok(())
    }

    /// One cause after the other is not always the shortest way: if it took several changes, all
    /// sets of fewer are tried.
    fn fewer(
        &mut self,
        base: &Variant,
        unsolvable: &Unsolvable,
        causes: &[Cause],
    ) -> Result<Option<Vec<Cause>>, Limit> {
        let changes = causes
            .iter()
            .flat_map(|cause| &cause.remedies)
            .flat_map(|remedy| remedy.changes.iter().cloned());
        let all = base.world.len() <= MOST_TERMS;
        let had_part = |term: &&Dependency| causes.iter().any(|cause| cause.terms.contains(term));
        let terms = base.world.iter().filter(|term| all || had_part(term));
        let drops = terms.map(|term| Adjustment::Drop { term: term.clone() });
        let mut pool: Vec<Adjustment> = Vec::new();
        for change in changes.chain(drops) {
            if base.has(&change) && !pool.contains(&change) {
                pool.push(change);
            }
        }
        for size in 1..count(causes).min(MOST_TOGETHER + 1) {
            let mut places: Vec<usize> = (0..size).collect();
            while places.last().is_some_and(|last| *last < pool.len()) {
                let changes: Vec<&Adjustment> = places.iter().map(|at| &pool[*at]).collect();
                let variant = changes.iter().try_fold(base.clone(), |variant, change| {
                    variant.has(change).then(|| variant.with(change))
                });
                if let Some(variant) = variant
                    && self.attempt(&variant)?.is_ok()
                {
                    let mut fewer = Vec::new();
                    self.pass(base, unsolvable, &changes, &mut fewer)?;
                    if count(&fewer) < count(causes) {
                        return Ok(Some(fewer));
                    }
                    let changes = changes.into_iter().cloned().collect();
                    return Ok(Some(vec![whole_cause(base, unsolvable, changes)]));
                }
                advance(&mut places, pool.len());
            }
        }
        Ok(None)
    }

    /// The changes that remove the cause of `part`, with the names of those that are left then:
    /// single ones, or else pairs.
    fn try_each(
        &mut self,
        variant: &Variant,
        part: &Variant,
        options: Vec<Adjustment>,
    ) -> Result<Found, Limit> {
        let mut found = Found::new();
        let mut insufficient = Vec::new();
        let mut options = options;
        options.retain(|option| variant.has(option));
        let mut tried = options.clone();
        for option in options {
            let known =
                |(changes, _): &(Vec<Adjustment>, _)| options::is_like(&changes[0], &option);
            if found.iter().any(known) {
                continue;
            }
            match self.removes(variant, part, &[&option])? {
                Removes::Cause(left) => found.push((vec![option], left)),
                Removes::Not(reason) => insufficient.push((option, reason)),
            }
        }
        // To do without what is asked for is the last resort: who asked for it may want to know
        // what two changes would give it.
        let is_drop = |change: &Adjustment| matches!(change, Adjustment::Drop { .. });
        let drops = !found.is_empty();
        if !found.iter().all(|(changes, _)| is_drop(&changes[0])) {
            return Ok(found);
        }
        let most = found.len() + MOST_PAIRS;
        // What the first change leads to may do without it.
        let mut alone = Vec::new();
        for (first, reason) in insufficient.iter().filter(|(first, _)| !is_drop(first)) {
            let (changed, whole) = (part.with(first), variant.with(first));
            let mut seconds = options::options(self.universe, &whole, &changed, reason);
            seconds.retain(|second| whole.has(second) && (!drops || !is_drop(second)));
            for second in seconds {
                let pair = |(changes, _): &(Vec<Adjustment>, _)| {
                    changes.contains(first) && changes.contains(&second)
                };
                if found.iter().any(pair) {
                    continue;
                }
                if !tried.contains(&second) {
                    tried.push(second.clone());
                    if let Removes::Cause(left) = self.removes(variant, part, &[&second])? {
                        alone.push(second.clone());
                        found.push((vec![second.clone()], left));
                    }
                }
                if alone.contains(&second) {
                    continue;
                }
                let removes = self.removes(variant, part, &[first, &second])?;
                if let Removes::Cause(left) = removes {
                    found.push((vec![first.clone(), second], left));
                }
                if found.len() >= most {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// The terms without which the whole has a solution, though they have no part in what was
    /// found: the search for packages is led by all that is asked for.
    fn try_drops(&mut self, variant: &Variant, part: &Variant) -> Result<Found, Limit> {
        let mut found = Found::new();
        for term in variant
            .world
            .iter()
            .filter(|term| !part.world.contains(term))
        {
            let change = Adjustment::Drop { term: term.clone() };
            if self.attempt(&variant.with(&change))?.is_ok() {
                found.push((vec![change], BTreeSet::new()));
            }
        }
        Ok(found)
    }

    fn removes(
        &mut self,
        variant: &Variant,
        part: &Variant,
        changes: &[&Adjustment],
    ) -> Result<Removes, Limit> {
        let changed = |of: &Variant| {
            changes
                .iter()
                .fold(of.clone(), |of, change| of.with(change))
        };
        if let Err(reason) = self.attempt(&changed(part))? {
            // The search is led by all that is asked for: the whole may have a solution that it
            // doesn't find for a part.
            return match self.attempt(&changed(variant))? {
                Ok(_) => Ok(Removes::Cause(BTreeSet::new())),
                Err(_) => Ok(Removes::Not(reason)),
            };
        }
        let left = match self.attempt(&changed(variant))? {
            Ok(_) => BTreeSet::new(),
            Err(after) => names(&after),
        };
        Ok(Removes::Cause(left))
    }

    /// The part of the world that is unsolvable by itself, and has to be whole for that.
    fn smallest_part(
        &mut self,
        variant: &Variant,
        state: &Unsolvable,
    ) -> Result<(Variant, Unsolvable), Limit> {
        let causes = names(state);
        let mut part = variant.clone();
        let mut reason = state.clone();
        let heads = heads(&state.conflicts);
        let mut smaller = variant.clone();
        smaller
            .world
            .retain(|term| heads.contains(&term.to_string()));
        self.accept(smaller, &causes, &mut part, &mut reason)?;
        let mut size = part.world.len();
        while size > 0 {
            let mut end = part.world.len();
            let mut smaller_yet = false;
            // From the end, so that causes are found in the order of the world.
            while end > 0 && part.world.len() > 1 {
                let mut smaller = part.clone();
                let start = end.saturating_sub(size);
                smaller.world.drain(start..end);
                smaller_yet |= self.accept(smaller, &causes, &mut part, &mut reason)?;
                end = start;
            }
            // Some terms may be left out only once others are.
            if size > 1 || !smaller_yet {
                size /= 2;
            }
        }
        Ok((part, reason))
    }

    /// Takes `smaller` for `part` if it is unsolvable for a reason that the whole has too.
    fn accept(
        &mut self,
        smaller: Variant,
        causes: &BTreeSet<String>,
        part: &mut Variant,
        reason: &mut Unsolvable,
    ) -> Result<bool, Limit> {
        if smaller.world.is_empty() || smaller.world.len() == part.world.len() {
            return Ok(false);
        }
        let Err(why) = self.attempt(&smaller)? else {
            return Ok(false);
        };
        let same = names(&why).is_subset(causes);
        if same {
            *part = smaller;
            *reason = why;
        }
        Ok(same)
    }

    /// Leaves out what later changes made needless, relaxes no further than needed, and keeps
    /// those of the alternatives that do.
    fn settle(&mut self, base: &Variant, causes: &mut Vec<Cause>) -> Result<(), Limit> {
        // The others are tried with the first ones, so these are settled before.
        let mut alternatives: Vec<Vec<Remedy>> = causes
            .iter_mut()
            .map(|cause| cause.remedies.split_off(1))
            .collect();
        let mut at = 0;
        while causes.len() > 1 && at < causes.len() {
            match with_remedies(base, causes, at, &[]) {
                Some(without) if self.attempt(&without)?.is_ok() => {
                    causes.remove(at);
                    alternatives.remove(at);
                }
                _ => at += 1,
            }
        }
        for at in 0..causes.len() {
            let first = causes[at].remedies[0].changes.clone();
            if let Some(changes) = self.settled(base, causes, at, first)? {
                causes[at].remedies[0] = Remedy { changes };
            }
        }
        for (at, alternatives) in alternatives.into_iter().enumerate() {
            for remedy in alternatives {
                if causes[at].remedies.len() >= MOST_REMEDIES {
                    break;
                }
                let changes = self.settled(base, causes, at, remedy.changes)?;
                let remedy = changes.map(|changes| Remedy { changes });
                let remedies = &mut causes[at].remedies;
                remedies.extend(remedy.filter(|remedy| !remedies.contains(remedy)));
            }
        }
        Ok(())
    }

    /// The changes, no greater than needed, if they do for the cause at `at` together with the
    /// first remedies of the others.
    fn settled(
        &mut self,
        base: &Variant,
        causes: &[Cause],
        at: usize,
        changes: Vec<Adjustment>,
    ) -> Result<Option<Vec<Adjustment>>, Limit> {
        let Some(variant) = with_remedies(base, causes, at, &changes) else {
            return Ok(None);
        };
        match self.attempt(&variant)? {
            Ok(chosen) => Ok(Some(self.tighten(base, causes, at, changes, &chosen)?)),
            Err(_) => Ok(None),
        }
    }

    /// Relaxes constraints just so far that what is chosen now may be chosen.
    fn tighten(
        &mut self,
        base: &Variant,
        causes: &[Cause],
        at: usize,
        mut changes: Vec<Adjustment>,
        chosen: &Chosen,
    ) -> Result<Vec<Adjustment>, Limit> {
        for place in 0..changes.len() {
            let Some(tighter) = options::tighter(&changes[place], chosen) else {
                continue;
            };
            let mut tried = changes.clone();
            tried[place] = tighter;
            if let Some(variant) = with_remedies(base, causes, at, &tried)
                && self.attempt(&variant)?.is_ok()
            {
                changes = tried;
            }
        }
        Ok(changes)
    }
}

enum Removes {
    /// And leaves these names in trouble.
    Cause(BTreeSet<String>),
    /// Why the part is unsolvable still.
    Not(Unsolvable),
}

/// All that is asked for, as one cause.
fn whole_cause(base: &Variant, unsolvable: &Unsolvable, changes: Vec<Adjustment>) -> Cause {
    Cause {
        terms: base.world.clone(),
        conflicts: unsolvable.conflicts.clone(),
        remedies: vec![Remedy { changes }],
    }
}

/// The request with the first remedy of every cause, but `changes` for the one at `at`. None if
/// one changes a term that another has changed already.
fn with_remedies(
    base: &Variant,
    causes: &[Cause],
    at: usize,
    changes: &[Adjustment],
) -> Option<Variant> {
    let remedies = causes.iter().enumerate().map(|(index, cause)| {
        let first = cause.remedies.first();
        match index == at {
            true => changes,
            false => first.map_or(&[][..], |remedy| &remedy.changes),
        }
    });
    let mut all = remedies.flatten();
    all.try_fold(base.clone(), |variant, change| {
        variant.has(change).then(|| variant.with(change))
    })
}

/// The next places in ascending order, the last of which may leave the range: then there are no
/// more.
fn advance(places: &mut [usize], length: usize) {
    let size = places.len();
    let free = |(at, place): &(usize, &usize)| **place + size - at < length;
    let at = places.iter().enumerate().rev().find(free);
    let (at, place) = at.map_or((size - 1, length), |(at, place)| (at, *place + 1));
    for (offset, of) in places[at..].iter_mut().enumerate() {
        *of = place + offset;
    }
}

/// How many changes the first remedies have together.
fn count(causes: &[Cause]) -> usize {
    let first = causes.iter().filter_map(|cause| cause.remedies.first());
    first.map(|remedy| remedy.changes.len()).sum()
}

/// The names that the conflicts are about.
fn names(unsolvable: &Unsolvable) -> BTreeSet<String> {
    let conflicts = unsolvable.conflicts.iter();
    let names = conflicts.map(|conflict| match conflict {
        Conflict::UnknownTag { term, .. } => term.to_string(),
        Conflict::Missing(missing) => missing.name.clone(),
        Conflict::Package(rejected) => rejected.name.clone(),
        Conflict::DeadEnd { package, .. } => package.clone(),
        Conflict::TooManyTags { .. } => String::new(),
    });
    names.collect()
}

/// What was chosen, for the request as changed.
fn chosen(solution: &Solution<'_>, variant: &Variant) -> Chosen {
    let mut chosen = Chosen::default();
    let added = variant.of_sources.iter().filter_map(|change| match change {
        Adjustment::AddRepository { terms, .. } => terms.first(),
        _ => None,
    });
    for term in added {
        chosen.demands.insert(term.name.clone(), Vec::new());
    }
    let packages = || solution.packages().map(|selected| selected.package);
    let depends = packages().flat_map(|package| package.depends.iter().map(AsRef::as_ref));
    for term in variant.world.iter().chain(depends) {
        if let Some(terms) = chosen.demands.get_mut(&term.name)
            && !terms.contains(term)
        {
            terms.push(term.clone());
        }
    }
    for package in packages() {
        let versions = &mut chosen.versions;
        versions.insert(package.name.clone(), package.version.clone());
        for provided in &package.provides {
            if let Some(version) = provided.version() {
                versions.insert(provided.name.clone(), version.to_string());
            }
        }
    }
    chosen
}

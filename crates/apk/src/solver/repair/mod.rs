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
use excerpt::Excerpt;
pub(super) use options::heads;
use variant::Variant;

/// How often a request is solved anew at most.
const MOST_ATTEMPTS: u32 = 1_000;
/// How many packages and names are looked at in all.
const MOST_WORK: u64 = 2_000_000;
/// How many causes are told apart.
const MOST_CAUSES: usize = 16;
/// How many remedies a cause has.
const MOST_REMEDIES: usize = 8;

/// The limit of work was reached.
struct Limit;

/// What is chosen for which name, with the version it has it in; or why nothing is.
type Tried = Result<BTreeMap<String, String>, Unsolvable>;

/// Completes `unsolvable`, the answer to `request`, with its causes.
pub(in crate::solver) fn find_causes(
    universe: &Universe<'_>,
    request: &Request<'_>,
    unsolvable: &mut Unsolvable,
) {
    if matches!(unsolvable.conflicts[..], [Conflict::TooManyTags { .. }]) {
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
        Ok(solution.map(|solution| chosen(&solution)))
    }

    fn run(&mut self, unsolvable: &Unsolvable, causes: &mut Vec<Cause>) -> Result<(), Limit> {
        let base = Variant::new(self.request);
        let mut variant = base.clone();
        let mut state = unsolvable.clone();
        let mut solved = false;
        while !solved && causes.len() < MOST_CAUSES {
            let (part, reason) = self.smallest_part(&variant, &state)?;
            let options = options::options(self.universe, &variant, &part, &reason);
            causes.push(Cause {
                terms: part.world.clone(),
                conflicts: reason.conflicts,
                remedies: Vec::new(),
            });
            let mut found = self.try_each(&variant, &part, &state, options)?;
            if found.is_empty() {
                return Ok(());
            }
            let best = found.iter().map(|(_, left)| left.len()).min();
            solved = best == Some(0);
            found.retain(|(_, left)| !solved || left.is_empty());
            let at = found.iter().position(|(_, left)| Some(left.len()) == best);
            let (made, _) = found.remove(at.unwrap_or_default());
            for change in &made {
                variant = variant.with(change);
            }
            if let (false, Err(after)) = (solved, self.attempt(&variant)?) {
                state = after;
            }
            found.insert(0, (made, BTreeSet::new()));
            let remedies = found.into_iter().map(|(changes, _)| Remedy { changes });
            if let Some(cause) = causes.last_mut() {
                cause.remedies = remedies.collect();
            }
        }
        match solved {
            true => self.settle(&base, causes),
            false => {
                forget_remedies(causes);
                Err(Limit)
            }
        }
    }

    /// The changes that remove the cause of `part`, with the names of those that are left then:
    /// single ones, or else pairs.
    #[allow(clippy::type_complexity)]
    fn try_each(
        &mut self,
        variant: &Variant,
        part: &Variant,
        state: &Unsolvable,
        options: Vec<Adjustment>,
    ) -> Result<Vec<(Vec<Adjustment>, BTreeSet<String>)>, Limit> {
        let before = names(state);
        let mut found = Vec::new();
        let mut insufficient = Vec::new();
        for option in options {
            // A certain version is no better than any.
            let known = |(changes, _): &(Vec<Adjustment>, BTreeSet<String>)| {
                matches!(changes.as_slice(), [Adjustment::Add { term }]
                    if matches!(&option, Adjustment::Add { term: exact } if exact.name == term.name))
            };
            if found.iter().any(known) {
                continue;
            }
            match self.removes(variant, part, &before, &[&option])? {
                Removes::Cause(left) => found.push((vec![option], left)),
                Removes::Not(Some(reason)) => insufficient.push((option, reason)),
                Removes::Not(None) => {}
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        for (first, reason) in &insufficient {
            let changed = part.with(first);
            let seconds = options::options(self.universe, &variant.with(first), &changed, reason);
            for second in seconds {
                let removes = self.removes(variant, part, &before, &[first, &second])?;
                if let Removes::Cause(left) = removes {
                    found.push((vec![first.clone(), second], left));
                }
                if found.len() >= MOST_REMEDIES {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn removes(
        &mut self,
        variant: &Variant,
        part: &Variant,
        before: &BTreeSet<String>,
        changes: &[&Adjustment],
    ) -> Result<Removes, Limit> {
        let changed = |of: &Variant| {
            changes
                .iter()
                .fold(of.clone(), |of, change| of.with(change))
        };
        if let Err(reason) = self.attempt(&changed(part))? {
            return Ok(Removes::Not(Some(reason)));
        }
        let left = match self.attempt(&changed(variant))? {
            Ok(_) => BTreeSet::new(),
            Err(after) => names(&after),
        };
        Ok(match left.is_subset(before) {
            true => Removes::Cause(left),
            // It would bring another cause with it.
            false => Removes::Not(None),
        })
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
            let mut at = 0;
            let mut smaller_yet = false;
            while at < part.world.len() && part.world.len() > 1 {
                let mut smaller = part.clone();
                let end = (at + size).min(part.world.len());
                smaller.world.drain(at..end);
                match self.accept(smaller, &causes, &mut part, &mut reason)? {
                    true => smaller_yet = true,
                    false => at = end,
                }
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
        let mut at = 0;
        while causes.len() > 1 && at < causes.len() {
            let without = with_remedies(base, causes, Some(at), &[]);
            match self.attempt(&without)?.is_ok() {
                true => _ = causes.remove(at),
                false => at += 1,
            }
        }
        for at in 0..causes.len() {
            let remedies = std::mem::take(&mut causes[at].remedies);
            for remedy in remedies {
                if causes[at].remedies.len() >= MOST_REMEDIES {
                    break;
                }
                let changed = with_remedies(base, causes, Some(at), &remedy.changes);
                let Ok(Ok(chosen)) = self.attempt(&changed) else {
                    continue;
                };
                let changes = self.tighten(base, causes, at, remedy.changes, &chosen);
                let remedy = Remedy { changes };
                if !causes[at].remedies.contains(&remedy) {
                    causes[at].remedies.push(remedy);
                }
            }
        }
        for cause in causes.iter_mut() {
            cause.remedies.sort_by_key(options::rank_of_remedy);
        }
        let place = |cause: &Cause| {
            base.world
                .iter()
                .position(|term| cause.terms.contains(term))
        };
        causes.sort_by_key(place);
        Ok(())
    }

    /// Relaxes constraints just so far that what is chosen now may be chosen.
    fn tighten(
        &mut self,
        base: &Variant,
        causes: &[Cause],
        at: usize,
        mut changes: Vec<Adjustment>,
        chosen: &BTreeMap<String, String>,
    ) -> Vec<Adjustment> {
        for place in 0..changes.len() {
            let Some(tighter) = options::tighter(&changes[place], chosen) else {
                continue;
            };
            let mut tried = changes.clone();
            tried[place] = tighter;
            let variant = with_remedies(base, causes, Some(at), &tried);
            if let Ok(Ok(_)) = self.attempt(&variant) {
                changes = tried;
            }
        }
        changes
    }
}

enum Removes {
    /// And leaves these names in trouble.
    Cause(BTreeSet<String>),
    /// Why the part is unsolvable still.
    Not(Option<Unsolvable>),
}

/// The request with the first remedy of every cause but one, and with `changes`.
fn with_remedies(
    base: &Variant,
    causes: &[Cause],
    but: Option<usize>,
    changes: &[Adjustment],
) -> Variant {
    let others = causes.iter().enumerate();
    let others = others.filter(|(index, _)| Some(*index) != but);
    let others = others.filter_map(|(_, cause)| cause.remedies.first());
    let others = others.flat_map(|remedy| &remedy.changes);
    let all = others.chain(changes);
    all.fold(base.clone(), |variant, change| variant.with(change))
}

/// None was tried to the end.
fn forget_remedies(causes: &mut [Cause]) {
    for cause in causes {
        cause.remedies.clear();
    }
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

/// Packages by name, and what they provide with a version.
fn chosen(solution: &Solution<'_>) -> BTreeMap<String, String> {
    let mut chosen = BTreeMap::new();
    for selected in solution.packages() {
        let package = selected.package;
        chosen.insert(package.name.clone(), package.version.clone());
        for provided in &package.provides {
            if let Some(version) = provided.version() {
                chosen.insert(provided.name.clone(), version.to_string());
            }
        }
    }
    chosen
}

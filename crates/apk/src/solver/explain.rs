//! Says in words why there is no solution, and what would help.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use super::remedy::{Adjustment, Cause, Search};
use super::repair::heads;
use super::unsolvable::{
    Alternative, Conflict, Demand, Missing, Rejected, Rival, Suggestion, Unsolvable,
};
use crate::dependency::Dependency;

/// One conflict in words: what clashes, and the way there.
#[derive(Default)]
struct Explanation {
    what: String,
    why: Vec<String>,
}

impl fmt::Display for Unsolvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no choice of packages satisfies all that is asked for")?;
        let mut said = BTreeSet::new();
        if self.causes.len() > 1 {
            write!(f, "; {} things stand in the way", self.causes.len())?;
        }
        if self.causes.is_empty() {
            self.write_conflicts(f, &self.conflicts, &mut said)?;
        }
        for cause in &self.causes {
            self.write_conflicts(f, &cause.clashes(), &mut said)?;
            if !cause.renames() {
                for note in cause.conflicts.iter().filter_map(alike) {
                    write!(f, "\n    {note}")?;
                }
            }
            let mut word = "help";
            for remedy in &cause.remedies {
                write!(f, "\n    {word}: {remedy}")?;
                word = "or";
            }
        }
        match self.search {
            Search::Complete => Ok(()),
            Search::Limited => f.write_str(
                "\n  the search for changes that would help ended at its limit: there may be others",
            ),
        }
    }
}

impl Cause {
    /// Those of the conflicts that all terms have part in, if there are such: the others only
    /// follow from them.
    fn clashes(&self) -> Vec<Conflict> {
        let whole = self.conflicts.iter().filter(|conflict| {
            let heads = heads(std::slice::from_ref(*conflict));
            let mut terms = self.terms.iter();
            terms.all(|term| heads.contains(&term.to_string()))
        });
        let whole: Vec<Conflict> = whole.cloned().collect();
        match whole.is_empty() {
            true => self.conflicts.clone(),
            false => whole,
        }
    }

    fn renames(&self) -> bool {
        let changes = self.remedies.iter().flat_map(|remedy| &remedy.changes);
        changes
            .into_iter()
            .any(|change| matches!(change, Adjustment::Rename { .. }))
    }
}

impl Unsolvable {
    fn write_conflicts(
        &self,
        f: &mut fmt::Formatter<'_>,
        conflicts: &[Conflict],
        said: &mut BTreeSet<String>,
    ) -> fmt::Result {
        for explanation in self.explanations(conflicts) {
            write!(f, "\n  {}", explanation.what)?;
            for why in explanation.why {
                if said.insert(why.clone()) {
                    write!(f, "\n    {why}")?;
                }
            }
        }
        Ok(())
    }

    /// One for each clash: what two packages have against each other is said once, and what
    /// follows from another conflict not at all.
    fn explanations(&self, conflicts: &[Conflict]) -> Vec<Explanation> {
        let masked: BTreeSet<String> = conflicts
            .iter()
            .filter_map(|conflict| match conflict {
                Conflict::Package(rejected) if !rejected.masked.is_empty() => {
                    Some(rejected.label())
                }
                _ => None,
            })
            .collect();
        let mut explanations: Vec<Explanation> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for conflict in conflicts {
            let explanation = match conflict {
                Conflict::UnknownTag { term, known } => unknown_tag(term, known),
                Conflict::Missing(missing) => self.missing(missing),
                Conflict::TooManyTags { tags, limit } => Explanation {
                    what: format!(
                        "{tags} repository tags are in use, but no more than {limit} can be told \
                         apart; leave some repositories out, or let several share a tag"
                    ),
                    ..Explanation::default()
                },
                Conflict::DeadEnd { package, satisfies } => dead_end(package, satisfies),
                Conflict::Package(rejected) => {
                    let by_masked =
                        |demand: &&Demand| demand.by.as_ref().is_some_and(|by| masked.contains(by));
                    let wanted = wanted(rejected);
                    let follows = !wanted.is_empty() && wanted.iter().all(by_masked);
                    if follows && !rejected.masked.is_empty() {
                        continue;
                    }
                    self.rejected(rejected)
                }
            };
            let next = explanations.len();
            let place = *places.entry(explanation.what.clone()).or_insert(next);
            match explanations.get_mut(place) {
                Some(known) => known.why.extend(explanation.why),
                None => explanations.push(explanation),
            }
        }
        explanations
    }

    fn missing(&self, missing: &Missing) -> Explanation {
        let demands: Vec<&Demand> = missing.required_by.iter().collect();
        let what = match demands.is_empty() {
            true => format!("{} is needed", missing.name),
            false => sentence(&demands),
        };
        let what = match missing.providers.as_slice() {
            [] if self.repositories.is_empty() => {
                format!("{what}, and no repository is given that could have it")
            }
            [] => format!("{what}, which nothing provides in {}", self.searched()),
            [only] => {
                format!("{what}, which {only} provides, but not so that it is chosen unasked")
            }
            providers => format!(
                "{what}, which {} provide and none by preference",
                list(providers, "and")
            ),
        };
        Explanation {
            what,
            why: demands.iter().filter_map(|demand| way(demand)).collect(),
        }
    }

    fn searched(&self) -> String {
        let place = list(&self.repositories, "and");
        match self.arches.as_slice() {
            [] => place,
            arches => format!("{place} ({})", arches.join(", ")),
        }
    }

    fn rejected(&self, rejected: &Rejected) -> Explanation {
        let label = rejected.label();
        let wanted = wanted(rejected);
        let wants = match wanted.is_empty() {
            true => format!("{label} was chosen"),
            false => sentence(&wanted),
        };
        let mut explanation = Explanation {
            why: wanted.iter().filter_map(|demand| way(demand)).collect(),
            ..Explanation::default()
        };
        if let Some(arch) = &rejected.arch {
            let arches = self.arches.join(", ");
            explanation.what = format!("{wants}, but {label} is for {arch}, not for {arches}");
        } else if rejected.uninstallable {
            let defects = rejected.defects.join("; ");
            let colon = if defects.is_empty() { "" } else { ": " };
            explanation.what = format!("{wants}, but {label} cannot be installed{colon}{defects}");
        } else if !rejected.masked.is_empty() {
            let masked = list(&rejected.masked, "and");
            let tagged = rejected.masked.iter().all(|place| place.starts_with('@'));
            explanation.what = match tagged {
                true => format!("{wants}, but {label} is only in a repository tagged {masked}"),
                false => format!("{wants}, but {label} is out of reach ({masked})"),
            };
        } else if let Some(rival) = rejected.rivals.first() {
            explain_rival(&mut explanation, rejected, rival, &wanted);
        } else if let Some(broken) = rejected.breaks.first() {
            explain_broken(&mut explanation, rejected, broken, &wanted, &wants);
        }
        explanation
    }
}

/// Who wants the package, rather than something in its place.
fn wanted(rejected: &Rejected) -> Vec<&Demand> {
    let demands = rejected.satisfies.iter();
    demands.filter(|demand| !demand.term.conflict).collect()
}

fn dead_end(package: &str, satisfies: &[Demand]) -> Explanation {
    let demands: Vec<&Demand> = satisfies.iter().collect();
    let wants = match demands.is_empty() {
        true => format!("{package} is needed"),
        false => sentence(&demands),
    };
    Explanation {
        what: format!(
            "{wants}, but {package} had been ruled out before other choices were made, and the \
             search does not go back on a choice"
        ),
        why: demands.iter().filter_map(|demand| way(demand)).collect(),
    }
}

fn unknown_tag(term: &Dependency, known: &[String]) -> Explanation {
    let tag = term.tag.as_deref().unwrap_or_default();
    let known: Vec<String> = known.iter().map(|tag| format!("@{tag}")).collect();
    let there = match known.as_slice() {
        [] => "no repository has a tag".to_owned(),
        [only] => format!("the only tag is {only}"),
        known => format!("there are {}", list(known, "and")),
    };
    Explanation {
        what: format!("{term} is asked for, but no repository has the tag @{tag}"),
        why: vec![there],
    }
}

/// A name that may have been meant, for one that nothing provides.
fn alike(conflict: &Conflict) -> Option<String> {
    let Conflict::Missing(missing) = conflict else {
        return None;
    };
    let Suggestion { name, package } = missing.suggestion.as_ref()?;
    Some(match package.starts_with(name.as_str()) {
        true => format!("much like it is {package}"),
        false => format!("much like it is {name}, which {package} provides"),
    })
}

fn explain_rival(
    explanation: &mut Explanation,
    rejected: &Rejected,
    rival: &Rival,
    wanted: &[&Demand],
) {
    let label = rejected.label();
    let name = match &rival.provides {
        Some(provides) => provides.name.as_str(),
        None => rejected.name.as_str(),
    };
    if rival.package == label {
        explanation.what = format!("{label} conflicts with itself: it provides {name} twice");
    } else {
        // The same words from either side, so that they are said once.
        let mut pair = [label.as_str(), rival.package.as_str()];
        pair.sort_unstable();
        let [first, second] = pair;
        explanation.what =
            format!("{first} and {second} both own the name {name}, which only one package can");
    }
    let by_world = wanted.iter().filter(|demand| demand.by.is_none());
    let by_world = by_world.map(|demand| sentence(&[demand]));
    explanation.why.splice(0..0, by_world);
}

fn explain_broken(
    explanation: &mut Explanation,
    rejected: &Rejected,
    broken: &Demand,
    wanted: &[&Demand],
    wants: &str,
) {
    explanation.why.extend(way(broken));
    let name = &broken.term.name;
    let breaks = sentence(&[broken]);
    if broken.term.conflict {
        explanation.what = format!("{breaks}, but {wants}");
        return;
    }
    let there = match rejected.alternatives.as_ref() {
        [only] => format!("there is only {}", only.package),
        there => format!("there are {}", labels(there.iter(), "and")),
    };
    let will_do = |terms: &[&Dependency]| {
        let offers = rejected.alternatives.iter().filter(|of| {
            let version = of.version.as_deref();
            terms.iter().all(|term| term.matches(version, None))
        });
        let labels = labels(offers, "or");
        (!labels.is_empty()).then_some(labels)
    };
    let mut terms = vec![&broken.term];
    if will_do(&terms).is_none() {
        explanation.what = format!("{breaks}, but there is no such version");
        explanation.why.push(there);
        return;
    }
    let wanted = wanted.iter().map(|demand| &demand.term);
    terms.extend(wanted.filter(|term| term.name == *name));
    match will_do(&terms) {
        None if terms.len() > 1 => {
            explanation.what = format!("{breaks} and {wants}, but no {name} is all of that");
            explanation.why.push(there);
        }
        None => explanation.what = format!("{breaks}, but {wants}"),
        Some(labels) => {
            explanation.what = format!("{breaks}, but {} was chosen", rejected.label());
            let why = "but something else stands against it";
            explanation.why.push(format!("{labels} would do, {why}"));
        }
    }
}

/// `d>1.5 is asked for and b-1 needs d<2.0`; who asks for the same is named together.
fn sentence(demands: &[&Demand]) -> String {
    let mut terms: Vec<(&Dependency, Vec<&Demand>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for demand in demands {
        let place = *places.entry(demand.term.to_string()).or_insert(terms.len());
        match terms.get_mut(place) {
            Some((_, same)) => same.push(demand),
            None => terms.push((&demand.term, vec![demand])),
        }
    }
    let clauses = terms.iter().map(|(term, same)| {
        let by_world = same.iter().any(|demand| demand.by.is_none());
        let packages = same.iter().filter_map(|demand| demand.by.clone());
        clause(term, by_world, &packages.collect::<Vec<_>>())
    });
    list(&clauses.collect::<Vec<_>>(), "and")
}

fn clause(term: &Dependency, by_world: bool, packages: &[String]) -> String {
    let positive = Dependency {
        conflict: false,
        ..term.clone()
    };
    let by = list(packages, "and");
    let (verb, passive) = match (term.conflict, packages.len()) {
        (false, 1) => ("needs", "needed"),
        (false, _) => ("need", "needed"),
        (true, 1) => ("rules out", "ruled out"),
        (true, _) => ("rule out", "ruled out"),
    };
    let mut text = match (by_world, packages.is_empty()) {
        (true, true) if term.conflict => format!("{positive} is ruled out"),
        (true, true) => format!("{positive} is asked for"),
        (true, false) => format!("{positive} is asked for and {passive} by {by}"),
        (false, _) => format!("{by} {verb} {positive}"),
    };
    if term.conflict {
        _ = write!(text, " (`{term}`)");
    }
    text
}

/// `a → a-3 → b-1 → d<2.0`: the way from a term of the world to the demand.
fn way(demand: &Demand) -> Option<String> {
    const SHOWN: usize = 5;
    demand.by.as_deref()?;
    let mut links = demand.chain.clone();
    links.push(demand.term.to_string());
    if links.len() > SHOWN + 2 {
        // The beginning says whose doing it is, the end what clashes.
        let left_out = links.len() - SHOWN;
        let between = 2..links.len() - (SHOWN - 2);
        links.splice(between, [format!("({left_out} more)")]);
    }
    let way = links.join(" → ");
    Some(match demand.unasked {
        true => format!("by its install_if: {way}"),
        false => way,
    })
}

/// How many words a person reads.
const SHOWN: usize = 8;

/// Packages as [`list`] has them.
fn labels<'o>(of: impl Iterator<Item = &'o Alternative>, and: &str) -> String {
    let mut words = Vec::with_capacity(SHOWN);
    let mut count = 0usize;
    for of in of {
        if count < SHOWN {
            words.push(of.package.clone());
        }
        count += 1;
    }
    list_of(&words, count, and)
}

/// `a, b and c`, but no more than a person reads.
fn list(words: &[String], and: &str) -> String {
    list_of(words, words.len(), and)
}

/// The same of `count` words, of which only those that are read are known.
fn list_of(words: &[String], count: usize, and: &str) -> String {
    if count > SHOWN {
        let more = count - SHOWN;
        return format!("{} {and} {more} more", words[..SHOWN].join(", "));
    }
    match words.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} {and} {last}", first.join(", ")),
        _ => words.concat(),
    }
}

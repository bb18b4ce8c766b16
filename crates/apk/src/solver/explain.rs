//! Says in words why there is no solution, and what would help.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use super::unsolvable::{Conflict, Demand, Missing, Rejected, Rival, Unsolvable};
use crate::dependency::Dependency;

/// One conflict in words: what, why, and what would help.
#[derive(Default)]
struct Explanation {
    what: String,
    why: Vec<String>,
    help: Vec<String>,
}

impl fmt::Display for Unsolvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no choice of packages satisfies all that is asked for")?;
        let mut said = BTreeSet::new();
        for explanation in self.explanations() {
            write!(f, "\n  {}", explanation.what)?;
            for why in explanation.why {
                if said.insert(why.clone()) {
                    write!(f, "\n    {why}")?;
                }
            }
            for help in explanation.help {
                write!(f, "\n    help: {help}")?;
            }
        }
        Ok(())
    }
}

impl Unsolvable {
    /// One for each cause: what two packages have against each other is said once, and what
    /// follows from another conflict not at all.
    fn explanations(&self) -> Vec<Explanation> {
        let masked: BTreeSet<String> = self
            .conflicts
            .iter()
            .filter_map(|conflict| match conflict {
                Conflict::Package(rejected) if !rejected.masked.is_empty() => {
                    Some(rejected.label())
                }
                _ => None,
            })
            .collect();
        let mut explanations: Vec<Explanation> = Vec::new();
        for conflict in &self.conflicts {
            let explanation = match conflict {
                Conflict::UnknownTag { term, known } => unknown_tag(term, known),
                Conflict::Missing(missing) => self.missing(missing),
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
            let same = |known: &&mut Explanation| known.what == explanation.what;
            match explanations.iter_mut().find(same) {
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
        let name = &missing.name;
        let (what, help) = match missing.providers.as_slice() {
            [] => {
                let what = format!("{what}, which nothing provides in {}", self.searched());
                let help = match &missing.suggestion {
                    Some((meant, package)) if package.starts_with(meant.as_str()) => {
                        format!("did you mean {meant}?")
                    }
                    Some((meant, package)) => {
                        format!("did you mean {meant}, which {package} provides?")
                    }
                    None => format!("correct the name, or add a repository that has {name}"),
                };
                (what, help)
            }
            [only] => (
                format!("{what}, which {only} provides, but not so that it is chosen unasked"),
                format!("ask for {only} by name"),
            ),
            providers => (
                format!("{what}, which several packages provide and none by preference"),
                format!("ask for one of them by name: {}", list(providers, "or")),
            ),
        };
        Explanation {
            what,
            why: demands.iter().filter_map(|demand| reason(demand)).collect(),
            help: vec![help],
        }
    }

    fn searched(&self) -> String {
        let place = match self.repositories.as_slice() {
            [] => "no repository at all".to_owned(),
            repositories => list(repositories, "and"),
        };
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
            why: wanted.iter().filter_map(|demand| reason(demand)).collect(),
            ..Explanation::default()
        };
        if let Some(arch) = &rejected.arch {
            let arches = self.arches.join(", ");
            explanation.what = format!("{wants}, but {label} is for {arch}, not for {arches}");
            let help = format!("add a repository that has {} for {arches}", rejected.name);
            explanation.help.push(help);
        } else if rejected.uninstallable {
            let defects = rejected.defects.join("; ");
            let colon = if defects.is_empty() { "" } else { ": " };
            explanation.what = format!("{wants}, but {label} cannot be installed{colon}{defects}");
            explanation.help.push(ANOTHER.to_owned());
        } else if !rejected.masked.is_empty() {
            explain_masked(&mut explanation, rejected, &wanted, &wants);
        } else if let Some(rival) = rejected.rivals.first() {
            explain_rival(&mut explanation, rejected, rival, &wanted);
        } else if let Some(broken) = rejected.breaks.first() {
            explain_broken(&mut explanation, rejected, broken, &wanted, &wants);
        }
        explanation
    }
}

const ANOTHER: &str = "build the package anew, or ask for another version";

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
    let help = "the search does not go back on a choice: guide it by asking for the packages and \
                versions that you want";
    Explanation {
        what: format!("{wants}, but {package} had been ruled out before other choices were made"),
        why: demands.iter().filter_map(|demand| reason(demand)).collect(),
        help: vec![help.to_owned()],
    }
}

fn unknown_tag(term: &Dependency, known: &[String]) -> Explanation {
    let tag = term.tag.as_deref().unwrap_or_default();
    let known: Vec<String> = known.iter().map(|tag| format!("@{tag}")).collect();
    let help = match known.as_slice() {
        [] => format!("leave out the tag, or give a repository the tag @{tag}"),
        [only] => format!("leave out the tag, or use {only}"),
        known => format!("leave out the tag, or use {}", list(known, "or")),
    };
    Explanation {
        what: format!("{term} is asked for, but no repository has the tag @{tag}"),
        why: Vec::new(),
        help: vec![help],
    }
}

fn explain_masked(
    explanation: &mut Explanation,
    rejected: &Rejected,
    wanted: &[&Demand],
    wants: &str,
) {
    let label = rejected.label();
    let masked = list(&rejected.masked, "and");
    if rejected.masked.iter().any(|place| !place.starts_with('@')) {
        explanation.what = format!("{wants}, but {label} is out of reach ({masked})");
        let help = "allow the network, or fetch the package beforehand";
        explanation.help.push(help.to_owned());
        return;
    }
    explanation.what = format!("{wants}, but {label} is only in a repository tagged {masked}");
    let by_world = wanted.iter().find(|demand| demand.by.is_none());
    let term = match by_world {
        Some(demand) => demand.term.clone(),
        None => Dependency::any(rejected.name.as_str()),
    };
    let tagged = rejected.masked.iter().map(|tag| {
        let tag = Some(tag.trim_start_matches('@').to_owned());
        Dependency {
            tag,
            ..term.clone()
        }
        .to_string()
    });
    let tagged: Vec<String> = tagged.collect();
    explanation
        .help
        .push(format!("ask for {}", list(&tagged, "or")));
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
        explanation.help.push(ANOTHER.to_owned());
    } else {
        // The same words from either side, so that they are said once.
        let mut pair = [label.as_str(), rival.package.as_str()];
        pair.sort_unstable();
        let [first, second] = pair;
        explanation.what =
            format!("{first} and {second} both own the name {name}, which only one package can");
        explanation
            .help
            .push("leave out what needs one of them".to_owned());
    }
    if !wanted.is_empty() {
        explanation.why.insert(0, sentence(wanted));
    }
}

fn explain_broken(
    explanation: &mut Explanation,
    rejected: &Rejected,
    broken: &Demand,
    wanted: &[&Demand],
    wants: &str,
) {
    explanation.why.extend(reason(broken));
    let name = &broken.term.name;
    let breaks = sentence(&[broken]);
    if broken.term.conflict {
        explanation.what = format!("{breaks}, but {wants}");
        explanation.help.push("leave out one of them".to_owned());
        return;
    }
    let there = rejected.alternatives.iter().map(|(label, _)| label.clone());
    let there = list(&there.collect::<Vec<_>>(), "and");
    let will_do = |terms: &[&Dependency]| {
        let offers = rejected.alternatives.iter().filter(|(_, version)| {
            terms
                .iter()
                .all(|term| term.matches(version.as_deref(), None))
        });
        let labels: Vec<String> = offers.map(|(label, _)| label.clone()).collect();
        (!labels.is_empty()).then(|| list(&labels, "or"))
    };
    let mut terms = vec![&broken.term];
    if will_do(&terms).is_none() {
        explanation.what = format!("{breaks}, but there is no such version");
        explanation.help.push(format!("there are {there}"));
        return;
    }
    let wanted = wanted.iter().map(|demand| &demand.term);
    terms.extend(wanted.filter(|term| term.name == *name));
    match will_do(&terms) {
        None if terms.len() > 1 => {
            explanation.what = format!("{breaks} and {wants}, but no {name} is all of that");
            explanation.help.push(format!("there are {there}"));
        }
        None => explanation.what = format!("{breaks}, but {wants}"),
        Some(labels) => {
            explanation.what = format!("{breaks}, but {} was chosen", rejected.label());
            let help = "something else stands against it; ask for it by name to see what";
            explanation
                .help
                .push(format!("{labels} would do, but {help}"));
        }
    }
}

/// `d>1.5 is asked for and b-1 needs d<2.0`; who asks for the same is named together.
fn sentence(demands: &[&Demand]) -> String {
    let mut terms: Vec<&Dependency> = Vec::new();
    for demand in demands {
        if !terms.contains(&&demand.term) {
            terms.push(&demand.term);
        }
    }
    let clauses = terms.iter().map(|term| {
        let same = demands.iter().filter(|demand| demand.term == **term);
        let by_world = same.clone().any(|demand| demand.by.is_none());
        let packages: Vec<String> = same.filter_map(|demand| demand.by.clone()).collect();
        clause(term, by_world, &packages)
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

/// `b-1 is needed by a-3, which is needed by app-1, which is asked for`
fn reason(demand: &Demand) -> Option<String> {
    const SHOWN: usize = 3;
    let by = demand.by.as_deref()?;
    let Some((world, packages)) = demand.because.split_last() else {
        return Some(format!("{by} comes by itself, as its install_if is met"));
    };
    let mut chain = by.to_owned();
    let mut link = " is needed by";
    for package in packages.iter().take(SHOWN) {
        _ = write!(chain, "{link} {package}");
        link = ", which is needed by";
    }
    match packages.len() {
        0 if by.starts_with(world.as_str()) => chain.push_str(" is asked for"),
        0 => _ = write!(chain, " is asked for as {world}"),
        length if length <= SHOWN => chain.push_str(", which is asked for"),
        length => _ = write!(chain, " and, {} further on, by {world}", length - SHOWN),
    }
    Some(chain)
}

/// `a, b and c`, but no more than a person reads.
fn list(words: &[String], and: &str) -> String {
    const SHOWN: usize = 8;
    if words.len() > SHOWN {
        let more = words.len() - SHOWN;
        return format!("{} {and} {more} more", words[..SHOWN].join(", "));
    }
    match words.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} {and} {last}", first.join(", ")),
        _ => words.concat(),
    }
}

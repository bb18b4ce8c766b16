//! Says which architecture lacks what, and what would help.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use super::{
    Blocked, Difference, Disagreement, Member, Place, agree, offered, solve_each, solve_with,
};
use crate::dependency::Dependency;
use crate::solver::remedy::{Adjustment, Remedy};
use crate::solver::request::{Candidate, Repository, Request, Solution, Sources};
use crate::solver::state::Banned;
use crate::solver::universe::Universe;
use crate::version::{Version, compare};

/// How many versions of a name are said.
const SHOWN: usize = 4;

/// What keeps the members, which `alone` solves each by itself, from equal versions.
pub(super) fn explain(
    members: &[Member<'_, '_>],
    alone: &[Solution<'_>],
    blocked: &Blocked,
    limited: bool,
) -> Disagreement {
    let names = match blocked {
        Blocked::Nothing(name) => vec![name.clone()],
        Blocked::Unsolvable(at, banned) => culprits(&members[*at], banned),
    };
    let names: Vec<Difference> = names
        .into_iter()
        .map(|name| difference(members, alone, name))
        .collect();
    let remedies = remedies(members, &names);
    Disagreement {
        names,
        remedies,
        limited,
    }
}

/// The names whose versions have to be allowed again, all others being without part in it.
fn culprits(member: &Member<'_, '_>, banned: &Banned) -> Vec<String> {
    let mut needed = banned.clone();
    for name in banned.keys() {
        let mut fewer = needed.clone();
        fewer.remove(name);
        if solve_with(member, &fewer).is_err() {
            needed = fewer;
        }
    }
    needed.into_keys().collect()
}

fn difference(members: &[Member<'_, '_>], alone: &[Solution<'_>], name: String) -> Difference {
    let places = members.iter().zip(alone).map(|(member, solution)| {
        let mut packages = solution.packages().map(|selected| selected.package);
        let chosen = packages.find(|package| package.name == name);
        let mut offered: Vec<String> = offered(member, &name, &Banned::new()).into_iter().collect();
        offered.sort_by(|left, right| compare(right, left).then_with(|| right.cmp(left)));
        Place {
            arch: member.arch.to_owned(),
            offered,
            chosen: chosen.map(|package| package.version.clone()),
            chain: chosen.map_or_else(Vec::new, |package| {
                chain(solution, member.request.world, package)
            }),
        }
    });
    let places = places.collect();
    Difference { name, places }
}

/// From a term of the world to `target`, by the shortest way.
fn chain(solution: &Solution<'_>, world: &[Dependency], target: &Candidate) -> Vec<String> {
    let packages: Vec<&Candidate> = solution
        .packages()
        .map(|selected| selected.package)
        .collect();
    let meets = |package: &Candidate, term: &Dependency| {
        let own = package.name == term.name && term.matches(Some(&package.version), None);
        own || package.provides.iter().any(|provided| {
            let version = provided.version().map(|version| version.as_str());
            provided.name == term.name && term.matches(version, None)
        })
    };
    let mut seen = vec![false; packages.len()];
    let mut queue: VecDeque<(&Dependency, Vec<String>)> = VecDeque::new();
    for term in world.iter().filter(|term| !term.conflict) {
        queue.push_back((term, vec![term.to_string()]));
    }
    while let Some((term, chain)) = queue.pop_front() {
        for (at, package) in packages.iter().enumerate() {
            if seen[at] || !meets(package, term) {
                continue;
            }
            seen[at] = true;
            let mut chain = chain.clone();
            chain.push(format!("{}-{}", package.name, package.version));
            if std::ptr::eq(*package, target) {
                return chain;
            }
            for term in package.depends.iter().filter(|term| !term.conflict) {
                queue.push_back((term, chain.clone()));
            }
        }
    }
    vec![format!("{}-{}", target.name, target.version)]
}

/// Changes to the members' requests or sources, after each of which they agree.
fn remedies(members: &[Member<'_, '_>], names: &[Difference]) -> Vec<Remedy> {
    let mut options = Vec::new();
    for difference in names {
        options.extend(additions(difference));
        for place in &difference.places {
            let head = place.chain.first();
            let member = members.iter().find(|member| member.arch == place.arch);
            let Some((head, member)) = head.zip(member) else {
                continue;
            };
            let mut world = member.request.world.iter();
            if let Some(term) = world.find(|term| term.to_string() == *head) {
                options.push(Adjustment::NotFor {
                    term: term.clone(),
                    arch: place.arch.clone(),
                });
            }
        }
    }
    let mut remedies: Vec<Remedy> = Vec::new();
    for change in options {
        let remedy = Remedy {
            changes: vec![change],
        };
        if !remedies.contains(&remedy) && helps(members, &remedy.changes[0]) {
            remedies.push(remedy);
        }
    }
    remedies
}

/// What one architecture chooses, for those that chose another version and lack it.
fn additions(difference: &Difference) -> Vec<Adjustment> {
    let chosen = difference.places.iter().filter(|of| of.chosen.is_some());
    let newest = chosen
        .clone()
        .filter_map(|place| place.chosen.as_ref())
        .max_by(|left, right| compare(left, right).then_with(|| left.cmp(right)));
    let Some(version) = newest else {
        return Vec::new();
    };
    let arches: Vec<String> = chosen
        .filter(|place| !place.offered.contains(version))
        .map(|place| place.arch.clone())
        .collect();
    let Ok(version) = Version::parse(version) else {
        return Vec::new();
    };
    if arches.is_empty() {
        return Vec::new();
    }
    let terms = vec![Dependency::exact(difference.name.as_str(), version)];
    vec![Adjustment::AddRepository { terms, arches }]
}

/// Whether the members agree once the change is made.
fn helps(members: &[Member<'_, '_>], change: &Adjustment) -> bool {
    let worlds: Vec<Vec<Dependency>> = members
        .iter()
        .map(|member| {
            let mut world = member.request.world.to_vec();
            if let Adjustment::NotFor { term, arch } = change
                && member.arch == arch
            {
                world.retain(|known| known != term);
            }
            world
        })
        .collect();
    let supplied: Vec<Option<Candidate>> = members
        .iter()
        .map(|member| supply(member, change))
        .collect();
    let repositories: Vec<Vec<Repository<'_>>> = members
        .iter()
        .zip(&supplied)
        .map(|(member, supplied)| {
            let mut repositories = member.universe.sources().repositories.to_vec();
            repositories.extend(supplied.as_ref().map(|package| Repository {
                name: "",
                tag: None,
                available: true,
                packages: std::slice::from_ref(package),
            }));
            repositories
        })
        .collect();
    let universes: Vec<Option<Universe<'_>>> = members
        .iter()
        .zip(&supplied)
        .zip(&repositories)
        .map(|((member, supplied), repositories)| {
            supplied.as_ref().map(|_| {
                Universe::new(Sources {
                    repositories,
                    ..*member.universe.sources()
                })
            })
        })
        .collect();
    let changed: Vec<Member<'_, '_>> = members
        .iter()
        .zip(&worlds)
        .zip(&universes)
        .map(|((member, world), universe)| Member {
            arch: member.arch,
            universe: universe.as_ref().unwrap_or(member.universe),
            request: Request {
                world,
                ..member.request
            },
        })
        .collect();
    match solve_each(&changed) {
        Ok(alone) => agree(&changed, alone).is_ok(),
        Err(_) => false,
    }
}

/// The package that the change adds for this member: like the one that it has of that name, but of
/// the version wanted.
fn supply(member: &Member<'_, '_>, change: &Adjustment) -> Option<Candidate> {
    let Adjustment::AddRepository { terms, arches } = change else {
        return None;
    };
    let term = terms.first()?;
    let version = term.version()?;
    if !arches.iter().any(|arch| arch == member.arch) {
        return None;
    }
    let like = member.universe.providers_of(&term.name);
    let like = like
        .map(|selected| selected.package)
        .filter(|package| package.name == term.name)
        .max_by(|left, right| compare(&left.version, &right.version))?;
    let mut package = like.clone();
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

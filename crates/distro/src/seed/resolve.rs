//! From the list of names to a lock: the closure of dependencies over a suite.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Arch, Reporter, Task, Unit, Verb};
use store::Store;
use store::apt::{Apt, Lists, Package};

use super::relation::Relation;
use super::{Ground, Lock, LockedPackage, Seed, SeedError};

/// Names every .deb that the seed's packages need, for each of `arches`, beside those that are in
/// the `ground` it stands upon. Recommendations are not followed. Of alternatives, the first that
/// is taken already is taken, else the first there is.
///
/// # Errors
/// The lists can't be fetched, or a dependency has no provider.
pub fn resolve(
    seed: &Seed,
    ground: Option<&Ground>,
    arches: &[Arch],
    offline: bool,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<Lock, SeedError> {
    let mut packages = BTreeMap::new();
    for arch in arches {
        let subject = format!("the seed for {arch}");
        let task = Task::start(reporter, Verb::Solve, &subject, None, Unit::Items);
        let suites = [seed.suite.clone()];
        let apt = Apt::open(store, Lists::Packages(*arch), &suites, offline)?;
        let list = apt.packages()?;
        packages.insert(*arch, closure(seed, ground, *arch, &list)?);
        task.done();
    }
    Ok(Lock {
        suite: seed.suite.clone(),
        packages,
    })
}

struct Suite<'p> {
    by_name: BTreeMap<&'p str, &'p Package>,
    /// Virtual packages, and what provides them, by name.
    providers: BTreeMap<String, BTreeSet<&'p str>>,
}

impl<'p> Suite<'p> {
    fn of(list: &'p [Package]) -> Suite<'p> {
        let mut by_name: BTreeMap<&str, &Package> = BTreeMap::new();
        for package in list {
            let known = by_name.entry(&package.name).or_insert(package);
            let order = super::debian_version::compare(&package.version, &known.version);
            if order == std::cmp::Ordering::Greater {
                *known = package;
            }
        }
        let mut providers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for package in by_name.values() {
            for provided in Relation::parse(&package.provides).into_iter().flatten() {
                providers
                    .entry(provided.name)
                    .or_default()
                    .insert(&package.name);
            }
        }
        Suite { by_name, providers }
    }

    /// The packages that satisfy an alternative: the one of that name, else those that provide it.
    fn satisfying(&self, relation: &Relation) -> Vec<&'p Package> {
        if let Some(package) = self.by_name.get(relation.name.as_str()) {
            if relation.accepts(&package.version) {
                return vec![package];
            }
            return Vec::new();
        }
        self.providers
            .get(&relation.name)
            .into_iter()
            .flatten()
            .filter_map(|name| self.by_name.get(name).copied())
            .collect()
    }
}

fn closure(
    seed: &Seed,
    ground: Option<&Ground>,
    arch: Arch,
    list: &[Package],
) -> Result<Vec<LockedPackage>, SeedError> {
    let given = ground.and_then(|ground| ground.lock.packages.get(&arch));
    let given: BTreeSet<&str> = given
        .into_iter()
        .flatten()
        .map(|locked| locked.package.as_str())
        .collect();
    let seed = &match ground {
        Some(ground) => seed.with_ground(&ground.seed),
        None => seed.clone(),
    };
    let suite = Suite::of(list);
    let unsatisfied = |relation: String, by: Option<&str>| SeedError::Unsatisfied {
        suite: seed.suite.clone(),
        arch,
        relation,
        by: by.map(str::to_owned),
    };
    let mut chosen: BTreeSet<&str> = given.clone();
    let mut queue: VecDeque<&Package> = VecDeque::new();
    for name in &seed.packages {
        let package = suite
            .by_name
            .get(name.as_str())
            .ok_or_else(|| unsatisfied(name.clone(), None))?;
        if chosen.insert(&package.name) {
            queue.push_back(package);
        }
    }
    while let Some(package) = queue.pop_front() {
        let fields = format!("{},{}", package.pre_depends, package.depends);
        for group in Relation::parse(&fields) {
            if is_ignored(seed, &package.name, &group) {
                continue;
            }
            let candidates: Vec<&Package> = group
                .iter()
                .flat_map(|relation| suite.satisfying(relation))
                .filter(|candidate| !seed.ignore.contains(&candidate.name))
                .collect();
            if candidates
                .iter()
                .any(|candidate| chosen.contains(candidate.name.as_str()))
            {
                continue;
            }
            let first = candidates.first().ok_or_else(|| {
                let names: Vec<&str> = group.iter().map(|one| one.name.as_str()).collect();
                unsatisfied(names.join(" | "), Some(&package.name))
            })?;
            chosen.insert(&first.name);
            queue.push_back(first);
        }
    }
    Ok(chosen
        .into_iter()
        .filter(|name| !given.contains(name))
        .filter_map(|name| suite.by_name.get(name))
        .map(|package| LockedPackage {
            package: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            sha256: package.file.digest,
            size: package.file.size,
            path: package.file.path.clone(),
        })
        .collect())
}

/// Whether the seed does without this dependency of `package`.
pub(super) fn is_ignored(seed: &Seed, package: &str, group: &[Relation]) -> bool {
    let own = seed.ignore_dependencies.get(package);
    group.iter().any(|relation| {
        seed.ignore.contains(&relation.name)
            || own.is_some_and(|names| names.contains(&relation.name))
    })
}

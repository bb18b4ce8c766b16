//! Small random repositories, solved by trying every set of packages.

use std::sync::Arc;

use proptest::prelude::*;

use super::in_one_repository;
use crate::dependency::Dependency;
use crate::solver::request::shared;
use crate::solver::{Adjustment, Candidate, Request, Search, Unsolvable};

/// Whether the packages of `set` satisfy the world and each other, side by side.
pub(super) fn is_consistent(set: &[&Candidate], world: &[Dependency]) -> bool {
    let owns = |package: &Candidate, name: &str| {
        package.name == name
            || package
                .provides
                .iter()
                .any(|provided| provided.name == name && provided.version().is_some())
    };
    let has = |package: &Candidate, name: &str| {
        package.name == name
            || package
                .provides
                .iter()
                .any(|provided| provided.name == name)
    };
    for (index, package) in set.iter().enumerate() {
        let names = std::iter::once(&package.name)
            .chain(package.provides.iter().map(|provided| &provided.name));
        for name in names {
            // A name that one owns, no other has.
            let others = set.iter().enumerate().filter(|(other, _)| *other != index);
            let mut others = others.map(|(_, other)| *other);
            if owns(package, name) && others.any(|other| has(other, name)) {
                return false;
            }
        }
    }
    let meets = |package: &Candidate, term: &Dependency| {
        let own = (package.name == term.name).then_some(Some(package.version.as_str()));
        let provided = package
            .provides
            .iter()
            .filter(|provided| provided.name == term.name);
        let provided = provided.map(|of| of.version().map(|version| version.as_str()));
        own.into_iter()
            .chain(provided)
            .any(|version| term.matches(version, None))
    };
    let satisfied = |by: Option<usize>, term: &Dependency| {
        let mut others = set.iter().enumerate();
        match term.conflict {
            false => others.any(|(_, package)| meets(package, term)),
            true => !others.any(|(other, package)| by != Some(other) && meets(package, term)),
        }
    };
    world.iter().all(|term| satisfied(None, term))
        && set.iter().enumerate().all(|(index, package)| {
            package
                .depends
                .iter()
                .all(|term| satisfied(Some(index), term))
        })
}

fn is_solvable(packages: &[Candidate], world: &[Dependency]) -> bool {
    (0u32..1 << packages.len()).any(|bits| {
        let chosen = packages.iter().enumerate();
        let chosen = chosen.filter(|(index, _)| bits & (1 << index) != 0);
        let set: Vec<&Candidate> = chosen.map(|(_, package)| package).collect();
        is_consistent(&set, world)
    })
}

fn solve(packages: &[Candidate], world: &[Dependency]) -> Result<Vec<Candidate>, Unsolvable> {
    in_one_repository(packages, &[], |universe| {
        let solution = universe.solve(&Request {
            world,
            ..Request::default()
        })?;
        let packages = solution.packages();
        Ok(packages.map(|selected| selected.package.clone()).collect())
    })
}

/// The versions that what a repository is added for may have, for each such change.
fn supplied(changes: &[&Adjustment]) -> Vec<Vec<String>> {
    let mut choices = vec![Vec::new()];
    for change in changes.iter().rev() {
        let Adjustment::AddRepository { terms, .. } = change else {
            continue;
        };
        let accepted = ["0", "1", "1.1", "2", "3"].into_iter().flat_map(|version| {
            ["", "_alpha", "-r1", "-r1000000"].map(|suffix| format!("{version}{suffix}"))
        });
        let accepted: Vec<String> = accepted
            .filter(|version| {
                let meets = |term: &Dependency| term.matches(Some(version), None) != term.conflict;
                terms.iter().all(meets)
            })
            .collect();
        choices = choices
            .iter()
            .flat_map(|choice: &Vec<String>| {
                let longer =
                    |version: &String| [choice.as_slice(), std::slice::from_ref(version)].concat();
                accepted.iter().map(longer).collect::<Vec<_>>()
            })
            .collect();
    }
    choices
}

/// Makes a change, without the solver's help. `versions` are those of packages to be added, the
/// last first.
fn apply(
    change: &Adjustment,
    versions: &mut Vec<String>,
    packages: &mut Vec<Candidate>,
    world: &mut Vec<Dependency>,
) {
    match change {
        Adjustment::UseTag { term, with }
        | Adjustment::Rename { term, with }
        | Adjustment::Narrow { term, with }
        | Adjustment::Relax { term, with } => {
            assert!(world.contains(term), "{change}");
            for known in world.iter_mut().filter(|known| *known == term) {
                *known = with.clone();
            }
        }
        Adjustment::Add { term } => world.push(term.clone()),
        Adjustment::Drop { term } => world.retain(|known| known != term),
        Adjustment::AddRepository { terms, .. } => packages.push(Candidate {
            name: terms[0].name.clone(),
            version: versions.pop().unwrap(),
            size: 1,
            installed_size: 1,
            ..Candidate::default()
        }),
        Adjustment::RelaxPackage {
            package,
            term,
            with,
        } => {
            let labelled = |of: &&mut Candidate| format!("{}-{}", of.name, of.version) == *package;
            for package in packages.iter_mut().filter(labelled) {
                assert!(
                    package.depends.iter().any(|known| **known == *term),
                    "{change}"
                );
                let depends = std::mem::take(&mut package.depends).into_iter();
                let depends = depends.filter_map(|known| match *known == *term {
                    true => with.clone().map(Arc::new),
                    false => Some(known),
                });
                package.depends = depends.collect();
            }
        }
        Adjustment::WithoutPreference { .. }
        | Adjustment::AllowNetwork
        | Adjustment::NotFor { .. } => panic!("{change}"),
    }
}

fn term() -> impl Strategy<Value = Dependency> {
    let text = (
        prop::sample::select(vec!["", "", "", "", "", "!"]),
        prop::sample::select(vec!["a", "b", "c", "d", "v", "w"]),
        prop::sample::select(vec!["", "", "", "", "=1", "<2", ">1", "~1", "<=2", ">=2"]),
    );
    text.prop_map(|(not, name, constraint)| {
        Dependency::parse(&format!("{not}{name}{constraint}")).unwrap()
    })
}

pub(super) fn positive() -> impl Strategy<Value = Dependency> {
    term().prop_map(|term| Dependency {
        conflict: false,
        ..term
    })
}

fn provided() -> impl Strategy<Value = Dependency> {
    prop::sample::select(vec!["v", "w", "v=1", "v=2", "w=1", "w=3", "a=2"])
        .prop_map(|text| Dependency::parse(text).unwrap())
}

fn candidate() -> impl Strategy<Value = Candidate> {
    (
        prop::sample::select(vec!["a", "b", "c", "d"]),
        prop::sample::select(vec!["1", "1.1", "2"]),
        prop::collection::vec(term(), 0..3),
        prop::collection::vec(provided(), 0..2),
        prop::option::weighted(0.15, prop::collection::vec(positive(), 1..3)),
        prop::sample::select(vec![0, 0, 10, 20]),
    )
        .prop_map(
            |(name, version, depends, provides, install_if, provider_priority)| Candidate {
                name: name.to_owned(),
                version: version.to_owned(),
                depends: shared(depends),
                provides: shared(provides),
                install_if: shared(install_if.unwrap_or_default()),
                provider_priority,
                size: 1,
                installed_size: 1,
                ..Candidate::default()
            },
        )
}

/// At most one package of a name and version, as in an index.
pub(super) fn repository() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(candidate(), 0..9).prop_map(|mut packages| {
        packages
            .sort_by(|left, right| (&left.name, &left.version).cmp(&(&right.name, &right.version)));
        packages.dedup_by(|left, right| left.name == right.name && left.version == right.version);
        packages
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn solutions_are_consistent(
        packages in repository(),
        world in prop::collection::vec(term(), 1..4),
    ) {
        let solution = solve(&packages, &world);
        match &solution {
            Ok(set) => {
                let set: Vec<&Candidate> = set.iter().collect();
                prop_assert!(is_consistent(&set, &world), "{set:#?}");
            }
            Err(unsolvable) => {
                prop_assert!(!unsolvable.to_string().is_empty());
                prop_assert!(!unsolvable.conflicts.is_empty(), "no reason: {unsolvable}");
            }
        }
        prop_assert_eq!(solve(&packages, &world), solution);
        let mut reversed = world.clone();
        reversed.reverse();
        let names: std::collections::BTreeSet<&String> =
            world.iter().map(|term| &term.name).collect();
        if names.len() == world.len() {
            prop_assert_eq!(solve(&packages, &reversed), solve(&packages, &world));
        }
    }

    /// Whatever is proposed helps, and there is always something; and no fewer terms could have
    /// been dropped.
    #[test]
    fn remedies_hold(
        packages in repository(),
        world in prop::collection::btree_map("[abcdvwx]", term(), 1..5),
    ) {
        let world: Vec<Dependency> = world
            .into_iter()
            .map(|(name, term)| Dependency { name, ..term })
            .collect();
        let Err(unsolvable) = solve(&packages, &world) else { return Ok(()) };
        // A few in ten thousand take more attempts than are made; what is proposed then has to help
        // all the same.
        let complete = unsolvable.search == Search::Complete;
        if !complete && unsolvable.causes.iter().any(|cause| cause.remedies.is_empty()) {
            return Ok(());
        }
        let mut changes = 0;
        for (at, cause) in unsolvable.causes.iter().enumerate() {
            prop_assert!(solve(&packages, &cause.terms).is_err(), "{unsolvable}");
            prop_assert!(!cause.remedies.is_empty(), "{unsolvable}");
            changes += cause.remedies[0].changes.len();
            for remedy in &cause.remedies {
                let remedies = unsolvable.causes.iter().enumerate().map(|(other, cause)| {
                    if other == at { remedy } else { &cause.remedies[0] }
                });
                let changes: Vec<&Adjustment> =
                    remedies.flat_map(|remedy| &remedy.changes).collect();
                let solved = supplied(&changes).into_iter().any(|mut versions| {
                    let (mut packages, mut world) = (packages.clone(), world.clone());
                    for change in &changes {
                        apply(change, &mut versions, &mut packages, &mut world);
                    }
                    solve(&packages, &world).is_ok()
                });
                prop_assert!(solved, "{unsolvable}\n{changes:?}");
            }
        }
        let drops = (0u32..1 << world.len()).filter(|bits| {
            let kept = world.iter().enumerate();
            let kept = kept.filter(|(index, _)| bits & (1 << index) == 0);
            let kept: Vec<Dependency> = kept.map(|(_, term)| term.clone()).collect();
            solve(&packages, &kept).is_ok()
        });
        let fewest = drops.map(u32::count_ones).min().unwrap();
        prop_assert!(!complete || changes <= fewest as usize, "{fewest} drops\n{unsolvable}");
    }

    /// Where nothing competes, what brute force can solve is solved, and the order of the index
    /// does not matter.
    #[test]
    fn what_needs_no_choice_is_solved(
        packages in repository(),
        world in prop::collection::vec(positive(), 1..4),
        rotation in 0..8usize,
    ) {
        let mut packages = packages;
        packages.dedup_by(|left, right| left.name == right.name);
        for package in &mut packages {
            package.depends.retain(|term| !term.conflict);
            package.provides.clear();
            package.install_if.clear();
        }
        let solution = solve(&packages, &world);
        prop_assert_eq!(solution.is_ok(), is_solvable(&packages, &world));
        let rotation = rotation % packages.len().max(1);
        packages.rotate_left(rotation);
        prop_assert_eq!(solve(&packages, &world).ok(), solution.ok());
    }
}

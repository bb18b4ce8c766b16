//! Several architectures, one version of each name.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::brute_force::{is_consistent, positive, repository};
use super::packages;
use crate::dependency::Dependency;
use crate::solver::joint::{self, JointError, Member};
use crate::solver::{Candidate, Repository, Request, Sources, Universe};

const ARCHES: [&str; 3] = ["x86_64", "aarch64", "riscv64"];

/// What is chosen for each index, or why nothing is.
fn solve(
    indexes: &[Vec<Candidate>],
    world: &[Dependency],
) -> Result<Vec<Vec<Candidate>>, JointError> {
    let repositories: Vec<[Repository<'_>; 1]> = indexes
        .iter()
        .map(|packages| {
            [Repository {
                name: "./packages",
                tag: None,
                available: true,
                packages,
            }]
        })
        .collect();
    let universes: Vec<Universe<'_>> = repositories
        .iter()
        .zip(&ARCHES)
        .map(|(repositories, arch)| {
            Universe::new(Sources {
                arches: std::slice::from_ref(arch),
                repositories,
                ..Sources::default()
            })
        })
        .collect();
    let members: Vec<Member<'_, '_>> = universes
        .iter()
        .zip(ARCHES)
        .map(|(universe, arch)| Member {
            arch,
            universe,
            request: Request {
                world,
                ..Request::default()
            },
        })
        .collect();
    let solutions = joint::solve(&members)?;
    let packages = solutions.iter().map(|solution| {
        let packages = solution.packages();
        packages.map(|selected| selected.package.clone()).collect()
    });
    Ok(packages.collect())
}

/// One line for each architecture, or the explanation.
fn said(indexes: &[&str], world: &str) -> String {
    let indexes: Vec<Vec<Candidate>> = indexes.iter().map(|text| packages(text)).collect();
    let world = Dependency::parse_list(world).unwrap();
    let chosen = match solve(&indexes, &world) {
        Ok(chosen) => chosen,
        Err(error) => return error.to_string(),
    };
    let lines = chosen.iter().zip(ARCHES).map(|(packages, arch)| {
        let packages: Vec<String> = packages
            .iter()
            .map(|package| format!("{}-{}", package.name, package.version))
            .collect();
        format!("{arch}: {}", packages.join(" "))
    });
    lines.collect::<Vec<String>>().join("\n")
}

#[test]
fn the_newest_that_all_have() {
    let index = "app-1 depends: lib
        lib-1.0
        lib-1.1";
    insta::assert_snapshot!(said(&[index, index], "app"), @"
    x86_64: lib-1.1 app-1
    aarch64: lib-1.1 app-1
    ");
    let newer = format!("{index}\nlib-1.2");
    insta::assert_snapshot!(said(&[index, &newer, &newer], "app"), @"
    x86_64: lib-1.1 app-1
    aarch64: lib-1.1 app-1
    riscv64: lib-1.1 app-1
    ");
    // What is needed in just that version follows.
    let split = "app-1 depends: tool
        tool-1 depends: tool-libs=1
        tool-libs-1";
    let newer = format!("{split}\ntool-2 depends: tool-libs=2\ntool-libs-2");
    insta::assert_snapshot!(said(&[split, &newer], "app"), @"
    x86_64: tool-libs-1 tool-1 app-1
    aarch64: tool-libs-1 tool-1 app-1
    ");
    // Each has what the other lacks, beside one that both have.
    insta::assert_snapshot!(said(&["a-1\na-2\na-4", "a-1\na-2\na-3"], "a"), @"
    x86_64: a-2
    aarch64: a-2
    ");
    // A name that only one of them chooses is free.
    insta::assert_snapshot!(said(&["a-1 depends: b\nb-2", "a-1\nb-1"], "a"), @"
    x86_64: b-2 a-1
    aarch64: a-1
    ");
}

/// Lowering what is newer leads nowhere, but the other one can do without.
#[test]
fn a_choice_is_taken_back() {
    let first = "app-1 depends: lib>1
        lib-1
        lib-2";
    let second = "app-1 depends: feature
        feature-1 depends: lib; provides: f=1
        feature-0 provides: f=0
        lib-1";
    insta::assert_snapshot!(said(&[first, second], "app"), @"
    x86_64: lib-2 app-1
    aarch64: feature-0 app-1
    ");
}

#[test]
fn no_version_in_common() {
    let first = "app-1.1 depends: lib>=2
        lib-2.0-r1
        lib-1-r0";
    let second = "app-1.1 depends: lib>=2
        lib-2.0-r0
        other-1";
    insta::assert_snapshot!(said(&[first, second], "app"), @"
    no choice of packages has the same versions for aarch64, x86_64
      lib has to be the same, but
        x86_64 has 2.0-r1, 1-r0 (app → app-1.1 → lib-2.0-r1)
        aarch64 has 2.0-r0 (app → app-1.1 → lib-2.0-r0)
        help: add a repository that has lib=2.0-r1 for aarch64
        or: leave app out for x86_64
        or: leave app out for aarch64
    ");
    insta::assert_snapshot!(said(&["app-1 depends: lib\nlib-1", "app-1 depends: lib\nlib-2"], "app"), @"
    no choice of packages has the same versions for aarch64, x86_64
      lib has to be the same, but
        x86_64 has 1 (app → app-1 → lib-1)
        aarch64 has 2 (app → app-1 → lib-2)
        help: add a repository that has lib=2 for x86_64
        or: leave app out for x86_64
        or: leave app out for aarch64
    ");
}

#[test]
fn one_has_no_solution_by_itself() {
    let first = "app-1 depends: lib\nlib-1\nshell-2";
    let second = "app-1 depends: lib\nshell-2";
    insta::assert_snapshot!(said(&[first, second], "app shell"), @"
    for aarch64, no choice of packages satisfies all that is asked for
      app-1 needs lib, which nothing provides in ./packages (aarch64)
        app → app-1 → lib
        help: leave app out for aarch64
        or: add a repository that has lib for aarch64
    ");
    insta::assert_snapshot!(said(&[second, second], "app shell"), @"
    for x86_64, no choice of packages satisfies all that is asked for
      app-1 needs lib, which nothing provides in ./packages (x86_64)
        app → app-1 → lib
        help: drop app from the world
        or: add a repository that has lib for x86_64
    ");
}

fn versions_are_equal(chosen: &[Vec<Candidate>]) -> bool {
    let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
    chosen.iter().flatten().all(|package| {
        let known = versions.entry(&package.name).or_insert(&package.version);
        *known == package.version
    })
}

/// Whether there are sets of packages, one of each index, of equal versions.
fn is_solvable(indexes: &[Vec<Candidate>], world: &[Dependency]) -> bool {
    let sets = |packages: &[Candidate]| -> Vec<Vec<Candidate>> {
        let subsets = (0u32..1 << packages.len()).map(|bits| {
            let chosen = packages.iter().enumerate();
            let chosen = chosen.filter(|(index, _)| bits & (1 << index) != 0);
            chosen.map(|(_, package)| package.clone()).collect()
        });
        let consistent = |set: &Vec<Candidate>| {
            let set: Vec<&Candidate> = set.iter().collect();
            is_consistent(&set, world)
        };
        subsets.filter(consistent).collect()
    };
    let (first, second) = (sets(&indexes[0]), sets(&indexes[1]));
    first.iter().any(|first| {
        second
            .iter()
            .any(|second| versions_are_equal(&[first.clone(), second.clone()]))
    })
}

/// Two indexes that have most packages in common.
fn indexes() -> impl Strategy<Value = Vec<Vec<Candidate>>> {
    (repository(), any::<u16>(), any::<u16>()).prop_map(|(packages, first, second)| {
        let part = |bits: u16| {
            let packages = packages.iter().enumerate();
            let packages = packages.filter(|(index, _)| bits & (1 << index) != 0);
            packages.map(|(_, package)| package.clone()).collect()
        };
        vec![part(first | first << 4), part(second | second >> 4)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn joint_solutions_are_consistent_and_equal(
        indexes in indexes(),
        world in prop::collection::vec(positive(), 1..3),
    ) {
        let joint = solve(&indexes, &world);
        let alone: Vec<_> = indexes
            .iter()
            .map(|index| solve(std::slice::from_ref(index), &world))
            .collect();
        match &joint {
            Ok(chosen) => {
                prop_assert!(versions_are_equal(chosen), "{chosen:#?}");
                for set in chosen {
                    let set: Vec<&Candidate> = set.iter().collect();
                    prop_assert!(is_consistent(&set, &world), "{set:#?}");
                }
            }
            Err(JointError::Unsolvable { .. }) => {
                prop_assert!(alone.iter().any(Result::is_err));
            }
            Err(JointError::Versions(disagreement)) => {
                prop_assert!(!disagreement.names.is_empty());
                prop_assert!(!disagreement.to_string().is_empty());
            }
        }
        let alone: Result<Vec<_>, _> = alone.into_iter().collect();
        if let Ok(alone) = alone {
            let alone: Vec<Vec<Candidate>> = alone.into_iter().flatten().collect();
            if versions_are_equal(&alone) {
                prop_assert_eq!(joint, Ok(alone));
            }
        }
    }

    /// Where packages compete for nothing but their versions, what brute force can solve is
    /// solved.
    #[test]
    fn joint_solutions_are_found(
        indexes in indexes(),
        world in prop::collection::vec(positive(), 1..3),
    ) {
        let mut indexes = indexes;
        for package in indexes.iter_mut().flatten() {
            package.depends.retain(|term| !term.conflict);
            package.provides.clear();
            package.install_if.clear();
        }
        let joint = solve(&indexes, &world);
        if !matches!(joint, Err(JointError::Unsolvable { .. })) {
            prop_assert_eq!(joint.is_ok(), is_solvable(&indexes, &world), "{:#?}", joint);
        }
    }
}

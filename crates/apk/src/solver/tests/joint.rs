//! Several architectures, one version of each name.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::brute_force::{is_consistent, positive, repository};
use super::packages;
use crate::dependency::Dependency;
use crate::solver::joint::{self, Disagreement, JointError, Member};
use crate::solver::{
    Adjustment, Candidate, Installed, Remedy, Repository, Request, Sources, Universe,
};

const ARCHES: [&str; 4] = ["x86_64", "aarch64", "riscv64", "armv7"];

/// What is chosen for each index, or why nothing is.
fn solve(
    indexes: &[Vec<Candidate>],
    world: &[Dependency],
) -> Result<Vec<Vec<Candidate>>, JointError> {
    let members: Vec<Asked<'_>> = indexes.iter().zip(ARCHES).collect();
    solve_each_for(&members, |_| world.to_vec())
}

/// Those that are asked for `worlds`, each in a universe of its own.
fn members<'m, 'a>(
    universes: &'m [Universe<'a>],
    worlds: &'m [Vec<Dependency>],
    arches: impl IntoIterator<Item = &'static str>,
) -> Vec<Member<'m, 'a>> {
    let member = |((universe, world), arch): ((&'m Universe<'a>, &'m Vec<Dependency>), _)| Member {
        arch,
        universe,
        request: Request {
            world: world.as_slice(),
            ..Request::default()
        },
    };
    universes
        .iter()
        .zip(worlds)
        .zip(arches)
        .map(member)
        .collect()
}

/// An index, and for which architecture it is.
type Asked<'a> = (&'a Vec<Candidate>, &'static str);

/// The same, each architecture with a world of its own.
fn solve_each_for(
    asked: &[Asked<'_>],
    world: impl Fn(&str) -> Vec<Dependency>,
) -> Result<Vec<Vec<Candidate>>, JointError> {
    let worlds: Vec<Vec<Dependency>> = asked.iter().map(|(_, arch)| world(arch)).collect();
    let repositories: Vec<[Repository<'_>; 1]> = asked
        .iter()
        .map(|(packages, _)| {
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
        .zip(asked)
        .map(|(repositories, (_, arch))| {
            Universe::new(Sources {
                arches: std::slice::from_ref(arch),
                repositories,
                ..Sources::default()
            })
        })
        .collect();
    let arches = asked.iter().map(|(_, arch)| *arch);
    let members = members(&universes, &worlds, arches);
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
        aarch64 has 2.0-r0 (app → app-1.1 → lib-2.0-r0)
        x86_64 has 2.0-r1, 1-r0 (app → app-1.1 → lib-2.0-r1)
        help: add a repository that has lib=2.0-r1 for aarch64
        or: leave app out for aarch64
        or: leave app out for x86_64
    ");
    insta::assert_snapshot!(said(&["app-1 depends: lib\nlib-1", "app-1 depends: lib\nlib-2"], "app"), @"
    no choice of packages has the same versions for aarch64, x86_64
      lib has to be the same, but
        aarch64 has 2 (app → app-1 → lib-2)
        x86_64 has 1 (app → app-1 → lib-1)
        help: add a repository that has lib=2 for x86_64
        or: leave app out for aarch64
        or: leave app out for x86_64
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
    for aarch64, no choice of packages satisfies all that is asked for
      app-1 needs lib, which nothing provides in ./packages (aarch64)
        app → app-1 → lib
        help: drop app from the world
        or: add a repository that has lib for aarch64
    ");
}

/// What is newer on one architecture in several names: all of it has to come to the other, also what
/// differs only then.
#[test]
fn several_names_without_a_version_in_common() {
    let older = "app-1 depends: lib tool
        lib-1
        tool-1
        data-1
        other-1";
    let newer = "app-1 depends: lib tool
        lib-2 depends: extra
        tool-2
        data-2
        extra-2
        other-1
        other-2 depends: extra";
    insta::assert_snapshot!(said(&[older, newer], "app data other"), @"
    no choice of packages has the same versions for aarch64, x86_64
      data has to be the same, but
        aarch64 has 2 (data → data-2)
        x86_64 has 1 (data → data-1)
      lib has to be the same, but
        aarch64 has 2 (app → app-1 → lib-2)
        x86_64 has 1 (app → app-1 → lib-1)
      tool has to be the same, but
        aarch64 has 2 (app → app-1 → tool-2)
        x86_64 has 1 (app → app-1 → tool-1)
        help: add a repository that has data=2 for x86_64, and add a repository that has lib=2 for x86_64, and add a repository that has tool=2 for x86_64
    ");
}

/// Packages of a base image stay: it is no help to ask for less of them.
#[test]
fn what_is_installed_is_not_left_out() {
    let all = packages("lib-1\nlib-2\napp-1 depends: lib");
    let repositories = [Repository {
        name: "./packages",
        tag: None,
        available: true,
        packages: &all,
    }];
    let installed: Vec<Installed<'_>> = all[..2]
        .iter()
        .map(|package| Installed { package, tag: None })
        .collect();
    let worlds = ["app lib=1", "app lib=2"].map(|world| Dependency::parse_list(world).unwrap());
    let universes: Vec<Universe<'_>> = installed
        .iter()
        .map(|installed| {
            Universe::new(Sources {
                installed: std::slice::from_ref(installed),
                repositories: &repositories,
                ..Sources::default()
            })
        })
        .collect();
    let members = members(&universes, &worlds, ARCHES);
    insta::assert_snapshot!(joint::solve(&members).unwrap_err(), @"
    no choice of packages has the same versions for aarch64, x86_64
      lib has to be the same, but
        aarch64 has 2, 1 (lib=2 → lib-2)
        x86_64 has 2, 1 (lib=1 → lib-1)
    ");
}

/// A name whose versions are ruled out on one architecture until they are what the other can use:
/// not one after another, where there are very many.
#[test]
fn versions_fall_far() {
    let versions = (0..1_000).map(|version| format!("lib-{version}"));
    let versions = versions.collect::<Vec<_>>().join("\n");
    let free = format!("app-1 depends: lib\n{versions}");
    for (asked, highest) in [("lib<400", 399), ("lib=0", 0), ("lib<990", 989)] {
        let bound = format!("app-1 depends: {asked}\n{versions}");
        let chosen = format!("lib-{highest} app-1");
        assert_eq!(
            said(&[&free, &bound, &free], "app"),
            format!("x86_64: {chosen}\naarch64: {chosen}\nriscv64: {chosen}")
        );
    }
}

/// Each of very many names loses a version, but only one is to blame: it is found though the second
/// search ends at its limit.
#[test]
fn of_many_names_the_one_to_blame_is_told() {
    let index = |newest: u32, needed: &str| {
        let names: Vec<String> = (0..300).map(|of| format!("x{of}")).collect();
        let mut lines = vec![format!("app-1 depends: {}", names.join(" "))];
        for name in &names {
            let needs = match name.as_str() {
                "x99" => format!(" depends: {needed}"),
                _ => String::new(),
            };
            lines.extend([format!("{name}-1{needs}"), format!("{name}-{newest}")]);
        }
        lines.push("other-1".to_owned());
        lines.join("\n")
    };
    insta::assert_snapshot!(said(&[&index(2, "other"), &index(3, "other>1")], "app"), @"
    no choice of packages has the same versions for aarch64, x86_64
      x99 has to be the same, but
        aarch64 has 3, 1 (app → app-1 → x99-3)
        x86_64 has 2, 1 (app → app-1 → x99-2)
        help: add a repository that has x99=3 for x86_64
        or: leave app out for aarch64
        or: leave app out for x86_64
      the search ended at its limit: there may be a choice all the same
    ");
}

fn versions_are_equal(chosen: &[Vec<Candidate>]) -> bool {
    let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
    chosen.iter().flatten().all(|package| {
        let known = versions.entry(&package.name).or_insert(&package.version);
        *known == package.version
    })
}

/// The sets of packages of an index that fit together.
fn consistent_sets(packages: &[Candidate], world: &[Dependency]) -> Vec<Vec<Candidate>> {
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
}

/// Whether one can be taken of each list so that versions are equal.
fn can_be_equal(lists: &[Vec<Vec<Candidate>>]) -> bool {
    let mut together = BTreeSet::from([BTreeMap::<&str, &str>::new()]);
    for list in lists {
        let mut next = BTreeSet::new();
        for (versions, set) in together
            .iter()
            .flat_map(|of| list.iter().map(move |set| (of, set)))
        {
            let mut versions = versions.clone();
            let equal = set.iter().all(|package| {
                *versions.entry(&package.name).or_insert(&package.version) == package.version
            });
            if equal {
                next.insert(versions);
            }
        }
        together = next;
    }
    !together.is_empty()
}

/// Two to four indexes that have most packages in common, some of them with other dependencies.
fn indexes() -> impl Strategy<Value = Vec<Vec<Candidate>>> {
    let parts = prop::collection::vec(any::<(u16, u16)>(), 2..5);
    (repository(), repository(), parts).prop_map(|(packages, others, parts)| {
        let index = |(bits, other): (u16, u16)| {
            let has = |bits: u16, at: usize| bits & (1 << at) != 0;
            let mut index: Vec<Candidate> = Vec::new();
            for (at, package) in packages.iter().enumerate() {
                if has(bits | bits >> 4, at) {
                    let same = |of: &&Candidate| {
                        (&of.name, &of.version) == (&package.name, &package.version)
                    };
                    let other = others.iter().find(same).filter(|_| has(other, at));
                    index.push(other.unwrap_or(package).clone());
                }
            }
            index
        };
        parts.into_iter().map(index).collect()
    })
}

fn world() -> impl Strategy<Value = Vec<Dependency>> {
    prop::collection::vec(positive(), 1..3)
}

fn meets(package: &Candidate, term: &Dependency) -> bool {
    let own = package.name == term.name && term.matches(Some(&package.version), None);
    own || package.provides.iter().any(|provided| {
        let version = provided.version().map(|version| version.as_str());
        provided.name == term.name && term.matches(version, None)
    })
}

/// Checks what is said of each architecture against its index and what it chooses by itself.
fn check_told(
    disagreement: &Disagreement,
    alone: &BTreeMap<&str, (&Vec<Candidate>, Vec<Candidate>)>,
    world: &[Dependency],
) {
    assert!(
        disagreement
            .names
            .is_sorted_by(|left, right| left.name < right.name)
    );
    for difference in &disagreement.names {
        let arches: Vec<&str> = difference
            .places
            .iter()
            .map(|of| of.arch.as_str())
            .collect();
        assert!(arches.iter().eq(alone.keys()));
        for place in &difference.places {
            let (index, solution) = &alone[place.arch.as_str()];
            let named = index
                .iter()
                .filter(|package| package.name == difference.name);
            let versions: BTreeSet<&String> = named.map(|package| &package.version).collect();
            assert_eq!(place.offered.iter().collect::<BTreeSet<_>>(), versions);
            let chosen = solution
                .iter()
                .find(|package| package.name == difference.name);
            assert_eq!(
                place.chosen.as_ref(),
                chosen.map(|package| &package.version)
            );
            let Some(chosen) = chosen else {
                assert_eq!(place.chain, Vec::<String>::new());
                continue;
            };
            let packages = place.chain.iter().filter_map(|link| {
                let mut packages = solution.iter();
                packages.find(|of| format!("{}-{}", of.name, of.version) == *link)
            });
            let packages: Vec<&Candidate> = packages.collect();
            assert_eq!(packages.last(), Some(&chosen));
            match packages.len() == place.chain.len() {
                true => assert!(!packages[0].install_if.is_empty(), "{disagreement}"),
                false => {
                    assert_eq!(packages.len() + 1, place.chain.len());
                    let mut terms = world.iter();
                    let term = terms.find(|term| term.to_string() == place.chain[0]);
                    assert!(meets(packages[0], term.unwrap()), "{disagreement}");
                }
            }
            for pair in packages.windows(2) {
                let mut terms = pair[0].depends.iter().filter(|term| !term.conflict);
                assert!(terms.any(|term| meets(pair[1], term)), "{disagreement}");
            }
        }
    }
}

/// Makes the changes, without the solver's help, and solves again.
fn helps(
    remedy: &Remedy,
    alone: &BTreeMap<&'static str, (&Vec<Candidate>, Vec<Candidate>)>,
    world: &[Dependency],
) -> bool {
    let mut indexes: BTreeMap<&'static str, Vec<Candidate>> = BTreeMap::new();
    for (arch, (index, _)) in alone {
        indexes.insert(arch, (*index).clone());
    }
    let mut left_out: Vec<(&str, &Dependency)> = Vec::new();
    for change in &remedy.changes {
        match change {
            Adjustment::NotFor { term, arch } => {
                assert!(world.contains(term));
                left_out.push((arch, term));
            }
            Adjustment::AddRepository { terms, arches } => {
                let version = terms[0].version().unwrap().as_str();
                for arch in arches {
                    let (index, solution) = &alone[arch.as_str()];
                    let mut known = index.iter().filter(|of| of.name == terms[0].name);
                    assert!(known.all(|of| of.version != version), "{remedy}");
                    let like = solution.iter().find(|of| of.name == terms[0].name).unwrap();
                    indexes.get_mut(arch.as_str()).unwrap().push(Candidate {
                        version: version.to_owned(),
                        ..like.clone()
                    });
                }
            }
            change => panic!("{change}"),
        }
    }
    let asked: Vec<Asked<'_>> = indexes.iter().map(|(arch, index)| (index, *arch)).collect();
    let solved = solve_each_for(&asked, |arch| {
        let is_left = |term: &&Dependency| !left_out.contains(&(arch, *term));
        world.iter().filter(is_left).cloned().collect()
    });
    solved.is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// What is found is right, whatever the order of the architectures; and of what is said where
    /// nothing is, all is true.
    #[test]
    fn joint_solutions_are_consistent_and_equal(
        indexes in indexes(),
        world in world(),
        rotation in 1..4usize,
    ) {
        let joint = solve(&indexes, &world);
        let mut asked: Vec<Asked<'_>> = indexes.iter().zip(ARCHES).collect();
        asked.rotate_left(rotation % indexes.len());
        let mut other = solve_each_for(&asked, |_| world.clone());
        if let Ok(other) = &mut other {
            other.rotate_right(rotation % indexes.len());
        }
        prop_assert_eq!(&other, &joint);
        let alone = indexes.iter().map(|index| solve(std::slice::from_ref(index), &world));
        let alone: Result<Vec<_>, _> = alone.collect();
        match &joint {
            Ok(chosen) => {
                prop_assert!(versions_are_equal(chosen), "{chosen:#?}");
                for (set, index) in chosen.iter().zip(&indexes) {
                    prop_assert!(set.iter().all(|package| index.contains(package)));
                    let set: Vec<&Candidate> = set.iter().collect();
                    prop_assert!(is_consistent(&set, &world), "{set:#?}");
                }
            }
            Err(JointError::Unsolvable { .. }) => prop_assert!(alone.is_err()),
            Err(JointError::Versions(disagreement)) => {
                prop_assert!(!disagreement.names.is_empty());
                let alone = alone.clone().unwrap().into_iter().map(|mut of| of.remove(0));
                let alone = ARCHES.into_iter().zip(indexes.iter().zip(alone)).collect();
                check_told(disagreement, &alone, &world);
                for remedy in &disagreement.remedies {
                    prop_assert!(helps(remedy, &alone, &world), "{disagreement}\n{remedy}");
                }
            }
        }
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
    fn joint_solutions_are_found(indexes in indexes(), world in world()) {
        let mut indexes = indexes;
        for package in indexes.iter_mut().flatten() {
            package.depends.retain(|term| !term.conflict);
            package.provides.clear();
            package.install_if.clear();
        }
        let joint = solve(&indexes, &world);
        if !matches!(joint, Err(JointError::Unsolvable { .. })) {
            let sets = indexes.iter().map(|index| consistent_sets(index, &world));
            let sets: Vec<_> = sets.collect();
            prop_assert_eq!(joint.is_ok(), can_be_equal(&sets), "{:#?}", joint);
        }
    }
}

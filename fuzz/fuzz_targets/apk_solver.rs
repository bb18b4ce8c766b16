//! The solver, over a small index: the first line is the world, the rest the index's text. What is
//! chosen satisfies the world, the same question has the same answer, and whatever would help is
//! said in a bounded time.
#![no_main]

use apk::dependency::Dependency;
use apk::index::{Index, IndexEntry};
use apk::solver::{Candidate, Repository, Request, Sources, Universe, joint};
use libfuzzer_sys::fuzz_target;

/// More would be slow rather than new.
const MOST_PACKAGES: usize = 24;
const MOST_TERMS: usize = 6;

fuzz_target!(|text: &str| {
    let Some((world, index)) = text.split_once('\n') else {
        return;
    };
    let (Ok(world), Ok(entries)) = (Dependency::parse_list(world), Index::parse(index)) else {
        return;
    };
    let packages: Vec<Candidate> = entries.iter().map(IndexEntry::candidate).collect();
    if packages.len() > MOST_PACKAGES || world.len() > MOST_TERMS {
        return;
    }
    // The second half is tagged too.
    let (first, second) = packages.split_at(packages.len() / 2);
    let repository = |tag, packages| Repository {
        name: "packages",
        tag,
        available: true,
        packages,
    };
    let repositories = [
        repository(None, first),
        repository(None, second),
        repository(Some("edge"), second),
    ];
    let arches = ["x86_64"];
    let universe = |repositories| {
        Universe::new(Sources {
            arches: &arches,
            repositories,
            ..Sources::default()
        })
    };
    let (all, some) = (universe(&repositories[..]), universe(&repositories[..1]));
    for any_unversioned_provider in [false, true] {
        let request = Request {
            world: &world,
            any_unversioned_provider,
            newest_across_repositories: any_unversioned_provider,
            ..Request::default()
        };
        let labels = |universe: &Universe<'_>| {
            universe.solve(&request).map(|solution| {
                let packages = solution.packages();
                let label = |of: &Candidate| format!("{}-{}", of.name, of.version);
                packages.map(|of| label(of.package)).collect::<Vec<_>>()
            })
        };
        let answer = labels(&all);
        match &answer {
            Ok(chosen) => {
                let mut names = chosen.clone();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), chosen.len(), "{chosen:?}");
                for term in world.iter().filter(|term| !term.conflict) {
                    assert!(all.providers_of(&term.name).next().is_some(), "{term}");
                }
            }
            Err(unsolvable) => {
                assert!(!unsolvable.conflicts.is_empty());
                assert!(!unsolvable.to_apk_text(80).is_empty());
                assert!(!unsolvable.to_string().is_empty());
            }
        }
        assert_eq!(labels(&all), answer);
        let member = |arch, universe| joint::Member {
            arch,
            universe,
            request,
        };
        if let Ok(solutions) = joint::solve(&[member("x86_64", &all), member("aarch64", &some)]) {
            let mut versions = std::collections::BTreeMap::new();
            for selected in solutions.iter().flat_map(|solution| solution.packages()) {
                let package = selected.package;
                let known = versions.entry(&package.name).or_insert(&package.version);
                assert_eq!(*known, &package.version, "{}", package.name);
            }
        }
    }
});

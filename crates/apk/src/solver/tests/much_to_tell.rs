//! Conflicts of very many packages: what is told of them doesn't grow with the square of their number.

use std::sync::Arc;

use super::in_one_repository;
use crate::dependency::Dependency;
use crate::solver::request::shared;
use crate::solver::{Candidate, Conflict, Request, Unsolvable};

/// As much as may be told, with what each of some thousand conflicts tells in any case.
const MOST: usize = 300_000;

fn package(name: &str, version: &str, depends: &str, provides: &str) -> Candidate {
    let terms = |text| shared(Dependency::parse_list(text).unwrap());
    Candidate {
        name: name.to_owned(),
        version: version.to_owned(),
        size: 1,
        installed_size: 1,
        depends: terms(depends),
        provides: terms(provides),
        ..Candidate::default()
    }
}

fn list(count: usize, term: impl Fn(usize) -> String) -> String {
    (0..count).map(term).collect::<Vec<_>>().join(" ")
}

fn unsolvable(packages: &[Candidate]) -> Unsolvable {
    let world = Dependency::parse_list("a").unwrap();
    let unsolvable = in_one_repository(packages, &[], |universe| {
        let request = Request {
            world: &world,
            ..Request::default()
        };
        universe.solve(&request).unwrap_err()
    });
    assert!(!unsolvable.to_string().is_empty());
    unsolvable
}

#[test]
fn of_long_ways_the_middle_is_left_out() {
    const LENGTH: usize = 1_500;
    let links = (0..LENGTH).map(|of| {
        let next = format!("nothing a{}", of + 1);
        package(&format!("a{of}"), "1", &next, "")
    });
    let ends = [
        package("a", "1", "a0", ""),
        package(&format!("a{LENGTH}"), "1", "nothing", ""),
    ];
    let packages: Vec<Candidate> = links.chain(ends).collect();
    let unsolvable = unsolvable(&packages);
    let [Conflict::Missing(missing)] = unsolvable.conflicts.as_slice() else {
        panic!("{unsolvable}");
    };
    assert!(missing.required_by.len() < LENGTH);
    let told = missing.required_by.iter().map(|of| of.chain.len());
    assert!((MOST / 2..MOST).contains(&told.sum::<usize>()));
    for demand in &missing.required_by {
        assert_eq!(demand.chain[0], "a");
        assert_eq!(demand.chain.last(), demand.by.as_ref());
    }
}

#[test]
fn of_very_many_rivals_some_are_told() {
    const COUNT: usize = 700;
    let all = package("a", "1", &list(COUNT, |of| format!("x{of}")), "");
    let rivals = (0..COUNT).map(|of| package(&format!("x{of}"), "1", "", "own=1"));
    let packages: Vec<Candidate> = rivals.chain([all]).collect();
    let conflicts = unsolvable(&packages).conflicts;
    assert_eq!(conflicts.len(), COUNT);
    let rivals = conflicts.iter().map(|conflict| match conflict {
        Conflict::Package(rejected) => rejected.rivals.len(),
        _ => 0,
    });
    let rivals: Vec<usize> = rivals.collect();
    assert!(rivals.iter().all(|count| *count > 0));
    assert!(rivals.iter().sum::<usize>() < MOST);
}

#[test]
fn many_terms_of_one_name_share_what_there_is_of_it() {
    const COUNT: usize = 1_500;
    let all = package("a", "1", &list(COUNT, |of| format!("b>{of}")), "");
    let versions = (0..COUNT).map(|of| package("b", &of.to_string(), "", ""));
    let packages: Vec<Candidate> = versions.chain([all]).collect();
    let conflicts = unsolvable(&packages).conflicts;
    let [Conflict::Package(rejected)] = conflicts.as_slice() else {
        panic!("{}", conflicts.len());
    };
    assert_eq!(rejected.label(), format!("b-{}", COUNT - 1));
    assert_eq!(rejected.alternatives.len(), COUNT);
}

#[test]
fn conflicts_over_one_name_share_its_packages() {
    const COUNT: usize = 200;
    let all = package("a", "1", &list(COUNT, |of| format!("x{of} !v<{of}")), "");
    let provider = |of: usize| package(&format!("x{of}"), "1", "", &format!("v x{of}-v={of}"));
    let packages: Vec<Candidate> = (0..COUNT).map(provider).chain([all]).collect();
    let conflicts = unsolvable(&packages).conflicts;
    let alternatives = conflicts.iter().filter_map(|conflict| match conflict {
        Conflict::Package(rejected) => Some(&rejected.alternatives),
        _ => None,
    });
    let alternatives: Vec<_> = alternatives.collect();
    assert_eq!((alternatives.len(), alternatives[0].len()), (COUNT, COUNT));
    assert!(
        alternatives
            .iter()
            .all(|of| Arc::ptr_eq(of, alternatives[0]))
    );
}

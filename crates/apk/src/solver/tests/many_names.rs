//! Packages that provide very many names, as one with every kernel module or font does: the cost
//! grows with the names, not with their square.

use super::in_one_repository;
use crate::dependency::Dependency;
use crate::solver::request::shared;
use crate::solver::{Candidate, Installed, Request};

/// Squares of that take minutes.
const NAMES: usize = 50_000;

/// A package that provides all names, each with its version or without.
fn all(name: &str, version: &str, versioned: bool) -> Candidate {
    let provided = (0..NAMES).map(|number| match versioned {
        true => format!("so:lib{number}={version}"),
        false => format!("so:lib{number}"),
    });
    let provided = provided.map(|text| Dependency::parse(&text).unwrap());
    Candidate {
        name: name.to_owned(),
        version: version.to_owned(),
        size: 1,
        installed_size: 1,
        provides: shared(provided),
        ..Candidate::default()
    }
}

/// What is chosen for a world, with what is installed already; or how many names and packages
/// stand in the way.
fn chosen(packages: &[Candidate], installed: &[Installed<'_>], world: &str) -> String {
    let world = Dependency::parse_list(world).unwrap();
    let request = Request {
        world: &world,
        ..Request::default()
    };
    in_one_repository(packages, installed, |universe| {
        match universe.solve(&request) {
            Ok(solution) => {
                let labels = solution.changes.iter().filter_map(|change| change.after);
                let labels: Vec<String> = labels
                    .map(|after| format!("{}-{}", after.package.name, after.package.version))
                    .collect();
                labels.join(" ")
            }
            Err(unsolvable) => format!("{} conflicts", unsolvable.conflicts.len()),
        }
    })
}

#[test]
fn a_package_may_provide_very_many_names() {
    let packages = [all("all", "1", true)];
    assert_eq!(chosen(&packages, &[], "all"), "all-1");
    assert_eq!(chosen(&packages, &[], "so:lib49999 so:lib7"), "all-1");
    let unversioned = [all("all", "1", false)];
    assert_eq!(chosen(&unversioned, &[], "all so:lib49999"), "all-1");
}

#[test]
fn packages_may_provide_the_same_very_many_names() {
    let packages = [all("all", "1", true), all("all", "2", true)];
    assert_eq!(chosen(&packages, &[], "so:lib49999"), "all-2");
    let installed = [Installed {
        package: &packages[0],
        tag: None,
    }];
    assert_eq!(chosen(&packages, &installed, "so:lib49999"), "all-1");
    assert_eq!(chosen(&packages, &installed, "so:lib49999>1"), "all-2");
    let rivals = [all("left", "1", true), all("right", "2", true)];
    assert_eq!(chosen(&rivals, &[], "left so:lib49999"), "left-1");
    assert_eq!(chosen(&rivals, &[], "so:lib49999"), "right-2");
}

#[test]
fn conflicts_over_very_many_names_are_found() {
    let rivals = [all("left", "1", true), all("right", "2", true)];
    assert_eq!(chosen(&rivals, &[], "left right"), "2 conflicts");
}

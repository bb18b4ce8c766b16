//! Names that very many packages have or provide: who is asked for is found in their order, and is
//! the same as if each were asked.

use std::collections::BTreeSet;

use base::Sha1;
use proptest::prelude::*;

use super::in_one_repository;
use crate::dependency::{Constraint, Dependency, Identity};
use crate::solver::request::shared;
use crate::solver::state::{Banned, Solver};
use crate::solver::universe::{PackageId, Provider, Term};
use crate::solver::{Candidate, Request};
use crate::version::{Operator, Version};

/// A comparison of each with each would be eighteen million of them: minutes in a slow build.
const VERSIONS: usize = 6_000;

fn package(name: &str, version: &str, depends: &str) -> Candidate {
    Candidate {
        name: name.to_owned(),
        version: version.to_owned(),
        size: 1,
        installed_size: 1,
        depends: shared(Dependency::parse_list(depends).unwrap()),
        ..Candidate::default()
    }
}

fn explained(packages: &[Candidate], world: &str) -> String {
    let world = Dependency::parse_list(world).unwrap();
    in_one_repository(packages, &[], |universe| {
        let answer = universe.solve(&Request {
            world: &world,
            ..Request::default()
        });
        answer.unwrap_err().to_string()
    })
}

#[test]
fn each_of_many_versions_may_need_another_of_many() {
    let needing = (0..VERSIONS).map(|of| package("a", &format!("1.{of}-r0"), &format!("b={of}")));
    let needed = (0..VERSIONS).step_by(2);
    let needed = needed.map(|of| package("b", &of.to_string(), ""));
    let packages: Vec<Candidate> = needing.chain(needed).collect();
    insta::assert_snapshot!(explained(&packages, "a"), @"
    no choice of packages satisfies all that is asked for
      a-1.5999-r0 needs b=5999, but there is no such version
        a → a-1.5999-r0 → b=5999
        there are b-0, b-10, b-100, b-1000, b-1002, b-1004, b-1006, b-1008 and 2992 more
        help: ask for b<5998 too
        or: ask for a<1.5999-r0 instead of a
        or: drop a from the world
        or: add a repository that has b=5999
        or: build a-1.5999-r0 anew with b=5998 instead of b=5999
    ");
}

/// Versions of any kind, so that many are equal, begin as others do, or follow no grammar.
fn version() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[0-3](\\.[0-2]){0,2}[ab]?(_(alpha|rc|p)1?)?(~[ab])?(-r[01])?",
        1 => "0[0-2](\\.0[0-2])?",
        1 => "[0-2.a_~r-]{0,5}",
        1 => "\\PC{0,3}",
    ]
}

fn identity(of: u8) -> Identity {
    Identity::Sha1(Sha1::from_bytes([of; 20]))
}

fn constraint() -> impl Strategy<Value = Option<Constraint>> {
    let versions = (prop::sample::select(&Operator::ALL[..]), version());
    prop_oneof![
        8 => versions.prop_map(|(operator, version)| {
            Some(Constraint::Version(operator, Version::as_written(&version)))
        }),
        2 => (0..24u8).prop_map(|of| Some(Constraint::Identity(identity(of)))),
        1 => Just(None),
    ]
}

fn term() -> impl Strategy<Value = Dependency> {
    (constraint(), prop::bool::weighted(0.3)).prop_map(|(constraint, conflict)| Dependency {
        constraint,
        conflict,
        ..Dependency::any("a")
    })
}

/// A package that has the name `a` in a version, or provides it so, or without; of several kinds.
fn provider() -> impl Strategy<Value = (bool, Vec<Option<String>>, Option<u8>, bool)> {
    let provided = prop::collection::vec(prop::option::weighted(0.8, version()), 0..3);
    let identity = prop::option::weighted(0.7, 0..24u8);
    (prop::bool::weighted(0.7), provided, identity, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Of sorted providers the same are asked for as of each by itself, and whether one of them may
    /// be chosen is known though they become ever fewer.
    #[test]
    fn the_order_tells_what_each_would(
        providers in prop::collection::vec(provider(), 9..40),
        terms in prop::collection::vec(term(), 24..40),
        dropped in prop::collection::vec(any::<prop::sample::Index>(), 40),
        any_unversioned_provider in any::<bool>(),
        ignore_conflicts in prop::bool::weighted(0.1),
    ) {
        let packages: Vec<Candidate> = providers.iter().enumerate().map(|(place, of)| {
            let (own, provided, known, _) = of;
            let provided = provided.iter().map(|version| Dependency {
                constraint: version.as_deref().map(|version| {
                    Constraint::Version(Operator::Equal, Version::as_written(version))
                }),
                ..Dependency::any("a")
            });
            Candidate {
                name: if *own { "a".to_owned() } else { format!("other{place}") },
                version: match provided.clone().next() {
                    Some(Dependency { constraint: Some(Constraint::Version(_, version)), .. }) => {
                        version.to_string()
                    }
                    _ => place.to_string(),
                },
                identity: known.map(identity),
                provides: shared(provided.skip(usize::from(*own))),
                size: 1,
                installed_size: 1,
                ..Candidate::default()
            }
        }).collect();
        in_one_repository(&packages, &[], |universe| {
        let world = [Dependency::any("a")];
        let request = Request {
            world: &world,
            any_unversioned_provider,
            ignore_conflicts,
            ..Request::default()
        };
        let (left_out, banned) = (BTreeSet::new(), Banned::new());
        let mut solver = Solver::new(universe, &request, &left_out, &banned);
        let name = solver.world[0].term.name;
        solver.discover(name);
        // Somebody wants it, so that not to have it is no way out.
        solver.name_mut(name).requirers = 1;
        let all = universe.providers(name);
        let by: Vec<PackageId> = (0..universe.packages.len() as PackageId).collect();
        let mut sorted = 0;
        for (round, drop) in dropped.iter().enumerate() {
            for dependency in &terms {
                let term = Term { name, dependency };
                let by = by[round % by.len()];
                let spoken = solver.spoken_of(&term);
                sorted += usize::from(spoken.is_some());
                for (place, provider) in all.iter().enumerate() {
                    let asked = solver.is_provided(Some(by), &term, Some(*provider));
                    let told = solver.is_provided_by(Some(by), &term, (place, provider), spoken.as_ref());
                    prop_assert_eq!(told, asked, "{} of {:?}", dependency, provider.version);
                }
                let selectable = |of: &Provider<'_>| solver.package(of.package).selectable;
                let mut left = all.iter().filter(|of| selectable(of));
                let asked = left.any(|of| solver.is_provided(Some(by), &term, Some(*of)))
                    || (dependency.conflict && ignore_conflicts);
                prop_assert_eq!(solver.is_satisfiable(by, &term), asked, "{}", dependency);
            }
            let provider = all[drop.index(all.len())];
            solver.package_mut(provider.package).selectable = false;
        }
        prop_assert!(all.len() <= 8 || sorted > 0);
            Ok(())
        })?;
    }
}

//! What a request can lead to gives the same answer as all there is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::apk_cases::corpus;
use crate::catalogue::{Catalogue, Reachable};
use crate::dependency::{Dependency, Identity};
use crate::index::{Index, IndexEntry};
use crate::package::{Defect, PackageInfo};
use crate::solver::bucket::bucket;
use crate::solver::request::shared;
use crate::solver::{
    Candidate, Goal, Installed, Preferences, Repository, Request, Solution, Sources, Unindexed,
    UnindexedKind, Universe,
};

/// All of a solution, and how many packages were looked at for it.
fn told(solution: Option<&Solution<'_>>) -> String {
    let Some(solution) = solution else {
        return "none".to_owned();
    };
    let mut text = String::new();
    for change in &solution.changes {
        writeln!(text, "{change}").unwrap();
        for selected in [&change.before, &change.after].into_iter().flatten() {
            let Candidate {
                name,
                version,
                identity,
                ..
            } = selected.package;
            let (place, available) = (selected.place, selected.available);
            writeln!(
                text,
                "  {name} {version} {identity:?} {place:?} {available}"
            )
            .unwrap();
        }
        let tags = (change.tag_before, change.tag_after, change.reinstall);
        writeln!(text, "  {tags:?}").unwrap();
    }
    writeln!(text, "{:?}", solution.left_out).unwrap();
    text
}

/// Solves over catalogues of the packages in `repositories`, as far as the request leads.
fn reached(catalogues: &[Catalogue], sources: &Sources<'_>, request: &Request<'_>) -> String {
    let catalogues: Vec<&Catalogue> = catalogues.iter().collect();
    let installed = sources.installed.iter().map(|of| of.package);
    let unindexed = sources.unindexed.iter().map(|of| of.package);
    let world = request.world.iter().map(|term| term.name.as_str());
    let goals = request.goals.iter().map(|goal| goal.name);
    let reachable = Reachable::find(&catalogues, installed.chain(unindexed), world.chain(goals));
    let repositories = sources.repositories.iter().enumerate();
    let repositories: Vec<Repository<'_>> = repositories
        .map(|(index, repository)| Repository {
            packages: reachable.candidates(index),
            ..*repository
        })
        .collect();
    let universe = Universe::new(Sources {
        repositories: &repositories,
        reachable: Some(&reachable),
        ..*sources
    });
    told(universe.try_solve(request).as_ref())
}

fn entry(place: usize, candidate: &Candidate) -> IndexEntry {
    let Candidate {
        name,
        version,
        arch,
        origin,
        identity,
        depends,
        provides,
        install_if,
        provider_priority,
        size,
        installed_size,
        defects,
        cached: _,
    } = candidate.clone();
    let plain = |terms: &[Arc<Dependency>]| terms.iter().map(|term| (**term).clone()).collect();
    let unlike_others = Identity::from(base::Sha1::of(format!("{name}{place}").as_bytes()));
    let defects = defects.into_iter().map(|reason| Defect {
        field: String::new(),
        reason,
        fatal: true,
    });
    IndexEntry {
        identity: identity.unwrap_or(unlike_others),
        size,
        info: PackageInfo {
            name,
            version,
            arch,
            origin,
            depends: plain(&depends),
            provides: plain(&provides),
            install_if: plain(&install_if),
            installed_size,
            provider_priority: Some(provider_priority),
            defects: defects.collect(),
            ..PackageInfo::default()
        },
    }
}

fn index(packages: &[Candidate]) -> Index {
    let entries = packages.iter().enumerate();
    Index {
        entries: entries.map(|(place, of)| entry(place, of)).collect(),
        ..Index::default()
    }
}

/// Solves both ways.
#[track_caller]
pub(super) fn agrees(sources: &Sources<'_>, request: &Request<'_>) {
    let repositories = sources.repositories.iter();
    let indexes: Vec<Index> = repositories.map(|of| index(of.packages)).collect();
    let catalogues: Vec<Catalogue> = indexes
        .iter()
        .map(|index| Catalogue::of(index).unwrap())
        .collect();
    // Packages without identity have got one.
    let packages: Vec<Vec<Candidate>> = indexes
        .iter()
        .map(|index| index.entries.iter().map(IndexEntry::candidate).collect())
        .collect();
    let repositories: Vec<Repository<'_>> = sources
        .repositories
        .iter()
        .zip(&packages)
        .map(|(repository, packages)| Repository {
            packages,
            ..*repository
        })
        .collect();
    let universe = Universe::new(Sources {
        repositories: &repositories,
        ..*sources
    });
    let all = told(universe.try_solve(request).as_ref());
    assert_eq!(reached(&catalogues, sources, request), all);
}

/// One package at a time, and several, of a real distribution.
#[test]
fn of_a_real_index() {
    let path = corpus().join("apko/apk/alpine-317/APKINDEX.tar.gz");
    let catalogue = Catalogue::open(&path, None, None).unwrap();
    let packages = catalogue.candidates();
    let repositories = [Repository {
        name: "main",
        tag: None,
        available: true,
        packages: &packages,
    }];
    let sources = Sources {
        arches: &[&packages[0].arch],
        repositories: &repositories,
        ..Sources::default()
    };
    let universe = Universe::new(sources);
    let catalogues = [catalogue];
    let mut solved = 0;
    for first in (0..packages.len()).step_by(31) {
        let names =
            [0, 997, 2011].map(|next| packages[(first + next) % packages.len()].name.as_str());
        for names in [
            &names[..1],
            &names,
            &[names[0], "docs", "build-base", "openrc"],
        ] {
            let world: Vec<Dependency> = names.iter().map(|name| Dependency::any(*name)).collect();
            let request = Request {
                world: &world,
                ..Request::default()
            };
            let all = universe.try_solve(&request);
            solved += usize::from(all.is_some());
            assert_eq!(
                reached(&catalogues, &sources, &request),
                told(all.as_ref()),
                "{names:?}"
            );
        }
    }
    assert!(solved > 300, "{solved}");
}

/// Names that apk's table of names has in one bucket, where the order of their mention decides.
fn names() -> [&'static str; 7] {
    static NAMES: std::sync::OnceLock<[&str; 7]> = std::sync::OnceLock::new();
    *NAMES.get_or_init(|| {
        let mut buckets: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for number in 0..200_000 {
            let name = format!("n{number}");
            buckets.entry(bucket(&name)).or_default().push(name);
        }
        let full = buckets
            .into_values()
            .find(|names| names.len() >= 7)
            .unwrap();
        let names: Vec<&'static str> = full.into_iter().map(|name| &*name.leak()).collect();
        *names.first_chunk().unwrap()
    })
}

fn term(kinds: &'static [&'static str]) -> impl Strategy<Value = Dependency> {
    let text = (
        prop::sample::select(kinds),
        0..7usize,
        prop::sample::select(vec!["", "", "", "", "=1", "<2", ">1", "~1", "<=2", ">=2"]),
    );
    text.prop_map(|(kind, name, constraint)| {
        Dependency::parse(&format!("{kind}{}{constraint}", names()[name])).unwrap()
    })
}

const ANY: &[&str] = &["", "", "", "", "!"];

fn candidate() -> impl Strategy<Value = Candidate> {
    let lists = (
        prop::collection::vec(term(ANY), 0..3),
        prop::collection::vec(
            (0..7usize, prop::sample::select(vec!["", "", "=1", "=2"])),
            0..3,
        ),
        prop::option::weighted(0.3, prop::collection::vec(term(ANY), 1..3)),
    );
    let rest = (
        0..7usize,
        prop::sample::select(vec!["1", "1.1", "2"]),
        prop::sample::select(vec![0, 0, 10, 20]),
        0..40u8,
        prop::sample::select(vec!["", "", "", "other"]),
    );
    (lists, rest).prop_map(
        |((depends, provides, install_if), (name, version, provider_priority, identity, arch))| {
            let provides = provides.into_iter().map(|(name, version)| {
                Dependency::parse(&format!("{}{version}", names()[name])).unwrap()
            });
            Candidate {
                name: names()[name].to_owned(),
                version: version.to_owned(),
                arch: arch.to_owned(),
                // Some are the same, or say so.
                identity: Some(base::Sha1::of(&[identity]).into()),
                depends: shared(depends),
                provides: shared(provides),
                install_if: shared(install_if.unwrap_or_default()),
                provider_priority,
                size: 1,
                installed_size: u64::from(identity != 7),
                ..Candidate::default()
            }
        },
    )
}

fn packages(most: usize) -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(candidate(), 0..most)
}

fn preferences() -> impl Strategy<Value = Preferences> {
    (any::<[bool; 6]>(), any::<bool>()).prop_map(|(flags, none)| {
        let [upgrade, available, reinstall, latest, installed, remove] =
            flags.map(|flag| flag && !none);
        Preferences {
            upgrade,
            available,
            reinstall,
            latest,
            installed,
            remove,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn of_random_repositories(
        repositories in prop::collection::vec((packages(8), 0..3usize, any::<bool>()), 1..4),
        others in (packages(4), packages(3)),
        world in prop::collection::vec((term(ANY), 0..8usize), 1..4),
        goals in prop::collection::vec((0..7usize, preferences(), preferences()), 0..2),
        all in preferences(),
        flags in any::<[bool; 3]>(),
    ) {
        let tags = [None, None, Some("edge")];
        let repositories: Vec<Repository<'_>> = repositories
            .iter()
            .map(|(packages, tag, far)| Repository {
                name: "repository",
                tag: tags[*tag],
                available: !far,
                packages,
            })
            .collect();
        let (installed, unindexed) = &others;
        let installed = installed.iter().enumerate();
        let installed: Vec<Installed<'_>> = installed
            .map(|(place, package)| Installed { package, tag: tags[place % 3] })
            .collect();
        let kinds = [UnindexedKind::File, UnindexedKind::Cache, UnindexedKind::Virtual];
        let unindexed = unindexed.iter().zip(kinds);
        let unindexed: Vec<Unindexed<'_>> = unindexed
            .map(|(package, kind)| Unindexed { package, kind })
            .collect();
        let world: Vec<Dependency> = world
            .into_iter()
            .map(|(term, tag)| Dependency { tag: (tag == 0).then(|| "edge".to_owned()), ..term })
            .collect();
        let goals: Vec<Goal<'_>> = goals
            .iter()
            .map(|(name, preferences, inherited)| Goal {
                name: names()[*name],
                preferences: *preferences,
                inherited: *inherited,
            })
            .collect();
        let [leave_out_broken, ignore_conflicts, preupgrade] = flags;
        agrees(
            &Sources {
                installed: &installed,
                unindexed: &unindexed,
                repositories: &repositories,
                ..Sources::default()
            },
            &Request {
                world: &world,
                goals: &goals,
                preferences: all,
                leave_out_broken,
                ignore_conflicts: ignore_conflicts && leave_out_broken,
                preupgrade: preupgrade && ignore_conflicts,
                ..Request::default()
            },
        );
    }
}

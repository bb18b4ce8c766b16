//! apko's two divergences from apk, which it makes on purpose. What is expected is what apko
//! answers to the same request.

use super::packages;
use crate::dependency::Dependency;
use crate::solver::{Repository, Request, Sources, Universe};

/// The packages chosen for `world`, as labels; none if there is no solution.
fn solve(repositories: &[&str], world: &str, request: Request<'_>) -> Option<Vec<String>> {
    let indexes: Vec<_> = repositories.iter().map(|text| packages(text)).collect();
    let repositories: Vec<Repository<'_>> = indexes
        .iter()
        .map(|packages| Repository {
            name: "./packages",
            tag: None,
            available: true,
            packages,
        })
        .collect();
    let universe = Universe::new(Sources {
        repositories: &repositories,
        ..Sources::default()
    });
    let world = Dependency::parse_list(world).unwrap();
    let solution = universe.solve(&Request {
        world: &world,
        ..request
    });
    let label =
        |package: &crate::solver::Candidate| format!("{}-{}", package.name, package.version);
    let packages = solution.ok()?;
    Some(packages.packages().map(|of| label(of.package)).collect())
}

fn apko() -> Request<'static> {
    Request {
        newest_across_repositories: true,
        any_unversioned_provider: true,
        ..Request::default()
    }
}

fn labels(text: &str) -> Option<Vec<String>> {
    let labels = text.split_ascii_whitespace().map(str::to_owned);
    (text != "none").then(|| labels.collect())
}

#[test]
fn the_higher_version_wins_over_the_order_of_repositories() {
    let variant = "variant-1.0-r1 provides: so:x=12\napp-1 depends: so:x";
    let main = "main-1.0-r2 provides: so:x=12";
    for (repositories, world, by_apko, by_apk) in [
        ([variant, main], "so:x", "main-1.0-r2", "variant-1.0-r1"),
        (
            [variant, main],
            "app",
            "main-1.0-r2 app-1",
            "variant-1.0-r1 app-1",
        ),
        (
            [
                "zeta-1.0-r1 provides: so:x=12",
                "alpha-1.0-r1 provides: so:x=12",
            ],
            "so:x",
            "alpha-1.0-r1",
            "zeta-1.0-r1",
        ),
        // Only what apk holds equal: the version provided and the priority come first.
        (
            ["variant-1.0-r1 provides: so:x=12; priority: 5", main],
            "so:x",
            "variant-1.0-r1",
            "variant-1.0-r1",
        ),
        (
            ["variant-1.0-r1 provides: so:x=13", main],
            "so:x",
            "variant-1.0-r1",
            "variant-1.0-r1",
        ),
    ] {
        let newest = Request {
            newest_across_repositories: true,
            ..Request::default()
        };
        assert_eq!(
            solve(&repositories, world, newest),
            labels(by_apko),
            "{repositories:?}"
        );
        assert_eq!(
            solve(&repositories, world, apko()),
            labels(by_apko),
            "{repositories:?}"
        );
        assert_eq!(
            solve(&repositories, world, Request::default()),
            labels(by_apk),
            "{repositories:?}"
        );
    }
}

#[test]
fn any_unversioned_provider_may_be_chosen_but_satisfies_no_version() {
    let postfix = "postfix-3 provides: smtp";
    let both = "postfix-3 provides: smtp\nexim-4 provides: smtp\ncron-1 depends: smtp";
    let strict = "postfix-9 provides: smtp\ncron-1 depends: smtp<2";
    for (index, world, by_apko, by_apk) in [
        (postfix, "smtp", "postfix-3", "none"),
        (both, "smtp", "exim-4", "none"),
        (both, "cron", "exim-4 cron-1", "none"),
        (
            "postfix-3 provides: smtp\nexim-3 provides: smtp",
            "smtp",
            "exim-3",
            "none",
        ),
        (
            "postfix-3 provides: smtp; priority: 7\nexim-4 provides: smtp",
            "smtp",
            "postfix-3",
            "postfix-3",
        ),
        (
            "postfix-3 provides: smtp\nexim-4 provides: smtp=1",
            "smtp",
            "exim-4",
            "exim-4",
        ),
        (
            "postfix-5 provides: smtp\nexim-4 provides: smtp=1",
            "smtp",
            "postfix-5",
            "exim-4",
        ),
        (
            "smtp-1\npostfix-9 provides: smtp",
            "smtp",
            "postfix-9",
            "smtp-1",
        ),
        (strict, "smtp<2", "none", "none"),
        (strict, "smtp=2", "none", "none"),
        (strict, "smtp>2", "none", "none"),
        (strict, "cron", "none", "none"),
        // Where the provider is wanted anyway, to be without version is to be earlier than all.
        (strict, "cron postfix", "none", "postfix-9 cron-1"),
    ] {
        assert_eq!(
            solve(&[index], world, apko()),
            labels(by_apko),
            "{index}: {world}"
        );
        let by_default = solve(&[index], world, Request::default());
        assert_eq!(by_default, labels(by_apk), "{index}: {world}");
    }
}

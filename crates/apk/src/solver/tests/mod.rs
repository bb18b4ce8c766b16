mod apk_cases;
mod apko;
mod brute_force;
mod explanations;
mod joint;
mod many_names;
mod many_versions;
mod much_to_tell;
mod reachable;
mod real;

use crate::dependency::Dependency;
use crate::solver::request::shared;
use crate::solver::{Candidate, Installed, Repository, Sources, Universe};

/// With these packages in one repository, and those that are installed already.
fn in_one_repository<R>(
    packages: &[Candidate],
    installed: &[Installed<'_>],
    work: impl FnOnce(&Universe<'_>) -> R,
) -> R {
    let repositories = [Repository {
        name: "./packages",
        tag: None,
        available: true,
        packages,
    }];
    work(&Universe::new(Sources {
        installed,
        repositories: &repositories,
        ..Sources::default()
    }))
}

/// Packages, one a line: `name-version [field: terms;]…`, fields as in `depends: a b>1; arch: x`.
fn packages(text: &str) -> Vec<Candidate> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(package).collect()
}

fn package(line: &str) -> Candidate {
    let (label, fields) = line.split_once(' ').unwrap_or((line, ""));
    // The version begins after the last hyphen that a digit follows, `-rN` aside.
    let (name, version) = label
        .match_indices('-')
        .find(|(place, _)| label[place + 1..].starts_with(|first: char| first.is_ascii_digit()))
        .map(|(place, _)| (&label[..place], &label[place + 1..]))
        .unwrap();
    let mut package = Candidate {
        name: name.to_owned(),
        version: version.to_owned(),
        size: 1,
        installed_size: 1,
        ..Candidate::default()
    };
    for field in fields
        .split(';')
        .map(str::trim)
        .filter(|field| !field.is_empty())
    {
        let (key, value) = field.split_once(": ").unwrap();
        match key {
            "depends" => package.depends = shared(Dependency::parse_list(value).unwrap()),
            "provides" => package.provides = shared(Dependency::parse_list(value).unwrap()),
            "install_if" => package.install_if = shared(Dependency::parse_list(value).unwrap()),
            "priority" => package.provider_priority = value.parse().unwrap(),
            "arch" => package.arch = value.to_owned(),
            "defect" => package.defects.push(value.to_owned()),
            _ => panic!("{key}"),
        }
    }
    package
}

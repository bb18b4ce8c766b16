use std::collections::BTreeSet;

use super::finding::{Details, Found};
use super::{LintError, Subject};

/// What lies directly in `usr/lib/python3.*/site-packages`: names and paths.
fn installed<'s>(subject: &Subject<'s>) -> Vec<(&'s str, String)> {
    let mut found = Vec::new();
    for (path, _) in subject.package.tree.iter() {
        let name = path
            .as_str()
            .strip_prefix("usr/lib/python3.")
            .and_then(|rest| rest.split_once("/site-packages/"));
        if let Some((minor, name)) = name
            && !minor.contains('/')
            && !name.contains('/')
        {
            found.push((name, path.to_string()));
        }
    }
    found
}

fn called(subject: &Subject<'_>, names: &[&str]) -> Vec<String> {
    installed(subject)
        .into_iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(_, path)| path)
        .collect()
}

pub(super) fn documentation(subject: &Subject<'_>) -> Result<Vec<Found>, LintError> {
    let paths = called(subject, &["doc", "docs"]);
    Ok(Found::at(
        "installs documentation as a Python module",
        paths,
    ))
}

pub(super) fn test(subject: &Subject<'_>) -> Result<Vec<Found>, LintError> {
    let paths = called(subject, &["test", "tests"]);
    Ok(Found::at("installs tests as a Python module", paths))
}

pub(super) fn multiple(subject: &Subject<'_>) -> Result<Vec<Found>, LintError> {
    let mut modules = BTreeSet::new();
    for (name, _) in installed(subject) {
        let metadata = [".egg-info", ".dist-info", ".pth"];
        if name.starts_with('_')
            || ["doc", "docs", "test", "tests"].contains(&name)
            || metadata.iter().any(|ending| name.ends_with(ending))
        {
            continue;
        }
        // `foo.py` and `foo.cpython-312-x86_64-linux-gnu.so` are of the module `foo`.
        modules.extend(name.split('.').next().filter(|name| !name.is_empty()));
    }
    if modules.len() < 2 {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = modules.into_iter().collect();
    let count = names.len();
    let message = format!(
        "installs {count} Python modules at once: {}",
        names.join(", ")
    );
    let packages = names.into_iter().map(str::to_owned).collect();
    Ok(vec![Found {
        message,
        details: Details::Modules { count, packages },
    }])
}

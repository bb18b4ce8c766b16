//! Shared libraries of two images: what they export.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::files::Owned;
use super::layers::{Kind, Layers, Placed, Tree};
use super::model::{FileFate, LibraryChange, LibraryFacts};
use super::packages::Packages;
use super::symbols::{self, Library};
use super::{DiffError, Subject};

/// More symbols of a library than this are counted only.
const LISTED: usize = 10_000;
/// What is kept of symbols that differ, in all libraries together: 64 MiB.
const KEPT: usize = 64 << 20;

/// Compares what the libraries export that the other image hasn't byte by byte at the same place. A
/// library is the same one if it has the same path, else if it has the same soname.
pub(super) fn compare(
    before: &Subject<'_>,
    after: &Subject<'_>,
    one: Owned<'_>,
    other: Owned<'_>,
    scratch: &Path,
) -> Result<Vec<LibraryChange>, DiffError> {
    let (wanted, now_wanted) = (differing(one.0, other.0), differing(other.0, one.0));
    let taken = |subject: &Subject<'_>, wanted, side: &str| {
        let folder = scratch.join(side);
        std::fs::create_dir_all(&folder).map_err(|source| DiffError::Scratch {
            path: folder.clone(),
            source,
        })?;
        Layers::take_out(subject.layout, subject.image, wanted, &folder)
    };
    let mut old = taken(before, &wanted, "before")?;
    let mut new = taken(after, &now_wanted, "after")?;
    let mut changes = Vec::new();
    let mut room = KEPT;
    let mut told = |change: Option<LibraryChange>| {
        let Some(mut change) = change else {
            return;
        };
        for names in [&mut change.removed, &mut change.added] {
            let fitting = names
                .iter()
                .take(LISTED)
                .take_while(|name| {
                    let fits = name.len() <= room;
                    room -= if fits { name.len() } else { 0 };
                    fits
                })
                .count();
            change.omitted += names.len() - fitting;
            names.truncate(fitting);
        }
        changes.push(change);
    };
    // Library by library: the names of all symbols of an image would be many.
    let same: Vec<String> = old
        .keys()
        .filter(|path| new.contains_key(*path))
        .cloned()
        .collect();
    for path in same {
        let (Some(first), Some(second)) = (old.remove(&path), new.remove(&path)) else {
            continue;
        };
        if let (Some(first), Some(second)) = (symbols::read(&first), symbols::read(&second)) {
            told(changed((&path, &first, one.1), (&path, &second, other.1)));
        }
    }
    // What is too large on one side to be looked into is not gone.
    old.retain(|path, _| !now_wanted.contains_key(path.as_str()));
    new.retain(|path, _| !wanted.contains_key(path.as_str()));
    let by_soname = |files: &BTreeMap<String, PathBuf>| -> BTreeMap<String, String> {
        let names = files.iter().filter_map(|(path, place)| {
            let soname = symbols::read(place)?.soname?;
            Some((soname, path.clone()))
        });
        names.collect()
    };
    let (old_names, new_names) = (by_soname(&old), by_soname(&new));
    let sonames: BTreeSet<&String> = old_names.keys().chain(new_names.keys()).collect();
    for soname in sonames {
        let read = |names: &BTreeMap<String, String>, files: &BTreeMap<String, PathBuf>| {
            let path = names.get(soname)?;
            Some((path.clone(), symbols::read(files.get(path)?)?))
        };
        match (read(&old_names, &old), read(&new_names, &new)) {
            (Some((path, first)), Some((now, second))) => {
                told(changed((&path, &first, one.1), (&now, &second, other.1)));
            }
            (Some((path, library)), None) => told(Some(LibraryChange {
                name: soname.clone(),
                change: FileFate::Removed,
                before: Some(facts(&path, &library, one.1)),
                after: None,
                removed: Vec::new(),
                added: Vec::new(),
                omitted: 0,
            })),
            (None, Some((path, library))) => told(Some(LibraryChange {
                name: soname.clone(),
                change: FileFate::Added,
                before: None,
                after: Some(facts(&path, &library, other.1)),
                removed: Vec::new(),
                added: Vec::new(),
                omitted: 0,
            })),
            (None, None) => {}
        }
    }
    changes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(changes)
}

/// The libraries of `tree` that `other` has not, or has otherwise, at the same path.
fn differing<'t>(tree: &'t Tree, other: &Tree) -> BTreeMap<&'t str, &'t Placed> {
    let digest = |placed: &Placed| match placed.facts.kind {
        Kind::File { digest, .. } => Some(digest),
        _ => None,
    };
    tree.files
        .iter()
        .filter(|(_, placed)| placed.facts.is_library)
        .filter(|(path, placed)| other.files.get(*path).and_then(digest) != digest(placed))
        .map(|(path, placed)| (path.as_str(), placed))
        .collect()
}

type Sided<'a> = (&'a str, &'a Library, &'a Packages);

fn changed(before: Sided<'_>, after: Sided<'_>) -> Option<LibraryChange> {
    let (one, other) = (before.1, after.1);
    let removed: Vec<String> = one.symbols.difference(&other.symbols).cloned().collect();
    let added: Vec<String> = other.symbols.difference(&one.symbols).cloned().collect();
    if removed.is_empty() && added.is_empty() && one.soname == other.soname {
        return None;
    }
    let name = one.soname.clone().or_else(|| other.soname.clone());
    Some(LibraryChange {
        name: name.unwrap_or_else(|| after.0.to_owned()),
        change: FileFate::Changed,
        before: Some(facts(before.0, one, before.2)),
        after: Some(facts(after.0, other, after.2)),
        removed,
        added,
        omitted: 0,
    })
}

fn facts(path: &str, library: &Library, packages: &Packages) -> LibraryFacts {
    LibraryFacts {
        path: path.to_owned(),
        soname: library.soname.clone(),
        symbols: library.symbols.len(),
        package: packages.owner(path).cloned(),
    }
}

//! Packages of two images, their licences and their sizes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use apk::database::InstalledPackage;
use apk::version;

use super::layers::{Kind, Tree};
use super::model::{
    LicenceChange, Licences, PackageChange, PackageFacts, PackageFate, PackageSize,
};
use super::{DiffError, Side};

/// The packages of an image, and which files are theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Packages {
    pub(super) by_name: BTreeMap<String, PackageFacts>,
    /// The package that a path belongs to.
    owners: BTreeMap<String, String>,
    /// The bytes of what belongs to no package.
    unowned: u64,
}

impl Packages {
    /// Reads apk's database out of an image; an image without one has no packages.
    pub(super) fn read(tree: &Tree, side: Side) -> Result<Packages, DiffError> {
        let places = ["usr/lib/apk/db/installed", "lib/apk/db/installed"];
        let Some(bytes) = places.into_iter().find_map(|place| tree.bytes(place)) else {
            return Ok(Packages::default());
        };
        let text = String::from_utf8_lossy(bytes);
        let installed =
            apk::database::parse(&text).map_err(|source| DiffError::Database { side, source })?;
        let mut packages = Packages::default();
        for package in &installed {
            packages.add(package);
        }
        packages.measure(tree);
        Ok(packages)
    }

    fn add(&mut self, package: &InstalledPackage) {
        let info = &package.entry.info;
        for directory in &package.directories {
            for file in &directory.files {
                let path = match directory.path.as_str() {
                    "" => file.name.clone(),
                    folder => format!("{folder}/{}", file.name),
                };
                self.owners.insert(path, info.name.clone());
            }
        }
        let facts = PackageFacts {
            version: info.version.clone(),
            origin: info.origin.clone(),
            licence: info.licenses.join(" "),
            size: 0,
            checksum: package.entry.identity.to_string(),
        };
        self.by_name.insert(info.name.clone(), facts);
    }

    /// Adds up what files have; one of several names of a file counts.
    fn measure(&mut self, tree: &Tree) {
        for (path, placed) in &tree.files {
            let Kind::File { size, .. } = placed.facts.kind else {
                continue;
            };
            if placed.linked.is_some() {
                continue;
            }
            let owner = self.owners.get(path);
            match owner.and_then(|owner| self.by_name.get_mut(owner)) {
                Some(facts) => facts.size = facts.size.saturating_add(size),
                None => self.unowned = self.unowned.saturating_add(size),
            }
        }
    }

    pub(super) fn owner(&self, path: &str) -> Option<&String> {
        self.owners.get(path)
    }
}

/// Packages that differ.
pub(super) fn compare(before: &Packages, after: &Packages) -> Vec<PackageChange> {
    let names: BTreeSet<&String> = before.by_name.keys().chain(after.by_name.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let (one, other) = (before.by_name.get(name), after.by_name.get(name));
        let change = match (one, other) {
            (None, _) => PackageFate::Added,
            (_, None) => PackageFate::Removed,
            (Some(one), Some(other)) => match version::compare(&other.version, &one.version) {
                Ordering::Greater => PackageFate::Upgraded,
                Ordering::Less => PackageFate::Downgraded,
                Ordering::Equal
                    if one.checksum == other.checksum && one.version == other.version =>
                {
                    continue;
                }
                Ordering::Equal => PackageFate::Rebuilt,
            },
        };
        changes.push(PackageChange {
            name: name.clone(),
            change,
            before: one.cloned(),
            after: other.cloned(),
        });
    }
    changes
}

/// Licences that differ.
pub(super) fn licences(before: &Packages, after: &Packages) -> Licences {
    let mut licences = Licences::default();
    for (name, one) in &before.by_name {
        if let Some(other) = after.by_name.get(name)
            && one.licence != other.licence
        {
            licences.changed.push(LicenceChange {
                package: name.clone(),
                before: one.licence.clone(),
                after: other.licence.clone(),
            });
        }
    }
    let (one, other) = (identifiers(before), identifiers(after));
    for (licence, packages) in &other {
        if !one.contains_key(licence) {
            licences.new.insert(licence.clone(), packages.clone());
        }
    }
    let gone = one.keys().filter(|licence| !other.contains_key(*licence));
    licences.gone = gone.cloned().collect();
    licences
}

/// The licences that expressions name, with the packages that are under each.
fn identifiers(packages: &Packages) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, facts) in &packages.by_name {
        let words = facts
            .licence
            .split(|character: char| character.is_whitespace() || "(),".contains(character));
        for word in words {
            if word.is_empty() || ["AND", "OR", "WITH", "and", "or", "with"].contains(&word) {
                continue;
            }
            let packages = all.entry(word.to_owned()).or_default();
            if packages.last() != Some(name) {
                packages.push(name.clone());
            }
        }
    }
    all
}

/// Packages whose files have other sizes together, the largest difference first.
pub(super) fn sizes(before: &Packages, after: &Packages) -> Vec<PackageSize> {
    let names: BTreeSet<&String> = before.by_name.keys().chain(after.by_name.keys()).collect();
    let size = |packages: &Packages, name: &String| {
        let facts = packages.by_name.get(name);
        facts.map_or(0, |facts| facts.size)
    };
    let mut sizes: Vec<PackageSize> = names
        .into_iter()
        .map(|name| PackageSize {
            package: name.clone(),
            before: size(before, name),
            after: size(after, name),
        })
        .collect();
    sizes.push(PackageSize {
        package: String::new(),
        before: before.unowned,
        after: after.unowned,
    });
    sizes.retain(|size| size.before != size.after);
    sizes.sort_by_key(|size| std::cmp::Reverse(size.before.abs_diff(size.after)));
    sizes
}

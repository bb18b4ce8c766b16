//! Packages that have a folder where another has a link to a folder.
//!
//! apk installs such a package through the link. In an overlay the folder would hide the link, or
//! the link the folder, and with it everything in it. So the package is stacked in a form whose
//! files are where the link leads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use base::Digest;
use serde::{Deserialize, Serialize};
use store::Store;

use super::GuestError;
use super::merge::{Merger, Method};
use crate::plan::key_bytes;

/// Where a tree has folders and links, by paths relative to its root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    folders: BTreeSet<String>,
    links: BTreeMap<String, String>,
}

impl Shape {
    /// The shape of the tree that the store has under `key`; looked up, or found and noted.
    pub(super) fn of(store: &Store, key: &Digest, tree: &Path) -> Result<Shape, GuestError> {
        const KIND: &str = "tree-shape";
        if let Some(shape) = store.record_get(KIND, key)? {
            return Ok(shape);
        }
        let shape = Shape::scan(tree)?;
        store.record_put(KIND, key, &shape)?;
        Ok(shape)
    }

    fn scan(tree: &Path) -> Result<Shape, GuestError> {
        let mut shape = Shape::default();
        let mut pending = vec![PathBuf::new()];
        while let Some(folder) = pending.pop() {
            let here = tree.join(&folder);
            for entry in fs::read_dir(&here).map_err(GuestError::at("list", &here))? {
                let entry = entry.map_err(GuestError::at("list", &here))?;
                let kind = entry
                    .file_type()
                    .map_err(GuestError::at("read", &entry.path()))?;
                let relative = folder.join(entry.file_name());
                // Names that are not UTF-8 are never where folders and links meet.
                let Some(name) = relative.to_str().map(str::to_owned) else {
                    continue;
                };
                if kind.is_dir() {
                    shape.folders.insert(name);
                    pending.push(relative);
                } else if kind.is_symlink() {
                    let path = entry.path();
                    let target = fs::read_link(&path).map_err(GuestError::at("read", &path))?;
                    if let Some(target) = target.to_str() {
                        shape.links.insert(name, target.to_owned());
                    }
                }
            }
        }
        Ok(shape)
    }
}

/// The trees as they are to be stacked: each as it is, or in a form of the same package whose
/// files are where the links of the others lead.
pub(super) fn relocated(
    store: &Store,
    trees: &[(Digest, PathBuf)],
    shapes: &[Shape],
) -> Result<Vec<PathBuf>, GuestError> {
    let folders: BTreeSet<&str> = shapes
        .iter()
        .flat_map(|shape| shape.folders.iter().map(String::as_str))
        .collect();
    let links: BTreeMap<String, String> = shapes
        .iter()
        .flat_map(|shape| &shape.links)
        .filter(|(path, _)| folders.contains(path.as_str()))
        .map(|(path, target)| (path.clone(), target.clone()))
        .collect();
    trees
        .iter()
        .zip(shapes)
        .map(|((key, tree), shape)| {
            if !links.keys().any(|path| shape.folders.contains(path)) {
                return Ok(tree.clone());
            }
            let mut moved = b"relocated 1 ".to_vec();
            moved.extend(key_bytes(&(key, &links)));
            let moved = Digest::of(&moved);
            let made = store.tree(&moved, |into| {
                // Checked first, because where an entry goes can't fail later on.
                for folder in &shape.folders {
                    resolve(folder, &links)?;
                }
                let mut merger = Merger::new(into, Method::HardLink);
                merger.add(tree, &|path| {
                    let Some(text) = path.to_str() else {
                        return Some(path.to_owned());
                    };
                    if links.contains_key(text) && shape.folders.contains(text) {
                        return None;
                    }
                    let (above, name) = match text.rsplit_once('/') {
                        Some((above, name)) => (resolve(above, &links).ok()?, name),
                        None => (PathBuf::new(), text),
                    };
                    Some(above.join(name))
                })?;
                merger.finish()
            })?;
            Ok(made)
        })
        .collect()
}

/// Where the folder `path` really is, if each of `links` is followed.
fn resolve(path: &str, links: &BTreeMap<String, String>) -> Result<PathBuf, GuestError> {
    let mut left: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let mut resolved = PathBuf::new();
    let mut followed = 0;
    while let Some(component) = left.pop() {
        if component == ".." {
            resolved.pop();
            continue;
        }
        resolved.push(&component);
        let Some(target) = resolved.to_str().and_then(|text| links.get(text)) else {
            continue;
        };
        followed += 1;
        if followed > 40 {
            return Err(GuestError::Circle(path.to_owned()));
        }
        resolved.pop();
        if target.starts_with('/') {
            resolved = PathBuf::new();
        }
        for component in Path::new(target).components().rev() {
            match component {
                Component::Normal(name) => left.push(name.to_string_lossy().into_owned()),
                Component::ParentDir => left.push("..".to_owned()),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_where_links_lead() {
        let links = BTreeMap::from(
            [
                ("bin", "usr/bin"),
                ("lib64", "lib"),
                ("lib", "/usr/lib"),
                ("usr/sbin", "./bin"),
                ("var/run", "../run"),
                ("a", "b"),
                ("b", "a"),
            ]
            .map(|(path, target)| (path.to_owned(), target.to_owned())),
        );
        let at = |path| resolve(path, &links).unwrap().to_str().unwrap().to_owned();
        assert_eq!(at("bin"), "usr/bin");
        assert_eq!(at("lib64/x/y"), "usr/lib/x/y");
        assert_eq!(at("usr/sbin"), "usr/bin");
        assert_eq!(at("var/run/lock"), "run/lock");
        assert_eq!(at("etc"), "etc");
        assert!(resolve("a/x", &links).is_err());
    }
}

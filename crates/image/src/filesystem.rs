//! The files of an image: what the packages bring, by apk's rules of who owns what, and what the
//! image file changes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use apk::dependency::Identity;
use apk::package::PackageInfo;
use archive::tar::UnsafePath;
use archive::tree::{Content, Node, NodeKind, TreePath};
use rayon::prelude::*;

use crate::base_image::Base;

/// As many symbolic links as Linux follows in one path.
const LINK_LIMIT: usize = 40;

/// The files of an image can't be put together.
#[derive(Debug, thiserror::Error)]
pub enum FilesystemError {
    /// Two packages bring different files.
    #[error(
        "{second} and {first} both have /{path}, with different contents; have one of them say `replaces: {other}`, or leave one out", other = name_of(first)
    )]
    FileConflict {
        /// The file.
        path: TreePath,
        /// The package installed first: name and version.
        first: String,
        /// The package installed second.
        second: String,
    },
    /// A directory of one is something else in another.
    #[error(
        "/{path} is a {first_kind} in {first} but a {second_kind} in {second}; build one of them for the other's layout"
    )]
    KindConflict {
        /// The path.
        path: TreePath,
        /// Who brings it first: a package, or `the image file`.
        first: String,
        /// What it is there.
        first_kind: &'static str,
        /// Who brings it second.
        second: String,
        /// What it is there.
        second_kind: &'static str,
    },
    /// Something isn't there.
    #[error("/{path} is not in the image{}", needed(what))]
    Missing {
        /// The path.
        path: String,
        /// What it is needed for.
        what: String,
    },
    /// Something is there that isn't a directory.
    #[error(
        "/{path} has to be a directory, but the image has a {kind} there; choose another path or leave out the package that brings it"
    )]
    NotADirectory {
        /// The path.
        path: String,
        /// What is there.
        kind: &'static str,
    },
    /// Something is there that isn't a file.
    #[error("/{path} has to be a file, but the image has a {kind} there")]
    NotAFile {
        /// The path.
        path: String,
        /// What is there.
        kind: &'static str,
    },
    /// Symbolic links lead round in a circle.
    #[error("/{path} leads through more than {LINK_LIMIT} symbolic links")]
    LinkLoop {
        /// The path.
        path: String,
    },
    /// A path can't be in an image.
    #[error("`{path}` can't be in an image: {source}")]
    Unsafe {
        /// The path.
        path: String,
        /// Why.
        source: UnsafePath,
    },
    /// A file's bytes can't be read.
    #[error("can't read /{path}, which a package brings: {source}")]
    Read {
        /// The file.
        path: TreePath,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn name_of(package: &str) -> &str {
    package.split_once(' ').map_or(package, |(name, _)| name)
}

fn needed(what: &str) -> String {
    if what.is_empty() {
        String::new()
    } else {
        format!("; {what}")
    }
}

/// An entry and who brings it.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) node: Node,
    /// The package's place in the order of installation; none for what the image file makes.
    pub(crate) owner: Option<usize>,
    /// Whether the entry is exactly as its package has it.
    pub(crate) pristine: bool,
    /// Whether it is the base image's, unchanged: it is in no layer of this image's own.
    pub(crate) below: bool,
    checksum: Option<Identity>,
}

/// What is left of a package's entries that are no directories.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// How many are its own, changed or not.
    pub(crate) owned: usize,
    /// How many are exactly as it has them.
    pub(crate) pristine: usize,
}

/// One entry of a package.
#[derive(Clone, Debug)]
pub(crate) struct PackageEntry {
    pub(crate) path: TreePath,
    pub(crate) node: Node,
    /// Of a file's content or a link's target: SHA-1 or SHA-256, as its package has it.
    pub(crate) checksum: Option<Identity>,
}

impl PackageEntry {
    fn placed(self, owner: usize) -> (TreePath, Placed) {
        let placed = Placed {
            node: self.node,
            owner: Some(owner),
            pristine: true,
            below: false,
            checksum: self.checksum,
        };
        (self.path, placed)
    }
}

/// The files of an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filesystem {
    entries: BTreeMap<TreePath, Placed>,
}

/// What a node is, in words.
pub(crate) fn kind(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::Directory => "directory",
        NodeKind::File { .. } => "file",
        NodeKind::Symlink { .. } => "symbolic link",
        NodeKind::HardLink { .. } => "hard link",
        NodeKind::CharDevice { .. } => "character device",
        NodeKind::BlockDevice { .. } => "block device",
        NodeKind::Fifo => "named pipe",
    }
}

pub(crate) fn tree_path(path: &str) -> Result<TreePath, FilesystemError> {
    TreePath::new(path).map_err(|source| FilesystemError::Unsafe {
        path: path.to_owned(),
        source,
    })
}

/// Who has a path that two packages bring.
enum Winner {
    First,
    Second,
    Neither,
}

/// apk's rules (`apk_pkg_replaces_file`): a newer version or a package of the same origin takes
/// over; else `replaces` of either decides, the higher `replaces_priority` first.
fn decide(first: &PackageInfo, second: &PackageInfo) -> Winner {
    if first.name == second.name || (!first.origin.is_empty() && first.origin == second.origin) {
        return Winner::Second;
    }
    let claim = |claimant: &PackageInfo, other: &PackageInfo| {
        let replaces = claimant.replaces.iter().any(|dependency| {
            dependency.name == other.name && dependency.matches(Some(&other.version), None)
        });
        replaces.then(|| claimant.replaces_priority.unwrap_or(0))
    };
    match (claim(first, second), claim(second, first)) {
        (None, None) => Winner::Neither,
        (first, second) if first > second => Winner::First,
        (_, Some(_)) => Winner::Second,
        (Some(_), None) => Winner::First,
    }
}

impl Filesystem {
    /// The files of a base image.
    pub(crate) fn over(base: &Base) -> Filesystem {
        let entries = base.contents.files.iter().filter_map(|(path, file)| {
            let path = TreePath::new(path).ok()?;
            let node = Node::of(file.header.clone(), &base.folder).ok()?;
            let placed = Placed {
                below: true,
                ..Placed::made(node)
            };
            Some((path, placed))
        });
        Filesystem {
            entries: entries.collect(),
        }
    }

    /// Adds the entries of all `packages`, each of which is installed after those before it.
    pub(crate) fn add_packages(
        &mut self,
        packages: &[PackageInfo],
        entries: Vec<Vec<PackageEntry>>,
    ) -> Result<(), FilesystemError> {
        let each = entries.into_iter().enumerate();
        let mut all: Vec<(usize, PackageEntry)> = each
            .flat_map(|(index, entries)| entries.into_iter().map(move |entry| (index, entry)))
            .collect();
        // Equal paths stay in the order of their packages.
        all.par_sort_by(|(_, first), (_, second)| first.path.cmp(&second.path));
        // Nearly all paths are one package's alone, or directories of several, and need no decision.
        let mut uncontested: Vec<(TreePath, Placed)> = Vec::with_capacity(all.len());
        let mut contested: Vec<(usize, PackageEntry)> = Vec::new();
        let mut all = all.into_iter().peekable();
        while let Some(first) = all.next() {
            let mut at_one_path = vec![first];
            while let Some(next) = all.next_if(|(_, next)| {
                let last = at_one_path.last();
                last.is_some_and(|(_, last)| last.path == next.path)
            }) {
                // Of a package's entries at one path the last counts.
                if at_one_path
                    .last()
                    .is_some_and(|(index, _)| *index == next.0)
                {
                    at_one_path.pop();
                }
                at_one_path.push(next);
            }
            let agree = match at_one_path.as_slice() {
                [_] => true,
                several => several.iter().all(|(_, entry)| entry.node.is_directory()),
            };
            let is_there = at_one_path
                .first()
                .is_some_and(|(_, entry)| self.entries.contains_key(&entry.path));
            if agree && !is_there {
                // The first package's directory stays, with its mode, owner and time.
                let first = at_one_path.into_iter().next();
                uncontested.extend(first.map(|(index, entry)| entry.placed(index)));
            } else {
                contested.extend(at_one_path);
            }
        }
        let mut uncontested: BTreeMap<TreePath, Placed> = uncontested.into_iter().collect();
        self.entries.append(&mut uncontested);
        contested.sort_by_key(|(index, _)| *index);
        let mut contested = contested.into_iter().peekable();
        while let Some((index, first)) = contested.next() {
            let mut entries = vec![first];
            while let Some((_, next)) = contested.next_if(|(other, _)| *other == index) {
                entries.push(next);
            }
            self.contend(packages, index, entries)?;
        }
        Ok(())
    }

    /// Adds entries of `packages[index]` at paths that others may have, at most one at each.
    fn contend(
        &mut self,
        packages: &[PackageInfo],
        index: usize,
        entries: Vec<PackageEntry>,
    ) -> Result<(), FilesystemError> {
        let title = |index: usize| {
            packages.get(index).map_or_else(String::new, |package| {
                format!("{} {}", package.name, package.version)
            })
        };
        let mut lost = Vec::new();
        for entry in entries {
            let (path, placed) = entry.placed(index);
            let mut occupied = match self.entries.entry(path) {
                MapEntry::Vacant(vacant) => {
                    vacant.insert(placed);
                    continue;
                }
                MapEntry::Occupied(occupied) => occupied,
            };
            let there = occupied.get();
            let first = there.owner.unwrap_or(index);
            match (there.node.is_directory(), placed.node.is_directory()) {
                // The first package's directory stays, with its mode, owner and time.
                (true, true) => continue,
                (false, false) if there.below => {
                    // What a base image has may be replaced: its packages are not known by file.
                    if !same_content(there, &placed) {
                        occupied.insert(placed);
                    }
                    continue;
                }
                (false, false) => {}
                _ => {
                    return Err(FilesystemError::KindConflict {
                        path: occupied.key().clone(),
                        first: title(first),
                        first_kind: kind(&there.node),
                        second: title(index),
                        second_kind: kind(&placed.node),
                    });
                }
            }
            let winner = match (packages.get(first), packages.get(index)) {
                (Some(first), Some(second)) => decide(first, second),
                _ => Winner::Neither,
            };
            match winner {
                Winner::First => lost.push((occupied.key().clone(), placed.node)),
                Winner::Second => {
                    let path = occupied.key().clone();
                    self.promote_links(&path);
                    self.entries.insert(path, placed);
                }
                Winner::Neither if same_content(there, &placed) => {
                    lost.push((occupied.key().clone(), placed.node));
                }
                Winner::Neither => {
                    return Err(FilesystemError::FileConflict {
                        path: occupied.key().clone(),
                        first: title(first),
                        second: title(index),
                    });
                }
            }
        }
        // A link to a file that another package keeps would be a link to that package's bytes.
        for (path, node) in lost {
            self.relink(&path, index, &node);
        }
        Ok(())
    }

    /// Before the file at `path` goes: the first of its package's hard links becomes the file.
    fn promote_links(&mut self, path: &TreePath) {
        let Some(Placed {
            node,
            owner: Some(owner),
            ..
        }) = self.entries.get(path).cloned()
        else {
            return;
        };
        self.relink(path, owner, &node);
    }

    fn relink(&mut self, path: &TreePath, owner: usize, file: &Node) {
        let mut first: Option<TreePath> = None;
        for (link, placed) in &mut self.entries {
            let is_link = placed.owner == Some(owner)
                && matches!(&placed.node.kind, NodeKind::HardLink { target } if target == path);
            if !is_link {
                continue;
            }
            placed.pristine = false;
            placed.below = false;
            match &first {
                None => {
                    placed.node = file.clone();
                    first = Some(link.clone());
                }
                Some(first) => {
                    placed.node.kind = NodeKind::HardLink {
                        target: first.clone(),
                    };
                }
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TreePath, &Placed)> {
        self.entries.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&TreePath, &mut Placed)> {
        self.entries.iter_mut()
    }

    /// How many entries that are no directories each of so many packages has.
    pub(crate) fn held(&self, packages: usize) -> Vec<Held> {
        let mut held = vec![Held::default(); packages];
        for placed in self.entries.values() {
            if let Some(held) = placed.owner.and_then(|owner| held.get_mut(owner))
                && !placed.node.is_directory()
            {
                held.owned += 1;
                held.pristine += usize::from(placed.pristine);
            }
        }
        held
    }

    /// The entry at `path`, with the path as it is kept here.
    pub(crate) fn entry(&self, path: &TreePath) -> Option<(&TreePath, &Placed)> {
        self.entries.get_key_value(path)
    }

    /// What is at `path` itself, which is not followed if it is a link.
    pub(crate) fn node(&self, path: &TreePath) -> Option<&Node> {
        self.entries.get(path).map(|placed| &placed.node)
    }

    /// The path that `path` leads to when every symbolic link is followed as a process inside the
    /// image would: absolute targets begin at its root, and `..` ends there. Parts that don't
    /// exist are taken as they are. `None` is the root.
    pub(crate) fn follow(&self, path: &str) -> Result<Option<TreePath>, FilesystemError> {
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => done.push(part),
            }
            let here = tree_path(&done.join("/"))?;
            if let Some(Node {
                kind: NodeKind::Symlink { target },
                ..
            }) = self.node(&here)
            {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(FilesystemError::LinkLoop {
                        path: path.to_owned(),
                    });
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                rest.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        if done.is_empty() {
            return Ok(None);
        }
        tree_path(&done.join("/")).map(Some)
    }

    /// `path` with the links among its parents followed, but not itself.
    pub(crate) fn follow_parents(&self, path: &str) -> Result<TreePath, FilesystemError> {
        let path = tree_path(path)?;
        let Some(parent) = path.parent() else {
            return Ok(path);
        };
        match self.follow(parent.as_str())? {
            None => tree_path(path.file_name()),
            Some(parent) => tree_path(&format!("{}/{}", parent.as_str(), path.file_name())),
        }
    }

    /// Makes a directory and its missing parents, the parents 0755 and root's. An existing
    /// directory, also behind links, stays as it is. Gives the directory's real path.
    pub(crate) fn make_directory(
        &mut self,
        path: &str,
        directory: Node,
    ) -> Result<Option<TreePath>, FilesystemError> {
        let Some(path) = self.follow(path)? else {
            return Ok(None);
        };
        let mut ancestors: Vec<TreePath> =
            std::iter::successors(path.parent(), TreePath::parent).collect();
        ancestors.reverse();
        for parent in ancestors {
            self.directory_at(&parent, Node::directory())?;
        }
        self.directory_at(&path, directory)?;
        Ok(Some(path))
    }

    fn directory_at(&mut self, path: &TreePath, node: Node) -> Result<(), FilesystemError> {
        match self.entries.get(path) {
            Some(placed) if placed.node.is_directory() => Ok(()),
            Some(placed) => Err(FilesystemError::NotADirectory {
                path: path.as_str().to_owned(),
                kind: kind(&placed.node),
            }),
            None => {
                self.entries.insert(path.clone(), Placed::made(node));
                Ok(())
            }
        }
    }

    /// Puts a file, link or device at `path`, with missing parents. What was there goes; whose it
    /// was stays known, so the installed database still lists it.
    pub(crate) fn put(&mut self, path: &str, node: Node) -> Result<TreePath, FilesystemError> {
        let path = self.follow_parents(path)?;
        if let Some(parent) = path.parent() {
            self.make_directory(parent.as_str(), Node::directory())?;
        }
        let mut placed = Placed::made(node);
        if let Some(there) = self.entries.get(&path) {
            if there.node.is_directory() {
                return Err(FilesystemError::NotAFile {
                    path: path.as_str().to_owned(),
                    kind: kind(&there.node),
                });
            }
            placed.owner = there.owner;
            self.promote_links(&path);
        }
        self.entries.insert(path.clone(), placed);
        Ok(path)
    }

    /// Writes a text file, keeping the mode and owner of the one that is there.
    pub(crate) fn write(
        &mut self,
        path: &str,
        bytes: Vec<u8>,
        mode: u32,
    ) -> Result<(), FilesystemError> {
        let real = self.follow(path)?;
        let real = real.as_ref().map_or(path, TreePath::as_str).to_owned();
        let there = tree_path(&real)?;
        let node = match self.node(&there) {
            Some(old) if old.is_file() => Node {
                kind: Node::file(bytes).kind,
                ..old.clone()
            },
            _ => Node::file(bytes).with_mode(mode),
        };
        self.put(&real, node)?;
        Ok(())
    }

    /// The bytes of the file that `path` leads to, if there is one.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FilesystemError> {
        let Some(mut path) = self.follow(path)? else {
            return Ok(None);
        };
        if let Some(Node {
            kind: NodeKind::HardLink { target },
            ..
        }) = self.node(&path)
        {
            path = target.clone();
        }
        match self.node(&path) {
            Some(Node {
                kind: NodeKind::File { content, .. },
                ..
            }) => content
                .read()
                .map(Some)
                .map_err(|source| FilesystemError::Read { path, source }),
            _ => Ok(None),
        }
    }

    /// Changes the entry at `path`; a hard link's change is its file's.
    pub(crate) fn change(&mut self, path: &TreePath, change: impl FnOnce(&mut Node)) {
        let target = match self.node(path) {
            Some(Node {
                kind: NodeKind::HardLink { target },
                ..
            }) => target.clone(),
            _ => path.clone(),
        };
        let Some(placed) = self.entries.get_mut(&target) else {
            return;
        };
        let before = placed.node.clone();
        change(&mut placed.node);
        if placed.node == before {
            return;
        }
        placed.pristine = false;
        placed.below = false;
        let (mode, uid, gid) = (placed.node.mode, placed.node.uid, placed.node.gid);
        for placed in self.entries.values_mut() {
            if matches!(&placed.node.kind, NodeKind::HardLink { target: file } if *file == target) {
                (placed.node.mode, placed.node.uid, placed.node.gid) = (mode, uid, gid);
                placed.pristine = false;
                placed.below = false;
            }
        }
    }

    /// The paths beneath the directory `path`, in order.
    pub(crate) fn beneath(&self, path: &TreePath) -> Vec<TreePath> {
        self.entries
            .range(path.clone()..)
            .skip(1)
            .map(|(other, _)| other)
            .take_while(|other| other.is_beneath(path))
            .cloned()
            .collect()
    }
}

impl Placed {
    fn made(node: Node) -> Placed {
        Placed {
            node,
            owner: None,
            pristine: false,
            below: false,
            checksum: None,
        }
    }
}

fn same_content(one: &Placed, other: &Placed) -> bool {
    match (&one.node.kind, &other.node.kind) {
        (
            NodeKind::File {
                size: a,
                content: x,
            },
            NodeKind::File {
                size: b,
                content: y,
            },
        ) => {
            a == b
                && match (one.checksum, other.checksum) {
                    (Some(Identity::Sha1(one)), Some(Identity::Sha1(other))) => one == other,
                    (Some(Identity::Sha256(one)), Some(Identity::Sha256(other))) => one == other,
                    _ => same_bytes(x, y),
                }
        }
        (a, b) => a == b,
    }
}

fn same_bytes(one: &Content, other: &Content) -> bool {
    matches!((one.read(), other.read()), (Ok(one), Ok(other)) if one == other)
}

#[cfg(test)]
mod tests;

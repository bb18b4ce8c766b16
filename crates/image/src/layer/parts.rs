//! What layers are cut into: directories, the files of one package after the other, and what is made for
//! the image.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use archive::tree::{Node, NodeKind, TreePath};
use base::Digest;
use serde::Serialize;

use super::run::{Item, checked_header, content_of};
use super::{Compression, FORMAT, LayerError, StoredPackage, hashing};
use crate::filesystem::{Filesystem, Held, Placed};

/// A run of a layer.
pub(super) struct Part<'a> {
    /// Its entries; none where a whole package has them.
    pub(super) items: Vec<Item<'a>>,
    pub(super) source: Source<'a>,
}

pub(super) enum Source<'a> {
    /// Made for this image: compressed with the layer.
    Generated,
    /// Files of a package: compressed once.
    Package {
        key: Digest,
        /// Where the layer has all of its files.
        whole: Option<&'a StoredPackage>,
    },
}

impl Part<'_> {
    /// What is hashed of its content.
    pub(super) fn content(&self) -> hashing::Source<'_> {
        match &self.source {
            Source::Package {
                whole: Some(package),
                ..
            } => hashing::Source::Package(package),
            _ => hashing::Source::Items(&self.items),
        }
    }

    /// About how many bytes that is.
    pub(super) fn length(&self) -> u64 {
        match self.content() {
            hashing::Source::Package(package) => package.run.length,
            _ => self.items.iter().map(|item| item.header.kind.size()).sum(),
        }
    }
}

#[derive(Serialize)]
struct RunKey<'a> {
    format: &'static str,
    package: Digest,
    left_out: &'a BTreeSet<&'a str>,
    /// Whether headers have apk's checksums.
    checksums: bool,
}

/// Which part of an image a layer is.
pub(crate) struct Share<'a> {
    /// The packages whose files it has, by their places.
    pub(crate) members: &'a [usize],
    /// Whether it also has everything that no package brings unchanged, and every directory that the
    /// layers before don't have.
    pub(crate) is_last: bool,
}

/// Cuts an image's files into the parts of layers.
pub(super) struct Cutter<'a> {
    filesystem: &'a Filesystem,
    packages: &'a [StoredPackage],
    /// By the packages' places.
    held: Vec<Held>,
    /// Whether the entries of a whole package are asked for too.
    wants_entries: bool,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(
        filesystem: &'a Filesystem,
        packages: &'a [StoredPackage],
        compression: Compression,
    ) -> Cutter<'a> {
        Cutter {
            filesystem,
            packages,
            held: filesystem.held(packages.len()),
            wants_entries: compression.is_lazy(),
        }
    }

    /// The parts of a layer; `earlier` are the directories of the layers before, to which its own are added.
    pub(super) fn parts_of(
        &self,
        share: &Share<'_>,
        earlier: &mut BTreeSet<TreePath>,
    ) -> Result<Vec<Part<'a>>, LayerError> {
        let last = share.is_last;
        let mut members = share.members.to_vec();
        members.sort_by_key(|member| {
            Reverse(
                self.packages
                    .get(*member)
                    .map_or(0, |package| package.run.length),
            )
        });
        let mut directories: BTreeSet<TreePath> = BTreeSet::new();
        let mut rest: Vec<(&TreePath, &Node)> = Vec::new();
        let mut last_parent = None;
        for (path, placed) in self.filesystem.iter() {
            if placed.below {
                continue;
            }
            if placed.node.is_directory() {
                if last && !earlier.contains(path) {
                    directories.insert(path.clone());
                }
                continue;
            }
            let here = match placed.owner {
                Some(owner) if placed.pristine => members.contains(&owner),
                _ => {
                    if last {
                        rest.push((path, &placed.node));
                    }
                    last
                }
            };
            if here {
                let mut parent = path.parent();
                // Most follow another in the same directory.
                if parent == last_parent {
                    continue;
                }
                last_parent.clone_from(&parent);
                while let Some(directory) = parent {
                    parent = directory.parent();
                    if !directories.insert(directory) {
                        break;
                    }
                }
            }
        }
        let mut parts = vec![Part {
            items: directories
                .iter()
                .filter_map(|path| Some(item(path, self.filesystem.node(path)?)))
                .collect(),
            source: Source::Generated,
        }];
        for member in members {
            if let Some(package) = self.packages.get(member) {
                parts.extend(self.package_part(package, member)?);
            }
        }
        let is_link = |node: &Node| matches!(node.kind, NodeKind::HardLink { .. });
        rest.sort_by_key(|(_, node)| is_link(node));
        parts.push(Part {
            items: rest
                .into_iter()
                .map(|(path, node)| item(path, node))
                .collect(),
            source: Source::Generated,
        });
        earlier.extend(directories);
        Ok(parts)
    }

    /// The files of a package as far as they are in the image unchanged.
    fn package_part(
        &self,
        package: &'a StoredPackage,
        member: usize,
    ) -> Result<Option<Part<'a>>, LayerError> {
        let pristine = self.held.get(member).map_or(0, |held| held.pristine);
        if pristine == 0 {
            return Ok(None);
        }
        let mut left_out: BTreeSet<&str> = BTreeSet::new();
        let is_whole = pristine == package.files();
        let checksums = is_whole && package.run.has_checksums();
        let mut items = Vec::new();
        if !is_whole || self.wants_entries {
            let is_kept = |placed: &Placed| placed.owner == Some(member) && placed.pristine;
            for entry in &package.run.manifest.entries {
                if entry.is_directory() {
                    continue;
                }
                let placed = TreePath::new(&entry.path)
                    .ok()
                    .and_then(|path| self.filesystem.entry(&path));
                match placed {
                    Some((path, placed)) if is_kept(placed) => {
                        let mut item = item(path, &placed.node);
                        if checksums {
                            item.header = checked_header(entry, item.header);
                        }
                        items.push(item);
                    }
                    _ => {
                        left_out.insert(&entry.path);
                    }
                }
            }
        }
        let key = Digest::of(&serde_json::to_vec(&RunKey {
            format: FORMAT,
            package: package.digest,
            left_out: &left_out,
            checksums,
        })?);
        let whole = is_whole.then_some(package);
        Ok(Some(Part {
            items,
            source: Source::Package { key, whole },
        }))
    }
}

fn item<'a>(path: &TreePath, node: &'a Node) -> Item<'a> {
    Item {
        header: node.header(path),
        content: content_of(node),
    }
}

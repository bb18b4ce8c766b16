//! The data of a .deb as the tree of an apk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use archive::tar::{EntryKind, Reader};
use archive::tree::{Content, FileTree, Node, NodeKind, TreePath};

use super::Seed;
use super::error::DebDefect;
use super::usrmerge::{moved, moved_target};

/// Files larger than this are kept on disk, not in memory.
const LARGEST_IN_MEMORY: u64 = 16 << 10;

/// Reads a data.tar: paths are moved into /usr, and what the seed omits is left out. Larger files
/// are put into the folder `scratch`, which must live as long as the tree.
pub(super) fn read<R: Read>(
    mut reader: Reader<R>,
    seed: &Seed,
    scratch: &Path,
) -> Result<FileTree, DebDefect> {
    let mut tree = FileTree::new();
    let mut on_disk = 0_u64;
    // Hard links by the file they name, both moved.
    let mut links: BTreeMap<TreePath, BTreeSet<TreePath>> = BTreeMap::new();
    while let Some(mut entry) = reader.next()? {
        let header = entry.header().clone();
        if matches!(header.path.as_str(), "" | ".") {
            continue;
        }
        let path = tree_path(&moved(&header.path))?;
        let kind = match header.kind {
            EntryKind::Directory => NodeKind::Directory,
            EntryKind::File { size } if size > LARGEST_IN_MEMORY => {
                on_disk += 1;
                let file = scratch.join(on_disk.to_string());
                std::io::copy(
                    &mut entry,
                    &mut File::create(&file).map_err(DebDefect::Scratch)?,
                )
                .map_err(DebDefect::Scratch)?;
                NodeKind::File {
                    content: Content::Disk(file),
                    size,
                }
            }
            EntryKind::File { .. } => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                Node::file(bytes).kind
            }
            EntryKind::Symlink { target } => NodeKind::Symlink {
                target: moved_target(&header.path, &target),
            },
            EntryKind::HardLink { target } => {
                let target = tree_path(&moved(&target))?;
                links.entry(target).or_default().insert(path);
                continue;
            }
            EntryKind::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
            EntryKind::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
            EntryKind::Fifo => NodeKind::Fifo,
        };
        let node = Node {
            kind,
            mode: header.mode & 0o7777,
            uid: header.uid,
            gid: header.gid,
            user: header.user,
            group: header.group,
            mtime: header.mtime,
            xattrs: header.xattrs,
        };
        let is_directory = node.is_directory();
        if let Some(before) = tree.insert(path.clone(), node)
            && !(is_directory && before.is_directory())
        {
            return Err(DebDefect::Merged(path.to_string()));
        }
    }
    place_links(&mut tree, links, seed)?;
    omit(&mut tree, seed);
    add_parents(&mut tree);
    Ok(tree)
}

fn tree_path(path: &str) -> Result<TreePath, DebDefect> {
    TreePath::new(path).map_err(|source| DebDefect::Path {
        path: path.to_owned(),
        source,
    })
}

/// Of a file's names that stay, the first becomes the file, for a link has to follow its target.
fn place_links(
    tree: &mut FileTree,
    links: BTreeMap<TreePath, BTreeSet<TreePath>>,
    seed: &Seed,
) -> Result<(), DebDefect> {
    for (target, mut names) in links {
        let first = names.first().map(TreePath::to_string).unwrap_or_default();
        let file = tree
            .remove(target.as_str())
            .ok_or_else(|| DebDefect::HardLink {
                path: first,
                target: target.to_string(),
            })?;
        names.insert(target);
        let mut staying = names
            .into_iter()
            .filter(|name| !is_omitted(seed, name.as_str()));
        let Some(first) = staying.next() else {
            continue;
        };
        for name in staying {
            let kind = NodeKind::HardLink {
                target: first.clone(),
            };
            tree.insert(
                name,
                Node {
                    kind,
                    ..file.clone()
                },
            );
        }
        tree.insert(first, file);
    }
    Ok(())
}

/// Whether the seed leaves this file out.
fn is_omitted(seed: &Seed, path: &str) -> bool {
    let within = seed.omit.iter().any(|folder| {
        path.strip_prefix(folder.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let name = path.rsplit('/').next().unwrap_or_default();
    within && !seed.keep.contains(name)
}

fn omit(tree: &mut FileTree, seed: &Seed) {
    tree.retain(|path, node| {
        // A folder's link of a kept name (doc/x -> y) leads to what is left out.
        !is_omitted(seed, path.as_str()) || node.is_directory()
    });
    // Omitted folders stay only above what was kept in them.
    let mut needed: BTreeSet<TreePath> = BTreeSet::new();
    for (path, node) in tree.iter() {
        if node.is_directory() && is_omitted(seed, path.as_str()) {
            continue;
        }
        let mut parent = path.parent();
        while let Some(folder) = parent {
            parent = folder.parent();
            needed.insert(folder);
        }
    }
    tree.retain(|path, _| !is_omitted(seed, path.as_str()) || needed.contains(path));
}

/// Directories above what was moved to places the .deb has no entries for.
pub(super) fn add_parents(tree: &mut FileTree) {
    let paths: Vec<TreePath> = tree.iter().map(|(path, _)| path.clone()).collect();
    let directory = root_directory();
    for path in paths {
        tree.insert_parents(&path, &directory);
    }
}

/// A directory of root's, as Debian's packages have them.
pub(super) fn root_directory() -> Node {
    owned(Node::directory())
}

/// The node with root's name as its owner's.
pub(super) fn owned(node: Node) -> Node {
    Node {
        user: "root".to_owned(),
        group: "root".to_owned(),
        ..node
    }
}

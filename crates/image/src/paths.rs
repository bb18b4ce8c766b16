//! The `paths` of an image file, in order.

use archive::tree::{Node, NodeKind, TreePath};

use crate::configuration::{PathChange, PathChangeKind};
use crate::filesystem::{Filesystem, FilesystemError, kind};

/// A path can't be changed as the image file says.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Something else is there already.
    #[error(
        "can't make the {what} /{path}: the image has a {found} there; remove that entry of `paths` or the package that brings it"
    )]
    Occupied {
        /// What was to be made.
        what: &'static str,
        /// The path.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// Mode and owner of a link are nothing; those of its target are to be named.
    #[error(
        "/{path} is a symbolic link to `{target}`, and polpo changes nothing through links; name what it leads to"
    )]
    Link {
        /// The path.
        path: String,
        /// Its target.
        target: String,
    },
    /// What is to be linked or changed isn't there.
    #[error(
        "{what} /{path}: the image has no such file; check the path, or add the package that brings it"
    )]
    Missing {
        /// What was to be done.
        what: &'static str,
        /// The path.
        path: String,
    },
    /// A file can't be changed.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
}

pub(crate) fn apply(filesystem: &mut Filesystem, changes: &[PathChange]) -> Result<(), PathError> {
    for change in changes {
        let text = change.path.as_str();
        match &change.kind {
            PathChangeKind::Directory => {
                let node = Node::directory();
                // Nothing but `/` itself leads to the root, and that is no ImagePath.
                if let Some(path) = filesystem.make_directory(text, node)? {
                    set(filesystem, &path, change);
                }
            }
            PathChangeKind::EmptyFile => {
                let path = filesystem.follow_parents(text)?;
                match filesystem.node(&path).cloned() {
                    None => {
                        filesystem.put(text, Node::file(Vec::new()))?;
                    }
                    Some(node) if is_file(&node) => {}
                    Some(node) => return Err(occupied("file", text, &node)),
                }
                set(filesystem, &path, change);
            }
            PathChangeKind::Symlink { source } => {
                let path = filesystem.follow_parents(text)?;
                match filesystem.node(&path) {
                    None => {
                        let mut node = Node::symlink(source);
                        own(&mut node, change);
                        filesystem.put(text, node)?;
                    }
                    Some(node) if matches!(&node.kind, NodeKind::Symlink { target } if target == source) =>
                    {
                        filesystem.change(&path, |node| own(node, change));
                    }
                    Some(node) => return Err(occupied("symbolic link", text, node)),
                }
            }
            PathChangeKind::Hardlink { source } => {
                let missing = || PathError::Missing {
                    what: "can't link to",
                    path: source.as_str().to_owned(),
                };
                let mut target = filesystem.follow(source.as_str())?.ok_or_else(missing)?;
                if let Some(NodeKind::HardLink { target: file }) =
                    filesystem.node(&target).map(|node| &node.kind)
                {
                    target = file.clone();
                }
                let file = filesystem.node(&target).ok_or_else(missing)?.clone();
                if !file.is_file() {
                    return Err(FilesystemError::NotAFile {
                        path: target.as_str().to_owned(),
                        kind: kind(&file),
                    }
                    .into());
                }
                let path = filesystem.follow_parents(text)?;
                if path != target {
                    if let Some(node) = filesystem.node(&path)
                        && node.is_directory()
                    {
                        return Err(occupied("hard link", text, node));
                    }
                    let link = Node {
                        kind: NodeKind::HardLink { target },
                        ..file
                    };
                    filesystem.put(text, link)?;
                }
                set(filesystem, &path, change);
            }
            PathChangeKind::Permissions => {
                let path = filesystem.follow_parents(text)?;
                match filesystem.node(&path) {
                    None => {
                        return Err(PathError::Missing {
                            what: "can't change the permissions of",
                            path: text.to_owned(),
                        });
                    }
                    Some(Node {
                        kind: NodeKind::Symlink { target },
                        ..
                    }) => {
                        return Err(PathError::Link {
                            path: text.to_owned(),
                            target: target.clone(),
                        });
                    }
                    Some(_) => set(filesystem, &path, change),
                }
            }
        }
    }
    Ok(())
}

fn occupied(what: &'static str, path: &str, node: &Node) -> PathError {
    PathError::Occupied {
        what,
        path: path.to_owned(),
        found: kind(node),
    }
}

fn is_file(node: &Node) -> bool {
    matches!(node.kind, NodeKind::File { .. } | NodeKind::HardLink { .. })
}

/// Both numbers are left alone where neither is given; one alone makes the other root's.
fn own(node: &mut Node, change: &PathChange) {
    if change.uid.is_some() || change.gid.is_some() {
        node.uid = change.uid.unwrap_or(0).into();
        node.gid = change.gid.unwrap_or(0).into();
    }
}

fn set(filesystem: &mut Filesystem, path: &TreePath, change: &PathChange) {
    let mut paths = vec![path.clone()];
    if change.recursive {
        paths.extend(filesystem.beneath(path));
    }
    for path in paths {
        filesystem.change(&path, |node| {
            own(node, change);
            if let Some(permissions) = change.permissions
                && !matches!(node.kind, NodeKind::Symlink { .. })
            {
                node.mode = permissions;
            }
        });
    }
}

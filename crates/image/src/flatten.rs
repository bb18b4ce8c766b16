//! All layers of an image made one tree, for the outputs that know no layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use archive::Limits;
use archive::cpio::CpioError;
use archive::erofs::{ErofsError, ErofsOptions};
use archive::tar::{self, EntryKind, Reader};
use archive::tree::{Content, FileTree, Node, NodeKind, TarOptions, TreeError, TreePath};
use base::Epoch;
use oci::{Layout, ResolvedImage};
use store::{AtomicFile, WriteError};

use crate::contents::{ContentsError, each_layer};

/// What a layer says of a path below it that is gone (OCI image specification, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// In a folder: nothing of what lower layers have in it is there.
const OPAQUE: &str = ".wh..wh..opq";

/// An image's layers can't be made one.
#[derive(Debug, thiserror::Error)]
pub enum FlattenError {
    /// A layer can't be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// A file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A hard link names nothing.
    #[error("{path} is a hard link to {target}, and there is no such file in the layers up to it")]
    Dangling {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// A path lies below something that is no folder.
    #[error("{path} lies below {file}, which is no folder")]
    BelowFile {
        /// The path.
        path: String,
        /// What is no folder.
        file: String,
    },
    /// The tree can't be written as tar.
    #[error(transparent)]
    Tar(#[from] TreeError),
    /// The archive can't be ended.
    #[error(transparent)]
    TarEnd(#[from] tar::WriteError),
    /// The tree can't be written as EROFS.
    #[error(transparent)]
    Erofs(#[from] ErofsError),
    /// The tree can't be written as cpio.
    #[error(transparent)]
    Cpio(#[from] CpioError),
}

/// The image's files as one tree: of what several layers have, the uppermost counts; what layers say
/// is gone is gone. The bytes of files are kept in the folder `scratch` while the tree is used.
///
/// # Errors
/// See [`FlattenError`].
pub fn flatten(
    layout: &Layout,
    image: &ResolvedImage,
    scratch: &Path,
) -> Result<FileTree, FlattenError> {
    let mut tree = FileTree::new();
    let mut number = 0_u64;
    let mut failure = None;
    each_layer(layout, image, |layer, stream| {
        let mut reader = Reader::new(stream, Limits::default());
        // A layer's own entries are not hidden by its whiteouts, wherever these stand.
        let mut own = FileTree::new();
        let mut hidden = Vec::new();
        while let Some(mut entry) = reader
            .next()
            .map_err(|source| ContentsError::Tar { layer, source })?
        {
            let header = entry.header().clone();
            let Ok(path) = TreePath::new(&header.path) else {
                // The root itself.
                continue;
            };
            if let Some(name) = path.file_name().strip_prefix(WHITEOUT) {
                let folder = path.parent();
                match (path.file_name(), folder) {
                    (OPAQUE, Some(folder)) => hidden.push((folder, true)),
                    (OPAQUE, None) => tree = FileTree::new(),
                    (_, folder) => {
                        let gone = match folder {
                            Some(folder) => folder.join(name),
                            None => TreePath::new(name),
                        };
                        // What is no path can't be there.
                        hidden.extend(gone.ok().map(|path| (path, false)));
                    }
                }
                continue;
            }
            let mut linked = None;
            let mut content = Content::Bytes(Vec::new().into());
            match &header.kind {
                EntryKind::File { .. } => {
                    number += 1;
                    let place = scratch.join(number.to_string());
                    let copied = File::create(&place)
                        .and_then(|mut file| io::copy(&mut entry, &mut file))
                        .map_err(WriteError::at("write", &place));
                    if let Err(error) = copied {
                        failure = Some(FlattenError::Write(error));
                        return Ok(());
                    }
                    content = Content::Disk(place);
                }
                EntryKind::HardLink { target } => {
                    let node = own.get(target).or_else(|| tree.get(target));
                    let Some(node) = node.filter(|node| !node.is_directory()) else {
                        failure = Some(FlattenError::Dangling {
                            path: header.path.clone(),
                            target: target.clone(),
                        });
                        return Ok(());
                    };
                    linked = Some(node.kind.clone());
                }
                _ => {}
            }
            // What is no path was told from one above, and what a link names is there.
            if let Ok(mut node) = Node::holding(header, content) {
                node.kind = linked.unwrap_or(node.kind);
                own.insert(path, node);
            }
        }
        for (path, only_below) in hidden {
            let folder = tree.get(path.as_str()).cloned();
            tree.remove_all(path.as_str());
            if only_below && let Some(folder) = folder {
                tree.insert(path, folder);
            }
        }
        for (path, node) in own.iter() {
            let replaced = tree.get(path.as_str());
            if !node.is_directory() && replaced.is_some_and(Node::is_directory) {
                tree.remove_all(path.as_str());
            }
            tree.insert(path.clone(), node.clone());
        }
        Ok(())
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    with_parents(&mut tree)?;
    Ok(with_links(&tree))
}

/// Folders that no layer has an entry for are made; what is no folder has nothing below it.
fn with_parents(tree: &mut FileTree) -> Result<(), FlattenError> {
    let paths: Vec<TreePath> = tree.iter().map(|(path, _)| path.clone()).collect();
    for path in paths {
        let mut parent = path.parent();
        while let Some(folder) = parent {
            match tree.get(folder.as_str()) {
                Some(node) if node.is_directory() => break,
                Some(_) => {
                    return Err(FlattenError::BelowFile {
                        path: path.to_string(),
                        file: folder.to_string(),
                    });
                }
                None => {
                    parent = folder.parent();
                    tree.insert(folder, Node::directory());
                }
            }
        }
    }
    Ok(())
}

/// The names of one file: the first in the tree's order is the file, the others are links to it.
fn with_links(tree: &FileTree) -> FileTree {
    let mut first: BTreeMap<std::path::PathBuf, TreePath> = BTreeMap::new();
    let mut linked = FileTree::new();
    for (path, node) in tree.iter() {
        let mut node = node.clone();
        if let NodeKind::File {
            content: Content::Disk(place),
            ..
        } = &node.kind
        {
            match first.get(place) {
                Some(target) => {
                    node.kind = NodeKind::HardLink {
                        target: target.clone(),
                    };
                }
                None => {
                    first.insert(place.clone(), path.clone());
                }
            }
        }
        linked.insert(path.clone(), node);
    }
    linked
}

/// Writes a tree as the tar file `to`, which appears whole.
///
/// # Errors
/// See [`FlattenError`].
pub fn write_root_tar(tree: &FileTree, to: &Path) -> Result<(), FlattenError> {
    let file = BufWriter::with_capacity(1 << 18, AtomicFile::create(to)?);
    let mut writer = tar::Writer::new(file);
    tree.write_tar(&mut writer, TarOptions::default())?;
    end(writer.finish()?, to)
}

/// Writes a tree as the cpio file `to` (`newc`), which appears whole.
///
/// # Errors
/// See [`FlattenError`].
pub fn write_root_cpio(tree: &FileTree, to: &Path) -> Result<(), FlattenError> {
    let mut file = BufWriter::with_capacity(1 << 18, AtomicFile::create(to)?);
    tree.write_cpio(&mut file)?;
    end(file, to)
}

/// Writes a tree as the EROFS image `to`, which appears whole. `time` is that of its superblock.
///
/// # Errors
/// See [`FlattenError`].
pub fn write_root_erofs(tree: &FileTree, time: Epoch, to: &Path) -> Result<(), FlattenError> {
    let mut file = BufWriter::with_capacity(1 << 18, AtomicFile::create(to)?);
    let options = ErofsOptions {
        time,
        copy_hard_links: false,
    };
    tree.write_erofs(&mut file, options)?;
    end(file, to)
}

fn end(file: BufWriter<AtomicFile>, to: &Path) -> Result<(), FlattenError> {
    let file = file
        .into_inner()
        .map_err(|error| WriteError::at("write", to)(error.into_error()))?;
    Ok(file.commit()?)
}

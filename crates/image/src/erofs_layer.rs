//! All files of an image as one layer that is an EROFS image: engines mount it as it is
//! (the draft of erofs-image-spec). It is not compressed, so its digest is its diffID.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};

use archive::erofs::ErofsOptions;
use archive::tar::{EntryKind, Header};
use archive::tree::{Content, FileTree, Node, TreePath};
use base::{DigestWriter, Epoch};
use oci::media_type;
use store::Store;

use crate::filesystem::Filesystem;
use crate::layer::{Layer, LayerError};

/// What a configuration and an index say of images that need it (`os.features`).
pub(crate) const FEATURE: &str = "erofs";

/// The layer of a whole filesystem. Names of one file share it.
pub(crate) fn build(
    store: &Store,
    filesystem: &Filesystem,
    time: Epoch,
) -> Result<Layer, LayerError> {
    let tree: FileTree = filesystem
        .iter()
        .map(|(path, placed)| (path.clone(), placed.node.clone()))
        .collect();
    write(store, &tree, time, false)
}

/// The layer of entries as apko has them: each name of a file is a file of its own.
pub(crate) fn of_entries<'e>(
    store: &Store,
    entries: impl Iterator<Item = (&'e Header, Option<&'e Content>)>,
    time: Epoch,
) -> Result<Layer, LayerError> {
    let mut tree = FileTree::new();
    for (header, content) in entries {
        let Ok(path) = TreePath::new(&header.path) else {
            // The root alone is no path.
            continue;
        };
        tree.insert(path, node(header, content)?);
    }
    write(store, &tree, time, true)
}

fn node(header: &Header, content: Option<&Content>) -> Result<Node, LayerError> {
    let content = content.cloned();
    let content = content.unwrap_or_else(|| Content::Bytes(Vec::new().into()));
    Node::holding(header.clone(), content).map_err(|_| LayerError::Link {
        path: header.path.clone(),
        target: match &header.kind {
            EntryKind::HardLink { target } => target.clone(),
            _ => String::new(),
        },
    })
}

fn write(
    store: &Store,
    tree: &FileTree,
    time: Epoch,
    copy_hard_links: bool,
) -> Result<Layer, LayerError> {
    let mut file = store.temp_file()?;
    let out = BufWriter::with_capacity(1 << 18, file.as_file_mut());
    let mut out = DigestWriter::new(out);
    let options = ErofsOptions {
        time,
        copy_hard_links,
    };
    tree.write_erofs(&mut out, options)?;
    out.flush()?;
    let (_, digest, size) = out.finish();
    store.adopt(file, digest)?;
    Ok(Layer {
        digest,
        size,
        diff_id: digest,
        media_type: media_type::EROFS.to_owned(),
        annotations: BTreeMap::new(),
    })
}

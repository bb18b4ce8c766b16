//! Layers: one gzip member each, stitched from deflate segments.
//!
//! A layer is its directories, then the files of one package after the other, then what the image
//! file makes or changes, then the two blocks of zeros that end a tar. Directories come first, so
//! a package's files are the same run of bytes in every image they are in unchanged: a package that
//! polpo built carries that run already deflated, another's is deflated once and kept in the store.
//! No path stands twice in a layer, and hard links stand after their files.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use apk::package::{Manifest, Segment};
use archive::segment::{Inflate, LEVEL, Splicer, Summary, deflate_into, end_blocks};
use archive::tar::{Header, WriteError as TarError, Writer};
use archive::tree::{Content, Node, NodeKind, TreePath};
use base::{Digest, DigestReader, DigestWriter, Sha256Hasher};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};

use crate::filesystem::Filesystem;

/// Part of every key: a change of the layout makes other layers.
const FORMAT: &str = "layer-2";
const SEGMENTS: &str = "layer-segment";
const LAYERS: &str = "layer";

/// A layer in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// SHA-256 of the compressed layer, its blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// SHA-256 of the tar.
    pub diff_id: Digest,
}

/// A layer can't be made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file can't be read, or the layer not be written.
    #[error("can't write a layer: {0}")]
    Io(#[from] io::Error),
    /// A file can't become a tar entry.
    #[error("/{path} can't be put into a layer: {source}")]
    Entry {
        /// The file.
        path: TreePath,
        /// Why.
        #[source]
        source: TarError,
    },
    /// A file's bytes can't be read.
    #[error("can't read /{path} for a layer: {source}")]
    Content {
        /// The file.
        path: TreePath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file's bytes can't be read.
    #[error("can't read /{path} for a layer: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file can't become a tar entry.
    #[error("/{path} can't be put into a layer: {source}")]
    Unwritable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: TarError,
    },
    /// The tar can't be ended.
    #[error("can't write a layer: {source}")]
    Entries {
        /// Why.
        #[source]
        source: TarError,
    },
    /// A key can't be written as JSON.
    #[error("can't name a layer")]
    Json(#[from] serde_json::Error),
    /// A thread died.
    #[error("a thread that wrote a layer was lost; build the image again")]
    Thread,
}

/// A package whose files are in the store.
#[derive(Clone, Debug)]
pub(crate) struct StoredPackage {
    /// SHA-256 of the .apk, which is a blob of the store.
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    /// The files in the .apk, where they can be taken over as they are.
    pub(crate) files: Option<Segment>,
}

/// A kept segment: a blob of the store and what it inflates to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Kept {
    digest: Digest,
    crc32: u32,
    length: u64,
    deflated: u64,
}

enum Part {
    /// A tar without end, not yet deflated.
    Generated(Vec<u8>),
    /// Part of a blob of the store.
    Stored {
        key: Digest,
        blob: Digest,
        offset: u64,
        summary: Summary,
    },
}

#[derive(Serialize)]
struct SegmentKey<'a> {
    format: &'static str,
    package: Digest,
    left_out: &'a BTreeSet<&'a str>,
}

#[derive(Serialize)]
struct LayerKey {
    format: &'static str,
    parts: Vec<Digest>,
}

/// Makes the layer of `members`, places in `packages`. The last layer also has everything that no
/// package brings unchanged, and every directory that `earlier` layers don't have.
pub(crate) fn build(
    store: &Store,
    filesystem: &Filesystem,
    packages: &[StoredPackage],
    members: &[usize],
    last: bool,
    earlier: &mut BTreeSet<TreePath>,
) -> Result<Layer, LayerError> {
    let mut directories: BTreeSet<TreePath> = BTreeSet::new();
    let mut rest: Vec<(&TreePath, &Node)> = Vec::new();
    for (path, placed) in filesystem.iter() {
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
            directories.extend(std::iter::successors(path.parent(), TreePath::parent));
        }
    }
    let mut parts = vec![Part::Generated(tar_of(
        directories
            .iter()
            .filter_map(|path| Some((path, filesystem.node(path)?))),
    )?)];
    for member in members {
        if let Some(package) = packages.get(*member) {
            parts.extend(package_part(store, filesystem, package, *member)?);
        }
    }
    let is_link = |node: &Node| matches!(node.kind, NodeKind::HardLink { .. });
    rest.sort_by_key(|(_, node)| is_link(node));
    parts.push(Part::Generated(tar_of(rest.into_iter())?));
    earlier.extend(directories);
    assemble(store, parts)
}

/// The entries as tar, without its end.
fn tar_of<'a>(
    entries: impl Iterator<Item = (&'a TreePath, &'a Node)>,
) -> Result<Vec<u8>, LayerError> {
    let mut writer = Writer::new(Vec::new());
    for (path, node) in entries {
        append(&mut writer, path, node)?;
    }
    Ok(writer.into_inner())
}

fn append<W: Write>(
    writer: &mut Writer<W>,
    path: &TreePath,
    node: &Node,
) -> Result<(), LayerError> {
    let header: Header = node.header(path);
    let appended = match &node.kind {
        NodeKind::File { content, .. } => {
            let content = content.open().map_err(|source| LayerError::Content {
                path: path.clone(),
                source,
            })?;
            writer.append(&header, content)
        }
        _ => writer.append(&header, io::empty()),
    };
    appended.map_err(|source| LayerError::Entry {
        path: path.clone(),
        source,
    })
}

/// The files of a package as far as they are in the image unchanged.
fn package_part(
    store: &Store,
    filesystem: &Filesystem,
    package: &StoredPackage,
    member: usize,
) -> Result<Option<Part>, LayerError> {
    let mut kept: Vec<(&TreePath, &Node)> = Vec::new();
    let mut left_out: BTreeSet<&str> = BTreeSet::new();
    for entry in &package.manifest.entries {
        if entry.is_directory() {
            continue;
        }
        let placed = TreePath::new(&entry.path)
            .ok()
            .and_then(|path| filesystem.entry(&path));
        match placed {
            Some((path, placed)) if placed.owner == Some(member) && placed.pristine => {
                kept.push((path, &placed.node));
            }
            _ => {
                left_out.insert(&entry.path);
            }
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let key = Digest::of(&serde_json::to_vec(&SegmentKey {
        format: FORMAT,
        package: package.digest,
        left_out: &left_out,
    })?);
    if let Some(segment) = package.files
        && left_out.is_empty()
    {
        return Ok(Some(Part::Stored {
            key,
            blob: package.digest,
            offset: segment.offset,
            summary: segment.summary(),
        }));
    }
    let kept = match store.record_get::<Kept>(SEGMENTS, &key)? {
        Some(kept) if store.contains(&kept.digest) => kept,
        _ => {
            let made = make_segment(store, &kept)?;
            store.record_put(SEGMENTS, &key, &made)?;
            made
        }
    };
    Ok(Some(Part::Stored {
        key,
        blob: kept.digest,
        offset: 0,
        summary: Summary {
            crc32: kept.crc32,
            length: kept.length,
            deflated: kept.deflated,
        },
    }))
}

fn make_segment(store: &Store, entries: &[(&TreePath, &Node)]) -> Result<Kept, LayerError> {
    let mut file = store.temp_file()?;
    let (content, tar) = io::pipe()?;
    let (written, deflated) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut writer = Writer::new(BufWriter::with_capacity(1 << 18, tar));
            for (path, node) in entries {
                append(&mut writer, path, node)?;
            }
            writer.into_inner().flush()?;
            Ok::<(), LayerError>(())
        });
        let mut out = DigestWriter::new(BufWriter::new(file.as_file_mut()));
        let deflated = deflate_into(BufReader::with_capacity(1 << 18, content), LEVEL, &mut out);
        let finished = out.flush().map(|()| {
            let (_, digest, _) = out.finish();
            digest
        });
        (writer.join(), deflated.and_then(|it| Ok((it, finished?))))
    });
    // Where the reading end failed, the writing end only knows that nobody reads any more.
    let (summary, digest) = deflated?;
    written.map_err(|_| LayerError::Thread)??;
    store.adopt(file, digest)?;
    Ok(Kept {
        digest,
        crc32: summary.crc32,
        length: summary.length,
        deflated: summary.deflated,
    })
}

fn assemble(store: &Store, parts: Vec<Part>) -> Result<Layer, LayerError> {
    let key = LayerKey {
        format: FORMAT,
        parts: parts
            .iter()
            .map(|part| match part {
                Part::Generated(tar) => Digest::of(tar),
                Part::Stored { key, .. } => *key,
            })
            .collect(),
    };
    let key = Digest::of(&serde_json::to_vec(&key)?);
    if let Some(layer) = store.record_get::<Layer>(LAYERS, &key)?
        && store.contains(&layer.digest)
    {
        return Ok(layer);
    }
    let mut file = store.temp_file()?;
    // One thread hashes the contents and finds damage, the other writes and hashes the blob.
    let (diff_id, blob) = rayon::join(
        || hash_contents(store, &parts),
        || splice(store, &parts, file.as_file_mut()),
    );
    let (diff_id, (digest, size)) = (diff_id?, blob?);
    store.adopt(file, digest)?;
    let layer = Layer {
        digest,
        size,
        diff_id,
    };
    store.record_put(LAYERS, &key, &layer)?;
    Ok(layer)
}

fn open_at(
    store: &Store,
    blob: &Digest,
    offset: u64,
    length: u64,
) -> Result<impl Read, LayerError> {
    let mut file: File = store.open_blob(blob)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(BufReader::with_capacity(1 << 18, file).take(length))
}

fn hash_contents(store: &Store, parts: &[Part]) -> Result<Digest, LayerError> {
    let mut hasher = Sha256Hasher::default();
    for part in parts {
        match part {
            Part::Generated(tar) => hasher.update(tar),
            Part::Stored {
                blob,
                offset,
                summary,
                ..
            } => {
                let deflated = open_at(store, blob, *offset, summary.deflated)?;
                let mut content = Inflate::new(deflated, *summary);
                let mut buffer = vec![0; 1 << 18];
                loop {
                    let count = content.read(&mut buffer)?;
                    if count == 0 {
                        break;
                    }
                    hasher.update(buffer.get(..count).unwrap_or_default());
                }
            }
        }
    }
    hasher.update(&[0; 1024]);
    Ok(hasher.finish())
}

fn splice(store: &Store, parts: &[Part], file: &mut File) -> Result<(Digest, u64), LayerError> {
    let out = DigestWriter::new(BufWriter::with_capacity(1 << 18, file));
    let mut splicer = Splicer::new(out)?;
    for part in parts {
        match part {
            Part::Generated(tar) => {
                splicer.append_content(&tar[..], LEVEL)?;
            }
            Part::Stored {
                blob,
                offset,
                summary,
                ..
            } => {
                let deflated = open_at(store, blob, *offset, summary.deflated)?;
                splicer.append_from(summary, deflated)?;
            }
        }
    }
    splicer.append(&end_blocks())?;
    let mut out = splicer.finish()?;
    out.flush()?;
    let (_, digest, size) = out.finish();
    Ok((digest, size))
}

/// Writes a layer of these entries in this order, each with its bytes if it has some.
pub(crate) fn write<'a>(
    store: &Store,
    entries: impl Iterator<Item = (&'a Header, Option<&'a Content>)> + Send,
) -> Result<Layer, LayerError> {
    let mut file = store.temp_file()?;
    let (content, tar) = io::pipe()?;
    let (written, spliced) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut writer = Writer::new(BufWriter::with_capacity(1 << 18, tar));
            for (header, content) in entries {
                let appended = match content {
                    Some(content) => {
                        let content = content
                            .open()
                            .map_err(|source| unreadable(header, source))?;
                        writer.append(header, content)
                    }
                    None => writer.append(header, io::empty()),
                };
                appended.map_err(|source| unwritable(header, source))?;
            }
            writer
                .finish()
                .map_err(|source| LayerError::Entries { source })?
                .flush()?;
            Ok::<(), LayerError>(())
        });
        let spliced = || {
            let out = DigestWriter::new(BufWriter::with_capacity(1 << 18, file.as_file_mut()));
            let mut splicer = Splicer::new(out)?;
            let mut content = DigestReader::new(BufReader::with_capacity(1 << 18, content));
            splicer.append_content(&mut content, LEVEL)?;
            let (_, diff_id, _) = content.finish();
            let mut out = splicer.finish()?;
            out.flush()?;
            let (_, digest, size) = out.finish();
            Ok::<Layer, LayerError>(Layer {
                digest,
                size,
                diff_id,
            })
        };
        let layer = spliced();
        (writer.join(), layer)
    });
    // Where the reading end failed, the writing end only knows that nobody reads any more.
    let layer = spliced?;
    written.map_err(|_| LayerError::Thread)??;
    store.adopt(file, layer.digest)?;
    Ok(layer)
}

fn unreadable(header: &Header, source: io::Error) -> LayerError {
    LayerError::Unreadable {
        path: header.path.clone(),
        source,
    }
}

fn unwritable(header: &Header, source: TarError) -> LayerError {
    LayerError::Unwritable {
        path: header.path.clone(),
        source,
    }
}

/// Unpacks a package of the store into a tree of the store, once.
pub(crate) fn folder_name(digest: &Digest) -> Result<Digest, serde_json::Error> {
    Ok(Digest::of(&serde_json::to_vec(&("apk-tree-2", digest))?))
}

/// The folder's entries with their contents in `folder`.
pub(crate) fn entries(manifest: &Manifest, folder: &Path) -> Vec<crate::filesystem::PackageEntry> {
    let mut nodes: Vec<_> = manifest.tree(folder).into_iter().collect();
    let checksums: std::collections::BTreeMap<&str, apk::dependency::Identity> = manifest
        .entries
        .iter()
        .filter_map(|entry| Some((entry.path.as_str(), entry.checksum?)))
        .collect();
    nodes
        .drain(..)
        .map(|(path, node)| crate::filesystem::PackageEntry {
            checksum: checksums.get(path.as_str()).copied(),
            path,
            node,
        })
        .collect()
}

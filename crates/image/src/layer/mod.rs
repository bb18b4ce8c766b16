//! Layers, stitched from compressed segments.
//!
//! A layer is its directories, then the files of one package after the other, then what the image
//! file makes or changes, then the two blocks of zeros that end a tar. Directories come first, so
//! a package's files are the same run of bytes in every image they are in unchanged: a package that
//! polpo built carries that run already deflated, another's is compressed once and kept in the store.
//! The largest package comes first: most are small, and where one changes, what stands before it need not
//! be hashed again.
//! No path stands twice in a layer, and hard links stand after their files.

mod blob;
mod compression;
mod hashing;
mod lazy;
pub(crate) mod pieces;
mod prefix;
mod run;
mod stored;
mod tar_split;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::OnceLock;

use archive::erofs::ErofsError;
use archive::frames::Framer;
use archive::segment::{Deflater, Summary};
use archive::tar::{Header, WriteError as TarError};
use archive::tree::{Content, Node, NodeKind, TreePath};
use base::{Digest, DigestWriter};
use oci::{Descriptor, Layout, LayoutError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use store::{MappedFile, Store, StoreError};

use crate::filesystem::{Filesystem, Placed};
use blob::{Blob, Compressed, Kept};
pub use compression::Compression;
use hashing::{Hashed, Stream};
use pieces::{Piece, Place};
use prefix::{Known, Prefixes};
use run::{Item, checked_header, content_of};
use stored::DeflatedRun;
pub(crate) use stored::StoredPackage;

/// Part of every key: a change of the layout makes other layers.
const FORMAT: &str = "layer-6";
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
    /// How the blob is compressed, and that it is a layer.
    pub media_type: String,
    /// What programs that fetch single files must know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Layer {
    /// What a manifest says of it.
    pub fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::new(&self.media_type, self.digest, self.size);
        descriptor.annotations.clone_from(&self.annotations);
        descriptor
    }
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
    /// The files can't become an EROFS image.
    #[error("can't write a layer: {0}")]
    Erofs(#[from] ErofsError),
    /// A hard link that can't lead anywhere.
    #[error("/{path} is a hard link to `{target}`, which is no path of an image")]
    Link {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// It can't be put into a layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A key can't be written as JSON.
    #[error("can't name a layer")]
    Json(#[from] serde_json::Error),
}

impl LayerError {
    /// What stands behind an error of reading a layer's parts.
    fn of_reading(error: io::Error) -> LayerError {
        error.downcast().unwrap_or_else(LayerError::Io)
    }
}

/// A run of a layer.
struct Part<'a> {
    items: Vec<Item<'a>>,
    source: Source<'a>,
}

enum Source<'a> {
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
    fn content(&self) -> hashing::Source<'_> {
        match &self.source {
            Source::Package {
                whole: Some(package),
                ..
            } => hashing::Source::Package(package),
            _ => hashing::Source::Items(&self.items),
        }
    }

    /// About how many bytes that is.
    fn length(&self) -> u64 {
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

#[derive(Serialize)]
struct SegmentKey {
    compression: Compression,
    run: Digest,
}

#[derive(Serialize)]
struct LayerKey {
    format: &'static str,
    compression: Compression,
    parts: Vec<Digest>,
}

/// Which part of an image a layer is.
pub(crate) struct Share<'a> {
    /// The packages whose files it has, by their places.
    pub(crate) members: &'a [usize],
    /// Whether it also has everything that no package brings unchanged, and every directory that the
    /// layers before don't have.
    pub(crate) is_last: bool,
}

/// Where layers are put.
#[derive(Clone, Copy)]
pub(crate) struct Target<'t> {
    pub(crate) store: &'t Store,
    /// The layout that they are meant for: those that are made now are put there while others still are
    /// under way.
    pub(crate) layout: Option<&'t Layout>,
}

/// Makes layers, the lowest first.
pub(crate) fn build(
    target: Target<'_>,
    filesystem: &Filesystem,
    packages: &[StoredPackage],
    shares: &[Share<'_>],
    compression: Compression,
) -> Result<Vec<Layer>, LayerError> {
    // The directories of the layers before.
    let mut earlier = BTreeSet::new();
    let layers: Vec<Vec<Part<'_>>> = shares
        .iter()
        .map(|share| parts_of(filesystem, packages, share, &mut earlier))
        .collect::<Result<_, _>>()?;
    let drafted = layers
        .par_iter()
        .map(|parts| draft(target.store, compression, parts))
        .collect::<Result<Vec<_>, _>>()?;
    finish(target, compression, drafted)
}

fn parts_of<'a>(
    filesystem: &'a Filesystem,
    packages: &'a [StoredPackage],
    share: &Share<'_>,
    earlier: &mut BTreeSet<TreePath>,
) -> Result<Vec<Part<'a>>, LayerError> {
    let last = share.is_last;
    let mut members = share.members.to_vec();
    members.sort_by_key(|member| {
        Reverse(
            packages
                .get(*member)
                .map_or(0, |package| package.run.length),
        )
    });
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
            let mut parent = path.parent();
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
            .filter_map(|path| Some(item(path, filesystem.node(path)?)))
            .collect(),
        source: Source::Generated,
    }];
    for member in members {
        if let Some(package) = packages.get(member) {
            parts.extend(package_part(filesystem, package, member)?);
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

fn item<'a>(path: &TreePath, node: &'a Node) -> Item<'a> {
    Item {
        header: node.header(path),
        content: content_of(node),
    }
}

/// The files of a package as far as they are in the image unchanged.
fn package_part<'a>(
    filesystem: &'a Filesystem,
    package: &'a StoredPackage,
    member: usize,
) -> Result<Option<Part<'a>>, LayerError> {
    let is_kept = |placed: &Placed| placed.owner == Some(member) && placed.pristine;
    let mut kept = Vec::new();
    let mut left_out: BTreeSet<&str> = BTreeSet::new();
    for entry in &package.run.manifest.entries {
        if entry.is_directory() {
            continue;
        }
        let placed = TreePath::new(&entry.path)
            .ok()
            .and_then(|path| filesystem.entry(&path));
        match placed {
            Some((path, placed)) if is_kept(placed) => kept.push((entry, path, &placed.node)),
            _ => {
                left_out.insert(&entry.path);
            }
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let whole = left_out.is_empty().then_some(package);
    let checksums = whole.is_some_and(|package| package.run.has_checksums());
    let key = Digest::of(&serde_json::to_vec(&RunKey {
        format: FORMAT,
        package: package.digest,
        left_out: &left_out,
        checksums,
    })?);
    let items = kept.into_iter().map(|(entry, path, node)| {
        let mut item = item(path, node);
        if checksums {
            item.header = checked_header(entry, item.header);
        }
        item
    });
    Ok(Some(Part {
        items: items.collect(),
        source: Source::Package { key, whole },
    }))
}

/// A layer that was made before, or is made now.
enum Drafted<'a> {
    Known(Layer),
    New(Draft<'a>),
}

/// A layer whose parts are compressed, and of which the hashes are missing.
struct Draft<'a> {
    parts: &'a [Part<'a>],
    blob: Blob,
    /// What names it, and the beginnings of it.
    names: Option<(Digest, Prefixes)>,
    /// How far it is hashed, if it begins as another.
    known: Option<Known>,
    contents: OnceLock<Hashed>,
    hashed: OnceLock<(Digest, Vec<String>)>,
}

/// The layer of these parts: made before, or begun now.
fn draft<'a>(
    store: &Store,
    compression: Compression,
    parts: &'a [Part<'a>],
) -> Result<Drafted<'a>, LayerError> {
    let keys: Vec<Digest> = parts
        .iter()
        .map(|part| match &part.source {
            Source::Generated => run::digest(&part.items),
            Source::Package { key, .. } => Ok(*key),
        })
        .collect::<Result<_, _>>()?;
    let prefixes = Prefixes::of(compression, &keys)?;
    let key = Digest::of(&serde_json::to_vec(&LayerKey {
        format: FORMAT,
        compression,
        parts: keys,
    })?);
    if let Some(layer) = store.record_get::<Layer>(LAYERS, &key)?
        && pieces::is_kept(store, &layer.digest)?
    {
        return Ok(Drafted::Known(layer));
    }
    let known = prefixes.longest_known(store)?;
    let draft = Draft::new(store, compression, parts)?;
    Ok(Drafted::New(Draft {
        names: Some((key, prefixes)),
        known,
        ..draft
    }))
}

impl<'a> Draft<'a> {
    fn new(
        store: &Store,
        compression: Compression,
        parts: &'a [Part<'a>],
    ) -> Result<Draft<'a>, LayerError> {
        let segments: Vec<Compressed> = parts
            .par_iter()
            .map(|part| segment(store, compression, part))
            .collect::<Result<_, _>>()?;
        Ok(Draft {
            parts,
            blob: Blob::new(store, compression, parts, segments)?,
            names: None,
            known: None,
            contents: OnceLock::new(),
            hashed: OnceLock::new(),
        })
    }

    /// How many parts need not be hashed.
    fn done(&self) -> usize {
        self.known.as_ref().map_or(0, |known| known.parts)
    }

    /// The contents as tar, without its end, and the blob.
    fn streams(&self) -> [Stream<'_>; 2] {
        let done = self.done();
        let rest = self.parts.get(done..).unwrap_or_default();
        let (mut sources, mut length) = (Vec::new(), 0);
        for part in rest {
            sources.push(part.content());
            sources.push(hashing::Source::State);
            length += part.length();
        }
        let (tar, blob) = match &self.known {
            Some(known) => (known.tar.clone(), known.blob.clone()),
            None => Default::default(),
        };
        let contents = Stream {
            sources,
            hasher: tar,
            length,
        };
        let blob = Stream {
            sources: self.blob.sources(done),
            hasher: blob,
            length: self.blob.size(),
        };
        [contents, blob]
    }

    /// Takes the hash of its blob, and puts that where it is wanted.
    fn put(
        &self,
        target: Target<'_>,
        compression: Compression,
        (hasher, states): Hashed,
    ) -> Result<(), LayerError> {
        let digest = hasher.finish();
        pieces::keep(target.store, &digest, &self.blob.pieces)?;
        if let Some(layout) = target.layout {
            let descriptor = Descriptor::new(compression.media_type(), digest, self.blob.size());
            pieces::put(layout, &descriptor, target.store)?;
        }
        self.hashed.get_or_init(|| (digest, states));
        Ok(())
    }

    fn finish(self, store: &Store, compression: Compression) -> Result<Layer, LayerError> {
        let done = self.done();
        let unhashed = || LayerError::Io(io::Error::other("a layer was not hashed"));
        let (mut contents, tar_states) = self.contents.into_inner().ok_or_else(unhashed)?;
        let (digest, blob_states) = self.hashed.into_inner().ok_or_else(unhashed)?;
        contents.update(&self.blob.end.tar);
        let layer = Layer {
            digest,
            size: self.blob.size(),
            diff_id: contents.finish(),
            media_type: compression.media_type().to_owned(),
            annotations: self.blob.end.annotations,
        };
        if let Some((key, prefixes)) = self.names {
            prefixes.remember(store, done, tar_states.into_iter().zip(blob_states))?;
            store.record_put(LAYERS, &key, &layer)?;
        }
        Ok(layer)
    }
}

/// Hashes layers that are begun, and puts each where it is wanted as soon as that can be done.
fn finish(
    target: Target<'_>,
    compression: Compression,
    drafted: Vec<Drafted<'_>>,
) -> Result<Vec<Layer>, LayerError> {
    let drafts: Vec<&Draft<'_>> = drafted
        .iter()
        .filter_map(|drafted| match drafted {
            Drafted::Known(_) => None,
            Drafted::New(draft) => Some(draft),
        })
        .collect();
    let streams = drafts.iter().flat_map(|draft| draft.streams()).collect();
    hashing::hash(target.store, streams, |place, hashed| {
        match (drafts.get(place / 2), place % 2) {
            (Some(draft), 1) => draft.put(target, compression, hashed)?,
            (Some(draft), _) => _ = draft.contents.get_or_init(|| hashed),
            (None, _) => {}
        }
        Ok(())
    })?;
    drop(drafts);
    let finish = |drafted| match drafted {
        Drafted::Known(layer) => Ok(layer),
        Drafted::New(draft) => draft.finish(target.store, compression),
    };
    drafted.into_iter().map(finish).collect()
}

/// A part's compressed run: as a package has it, kept, or made now.
fn segment(
    store: &Store,
    compression: Compression,
    part: &Part<'_>,
) -> Result<Compressed, LayerError> {
    let key = match &part.source {
        Source::Generated => None,
        Source::Package { key, whole } => {
            if compression == Compression::Gzip
                && let Some(package) = whole
                && let Some(deflated) = package.deflated()
            {
                return Ok(of_package(store, package, deflated));
            }
            let run = *key;
            Some(Digest::of(&serde_json::to_vec(&SegmentKey {
                compression,
                run,
            })?))
        }
    };
    if let Some(key) = &key
        && let Some((blob, kept)) = store.record_get::<(Digest, Kept)>(SEGMENTS, key)?
        && store.contains(&blob)
    {
        return Ok(Compressed {
            piece: Piece::blob(blob, kept.size),
            kept,
        });
    }
    let mut file = store.temp_file()?;
    let mut out = DigestWriter::new(BufWriter::with_capacity(1 << 18, file.as_file_mut()));
    let (summary, files) = match compression {
        Compression::Gzip => {
            let mut deflater = Deflater::new(&mut out);
            write_run(part, &mut deflater)?;
            (deflater.finish()?.1, Vec::new())
        }
        Compression::Zstd | Compression::Best => {
            let mut framer = Framer::new(&mut out, compression.level());
            write_run(part, &mut framer)?;
            (framer.finish()?.1, Vec::new())
        }
        Compression::ZstdChunked | Compression::Estargz => {
            let (deflated, files) = lazy::pack(compression, &part.items, &mut out)?;
            let summary = Summary {
                crc32: 0,
                length: 0,
                deflated,
            };
            (summary, files)
        }
    };
    out.flush()?;
    let (_, blob, _) = out.finish();
    let kept = Kept {
        size: summary.deflated,
        length: summary.length,
        crc32: summary.crc32,
        files,
    };
    store.adopt(file, blob)?;
    if let Some(key) = key {
        store.record_put(SEGMENTS, &key, &(blob, &kept))?;
    }
    Ok(Compressed {
        piece: Piece::blob(blob, kept.size),
        kept,
    })
}

/// A run that its package has deflated.
fn of_package(store: &Store, package: &StoredPackage, deflated: DeflatedRun) -> Compressed {
    let piece = match deflated {
        DeflatedRun::Package(blob, segment) => Piece {
            place: Place::Blob(blob),
            offset: segment.offset,
            size: segment.deflated,
        },
        DeflatedRun::Beside(path, size) => Piece {
            place: Place::File(pieces::within(store, &path)),
            offset: 0,
            size,
        },
    };
    let kept = Kept {
        size: piece.size,
        length: package.run.length,
        crc32: package.run.crc32,
        files: Vec::new(),
    };
    Compressed { piece, kept }
}

/// Bytes of a run that are mapped at a time.
const MAPPED: u64 = 4 << 20;

/// Writes a part as tar: the run of a whole package out of its one file.
fn write_run(part: &Part<'_>, mut out: impl Write) -> Result<(), LayerError> {
    let Source::Package {
        whole: Some(package),
        ..
    } = &part.source
    else {
        return run::write(&part.items, out);
    };
    let file = File::open(package.file())?;
    if file.metadata()?.len() != package.run.length {
        return Err(shortened(&package.digest).into());
    }
    let mut place = 0;
    while place < package.run.length {
        // What is mapped counts as memory, and a run may be very large.
        let length = MAPPED.min(package.run.length - place);
        out.write_all(&MappedFile::part(&file, place, length as usize)?)?;
        place += length;
    }
    Ok(())
}

fn shortened(what: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{what} is shorter than it was when it was kept"),
    )
}

/// Makes a layer of these entries in this order, each with its bytes if it has some.
pub(crate) fn write<'a>(
    store: &Store,
    entries: impl Iterator<Item = (&'a Header, Option<&'a Content>)>,
) -> Result<Layer, LayerError> {
    let items = entries.map(|(header, content)| Item {
        header: header.clone(),
        content,
    });
    let parts = [Part {
        items: items.collect(),
        source: Source::Generated,
    }];
    let target = Target {
        store,
        layout: None,
    };
    let draft = Draft::new(store, Compression::Gzip, &parts)?;
    let layers = finish(target, Compression::Gzip, vec![Drafted::New(draft)])?;
    let unmade = || LayerError::Io(io::Error::other("a layer was not made"));
    layers.into_iter().next().ok_or_else(unmade)
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

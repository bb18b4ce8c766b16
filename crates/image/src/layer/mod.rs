//! Layers, stitched from compressed segments.
//!
//! A layer is its directories, then the files of one package after the other, then what the image
//! file makes or changes, then the two blocks of zeros that end a tar. Directories come first, so
//! a package's files are the same run of bytes in every image they are in unchanged: a package that
//! polpo built carries that run already deflated, another's is compressed once and kept in the store.
//! No path stands twice in a layer, and hard links stand after their files.

mod compression;
mod lazy;
mod run;
mod stored;
mod tar_split;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use archive::erofs::ErofsError;
use archive::frames::Framer;
use archive::segment::{Deflater, LEVEL, Splicer, Summary, end_blocks};
use archive::tar::{Header, WriteError as TarError};
use archive::tree::{Content, Node, NodeKind, TreePath};
use base::{Digest, DigestWriter, Sha256Hasher};
use oci::Descriptor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use store::{MappedFile, Store, StoreError};

use crate::filesystem::{Filesystem, Placed};
pub use compression::Compression;
use lazy::{End, PackedFile, Table};
use run::{Item, checked_header, content_of};
use stored::DeflatedRun;
pub(crate) use stored::StoredPackage;

/// Part of every key: a change of the layout makes other layers.
const FORMAT: &str = "layer-4";
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
    /// A key can't be written as JSON.
    #[error("can't name a layer")]
    Json(#[from] serde_json::Error),
}

/// A compressed run: part of a file of the store.
struct Compressed {
    place: Place,
    offset: u64,
    kept: Kept,
}

enum Place {
    Blob(Digest),
    File(Arc<Path>),
}

/// What is known of a compressed run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// Compressed.
    size: u64,
    /// Of the tar, and its CRC-32; both only of what is spliced into a gzip member.
    length: u64,
    crc32: u32,
    /// Where its files are, where they are compressed one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    files: Vec<PackedFile>,
}

impl Compressed {
    fn summary(&self) -> Summary {
        Summary {
            crc32: self.kept.crc32,
            length: self.kept.length,
            deflated: self.kept.size,
        }
    }

    fn open(&self, store: &Store) -> Result<impl Read + use<>, LayerError> {
        let mut file = match &self.place {
            Place::Blob(blob) => store.open_blob(blob)?,
            Place::File(path) => File::open(path)?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.kept.size))
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

/// Makes layers, the lowest first.
pub(crate) fn build(
    store: &Store,
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
    layers
        .par_iter()
        .map(|parts| assemble(store, compression, parts))
        .collect()
}

fn parts_of<'a>(
    filesystem: &'a Filesystem,
    packages: &'a [StoredPackage],
    share: &Share<'_>,
    earlier: &mut BTreeSet<TreePath>,
) -> Result<Vec<Part<'a>>, LayerError> {
    let (members, last) = (share.members, share.is_last);
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
        if let Some(package) = packages.get(*member) {
            parts.extend(package_part(filesystem, package, *member)?);
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

/// The layer of these parts: made before, or made now.
fn assemble(
    store: &Store,
    compression: Compression,
    parts: &[Part<'_>],
) -> Result<Layer, LayerError> {
    let keys: Vec<Digest> = parts
        .iter()
        .map(|part| match &part.source {
            Source::Generated => run::digest(&part.items),
            Source::Package { key, .. } => Ok(*key),
        })
        .collect::<Result<_, _>>()?;
    let key = Digest::of(&serde_json::to_vec(&LayerKey {
        format: FORMAT,
        compression,
        parts: keys,
    })?);
    if let Some(layer) = store.record_get::<Layer>(LAYERS, &key)?
        && store.contains(&layer.digest)
    {
        return Ok(layer);
    }
    let layer = make(store, compression, parts)?;
    store.record_put(LAYERS, &key, &layer)?;
    Ok(layer)
}

fn make(store: &Store, compression: Compression, parts: &[Part<'_>]) -> Result<Layer, LayerError> {
    let segments: Vec<Option<Compressed>> = parts
        .par_iter()
        .map(|part| segment(store, compression, part))
        .collect::<Result<_, _>>()?;
    let mut file = store.temp_file()?;
    // One thread reads and hashes the contents, the other stitches and hashes the blob.
    let (hasher, stitched) = rayon::join(
        || hash_contents(parts),
        || stitch(store, compression, parts, &segments, file.as_file_mut()),
    );
    let (mut hasher, (digest, size, end)) = (hasher?, stitched?);
    hasher.update(&end.tar);
    store.adopt(file, digest)?;
    Ok(Layer {
        digest,
        size,
        diff_id: hasher.finish(),
        media_type: compression.media_type().to_owned(),
        annotations: end.annotations,
    })
}

/// The compressed run of a package: as the package has it, kept, or made now.
fn segment(
    store: &Store,
    compression: Compression,
    part: &Part<'_>,
) -> Result<Option<Compressed>, LayerError> {
    let (run, whole) = match &part.source {
        Source::Generated => return Ok(None),
        Source::Package { key, whole } => (*key, *whole),
    };
    if compression == Compression::Gzip
        && let Some(package) = whole
        && let Some(deflated) = package.deflated()
    {
        let (place, offset, size) = match deflated {
            DeflatedRun::Package(blob, segment) => {
                (Place::Blob(blob), segment.offset, segment.deflated)
            }
            DeflatedRun::Beside(path, size) => (Place::File(path), 0, size),
        };
        let kept = Kept {
            size,
            length: package.run.length,
            crc32: package.run.crc32,
            files: Vec::new(),
        };
        return Ok(Some(Compressed {
            place,
            offset,
            kept,
        }));
    }
    let key = Digest::of(&serde_json::to_vec(&SegmentKey { compression, run })?);
    if let Some((blob, kept)) = store.record_get::<(Digest, Kept)>(SEGMENTS, &key)?
        && store.contains(&blob)
    {
        return Ok(Some(Compressed {
            place: Place::Blob(blob),
            offset: 0,
            kept,
        }));
    }
    let mut file = store.temp_file()?;
    let mut out = DigestWriter::new(BufWriter::with_capacity(1 << 18, file.as_file_mut()));
    let (summary, files) = match compression {
        Compression::Gzip => {
            let mut deflater = Deflater::new(&mut out, LEVEL);
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
    store.adopt(file, blob)?;
    let kept = Kept {
        size: summary.deflated,
        length: summary.length,
        crc32: summary.crc32,
        files,
    };
    store.record_put(SEGMENTS, &key, &(blob, &kept))?;
    Ok(Some(Compressed {
        place: Place::Blob(blob),
        offset: 0,
        kept,
    }))
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
        return Err(shortened(&package.digest));
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

/// All of the tar but its end.
fn hash_contents(parts: &[Part<'_>]) -> Result<Sha256Hasher, LayerError> {
    let mut hashing = Hashing(Sha256Hasher::default());
    for part in parts {
        write_run(part, &mut hashing)?;
    }
    Ok(hashing.0)
}

struct Hashing(Sha256Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the blob. Gives its digest and size, and what ends the tar.
fn stitch(
    store: &Store,
    compression: Compression,
    parts: &[Part<'_>],
    segments: &[Option<Compressed>],
    file: &mut File,
) -> Result<(Digest, u64, End), LayerError> {
    let mut out = DigestWriter::new(BufWriter::with_capacity(1 << 18, file));
    let mut end = End {
        tar: vec![0; 1024],
        ..End::default()
    };
    let parts = parts.iter().zip(segments);
    match compression {
        Compression::Gzip => {
            let mut splicer = Splicer::new(&mut out)?;
            for (part, kept) in parts {
                match kept {
                    Some(kept) => splicer.append_from(&kept.summary(), kept.open(store)?)?,
                    None => {
                        splicer.append_with(LEVEL, |deflater| run::write(&part.items, deflater))?;
                    }
                }
            }
            splicer.append(&end_blocks())?;
            splicer.finish()?;
        }
        Compression::Zstd | Compression::Best => {
            for (part, kept) in parts {
                match kept {
                    Some(kept) => copy(kept, store, &mut out)?,
                    None => {
                        let mut framer = Framer::new(&mut out, compression.level());
                        run::write(&part.items, &mut framer)?;
                        framer.finish()?;
                    }
                }
            }
            out.write_all(&compression.unit(&end.tar)?)?;
        }
        Compression::ZstdChunked | Compression::Estargz => {
            let mut table = Table::new(compression);
            for (part, kept) in parts {
                let base = out.written();
                match kept {
                    Some(kept) => {
                        copy(kept, store, &mut out)?;
                        table.add(&part.items, &kept.kept.files, base)?;
                    }
                    None => {
                        let (_, files) = lazy::pack(compression, &part.items, &mut out)?;
                        table.add(&part.items, &files, base)?;
                    }
                }
            }
            end = table.finish(out.written())?;
            out.write_all(&end.bytes)?;
        }
    }
    out.flush()?;
    let (_, digest, size) = out.finish();
    Ok((digest, size, end))
}

fn copy(compressed: &Compressed, store: &Store, out: &mut impl Write) -> Result<(), LayerError> {
    let copied = io::copy(&mut compressed.open(store)?, out)?;
    if copied == compressed.kept.size {
        return Ok(());
    }
    Err(match &compressed.place {
        Place::Blob(blob) => shortened(blob),
        Place::File(path) => shortened(&path.display()),
    })
}

fn shortened(what: &dyn std::fmt::Display) -> LayerError {
    LayerError::Io(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{what} is shorter than it was when it was kept"),
    ))
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
    let part = Part {
        items: items.collect(),
        source: Source::Generated,
    };
    make(store, Compression::Gzip, &[part])
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

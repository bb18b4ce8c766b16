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
mod draft;
mod hashing;
mod lazy;
mod parts;
pub(crate) mod pieces;
mod prefix;
mod run;
mod stored;
mod tar_split;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};

use archive::erofs::ErofsError;
use archive::frames::Framer;
use archive::segment::{Deflater, Summary};
use archive::tar::{Header, WriteError as TarError};
use archive::tree::Content;
use base::{Digest, DigestWriter};
use oci::{Descriptor, Layout, LayoutError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use store::{MappedFile, Store, StoreError};

use crate::filesystem::Filesystem;
use blob::{Compressed, Kept};
pub use compression::Compression;
use draft::{Draft, Drafted, draft, finish};
pub(crate) use parts::Share;
use parts::{Cutter, Part, Source};
use pieces::{Piece, Place};
use run::{Item, ItemReader};
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

#[derive(Serialize)]
struct SegmentKey {
    compression: Compression,
    run: Digest,
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
    let cutter = Cutter::new(filesystem, packages, compression);
    let layers: Vec<Vec<Part<'_>>> = shares
        .iter()
        .map(|share| cutter.parts_of(share, &mut earlier))
        .collect::<Result<_, _>>()?;
    let drafted = layers
        .par_iter()
        .map(|parts| draft(target.store, compression, parts))
        .collect::<Result<Vec<_>, _>>()?;
    finish(target, compression, drafted)
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
        let mut items = BufReader::with_capacity(1 << 17, ItemReader::new(&part.items));
        io::copy(&mut items, &mut out).map_err(LayerError::of_reading)?;
        return Ok(());
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
    let layers = finish(
        target,
        Compression::Gzip,
        vec![Drafted::New(Box::new(draft))],
    )?;
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

//! Where a layer's bytes lie in the store, piece by piece: so it is kept, and not a second time as a whole.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base::Digest;
use oci::{Descriptor, Layout, LayoutError};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, WriteError};

use super::hashing::Exactly;
use super::{LayerError, shortened};

/// The kind of the store's records of pieces, by the layer's digest.
const PIECES: &str = "layer-pieces";

/// More bytes than that are a blob of the store.
const WITHIN: usize = 256;

/// Some of a layer's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) offset: u64,
    pub(super) size: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Place {
    /// Nowhere else.
    Here(Vec<u8>),
    Blob(Digest),
    /// A file, from the store's folder on.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Here(_) => f.write_str("a part of a layer"),
            Place::Blob(digest) => digest.fmt(f),
            Place::File(path) => path.display().fmt(f),
        }
    }
}

impl Piece {
    /// The whole blob.
    pub(super) fn blob(digest: Digest, size: u64) -> Piece {
        Piece {
            place: Place::Blob(digest),
            offset: 0,
            size,
        }
    }

    /// Bytes that lie nowhere yet.
    pub(super) fn of(bytes: Vec<u8>, store: &Store) -> Result<Piece, StoreError> {
        let size = bytes.len() as u64;
        if bytes.len() > WITHIN {
            return Ok(Piece::blob(store.put(&bytes[..])?.digest, size));
        }
        Ok(Piece {
            place: Place::Here(bytes),
            offset: 0,
            size,
        })
    }

    fn path(&self, store: &Store) -> Option<PathBuf> {
        match &self.place {
            Place::Here(_) => None,
            Place::Blob(digest) => store.path(digest),
            Place::File(path) => Some(store.root().join(path)),
        }
    }

    fn is_there(&self, store: &Store) -> bool {
        let end = self.offset.checked_add(self.size);
        let found = match &self.place {
            Place::Here(bytes) => Some(bytes.len() as u64),
            _ => self
                .path(store)
                .and_then(|path| path.metadata().ok())
                .map(|metadata| metadata.len()),
        };
        end.zip(found).is_some_and(|(end, found)| end <= found)
    }

    fn open(&self, store: &Store) -> Result<File, LayerError> {
        let mut file = match &self.place {
            Place::Blob(digest) => store.open_blob(digest)?,
            Place::File(path) => File::open(store.root().join(path))?,
            Place::Here(_) => return Err(io::Error::from(io::ErrorKind::NotFound).into()),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file)
    }

    /// All of it.
    pub(super) fn reader<'p>(
        &'p self,
        store: &Store,
    ) -> Result<Box<dyn Read + Send + 'p>, LayerError> {
        Ok(match &self.place {
            Place::Here(bytes) => Box::new(&bytes[..]),
            _ => Box::new(Exactly {
                bytes: self.open(store)?,
                left: self.size,
                what: &self.place,
            }),
        })
    }

    fn write(&self, store: &Store, file: &mut File) -> Result<(), LayerError> {
        if let Place::Here(bytes) = &self.place {
            return Ok(file.write_all(bytes)?);
        }
        // The kernel copies, where the filesystem can by sharing the blocks.
        match io::copy(&mut self.open(store)?.take(self.size), file)? == self.size {
            true => Ok(()),
            false => Err(shortened(&self.place).into()),
        }
    }
}

/// Keeps the layer with this digest.
pub(super) fn keep(store: &Store, digest: &Digest, pieces: &[Piece]) -> Result<(), LayerError> {
    Ok(store.record_put(PIECES, digest, &pieces)?)
}

/// The pieces of a layer that is kept, if all of them are there.
fn kept(store: &Store, digest: &Digest) -> Result<Option<Vec<Piece>>, LayerError> {
    let pieces: Option<Vec<Piece>> = store.record_get(PIECES, digest)?;
    Ok(pieces.filter(|pieces| pieces.iter().all(|piece| piece.is_there(store))))
}

fn write(store: &Store, pieces: &[Piece], file: &mut File) -> Result<u64, LayerError> {
    for piece in pieces {
        piece.write(store, file)?;
    }
    Ok(pieces.iter().map(|piece| piece.size).sum())
}

/// Whether the layer with this digest is kept, as a whole or in pieces.
pub(crate) fn is_kept(store: &Store, digest: &Digest) -> Result<bool, LayerError> {
    Ok(store.contains(digest) || kept(store, digest)?.is_some())
}

/// Copies a layer that is kept into `layout`, unless it is there.
pub(crate) fn put(
    layout: &Layout,
    descriptor: &Descriptor,
    store: &Store,
) -> Result<(), LayerError> {
    let digest = &descriptor.digest;
    if store.contains(digest) {
        return Ok(layout.put_from_store(descriptor, store)?);
    }
    layout.put_remembered(descriptor, store, |file| {
        let pieces = kept(store, digest)?.ok_or(StoreError::Missing(*digest))?;
        write(store, &pieces, file).map_err(|error| match error {
            // No file that is read fills a disk up.
            LayerError::Io(source) if is_full(&source) => {
                let path = layout.blob_path(digest);
                LayoutError::from(WriteError::at("write", &path)(source)).into()
            }
            other => other,
        })
    })
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull)
}

/// The file of a layer that is kept, as a whole from now on.
pub(crate) fn file(store: &Store, digest: &Digest) -> Result<PathBuf, LayerError> {
    if let Some(path) = store.path(digest) {
        return Ok(path);
    }
    let pieces = kept(store, digest)?.ok_or(StoreError::Missing(*digest))?;
    let mut beside = store.temp_file()?;
    write(store, &pieces, beside.as_file_mut())?;
    Ok(store.adopt(beside, *digest)?)
}

/// A file in the store's folder, from there on.
pub(super) fn within(store: &Store, path: &Path) -> PathBuf {
    path.strip_prefix(store.root()).unwrap_or(path).to_owned()
}

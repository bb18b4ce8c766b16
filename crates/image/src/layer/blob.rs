//! The blob of a layer, put together of pieces that lie in the store: first it is hashed, and it is
//! written only where nobody has it yet, by the kernel alone.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;

use archive::segment::{Splicer, Summary, end_blocks};
use base::{Digest, Sha256Hasher};
use serde::{Deserialize, Serialize};
use store::Store;
use tempfile::NamedTempFile;

use super::lazy::{End, PackedFile, Table};
use super::{Compression, LayerError, Part, shortened};

/// Bytes that are hashed at a time.
const HASHED: usize = 256 << 10;

/// A compressed run: part of a file.
pub(super) struct Compressed {
    pub(super) place: Place,
    pub(super) offset: u64,
    pub(super) kept: Kept,
}

pub(super) enum Place {
    Blob(Digest),
    File(Arc<Path>),
    /// What no other layer has.
    Temporary(NamedTempFile),
}

/// What is known of a compressed run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Compressed.
    pub(super) size: u64,
    /// Of the tar, and its CRC-32; both only of what is spliced into a gzip member.
    pub(super) length: u64,
    pub(super) crc32: u32,
    /// Where its files are, where they are compressed one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<PackedFile>,
}

impl Compressed {
    fn summary(&self) -> Summary {
        Summary {
            crc32: self.kept.crc32,
            length: self.kept.length,
            deflated: self.kept.size,
        }
    }

    fn open(&self, store: &Store) -> Result<io::Take<File>, LayerError> {
        let mut file = match &self.place {
            Place::Blob(blob) => store.open_blob(blob)?,
            Place::File(path) => File::open(path)?,
            Place::Temporary(file) => File::open(file.path())?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.kept.size))
    }

    fn shortened(&self) -> LayerError {
        match &self.place {
            Place::Blob(blob) => shortened(blob),
            Place::File(path) => shortened(&path.display()),
            Place::Temporary(file) => shortened(&file.path().display()),
        }
    }
}

/// A layer's blob: a head, the parts, and what ends it.
pub(super) struct Blob<'s> {
    store: &'s Store,
    head: Vec<u8>,
    segments: &'s [Compressed],
    tail: Vec<u8>,
    /// What ends the tar, and what is said of the layer.
    pub(super) end: End,
}

/// What a blob's bytes are.
pub(super) struct Hashed {
    pub(super) digest: Digest,
    /// The state of its hash after each part that was hashed.
    pub(super) states: Vec<String>,
}

impl<'s> Blob<'s> {
    pub(super) fn new(
        store: &'s Store,
        compression: Compression,
        parts: &[Part<'_>],
        segments: &'s [Compressed],
    ) -> Result<Blob<'s>, LayerError> {
        let (mut head, tail) = (Vec::new(), Vec::new());
        let end = End {
            tar: vec![0; 1024],
            ..End::default()
        };
        let (tail, end) = match compression {
            Compression::Gzip => {
                let mut splicer = Splicer::new(tail)?;
                head = std::mem::take(splicer.get_mut());
                for segment in segments {
                    splicer.append_elsewhere(&segment.summary());
                }
                splicer.append(&end_blocks())?;
                (splicer.finish()?, end)
            }
            Compression::Zstd | Compression::Best => (compression.unit(&end.tar)?, end),
            Compression::ZstdChunked | Compression::Estargz => {
                let mut table = Table::new(compression);
                let mut position = 0;
                for (part, segment) in parts.iter().zip(segments) {
                    table.add(&part.items, &segment.kept.files, position)?;
                    position += segment.kept.size;
                }
                let mut end = table.finish(position)?;
                (std::mem::take(&mut end.bytes), end)
            }
        };
        Ok(Blob {
            store,
            head,
            segments,
            tail,
            end,
        })
    }

    pub(super) fn size(&self) -> u64 {
        let parts: u64 = self.segments.iter().map(|segment| segment.kept.size).sum();
        self.head.len() as u64 + parts + self.tail.len() as u64
    }

    /// Hashes it, but for the first parts where the hash goes on from behind so many of them.
    pub(super) fn hash(&self, begun: Option<(usize, Sha256Hasher)>) -> Result<Hashed, LayerError> {
        let (done, mut hasher) = begun.unwrap_or_else(|| {
            let mut hasher = Sha256Hasher::default();
            hasher.update(&self.head);
            (0, hasher)
        });
        let mut states = Vec::new();
        let mut buffer = vec![0; HASHED];
        for segment in self.segments.iter().skip(done) {
            let mut bytes = segment.open(self.store)?;
            let mut read = 0;
            while read < segment.kept.size {
                match bytes.read(&mut buffer) {
                    Ok(0) => return Err(segment.shortened()),
                    Ok(count) => {
                        hasher.update(&buffer[..count]);
                        read += count as u64;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            states.push(hasher.state());
        }
        hasher.update(&self.tail);
        Ok(Hashed {
            digest: hasher.finish(),
            states,
        })
    }

    /// Puts it into the store as the blob that it was hashed to be.
    pub(super) fn keep(&self, digest: Digest) -> Result<(), LayerError> {
        if self.store.contains(&digest) {
            return Ok(());
        }
        let mut beside = self.store.temp_file()?;
        let file = beside.as_file_mut();
        file.write_all(&self.head)?;
        for segment in self.segments {
            // The kernel copies, where the filesystem can by sharing the blocks.
            if io::copy(&mut segment.open(self.store)?, file)? != segment.kept.size {
                return Err(segment.shortened());
            }
        }
        file.write_all(&self.tail)?;
        self.store.adopt(beside, digest)?;
        Ok(())
    }
}

//! The blob of a layer, put together of pieces that lie in the store: first it is hashed, and it is
//! written only where somebody wants it, by the kernel alone.

use archive::segment::{Splicer, Summary, end_blocks};
use serde::{Deserialize, Serialize};
use store::Store;

use super::hashing::Source;
use super::lazy::{End, PackedFile, Table};
use super::parts::Part;
use super::pieces::Piece;
use super::{Compression, LayerError};

/// A compressed run.
pub(super) struct Compressed {
    pub(super) piece: Piece,
    pub(super) kept: Kept,
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
}

/// A layer's blob: a head, the parts, and what ends it.
pub(super) struct Blob {
    pub(super) pieces: Vec<Piece>,
    /// What ends the tar, and what is said of the layer.
    pub(super) end: End,
}

impl Blob {
    pub(super) fn new(
        store: &Store,
        compression: Compression,
        parts: &[Part<'_>],
        segments: Vec<Compressed>,
    ) -> Result<Blob, LayerError> {
        let (mut head, tail) = (Vec::new(), Vec::new());
        let end = End {
            tar: vec![0; 1024],
            ..End::default()
        };
        let (tail, end) = match compression {
            Compression::Gzip => {
                let mut splicer = Splicer::new(tail)?;
                head = std::mem::take(splicer.get_mut());
                for segment in &segments {
                    splicer.append_elsewhere(&segment.summary());
                }
                splicer.append(&end_blocks())?;
                (splicer.finish()?, end)
            }
            Compression::Zstd | Compression::Best => (compression.unit(&end.tar)?, end),
            Compression::ZstdChunked | Compression::Estargz => {
                let mut table = Table::new(compression);
                let mut position = 0;
                for (part, segment) in parts.iter().zip(&segments) {
                    table.add(&part.items, &segment.kept.files, position)?;
                    position += segment.kept.size;
                }
                let mut end = table.finish(position)?;
                (std::mem::take(&mut end.bytes), end)
            }
        };
        let mut pieces = vec![Piece::of(head, store)?];
        pieces.extend(segments.into_iter().map(|segment| segment.piece));
        pieces.push(Piece::of(tail, store)?);
        Ok(Blob { pieces, end })
    }

    pub(super) fn size(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.size).sum()
    }

    /// What is hashed of it, behind so many of its parts; the hash's state is noted behind each of the others.
    pub(super) fn sources(&self, done: usize) -> Vec<Source<'_>> {
        // The head stands before the parts, the tail behind them.
        let parts = 1..self.pieces.len().saturating_sub(1);
        let skipped = if done > 0 { 1 + done } else { 0 };
        let mut sources = Vec::new();
        for (place, piece) in self.pieces.iter().enumerate().skip(skipped) {
            sources.push(Source::Piece(piece));
            if parts.contains(&place) {
                sources.push(Source::State);
            }
        }
        sources
    }
}

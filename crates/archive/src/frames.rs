//! zstd frames (RFC 8878). Frames one after the other are one stream, so what was compressed once is
//! put beside other frames as it is; skippable frames between them are passed over by readers.

use std::cell::RefCell;
use std::io::{self, Write};

use zstd::bulk::Compressor;

use crate::ordered::Ordered;
use crate::segment::Summary;

/// The level of layers: as small as gzip makes them in a third of the time.
pub const LEVEL: i32 = 3;
/// Where size counts more than time: the next levels take much longer for little.
pub const BEST: i32 = 6;

/// Content is compressed in frames of this size, each by one core. The size shows in the bytes, so it
/// is the same everywhere.
const PIECE: usize = 4 << 20;

/// What skippable frames begin with: the first of their sixteen magic numbers.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];

/// A compressor of a level, and where frames are made: their length is not known before.
type Kept = (i32, Compressor<'static>, Vec<u8>);

thread_local! {
    /// Making one costs more than a small frame does.
    static COMPRESSOR: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// `bytes` as one frame, which says how long they are.
pub fn frame(bytes: &[u8], level: i32) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let (_, compressor, framed) = match kept {
            Some(kept) if kept.0 == level => kept,
            _ => kept.insert((level, Compressor::new(level)?, Vec::new())),
        };
        framed.clear();
        framed.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        compressor.compress_to_buffer(bytes, framed)?;
        Ok(framed.clone())
    })
}

/// `bytes` as a frame that readers pass over.
///
/// # Errors
/// More than 4 GiB.
pub fn skippable(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(bytes.len())
        .map_err(|_| io::Error::other("more than 4 GiB do not fit into one skippable frame"))?;
    let mut frame = SKIPPABLE.to_vec();
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(bytes);
    Ok(frame)
}

/// Compresses what is written to it into frames, on all cores while more is being written; the bytes do
/// not depend on their number, nor on how the content is cut into writes. Holds two pieces of 4 MiB a
/// core.
pub struct Framer<W> {
    out: W,
    level: i32,
    filling: Vec<u8>,
    under_way: Ordered<io::Result<Framed>>,
    /// Pieces that are compressed, to be filled again: large pieces of memory are given back late.
    spare: Vec<Vec<u8>>,
    crc: crc32fast::Hasher,
    length: u64,
    compressed: u64,
}

struct Framed {
    bytes: Vec<u8>,
    crc: crc32fast::Hasher,
    length: u64,
    piece: Vec<u8>,
}

impl<W: Write> Framer<W> {
    /// Starts with the first frame.
    pub fn new(out: W, level: i32) -> Framer<W> {
        Framer {
            out,
            level,
            filling: Vec::new(),
            under_way: Ordered::default(),
            spare: Vec::new(),
            crc: crc32fast::Hasher::new(),
            length: 0,
            compressed: 0,
        }
    }

    /// Ends the last frame, and gives back the stream beneath. Nothing at all is no frame.
    pub fn finish(mut self) -> io::Result<(W, Summary)> {
        let last = std::mem::take(&mut self.filling);
        while let Some(framed) = self.under_way.take() {
            self.write_frame(framed?)?;
        }
        if !last.is_empty() {
            let framed = compress(last, self.level)?;
            self.write_frame(framed)?;
        }
        let summary = Summary {
            crc32: self.crc.finalize(),
            length: self.length,
            deflated: self.compressed,
        };
        Ok((self.out, summary))
    }

    fn write_frame(&mut self, framed: Framed) -> io::Result<()> {
        self.crc.combine(&framed.crc);
        self.length += framed.length;
        self.compressed += framed.bytes.len() as u64;
        self.spare.push(framed.piece);
        self.out.write_all(&framed.bytes)
    }
}

impl<W: Write> Write for Framer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.filling.len());
        self.filling.extend_from_slice(&bytes[..count]);
        if self.filling.len() == PIECE {
            let mut next = self.spare.pop().unwrap_or_default();
            next.clear();
            next.reserve(PIECE);
            let piece = std::mem::replace(&mut self.filling, next);
            let level = self.level;
            if let Some(framed) = self.under_way.push(move || compress(piece, level)) {
                self.write_frame(framed?)?;
            }
        }
        Ok(count)
    }

    /// Flushes the stream beneath. What waits to be compressed waits on: no frame is cut where somebody
    /// happens to flush.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn compress(piece: Vec<u8>, level: i32) -> io::Result<Framed> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&piece);
    Ok(Framed {
        bytes: frame(&piece, level)?,
        crc,
        length: piece.len() as u64,
        piece,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(content: &[u8], cut: usize) -> (Vec<u8>, Summary) {
        let mut framer = Framer::new(Vec::new(), LEVEL);
        for part in content.chunks(cut) {
            framer.write_all(part).unwrap();
        }
        framer.finish().unwrap()
    }

    #[test]
    fn frames_do_not_depend_on_writes_or_cores() {
        let mut content: Vec<u8> = (0..9_000_000u32)
            .map(|number| (number / 7 % 251) as u8)
            .collect();
        content.extend_from_slice(b"the last");
        let (bytes, summary) = framed(&content, 1 << 20);
        assert_eq!(framed(&content, 777_777), (bytes.clone(), summary));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(pool.install(|| framed(&content, 1 << 20)).0, bytes);
        assert_eq!(summary.length, content.len() as u64);
        assert_eq!(summary.deflated, bytes.len() as u64);
        assert_eq!(summary.crc32, crc32fast::hash(&content));
        // Beside other frames, and with one to be passed over between them.
        let (other, _) = framed(b"other", 2);
        let all = [bytes, skippable(b"passed over").unwrap(), other].concat();
        let decoded = zstd::decode_all(&all[..]).unwrap();
        assert_eq!(decoded, [&content[..], b"other"].concat());
        assert!(framed(b"", 1).0.is_empty());
    }
}

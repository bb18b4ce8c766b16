//! Deflate segments: runs of raw deflate blocks (RFC 1951) that end on a byte boundary, refer to
//! nothing before them and do not end the stream.
//!
//! Put one after the other, segments are one stream whose CRC-32 is combined from theirs. So an image
//! layer is stitched from its packages' segments, and none of them is compressed again.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};

use crate::deflate::{Blocks, Matcher, WINDOW};
use crate::gzip::HEADER;
use crate::ordered::Ordered;

/// A deflate stream that ends at once: what the last segment of a member is followed by.
const FINAL_BLOCK: [u8; 2] = [3, 0];
/// Where a flush ends: an empty stored block, byte-aligned.
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];

/// What is known of a segment besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// CRC-32 of the content.
    pub crc32: u32,
    /// Bytes of content.
    pub length: u64,
    /// Bytes of the segment itself.
    pub deflated: u64,
}

/// A segment in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The deflate blocks.
    pub deflate: Vec<u8>,
    /// CRC-32 of the content.
    pub crc32: u32,
    /// Bytes of content.
    pub length: u64,
}

impl Segment {
    /// The same without the bytes.
    pub fn summary(&self) -> Summary {
        Summary {
            crc32: self.crc32,
            length: self.length,
            deflated: self.deflate.len() as u64,
        }
    }
}

/// Deflates all of `content` into a segment in memory.
pub fn deflate(content: impl Read) -> io::Result<Segment> {
    let mut deflate = Vec::new();
    let summary = deflate_into(content, &mut deflate)?;
    Ok(Segment {
        deflate,
        crc32: summary.crc32,
        length: summary.length,
    })
}

/// Content is deflated in pieces of this size, each by one core. The size shows in the bytes, so it is
/// the same everywhere.
const PIECE: usize = 1 << 20;

/// Deflates all of `content` into `out`, as a [`Deflater`] does.
pub fn deflate_into(mut content: impl Read, out: impl Write) -> io::Result<Summary> {
    let mut deflater = Deflater::new(out);
    io::copy(&mut content, &mut deflater)?;
    Ok(deflater.finish()?.1)
}

/// Deflates what is written to it into one segment, on all cores while more is being written; the
/// bytes do not depend on their number, nor on how the content is cut into writes. Holds two pieces of
/// 1 MiB a core.
///
/// There is one level: about as small as zlib's third makes it, which is within 1 % of what peers write
/// and 4 % more than zlib's sixth, in well under half the time of that.
pub struct Deflater<W> {
    out: W,
    filling: Piece,
    /// The pieces before it.
    under_way: Ordered<Deflated>,
    /// Memory of pieces that are done: asking the system for it again would cost more than deflating
    /// a good part of one.
    spare: Vec<Spare>,
    crc: crc32fast::Hasher,
    length: u64,
    deflated: u64,
}

impl<W: Write> Deflater<W> {
    /// Starts a segment.
    pub fn new(out: W) -> Deflater<W> {
        Deflater {
            out,
            filling: Piece::default(),
            under_way: Ordered::default(),
            spare: Vec::new(),
            crc: crc32fast::Hasher::new(),
            length: 0,
            deflated: 0,
        }
    }

    /// Ends the segment, and gives back the stream beneath.
    pub fn finish(mut self) -> io::Result<(W, Summary)> {
        let last = std::mem::take(&mut self.filling);
        while let Some(deflated) = self.under_way.take() {
            self.write_piece(deflated)?;
        }
        // Nothing at all is a segment too.
        if last.length() > 0 || self.length == 0 {
            self.write_piece(last.deflate())?;
        }
        let summary = Summary {
            crc32: self.crc.finalize(),
            length: self.length,
            deflated: self.deflated,
        };
        Ok((self.out, summary))
    }

    /// Hands the full piece to any core that is free, and starts the next.
    fn dispatch(&mut self) -> io::Result<()> {
        let next = self.filling.next(self.spare.pop().unwrap_or_default());
        let piece = std::mem::replace(&mut self.filling, next);
        match self.under_way.push(move || piece.deflate()) {
            Some(deflated) => self.write_piece(deflated),
            None => Ok(()),
        }
    }

    /// Writes the piece that comes next.
    fn write_piece(&mut self, deflated: Deflated) -> io::Result<()> {
        self.crc.combine(&deflated.crc);
        self.length += deflated.length;
        self.deflated += deflated.spare.deflated.len() as u64;
        self.out.write_all(&deflated.spare.deflated)?;
        self.spare.push(deflated.spare);
        Ok(())
    }
}

impl<W: Write> Write for Deflater<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.filling.length());
        self.filling.bytes.extend_from_slice(&bytes[..count]);
        if self.filling.length() == PIECE {
            self.dispatch()?;
        }
        Ok(count)
    }

    /// Flushes the stream beneath. What waits to be deflated waits on: no block is cut where somebody
    /// happens to flush.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What a piece takes of memory, to be used again.
#[derive(Default)]
struct Spare {
    content: Vec<u8>,
    deflated: Vec<u8>,
}

/// A part of the content, behind what it may refer back to.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    window: usize,
    /// What it will be deflated into.
    deflated: Vec<u8>,
}

impl Piece {
    fn length(&self) -> usize {
        self.bytes.len() - self.window
    }

    /// An empty piece that follows this one, in the memory of `spare`.
    fn next(&self, spare: Spare) -> Piece {
        let before = &self.bytes[self.bytes.len().saturating_sub(WINDOW)..];
        let mut bytes = spare.content;
        bytes.clear();
        bytes.reserve_exact(WINDOW + PIECE);
        bytes.extend_from_slice(before);
        Piece {
            window: before.len(),
            bytes,
            deflated: spare.deflated,
        }
    }

    fn deflate(self) -> Deflated {
        let length = self.length();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.bytes[self.window..]);
        let mut deflated = self.deflated;
        deflated.clear();
        let deflated = deflate_piece(&self.bytes, self.window, deflated);
        Deflated {
            crc,
            length: length as u64,
            spare: Spare {
                content: self.bytes,
                deflated,
            },
        }
    }
}

struct Deflated {
    /// The segment's bytes, and what was deflated, whose memory can be used again.
    spare: Spare,
    crc: crc32fast::Hasher,
    length: u64,
}

/// Deflates all of `bytes` from `start` on, up to a flush, in the memory of `deflated`; what stands before
/// may be referred to. Noise is stored as it is: deflating takes longest where nothing is to be won.
fn deflate_piece(bytes: &[u8], start: usize, deflated: Vec<u8>) -> Vec<u8> {
    let mut blocks = Blocks::new(deflated);
    let mut matcher = Matcher::new(bytes, start);
    let mut place = start;
    for noise in noises(bytes, start) {
        matcher.deflate(bytes, place..noise.start, &mut blocks);
        blocks.store(&bytes[noise.clone()]);
        place = noise.end;
    }
    matcher.deflate(bytes, place..bytes.len(), &mut blocks);
    blocks.flush();
    blocks.bytes
}

/// Bytes that are judged together.
const SAMPLE: usize = 2048;
/// Shorter runs of noise are not worth their own blocks.
const LEAST_NOISE: usize = 3 * SAMPLE;

/// With fewer bytes in one half of the values, all others are in 128: their squared numbers sum up to
/// at least (2048 − 256)² / 128 + 256² / 128 = 25,600.
const UPPER_HALF: u32 = 256;

/// The runs from `start` on that look like noise: compressed or encrypted data.
fn noises(bytes: &[u8], start: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut place = start;
    std::iter::from_fn(move || {
        loop {
            let quiet = bytes[place..].chunks_exact(SAMPLE).position(is_noise)?;
            let begin = place + quiet * SAMPLE;
            let samples = bytes[begin..].chunks_exact(SAMPLE);
            let length = SAMPLE * samples.take_while(|sample| is_noise(sample)).count();
            place = begin + length;
            if length >= LEAST_NOISE {
                return Some(begin..place);
            }
        }
    })
}

/// Whether bytes occur as often as chance would have it: neither unevenly, as a code or a repetition
/// makes it, nor too evenly, as counting does. Their squared numbers sum up to `CHANCE` on average,
/// with a deviation of 1 %.
fn is_noise(sample: &[u8]) -> bool {
    const CHANCE: u32 = (SAMPLE + SAMPLE * (SAMPLE - 1) / 256) as u32;
    // Of text, nearly no byte is in the upper half. With the halves as uneven as that, the sum below is
    // more than chance would have it, and counting half the bits is far quicker than counting bytes.
    let upper: u32 = sample.iter().map(|byte| u32::from(byte >> 7)).sum();
    if !(UPPER_HALF..=SAMPLE as u32 - UPPER_HALF).contains(&upper) {
        return false;
    }
    let mut counts = [0u32; 256];
    for byte in sample {
        counts[usize::from(*byte)] += 1;
    }
    let sum: u32 = counts.iter().map(|count| count * count).sum();
    (CHANCE - CHANCE / 16..CHANCE + CHANCE / 10).contains(&sum)
}

/// 1,024 zeros in one block with fixed codes, then an empty stored block: the literal 0, three
/// matches of 258 and one of 249 at distance 1.
const END_BLOCKS: [u8; 14] = [
    0x62, 0x18, 0x05, 0xa3, 0x60, 0x14, 0x8c, 0x58, 0, 0, 0, 0, 0xff, 0xff,
];

/// The two zero blocks that end a tar archive, as a segment. Its bytes are fixed, so that
/// [`before_end_blocks`] can find them again.
pub fn end_blocks() -> Segment {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[0; 1024]);
    Segment {
        deflate: END_BLOCKS.to_vec(),
        crc32: crc.finalize(),
        length: 1024,
    }
}

/// Finds the segment in a gzip member that ends with [`end_blocks`]: where in `file` it is and what it
/// is. None for members made otherwise.
///
/// `offset` and `compressed` say where the member is, `decompressed` how long its content is: the
/// numbers of a [`crate::gzip::MemberSummary`]. The segment's content was not looked at; whoever does
/// not trust the member reads it once through [`Inflate`], which notices a wrong cut.
pub fn before_end_blocks(
    file: &mut (impl Read + Seek),
    offset: u64,
    compressed: u64,
    decompressed: u64,
) -> io::Result<Option<(Range<u64>, Summary)>> {
    const TAIL: usize = FLUSHED.len() + END_BLOCKS.len() + FINAL_BLOCK.len() + 8;
    let start = offset + HEADER.len() as u64;
    let end = offset.saturating_add(compressed);
    let (Some(tail_start), Some(length)) = (
        end.checked_sub(TAIL as u64).filter(|tail| *tail >= start),
        decompressed.checked_sub(1024),
    ) else {
        return Ok(None);
    };
    let mut header = [0; HEADER.len()];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut header)?;
    let mut tail = [0; TAIL];
    file.seek(SeekFrom::Start(tail_start))?;
    file.read_exact(&mut tail)?;
    let Some(&[a, b, c, d, e, f, g, h]) = tail
        .strip_prefix(&FLUSHED)
        .and_then(|rest| rest.strip_prefix(&END_BLOCKS))
        .and_then(|rest| rest.strip_prefix(&FINAL_BLOCK))
        .and_then(|rest| rest.first_chunk::<8>())
    else {
        return Ok(None);
    };
    if header != HEADER || u32::from_le_bytes([e, f, g, h]) != decompressed as u32 {
        return Ok(None);
    }
    let segment = start..tail_start + FLUSHED.len() as u64;
    let summary = Summary {
        crc32: without_zeros(u32::from_le_bytes([a, b, c, d]), end_blocks().crc32, 1024),
        length,
        deflated: segment.end - segment.start,
    };
    Ok(Some((segment, summary)))
}

/// The CRC-32 of what precedes `count` zero bytes, whose own CRC-32 is `zeros`, given that of both
/// together: each step of the CRC over a zero bit, taken back.
fn without_zeros(both: u32, zeros: u32, count: u32) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut crc = both ^ zeros;
    for _ in 0..8 * count {
        crc = if crc >> 31 == 1 {
            (crc ^ POLYNOMIAL) << 1 | 1
        } else {
            crc << 1
        };
    }
    crc
}

/// Bytes of a segment that are copied at a time.
const COPIED: usize = 256 << 10;

/// Writes segments as one gzip member.
pub struct Splicer<W> {
    out: W,
    crc: crc32fast::Hasher,
    length: u64,
}

impl<W: Write> Splicer<W> {
    /// Writes the member's header.
    pub fn new(mut out: W) -> io::Result<Splicer<W>> {
        out.write_all(&HEADER)?;
        Ok(Splicer {
            out,
            crc: crc32fast::Hasher::new(),
            length: 0,
        })
    }

    /// Appends a segment in memory.
    pub fn append(&mut self, segment: &Segment) -> io::Result<()> {
        self.append_from(&segment.summary(), &segment.deflate[..])
    }

    /// Copies a segment's bytes from `deflate`, which must yield as many as `summary` says.
    pub fn append_from(&mut self, summary: &Summary, deflate: impl Read) -> io::Result<()> {
        let mut deflate = BufReader::with_capacity(COPIED, deflate.take(summary.deflated));
        let mut copied = 0;
        loop {
            let bytes = deflate.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            self.out.write_all(bytes)?;
            deflate.consume(count);
            copied += count as u64;
        }
        if copied != summary.deflated {
            let reason = format!("a segment of {} bytes has only {copied}", summary.deflated);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        self.account(summary);
        Ok(())
    }

    /// Accounts for a segment that the caller puts behind what was written so far.
    pub fn append_elsewhere(&mut self, summary: &Summary) {
        self.account(summary);
    }

    /// The stream beneath.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Deflates all of `content` and appends it.
    pub fn append_content(&mut self, mut content: impl Read) -> io::Result<Summary> {
        self.append_with(|deflater| io::copy(&mut content, deflater).map(drop))
    }

    /// Appends what `write` writes as a new segment.
    pub fn append_with<E: From<io::Error>>(
        &mut self,
        write: impl FnOnce(&mut Deflater<&mut W>) -> Result<(), E>,
    ) -> Result<Summary, E> {
        let mut deflater = Deflater::new(&mut self.out);
        write(&mut deflater)?;
        let (_, summary) = deflater.finish()?;
        self.account(&summary);
        Ok(summary)
    }

    /// Bytes of content so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Ends the member.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&FINAL_BLOCK)?;
        self.out.write_all(&self.crc.finalize().to_le_bytes())?;
        // RFC 1952: the length modulo 2^32.
        self.out.write_all(&(self.length as u32).to_le_bytes())?;
        Ok(self.out)
    }

    fn account(&mut self, summary: &Summary) {
        let crc = crc32fast::Hasher::new_with_initial_len(summary.crc32, summary.length);
        self.crc.combine(&crc);
        self.length += summary.length;
    }
}

/// Writes `segments` as one gzip member whose content is theirs one after the other.
pub fn splice<'a, W: Write>(
    segments: impl IntoIterator<Item = &'a Segment>,
    out: W,
) -> io::Result<W> {
    let mut splicer = Splicer::new(out)?;
    for segment in segments {
        splicer.append(segment)?;
    }
    splicer.finish()
}

/// Reads a segment's content and checks, at its end, that the bytes are all there, that they stop where
/// a segment may stop, and that length and CRC-32 are the summary's.
pub struct Inflate<R> {
    deflate: R,
    summary: Summary,
    inflate: Decompress,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    fed: u64,
    crc: crc32fast::Hasher,
    done: bool,
}

impl<R: Read> Inflate<R> {
    /// Reads the segment that `summary` tells of from `deflate`.
    pub fn new(deflate: R, summary: Summary) -> Inflate<R> {
        Inflate {
            deflate,
            summary,
            inflate: Decompress::new(false),
            input: vec![0; 64 << 10].into(),
            start: 0,
            end: 0,
            fed: 0,
            crc: crc32fast::Hasher::new(),
            done: false,
        }
    }

    /// The segment's bytes, then a final block.
    fn refill(&mut self) -> io::Result<()> {
        if self.start < self.end {
            return Ok(());
        }
        let left = self.summary.deflated.saturating_sub(self.fed);
        let count = if left > 0 {
            let wanted = left.min(self.input.len() as u64) as usize;
            let count = self.deflate.read(&mut self.input[..wanted])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            count
        } else if self.fed == self.summary.deflated {
            self.input[..FINAL_BLOCK.len()].copy_from_slice(&FINAL_BLOCK);
            FINAL_BLOCK.len()
        } else {
            0
        };
        self.fed += count as u64;
        (self.start, self.end) = (0, count);
        Ok(())
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
        if buffer.is_empty() {
            return Ok(0);
        }
        while !self.done {
            self.refill()?;
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(
                    &self.input[self.start..self.end],
                    buffer,
                    FlushDecompress::None,
                )
                .map_err(|_| damaged("the deflate segment is damaged"))?;
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            self.start += read;
            self.crc.update(&buffer[..written]);
            if status == Status::StreamEnd {
                let whole = self.start == self.end
                    && self.fed == self.summary.deflated + FINAL_BLOCK.len() as u64;
                if !whole {
                    return Err(damaged("the deflate segment does not end where it should"));
                }
                if self.inflate.total_out() != self.summary.length
                    || self.crc.clone().finalize() != self.summary.crc32
                {
                    return Err(damaged(
                        "the deflate segment holds other bytes than it should",
                    ));
                }
                self.done = true;
            } else if read == 0 && written == 0 {
                return Err(damaged("the deflate segment does not end where it should"));
            }
            if self.inflate.total_out() > self.summary.length {
                return Err(damaged(
                    "the deflate segment holds more bytes than it should",
                ));
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests;

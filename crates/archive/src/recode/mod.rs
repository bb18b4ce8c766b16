//! Deflate streams written anew without looking for matches anew.
//!
//! Most of the time of compressing goes into finding what repeats. Where content was compressed before, that
//! is known: a [`Recoder`] inflates a gzip member and writes chosen parts of its content, with other bytes
//! between them, as a segment (see [`crate::segment`]) of the same matches. What a match referred to may be
//! gone: such bytes are written as they are. Blocks that are wanted whole, and refer to nothing else, are
//! taken over bit by bit. The result depends on the member's bytes and on what was chosen alone.

mod codes;
mod decode;
mod encode;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;

use crate::Limits;
use crate::deflate::{LONGEST, SHORTEST, Sequence, WINDOW};
use crate::limits::Meter;
use crate::segment::Summary;
use decode::{Block, Decoder, Made};
use encode::Encoder;

/// Bytes that are gathered before they are written.
const WRITTEN: usize = 1 << 16;

/// What a stream was made of, as far as it was read and not taken yet.
#[derive(Default)]
struct Trail {
    made: Made,
    /// The first sequence that is not taken whole.
    first: usize,
    /// Where that begins in the content.
    position: u64,
    /// The first block that may still be taken whole.
    block: usize,
}

/// Sequences that may wait to be taken, and bytes of blocks.
const MOST_WAITING: usize = 1 << 19;
const MOST_BYTES_WAITING: usize = 8 << 20;
/// Blocks of fewer bits are not worth that others end for them.
const LEAST_BITS: usize = 8 << 12;

impl Trail {
    fn add(&mut self, made: &mut Made) -> io::Result<()> {
        if self.first == self.made.sequences.len() {
            (self.first, self.block) = (0, 0);
            std::mem::swap(&mut self.made, made);
            return Ok(());
        }
        self.pass_blocks();
        let waiting = &mut self.made;
        if self.first > 0 {
            waiting.sequences.drain(..self.first);
            waiting.blocks.drain(..self.block);
            let bits = waiting.blocks.first().map(|block| block.bit / 8);
            let bytes = bits.unwrap_or(waiting.bits.len());
            waiting.bits.drain(..bytes);
            for block in &mut waiting.blocks {
                block.first -= self.first;
                block.end -= self.first;
                block.bit -= 8 * bytes;
            }
            (self.first, self.block) = (0, 0);
        }
        if waiting.sequences.len() > MOST_WAITING || waiting.bits.len() > MOST_BYTES_WAITING {
            return Err(misused("the recoder does not follow"));
        }
        let (sequences, bytes) = (waiting.sequences.len(), waiting.bits.len());
        waiting.blocks.extend(made.blocks.iter().map(|block| Block {
            first: block.first + sequences,
            end: block.end + sequences,
            bit: block.bit + 8 * bytes,
            ..*block
        }));
        waiting.sequences.extend_from_slice(&made.sequences);
        waiting.bits.extend_from_slice(&made.bits);
        Ok(())
    }

    /// Leaves out blocks of which some was taken: they are not taken whole any more.
    fn pass_blocks(&mut self) {
        let left = self.made.blocks.iter().skip(self.block);
        self.block += left.take_while(|block| block.first < self.first).count();
    }

    /// The block that begins here.
    fn block(&mut self) -> Option<Block> {
        self.pass_blocks();
        let block = self.made.blocks.get(self.block)?;
        // Of a sequence, a part may be taken already.
        (block.first == self.first && block.start == self.position).then_some(*block)
    }
}

fn misused(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// The content of a deflate stream. What it was made of is kept for the [`Recoder`] that was made with it,
/// which must follow: what is not taken yet is held in memory.
pub struct Source<R> {
    decoder: Option<Decoder<R>>,
    place: usize,
    trail: Rc<RefCell<Trail>>,
    crc: crc32fast::Hasher,
    meter: Meter,
    limits: Limits,
    stored: u64,
    rest: Option<(Vec<u8>, R)>,
}

/// How a stream ended.
pub struct Ended<R> {
    /// CRC-32 of its content.
    pub crc32: u32,
    /// Bytes of it.
    pub length: u64,
    /// Bytes of it that were stored, not compressed.
    pub stored: u64,
    /// What follows it: bytes that were read already, then what is left.
    pub rest: (Vec<u8>, R),
}

impl<R: Read> Source<R> {
    /// How the stream ended; none before all of its content was read.
    pub fn finish(self) -> Option<Ended<R>> {
        Some(Ended {
            crc32: self.crc.finalize(),
            length: self.meter.decompressed,
            stored: self.stored,
            rest: self.rest?,
        })
    }

    fn advance(&mut self) -> io::Result<()> {
        // An error leaves no decoder: nothing is given behind it.
        let Some(mut decoder) = self.decoder.take() else {
            return match self.rest {
                Some(_) => Ok(()),
                None => Err(misused("a stream is read on behind an error")),
            };
        };
        self.place = 0;
        decoder.advance()?;
        self.crc.update(decoder.chunk());
        self.meter.compressed = decoder.read;
        self.meter.decompressed += decoder.chunk().len() as u64;
        self.meter.check(&self.limits)?;
        self.trail.borrow_mut().add(&mut decoder.made)?;
        if decoder.chunk().is_empty() {
            self.stored = decoder.stored;
            self.rest = Some(decoder.rest()?);
        } else {
            self.decoder = Some(decoder);
        }
        Ok(())
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let there = self.fill_buf()?;
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let chunk = self.decoder.as_ref().map(Decoder::chunk);
        if chunk.is_none_or(|chunk| self.place == chunk.len()) {
            self.advance()?;
        }
        let chunk = self.decoder.as_ref().map(Decoder::chunk);
        Ok(&chunk.unwrap_or_default()[self.place..])
    }

    fn consume(&mut self, count: usize) {
        self.place += count;
    }
}

/// Content that was taken over in one piece.
struct Taken {
    /// Where, in the source's content.
    start: u64,
    end: u64,
    /// Where it begins in what is written.
    to: u64,
}

/// Writes a segment of parts of a [`Source`].
pub struct Recoder<W> {
    out: W,
    encoder: Encoder,
    trail: Rc<RefCell<Trail>>,
    taken: VecDeque<Taken>,
    /// What was put in last, and where.
    inserted: Vec<u8>,
    inserted_at: u64,
    /// Where the last block ends, in the source's content, that was taken over whole.
    block_end: u64,
    crc: crc32fast::Hasher,
    length: u64,
    deflated: u64,
}

/// A raw deflate stream as a source, and a recoder that writes parts of it into `out`.
pub fn recode<R: Read, W: Write>(deflate: R, out: W, limits: Limits) -> (Source<R>, Recoder<W>) {
    let trail = Rc::new(RefCell::new(Trail::default()));
    let source = Source {
        decoder: Some(Decoder::new(deflate)),
        place: 0,
        trail: Rc::clone(&trail),
        crc: crc32fast::Hasher::new(),
        meter: Meter::default(),
        limits,
        stored: 0,
        rest: None,
    };
    let recoder = Recoder {
        out,
        encoder: Encoder::new(),
        trail,
        taken: VecDeque::new(),
        inserted: Vec::new(),
        inserted_at: 0,
        block_end: 0,
        crc: crc32fast::Hasher::new(),
        length: 0,
        deflated: 0,
    };
    (source, recoder)
}

impl<W: Write> Recoder<W> {
    /// Writes bytes that the source doesn't have. They are compared with those put in before, which such as
    /// are headers resemble.
    pub fn insert(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.all_was_taken()?;
        let back = (self.length - self.inserted_at) as usize;
        let before = if back <= WINDOW {
            &self.inserted[..]
        } else {
            &[]
        };
        let mut place = 0;
        while place < bytes.len() {
            let rest = &bytes[place..];
            let equal = before.get(place..).map_or(0, |before| {
                let both = rest.iter().zip(before).take(LONGEST);
                both.take_while(|(byte, before)| byte == before).count()
            });
            let repeated = place.checked_sub(1).map_or(0, |last| {
                let last = bytes[last];
                rest.iter()
                    .take(LONGEST)
                    .take_while(|byte| **byte == last)
                    .count()
            });
            let (length, distance) = match repeated >= equal {
                true => (repeated, 1),
                false => (equal, back),
            };
            if length > SHORTEST {
                self.encoder.matching(length as u16, distance as u16);
                place += length;
            } else {
                self.encoder.literals(&rest[..1]);
                place += 1;
            }
        }
        self.inserted.clear();
        self.inserted.extend_from_slice(bytes);
        self.inserted_at = self.length;
        self.account(bytes)
    }

    /// Takes over `bytes`, which are those from `start` on of the source's content. All that follows them up
    /// to `until` has to be taken over next. Sources are taken over from their beginning to their end; what
    /// lies between is left out.
    ///
    /// # Errors
    /// They were not read yet, or not taken over as it was said before, or `out` fails.
    pub fn take(&mut self, start: u64, bytes: &[u8], until: u64) -> io::Result<()> {
        let end = start + bytes.len() as u64;
        match self.taken.back_mut() {
            Some(last) if last.end == start && last.to + (last.end - last.start) == self.length => {
                last.end = end;
            }
            _ => {
                self.pass(start)?;
                self.taken.push_back(Taken {
                    start,
                    end,
                    to: self.length,
                });
            }
        }
        let oldest = start.saturating_sub(WINDOW as u64);
        while self.taken.front().is_some_and(|taken| taken.end <= oldest) {
            self.taken.pop_front();
        }
        let trail = Rc::clone(&self.trail);
        let mut trail = trail.borrow_mut();
        while trail.position < end {
            if self.take_block(&mut trail, until) {
                continue;
            }
            self.take_whole(&mut trail, start, bytes);
            if trail.position < end {
                let rest = &bytes[(trail.position - start) as usize..];
                self.step(&mut trail, rest.len() as u64, Some(rest))?;
            }
        }
        drop(trail);
        self.account(bytes)
    }

    /// Leaves the source's content out up to `position`.
    ///
    /// # Errors
    /// It wasn't read yet, or was taken over already.
    pub fn pass(&mut self, position: u64) -> io::Result<()> {
        self.all_was_taken()?;
        let trail = Rc::clone(&self.trail);
        let mut trail = trail.borrow_mut();
        while trail.position < position {
            let left = position - trail.position;
            self.step(&mut trail, left, None)?;
        }
        match trail.position == position {
            true => Ok(()),
            false => Err(misused("content is left out that was taken over")),
        }
    }

    /// Whether all of the last block was given that was taken over whole.
    fn all_was_taken(&self) -> io::Result<()> {
        match self.taken.back() {
            Some(last) if last.end < self.block_end => Err(misused(
                "less is taken over than was said to follow what was taken before",
            )),
            _ => Ok(()),
        }
    }

    /// Takes over the block that begins here as it is, if it is all wanted, ends before `until` and refers to
    /// what was taken in the same piece alone.
    fn take_block(&mut self, trail: &mut Trail, until: u64) -> bool {
        let (Some(block), Some(last)) = (trail.block(), self.taken.back()) else {
            return false;
        };
        if block.start + block.length > until || block.bits < LEAST_BITS {
            return false;
        }
        let reachable = block.start - last.start;
        if reachable < WINDOW as u64 {
            let mut place = reachable;
            for sequence in &trail.made.sequences[block.first..block.end] {
                place += u64::from(sequence.literals);
                if sequence.length > 0 && u64::from(sequence.distance) > place {
                    return false;
                }
                place += u64::from(sequence.length);
            }
        }
        self.encoder.block(&trail.made.bits, block.bit, block.bits);
        trail.first = block.end;
        trail.position = block.start + block.length;
        self.block_end = trail.position;
        true
    }

    /// Takes over sequences as they are while they lie within `bytes`, which begin at `start`, and refer to
    /// what was taken in the same piece.
    fn take_whole(&mut self, trail: &mut Trail, start: u64, bytes: &[u8]) {
        let Some(last) = self.taken.back() else {
            return;
        };
        let reachable = (start - last.start) as usize;
        let mut place = (trail.position - start) as usize;
        let before = trail.first;
        for sequence in &trail.made.sequences[before..] {
            let literals = sequence.literals as usize;
            let matching = place + literals;
            let is_plain = sequence.length >= SHORTEST as u16
                && usize::from(sequence.distance) <= reachable + matching
                && matching + usize::from(sequence.length) <= bytes.len();
            if !is_plain {
                break;
            }
            if literals > 0 {
                self.encoder.literals(&bytes[place..matching]);
            }
            self.encoder.matching(sequence.length, sequence.distance);
            place = matching + usize::from(sequence.length);
            trail.first += 1;
        }
        trail.position = start + place as u64;
    }

    /// Goes over at most `most` bytes of the first sequence, taking over those given.
    fn step(&mut self, trail: &mut Trail, most: u64, bytes: Option<&[u8]>) -> io::Result<()> {
        let position = trail.position;
        let Some(sequence) = trail.made.sequences.get_mut(trail.first) else {
            return Err(misused("content is taken over that was not read yet"));
        };
        let gone = if sequence.literals > 0 {
            let count = u64::from(sequence.literals).min(most);
            sequence.literals -= count as u32;
            if let Some(bytes) = bytes {
                self.encoder.literals(&bytes[..count as usize]);
            }
            count
        } else if sequence.length > 0 {
            let count = u64::from(sequence.length).min(most);
            let distance = sequence.distance;
            sequence.length -= count as u16;
            // Else it would be taken for the end of a block.
            if sequence.length == 0 {
                sequence.distance = 0;
            }
            if let Some(bytes) = bytes {
                self.matching(position, distance, &bytes[..count as usize]);
            }
            count
        } else {
            0
        };
        if sequence.literals == 0 && sequence.length == 0 {
            if sequence.distance == Sequence::BLOCK_END {
                self.encoder.may_end_block();
            }
            trail.first += 1;
        }
        trail.position += gone;
        if self.encoder.blocks.bytes.len() >= WRITTEN {
            self.write_out()?;
        }
        Ok(())
    }

    /// A match of the source's at `position`: as far as what it refers to was taken over too.
    fn matching(&mut self, position: u64, distance: u16, mut bytes: &[u8]) {
        let Some(last) = self.taken.back() else {
            return;
        };
        let (start, to) = (last.start, last.to);
        let mut position = position;
        while !bytes.is_empty() {
            let from = position - u64::from(distance);
            let mut length = bytes.len();
            let mut found = None;
            if from >= start {
                found = Some(u64::from(distance));
            } else {
                // The piece that `from` is in, or the first behind it.
                let place = self.taken.partition_point(|taken| taken.end <= from);
                if let Some(taken) = self.taken.get(place) {
                    if taken.start <= from {
                        length = length.min((taken.end - from) as usize);
                        found = Some((to + position - start) - (taken.to + from - taken.start));
                    } else {
                        length = length.min((taken.start - from) as usize);
                    }
                }
            }
            let (these, rest) = bytes.split_at(length);
            match found {
                Some(distance) if distance <= WINDOW as u64 && length >= SHORTEST => {
                    self.encoder.matching(length as u16, distance as u16);
                }
                _ => self.encoder.literals(these),
            }
            bytes = rest;
            position += length as u64;
        }
    }

    fn account(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
        match self.encoder.blocks.bytes.len() < WRITTEN {
            true => Ok(()),
            false => self.write_out(),
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.deflated += self.encoder.blocks.bytes.len() as u64;
        self.out.write_all(&self.encoder.blocks.bytes)?;
        self.encoder.blocks.bytes.clear();
        Ok(())
    }

    /// Bytes of content written so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Ends the segment, and gives back the stream beneath.
    ///
    /// # Errors
    /// Less was taken over than was said, or `out` fails.
    pub fn finish(mut self) -> io::Result<(W, Summary)> {
        self.all_was_taken()?;
        self.encoder.flush();
        self.write_out()?;
        let summary = Summary {
            crc32: self.crc.finalize(),
            length: self.length,
            deflated: self.deflated,
        };
        Ok((self.out, summary))
    }
}

#[cfg(test)]
mod tests;

//! Inflating that remembers of what matches and literals its output was made.

use std::io::{self, Read};

use super::codes::{Here, PIECE, Run, Stop, Tables};
use crate::deflate::huffman::{
    DISTANCE_BITS, LITERAL_BITS, SPECIAL, VALUE, decoding_table, distance_entry, literal_entry,
};
use crate::deflate::{Sequence, WINDOW};

/// Output after which a chunk ends with the block that is being read.
const CHUNK: usize = 128 << 10;
/// Output after which it ends within a block.
const LARGEST_CHUNK: usize = 1 << 20;

/// Sequences of one chunk: each byte has one at most, and blocks that hold none are few.
const MAXIMUM_SEQUENCES: usize = 2 * LARGEST_CHUNK;
/// What may be written behind a chunk: a match, in pieces.
const SLACK: usize = 258 + PIECE;
const INPUT: usize = 256 << 10;
/// Input of the present block that is kept while it is read.
const LONGEST_KEPT: usize = INPUT / 2;
/// Input that a table of codes, or a match with literals before it, is surely read from.
const AHEAD: usize = 512;

impl Sequence {
    /// The distance of what has no match, and ends its block.
    pub(super) const BLOCK_END: u16 = 1;
}

/// Inflates a raw deflate stream in chunks.
pub(super) struct Decoder<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    at_end: bool,
    bits: u64,
    count: u32,
    output: Box<[u8]>,
    /// How much of `output` is there: the window, then the present chunk.
    filled: usize,
    /// Where the present chunk begins.
    begin: usize,
    /// Bytes of content before it.
    before: u64,
    state: State,
    is_last: bool,
    literals: Vec<u32>,
    distances: Vec<u32>,
    /// Where the present block begins in the input, if all of it is still there.
    block: Option<Mark>,
    /// What the present chunk was made of.
    pub(super) made: Made,
    /// Bytes that stored blocks held.
    pub(super) stored: u64,
    /// Bytes of input that were read.
    pub(super) read: u64,
}

/// What content was made of.
#[derive(Default)]
pub(super) struct Made {
    pub(super) sequences: Vec<Sequence>,
    /// Blocks of codes that lie in it whole, in their order.
    pub(super) blocks: Vec<Block>,
    /// The bits of these blocks.
    pub(super) bits: Vec<u8>,
}

/// A whole block.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Its sequences.
    pub(super) first: usize,
    pub(super) end: usize,
    /// Where it begins in the content, and how much of that it is.
    pub(super) start: u64,
    pub(super) length: u64,
    /// Where its bits begin, and how many they are.
    pub(super) bit: usize,
    pub(super) bits: usize,
}

/// Where a block begins.
#[derive(Clone, Copy)]
struct Mark {
    /// Bits of the buffer before it.
    bit: usize,
    /// Bytes of the output before it.
    output: usize,
    sequence: usize,
}

enum State {
    Header,
    Stored(usize),
    Codes,
    Done,
}

pub(super) fn damaged(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<R: Read> Decoder<R> {
    pub(super) fn new(input: R) -> Decoder<R> {
        Decoder {
            input,
            buffer: vec![0; INPUT + AHEAD].into(),
            start: 0,
            end: 0,
            at_end: false,
            bits: 0,
            count: 0,
            output: vec![0; WINDOW + LARGEST_CHUNK + SLACK].into(),
            filled: 0,
            begin: 0,
            before: 0,
            state: State::Header,
            is_last: false,
            literals: Vec::new(),
            distances: Vec::new(),
            block: None,
            made: Made::default(),
            stored: 0,
            read: 0,
        }
    }

    /// The present chunk.
    pub(super) fn chunk(&self) -> &[u8] {
        &self.output[self.begin..self.filled]
    }

    /// Makes the next chunk; at the end of the stream it is empty.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        self.before += (self.filled - self.begin) as u64;
        let kept = self.filled.min(WINDOW);
        self.output.copy_within(self.filled - kept..self.filled, 0);
        (self.begin, self.filled) = (kept, kept);
        self.made.sequences.clear();
        self.made.blocks.clear();
        self.made.bits.clear();
        // What is left of a block that the last chunk ended in.
        self.block = None;
        let full = kept + LARGEST_CHUNK;
        while self.filled < full {
            // Blocks may be empty, and any number of them comes to nothing.
            if self.made.sequences.len() > MAXIMUM_SEQUENCES {
                return Err(io::Error::other("the stream has too many empty blocks"));
            }
            if self.filled >= kept + CHUNK && !matches!(self.state, State::Codes) {
                break;
            }
            match self.state {
                State::Header => self.block()?,
                State::Stored(left) => self.stored(left, full)?,
                State::Codes => self.codes(full)?,
                State::Done => break,
            }
        }
        Ok(())
    }

    /// The input's bytes that follow the stream, once that has ended: some that were read already.
    pub(super) fn rest(mut self) -> io::Result<(Vec<u8>, R)> {
        self.give_back()?;
        Ok((self.buffer[self.start..self.end].to_vec(), self.input))
    }

    /// Bits that were taken as whole bytes, and not used, go back.
    fn give_back(&mut self) -> io::Result<()> {
        let unused = (self.count / 8) as usize;
        self.start -= unused;
        self.bits = 0;
        self.count = 0;
        if self.start > self.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Has at least [`AHEAD`] bytes of input, or zeros behind its end.
    fn fill(&mut self) -> io::Result<()> {
        if self.start > self.end + 8 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.end.saturating_sub(self.start) >= AHEAD || self.at_end {
            return Ok(());
        }
        // Up to eight bytes before may have to be given back.
        let mut kept = self.start.saturating_sub(8);
        match &mut self.block {
            Some(Mark { bit, .. }) if self.end - *bit / 8 <= LONGEST_KEPT => {
                kept = kept.min(*bit / 8);
                *bit -= 8 * kept;
            }
            block => *block = None,
        }
        self.buffer.copy_within(kept..self.end, 0);
        self.start -= kept;
        self.end -= kept;
        while self.end < INPUT {
            match self.input.read(&mut self.buffer[self.end..INPUT]) {
                Ok(0) => {
                    self.at_end = true;
                    self.buffer[self.end..].fill(0);
                    break;
                }
                Ok(count) => {
                    self.end += count;
                    self.read += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// At least 56 bits.
    fn refill(&mut self) {
        let mut here = Here {
            bits: self.bits,
            count: self.count,
            start: self.start,
        };
        here.refill(&self.buffer);
        (self.bits, self.count, self.start) = (here.bits, here.count, here.start);
    }

    fn take(&mut self, count: u32) -> u32 {
        let value = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.count -= count;
        value as u32
    }

    fn block(&mut self) -> io::Result<()> {
        if self.is_last {
            self.state = State::Done;
            return Ok(());
        }
        self.fill()?;
        self.refill();
        let begin = Mark {
            bit: 8 * self.start - self.count as usize,
            output: self.filled,
            sequence: self.made.sequences.len(),
        };
        self.is_last = self.take(1) == 1;
        match self.take(2) {
            0 => {
                let odd = self.count % 8;
                self.take(odd);
                self.give_back()?;
                self.fill()?;
                let Some(&[a, b, c, d]) = self.buffer[self.start..self.end].first_chunk::<4>()
                else {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                };
                if [a, b] != [!c, !d] {
                    return Err(damaged("a stored block has a wrong length"));
                }
                self.start += 4;
                self.state = State::Stored(usize::from(u16::from_le_bytes([a, b])));
            }
            1 => {
                let mut lengths = [8u8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                self.tables(&lengths, &[5; 32])?;
                self.block = Some(begin);
            }
            2 => {
                self.dynamic()?;
                self.block = Some(begin);
            }
            _ => return Err(damaged("a block is of no kind that exists")),
        }
        Ok(())
    }

    fn tables(&mut self, literals: &[u8], distances: &[u8]) -> io::Result<()> {
        let is_code = literals.get(256).is_some_and(|end| *end > 0)
            && decoding_table(literals, LITERAL_BITS, literal_entry, &mut self.literals)
            && decoding_table(
                distances,
                DISTANCE_BITS,
                distance_entry,
                &mut self.distances,
            );
        if !is_code {
            return Err(damaged("a block's codes are none"));
        }
        self.state = State::Codes;
        Ok(())
    }

    fn dynamic(&mut self) -> io::Result<()> {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let literals = self.take(5) as usize + 257;
        let distances = self.take(5) as usize + 1;
        let codes = self.take(4) as usize + 4;
        if literals > 286 || distances > 30 {
            return Err(damaged("a block has more codes than there are"));
        }
        let mut lengths = [0u8; 19];
        for place in &ORDER[..codes] {
            self.refill();
            lengths[*place] = self.take(3) as u8;
        }
        let mut table = Vec::new();
        if !decoding_table(&lengths, 7, |symbol| (symbol as u32) << VALUE, &mut table) {
            return Err(damaged("a block's lengths have no codes"));
        }
        let mut lengths = [0u8; 286 + 30];
        let mut place = 0;
        while place < literals + distances {
            self.refill();
            let entry = table[(self.bits & 127) as usize];
            if entry & SPECIAL != 0 {
                return Err(damaged("a block's lengths have another code"));
            }
            self.take(entry & 0xff);
            let (value, count) = match entry >> VALUE {
                16 => {
                    let before = place.checked_sub(1).map(|before| lengths[before]);
                    let before = before.ok_or_else(|| damaged("a length repeats nothing"))?;
                    (before, 3 + self.take(2))
                }
                17 => (0, 3 + self.take(3)),
                18 => (0, 11 + self.take(7)),
                length => (length as u8, 1),
            };
            let Some(run) = lengths[..literals + distances].get_mut(place..place + count as usize)
            else {
                return Err(damaged("a block has more lengths than codes"));
            };
            run.fill(value);
            place += count as usize;
        }
        let (literals, distances) = lengths[..literals + distances].split_at(literals);
        self.tables(literals, distances)
    }

    fn stored(&mut self, left: usize, full: usize) -> io::Result<()> {
        let count = left.min(full - self.filled);
        let mut copied = 0;
        while copied < count {
            self.fill()?;
            let there = &self.buffer[self.start..self.end];
            if there.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let some = there.len().min(count - copied);
            self.output[self.filled..self.filled + some].copy_from_slice(&there[..some]);
            self.filled += some;
            self.start += some;
            copied += some;
        }
        self.stored += count as u64;
        let is_end = count == left;
        self.made.sequences.push(Sequence {
            literals: count as u32,
            length: 0,
            distance: u16::from(is_end) * Sequence::BLOCK_END,
        });
        self.state = match is_end {
            true => State::Header,
            false => State::Stored(left - count),
        };
        Ok(())
    }

    /// Decodes until the chunk is full or the block ends.
    fn codes(&mut self, full: usize) -> io::Result<()> {
        let mut run = Run {
            here: Here {
                bits: self.bits,
                count: self.count,
                start: self.start,
            },
            filled: self.filled,
            literals: 0,
        };
        let is_end = loop {
            self.start = run.here.start;
            self.fill()?;
            run.here.start = self.start;
            let tables = Tables {
                literals: &self.literals,
                distances: &self.distances,
            };
            let sequences = &mut self.made.sequences;
            // Near the input's end, where zeros follow it, once around at a time.
            let until = self.end.saturating_sub(AHEAD).max(self.start + 1);
            match run.decode(
                &tables,
                &self.buffer,
                until,
                &mut self.output,
                full,
                sequences,
            )? {
                Stop::Input => {}
                Stop::Full => break false,
                Stop::End => break true,
            }
        };
        let Run {
            here,
            filled,
            literals,
        } = run;
        (self.bits, self.count, self.start) = (here.bits, here.count, here.start);
        self.filled = filled;
        if self.start > self.end + (self.count / 8) as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if literals > 0 || is_end {
            self.made.sequences.push(Sequence {
                literals,
                length: 0,
                distance: u16::from(is_end) * Sequence::BLOCK_END,
            });
        }
        if is_end {
            self.state = State::Header;
            self.end_block();
        }
        Ok(())
    }

    /// Keeps the bits of the block that was read, if they are there.
    fn end_block(&mut self) {
        let Some(mark) = self.block.take() else {
            return;
        };
        let end = 8 * self.start - self.count as usize;
        let Made {
            sequences,
            blocks,
            bits,
        } = &mut self.made;
        blocks.push(Block {
            first: mark.sequence,
            end: sequences.len(),
            start: self.before + (mark.output - self.begin) as u64,
            length: (self.filled - mark.output) as u64,
            bit: 8 * bits.len() + mark.bit % 8,
            bits: end - mark.bit,
        });
        bits.extend_from_slice(&self.buffer[mark.bit / 8..end.div_ceil(8)]);
    }
}

//! How matches are found in content that nothing is known of.
//!
//! Two tables hold the places that were seen last: by four bytes and by seven. A match of seven bytes is
//! taken as it is; before a shorter one is taken, one of seven that begins a byte later is looked for. That
//! is about what zlib finds at its level 3, at two looks for each byte that no match covers.

use std::ops::Range;

use super::{Blocks, Counts, LONGEST, Sequence, WINDOW};

/// Places in each table: 32 KiB, which the first caches of processors hold beside the window's newest part.
const PLACES: usize = 1 << 14;
/// Literals and matches after which a block ends: with more, its codes fit all parts of it less; with
/// fewer, the codes themselves take more.
const MOST: usize = 10 << 10;
/// Bytes in a row without a match, in powers of two, after which one more is passed over with each look.
const PATIENCE: u32 = 6;
/// Bytes at the end that are no longer looked at: two looks read so many.
const TAIL: usize = 9;

/// The lowest 16 bits of places. What is older than that is taken for newer, which comparing the bytes
/// rights.
type Places = [u16; PLACES];

/// Finds matches in one piece of content.
pub(crate) struct Matcher {
    short: Box<Places>,
    long: Box<Places>,
    block: Block,
}

/// What a block is made of so far.
struct Block {
    sequences: Vec<Sequence>,
    counts: Counts,
    /// Literals and matches, but for the literals behind the last match.
    symbols: usize,
    begin: usize,
    /// Where the last match ends.
    matched: usize,
}

impl Block {
    fn end(&mut self, bytes: &[u8], at: usize, blocks: &mut Blocks) {
        if self.begin < at {
            blocks.block::<true>(&self.sequences, &bytes[self.begin..at], &self.counts);
        }
        self.start(at);
    }

    fn start(&mut self, at: usize) {
        self.sequences.clear();
        self.counts = Counts::new();
        self.symbols = 0;
        (self.begin, self.matched) = (at, at);
    }
}

impl Matcher {
    /// A matcher that may refer to what stands before `start`.
    pub(crate) fn new(bytes: &[u8], start: usize) -> Matcher {
        let mut matcher = Matcher {
            short: Box::new([0; PLACES]),
            long: Box::new([0; PLACES]),
            block: Block {
                sequences: Vec::with_capacity(MOST / 2),
                counts: Counts::new(),
                symbols: 0,
                begin: start,
                matched: start,
            },
        };
        for at in start.saturating_sub(WINDOW)..start {
            remember(bytes, at, &mut matcher.short, &mut matcher.long);
        }
        matcher
    }

    /// Writes `run` of `bytes` as blocks. Runs follow one another; the bytes are always the same.
    pub(crate) fn deflate(&mut self, bytes: &[u8], run: Range<usize>, blocks: &mut Blocks) {
        let bytes = &bytes[..run.end];
        let Matcher { short, long, block } = self;
        let (short, long): (&mut Places, &mut Places) = (short, long);
        block.start(run.start);
        let stop = bytes.len().saturating_sub(TAIL);
        let mut at = run.start;
        let mut missed = 0usize;
        while at < stop {
            let here = eight(bytes, at);
            let (by_four, by_seven) = (&mut short[four_hash(here)], &mut long[seven_hash(here)]);
            let (four, four_distance) = differs(bytes, at, here, *by_four);
            let (seven, seven_distance) = differs(bytes, at, here, *by_seven);
            (*by_four, *by_seven) = (at as u16, at as u16);
            let (mut length, mut distance);
            if seven << 8 == 0 {
                distance = seven_distance;
                length = equal(bytes, at, distance, 7);
            } else if four as u32 == 0 {
                distance = four_distance;
                length = match four {
                    0 => equal(bytes, at, distance, 8),
                    _ => (four.trailing_zeros() / 8) as usize,
                };
                let next = eight(bytes, at + 1);
                let (seven, further) = differs(bytes, at + 1, next, long[seven_hash(next)]);
                if seven << 8 == 0 {
                    let longer = equal(bytes, at + 1, further, 7);
                    if longer > length {
                        block.counts.literals(&bytes[at..=at]);
                        (at, length, distance) = (at + 1, longer, further);
                    }
                }
            } else {
                let next = (at + 1 + (missed >> PATIENCE)).min(bytes.len());
                missed += 1;
                block.counts.literals(&bytes[at..next]);
                at = next;
                if block.symbols + (at - block.matched) >= MOST {
                    block.end(bytes, at, blocks);
                }
                continue;
            }
            missed = 0;
            let end = at + length;
            let sequence = Sequence {
                literals: (at - block.matched) as u32,
                length: length as u16,
                distance: distance as u16,
            };
            block.symbols += at - block.matched + 1;
            block.matched = end;
            block.counts.matching(sequence.length, sequence.distance);
            block.sequences.push(sequence);
            // Up to eight bytes at once, some twice: how long a match is can't be foretold.
            for at in at + 1..at + 4 {
                remember(bytes, at, short, long);
            }
            if length > 4 {
                for at in end - 4..end {
                    remember(bytes, at, short, long);
                }
                for at in (at + 4..end - 4).step_by(4) {
                    for at in at..at + 4 {
                        remember(bytes, at, short, long);
                    }
                }
            }
            at = end;
            if block.symbols >= MOST {
                block.end(bytes, at, blocks);
            }
        }
        block.counts.literals(&bytes[at..]);
        block.end(bytes, bytes.len(), blocks);
    }
}

#[inline(always)]
fn remember(bytes: &[u8], at: usize, short: &mut Places, long: &mut Places) {
    let here = eight(bytes, at);
    short[four_hash(here)] = at as u16;
    long[seven_hash(here)] = at as u16;
}

/// Of the first four of eight bytes.
#[inline(always)]
fn four_hash(bytes: u64) -> usize {
    const RATIO: u32 = 0x9e37_79b1;
    ((bytes as u32).wrapping_mul(RATIO) >> (u32::BITS - PLACES.ilog2())) as usize
}

/// Of the first seven.
#[inline(always)]
fn seven_hash(bytes: u64) -> usize {
    const RATIO: u64 = 0x9e37_79b1_85eb_ca87;
    ((bytes << 8).wrapping_mul(RATIO) >> (u64::BITS - PLACES.ilog2())) as usize
}

/// Eight bytes, the first one lowest; none are there behind the end, where nothing is looked for.
#[inline(always)]
fn eight(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..).and_then(|rest| rest.first_chunk());
    eight.map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// In which bits the eight bytes at `at` differ from those at a place that was seen, and how far back that
/// is. Where nothing can be referred to, the first bit is set.
#[inline(always)]
fn differs(bytes: &[u8], at: usize, here: u64, place: u16) -> (u64, usize) {
    let distance = usize::from((at as u16).wrapping_sub(place));
    let is_beyond = distance.wrapping_sub(1) >= at.min(WINDOW);
    // Whether it is can't be foretold: then the bytes are compared with themselves.
    let back = distance & usize::from(is_beyond).wrapping_sub(1);
    let difference = eight(bytes, at - back) ^ here;
    (difference | u64::from(is_beyond), distance)
}

/// How many bytes at `at` are those `distance` before, `known` of them being so.
#[inline(always)]
fn equal(bytes: &[u8], at: usize, distance: usize, known: usize) -> usize {
    let most = LONGEST.min(bytes.len() - at);
    let mut length = known;
    while length + 8 <= most {
        let difference = eight(bytes, at + length) ^ eight(bytes, at + length - distance);
        if difference != 0 {
            return length + (difference.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    while length < most && bytes[at + length] == bytes[at + length - distance] {
        length += 1;
    }
    length
}

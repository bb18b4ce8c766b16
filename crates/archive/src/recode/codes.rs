//! Decoding the codes of a block: where most of the time of inflating goes.

use std::io;

use super::decode::damaged;
use crate::deflate::Sequence;
use crate::deflate::huffman::{DISTANCE_BITS, END, LITERAL, LITERAL_BITS, SECOND, SPECIAL, VALUE};

/// The codes of a block.
pub(super) struct Tables<'t> {
    pub(super) literals: &'t [u32],
    pub(super) distances: &'t [u32],
}

/// Why decoding stopped.
pub(super) enum Stop {
    /// More input is wanted.
    Input,
    /// So much output is there.
    Full,
    /// The block has ended.
    End,
}

/// How far decoding has come.
pub(super) struct Run {
    pub(super) here: Here,
    pub(super) filled: usize,
    /// Literals since the last match.
    pub(super) literals: u32,
}

impl Run {
    /// Decodes while input is read before `until` and less than `full` is written. All that it works on is
    /// given to it by itself, so that it may stay in registers.
    #[inline(never)]
    pub(super) fn decode(
        &mut self,
        tables: &Tables<'_>,
        input: &[u8],
        until: usize,
        output: &mut [u8],
        full: usize,
        sequences: &mut Vec<Sequence>,
    ) -> io::Result<Stop> {
        const LITERALS: usize = 1 << LITERAL_BITS;
        const DISTANCES: usize = 1 << DISTANCE_BITS;
        let (Some(literal_codes), Some(distance_codes)) = (
            tables.literals.first_chunk::<LITERALS>(),
            tables.distances.first_chunk::<DISTANCES>(),
        ) else {
            return Err(damaged("a block's codes are none"));
        };
        let mut here = self.here;
        let mut filled = self.filled;
        let mut literals = self.literals;
        here.refill(input);
        let mut entry = here.look_up(literal_codes);
        let stop = loop {
            if filled >= full {
                break Stop::Full;
            }
            if here.start >= until {
                break Stop::Input;
            }
            // Each has at most eleven bits, of 56.
            if entry & LITERAL != 0 {
                let Some(room) = output[filled..].first_chunk_mut::<3>() else {
                    break Stop::Full;
                };
                room[0] = here.literal(entry);
                entry = here.look_up(literal_codes);
                if entry & LITERAL == 0 {
                    filled += 1;
                    literals += 1;
                } else {
                    room[1] = here.literal(entry);
                    entry = here.look_up(literal_codes);
                    if entry & LITERAL == 0 {
                        filled += 2;
                        literals += 2;
                    } else {
                        room[2] = here.literal(entry);
                        filled += 3;
                        literals += 3;
                        here.refill(input);
                        entry = here.look_up(literal_codes);
                        continue;
                    }
                }
                here.refill(input);
            }
            if entry & SPECIAL != 0 {
                if entry & SECOND != 0 {
                    entry = here.look_up_again(tables.literals, entry);
                    if entry & LITERAL != 0 {
                        output[filled] = here.literal(entry);
                        filled += 1;
                        literals += 1;
                        here.refill(input);
                        entry = here.look_up(literal_codes);
                        continue;
                    }
                }
                if entry & SPECIAL != 0 {
                    if entry & END == 0 {
                        return Err(damaged("a code has no meaning"));
                    }
                    here.drop(entry & 0xff);
                    break Stop::End;
                }
            }
            let length = here.value(entry);
            let mut from = here.look_up(distance_codes);
            if from & SPECIAL != 0 {
                if from & SECOND != 0 {
                    from = here.look_up_again(tables.distances, from);
                }
                if from & SPECIAL != 0 {
                    return Err(damaged("a distance has no meaning"));
                }
            }
            let distance = here.value(from);
            if distance > filled {
                return Err(damaged("a match begins before the stream"));
            }
            // Looked up before the copy, which it need not wait for.
            here.refill(input);
            entry = here.look_up(literal_codes);
            copy(output, filled, distance, length);
            filled += length;
            sequences.push(Sequence {
                literals,
                length: length as u16,
                distance: distance as u16,
            });
            literals = 0;
        };
        *self = Run {
            here,
            filled,
            literals,
        };
        Ok(stop)
    }
}

/// Where the input is read.
#[derive(Clone, Copy)]
pub(super) struct Here {
    pub(super) bits: u64,
    pub(super) count: u32,
    pub(super) start: usize,
}

impl Here {
    /// At least 56 bits.
    #[inline(always)]
    pub(super) fn refill(&mut self, input: &[u8]) {
        if let Some(bytes) = input.get(self.start..).and_then(<[u8]>::first_chunk::<8>) {
            self.bits |= u64::from_le_bytes(*bytes) << self.count;
            self.start += ((63 - self.count) >> 3) as usize;
            self.count |= 56;
        }
    }

    #[inline(always)]
    fn drop(&mut self, count: u32) {
        self.bits >>= count & 63;
        self.count = self.count.wrapping_sub(count);
    }

    #[inline(always)]
    fn low(&self, count: u32) -> usize {
        (self.bits & ((1 << (count & 63)) - 1)) as usize
    }

    #[inline(always)]
    fn look_up<const SIZE: usize>(&self, table: &[u32; SIZE]) -> u32 {
        table[self.bits as usize % SIZE]
    }

    /// Looks up what a first look-up found to be longer than its bits.
    #[inline(always)]
    fn look_up_again(&mut self, table: &[u32], entry: u32) -> u32 {
        self.drop(entry & 0xff);
        let place = (entry >> VALUE & 0xffff) as usize + self.low(entry >> 8 & 15);
        table.get(place).copied().unwrap_or(SPECIAL)
    }

    #[inline(always)]
    fn literal(&mut self, entry: u32) -> u8 {
        self.drop(entry & 0xff);
        (entry >> VALUE) as u8
    }

    /// A length or a distance, with the bits that follow its code.
    #[inline(always)]
    fn value(&mut self, entry: u32) -> usize {
        let value = (entry >> VALUE & 0x7fff) as usize;
        let more = self.low(entry & 0xff) >> (entry >> 8 & 15);
        self.drop(entry & 0xff);
        value + more
    }
}

/// Bytes that are copied at a time.
pub(super) const PIECE: usize = 32;

/// Copies a match, in pieces of which the last may be too long.
#[inline(always)]
fn copy(output: &mut [u8], to: usize, distance: usize, length: usize) {
    let from = to - distance;
    if distance >= PIECE {
        output.copy_within(from..from + PIECE, to);
        let mut done = PIECE;
        while done < length {
            output.copy_within(from + done..from + done + PIECE, to + done);
            done += PIECE;
        }
    } else if distance == 1 {
        let byte = output[from];
        output[to..to + length].fill(byte);
    } else {
        copy_near(output, to, distance, length);
    }
}

/// Copies a match that repeats itself, or nearly: what was copied is copied with it, twice as much each time.
fn copy_near(output: &mut [u8], to: usize, distance: usize, length: usize) {
    let from = to - distance;
    let mut done = 0;
    while done < length {
        let count = (distance + done).min(length - done);
        output.copy_within(from..from + count, to + done);
        done += count;
    }
}

//! Deflate blocks of given matches and literals.

use super::decode::Sequence;
use super::huffman::{LONGEST, codes_of, distance_code, length_code, lengths_of};

/// Literals and matches after which a block ends at the latest.
const MOST: usize = 1 << 16;
/// Fewer are not worth the codes of a block of their own.
const LEAST: usize = 1 << 12;
const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// The longest code of a code's length.
const LONGEST_OF_LENGTHS: usize = 7;
const LONGEST_STORED: usize = u16::MAX as usize;

/// Writes deflate blocks, none of which is the last.
pub(super) struct Encoder {
    /// What is finished.
    pub(super) bytes: Vec<u8>,
    bits: u64,
    count: u32,
    sequences: Vec<Sequence>,
    literals: Vec<u8>,
    /// Literals behind the last match.
    behind: u32,
}

impl Encoder {
    pub(super) fn new() -> Encoder {
        Encoder {
            bytes: Vec::new(),
            bits: 0,
            count: 0,
            sequences: Vec::new(),
            literals: Vec::new(),
            behind: 0,
        }
    }

    #[inline]
    pub(super) fn literals(&mut self, bytes: &[u8]) {
        if let [byte] = bytes {
            self.literals.push(*byte);
            self.behind += 1;
            if self.literals.len() >= MOST {
                self.end_block();
            }
            return;
        }
        for bytes in bytes.chunks(MOST) {
            self.literals.extend_from_slice(bytes);
            self.behind += bytes.len() as u32;
            if self.literals.len() >= MOST {
                self.end_block();
            }
        }
    }

    /// A match: a length from 3 to 258, a distance from 1 to 32768.
    #[inline]
    pub(super) fn matching(&mut self, length: u16, distance: u16) {
        self.sequences.push(Sequence {
            literals: std::mem::take(&mut self.behind),
            length,
            distance,
        });
        if self.sequences.len() >= MOST {
            self.end_block();
        }
    }

    /// Where a block is well ended, if it is long enough by now.
    pub(super) fn may_end_block(&mut self) {
        if self.sequences.len() + self.literals.len() >= LEAST {
            self.end_block();
        }
    }

    /// Ends at a byte's boundary, with an empty stored block.
    pub(super) fn flush(&mut self) {
        self.end_block();
        self.put(0, 3);
        self.align();
        self.bytes.extend_from_slice(&[0, 0, 0xff, 0xff]);
    }

    fn align(&mut self) {
        self.count = self.count.next_multiple_of(8);
        self.write_out();
    }

    fn write_out(&mut self) {
        let whole = (self.count / 8) as usize;
        self.bytes
            .extend_from_slice(&self.bits.to_le_bytes()[..whole]);
        self.bits = self.bits.checked_shr(8 * whole as u32).unwrap_or(0);
        self.count %= 8;
    }

    /// At most 32 bits.
    fn put(&mut self, value: u32, count: u32) {
        if self.count + count >= 64 {
            self.write_out();
        }
        self.bits |= u64::from(value) << self.count;
        self.count += count;
    }

    fn end_block(&mut self) {
        if self.sequences.is_empty() && self.literals.is_empty() {
            return;
        }
        let (mut literals, mut distances) = ([0u32; 286], [0u32; 30]);
        // Four counts each, so that one byte after the same needs not wait.
        let mut counts = [[0u32; 256]; 4];
        let mut quads = self.literals.chunks_exact(4);
        for quad in &mut quads {
            for (counts, byte) in counts.iter_mut().zip(quad) {
                counts[usize::from(*byte)] += 1;
            }
        }
        for byte in quads.remainder() {
            counts[0][usize::from(*byte)] += 1;
        }
        for (byte, all) in literals.iter_mut().take(256).enumerate() {
            *all = counts.iter().map(|counts| counts[byte]).sum();
        }
        literals[256] = 1;
        let mut extra_bits = 0;
        for sequence in &self.sequences {
            let (code, extra, _) = length_code(sequence.length);
            literals[257 + code] += 1;
            extra_bits += u64::from(extra);
            let (code, extra, _) = distance_code(sequence.distance);
            distances[code] += 1;
            extra_bits += u64::from(extra);
        }
        let (mut literal_lengths, mut distance_lengths) = ([0u8; 286], [0u8; 30]);
        lengths_of(&literals, LONGEST, &mut literal_lengths);
        lengths_of(&distances, LONGEST, &mut distance_lengths);
        let bits = |frequencies: &[u32], lengths: &[u8]| -> u64 {
            let both = frequencies.iter().zip(lengths);
            both.map(|(frequency, length)| u64::from(*frequency) * u64::from(*length))
                .sum()
        };
        let coded =
            extra_bits + bits(&literals, &literal_lengths) + bits(&distances, &distance_lengths);
        let stored =
            8 * (self.literals.len() + 5 * self.literals.len().div_ceil(LONGEST_STORED)) as u64;
        if self.sequences.is_empty() && stored < coded {
            self.store();
        } else {
            self.header(&literal_lengths, &distance_lengths);
            self.body(&literal_lengths, &distance_lengths, coded);
        }
        self.sequences.clear();
        self.literals.clear();
        self.behind = 0;
    }

    fn store(&mut self) {
        let literals = std::mem::take(&mut self.literals);
        for block in literals.chunks(LONGEST_STORED) {
            self.put(0, 3);
            self.align();
            let length = block.len() as u16;
            self.bytes.extend_from_slice(&length.to_le_bytes());
            self.bytes.extend_from_slice(&(!length).to_le_bytes());
            self.bytes.extend_from_slice(block);
        }
        self.literals = literals;
    }

    /// The codes of a block: the lengths of both, coded by runs.
    fn header(&mut self, literals: &[u8; 286], distances: &[u8; 30]) {
        let used = |lengths: &[u8], least: usize| {
            let last = lengths.iter().rposition(|length| *length > 0);
            last.map_or(least, |last| (last + 1).max(least))
        };
        let (literals_used, distances_used) = (used(literals, 257), used(distances, 1));
        let lengths = [&literals[..literals_used], &distances[..distances_used]].concat();
        // Symbol, the bits that follow, and their number.
        let mut runs: Vec<(usize, u32, u32)> = Vec::new();
        for run in lengths.chunk_by(|one, next| one == next) {
            let mut left = run.len();
            let length = usize::from(run[0]);
            if length > 0 {
                runs.push((length, 0, 0));
                left -= 1;
            }
            while left >= 3 {
                let (symbol, base, most, bits) = match (length, left) {
                    (0, 0..=10) => (17, 3, 10, 3),
                    (0, _) => (18, 11, 138, 7),
                    _ => (16, 3, 6, 2),
                };
                let count = left.min(most);
                runs.push((symbol, (count - base) as u32, bits));
                left -= count;
            }
            runs.extend(std::iter::repeat_n((length, 0, 0), left));
        }
        let mut frequencies = [0u32; 19];
        for (symbol, ..) in &runs {
            frequencies[*symbol] += 1;
        }
        let (mut lengths, mut codes) = ([0u8; 19], [0u16; 19]);
        lengths_of(&frequencies, LONGEST_OF_LENGTHS, &mut lengths);
        codes_of(&lengths, &mut codes);
        let last = ORDER.iter().rposition(|place| lengths[*place] > 0);
        let count = last.map_or(4, |last| (last + 1).max(4));
        // Not the last block, of the second kind.
        self.put(0b100, 3);
        self.put(literals_used as u32 - 257, 5);
        self.put(distances_used as u32 - 1, 5);
        self.put(count as u32 - 4, 4);
        for place in &ORDER[..count] {
            self.put(u32::from(lengths[*place]), 3);
        }
        for (symbol, value, bits) in runs {
            self.put(u32::from(codes[symbol]), u32::from(lengths[symbol]));
            self.put(value, bits);
        }
    }

    fn body(&mut self, literal_lengths: &[u8; 286], distance_lengths: &[u8; 30], coded: u64) {
        let (mut literal_codes, mut distance_codes) = ([0u16; 286], [0u16; 30]);
        codes_of(literal_lengths, &mut literal_codes);
        codes_of(distance_lengths, &mut distance_codes);
        // Bits and their number, as literals and the block's end are written.
        let mut plain = [(0u32, 0u32); 257];
        for (byte, plain) in plain.iter_mut().enumerate() {
            *plain = (
                u32::from(literal_codes[byte]),
                u32::from(literal_lengths[byte]),
            );
        }
        // As lengths are, with the bits that follow them.
        let mut matching = [(0u32, 0u32); 259];
        for (length, matching) in (0u16..).zip(&mut matching).skip(3) {
            let (code, extra, value) = length_code(length);
            let (bits, count) = (
                literal_codes[257 + code],
                u32::from(literal_lengths[257 + code]),
            );
            *matching = (
                u32::from(bits) | u32::from(value) << count,
                count + u32::from(extra),
            );
        }
        let length = self.bytes.len();
        // What is written is known to the bit; the last bytes are written eight at a time.
        self.bytes.resize(length + (coded / 8) as usize + 24, 0);
        let mut out = Out {
            bytes: &mut self.bytes,
            place: length,
            bits: self.bits,
            count: self.count,
        };
        out.write_out();
        let mut rest = &self.literals[..];
        let behind = Sequence {
            literals: self.behind,
            length: 0,
            distance: 0,
        };
        for sequence in self.sequences.iter().chain([&behind]) {
            let (run, left) = rest.split_at(sequence.literals as usize);
            rest = left;
            let mut pieces = run.chunks_exact(3);
            for piece in &mut pieces {
                // Three codes have at most 45 bits, and fewer than eight wait.
                for byte in piece {
                    out.put(plain[usize::from(*byte)]);
                }
                out.write_out();
            }
            for byte in pieces.remainder() {
                out.put(plain[usize::from(*byte)]);
            }
            if sequence.length == 0 {
                break;
            }
            let (code, extra, value) = distance_code(sequence.distance);
            if out.count > 15 {
                out.write_out();
            }
            // At most 48 bits, and fewer than sixteen wait.
            if let Some(length) = matching.get(usize::from(sequence.length)) {
                out.put(*length);
            }
            let (bits, count) = (distance_codes[code], u32::from(distance_lengths[code]));
            out.put((
                u32::from(bits) | u32::from(value) << count,
                count + u32::from(extra),
            ));
            out.write_out();
        }
        out.write_out();
        out.put(plain[256]);
        out.write_out();
        let place = out.place;
        (self.bits, self.count) = (out.bits, out.count);
        self.bytes.truncate(place);
    }
}

/// Where a block is written.
struct Out<'b> {
    bytes: &'b mut [u8],
    place: usize,
    bits: u64,
    count: u32,
}

impl Out<'_> {
    #[inline(always)]
    fn put(&mut self, (value, count): (u32, u32)) {
        self.bits |= u64::from(value) << self.count;
        self.count += count;
    }

    /// All whole bytes: fewer than eight bits wait on.
    #[inline(always)]
    fn write_out(&mut self) {
        if let Some(place) = self.bytes.get_mut(self.place..self.place + 8) {
            place.copy_from_slice(&self.bits.to_le_bytes());
        }
        let whole = self.count & !7;
        self.place += (whole / 8) as usize;
        self.bits >>= whole;
        self.count &= 7;
    }
}

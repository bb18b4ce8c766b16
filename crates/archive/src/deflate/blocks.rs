//! How blocks are written.

use super::huffman::{LONGEST as LONGEST_CODE, codes_of, distance_code, length_code, lengths_of};
use super::{LONGEST, SHORTEST, Sequence};

const ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// The longest code of a literal or a length: of four, and fewer than eight bits that wait, 64 bits hold
/// all.
const LONGEST_LITERAL: usize = 14;
/// The longest code of a code's length.
const LONGEST_OF_LENGTHS: usize = 7;
const LONGEST_STORED: usize = u16::MAX as usize;

/// The lengths of the fixed codes.
const FIXED_LITERALS: [u8; 288] = {
    let mut lengths = [8; 288];
    let mut symbol = 144;
    while symbol < 280 {
        lengths[symbol] = if symbol < 256 { 9 } else { 7 };
        symbol += 1;
    }
    lengths
};
const FIXED_DISTANCES: [u8; 32] = [5; 32];

/// How often literals, lengths and distances occur in a block.
pub(crate) struct Counts {
    literals: [u32; 256],
    lengths: [u32; LONGEST + 1],
    /// By their codes.
    distances: [u32; 30],
}

impl Counts {
    pub(crate) fn new() -> Counts {
        Counts {
            literals: [0; 256],
            lengths: [0; LONGEST + 1],
            distances: [0; 30],
        }
    }

    #[inline(always)]
    pub(crate) fn literals(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.literals[usize::from(*byte)] += 1;
        }
    }

    #[inline(always)]
    pub(crate) fn matching(&mut self, length: u16, distance: u16) {
        self.lengths[usize::from(length)] += 1;
        self.distances[distance_code(distance).0] += 1;
    }

    /// How often codes of literals, lengths and the block's end occur, and how many bits follow codes.
    fn codes(&self) -> ([u32; 286], u64) {
        let mut literals = [0; 286];
        literals[..256].copy_from_slice(&self.literals);
        literals[256] = 1;
        let mut extra_bits = 0;
        for (length, count) in (0u16..).zip(&self.lengths).skip(SHORTEST) {
            let (code, extra, _) = length_code(length);
            literals[257 + code] += count;
            extra_bits += u64::from(extra) * u64::from(*count);
        }
        for (code, count) in (0u64..).zip(&self.distances) {
            extra_bits += (code / 2).saturating_sub(1) * u64::from(*count);
        }
        (literals, extra_bits)
    }
}

/// Writes deflate blocks, none of which is the last.
pub(crate) struct Blocks {
    /// What is finished.
    pub(crate) bytes: Vec<u8>,
    bits: u64,
    count: u32,
}

impl Blocks {
    /// Appends to `bytes`.
    pub(crate) fn new(bytes: Vec<u8>) -> Blocks {
        Blocks {
            bytes,
            bits: 0,
            count: 0,
        }
    }

    /// Ends at a byte's boundary, with an empty stored block.
    pub(crate) fn flush(&mut self) {
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

    /// Writes a block of `sequences` and of literals behind them, which were counted in `counts`. `text` is
    /// its content, or where it is not `WHOLE` its literals alone.
    pub(crate) fn block<const WHOLE: bool>(
        &mut self,
        sequences: &[Sequence],
        text: &[u8],
        counts: &Counts,
    ) {
        let (literals, extra_bits) = counts.codes();
        let (mut literal_lengths, mut distance_lengths) = ([0u8; 286], [0u8; 30]);
        lengths_of(&literals, LONGEST_LITERAL, &mut literal_lengths);
        lengths_of(&counts.distances, LONGEST_CODE, &mut distance_lengths);
        let bits = |literal_lengths: &[u8], distance_lengths: &[u8]| -> u64 {
            let literals = literals.iter().zip(literal_lengths);
            let both = literals.chain(counts.distances.iter().zip(distance_lengths));
            both.map(|(frequency, length)| u64::from(*frequency) * u64::from(*length))
                .sum::<u64>()
                + extra_bits
        };
        let header = Header::new(&literal_lengths, &distance_lengths);
        let coded = bits(&literal_lengths, &distance_lengths);
        let fixed = bits(&FIXED_LITERALS, &FIXED_DISTANCES);
        let stored = 8 * (text.len() + 5 * text.len().div_ceil(LONGEST_STORED)) as u64;
        let least = fixed.min(coded + header.bits);
        if (WHOLE || sequences.is_empty()) && stored < least {
            self.store(text);
        } else if fixed == least {
            // Not the last block, of the first kind.
            self.put(0b010, 3);
            let codes = Codes::new(&FIXED_LITERALS, &FIXED_DISTANCES);
            self.body::<WHOLE>(sequences, text, &codes, fixed);
        } else {
            self.header(&header);
            let codes = Codes::new(&literal_lengths, &distance_lengths);
            self.body::<WHOLE>(sequences, text, &codes, coded);
        }
    }

    /// Copies a block, `count` bits of `bytes` behind the first `from`; it isn't the last one here.
    pub(crate) fn copy(&mut self, bytes: &[u8], from: usize, count: usize) {
        const AT_ONCE: usize = u32::BITS as usize;
        self.write(count as u64, |out| {
            // The first bit says whether it is the last.
            out.put((0, 1));
            let mut done = 1;
            while done < count {
                let here = from + done;
                let some = AT_ONCE.min(count - done);
                let value = (u64::from_le_bytes(bytes_at(bytes, here / 8)) >> (here % 8)) as u32;
                let unused = (AT_ONCE - some) as u32;
                out.put((value << unused >> unused, some as u32));
                out.write_out();
                done += some;
            }
        });
    }

    /// Has so many bits written.
    #[inline(always)]
    fn write(&mut self, bits: u64, write: impl FnOnce(&mut Out<'_>)) {
        let length = self.bytes.len();
        // The last bytes are written eight at a time.
        self.bytes.resize(length + (bits / 8) as usize + 24, 0);
        let mut out = Out {
            bytes: &mut self.bytes,
            place: length,
            bits: self.bits,
            count: self.count,
        };
        out.write_out();
        write(&mut out);
        let place = out.place;
        (self.bits, self.count) = (out.bits, out.count);
        self.bytes.truncate(place);
    }

    /// Writes bytes as they are.
    pub(crate) fn store(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(LONGEST_STORED) {
            self.put(0, 3);
            self.align();
            let length = block.len() as u16;
            self.bytes.extend_from_slice(&length.to_le_bytes());
            self.bytes.extend_from_slice(&(!length).to_le_bytes());
            self.bytes.extend_from_slice(block);
        }
    }

    fn header(&mut self, header: &Header) {
        let Header {
            literals,
            distances,
            count,
            lengths,
            ..
        } = header;
        // Not the last block, of the second kind.
        self.put(0b100, 3);
        self.put(*literals as u32 - 257, 5);
        self.put(*distances as u32 - 1, 5);
        self.put(*count as u32 - 4, 4);
        for place in &ORDER[..*count] {
            self.put(u32::from(lengths[*place]), 3);
        }
        let mut codes = [0u16; 19];
        codes_of(lengths, &mut codes);
        for (symbol, value, bits) in &header.runs {
            self.put(u32::from(codes[*symbol]), u32::from(lengths[*symbol]));
            self.put(*value, *bits);
        }
    }

    fn body<const WHOLE: bool>(
        &mut self,
        sequences: &[Sequence],
        text: &[u8],
        codes: &Codes,
        coded: u64,
    ) {
        self.write(coded, |out| {
            let mut place = 0;
            for sequence in sequences {
                let mut left = sequence.literals as usize;
                while left > 4 {
                    out.put_four(codes, bytes_at(text, place));
                    place += 4;
                    left -= 4;
                }
                // At most four: how many can't be foretold, so that each is masked instead of left out.
                for (number, byte) in bytes_at::<4>(text, place).iter().enumerate() {
                    let (bits, count) = codes.plain[usize::from(*byte)];
                    let mask = u32::from(number < left).wrapping_neg();
                    out.put((bits & mask, count & mask));
                }
                out.write_out();
                place += left;
                if WHOLE {
                    place += usize::from(sequence.length);
                }
                // At most 14 + 5 + 15 + 13 bits, and fewer than eight wait.
                out.put(codes.matching[usize::from(sequence.length)]);
                let (code, extra, value) = distance_code(sequence.distance);
                let (bits, count) = codes.distances[code];
                out.put((bits | u32::from(value) << count, count + u32::from(extra)));
                out.write_out();
            }
            let mut fours = text.get(place..).unwrap_or_default().chunks_exact(4);
            for bytes in &mut fours {
                out.put_four(codes, bytes_at(bytes, 0));
            }
            for byte in fours.remainder() {
                out.put(codes.plain[usize::from(*byte)]);
            }
            out.write_out();
            out.put(codes.plain[256]);
            out.write_out();
        });
    }
}

/// So many bytes from there on, with zeros behind the end.
#[inline(always)]
fn bytes_at<const COUNT: usize>(text: &[u8], place: usize) -> [u8; COUNT] {
    let rest = text.get(place..).unwrap_or_default();
    rest.first_chunk().copied().unwrap_or_else(|| {
        let mut bytes = [0; COUNT];
        bytes
            .iter_mut()
            .zip(rest)
            .for_each(|(to, from)| *to = *from);
        bytes
    })
}

/// The lengths of both codes, coded by runs.
struct Header {
    /// How many lengths there are of either.
    literals: usize,
    distances: usize,
    /// Symbol, the bits that follow, and their number.
    runs: Vec<(usize, u32, u32)>,
    /// Of the codes of symbols.
    lengths: [u8; 19],
    /// How many of them are told.
    count: usize,
    /// What all takes.
    bits: u64,
}

impl Header {
    fn new(literals: &[u8; 286], distances: &[u8; 30]) -> Header {
        let used = |lengths: &[u8], least: usize| {
            let last = lengths.iter().rposition(|length| *length > 0);
            last.map_or(least, |last| (last + 1).max(least))
        };
        let (literals_used, distances_used) = (used(literals, 257), used(distances, 1));
        let lengths = [&literals[..literals_used], &distances[..distances_used]].concat();
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
        let mut lengths = [0u8; 19];
        lengths_of(&frequencies, LONGEST_OF_LENGTHS, &mut lengths);
        let last = ORDER.iter().rposition(|place| lengths[*place] > 0);
        let count = last.map_or(4, |last| (last + 1).max(4));
        let run_bits = runs
            .iter()
            .map(|(symbol, _, bits)| u64::from(lengths[*symbol]) + u64::from(*bits));
        Header {
            literals: literals_used,
            distances: distances_used,
            bits: 3 + 5 + 5 + 4 + 3 * count as u64 + run_bits.sum::<u64>(),
            runs,
            lengths,
            count,
        }
    }
}

/// Bits and their number.
type Code = (u32, u32);

/// What is written for what.
struct Codes {
    /// For literals and the block's end.
    plain: [Code; 257],
    /// For lengths, with the bits that follow them.
    matching: [Code; LONGEST + 1],
    /// For the codes of distances.
    distances: [Code; 30],
}

impl Codes {
    fn new(literal_lengths: &[u8], distance_lengths: &[u8]) -> Codes {
        // Two more of each than are used have fixed codes.
        let (mut literals, mut distances) = ([0u16; 288], [0u16; 32]);
        codes_of(literal_lengths, &mut literals);
        codes_of(distance_lengths, &mut distances);
        let literal =
            |code: usize| -> Code { (u32::from(literals[code]), u32::from(literal_lengths[code])) };
        let mut matching = [(0, 0); LONGEST + 1];
        for (length, matching) in (0u16..).zip(&mut matching).skip(SHORTEST) {
            let (code, extra, value) = length_code(length);
            let (bits, count) = literal(257 + code);
            *matching = (bits | u32::from(value) << count, count + u32::from(extra));
        }
        Codes {
            plain: std::array::from_fn(literal),
            matching,
            distances: std::array::from_fn(|code| {
                let (bits, count) = (distances[code], distance_lengths[code]);
                (u32::from(bits), u32::from(count))
            }),
        }
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

    /// Literals, and all whole bytes.
    #[inline(always)]
    fn put_four(&mut self, codes: &Codes, bytes: [u8; 4]) {
        for byte in bytes {
            self.put(codes.plain[usize::from(byte)]);
        }
        self.write_out();
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

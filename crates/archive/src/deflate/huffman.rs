//! Prefix codes of deflate (RFC 1951): made of lengths for reading, of frequencies for writing.

/// The longest code.
pub(crate) const LONGEST: usize = 15;

/// Bits of the first look-up of literals and lengths, and of distances.
pub(crate) const LITERAL_BITS: u32 = 11;
pub(crate) const DISTANCE_BITS: u32 = 8;

/// An entry of a decoding table: in the lowest eight bits the length of the code with the bits that follow
/// it, in the next four that of the code alone, above the value; at the top what kind of value it is.
pub(crate) const VALUE: u32 = 12;
pub(crate) const LITERAL: u32 = 1 << 31;
/// No plain value: the end of a block, a second look-up or nothing that exists.
pub(crate) const SPECIAL: u32 = 1 << 30;
/// A second look-up: the value is where it begins, what stands for the code alone are the bits of its size.
pub(crate) const SECOND: u32 = 1 << 29;
pub(crate) const END: u32 = 1 << 28;

const LENGTH_BASES: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const LENGTH_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
const DISTANCE_BASES: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA: [u8; 30] = [
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13,
];

/// The codes of lengths up to 258, behind 257.
const LENGTH_CODES: [u8; 259] = {
    let mut codes = [0; 259];
    let mut code = 0;
    while code < 29 {
        let mut length = LENGTH_BASES[code] as usize;
        while length < 259 {
            codes[length] = code as u8;
            length += 1;
        }
        code += 1;
    }
    codes
};

/// Which code a length from 3 to 258 has, behind 257, and how many bits follow with which value.
#[inline]
pub(crate) fn length_code(length: u16) -> (usize, u8, u16) {
    let code = usize::from(LENGTH_CODES[usize::from(length)]);
    (code, LENGTH_EXTRA[code], length - LENGTH_BASES[code])
}

/// The same of a distance from 1 to 32768.
#[inline]
pub(crate) fn distance_code(distance: u16) -> (usize, u8, u16) {
    let before = distance - 1;
    let code = match before {
        0..=3 => usize::from(before),
        _ => {
            let top = before.ilog2();
            2 * top as usize + usize::from(before >> (top - 1) & 1)
        }
    };
    (code, DISTANCE_EXTRA[code], distance - DISTANCE_BASES[code])
}

/// The entry of a value that so many bits follow.
fn followed(value: u16, extra: u8) -> u32 {
    u32::from(value) << VALUE | u32::from(extra)
}

/// The same entry with a code of this length.
fn coded(entry: u32, length: u32) -> u32 {
    (entry + length) | length << 8
}

pub(crate) fn literal_entry(symbol: usize) -> u32 {
    match symbol {
        0..256 => LITERAL | (symbol as u32) << VALUE,
        256 => SPECIAL | END,
        257..286 => followed(LENGTH_BASES[symbol - 257], LENGTH_EXTRA[symbol - 257]),
        _ => SPECIAL,
    }
}

pub(crate) fn distance_entry(symbol: usize) -> u32 {
    match symbol {
        0..30 => followed(DISTANCE_BASES[symbol], DISTANCE_EXTRA[symbol]),
        _ => SPECIAL,
    }
}

/// Makes the decoding table of codes of these lengths. False where they are none: too many, or fewer
/// than all unless it is a single one.
pub(crate) fn decoding_table(
    lengths: &[u8],
    bits: u32,
    entry: impl Fn(usize) -> u32,
    table: &mut Vec<u32>,
) -> bool {
    let mut counts = [0u32; LONGEST + 1];
    for length in lengths {
        counts[usize::from(*length)] += 1;
    }
    counts[0] = 0;
    let used: u32 = counts.iter().sum();
    let mut left = 1i64;
    for count in &counts[1..] {
        left = 2 * left - i64::from(*count);
        if left < 0 {
            return false;
        }
    }
    let is_whole = left == 0;
    if !is_whole && (used > 1 || (used == 1 && counts[1] != 1)) {
        return false;
    }
    let size = 1usize << bits;
    table.clear();
    table.resize(size, SPECIAL);
    let mut next = [0u32; LONGEST + 2];
    for length in 1..=LONGEST {
        next[length + 1] = (next[length] + counts[length]) << 1;
    }
    // Where the second look-ups begin, and how large they are: by the longest code of each beginning.
    let mut longest = vec![0u8; size];
    let mut codes = vec![0u16; lengths.len()];
    for (symbol, length) in lengths.iter().enumerate() {
        let length = u32::from(*length);
        if length == 0 {
            continue;
        }
        let code = next[length as usize];
        next[length as usize] += 1;
        let reversed = (code as u16).reverse_bits() >> (16 - length);
        codes[symbol] = reversed;
        if length > bits {
            let begin = usize::from(reversed) & (size - 1);
            longest[begin] = longest[begin].max(length as u8);
        }
    }
    for (symbol, length) in lengths.iter().enumerate() {
        let length = u32::from(*length);
        if length == 0 {
            continue;
        }
        let code = usize::from(codes[symbol]);
        let value = entry(symbol);
        if length <= bits {
            let mut place = code;
            while place < size {
                table[place] = coded(value, length);
                place += 1 << length;
            }
            continue;
        }
        let begin = code & (size - 1);
        let second = u32::from(longest[begin]) - bits;
        if table[begin] & SECOND == 0 {
            table[begin] = SPECIAL | SECOND | (table.len() as u32) << VALUE | second << 8 | bits;
            table.resize(table.len() + (1 << second), SPECIAL);
        }
        let start = (table[begin] >> VALUE & 0xffff) as usize;
        let mut place = code >> bits;
        while place < 1 << second {
            table[start + place] = coded(value, length - bits);
            place += 1 << (length - bits);
        }
    }
    true
}

/// Lengths of the best codes for symbols that occur so often, none longer than `longest`. Fewer than
/// two symbols get two codes, which all readers take.
pub(crate) fn lengths_of(frequencies: &[u32], longest: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut symbols: Vec<(u32, u16)> = frequencies
        .iter()
        .zip(0u16..)
        .filter(|(frequency, _)| **frequency > 0)
        .map(|(frequency, symbol)| (*frequency, symbol))
        .collect();
    for symbol in 0u16.. {
        if symbols.len() >= 2 {
            break;
        }
        if symbols.iter().all(|(_, other)| *other != symbol) {
            symbols.push((1, symbol));
        }
    }
    symbols.sort_unstable();
    // Leaves in their order and nodes in the order of their making are both sorted by weight.
    let leaves = symbols.len();
    let mut weights: Vec<u64> = symbols
        .iter()
        .map(|(frequency, _)| u64::from(*frequency))
        .collect();
    let mut parents = vec![0usize; 2 * leaves - 1];
    let (mut leaf, mut node) = (0, leaves);
    while weights.len() < 2 * leaves - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            let lightest =
                if leaf < leaves && (node >= weights.len() || weights[leaf] <= weights[node]) {
                    leaf += 1;
                    leaf - 1
                } else {
                    node += 1;
                    node - 1
                };
            weight += weights[lightest];
            parents[lightest] = weights.len();
        }
        weights.push(weight);
    }
    let mut depths = vec![0usize; 2 * leaves - 1];
    let mut counts = vec![0usize; longest + 1];
    for place in (0..2 * leaves - 2).rev() {
        depths[place] = depths[parents[place]] + 1;
        if place < leaves {
            counts[depths[place].min(longest)] += 1;
        }
    }
    // What was cut to the longest length has to be made up for: Kraft's sum must not be more than 1.
    let mut sum: usize = (1..=longest)
        .map(|length| counts[length] << (longest - length))
        .sum();
    while sum > 1 << longest {
        counts[longest] -= 1;
        if let Some(length) = (1..longest).rev().find(|length| counts[*length] > 0) {
            counts[length] -= 1;
            counts[length + 1] += 2;
        }
        sum -= 1;
    }
    let mut rarest = symbols.iter();
    for length in (1..=longest).rev() {
        for (_, symbol) in rarest.by_ref().take(counts[length]) {
            lengths[usize::from(*symbol)] = length as u8;
        }
    }
}

/// The codes of these lengths, their bits in the order in which they are written.
pub(crate) fn codes_of(lengths: &[u8], codes: &mut [u16]) {
    let mut counts = [0u16; LONGEST + 1];
    for length in lengths {
        counts[usize::from(*length)] += 1;
    }
    counts[0] = 0;
    let mut next = [0u16; LONGEST + 2];
    for length in 1..=LONGEST {
        next[length + 1] = (next[length] + counts[length]) << 1;
    }
    for (code, length) in codes.iter_mut().zip(lengths) {
        let length = usize::from(*length);
        if length == 0 {
            continue;
        }
        *code = next[length].reverse_bits() >> (16 - length);
        next[length] += 1;
    }
}

//! SHA-256 over bytes that come in pieces, of two streams at a time where the processor gains by that.

#[cfg(target_arch = "x86_64")]
mod pair;

use sha2::block_api::compress256;

use crate::Digest;

type Block = [u8; 64];

/// What a hash begins with: FIPS 180-4, 5.3.3.
const BEGIN: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 over bytes that come in pieces.
#[derive(Clone)]
pub struct Sha256Hasher {
    words: [u32; 8],
    /// Bytes so far.
    length: u64,
    /// Those of them behind the last whole block.
    begun: Block,
}

impl Default for Sha256Hasher {
    fn default() -> Sha256Hasher {
        Sha256Hasher {
            words: BEGIN,
            length: 0,
            begun: [0; 64],
        }
    }
}

impl Sha256Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        let bytes = self.fill(bytes);
        let (blocks, _) = bytes.as_chunks();
        compress256(&mut self.words, blocks);
        self.keep(bytes, blocks.len());
    }

    /// Takes the next piece of two streams: where the processor works on both at once, almost in the time
    /// of one.
    pub fn update_both(
        (first, left): (&mut Sha256Hasher, &[u8]),
        (second, right): (&mut Sha256Hasher, &[u8]),
    ) {
        let (left, right) = (first.fill(left), second.fill(right));
        let (left_blocks, right_blocks) = (left.as_chunks().0, right.as_chunks().0);
        let both = left_blocks.len().min(right_blocks.len());
        compress_both(
            [&mut first.words, &mut second.words],
            [&left_blocks[..both], &right_blocks[..both]],
        );
        compress256(&mut first.words, &left_blocks[both..]);
        compress256(&mut second.words, &right_blocks[both..]);
        first.keep(left, left_blocks.len());
        second.keep(right, right_blocks.len());
    }

    /// How far it is, in hexadecimal digits: what [`Sha256Hasher::resumed`] goes on from.
    pub fn state(&self) -> String {
        let mut bytes = Vec::with_capacity(32 + 8 + 64);
        bytes.extend(self.words.map(u32::to_be_bytes).as_flattened());
        bytes.extend(self.length.to_be_bytes());
        bytes.extend(&self.begun[..self.filled()]);
        hex::encode(bytes)
    }

    /// Goes on from such a state. None for a text that is none.
    pub fn resumed(state: &str) -> Option<Sha256Hasher> {
        let bytes = hex::decode(state).ok()?;
        let (words, rest) = bytes.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let mut hasher = Sha256Hasher {
            length: u64::from_be_bytes(*length),
            ..Sha256Hasher::default()
        };
        for (word, bytes) in hasher.words.iter_mut().zip(words.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        let filled = hasher.filled();
        if rest.len() != filled {
            return None;
        }
        hasher.begun[..filled].copy_from_slice(rest);
        Some(hasher)
    }

    /// The digest of all pieces.
    pub fn finish(mut self) -> Digest {
        let bits = self.length.wrapping_mul(8);
        // Zeros up to the length, which ends the last block.
        let filled = self.filled();
        let zeros = if filled < 56 { 55 } else { 119 } - filled;
        self.update(&[0x80]);
        self.update(&[0; 64][..zeros]);
        self.update(&bits.to_be_bytes());
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.words) {
            *bytes = word.to_be_bytes();
        }
        Digest::from_bytes(digest)
    }

    fn filled(&self) -> usize {
        (self.length % 64) as usize
    }

    /// Ends the block that is begun, if there are bytes enough. Those behind it.
    fn fill<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let filled = self.filled();
        if filled == 0 {
            return bytes;
        }
        let (begin, rest) = bytes.split_at(bytes.len().min(64 - filled));
        self.begun[filled..filled + begin.len()].copy_from_slice(begin);
        self.length += begin.len() as u64;
        if self.filled() == 0 {
            compress256(&mut self.words, &[self.begun]);
        }
        rest
    }

    /// Counts `bytes`, of which so many blocks are hashed, and keeps those behind.
    fn keep(&mut self, bytes: &[u8], blocks: usize) {
        let rest = &bytes[64 * blocks..];
        if !bytes.is_empty() {
            self.begun[..rest.len()].copy_from_slice(rest);
            self.length += bytes.len() as u64;
        }
    }
}

/// As many blocks of both.
fn compress_both(words: [&mut [u32; 8]; 2], blocks: [&[Block]; 2]) {
    #[cfg(target_arch = "x86_64")]
    if pair::is_supported() {
        #[allow(unsafe_code, reason = "the processor was asked for these instructions")]
        unsafe {
            pair::compress(words, blocks);
        }
        return;
    }
    for (words, blocks) in words.into_iter().zip(blocks) {
        compress256(words, blocks);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_digest_is_that_of_all_pieces() {
        let bytes: Vec<u8> = (0..400u32).map(|number| (number * 7) as u8).collect();
        for length in 0..bytes.len() {
            let bytes = &bytes[..length];
            for cut in [0, 1, 55, 63, 64, 65, 128] {
                let (first, second) = bytes.split_at(cut.min(length));
                let mut hasher = Sha256Hasher::default();
                hasher.update(first);
                hasher.update(second);
                assert_eq!(hasher.finish(), Digest::of(bytes), "{length} {cut}");
            }
        }
    }

    #[test]
    fn hashing_goes_on_where_it_was() {
        let bytes: Vec<u8> = (0..1000u32).map(|number| (number * 7) as u8).collect();
        for cut in [0, 1, 63, 64, 65, 999, 1000] {
            let mut first = Sha256Hasher::default();
            first.update(&bytes[..cut]);
            let mut second = Sha256Hasher::resumed(&first.state()).unwrap();
            second.update(&bytes[cut..]);
            assert_eq!(second.finish(), Digest::of(&bytes));
        }
        let state = Sha256Hasher::default().state();
        for wrong in ["", "00", "x", &state[2..], &format!("{state}00")] {
            assert!(Sha256Hasher::resumed(wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        /// Whatever stands begun in either, and however long the pieces are.
        #[test]
        fn two_streams_are_hashed_as_each_alone(
            left in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            right in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
        ) {
            let (mut first, mut second) = (Sha256Hasher::default(), Sha256Hasher::default());
            let none = Vec::new();
            for place in 0..left.len().max(right.len()) {
                let piece = |of: &[Vec<u8>]| of.get(place).unwrap_or(&none).clone();
                let (left, right) = (piece(&left), piece(&right));
                Sha256Hasher::update_both((&mut first, &left), (&mut second, &right));
            }
            prop_assert_eq!(first.finish(), Digest::of(&left.concat()));
            prop_assert_eq!(second.finish(), Digest::of(&right.concat()));
        }
    }
}

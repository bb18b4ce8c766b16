//! The order in which apk walks its table of names.
//!
//! Where several packages are due at once (those that `install_if` adds, say), apk takes them in
//! the order of a hash table with a fixed seed. Keeping that order keeps apk's result.

/// The number of buckets of apk's table of names.
const BUCKETS: u32 = 20_000;
/// The seed of its hash.
const SEED: u32 = 5381;

/// The bucket of a name: lower ones are walked first.
pub(crate) fn bucket(name: &str) -> u32 {
    murmur3(name.as_bytes(), SEED) % BUCKETS
}

/// MurmurHash3, the x86 variant of 32 bits, by Austin Appleby (public domain).
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let scramble = |block: u32| {
        let block = block.wrapping_mul(0xcc9e_2d51);
        block.rotate_left(15).wrapping_mul(0x1b87_3593)
    };
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = blocks.iter().fold(seed, |hash, block| {
        let hash = hash ^ scramble(u32::from_le_bytes(*block));
        hash.rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64)
    });
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    // Nothing is nothing when scrambled.
    hash ^= scramble(u32::from_le_bytes(last));
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's values.
    #[test]
    fn murmur3_of_known_texts() {
        for (text, seed, hash) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("test", 0x9747_b28c, 0x704b_81dc),
            ("Hello, world!", 0, 0xc036_3e43),
            (
                "The quick brown fox jumps over the lazy dog",
                0x9747_b28c,
                0x2fa8_26cd,
            ),
        ] {
            assert_eq!(murmur3(text.as_bytes(), seed), hash, "{text}");
        }
    }
}

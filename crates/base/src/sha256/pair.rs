//! The rounds of two hashes at once: each waits for its own last result most of the time, and the
//! processor's instructions for them have the time to do another's in between.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use super::Block;

/// FIPS 180-4, 4.2.2, four to a row.
#[rustfmt::skip]
const ROUNDS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// Whether the processor has these instructions.
pub(super) fn is_supported() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// One hash's words as the instructions want them: a, b, e, f and c, d, g, h, the first of each highest.
#[derive(Clone, Copy)]
struct Words {
    abef: __m128i,
    cdgh: __m128i,
}

impl Words {
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn of([a, b, c, d, e, f, g, h]: [u32; 8]) -> Words {
        Words {
            abef: four([f, e, b, a]),
            cdgh: four([h, g, d, c]),
        }
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn plain(self) -> [u32; 8] {
        let Words { abef, cdgh } = self;
        [
            _mm_extract_epi32::<3>(abef),
            _mm_extract_epi32::<2>(abef),
            _mm_extract_epi32::<3>(cdgh),
            _mm_extract_epi32::<2>(cdgh),
            _mm_extract_epi32::<1>(abef),
            _mm_extract_epi32::<0>(abef),
            _mm_extract_epi32::<1>(cdgh),
            _mm_extract_epi32::<0>(cdgh),
        ]
        .map(i32::cast_unsigned)
    }

    /// Four rounds, with what the message and the table give for them.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn four_rounds(&mut self, added: __m128i) {
        self.cdgh = _mm_sha256rnds2_epu32(self.cdgh, self.abef, added);
        let rest = _mm_shuffle_epi32::<0b1110>(added);
        self.abef = _mm_sha256rnds2_epu32(self.abef, self.cdgh, rest);
    }

    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn plus(self, other: Words) -> Words {
        Words {
            abef: _mm_add_epi32(self.abef, other.abef),
            cdgh: _mm_add_epi32(self.cdgh, other.cdgh),
        }
    }
}

/// The first is the lowest.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn four(words: [u32; 4]) -> __m128i {
    let [first, second, third, fourth] = words.map(u32::cast_signed);
    _mm_set_epi32(fourth, third, second, first)
}

/// The sixteen words of a block.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn message(block: &Block) -> [__m128i; 4] {
    let (quarters, _) = block.as_chunks::<16>();
    [
        big_endian(&quarters[0]),
        big_endian(&quarters[1]),
        big_endian(&quarters[2]),
        big_endian(&quarters[3]),
    ]
}

#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn big_endian(bytes: &[u8; 16]) -> __m128i {
    let (halves, _) = bytes.as_chunks::<8>();
    let [low, high] = [halves[0], halves[1]].map(i64::from_le_bytes);
    let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm_shuffle_epi8(_mm_set_epi64x(high, low), order)
}

/// The four words behind these sixteen.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn next(first: __m128i, second: __m128i, third: __m128i, fourth: __m128i) -> __m128i {
    let sum = _mm_add_epi32(
        _mm_sha256msg1_epu32(first, second),
        _mm_alignr_epi8::<4>(fourth, third),
    );
    _mm_sha256msg2_epu32(sum, fourth)
}

/// Hashes `blocks` of both, as many of one as of the other.
#[target_feature(enable = "sha,ssse3,sse4.1")]
pub(super) fn compress([left, right]: [&mut [u32; 8]; 2], blocks: [&[Block]; 2]) {
    let (mut first, mut second) = (Words::of(*left), Words::of(*right));
    for (left, right) in blocks[0].iter().zip(blocks[1]) {
        let (mut left, mut right) = (message(left), message(right));
        let (first_before, second_before) = (first, second);
        // Written out: a loop would look its messages' places up, and take twice the time.
        macro_rules! rounds {
            ($($row:literal)*) => {$({
                const ROW: usize = $row;
                const AT: usize = ROW % 4;
                if ROW >= 4 {
                    let (one, two, three) = ((ROW + 1) % 4, (ROW + 2) % 4, (ROW + 3) % 4);
                    left[AT] = next(left[AT], left[one], left[two], left[three]);
                    right[AT] = next(right[AT], right[one], right[two], right[three]);
                }
                let table = four(ROUNDS[ROW]);
                first.four_rounds(_mm_add_epi32(left[AT], table));
                second.four_rounds(_mm_add_epi32(right[AT], table));
            })*};
        }
        rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        first = first.plus(first_before);
        second = second.plus(second_before);
    }
    (*left, *right) = (first.plain(), second.plain());
}

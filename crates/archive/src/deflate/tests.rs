use flate2::{Decompress, FlushDecompress, Status};
use proptest::prelude::*;

use super::*;

/// What stands behind `start`, deflated at once or in runs that end where `cuts` says.
fn deflated(bytes: &[u8], start: usize, cuts: &[usize]) -> Vec<u8> {
    let mut blocks = Blocks::new(Vec::new());
    let mut matcher = Matcher::new(bytes, start);
    let mut place = start;
    for cut in cuts.iter().chain([&bytes.len()]) {
        matcher.deflate(bytes, place..*cut, &mut blocks);
        place = *cut;
    }
    blocks.flush();
    blocks.bytes
}

/// As zlib inflates it behind the bytes that it may refer to.
fn inflated(deflated: &[u8], before: &[u8], length: usize) -> Vec<u8> {
    let mut inflate = Decompress::new(false);
    if !before.is_empty() {
        inflate.set_dictionary(before).unwrap();
    }
    let mut content = Vec::with_capacity(length + 1);
    let status = inflate.decompress_vec(deflated, &mut content, FlushDecompress::Sync);
    assert_eq!(status.unwrap(), Status::Ok);
    assert_eq!(inflate.total_in(), deflated.len() as u64);
    assert!(deflated.ends_with(&[0, 0, 0xff, 0xff]));
    content
}

/// The size, once the content was found to be whole.
fn size(content: &[u8]) -> usize {
    let deflated = deflated(content, 0, &[]);
    assert!(inflated(&deflated, &[], content.len()) == content);
    deflated.len()
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Parts that are random, of few values, of one, or copies of what stands before.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..600).prop_map(Part::Bytes),
        proptest::collection::vec(b'a'..b'e', 0..2000).prop_map(Part::Bytes),
        (any::<u8>(), 0..9_000usize).prop_map(|(byte, count)| Part::Bytes(vec![byte; count])),
        (1..=70_000usize, 0..4_000usize).prop_map(|(back, length)| Part::Copy { back, length }),
    ];
    proptest::collection::vec(part, 0..20).prop_map(|parts| {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(part) => bytes.extend(part),
                Part::Copy { back, length } => {
                    for _ in 0..length {
                        let from = bytes.len().checked_sub(back);
                        bytes.push(from.map_or(b'x', |from| bytes[from]));
                    }
                }
            }
        }
        bytes
    })
}

#[derive(Debug, Clone)]
enum Part {
    Bytes(Vec<u8>),
    Copy { back: usize, length: usize },
}

proptest! {
    #[test]
    fn zlib_inflates_what_is_deflated(
        content in content(),
        start in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let start = start.index(content.len() + 1);
        let mut cuts: Vec<usize> =
            cuts.iter().map(|cut| start + cut.index(content.len() - start + 1)).collect();
        cuts.sort_unstable();
        let before = &content[start.saturating_sub(WINDOW)..start];
        let deflated = deflated(&content, start, &cuts);
        prop_assert!(inflated(&deflated, before, content.len() - start) == content[start..]);
    }
}

#[test]
fn nothing_and_nearly_nothing() {
    assert_eq!(deflated(&[], 0, &[]), [0, 0, 0, 0xff, 0xff]);
    for length in 1..40 {
        assert!(size(&vec![b'x'; length]) <= length.min(12) + 7);
        assert!(size(&noise(length, 1)) <= length + 10);
    }
}

#[test]
fn what_repeats_at_any_distance_is_found() {
    let pattern = noise(WINDOW + 1, 9);
    let distances = (1..70).chain((70..WINDOW).step_by(1597)).chain([WINDOW]);
    for distance in distances {
        let content = pattern[..distance].repeat(2 + 4000 / distance);
        let size = size(&content);
        // Noise is passed over faster and faster, in the copy too: where both are looked at takes a while.
        let most = distance + distance / 6 + content.len() / 50 + 150;
        assert!(size < most, "{distance}: {size}");
    }
    // A byte more is too far.
    let size = size(&pattern.repeat(2));
    assert!(size > 2 * pattern.len());
}

#[test]
fn matches_of_all_lengths_are_written_right() {
    // Between bytes that occur once each, a copy of each length.
    let pattern = noise(LONGEST + 1, 4);
    let mut content = pattern.clone();
    for length in SHORTEST..=LONGEST + 1 {
        content.extend_from_slice(&pattern[..length]);
        content.extend(noise(5, length as u64 + 77));
    }
    let size = size(&content);
    assert!(size < content.len() / 8, "{size} of {}", content.len());
}

#[test]
fn places_from_before_the_window_are_not_taken_for_nearer_ones() {
    // Their lowest 16 bits are those of places within it.
    let word = b"sixteen bytes!!!";
    for gap in [
        32_000, 32_768, 40_000, 65_520, 65_536, 65_537, 98_304, 131_072,
    ] {
        let content = [&word[..], &noise(gap - word.len(), 5), &word[..]].concat();
        size(&content);
    }
}

#[test]
fn real_content_is_about_as_small_as_zlib_makes_it_at_its_third_level() {
    let mut content = Vec::new();
    for file in [
        std::env::current_exe().unwrap(),
        "/bin/sh".into(),
        "/usr/bin/env".into(),
    ] {
        let file = std::fs::read(file).unwrap();
        content.extend_from_slice(&file[..file.len().min(1 << 20)]);
    }
    content.extend_from_slice(include_bytes!("matcher.rs"));
    content.extend_from_slice(include_bytes!("../segment.rs"));
    let mut zlib = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(3));
    std::io::Write::write_all(&mut zlib, &content).unwrap();
    let (own, zlib) = (size(&content), zlib.finish().unwrap().len());
    assert!(own < zlib + zlib / 50, "{own}, zlib {zlib}");
}

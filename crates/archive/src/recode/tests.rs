use std::io::Read as _;

use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;
use crate::segment::Inflate;

/// Words again and again, counted bytes, and noise: what compresses well, hardly and not at all.
fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::new();
    while bytes.len() < length {
        match next() % 8 {
            0 => bytes.extend((0..next() % 300).map(|_| next() as u8)),
            1 => bytes.extend(std::iter::repeat_n(next() as u8, (next() % 2000) as usize)),
            2 => bytes.extend((0..next() % 2000).map(|number| (number / 3) as u8)),
            _ => {
                let word = next() % 500;
                bytes.extend_from_slice(format!("word {word} of {}\n", word * word).as_bytes());
            }
        }
    }
    bytes.truncate(length);
    bytes
}

/// Raw deflate: in one run, or, with several levels, flushed where the level changes.
fn deflated(content: &[u8], levels: &[u32], cut: usize) -> Vec<u8> {
    let mut deflated = Vec::new();
    let cut = if levels.len() == 1 {
        content.len()
    } else {
        cut
    };
    let mut pieces = content.chunks(cut).enumerate().peekable();
    while let Some((number, piece)) = pieces.next() {
        let mut compress = Compress::new(Compression::new(levels[number % levels.len()]), false);
        let flush = match pieces.peek() {
            None => FlushCompress::Finish,
            Some(_) => FlushCompress::Sync,
        };
        deflated.reserve(2 * piece.len() + 1024);
        compress.compress_vec(piece, &mut deflated, flush).unwrap();
        assert_eq!(compress.total_in(), piece.len() as u64);
    }
    deflated
}

fn inflated(segment: &[u8], summary: Summary) -> Vec<u8> {
    let mut bytes = Vec::new();
    Inflate::new(segment, summary)
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// What is done with the next bytes of a source.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    /// As much, read so much at a time.
    TakeLong(usize, usize),
    Pass(usize),
    /// As much is left out, and that is said at once.
    Leave(usize),
    Insert(usize),
}

/// Follows the steps, again and again, to the source's end. Gives the segment, and what it should hold.
fn followed(content: &[u8], deflate: &[u8], steps: &[Step]) -> (Vec<u8>, Summary, Vec<u8>) {
    let (mut source, mut recoder) = recode(deflate, Vec::new(), Limits::default());
    let mut expected = Vec::new();
    let mut place = 0;
    let mut header = vec![0; 512];
    for (number, step) in steps.iter().cycle().enumerate() {
        match *step {
            Step::Take(count)
            | Step::TakeLong(count, _)
            | Step::Pass(count)
            | Step::Leave(count) => {
                let until = (place + count.max(1)).min(content.len());
                let most = match *step {
                    Step::TakeLong(_, most) => most,
                    _ => count.max(1),
                };
                while place < until {
                    let mut bytes = vec![0; most.min(until - place)];
                    source.read_exact(&mut bytes).unwrap();
                    assert_eq!(bytes, content[place..place + bytes.len()]);
                    if !matches!(step, Step::Pass(_) | Step::Leave(_)) {
                        recoder.take(place as u64, &bytes, until as u64).unwrap();
                        expected.extend_from_slice(&bytes);
                    }
                    place += bytes.len();
                }
                if matches!(step, Step::Leave(_)) {
                    recoder.pass(place as u64).unwrap();
                }
            }
            Step::Insert(count) => {
                header[number % 512] ^= number as u8;
                recoder.insert(&header[..count]).unwrap();
                expected.extend_from_slice(&header[..count]);
            }
        }
        if place == content.len() {
            break;
        }
    }
    assert_eq!(source.read(&mut [0]).unwrap(), 0);
    let ended = source.finish().unwrap();
    assert_eq!(ended.length, content.len() as u64);
    assert_eq!(ended.crc32, crc32fast::hash(content));
    let (segment, summary) = recoder.finish().unwrap();
    assert_eq!(summary.deflated, segment.len() as u64);
    (segment, summary, expected)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..40_000usize).prop_map(Step::Take),
        2 => (1..300usize).prop_map(Step::Take),
        2 => (40_000..400_000usize, 1..140_000usize).prop_map(|(count, most)| Step::TakeLong(count, most)),
        2 => (1..2_000usize).prop_map(Step::Pass),
        1 => (1..400_000usize).prop_map(Step::Leave),
        2 => (0..513usize).prop_map(Step::Insert),
    ];
    proptest::collection::vec(step, 1..12).prop_filter("something is read", |steps| {
        steps.iter().any(|step| !matches!(step, Step::Insert(_)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_chosen_is_written(
        seed: u64,
        length in 1..600_000usize,
        levels in proptest::collection::vec(0..10u32, 1..4),
        cut in 1_000..300_000usize,
        steps in steps(),
    ) {
        let content = content(length, seed);
        let deflate = deflated(&content, &levels, cut);
        let (segment, summary, expected) = followed(&content, &deflate, &steps);
        prop_assert_eq!(inflated(&segment, summary), expected);
        // The same from any cut of the same choices.
        prop_assert_eq!(followed(&content, &deflate, &steps).0, segment);
    }

    #[test]
    fn damage_is_an_error(seed: u64, place: prop::sample::Index, bit in 0..8u32, cut: prop::sample::Index) {
        let content = content(40_000, seed);
        let whole = deflated(&content, &[6, 1, 9], 9_000);
        let mut flipped = whole.clone();
        flipped[place.index(whole.len())] ^= 1 << bit;
        let short = &whole[..cut.index(whole.len())];
        let read = |deflate: &[u8]| {
            let (mut source, _recoder) = recode(deflate, Vec::new(), Limits::default());
            let mut read = Vec::new();
            source.read_to_end(&mut read).map(|_| read)
        };
        prop_assert!(read(short).is_err());
        let mut expected = Vec::new();
        let others = flate2::read::DeflateDecoder::new(&flipped[..]).read_to_end(&mut expected);
        match (read(&flipped), others) {
            // A flipped bit may give another stream that is one.
            (Ok(read), Ok(_)) => prop_assert!(read == expected),
            // Other readers have to like what is taken over of it.
            (Ok(_), Err(error)) => prop_assert!(false, "zlib refuses it: {error}"),
            (Err(error), Ok(_)) => prop_assert_eq!(error.kind(), io::ErrorKind::FileTooLarge),
            (Err(error), Err(_)) => prop_assert!(matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::FileTooLarge
            )),
        }
    }
}

/// Directories of a package, one after the other: no block of theirs is taken.
#[test]
fn whole_blocks_may_be_left_out() {
    let content = content(900_000, 5);
    let deflate = deflated(&content, &[6], usize::MAX);
    for steps in [
        vec![Step::Leave(512)],
        vec![Step::Leave(300_000), Step::Take(512)],
    ] {
        let (segment, summary, expected) = followed(&content, &deflate, &steps);
        assert_eq!(inflated(&segment, summary), expected);
    }
}

/// No block lies whole in one of them, and none is held for longer than it may still be taken.
#[test]
fn small_files_are_followed_however_many() {
    // Noise of sixteen letters is half as large.
    let mut state = 11u64;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        b'a' + (state >> 60) as u8
    });
    let content: Vec<u8> = letters.take(20_000_000).collect();
    let deflate = deflated(&content, &[6], usize::MAX);
    assert!(deflate.len() > MOST_BYTES_WAITING + (1 << 20));
    let steps = [Step::Insert(512), Step::Take(4_000), Step::Pass(96)];
    let (segment, summary, expected) = followed(&content, &deflate, &steps);
    assert_eq!(inflated(&segment, summary), expected);
}

/// Streams that zlib's own tests reach each of its refusals by, and some that it reads.
#[test]
fn what_zlib_refuses_is_refused() {
    for (hex, is_read) in [
        ("0000000000", false),
        ("0300", true),
        ("06", false),
        ("010100feff00", true),
        ("fc0000", false),
        ("0400feff", false),
        ("0400244900", false),
        ("040024e9ffff", false),
        ("040024e9ff6d", false),
        ("048049922449922471ffff931100", false),
        ("04804992244992240fb4ffffc384", false),
        ("05c0210d00000080b0fe6d2f916c", true),
        ("027effff", false),
        ("0cc081000000000090ff6b0400", false),
        ("1b07", false),
    ] {
        let deflate = hex::decode(hex).unwrap();
        let (mut source, _recoder) = recode(&deflate[..], Vec::new(), Limits::default());
        let read = io::copy(&mut source, &mut io::sink());
        let mut zlib = flate2::read::DeflateDecoder::new(&deflate[..]);
        let expected = io::copy(&mut zlib, &mut io::sink());
        assert_eq!(expected.is_ok(), is_read, "{hex}: {expected:?}");
        assert_eq!(read.ok(), expected.ok(), "{hex}");
    }
}

#[test]
fn it_is_as_small_as_its_source() {
    let content = content(3_000_000, 7);
    for level in [1, 6, 9] {
        let deflate = deflated(&content, &[level], usize::MAX);
        let (segment, summary, expected) = followed(&content, &deflate, &[Step::Take(100_000)]);
        assert_eq!(inflated(&segment, summary), expected);
        assert!(
            segment.len() < deflate.len() + deflate.len() / 200,
            "{level}: {} of {}",
            segment.len(),
            deflate.len()
        );
        // With other headers in place of some of it: what referred to them is lost, no more.
        let steps = [Step::Take(60_000), Step::Pass(1_024), Step::Insert(512)];
        let (segment, summary, expected) = followed(&content, &deflate, &steps);
        assert_eq!(inflated(&segment, summary), expected);
        assert!(
            segment.len() < deflate.len() + deflate.len() / 8,
            "{level}: {} of {}",
            segment.len(),
            deflate.len()
        );
    }
}

#[test]
fn blocks_are_taken_over_as_they_are() {
    let content = content(1_500_000, 11);
    let deflate = deflated(&content, &[6], usize::MAX);
    let steps = [Step::TakeLong(content.len(), 50_000)];
    let (segment, summary, expected) = followed(&content, &deflate, &steps);
    assert_eq!(inflated(&segment, summary), expected);
    // The last block's first bit is another one.
    let equal = segment
        .iter()
        .zip(&deflate)
        .take_while(|(one, other)| one == other);
    assert!(equal.count() > deflate.len() / 10 * 9);
}

#[test]
fn what_was_said_has_to_follow() {
    let content = content(1_500_000, 13);
    let deflate = deflated(&content, &[6], usize::MAX);
    let begun = || {
        let (mut source, mut recoder) = recode(&deflate[..], Vec::new(), Limits::default());
        let mut bytes = vec![0; 1000];
        source.read_exact(&mut bytes).unwrap();
        recoder.take(0, &bytes, content.len() as u64).unwrap();
        (source, recoder)
    };
    let (_source, mut recoder) = begun();
    assert_eq!(
        recoder.insert(b"other").unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(
        recoder.pass(1_000).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    let (_source, recoder) = begun();
    assert_eq!(
        recoder.finish().unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
}

#[test]
fn what_was_not_compressed_is_not_made_larger() {
    let content: Vec<u8> = content(1, 3)
        .into_iter()
        .chain((0..200_000u64).flat_map(|number| {
            number
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_mul(number | 1)
                .to_le_bytes()
        }))
        .collect();
    let deflate = deflated(&content, &[0], usize::MAX);
    let (mut source, mut recoder) = recode(&deflate[..], Vec::new(), Limits::default());
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    recoder.take(0, &bytes, bytes.len() as u64).unwrap();
    let ended = source.finish().unwrap();
    assert_eq!(ended.stored, content.len() as u64);
    let (segment, summary) = recoder.finish().unwrap();
    assert!(segment.len() < content.len() + content.len() / 1000 + 64);
    assert_eq!(inflated(&segment, summary), content);
}

#[test]
fn the_bytes_behind_a_stream_are_given_back() {
    let content = content(100_000, 5);
    let mut deflate = deflated(&content, &[6], usize::MAX);
    deflate.extend_from_slice(b"12345678 and more");
    let (mut source, _recoder) = recode(&deflate[..], Vec::new(), Limits::default());
    io::copy(&mut source, &mut io::sink()).unwrap();
    let (mut behind, mut rest) = source.finish().unwrap().rest;
    rest.read_to_end(&mut behind).unwrap();
    assert_eq!(behind, b"12345678 and more");
}

#[test]
fn limits_hold() {
    let zeros = vec![0; 100 << 20];
    let deflate = deflated(&zeros, &[9], usize::MAX);
    let limits = |limits: Limits| {
        let (mut source, _recoder) = recode(&deflate[..], Vec::new(), limits);
        io::copy(&mut source, &mut io::sink()).unwrap_err().kind()
    };
    let few = Limits {
        bytes: 1 << 20,
        ..Limits::default()
    };
    assert_eq!(limits(few), io::ErrorKind::FileTooLarge);
    // A bomb, by its ratio.
    assert_eq!(limits(Limits::default()), io::ErrorKind::FileTooLarge);
    // What nobody takes is not held for ever.
    let words: Vec<u8> = (0..3_000_000u32)
        .flat_map(|number| {
            let word = crc32fast::hash(&number.to_le_bytes()) & 0xfff;
            let [a, b, c, _] = crc32fast::hash(&word.to_le_bytes()).to_le_bytes();
            [a, b, c]
        })
        .collect();
    let deflate = self::deflated(&words, &[9], usize::MAX);
    let (mut source, mut recoder) = recode(&deflate[..], Vec::new(), Limits::default());
    assert_eq!(
        io::copy(&mut source, &mut io::sink()).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(
        recoder
            .take(1 << 40, b"x", (1 << 40) + 1)
            .unwrap_err()
            .kind(),
        io::ErrorKind::InvalidInput
    );
}

use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::Limits;
use crate::gzip::Members;

fn member_content(member: &[u8]) -> Vec<u8> {
    let mut members = Members::new(member, Limits::default());
    let mut content = Vec::new();
    let mut only = members.next().unwrap().unwrap();
    only.read_to_end(&mut content).unwrap();
    assert!(members.next().unwrap().is_none());
    content
}

/// As other programs see it: one member, whole.
fn flate2_content(member: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::bufread::GzDecoder::new(member);
    let mut content = Vec::new();
    decoder.read_to_end(&mut content).unwrap();
    assert!(decoder.into_inner().is_empty());
    content
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3000),
        proptest::collection::vec(b'a'..b'd', 0..3000),
        (any::<u8>(), 0..200_000usize).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

proptest! {
    #[test]
    fn spliced_parts_are_the_whole(parts in proptest::collection::vec(bytes(), 0..6)) {
        let segments: Vec<Segment> = parts
            .iter()
            .map(|part| deflate(&part[..]).unwrap())
            .collect();
        let member = splice(&segments, Vec::new()).unwrap();
        prop_assert_eq!(&member_content(&member), &parts.concat());
        prop_assert_eq!(flate2_content(&member), parts.concat());
        for (part, segment) in parts.iter().zip(&segments) {
            let mut read = Vec::new();
            Inflate::new(&segment.deflate[..], segment.summary()).read_to_end(&mut read).unwrap();
            prop_assert_eq!(&read, part);
        }
    }

    #[test]
    fn a_damaged_segment_is_an_error(
        part in proptest::collection::vec(any::<u8>(), 1..2000),
        place in any::<prop::sample::Index>(),
        change in 1..=255u8,
    ) {
        let mut segment = deflate(&part[..]).unwrap();
        let place = place.index(segment.deflate.len());
        segment.deflate[place] ^= change;
        let mut read = Vec::new();
        let result = Inflate::new(&segment.deflate[..], segment.summary()).read_to_end(&mut read);
        // A bit of a stored block's padding may differ without any effect.
        prop_assert!(result.is_err() || read == part);
    }
}

/// Larger than a batch of pieces on any machine these tests run on.
fn large() -> Vec<u8> {
    let mut state = 1u32;
    (0..9 * PIECE + 12_345)
        .map(|place| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if place % 3 == 0 {
                (state >> 24) as u8
            } else {
                b'x'
            }
        })
        .collect()
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_cores() {
    let content = large();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| deflate(&content[..]).unwrap())
    };
    let (one, four) = (on(1), on(4));
    assert!(one == four);
    // Nor on how it is written.
    let mut deflater = Deflater::new(Vec::new());
    for piece in content.chunks(77_777) {
        deflater.write_all(piece).unwrap();
        deflater.flush().unwrap();
    }
    let (deflate, summary) = deflater.finish().unwrap();
    assert!(deflate == one.deflate && summary == one.summary());
    let member = splice([&one], Vec::new()).unwrap();
    assert!(flate2_content(&member) == content);
}

#[test]
fn memory_that_is_used_again_does_not_show() {
    // Pieces that become very long and very short by turns.
    let content: Vec<u8> = (0..12)
        .flat_map(|number| match number % 3 {
            0 => noise(PIECE - 100, number + 1),
            1 => vec![b'x'; PIECE + 200],
            _ => large()[..PIECE].to_vec(),
        })
        .collect();
    let mut each = Vec::new();
    for start in (0..content.len()).step_by(PIECE) {
        let window = start.min(WINDOW);
        let end = content.len().min(start + PIECE);
        each.extend(deflate_piece(
            &content[start - window..end],
            window,
            Vec::new(),
        ));
    }
    assert!(deflate(&content[..]).unwrap().deflate == each);
}

/// Bytes without any pattern.
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

#[test]
fn noise_is_stored_and_nothing_else_is() {
    let deflated = |content: &[u8]| {
        let segment = deflate(content).unwrap();
        assert!(segment.deflate.ends_with(&FLUSHED));
        let member = splice([&segment, &end_blocks()], Vec::new()).unwrap();
        assert!(flate2_content(&member) == [content, &[0; 1024]].concat());
        let mut read = Vec::new();
        let mut inflate = Inflate::new(&segment.deflate[..], segment.summary());
        inflate.read_to_end(&mut read).unwrap();
        assert!(read == content);
        segment.deflate.len()
    };
    // Stored blocks hold 65,535 bytes and have 5 of their own; the last is empty.
    let random = noise(200 * SAMPLE, 3);
    assert_eq!(deflated(&random), random.len() + 5 * 7 + 5);
    // Counting is as even as nothing random is, and what is repeated soon is no noise.
    let counting: Vec<u8> = (0..random.len()).map(|place| place as u8).collect();
    assert!(deflated(&counting) < counting.len() / 50);
    let repeated = noise(SAMPLE / 4, 5).repeat(800);
    assert!(deflated(&repeated) < repeated.len() / 50);
    // What follows noise refers back beyond it.
    let text = b"a text that is there twice, before and behind. ".repeat(9);
    let mixed = [&text[..], &random[..8 * SAMPLE], &text].concat();
    assert!(deflated(&mixed) < 8 * SAMPLE + text.len() / 2);
    for length in [
        SAMPLE - 1,
        LEAST_NOISE - 1,
        LEAST_NOISE,
        LEAST_NOISE + 1,
        PIECE,
        PIECE + 1,
    ] {
        let size = deflated(&noise(length, 7));
        assert!(size <= length + length / 500 + 32, "{length}: {size}");
    }
}

#[test]
fn programs_accept_a_spliced_member() {
    let parts = [
        b"first ".to_vec(),
        large(),
        Vec::new(),
        noise(3 * PIECE + 77, 11),
        b" last".to_vec(),
    ];
    let segments = parts.each_ref().map(|part| deflate(&part[..]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spliced.gz");
    std::fs::write(&path, splice(&segments, Vec::new()).unwrap()).unwrap();
    let gzip = Command::new("gzip").arg("-t").arg(&path).output().unwrap();
    assert!(gzip.status.success() && gzip.stderr.is_empty(), "{gzip:?}");
    let script = "import sys, zlib; d = zlib.decompressobj(31); \
                  b = d.decompress(open(sys.argv[1], 'rb').read()); \
                  assert d.eof and not d.unused_data; print(len(b), zlib.crc32(b))";
    let python = Command::new("python3")
        .args(["-c", script])
        .arg(&path)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let whole = parts.concat();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&whole);
    assert_eq!(
        String::from_utf8(python.stdout).unwrap(),
        format!("{} {}\n", whole.len(), crc.finalize())
    );
}

#[test]
fn end_blocks_are_found_and_cut_off() {
    let files = b"files".repeat(1000);
    let mut splicer = Splicer::new(b"before".to_vec()).unwrap();
    let written = splicer.append_content(&files[..]).unwrap();
    splicer.append(&end_blocks()).unwrap();
    assert_eq!(splicer.length(), 6024);
    let file = splicer.finish().unwrap();
    let whole = [&files[..], &[0; 1024]].concat();
    assert_eq!(flate2_content(&file[6..]), whole);
    let length = file.len() as u64 - 6;

    let mut reader = io::Cursor::new(&file);
    let found = before_end_blocks(&mut reader, 6, length, 6024).unwrap();
    let (range, summary) = found.unwrap();
    assert_eq!(summary, written);
    let bytes = &file[range.start as usize..range.end as usize];
    let mut read = Vec::new();
    Inflate::new(bytes, summary).read_to_end(&mut read).unwrap();
    assert_eq!(read, files);

    // Members of other programs, and one that is too short to look into.
    let foreign = crate::gzip::compress(&whole);
    let mut reader = io::Cursor::new(&foreign);
    let found = before_end_blocks(&mut reader, 0, foreign.len() as u64, 6024).unwrap();
    assert_eq!(found, None);
    let empty = splice([], Vec::new()).unwrap();
    let mut reader = io::Cursor::new(&empty);
    assert_eq!(before_end_blocks(&mut reader, 0, 20, 0).unwrap(), None);
}

#[test]
fn a_cut_in_the_wrong_place_is_noticed() {
    let segment = deflate(&large()[..100_000]).unwrap();
    for cut in [1, 4, 5, 100] {
        let shorter = &segment.deflate[..segment.deflate.len() - cut];
        let summary = Summary {
            deflated: shorter.len() as u64,
            ..segment.summary()
        };
        let result = Inflate::new(shorter, summary).read_to_end(&mut Vec::new());
        assert!(result.is_err(), "{cut}");
    }
    let summary = Summary {
        length: 10,
        ..segment.summary()
    };
    let result = Inflate::new(&segment.deflate[..], summary).read_to_end(&mut Vec::new());
    assert_eq!(
        result.unwrap_err().to_string(),
        "the deflate segment holds more bytes than it should"
    );
    let summary = Summary {
        crc32: 1,
        ..segment.summary()
    };
    let result = Inflate::new(&segment.deflate[..], summary).read_to_end(&mut Vec::new());
    assert_eq!(
        result.unwrap_err().to_string(),
        "the deflate segment holds other bytes than it should"
    );
    let result = Splicer::new(Vec::new())
        .unwrap()
        .append_from(&segment.summary(), &segment.deflate[1..]);
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

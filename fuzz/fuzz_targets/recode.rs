//! Deflate streams are inflated as zlib inflates them, and what is chosen of them is written so that zlib
//! reads it back.
#![no_main]

use std::io::{ErrorKind, Read};

use archive::Limits;
use archive::recode::recode;
use archive::segment::Inflate;
use libfuzzer_sys::fuzz_target;

/// What is done with the next bytes, and with how many.
fn follow(deflate: &[u8], content: &[u8], steps: &[(u8, u16)]) -> Result<(), ErrorKind> {
    let (mut source, mut recoder) = recode(deflate, Vec::new(), limits());
    let (mut place, mut expected) = (0, Vec::new());
    let mut buffer = vec![0; 1 << 16];
    for (kind, size) in steps.iter().cycle() {
        let count = (usize::from(*size) << (kind >> 4)).min(content.len() - place);
        let until = place + count;
        match kind % 4 {
            0 => {
                let inserted = [*kind; 512];
                recoder.insert(&inserted).expect("memory does not fail");
                expected.extend_from_slice(&inserted);
            }
            choice => {
                while place < until {
                    let most = (until - place).min(1 << (kind >> 2 & 3) << 13);
                    let bytes = &mut buffer[..most];
                    source.read_exact(bytes).map_err(|error| error.kind())?;
                    assert!(bytes == &content[place..place + most]);
                    if choice > 1 {
                        let taken = recoder.take(place as u64, bytes, until as u64);
                        taken.map_err(|error| error.kind())?;
                        expected.extend_from_slice(bytes);
                    }
                    place += most;
                }
                if choice == 1 && size % 2 == 0 {
                    recoder.pass(place as u64).map_err(|error| error.kind())?;
                }
            }
        }
        if place == content.len() {
            break;
        }
    }
    assert_eq!(source.read(&mut [0]).map_err(|error| error.kind())?, 0);
    let ended = source.finish().expect("it was read to its end");
    assert_eq!(ended.length, content.len() as u64);
    assert_eq!(ended.crc32, crc32fast::hash(content));
    let (segment, summary) = recoder.finish().expect("all was taken");
    assert_eq!(summary.deflated, segment.len() as u64);
    let mut read = Vec::new();
    Inflate::new(&segment[..], summary)
        .read_to_end(&mut read)
        .expect("zlib reads what polpo wrote");
    assert!(read == expected);
    Ok(())
}

fn limits() -> Limits {
    Limits {
        bytes: (4 << 20) - 1,
        ..Limits::default()
    }
}

/// What the stream holds, if zlib can read it and that isn't too much.
fn inflated(deflate: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let decoder = flate2::bufread::DeflateDecoder::new(deflate);
    decoder.take(4 << 20).read_to_end(&mut content).ok()?;
    (content.len() < 4 << 20).then_some(content)
}

fuzz_target!(|bytes: &[u8]| {
    // How many steps there are, three bytes for each, and the stream.
    let Some((count, rest)) = bytes.split_first() else {
        return;
    };
    let Some((steps, deflate)) = rest.split_at_checked(3 * usize::from(count % 16)) else {
        return;
    };
    let steps: Vec<(u8, u16)> = steps
        .chunks_exact(3)
        .map(|step| (step[0], u16::from_le_bytes([step[1], step[2]])))
        .collect();
    let Some(content) = inflated(deflate) else {
        // What zlib refuses is refused: other readers of a layer have to like what is taken over.
        let (mut source, _recoder) = recode(deflate, Vec::new(), limits());
        let read = std::io::copy(&mut source, &mut std::io::sink());
        assert!(read.is_err());
        return;
    };
    let reads = steps.iter().filter(|(kind, _)| kind % 4 > 0);
    // Of content that is long, steps may be too many.
    if reads.map(|(_, size)| usize::from(*size)).sum::<usize>() <= content.len() >> 10 {
        return;
    }
    match follow(deflate, &content, &steps) {
        // A bomb, and more that nobody takes than is held.
        Ok(()) | Err(ErrorKind::FileTooLarge | ErrorKind::InvalidInput) => {}
        Err(kind) => panic!("zlib reads it: {kind}"),
    }
});

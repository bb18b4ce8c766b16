//! Whatever is deflated is inflated to the same bytes, by polpo and by zlib.
#![no_main]

use std::io::Read;

use archive::segment::{Inflate, deflate, splice};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    // Long content is what few bytes are repeated to: windows and pieces end within it.
    let (power, bytes) = input;
    let content = bytes.repeat(1 << (power % 12));
    if content.len() > 3 << 20 {
        return;
    }
    let segment = deflate(&content[..]).expect("memory does not fail");
    let mut read = Vec::new();
    Inflate::new(&segment.deflate[..], segment.summary())
        .read_to_end(&mut read)
        .expect("a segment is read back");
    assert!(read == content);
    let member = splice([&segment], Vec::new()).expect("memory does not fail");
    let mut decoder = flate2::bufread::GzDecoder::new(&member[..]);
    read.clear();
    decoder.read_to_end(&mut read).expect("zlib reads a member");
    assert!(read == content && decoder.into_inner().is_empty());
});

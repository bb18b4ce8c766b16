//! No stream makes a decompressor panic or exceed its limits.
#![no_main]

use std::io::Read;

use archive::Limits;
use archive::decompress::open;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        bytes: 1 << 20,
        metadata: 1 << 12,
        memory: 1 << 23,
        ..Limits::default()
    };
    let mut content = Vec::new();
    if let Ok(mut reader) = open(bytes, limits) {
        let _ = reader.read_to_end(&mut content);
    }
    assert!(content.len() <= 1 << 20);
});

//! No bytes make the ar reader panic.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = archive::ar::Reader::new(bytes) else {
        return;
    };
    while let Ok(Some(mut member)) = reader.next() {
        let mut content = Vec::new();
        if member.read_to_end(&mut content).is_ok() {
            assert_eq!(content.len() as u64, member.size());
        }
    }
});

//! Any bytes are an index or an error; what is an index is written and read again.
#![no_main]

use std::path::Path;

use apk::index::Index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("APKINDEX.tar.gz");
    let plain = archive::gzip::compress(bytes);
    for bytes in [bytes, &plain] {
        if let Ok(index) = Index::from_bytes(path, bytes, None) {
            let written = index.to_bytes(None, base::Epoch(0)).expect("it fits");
            let again = Index::from_bytes(path, &written, None).expect("what was written is read");
            assert_eq!(again.to_text(), index.to_text());
        }
    }
});

//! What is read of an `APKINDEX` is written, and written again it is the same.
#![no_main]

use apk::index::Index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(entries) = Index::parse(text) {
        let index = Index {
            entries,
            ..Index::default()
        };
        let once = index.to_text();
        let entries = Index::parse(&once).expect("what was written is read");
        assert_eq!(Index { entries, ..index }.to_text(), once);
    }
});

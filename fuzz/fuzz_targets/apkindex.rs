//! What is read of an `APKINDEX` is written, and written again it is the same; its compact form says
//! the same too.
#![no_main]

use apk::catalogue::{Catalogue, CatalogueError};
use apk::index::Index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Index::parse(text);
    match (Catalogue::parse("", text), &read) {
        (Ok(catalogue), Ok(entries)) => {
            let compact: Result<Vec<_>, _> = catalogue.entries().collect();
            // Versions of different texts may be equal.
            assert_eq!(
                format!("{:?}", compact.expect("it was just made")),
                format!("{entries:?}")
            );
        }
        (Err(CatalogueError::Text(error)), Err(expected)) => assert_eq!(&error, expected),
        (catalogue, _) => panic!("{catalogue:?} is {read:?}"),
    }
    if let Ok(entries) = read {
        let index = Index {
            entries,
            ..Index::default()
        };
        let once = index.to_text();
        let entries = Index::parse(&once).expect("what was written is read");
        assert_eq!(Index { entries, ..index }.to_text(), once);
    }
});

//! Any bytes are a manifest, an index, or an error; what is read keeps its bytes and is one thing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::{Document, DocumentContents, media_type};

fuzz_target!(|bytes: &[u8]| {
    let types = [
        media_type::MANIFEST,
        media_type::INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_MANIFEST_LIST,
    ];
    let mut kinds = Vec::new();
    for media_type in types {
        let Ok(document) = Document::read(media_type, bytes.to_vec()) else {
            continue;
        };
        assert_eq!(document.bytes, bytes);
        assert_eq!(document.descriptor.digest, base::Digest::of(bytes));
        assert_eq!(document.descriptor.media_type, media_type);
        assert_eq!(document.as_referrer().digest, document.descriptor.digest);
        kinds.push(matches!(document.contents, DocumentContents::Index(_)));
    }
    // A manifest for one reader is no index for another.
    assert!(!(kinds.contains(&true) && kinds.contains(&false)));
    if let Ok(document) = Document::read_untold(bytes.to_vec()) {
        let told = Document::read(&document.descriptor.media_type, bytes.to_vec());
        assert_eq!(told.expect("it is what it says"), document);
    }
});

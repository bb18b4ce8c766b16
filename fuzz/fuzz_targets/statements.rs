//! Any bytes are an envelope, a document, a manifest, an index or a configuration, or an error.
#![no_main]

use attest::dsse::Envelope;
use attest::spdx::Document;
use libfuzzer_sys::fuzz_target;
use oci::{ImageConfig, Index, Manifest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = Document::from_json(bytes) {
        let written = document.to_json().expect("it was JSON");
        assert_eq!(
            Document::from_json(&written).expect("what was written is read"),
            document
        );
    }
    let _ = (
        Envelope::from_json(bytes),
        Manifest::parse(bytes),
        Index::parse(bytes),
        ImageConfig::parse(bytes),
    );
});

//! Any header of a registry is read in little time and space.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::registry::header::{challenges, next_link};

fuzz_target!(|text: &str| {
    assert!(challenges(text).len() <= 32);
    if let Some(target) = next_link(text) {
        assert!(text.contains(target));
    }
});

//! Any text is the full name of an image, which reads back as the same, or an error that is short.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::registry::{Reference, RepositoryName};

fuzz_target!(|text: &str| {
    match text.parse::<Reference>() {
        Ok(reference) => {
            let shown = reference.to_string();
            let again: Reference = shown.parse().expect("what was written is read");
            assert_eq!(again, reference);
            let name = reference.repository();
            assert!(name.to_string().len() <= 255);
            assert!(!name.path().contains("..") && !name.path().contains("//"));
            assert!(name.path().bytes().all(|byte| byte.is_ascii_graphic()));
            let own = RepositoryName::parse(&name.to_string()).expect("a name is one");
            assert_eq!(own, *name);
        }
        Err(invalid) => assert!(invalid.to_string().len() < 4096),
    }
});

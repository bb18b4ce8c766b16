//! What is read of an installed database is written, and written again it is the same.
#![no_main]

use apk::database::{InstalledPackage, parse, to_text};
use libfuzzer_sys::fuzz_target;

fn written(packages: &[InstalledPackage]) -> (String, Vec<InstalledPackage>) {
    let text = to_text(packages);
    let again = parse(&text).expect("what was written is read");
    (text, again)
}

fuzz_target!(|text: &str| {
    if let Ok(packages) = parse(text) {
        // Control characters become spaces, which may change the order of names once.
        let (_, once) = written(&packages);
        let (text, twice) = written(&once);
        assert_eq!(written(&twice).0, text);
    }
});

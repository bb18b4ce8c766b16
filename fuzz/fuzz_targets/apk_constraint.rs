//! Terms of a world, in both grammars: what is read is written so that it is read again.
#![no_main]

use apk::dependency::{Dependency, Identity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (term, version) = text.split_once('\n').unwrap_or((text, "1"));
    for read in [
        Dependency::parse(term),
        Dependency::parse_apko(term),
        Dependency::parse_untagged(term),
    ]
    .into_iter()
    .flatten()
    {
        let written = read.to_string();
        assert_eq!(Dependency::parse(&written).as_ref(), Ok(&read));
        assert_eq!(Dependency::parse_apko(&written).as_ref(), Ok(&read));
        let matches = read.matches(Some(version), None);
        if read.constraint.is_none() {
            assert!(matches);
        }
        let _ = read.matches(None, None);
    }
    if let Ok(identity) = term.parse::<Identity>() {
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }
});

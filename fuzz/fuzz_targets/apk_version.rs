//! Versions: any three texts compare, and those that follow the grammar are totally ordered.
#![no_main]

use apk::version::{Operator, Version, compare, compare_fuzzy, is_valid};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (a, b, c) = (next(), next(), next());
    for text in [a, b, c] {
        let parsed = Version::parse(text);
        assert_eq!(parsed.is_ok(), is_valid(text));
        if let Ok(version) = parsed {
            assert_eq!(version.to_string(), text);
        }
    }
    let order = compare(a, b);
    let fuzzy = compare_fuzzy(a, b);
    assert_eq!(Operator::Equal.accepts(a, b), order.is_eq());
    assert_eq!(Operator::LessOrFuzzy.accepts(a, b), fuzzy.is_le());
    if ![a, b, c].iter().all(|text| is_valid(text)) {
        return;
    }
    assert_eq!(compare(b, a), order.reverse());
    assert!(fuzzy.is_eq() || fuzzy == order);
    if order.is_le() && compare(b, c).is_le() {
        assert!(compare(a, c).is_le(), "{a} {b} {c}");
    }
});

//! Any text is an image file or a list of problems, each with a place in the text.
#![no_main]

use base::SourceText;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let source = SourceText::new("fuzz.yaml", text);
    if let Err(problems) = image::configuration::parse(source) {
        assert!(!problems.is_empty());
        for problem in problems {
            for label in &problem.labels {
                assert!(
                    text.get(label.span.clone()).is_some(),
                    "{problem}: {:?}",
                    label.span
                );
            }
        }
    }
});

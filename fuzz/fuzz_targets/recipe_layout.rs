//! Any YAML that can be laid out keeps its form when it is laid out again, and a recipe stays one.
#![no_main]

use base::SourceText;
use build::authoring::style;
use build::recipe::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let style = style::usual();
    let source = SourceText::new("fuzz.yaml", text);
    if let Ok(once) = yaml::format(&source, &style) {
        let again = SourceText::new("fuzz.yaml", once.as_str());
        assert_eq!(yaml::format(&again, &style).as_ref(), Ok(&once));
        assert_eq!(Recipe::parse(source).is_ok(), Recipe::parse(again).is_ok());
    }
});

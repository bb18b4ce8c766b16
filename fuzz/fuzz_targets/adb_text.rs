//! Any text is a file of format 3 or an error; what is one is written, read and stays the same.
#![no_main]

use apk::adb::text::{Dump, parse};
use apk::serialize::{Form, Serializer};
use libfuzzer_sys::fuzz_target;

fn dump(payload: &[u8], schema: u32) -> Vec<u8> {
    let mut text = Vec::new();
    let mut serializer = Serializer::new(Form::Yaml, false, &mut text);
    Dump::new(&mut serializer)
        .payload(payload, schema)
        .expect("what was made here is sound");
    text
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = parse(bytes) else {
        return;
    };
    // Texts of many lines lose their empty ones, and long bytes all but their number.
    if let Ok(once) = parse(&dump(&read.payload, read.schema)) {
        let text = dump(&once.payload, once.schema);
        let again = parse(&text).expect("what was written is read");
        assert_eq!(again, once);
        assert_eq!(dump(&again.payload, again.schema), text);
    }
});

//! Any bytes are blocks or an error; a payload is shown as text within bounds, and what is read back
//! from that text says the same.
#![no_main]

use apk::adb::text::{Dump, parse};
use apk::adb::{Adb, Builder, Reader};
use apk::serialize::{Form, Serializer};
use apk::signature::Keyring;
use archive::Limits;
use libfuzzer_sys::fuzz_target;

fn dump(payload: &[u8], schema: u32, form: Form) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut serializer = Serializer::new(form, false, &mut text);
    Dump::new(&mut serializer).payload(payload, schema).ok()?;
    Some(text)
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        bytes: 1 << 20,
        ..Limits::default()
    };
    if let Ok(mut file) = Reader::new(bytes, limits) {
        let mut text = Vec::new();
        let mut serializer = Serializer::new(Form::Yaml, true, &mut text);
        // What is damaged is an error.
        let _ = Dump::new(&mut serializer).file(&mut file, &Keyring::default());
    }
    // The rest takes the bytes as a payload, so that no header has to be guessed.
    for schema in apk::adb::schema::ALL {
        if let Some(text) = dump(bytes, schema.id, Form::Yaml)
            && let Ok(read) = parse(&text)
        {
            // Arrays that were out of order are put in order once, their items where they were.
            let sorted = dump(&read.payload, schema.id, Form::Yaml).expect("it was just written");
            let read = parse(&sorted).expect("what was written is read");
            let once = dump(&read.payload, schema.id, Form::Yaml).expect("it was just written");
            let again = parse(&once).expect("what was written is read");
            assert_eq!(again, read);
        }
        let _ = dump(bytes, schema.id, Form::Json);
    }
    if let Ok(adb) = Adb::new(bytes) {
        let mut copy = Builder::new();
        if let Ok(root) = adb.copy(adb.root(), &mut copy) {
            copy.set_root(root);
            let copy = copy
                .finish()
                .expect("it is no larger than what may be read");
            for schema in apk::adb::schema::ALL {
                let original = dump(bytes, schema.id, Form::Json);
                if original.is_some() {
                    assert_eq!(dump(&copy, schema.id, Form::Json), original);
                }
            }
        }
    }
});

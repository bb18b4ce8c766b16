//! Any text is a key, or an error; and a public key that was read is written and read again.
#![no_main]

use key::{PrivateKey, PublicKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = PublicKey::from_pem(text) {
        let again = PublicKey::from_pem(&key.to_pem()).expect("what was written is read");
        assert_eq!(again, key);
    }
    // Without a password none is derived from: that takes its time by design.
    let _ = PrivateKey::from_pem(text, || None);
    let _ = PublicKey::from_spki(text.as_bytes().to_vec());
});

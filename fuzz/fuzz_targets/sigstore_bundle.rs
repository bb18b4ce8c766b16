//! Any bytes are a bundle, a trusted root, a signing configuration or an identity token, or an error;
//! and nothing but what its signer wrote verifies.
#![no_main]

use std::sync::LazyLock;

use attest::bundle::Bundle;
use attest::sigstore::{Authorities, IdentityToken, Services, Signers, TokenSource};
use attest::trust::Trust;
use libfuzzer_sys::fuzz_target;

const ROOT: &[u8] = include_bytes!("../../crates/attest/testdata/sigstore/trusted_root.json");
const GOOD: &[u8] = include_bytes!("../../crates/attest/testdata/sigstore/bundle_2.json");

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let root = Authorities::from_json(ROOT).expect("a trusted root");
    Trust::default().and(root, vec![Signers::anybody()])
});

static SIGNED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let bundle = Bundle::from_json(GOOD).expect("a bundle");
    let verified = bundle.verify(&TRUST).expect("a good one");
    verified.payload().to_vec()
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = Bundle::from_json(bytes) {
        let _ = bundle.to_json();
        if let Ok(verified) = bundle.verify(&TRUST) {
            assert_eq!(
                verified.payload(),
                SIGNED.as_slice(),
                "somebody forged a bundle"
            );
        }
    }
    let _ = Authorities::from_json(bytes);
    let _ = Services::from_signing_config(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = IdentityToken::new(text, TokenSource::Given);
    }
});

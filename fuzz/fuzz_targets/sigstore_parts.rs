//! Any bytes in the place of a bundle's certificate, timestamp, log entry, checkpoint or signature are
//! refused: they are none that was signed.
#![no_main]

use std::sync::LazyLock;

use attest::bundle::Bundle;
use attest::sigstore::{Authorities, Signers};
use attest::trust::Trust;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const ROOT: &[u8] = include_bytes!("../../crates/attest/testdata/sigstore/trusted_root.json");
const BUNDLES: [&[u8]; 2] = [
    include_bytes!("../../crates/attest/testdata/sigstore/bundle_1.json"),
    include_bytes!("../../crates/attest/testdata/sigstore/bundle_2.json"),
];

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let root = Authorities::from_json(ROOT).expect("a trusted root");
    Trust::default().and(root, vec![Signers::anybody()])
});

const PLACES: [&str; 5] = [
    "/verificationMaterial/certificate/rawBytes",
    "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
    "/verificationMaterial/tlogEntries/0/canonicalizedBody",
    "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope",
    "/dsseEnvelope/signatures/0/sig",
];

fuzz_target!(|bytes: &[u8]| {
    let [which, bytes @ ..] = bytes else {
        return;
    };
    let which = usize::from(*which);
    let original = BUNDLES[which / PLACES.len() % BUNDLES.len()];
    let mut bundle: Value = serde_json::from_slice(original).expect("a bundle");
    let path = PLACES[which % PLACES.len()];
    let place = bundle.pointer_mut(path).expect("a part");
    let part = match path.ends_with("envelope") {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => STANDARD.encode(bytes),
    };
    let same = place.as_str() == Some(part.as_str());
    *place = part.into();
    let json = bundle.to_string();
    if let Ok(bundle) = Bundle::from_json(json.as_bytes()) {
        // Of a checkpoint and a timestamp, there are other ways to write what was signed.
        let signed = !matches!(which % PLACES.len(), 1 | 3);
        assert!(
            same || !signed || bundle.verify(&TRUST).is_err(),
            "somebody forged {path}"
        );
        let _ = bundle.verify(&TRUST);
    }
});

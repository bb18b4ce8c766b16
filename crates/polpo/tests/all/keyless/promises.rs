//! What logs and clocks say in the older form, beside a key's signature.

use std::fs;

use attest::sigstore::{Authorities, Matcher, Signers};
use base::Digest;
use image::verify::Statements;
use oci::{Companion, Manifest};
use serde_json::{Value, json};
use testkit::Sigstore;

use super::attacks::{Bed, assert_refused, changed};
use super::logged::verify;
use super::{Bench, PERSON, assert_says};

const PROMISE: &str = "dev.sigstore.cosign/bundle";
const TIME: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// The image in a layout, signed in the older form by `key` or by an identity, which a log and a clock
/// confirm.
fn signed(by: [&str; 2]) -> Bed {
    let bed = Bed::new();
    let generate = ["key", "generate", "--type", "ecdsa-p256", "key"];
    bed.bench.polpo(&generate).success();
    fs::write(bed.bench.path("token"), bed.bench.sigstore.token(PERSON)).unwrap();
    let sign = ["sign", "layout", "--legacy", "--signing-config"];
    let sign = [&sign[..], &["signing_config_1.json"], &by].concat();
    bed.bench.polpo(&sign).success();
    bed
}

impl Bed {
    fn companion(&self, kind: Companion) -> Manifest {
        let layout = self.layout();
        let tag = kind.tag(&self.image.digest);
        let descriptor = layout.resolve(Some(&tag)).unwrap();
        layout.manifest(&descriptor).unwrap()
    }

    /// What is said of the image with this in the place of what is attached to it.
    fn judge_older(
        &self,
        kind: Companion,
        manifest: &Manifest,
        root: &Value,
    ) -> Result<(), String> {
        let layout = self.layout();
        let before = layout.index().unwrap();
        let descriptor = layout.put_manifest(manifest).unwrap();
        layout
            .tag(&kind.tag(&self.image.digest), &descriptor)
            .unwrap();
        let key = key::load_public(&self.bench.path("key.pub")).unwrap();
        let trust = attest::trust::Trust::of_keys(vec![key]);
        let trust = trust.and(
            Authorities::from_json(root.to_string().as_bytes()).unwrap(),
            vec![Signers {
                subject: Matcher::Exact(PERSON.to_owned()),
                issuer: Matcher::Exact(self.bench.sigstore.issuer().to_owned()),
            }],
        );
        let found = Statements::about(&layout, &self.image, &trust).unwrap();
        layout.replace_index(&before).unwrap();
        match found.passed_over.as_slice() {
            [] => {
                // A log or a clock says when.
                assert!(found.trusted.iter().all(|stated| stated.time.is_some()));
                Ok(())
            }
            [first, ..] => Err(first.clone()),
        }
    }
}

fn annotated(manifest: &Manifest, name: &str, change: impl Fn(&mut Value)) -> Manifest {
    let mut manifest = manifest.clone();
    for layer in &mut manifest.layers {
        let mut value: Value = serde_json::from_str(&layer.annotations[name]).unwrap();
        change(&mut value);
        layer.annotations.insert(name.to_owned(), value.to_string());
    }
    manifest
}

#[test]
fn what_is_promised_of_a_key_has_to_be_true() {
    has_to_be_true(&signed(["--key", "key"]));
}

#[test]
fn what_is_promised_of_an_identity_has_to_be_true() {
    let bed = signed(["--identity-token-file", "token"]);
    has_to_be_true(&bed);
    let root = bed.bench.sigstore.trusted_root();
    for kind in [Companion::Signatures, Companion::Attestations] {
        let without = |name: &str| {
            let mut manifest = bed.companion(kind);
            for layer in &mut manifest.layers {
                layer.annotations.remove(name).unwrap();
            }
            bed.judge_older(kind, &manifest, &root)
        };
        assert_refused(without(PROMISE), "it has no annotation");
        let reason = match kind {
            Companion::Signatures => "no trusted key signed it",
            _ => "0 of the 1 trusted keys signed it",
        };
        assert_refused(without("dev.sigstore.cosign/certificate"), reason);
    }
}

fn has_to_be_true(bed: &Bed) {
    let root = bed.bench.sigstore.trusted_root();
    let others = Sigstore::start().trusted_root();
    for kind in [Companion::Signatures, Companion::Attestations] {
        let good = bed.companion(kind);
        for layer in &good.layers {
            assert!(layer.annotations.contains_key(PROMISE), "{layer:?}");
            assert!(layer.annotations.contains_key(TIME), "{layer:?}");
        }
        let judge = |manifest: &Manifest| bed.judge_older(kind, manifest, &root);
        assert_eq!(judge(&good), Ok(()));

        let promise = annotated(&good, PROMISE, |promise| {
            promise["SignedEntryTimestamp"] = changed(&promise["SignedEntryTimestamp"]);
        });
        assert_refused(judge(&promise), "SET verification failed");
        // The promise covers the time, the place and the body.
        for part in ["integratedTime", "logIndex"] {
            let moved = annotated(&good, PROMISE, |promise| {
                let value = promise["Payload"][part].as_i64().unwrap();
                promise["Payload"][part] = (value - 1).into();
            });
            assert_refused(judge(&moved), "SET verification failed");
        }
        let stranger = annotated(&good, PROMISE, |promise| {
            promise["Payload"]["logID"] = "ab".repeat(32).into();
        });
        assert_refused(
            judge(&stranger),
            "none of the logs that are said to have entered it is one of the trusted root",
        );
        let time = annotated(&good, TIME, |time| {
            time["SignedRFC3161Timestamp"] = changed(&time["SignedRFC3161Timestamp"]);
        });
        assert_refused(judge(&time), "invalid RFC 3161 timestamp");
        let doubled = {
            let mut manifest = good.clone();
            for layer in &mut manifest.layers {
                let text = layer.annotations[PROMISE].replacen('{', "{\"Payload\":1,", 1);
                layer.annotations.insert(PROMISE.to_owned(), text);
            }
            manifest
        };
        assert_refused(judge(&doubled), "the key `Payload` stands twice");
        // Of logs and clocks of others.
        for part in ["tlogs", "timestampAuthorities"] {
            let mut mixed = root.clone();
            mixed[part] = others[part].clone();
            bed.judge_older(kind, &good, &mixed).unwrap_err();
        }
    }

    // A genuine promise of the same log and the same key, of something else.
    let mut swapped = bed.companion(Companion::Attestations);
    let promises: Vec<String> = swapped
        .layers
        .iter()
        .map(|layer| layer.annotations[PROMISE].clone())
        .collect();
    let others = promises.iter().cycle().skip(1);
    for (layer, promise) in swapped.layers.iter_mut().zip(others) {
        layer
            .annotations
            .insert(PROMISE.to_owned(), promise.clone());
    }
    assert_refused(
        bed.judge_older(Companion::Attestations, &swapped, &root),
        "log entry does not match the bundle: DSSE payload hash mismatch",
    );
    let mut borrowed = bed.companion(Companion::Signatures);
    borrowed.layers[0]
        .annotations
        .insert(PROMISE.to_owned(), promises[0].clone());
    assert_refused(
        bed.judge_older(Companion::Signatures, &borrowed, &root),
        "is incompatible with a message signature",
    );
}

#[test]
fn polpo_verifies_what_logs_promise_of_a_key_of_cosign() {
    let bench = Bench::new();
    crate::trust::sbom(&bench.path("sbom.json"));
    let others = Sigstore::start().trusted_root().to_string();
    fs::write(bench.path("others.json"), others).unwrap();
    let generated = bench.cosign_with(3).env("COSIGN_PASSWORD", "");
    generated.args(["generate-key-pair"]).run().success();
    let clock = bench.sigstore.clock();
    for version in [2, 3] {
        let image = bench.image(&format!("cosign-{version}"));
        let newer = [
            "--use-signing-config=false",
            "--new-bundle-format=false",
            "--trusted-root=trusted_root.json",
        ];
        for words in [
            &["attest", "--type", "spdxjson", "--predicate", "sbom.json"][..],
            &["sign"],
        ] {
            bench
                .cosign_with(version)
                .env("COSIGN_PASSWORD", "")
                .args(words)
                .args(["--yes", "--allow-insecure-registry", "--key", "cosign.key"])
                .args(["--rekor-url", bench.sigstore.rekor(1)])
                .args(["--timestamp-server-url", &clock])
                .args(newer.iter().filter(|_| version == 3))
                .arg(&image)
                .run()
                .success();
        }
        let report = verify(&bench, &image, "cosign.pub", "trusted_root.json").success();
        assert_says(
            &report,
            "the image is signed, by a trusted key and about this digest, by 20",
        );
        let refused = verify(&bench, &image, "cosign.pub", "others.json").code(1);
        assert_says(
            &refused,
            "none of the logs that are said to have entered it is one of the trusted root",
        );
    }
}

#[test]
fn the_older_form_has_room_for_one_log_and_one_clock() {
    let bed = Bed::new();
    let bench = &bed.bench;
    for kind in ["ecdsa-p256", "ed25519"] {
        bench
            .polpo(&["key", "generate", "--type", kind, kind])
            .success();
    }
    let (first, clock) = (bench.sigstore.rekor(1), bench.sigstore.clock());
    let service = |url: &str, operator: &str, version: u32| {
        json!({"url": url, "majorApiVersion": version, "operator": operator,
            "validFor": {"start": "2020-01-01T00:00:00Z"}})
    };
    let config = |logs: Value, clocks: Value| {
        let config = json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "rekorTlogUrls": logs, "rekorTlogConfig": {"selector": "ALL"},
            "tsaUrls": clocks, "tsaConfig": {"selector": "ALL"},
        });
        fs::write(bench.path("config.json"), config.to_string()).unwrap();
    };
    let sign = |key: &str| {
        let words = ["sign", "layout", "--key", key, "--legacy"];
        bench.polpo(&[&words[..], &["--signing-config", "config.json"]].concat())
    };
    let before = bench.sigstore.entries(1);
    config(
        json!([service(first, "a", 1), service(first, "b", 1)]),
        json!([]),
    );
    assert_says(
        &sign("ecdsa-p256").code(1),
        "have room for one log, and 2 are wanted",
    );
    config(
        json!([service(first, "a", 1)]),
        json!([service(&clock, "a", 1), service(&clock, "b", 1)]),
    );
    assert_says(
        &sign("ecdsa-p256").code(1),
        "have room for one clock, and 2 are wanted",
    );
    config(json!([service(first, "a", 1)]), json!([]));
    assert_says(
        &sign("ed25519").code(1),
        "a log takes no Ed25519 signature of the older form",
    );
    // Nothing was entered for good before that was known.
    assert_eq!(bench.sigstore.entries(1), before);
    sign("ecdsa-p256").success();
    assert_ne!(bench.sigstore.entries(1), before);
    let digest: &Digest = &bed.image.digest;
    let tag = Companion::Signatures.tag(digest);
    assert!(bed.layout().resolve(Some(&tag)).is_ok());
}

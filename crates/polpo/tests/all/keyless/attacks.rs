//! What must not count as signed, and what is said of it.

use std::fs;

use attest::bundle;
use attest::intoto::SPDX_PREDICATE;
use attest::sigstore::{Authorities, Matcher, Signers};
use attest::trust::Trust;
use base::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::SIGNATURE;
use image::verify::Statements;
use key::{Algorithm, PrivateKey};
use oci::{Descriptor, Layout, Manifest};
use serde_json::{Value, json};
use testkit::Sigstore;

use super::{Bench, PERSON, WORKFLOW, assert_says};

/// A bench with the world's image in a layout of its own.
pub(super) struct Bed {
    pub(super) bench: Bench,
    pub(super) image: Descriptor,
}

impl Bed {
    pub(super) fn new() -> Bed {
        Bed::of(Bench::new())
    }

    pub(super) fn of(bench: Bench) -> Bed {
        let source = format!("oci:{}:latest", crate::world::world().layout().display());
        bench
            .polpo(&[
                "image",
                "copy",
                &source,
                "oci:layout:latest",
                "--without-referrers",
            ])
            .success();
        let image = Layout::open(bench.path("layout"))
            .unwrap()
            .image(Some("latest"), base::Arch::host())
            .unwrap();
        Bed {
            bench,
            image: image.descriptor,
        }
    }

    /// Signs the image as `subject`, and takes the bundles out again: by the type of the predicate.
    fn bundle(&self, kind: &str, subject: &str, rekor: u32) -> Value {
        self.bench.sign("layout", subject, rekor, &[]).success();
        self.last_bundle(kind)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::open(self.bench.path("layout")).unwrap()
    }

    /// The bundle that was attached last, of those with this type of predicate.
    pub(super) fn last_bundle(&self, kind: &str) -> Value {
        let layout = self.layout();
        let artifacts = layout.possible_referrers(&self.image.digest).unwrap();
        let mut found = artifacts
            .into_iter()
            .map(|(_, artifact)| artifact.unwrap())
            .filter(|artifact| artifact.annotations[image::PREDICATE_ANNOTATION] == kind);
        // The last one that was attached is this one's.
        let artifact = found.next_back().unwrap();
        let json = layout.read(&artifact.layers[0], 1 << 26).unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    fn trust(&self, root: &Value, subject: &str, issuer: &str) -> Trust {
        let root = Authorities::from_json(root.to_string().as_bytes()).unwrap();
        let signers = Signers {
            subject: Matcher::Exact(subject.to_owned()),
            issuer: Matcher::Exact(issuer.to_owned()),
        };
        Trust::default().and(root, vec![signers])
    }

    /// What is said of an image with nothing but this bundle attached to it.
    pub(super) fn judge(
        &self,
        bundle: &[u8],
        image: &Descriptor,
        trust: &Trust,
    ) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path().join("layout")).unwrap();
        let blob = layout.put_blob(bundle::MEDIA_TYPE, bundle).unwrap();
        let artifact = Manifest::artifact(bundle::MEDIA_TYPE, vec![blob], image);
        layout.attach(&artifact).unwrap();
        let mut found = Statements::about(&layout, image, trust).unwrap();
        match found.trusted.pop() {
            Some(stated) => {
                assert_eq!(stated.kind, SIGNATURE);
                assert!(found.passed_over.is_empty());
                Ok(())
            }
            None => Err(found.passed_over.remove(0)),
        }
    }
}

#[track_caller]
pub(super) fn assert_refused(result: Result<(), String>, reason: &str) {
    let message = result.expect_err(reason);
    assert!(message.contains(reason), "no `{reason}` in\n{message}");
}

pub(super) fn text(bundle: &Value) -> Vec<u8> {
    bundle.to_string().into_bytes()
}

pub(super) fn with(bundle: &Value, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle = bundle.clone();
    change(&mut bundle);
    text(&bundle)
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// Other base64 of as many bytes: the last one changed.
pub(super) fn changed(text: &Value) -> Value {
    let mut bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    STANDARD.encode(bytes).into()
}

#[test]
fn what_was_changed_after_signing_does_not_count() {
    let bed = Bed::new();
    let sigstore = &bed.bench.sigstore;
    let trust = bed.trust(&sigstore.trusted_root(), PERSON, sigstore.issuer());
    for rekor in [1, 2] {
        let good = bed.bundle(SIGNATURE, PERSON, rekor);
        let sbom = bed.bundle(SPDX_PREDICATE, PERSON, rekor);
        let judge = |bundle: &[u8]| bed.judge(bundle, &bed.image, &trust);
        assert_eq!(judge(&text(&good)), Ok(()));

        let payload = with(&good, |bundle| {
            let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
            let payload = STANDARD.decode(payload).unwrap();
            let payload = String::from_utf8(payload).unwrap();
            let other = payload.replace("\"predicate\":{}", "\"predicate\":{\"a\":1}");
            assert_ne!(payload, other);
            bundle["dsseEnvelope"]["payload"] = STANDARD.encode(other).into();
        });
        assert_refused(judge(&payload), "DSSE signature verification failed");

        // The entry of another statement by the same identity, whole and genuine.
        let of_another = with(&good, |bundle| {
            *entry(bundle) = sbom["verificationMaterial"]["tlogEntries"][0].clone();
        });
        let reason = match rekor {
            1 => "log entry does not match the bundle: DSSE payload hash mismatch",
            _ => "artifact hash mismatch for hashedrekord entry",
        };
        // With version 1, the time of that entry is that of its own certificate's.
        assert_refused(judge(&of_another), reason);

        let body = with(&good, |bundle| {
            let body = &entry(bundle)["canonicalizedBody"];
            let body = STANDARD.decode(body.as_str().unwrap()).unwrap();
            let other = String::from_utf8(body)
                .unwrap()
                .replace("\"0.0.", "\"00.0.");
            entry(bundle)["canonicalizedBody"] = STANDARD.encode(other).into();
        });
        let reason = match rekor {
            1 => "SET verification failed",
            _ => "inclusion proof verification failed",
        };
        assert_refused(judge(&body), reason);

        let proof = with(&good, |bundle| {
            let hash = &mut entry(bundle)["inclusionProof"]["hashes"][0];
            *hash = changed(hash);
        });
        assert_refused(judge(&proof), "inclusion proof verification failed");

        let stripped = with(&good, |bundle| {
            entry(bundle)
                .as_object_mut()
                .unwrap()
                .remove("inclusionProof");
        });
        assert_refused(judge(&stripped), "nclusion proof");

        for same_name in [true, false] {
            let reason = "an entry is not signed by the log that it names";
            let forged = with(&good, |bundle| {
                let note = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
                *note = by_another(note.as_str().unwrap(), same_name).into();
            });
            assert_refused(judge(&forged), reason);
        }
        let time = with(&good, |bundle| {
            let data = &mut bundle["verificationMaterial"]["timestampVerificationData"];
            let time = &mut data["rfc3161Timestamps"][0]["signedTimestamp"];
            *time = changed(time);
        });
        assert_refused(judge(&time), "invalid RFC 3161 timestamp");
        let timeless = with(&good, |bundle| {
            bundle["verificationMaterial"]["timestampVerificationData"] = json!({});
        });
        match rekor {
            1 => assert_eq!(judge(&timeless), Ok(())),
            _ => assert_refused(judge(&timeless), "no verified timestamp"),
        }
    }
}

/// The checkpoint signed by another key, which is called the same or not.
fn by_another(note: &str, same_name: bool) -> String {
    let (signed, line) = note.split_once("\n\n").unwrap();
    let (before, signature) = line.trim_end().rsplit_once(' ').unwrap();
    let mut signature = STANDARD.decode(signature).unwrap();
    // Ed25519 has 64 bytes, after the 4 of the key's name.
    let algorithm = match signature.len() {
        68 => Algorithm::Ed25519,
        _ => Algorithm::EcdsaP256,
    };
    let other = PrivateKey::generate(algorithm).unwrap();
    signature.truncate(4);
    if !same_name {
        signature[0] ^= 1;
    }
    signature.extend(other.sign(format!("{signed}\n").as_bytes()).unwrap());
    format!("{signed}\n\n{before} {}\n", STANDARD.encode(signature))
}

#[test]
fn what_was_signed_of_something_else_does_not_count() {
    let bed = Bed::new();
    let sigstore = &bed.bench.sigstore;
    let trust = bed.trust(&sigstore.trusted_root(), PERSON, sigstore.issuer());
    let good = bed.bundle(SIGNATURE, PERSON, 2);

    // A referrer that points here, with the signature of another image in it.
    let mut other = bed.image.clone();
    other.digest = Digest::of(b"another image");
    let reason = format!("the statement does not speak of {}", other.digest);
    assert_refused(bed.judge(&text(&good), &other, &trust), &reason);

    // A referrer that points elsewhere, with the signature of this image in it.
    let layout = Layout::create(bed.bench.path("elsewhere")).unwrap();
    let blob = layout.put_blob(bundle::MEDIA_TYPE, &text(&good)).unwrap();
    let artifact = Manifest::artifact(bundle::MEDIA_TYPE, vec![blob], &other);
    layout.attach(&artifact).unwrap();
    let found = Statements::about(&layout, &bed.image, &trust).unwrap();
    assert!(found.trusted.is_empty() && found.passed_over.is_empty());
    let found = Statements::about(&layout, &other, &trust).unwrap();
    assert!(found.trusted.is_empty());
    assert!(found.passed_over[0].contains(&reason));
}

#[test]
fn an_sbom_by_a_trusted_identity_is_no_signature() {
    let bench = Bench::new();
    let image = bench.image("described");
    fs::write(bench.path("sbom.json"), "{}").unwrap();
    fs::write(bench.path("token"), bench.sigstore.token(WORKFLOW)).unwrap();
    let attest = [
        "attest",
        &image,
        "--type",
        "spdxjson",
        "--predicate",
        "sbom.json",
        "--identity-token-file",
        "token",
        "--signing-config",
        "signing_config_2.json",
    ];
    bench.polpo(&attest).success();
    let report = bench.verify(&image, WORKFLOW).code(1);
    assert_says(&report, "nobody who is trusted says: the image is signed");
    assert_says(
        &report,
        &format!("an SBOM (SPDX) is attached, by {WORKFLOW}"),
    );
}

#[test]
fn strangers_do_not_count() {
    let bed = Bed::new();
    let sigstore = &bed.bench.sigstore;
    let root = sigstore.trusted_root();
    let good = text(&bed.bundle(SIGNATURE, PERSON, 1));
    let by = |root: &Value, subject: &str, issuer: &str| {
        bed.judge(&good, &bed.image, &bed.trust(root, subject, issuer))
    };
    assert_eq!(by(&root, PERSON, sigstore.issuer()), Ok(()));
    let stranger = format!(
        "the bundle is signed by {PERSON} (vouched for by {}), which is not among the identities \
         that are trusted",
        sigstore.issuer()
    );
    assert_refused(by(&root, "other@example.com", sigstore.issuer()), &stranger);
    assert_refused(by(&root, "igner@example.com", sigstore.issuer()), &stranger);
    assert_refused(by(&root, PERSON, "https://issuer.example"), &stranger);

    // Authorities of others, each alone.
    let others = Sigstore::start().trusted_root();
    for (part, reason) in [
        (
            "certificateAuthorities",
            "certificate chain validation failed",
        ),
        (
            "ctlogs",
            "SCT signature verification failed: Verification error: key not found",
        ),
        (
            "tlogs",
            "none of the logs that are said to have entered it is one of the trusted root",
        ),
        ("timestampAuthorities", "TSA timestamp verification failed"),
    ] {
        let mut mixed = root.clone();
        mixed[part] = others[part].clone();
        assert_refused(by(&mixed, PERSON, sigstore.issuer()), reason);
        // Nor does it count that there is none.
        mixed[part] = json!([]);
        by(&mixed, PERSON, sigstore.issuer()).unwrap_err();
    }
    // Keys and certificates do not stand in for each other.
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    let keys = Trust::of_keys(vec![key.public().unwrap()]);
    let reason = "signed with a certificate, not with a key";
    assert_refused(bed.judge(&good, &bed.image, &keys), reason);
}

#[test]
fn certificates_do_not_count_outside_their_time() {
    let bed = Bed::new();
    let sigstore = &bed.bench.sigstore;
    let trust = bed.trust(&sigstore.trusted_root(), PERSON, sigstore.issuer());
    sigstore.backdate_certificates(3600);
    for rekor in [1, 2] {
        let late = text(&bed.bundle(SIGNATURE, PERSON, rekor));
        assert_refused(bed.judge(&late, &bed.image, &trust), "CertExpired");
        // Who knows the trusted root does not attach it at all.
        let root = ["--trusted-root", "trusted_root.json"];
        let refused = bed.bench.sign("layout", PERSON, rekor, &root).code(1);
        let reason = "the services' answers do not hold against the trusted root";
        assert_says(&refused, reason);
    }
    let older = ["--trusted-root", "trusted_root.json", "--legacy"];
    let refused = bed.bench.sign("layout", PERSON, 1, &older).code(1);
    assert_says(&refused, "CertExpired");
    let tag = oci::Companion::Signatures.tag(&bed.image.digest);
    assert!(bed.layout().resolve(Some(&tag)).is_err());
}

#[test]
fn what_is_no_bundle_does_not_count() {
    let bed = Bed::new();
    let sigstore = &bed.bench.sigstore;
    let trust = bed.trust(&sigstore.trusted_root(), PERSON, sigstore.issuer());
    let good = bed.bundle(SIGNATURE, PERSON, 2);
    let judge = |bundle: &[u8]| bed.judge(bundle, &bed.image, &trust);
    assert_eq!(judge(&text(&good)), Ok(()));

    let stripped = with(&good, |bundle| {
        bundle["dsseEnvelope"]["signatures"] = json!([])
    });
    assert_refused(
        judge(&stripped),
        "the bundle's envelope bears 0 signatures, not one",
    );
    let anonymous = with(&good, |bundle| {
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        material.remove("certificate");
    });
    assert_refused(
        judge(&anonymous),
        "the bundle has no public key and no certificate",
    );
    let unlogged = with(&good, |bundle| {
        bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    });
    assert_refused(judge(&unlogged), "nclusion proof");

    let written = String::from_utf8(text(&good)).unwrap();
    for key in ["payload", "canonicalizedBody", "rawBytes", "tlogEntries"] {
        let doubled = written.replacen(
            &format!("\"{key}\":"),
            &format!("\"{key}\":1,\"{key}\":"),
            1,
        );
        let reason = format!("the key `{key}` stands twice");
        assert_refused(judge(doubled.as_bytes()), &reason);
    }
    let mut oversized = text(&good);
    oversized.resize((32 << 20) + 1, b' ');
    let reason = "33554433 bytes of JSON are more than the 33554432 that are read";
    assert_refused(judge(&oversized), reason);
}

/// A bundle of a key has to hold with what it has of logs, where it is known whose they must be.
#[test]
fn what_logs_say_of_a_key_has_to_be_true() {
    let bed = Bed::new();
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    let statement = attest::intoto::Statement::new(
        vec![attest::intoto::Subject::new("", bed.image.digest)],
        SIGNATURE,
        json!({}),
    );
    let signed = bundle::Bundle::sign(&statement, &key).unwrap();
    let plain: Value = serde_json::from_slice(&signed.to_json().unwrap()).unwrap();
    let logged = bed.bundle(SIGNATURE, PERSON, 2);
    let borrowed = with(&plain, |bundle| {
        for part in ["tlogEntries", "timestampVerificationData"] {
            bundle["verificationMaterial"][part] = logged["verificationMaterial"][part].clone();
        }
    });
    let trust = || Trust::of_keys(vec![key.public().unwrap()]);
    assert_eq!(bed.judge(&borrowed, &bed.image, &trust()), Ok(()));
    let root = bed.bench.sigstore.trusted_root().to_string();
    let root = || Authorities::from_json(root.as_bytes()).unwrap();
    let judge = |bundle: &[u8]| bed.judge(bundle, &bed.image, &trust().and(root(), Vec::new()));
    assert_eq!(judge(&text(&plain)), Ok(()));
    assert_refused(
        judge(&borrowed),
        "the bundle does not hold against the trusted root",
    );
}

/// What logs enter of keys' signatures is verified in another way than what they enter of identities'.
#[test]
fn what_a_log_entered_of_a_key_has_to_be_its_signature() {
    for kind in ["rsa", "ecdsa-p256"] {
        let bed = Bed::new();
        bed.bench
            .polpo(&["key", "generate", "--type", kind, "key"])
            .success();
        let sign = ["sign", "layout", "--key", "key", "--signing-config"];
        bed.bench
            .polpo(&[&sign[..], &["signing_config_2.json"]].concat())
            .success();
        let good = bed.last_bundle(SIGNATURE);
        let sbom = bed.last_bundle(SPDX_PREDICATE);
        let key = key::load_public(&bed.bench.path("key.pub")).unwrap();
        let root = bed.bench.sigstore.trusted_root().to_string();
        let judge = |bundle: &[u8]| {
            let root = Authorities::from_json(root.as_bytes()).unwrap();
            let trust = Trust::of_keys(vec![key.clone()]).and(root, Vec::new());
            bed.judge(bundle, &bed.image, &trust)
        };
        assert_eq!(judge(&text(&good)), Ok(()));

        let of_another = with(&good, |bundle| {
            *entry(bundle) = sbom["verificationMaterial"]["tlogEntries"][0].clone();
        });
        let reason = "the log entry is of another signature, key or statement";
        assert_refused(judge(&of_another), reason);
        // What says the same and is not what the log has.
        let rewritten = with(&good, |bundle| {
            let body = &mut entry(bundle)["canonicalizedBody"];
            let mut bytes = STANDARD.decode(body.as_str().unwrap()).unwrap();
            bytes.push(b' ');
            *body = STANDARD.encode(bytes).into();
        });
        assert_refused(
            judge(&rewritten),
            "the inclusion proof of the log entry does not hold",
        );
        let doubled = with(&good, |bundle| {
            let body = &mut entry(bundle)["canonicalizedBody"];
            let text = String::from_utf8(STANDARD.decode(body.as_str().unwrap()).unwrap()).unwrap();
            *body = STANDARD
                .encode(text.replacen('{', "{\"kind\":1,", 1))
                .into();
        });
        assert_refused(judge(&doubled), "the key `kind` stands twice");
        let proof = with(&good, |bundle| {
            let hash = &mut entry(bundle)["inclusionProof"]["hashes"][0];
            *hash = changed(hash);
        });
        assert_refused(
            judge(&proof),
            "the inclusion proof of the log entry does not hold",
        );
        let moved = with(&good, |bundle| entry(bundle)["logIndex"] = "2".into());
        assert_refused(
            judge(&moved),
            "the inclusion proof of the log entry does not hold",
        );
        let stripped = with(&good, |bundle| {
            entry(bundle)
                .as_object_mut()
                .unwrap()
                .remove("inclusionProof");
        });
        assert_refused(judge(&stripped), "inclusion proof");
        let forged = with(&good, |bundle| {
            let note = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
            *note = by_another(note.as_str().unwrap(), true).into();
        });
        assert_refused(
            judge(&forged),
            "an entry is not signed by the log that it names",
        );
        let time = with(&good, |bundle| {
            let data = &mut bundle["verificationMaterial"]["timestampVerificationData"];
            let time = &mut data["rfc3161Timestamps"][0]["signedTimestamp"];
            *time = changed(time);
        });
        assert_refused(judge(&time), "invalid RFC 3161 timestamp");
    }
}

//! Programs that are not cosign verify what polpo signs.

use std::fs;

use image::SIGNATURE;
use serde_json::{Value, json};
use testkit::Program;

use super::{Bench, PERSON, WORKFLOW};

/// An image signed by `subject`: its digest, and the bundle in a file.
fn signed(bench: &Bench, subject: &str, rekor: u32) -> String {
    let source = format!("oci:{}:latest", crate::world::world().layout().display());
    let to = format!("oci:signed-{rekor}:latest");
    bench
        .polpo(&["image", "copy", &source, &to, "--without-referrers"])
        .success();
    bench
        .sign(&format!("signed-{rekor}"), subject, rekor, &[])
        .success();
    let layout = oci::Layout::open(bench.path(&format!("signed-{rekor}"))).unwrap();
    let image = layout.image(Some("latest"), base::Arch::host()).unwrap();
    let digest = image.descriptor.digest;
    let (_, artifact) = layout
        .possible_referrers(&digest)
        .unwrap()
        .into_iter()
        .map(|(descriptor, artifact)| (descriptor, artifact.unwrap()))
        .find(|(_, artifact)| artifact.annotations[image::PREDICATE_ANNOTATION] == SIGNATURE)
        .unwrap();
    let bundle = layout.read(&artifact.layers[0], 1 << 20).unwrap();
    fs::write(bench.path("bundle.json"), &bundle).unwrap();
    let mut forged: Value = serde_json::from_slice(&bundle).unwrap();
    let entry = &mut forged["verificationMaterial"]["tlogEntries"][0];
    entry["inclusionProof"]["hashes"][0] = entry["inclusionProof"]["hashes"][1].clone();
    fs::write(bench.path("forged.json"), forged.to_string()).unwrap();
    digest.to_string()
}

#[test]
fn sigstore_python_verifies_bundles_of_polpo() {
    let bench = Bench::new();
    for (rekor, subject) in [(1, PERSON), (2, WORKFLOW)] {
        let digest = signed(&bench, subject, rekor);
        let config = json!({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": bench.sigstore.trusted_root(),
            "signingConfig": bench.sigstore.signing_config(rekor),
        });
        fs::write(bench.path("trust.json"), config.to_string()).unwrap();
        let verify = |bundle: &str, subject: &str| {
            Program::tool("sigstore")
                .args(["--trust-config", "trust.json", "verify", "identity"])
                .args(["--offline", "--bundle", bundle, "--cert-identity", subject])
                .args(["--cert-oidc-issuer", bench.sigstore.issuer(), &digest])
                .env("HOME", bench.path("home"))
                .folder(bench.folder.path())
                .run()
        };
        verify("bundle.json", subject).success();
        assert!(!verify("bundle.json", "other@example.com").status.success());
        assert!(!verify("forged.json", subject).status.success());
    }
}

/// Verifies a bundle against a trusted root with Sigstore's libraries for JavaScript.
const SCRIPT: &str = r#"
const fs = require('fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');
const [, , file, subject, issuer] = process.argv;
const read = (name) => JSON.parse(fs.readFileSync(name));
const material = toTrustMaterial(TrustedRoot.fromJSON(read('trusted_root.json')));
const entity = toSignedEntity(bundleFromJSON(read(file)));
const signer = new Verifier(material).verify(entity, {
  subjectAlternativeName: subject,
  extensions: { issuer },
});
console.log(signer.identity.subjectAlternativeName);
"#;

#[test]
fn sigstore_js_verifies_bundles_of_polpo() {
    let bench = Bench::new();
    fs::write(bench.path("verify.cjs"), SCRIPT).unwrap();
    let modules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/tools/node/node_modules"
    );
    for (rekor, subject) in [(1, WORKFLOW), (2, PERSON)] {
        signed(&bench, subject, rekor);
        let verify = |bundle: &str, subject: &str| {
            Program::new("node")
                .args(["verify.cjs", bundle, subject, bench.sigstore.issuer()])
                .env("NODE_PATH", modules)
                .folder(bench.folder.path())
                .run()
        };
        let said = verify("bundle.json", subject).success();
        assert_eq!(said.stdout.trim(), subject);
        assert!(!verify("bundle.json", "other@example.com").status.success());
        assert!(!verify("forged.json", subject).status.success());
    }
}

//! Signatures by identities: polpo, cosign and others against one deployment of Sigstore.

mod attacks;
mod logged;
mod others;
mod promises;
mod several;
mod sources;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use testkit::{Finished, Program, Registry, Sigstore};

use crate::world::world;

const WORKFLOW: &str =
    "https://example.com/team/hello/.github/workflows/release.yaml@refs/heads/main";
const PERSON: &str = "signer@example.com";

/// A registry, a deployment, and a folder with what it takes to sign and verify.
struct Bench {
    folder: TempDir,
    registry: Registry,
    sigstore: Sigstore,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().unwrap(),
            registry: Registry::start(),
            sigstore: Sigstore::start(),
        };
        fs::create_dir(bench.path("home")).unwrap();
        for rekor in [1, 2] {
            bench.sigstore.write(bench.folder.path(), rekor);
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The world's image, without what refers to it, under a name of its own; by digest.
    fn image(&self, name: &str) -> String {
        world().push(&self.registry, name)
    }

    fn polpo(&self, words: &[&str]) -> Finished {
        let program = world().polpo().env("HOME", self.path("home"));
        program.folder(self.folder.path()).args(words).run()
    }

    /// polpo signs `image` as `subject`, with that log.
    fn sign(&self, image: &str, subject: &str, rekor: u32, more: &[&str]) -> Finished {
        fs::write(self.path("token"), self.sigstore.token(subject)).unwrap();
        let config = format!("signing_config_{rekor}.json");
        let words = [
            "sign",
            image,
            "--identity-token-file",
            "token",
            "--signing-config",
            &config,
        ];
        self.polpo(&[&words[..], more].concat())
    }

    /// polpo verifies `image` as signed by `subject`.
    fn verify(&self, image: &str, subject: &str) -> Finished {
        self.verify_by(
            image,
            &["--certificate-identity", subject],
            self.sigstore.issuer(),
        )
    }

    fn verify_by(&self, image: &str, identity: &[&str], issuer: &str) -> Finished {
        let program = world().polpo().folder(self.folder.path());
        program
            .args(["verify", image, "--trusted-root", "trusted_root.json"])
            .args(identity)
            .args(["--certificate-oidc-issuer", issuer, "-r"])
            .arg(world().packages())
            .arg("-r")
            .arg(world().seed())
            .arg("-k")
            .arg(world().keys())
            .run()
    }

    fn cosign_with(&self, version: u32) -> Program {
        let mut program = Program::tool(&format!("cosign-{version}"))
            .env("HOME", self.path("home"))
            .env("TUF_ROOT", self.path("tuf"))
            .folder(self.folder.path());
        // Of the older form it asks no trusted root.
        if version == 2 {
            for (name, path) in self.sigstore.variables(self.folder.path()) {
                program = program.env(name, path);
            }
        }
        program
    }

    fn cosign(&self, words: &[&str]) -> Finished {
        self.cosign_with(3).args(words).run()
    }

    /// cosign verifies `image` as signed by `subject`: a signature, or a statement of a type.
    fn cosign_verify(&self, image: &str, subject: &str, kind: Option<&str>) -> Finished {
        let mut words = vec![if kind.is_some() {
            "verify-attestation"
        } else {
            "verify"
        }];
        words.extend([
            "--trusted-root",
            "trusted_root.json",
            "--allow-insecure-registry",
        ]);
        words.extend(["--certificate-identity", subject]);
        words.extend(["--certificate-oidc-issuer", self.sigstore.issuer()]);
        words.extend(kind.iter().flat_map(|kind| ["--type", kind]));
        words.push(image);
        self.cosign(&words)
    }
}

fn assert_says(finished: &Finished, text: &str) {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(
        said.contains(text),
        "{}: no `{text}` in\n{said}",
        finished.shown
    );
}

#[test]
fn cosign_verifies_what_an_identity_signs_with_polpo() {
    let bench = Bench::new();
    for (rekor, subject) in [(1, PERSON), (2, WORKFLOW)] {
        let image = bench.image(&format!("log-{rekor}"));
        let root = ["--trusted-root", "trusted_root.json"];
        let said = bench.sign(&image, subject, rekor, &root).success();
        assert_says(&said, "3 statements attached");
        let report = bench.verify(&image, subject).success();
        let issuer = bench.sigstore.issuer();
        let signed = format!("the image is signed, by {subject} (vouched for by {issuer})");
        assert_says(&report, &signed);
        bench.cosign_verify(&image, subject, None).success();
        for kind in ["spdxjson", "slsaprovenance1"] {
            bench.cosign_verify(&image, subject, Some(kind)).success();
        }
        let other = bench.cosign_verify(&image, "other@example.com", None);
        assert!(!other.status.success());
    }
}

#[test]
fn polpo_verifies_what_an_identity_signs_with_cosign() {
    let bench = Bench::new();
    for (rekor, subject) in [(1, WORKFLOW), (2, PERSON)] {
        let image = bench.image(&format!("log-{rekor}"));
        // Without an SBOM there is no chain.
        bench.sign(&image, PERSON, 2, &[]).success();
        let config = format!("signing_config_{rekor}.json");
        fs::write(bench.path("token"), bench.sigstore.token(subject)).unwrap();
        let call = |command: &str, more: &[&str]| {
            let words = [
                command,
                "--yes",
                "--allow-insecure-registry",
                "--identity-token",
                "token",
                "--signing-config",
                &config,
                "--trusted-root",
                "trusted_root.json",
            ];
            bench
                .cosign(&[&words[..], more, &[&image]].concat())
                .success();
        };
        call("sign", &[]);
        let issuer = bench.sigstore.issuer();
        let report = bench.verify(&image, subject);
        assert_says(
            &report,
            &format!("the image is signed, by {subject} (vouched for by {issuer})"),
        );
    }
}

#[test]
fn the_older_form_goes_both_ways() {
    let bench = Bench::new();
    let image = bench.image("older");
    let issuer = bench.sigstore.issuer();
    // The older form has no room for what a log of version 2 says.
    let refused = bench.sign(&image, PERSON, 2, &["--legacy"]).code(1);
    assert_says(&refused, "take a log of version 1");
    bench.sign(&image, PERSON, 1, &["--legacy"]).success();
    let signed = format!("the image is signed, by {PERSON} (vouched for by {issuer})");
    assert_says(&bench.verify(&image, PERSON).success(), &signed);
    let stranger = bench.verify(&image, WORKFLOW).code(1);
    assert_says(
        &stranger,
        "which is not among the identities that are trusted",
    );
    for version in [2, 3] {
        let verify = |command: &str, more: &[&str]| {
            bench
                .cosign_with(version)
                .args([
                    command,
                    "--new-bundle-format=false",
                    "--allow-insecure-registry",
                ])
                .args(
                    ["--trusted-root=trusted_root.json"]
                        .iter()
                        .filter(|_| version == 3),
                )
                .args(["--certificate-identity", PERSON])
                .args(["--certificate-oidc-issuer", issuer])
                .args(more)
                .arg(&image)
                .run()
        };
        verify("verify", &[]).success();
        for kind in ["spdxjson", "slsaprovenance1"] {
            verify("verify-attestation", &["--type", kind]).success();
        }
    }

    let image = bench.image("older-cosign");
    bench.sign(&image, PERSON, 1, &["--legacy"]).success();
    fs::write(bench.path("token"), bench.sigstore.token(WORKFLOW)).unwrap();
    let signed = bench
        .cosign_with(3)
        .args([
            "sign",
            "--yes",
            "--allow-insecure-registry",
            "--identity-token",
            "token",
        ])
        .args(["--use-signing-config=false", "--new-bundle-format=false"])
        .args(["--trusted-root", "trusted_root.json"])
        .args(["--fulcio-url", bench.sigstore.fulcio()])
        .args(["--rekor-url", bench.sigstore.rekor(1)])
        .args(["--timestamp-server-url", &bench.sigstore.clock()])
        .arg(&image)
        .run()
        .success();
    drop(signed);
    let signed = format!("the image is signed, by {WORKFLOW} (vouched for by {issuer})");
    assert_says(&bench.verify(&image, WORKFLOW), &signed);
}

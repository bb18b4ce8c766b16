//! Keys whose signatures a log and a clock confirm; and statements of cosign alone.

use std::fs;

use testkit::{Finished, Sigstore};

use super::{Bench, PERSON, WORKFLOW, assert_says};
use crate::world::world;

/// polpo verifies `image` by a key, with what logs and clocks say.
fn verify(bench: &Bench, image: &str, key: &str, root: &str) -> Finished {
    let program = world().polpo().folder(bench.folder.path());
    program
        .args(["verify", image, "--key", key, "--trusted-root", root, "-r"])
        .arg(world().packages())
        .arg("-r")
        .arg(world().seed())
        .arg("-k")
        .arg(world().keys())
        .run()
}

#[test]
fn logs_and_clocks_confirm_what_a_key_of_polpo_signs() {
    let bench = Bench::new();
    let others = Sigstore::start().trusted_root().to_string();
    fs::write(bench.path("others.json"), others).unwrap();
    for (kind, rekor) in [("ecdsa-p256", 1), ("ecdsa-p256", 2), ("ed25519", 1)] {
        let name = format!("{kind}-{rekor}");
        let image = bench.image(&name);
        bench
            .polpo(&["key", "generate", "--type", kind, &name])
            .success();
        let config = format!("signing_config_{rekor}.json");
        let sign = ["sign", &image, "--key", &name, "--signing-config", &config];
        let root = ["--trusted-root", "trusted_root.json"];
        bench.polpo(&[&sign[..], &root].concat()).success();
        let key = format!("{name}.pub");
        let cosign = |command: &str, more: &[&str]| {
            let words = [command, "--key", &key, "--allow-insecure-registry"];
            bench.cosign(&[&words[..], &root, more, &[&image]].concat())
        };
        cosign("verify", &[]).success();
        for kind in ["spdxjson", "slsaprovenance1"] {
            cosign("verify-attestation", &["--type", kind]).success();
        }
        let report = verify(&bench, &image, &key, "trusted_root.json").success();
        assert_says(
            &report,
            "the image is signed, by a trusted key and about this digest, by 20",
        );
        let refused = verify(&bench, &image, &key, "others.json").code(1);
        assert_says(
            &refused,
            "the bundle does not hold against the trusted root",
        );
    }
    let image = bench.image("ed25519-2");
    let sign = [
        "sign",
        &image,
        "--key",
        "ed25519-1",
        "--signing-config",
        "signing_config_2.json",
    ];
    assert_says(
        &bench.polpo(&sign).code(1),
        "takes signatures of ECDSA on P-256",
    );

    // A clock alone.
    let clock = bench.sigstore.clock();
    let sign = [
        "sign",
        &image,
        "--key",
        "ecdsa-p256-1",
        "--timestamp-url",
        &clock,
    ];
    bench.polpo(&sign).success();
    let cosign = bench.cosign(&[
        "verify",
        "--key=ecdsa-p256-1.pub",
        "--trusted-root=trusted_root.json",
        "--insecure-ignore-tlog",
        "--use-signed-timestamps",
        "--allow-insecure-registry",
        &image,
    ]);
    cosign.success();
    let report = verify(&bench, &image, "ecdsa-p256-1.pub", "trusted_root.json").success();
    assert_says(
        &report,
        "the image is signed, by a trusted key and about this digest, by 20",
    );
}

#[test]
fn logs_confirm_what_a_key_signs_in_the_older_form() {
    let bench = Bench::new();
    let image = bench.image("older");
    bench
        .polpo(&["key", "generate", "--type", "ecdsa-p256", "key"])
        .success();
    let config = "signing_config_1.json";
    let sign = [
        "sign",
        &image,
        "--key",
        "key",
        "--legacy",
        "--signing-config",
        config,
    ];
    bench.polpo(&sign).success();
    for version in [2, 3] {
        let root = ["--trusted-root=trusted_root.json"];
        for command in [
            &["verify"][..],
            &["verify-attestation", "--type", "spdxjson"],
        ] {
            bench
                .cosign_with(version)
                .args(command)
                .args(["--key", "key.pub", "--allow-insecure-registry"])
                .arg("--new-bundle-format=false")
                .args(root.iter().filter(|_| version == 3))
                .arg(&image)
                .run()
                .success();
        }
    }
    verify(&bench, &image, "key.pub", "trusted_root.json").success();
}

#[test]
fn polpo_verifies_what_logs_confirm_of_a_key_of_cosign() {
    let bench = Bench::new();
    let generated = bench.cosign_with(3).env("COSIGN_PASSWORD", "");
    generated.args(["generate-key-pair"]).run().success();
    crate::trust::sbom(&bench.path("sbom.json"));
    for rekor in [1, 2] {
        let image = bench.image(&format!("cosign-{rekor}"));
        let config = format!("signing_config_{rekor}.json");
        let call = |words: &[&str]| {
            bench
                .cosign_with(3)
                .env("COSIGN_PASSWORD", "")
                .args(words)
                .args(["--yes", "--allow-insecure-registry", "--key", "cosign.key"])
                .args([
                    "--signing-config",
                    &config,
                    "--trusted-root",
                    "trusted_root.json",
                ])
                .arg(&image)
                .run()
                .success()
        };
        call(&["attest", "--type", "spdxjson", "--predicate", "sbom.json"]);
        let report = verify(&bench, &image, "cosign.pub", "trusted_root.json").code(1);
        assert_says(&report, "nobody who is trusted says: the image is signed");
        call(&["sign"]);
        let report = verify(&bench, &image, "cosign.pub", "trusted_root.json").success();
        assert_says(
            &report,
            "the image is signed, by a trusted key and about this digest, by 20",
        );
    }
}

/// The whole chain with nothing of polpo's attached.
#[test]
fn polpo_verifies_signature_and_sbom_of_cosign() {
    let bench = Bench::new();
    crate::trust::sbom(&bench.path("sbom.json"));
    for (rekor, subject) in [(1, PERSON), (2, WORKFLOW)] {
        let image = bench.image(&format!("whole-{rekor}"));
        let config = format!("signing_config_{rekor}.json");
        fs::write(bench.path("token"), bench.sigstore.token(subject)).unwrap();
        for words in [
            &["attest", "--type", "spdxjson", "--predicate", "sbom.json"][..],
            &["sign"],
        ] {
            bench
                .cosign_with(3)
                .args(words)
                .args([
                    "--yes",
                    "--allow-insecure-registry",
                    "--identity-token",
                    "token",
                ])
                .args([
                    "--signing-config",
                    &config,
                    "--trusted-root",
                    "trusted_root.json",
                ])
                .arg(&image)
                .run()
                .success();
        }
        let report = bench.verify(&image, subject).success();
        assert_says(
            &report,
            "the SBOM lists the installed packages, all of them and nothing else",
        );
        bench.verify(&image, "other@example.com").code(1);
    }
}

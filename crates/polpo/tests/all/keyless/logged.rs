//! Keys whose signatures a log and a clock confirm; and statements of cosign alone.

use std::fs;

use testkit::{Finished, Sigstore};

use super::{Bench, PERSON, WORKFLOW, assert_says};
use crate::world::world;

/// polpo verifies `image` by a key, with what logs and clocks say.
pub(super) fn verify(bench: &Bench, image: &str, key: &str, root: &str) -> Finished {
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
    for (kind, rekor) in [
        ("ecdsa-p256", 1),
        ("ecdsa-p256", 2),
        ("ed25519", 1),
        ("rsa", 1),
        ("rsa", 2),
    ] {
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
    // No log of version 2 takes what verifies as a statement of Ed25519: nothing is sent to it.
    let image = bench.image("ed25519-2");
    let sign = |config: &str| {
        let words = ["sign", &image, "--key", "ed25519-1", "--signing-config"];
        bench.polpo(&[&words[..], &[config]].concat())
    };
    let before = [1, 2].map(|version| bench.sigstore.entries(version));
    assert_says(
        &sign("signing_config_2.json").code(1),
        "a log of version 2 takes no Ed25519 signature of a statement",
    );
    let after = [1, 2].map(|version| bench.sigstore.entries(version));
    assert_eq!(before, after);

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

/// A log of version 1 tells the time itself; a key needs nobody to tell it.
#[test]
fn no_clock_is_needed_where_a_log_tells_the_time_or_a_key_signs() {
    let bench = Bench::new();
    let root = ["--trusted-root", "trusted_root.json"];
    let issuer = bench.sigstore.issuer();
    fs::write(bench.path("token"), bench.sigstore.token(PERSON)).unwrap();
    let token = ["--identity-token-file", "token"];
    let fulcio = ["--fulcio-url", bench.sigstore.fulcio()];
    let log = |version: u32, number: &'static str| {
        let url = bench.sigstore.rekor(version);
        ["--rekor-url", url, "--rekor-version", number]
    };
    let signed = format!("the image is signed, by {PERSON} (vouched for by {issuer})");

    let image = bench.image("identity");
    let sign = ["sign", &image];
    let words = [&sign[..], &token, &fulcio, &root];
    let refused = bench.polpo(&[&words.concat()[..], &log(2, "2")].concat());
    assert_says(&refused.code(2), "a log of version 2 tells no time");
    bench
        .polpo(&[&words.concat()[..], &log(1, "1")].concat())
        .success();
    bench.cosign_verify(&image, PERSON, None).success();
    bench
        .cosign_verify(&image, PERSON, Some("spdxjson"))
        .success();
    assert_says(&bench.verify(&image, PERSON).success(), &signed);

    // cosign signs, without a clock too.
    let image = bench.image("identity-cosign");
    let mut config = bench.sigstore.signing_config(1);
    config.as_object_mut().unwrap().remove("tsaUrls");
    config.as_object_mut().unwrap().remove("tsaConfig");
    fs::write(bench.path("clockless.json"), config.to_string()).unwrap();
    let words = ["sign", "--yes", "--allow-insecure-registry"];
    let who = ["--identity-token", "token", "--signing-config"];
    let words = [&words[..], &who, &["clockless.json"], &root, &[&image]];
    bench.cosign(&words.concat()).success();
    assert_says(&bench.verify(&image, PERSON), &signed);

    bench
        .polpo(&["key", "generate", "--type", "rsa", "key"])
        .success();
    for (version, number) in [(1, "1"), (2, "2")] {
        let image = bench.image(&format!("key-{version}"));
        let sign = ["sign", &image, "--key", "key"];
        bench
            .polpo(&[&sign[..], &log(version, number), &root].concat())
            .success();
        let words = ["verify", "--key", "key.pub", "--allow-insecure-registry"];
        bench
            .cosign(&[&words[..], &root, &[&image]].concat())
            .success();
        let report = verify(&bench, &image, "key.pub", "trusted_root.json").success();
        assert_says(&report, "the image is signed, by a trusted key");
    }
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
                .args(["--new-bundle-format=false", "--use-signed-timestamps"])
                .args(root.iter().filter(|_| version == 3))
                .arg(&image)
                .run()
                .success();
        }
    }
    let report = verify(&bench, &image, "key.pub", "trusted_root.json").success();
    assert_says(
        &report,
        "the image is signed, by a trusted key and about this digest, by 20",
    );
}

#[test]
fn polpo_verifies_what_logs_confirm_of_a_key_of_cosign() {
    let bench = Bench::new();
    let cosign = |words: &[&str]| {
        let cosign = bench.cosign_with(3).env("COSIGN_PASSWORD", "");
        cosign.args(words).run().success()
    };
    cosign(&["generate-key-pair"]);
    bench
        .polpo(&["key", "generate", "--type", "rsa", "rsa.pem"])
        .success();
    cosign(&[
        "import-key-pair",
        "--key",
        "rsa.pem",
        "--output-key-prefix",
        "rsa",
    ]);
    crate::trust::sbom(&bench.path("sbom.json"));
    for (key, rekor) in [("cosign", 1), ("cosign", 2), ("rsa", 1), ("rsa", 2)] {
        let image = bench.image(&format!("{key}-{rekor}"));
        let (private, public) = (format!("{key}.key"), format!("{key}.pub"));
        let config = format!("signing_config_{rekor}.json");
        let call = |words: &[&str]| {
            bench
                .cosign_with(3)
                .env("COSIGN_PASSWORD", "")
                .args(words)
                .args(["--yes", "--allow-insecure-registry", "--key", &private])
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
        let report = verify(&bench, &image, &public, "trusted_root.json").code(1);
        assert_says(&report, "nobody who is trusted says: the image is signed");
        call(&["sign"]);
        let report = verify(&bench, &image, &public, "trusted_root.json").success();
        assert_says(
            &report,
            "the image is signed, by a trusted key and about this digest, by 20",
        );
    }
}

/// Why polpo sends no Ed25519 signature to a log of version 2: what the log takes nobody verifies.
#[test]
fn cosign_verifies_not_even_its_own_ed25519_signature_in_a_log_of_version_2() {
    let bench = Bench::new();
    let cosign = |words: &[&str]| {
        let cosign = bench.cosign_with(3).env("COSIGN_PASSWORD", "");
        cosign.args(words).run()
    };
    bench
        .polpo(&["key", "generate", "--type", "ed25519", "key.pem"])
        .success();
    let import = ["import-key-pair", "--key", "key.pem"];
    cosign(&[&import[..], &["--output-key-prefix", "key"]].concat()).success();
    let image = bench.image("ed25519");
    let words = ["sign", "--yes", "--allow-insecure-registry"];
    let who = ["--key", "key.key", "--signing-config"];
    let with = ["signing_config_2.json", "--trusted-root"];
    let words = [&words[..], &who, &with, &["trusted_root.json", &image]];
    let before = bench.sigstore.entries(2);
    let refused = cosign(&words.concat()).code(1);
    assert_says(&refused, "failed to verify signature");
    // The log has taken it.
    assert_eq!(bench.sigstore.entries(2), before + 1);
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

//! Statements that more than one log has entered.

use std::fs;

use attest::trust::Trust;
use image::SIGNATURE;
use serde_json::{Value, json};
use testkit::Finished;

use super::attacks::{Bed, assert_refused, text, with};
use super::{Bench, PERSON, WORKFLOW, assert_says};
use crate::world::world;

/// The two logs of version 2.
const BOTH: &str = "signing_config_both.json";

fn bench() -> Bench {
    let bench = Bench::new();
    let config = bench.sigstore.signing_config_of_two_logs().to_string();
    fs::write(bench.path(BOTH), config).unwrap();
    bench
}

fn verify(bench: &Bench, image: &str, more: &[&str]) -> Finished {
    let program = world().polpo().folder(bench.folder.path());
    program
        .args(["verify", image])
        .args(more)
        .arg("-r")
        .arg(world().packages())
        .arg("-r")
        .arg(world().seed())
        .arg("-k")
        .arg(world().keys())
        .run()
}

#[test]
fn both_logs_enter_what_polpo_signs() {
    let bench = bench();
    let root = ["--trusted-root", "trusted_root.json"];
    let identity = [
        "--certificate-identity",
        WORKFLOW,
        "--certificate-oidc-issuer",
        bench.sigstore.issuer(),
    ];
    bench
        .polpo(&["key", "generate", "--type", "rsa", "rsa"])
        .success();
    let token = bench.sigstore.token(WORKFLOW);
    fs::write(bench.path("token"), token).unwrap();
    for (name, who, by) in [
        (
            "identity",
            ["--identity-token-file", "token"],
            &identity[..],
        ),
        ("key", ["--key", "rsa"], &["--key", "rsa.pub"]),
    ] {
        let image = bench.image(name);
        let sign = |config: &str| {
            let words = ["sign", &image, "--signing-config", config];
            bench.polpo(&[&words[..], &who, &root].concat()).success()
        };
        sign("signing_config_2.json");
        verify(&bench, &image, &[&root[..], by, &["--logs", "1"]].concat()).success();
        let refused = verify(&bench, &image, &[&root[..], by, &["--logs", "2"]].concat()).code(1);
        assert_says(
            &refused,
            "1 of the logs of the trusted root have entered it, and 2 have to",
        );
        sign(BOTH);
        verify(&bench, &image, &[&root[..], by, &["--logs", "2"]].concat()).success();
        let refused = verify(&bench, &image, &[&root[..], by, &["--logs", "3"]].concat()).code(1);
        assert_says(
            &refused,
            "2 of the logs of the trusted root have entered it",
        );
        if name == "key" {
            policies_demand_logs(&bench, &image);
        }
        for (command, more) in [
            ("verify", &[][..]),
            ("verify-attestation", &["--type", "spdxjson"]),
        ] {
            let mut words = vec![command, "--allow-insecure-registry"];
            words.extend(root);
            words.extend(by.iter().copied());
            words.extend(more);
            words.push(&image);
            bench.cosign(&words).success();
        }
    }
    // A key's bundle that no log has entered is no better.
    let image = bench.image("unlogged");
    bench.polpo(&["sign", &image, "--key", "rsa"]).success();
    let by = [&root[..], &["--key", "rsa.pub"]].concat();
    verify(&bench, &image, &by).success();
    let refused = verify(&bench, &image, &[&by[..], &["--logs", "1"]].concat()).code(1);
    assert_says(
        &refused,
        "0 of the logs of the trusted root have entered it, and 1 have to",
    );
    let refused = verify(&bench, &image, &["--key", "rsa.pub", "--logs", "1"]).code(2);
    assert_says(&refused, "--trusted-root");
}

/// A policy's word is that of the option: two logs have entered what `rsa` signed of the image.
fn policies_demand_logs(bench: &Bench, image: &str) {
    let held_to = |rules: &str| {
        let policy = format!("signers:\n  team: {{key: rsa.pub}}\nsigned-by: [team]\n{rules}");
        fs::write(bench.path("policy.yaml"), policy).unwrap();
        verify(bench, image, &["--policy", "policy.yaml"])
    };
    held_to("trusted-root: trusted_root.json\nlogs: 2\n").success();
    let refused = held_to("trusted-root: trusted_root.json\nlogs: 3\n").code(1);
    assert_says(
        &refused,
        "2 of the logs of the trusted root have entered it, and 3 have to",
    );
    let refused = held_to("logs: 1\n").code(2);
    assert_says(&refused, "policy.yaml:4:7");
    assert_says(&refused, "name a `trusted-root`");
}

#[test]
fn both_logs_enter_what_cosign_signs() {
    let bench = bench();
    let image = bench.image("cosign");
    bench.sign(&image, PERSON, 2, &[]).success();
    fs::write(bench.path("token"), bench.sigstore.token(WORKFLOW)).unwrap();
    let words = ["sign", "--yes", "--allow-insecure-registry"];
    let who = ["--identity-token", "token", "--signing-config", BOTH];
    let root = ["--trusted-root", "trusted_root.json"];
    bench
        .cosign(&[&words[..], &who, &root, &[&image]].concat())
        .success();
    let identity = [
        "--certificate-identity",
        WORKFLOW,
        "--certificate-oidc-issuer",
        bench.sigstore.issuer(),
    ];
    let signed = format!("the image is signed, by {WORKFLOW}");
    let report = verify(
        &bench,
        &image,
        &[&root[..], &identity, &["--logs", "2"]].concat(),
    );
    assert_says(&report, &signed);
    let report = verify(
        &bench,
        &image,
        &[&root[..], &identity, &["--logs", "3"]].concat(),
    );
    assert_says(
        &report.code(1),
        "nobody who is trusted says: the image is signed",
    );
}

#[test]
fn a_log_stands_in_for_no_other() {
    let bed = Bed::of(bench());
    let sigstore = &bed.bench.sigstore;
    let root = sigstore.trusted_root();
    let demanding = |root: &Value, logs: usize| {
        let authorities =
            attest::sigstore::Authorities::from_json(root.to_string().as_bytes()).unwrap();
        let signers = attest::sigstore::Signers::anybody();
        Trust::default().and(authorities.demanding_logs(logs), vec![signers])
    };
    fs::write(bed.bench.path("token"), sigstore.token(PERSON)).unwrap();
    let sign = ["sign", "layout", "--identity-token-file", "token"];
    let sign = [&sign[..], &["--signing-config", BOTH]].concat();
    bed.bench.polpo(&sign).success();
    let good = bed.last_bundle(SIGNATURE);
    let judge = |bundle: &[u8], root: &Value, logs: usize| {
        bed.judge(bundle, &bed.image, &demanding(root, logs))
    };
    assert_eq!(judge(&text(&good), &root, 2), Ok(()));

    let entries = |bundle: &mut Value, change: &dyn Fn(&mut Vec<Value>)| {
        let entries = &mut bundle["verificationMaterial"]["tlogEntries"];
        change(entries.as_array_mut().unwrap());
    };
    let changed = |change: &dyn Fn(&mut Vec<Value>)| with(&good, |bundle| entries(bundle, change));
    let twice = changed(&|entries| entries[1] = entries[0].clone());
    assert_refused(judge(&twice, &root, 1), "an entry of a log comes twice");
    // The same entry under the name of the other log.
    let renamed = changed(&|entries| {
        let name = entries[1]["logId"].clone();
        entries[1] = entries[0].clone();
        entries[1]["logId"] = name;
    });
    for logs in [0, 2] {
        let reason = "an entry is not signed by the log that it names";
        assert_refused(judge(&renamed, &root, logs), reason);
    }
    let many = changed(&|entries| {
        let entry = entries[0].clone();
        entries.extend((0..32).map(|index| {
            let mut entry = entry.clone();
            entry["logIndex"] = index.to_string().into();
            entry
        }));
    });
    assert_refused(
        judge(&many, &root, 0),
        "34 logs are said to have entered it",
    );

    // A log that the root does not know proves nothing, and takes nothing from the one that it knows.
    let mut fewer = root.clone();
    fewer["tlogs"].as_array_mut().unwrap().pop();
    assert_eq!(judge(&text(&good), &fewer, 1), Ok(()));
    let reason = "1 of the logs of the trusted root have entered it, and 2 have to";
    assert_refused(judge(&text(&good), &fewer, 2), reason);
    fewer["tlogs"] = json!([]);
    let reason = "none of the logs that are said to have entered it is one of the trusted root";
    assert_refused(judge(&text(&good), &fewer, 0), reason);
    // One that is known and whose entry was changed does.
    let damaged = changed(&|entries| {
        let hash = &mut entries[1]["inclusionProof"]["hashes"][0];
        *hash = super::attacks::changed(hash);
    });
    assert_refused(judge(&damaged, &root, 1), "nclusion proof");
}

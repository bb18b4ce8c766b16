//! What polpo signs cosign verifies, and the other way round: in a registry, with keys.

use std::fs;
use std::path::{Path, PathBuf};

use attest::trust::Trust;
use tempfile::TempDir;
use testkit::{Finished, Program, Registry};

use crate::world::world;

const PASSWORD: &str = "a password";

/// A registry with the world's image in it, and a folder for keys.
struct Bench {
    folder: TempDir,
    registry: Registry,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().unwrap(),
            registry: Registry::start(),
        };
        fs::create_dir(bench.path("home")).unwrap();
        // Nothing but the key counts: no log, no authorities, and nobody is asked.
        let (signing, root) = ("signingconfig.v0.2+json", "trustedroot+json;version=0.1");
        for (name, kind) in [("signing.json", signing), ("root.json", root)] {
            let text = format!("{{\"mediaType\":\"application/vnd.dev.sigstore.{kind}\"}}");
            fs::write(bench.path(name), text).unwrap();
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
        self.with_password(world().polpo()).args(words).run()
    }

    fn with_password(&self, program: Program) -> Program {
        program
            .env("POLPO_KEY_PASSWORD", PASSWORD)
            .env("HOME", self.path("home"))
            .folder(self.folder.path())
    }

    fn cosign(&self, version: u32, words: &[&str]) -> Finished {
        Program::tool(&format!("cosign-{version}"))
            .args(words)
            .env("COSIGN_PASSWORD", PASSWORD)
            .env("HOME", self.path("home"))
            .env("TUF_ROOT", self.path("tuf"))
            .folder(self.folder.path())
            .run()
    }

    /// A key pair in `NAME` and `NAME.pub` by polpo.
    fn key(&self, name: &str, kind: &str) {
        self.polpo(&["key", "generate", "--encrypt", "--type", kind, name])
            .success();
    }

    fn verify(&self, image: &str, key: &str) -> Finished {
        self.with_password(world().polpo())
            .args(["verify", image, "--key", key, "-r"])
            .arg(world().packages())
            .arg("-r")
            .arg(world().seed())
            .arg("-k")
            .arg(world().keys())
            .run()
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

/// cosign's words for verifying with a key alone.
const ALONE: [&str; 2] = ["--insecure-ignore-tlog=true", "--allow-insecure-registry"];

#[test]
fn cosign_verifies_bundles_of_polpo() {
    let bench = Bench::new();
    for kind in ["ecdsa-p256", "ed25519", "rsa"] {
        let image = bench.image(kind);
        bench.key(kind, kind);
        bench.key(&format!("{kind}-other"), kind);
        let said = bench.polpo(&["sign", &image, "--key", kind]).success();
        assert_says(&said, "3 statements attached");
        let verify = |command: &str, key: &str, more: &[&str]| {
            let words = [command, "--key", key, "--trusted-root", "root.json"];
            bench.cosign(3, &[&words, &ALONE[..], more, &[&image]].concat())
        };
        let key = format!("{kind}.pub");
        verify("verify", &key, &[]).success();
        for predicate in ["spdxjson", "slsaprovenance1"] {
            verify("verify-attestation", &key, &["--type", predicate]).success();
        }
        let other = verify("verify", &format!("{kind}-other.pub"), &[]);
        assert!(!other.status.success());
        let other = verify("verify-attestation", &key, &["--type", "openvex"]);
        assert!(!other.status.success());

        fs::write(bench.path("vex.json"), r#"{"statements": []}"#).unwrap();
        let attest = [
            "attest",
            &image,
            "--key",
            kind,
            "--type",
            "openvex",
            "--predicate",
            "vex.json",
        ];
        bench.polpo(&attest).success();
        verify("verify-attestation", &key, &["--type", "openvex"]).success();
        // polpo reads the same out of the registry, down to the packages' sources.
        let report = bench.verify(&image, &key).success();
        assert_says(&report, "the image is signed, by a trusted key");
    }
}

#[test]
fn cosign_verifies_the_older_form_of_polpo() {
    let bench = Bench::new();
    let image = bench.image("older");
    bench.key("first", "ecdsa-p256");
    bench.key("second", "ecdsa-p256");
    for key in ["first", "second"] {
        bench
            .polpo(&["sign", &image, "--key", key, "--legacy"])
            .success();
    }
    for version in [2, 3] {
        let verify = |command: &str, key: &str, more: &[&str]| {
            let mut words = vec![command, "--key", key];
            words.extend(ALONE);
            if version == 3 {
                words.extend(["--trusted-root", "root.json", "--new-bundle-format=false"]);
            }
            words.extend(more);
            words.push(&image);
            bench.cosign(version, &words)
        };
        // The second signature did not take the place of the first.
        for key in ["first.pub", "second.pub"] {
            verify("verify", key, &[]).success();
            for predicate in ["spdxjson", "slsaprovenance1"] {
                verify("verify-attestation", key, &["--type", predicate]).success();
            }
        }
    }
    bench.verify(&image, "second.pub").success();
}

/// The SBOM of the world's image, as polpo attached it.
pub(crate) fn sbom(to: &Path) {
    let layout = oci::Layout::open(world().layout()).unwrap();
    let image = layout.image(Some("latest"), base::Arch::host()).unwrap();
    let key = key::load_public(&world().image_public_key()).unwrap();
    let trust = Trust::of_keys(vec![key]);
    let found = image::verify::Statements::about(&layout, &image.descriptor, &trust).unwrap();
    let mut trusted = found.trusted.into_iter();
    let sbom = trusted.find(|stated| stated.kind == attest::intoto::SPDX_PREDICATE);
    fs::write(to, serde_json::to_vec(&sbom.unwrap().predicate).unwrap()).unwrap();
}

#[test]
fn polpo_verifies_what_cosign_signs() {
    let bench = Bench::new();
    sbom(&bench.path("sbom.json"));
    bench.cosign(3, &["generate-key-pair"]).success();
    for (version, name, form) in [
        (
            3,
            "new",
            &[
                "--signing-config",
                "signing.json",
                "--trusted-root",
                "root.json",
            ][..],
        ),
        (
            3,
            "older-way",
            &[
                "--use-signing-config=false",
                "--tlog-upload=false",
                "--new-bundle-format=false",
            ],
        ),
        (2, "older", &["--tlog-upload=false"]),
    ] {
        let image = bench.image(name);
        let call = |command: &str, more: &[&str]| {
            let words = [
                command,
                "--yes",
                "--allow-insecure-registry",
                "--key",
                "cosign.key",
            ];
            bench
                .cosign(version, &[&words, form, more, &[&image]].concat())
                .success();
        };
        let attested = ["--type", "spdxjson", "--predicate", "sbom.json"];
        // An SBOM by a trusted key is no signature of the image.
        call("attest", &attested);
        let report = bench.verify(&image, "cosign.pub");
        assert_eq!(report.status.code(), Some(1));
        assert_says(&report, "nobody who is trusted says: the image is signed");
        call("sign", &[]);
        let report = bench.verify(&image, "cosign.pub").success();
        assert_says(&report, "the image is signed, by a trusted key");
        bench.key(name, "ecdsa-p256");
        let report = bench.verify(&image, &format!("{name}.pub"));
        assert_eq!(report.status.code(), Some(1));
    }
}

/// Kinds of statements: what both call them, and an example of what is stated.
const KINDS: [(&str, &str, &str, &str); 6] = [
    (
        "spdxjson",
        "spdxjson",
        "https://spdx.dev/Document",
        r#"{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "x", "packages": []}"#,
    ),
    (
        "cyclonedx",
        "cyclonedx",
        "https://cyclonedx.org/bom",
        r#"{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}"#,
    ),
    (
        "slsaprovenance1",
        "slsaprovenance1",
        "https://slsa.dev/provenance/v1",
        r#"{"buildDefinition": {"buildType": "https://example.com/type", "externalParameters": {}},
            "runDetails": {"builder": {"id": "https://example.com/builder"}}}"#,
    ),
    (
        "openvex",
        "openvex",
        "https://openvex.dev/ns",
        r#"{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex",
            "author": "x", "timestamp": "2026-01-01T00:00:00Z", "version": 1, "statements": []}"#,
    ),
    (
        "vuln",
        "vuln",
        "https://cosign.sigstore.dev/attestation/vuln/v1",
        r#"{"invocation": {}, "scanner": {"uri": "x"}, "metadata": {
            "scanStartedOn": "2026-01-01T00:00:00Z", "scanFinishedOn": "2026-01-01T00:00:00Z"}}"#,
    ),
    (
        "apko",
        "https://apko.dev/image-configuration",
        "https://apko.dev/image-configuration",
        r#"{"contents": {"packages": ["busybox"]}}"#,
    ),
];

#[test]
fn every_kind_of_statement_goes_both_ways_in_both_forms() {
    let bench = Bench::new();
    bench.cosign(3, &["generate-key-pair"]).success();
    for (name, _, _, predicate) in KINDS {
        fs::write(bench.path(name), predicate).unwrap();
    }
    let wanted: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
    let policy = format!(
        "signers:\n  team: {{key: cosign.pub}}\nsigned-by: [team]\nstatements: [{}]\n",
        wanted.join(", ")
    );
    fs::write(bench.path("policy.yaml"), policy).unwrap();
    let older = ["--use-signing-config=false", "--tlog-upload=false"];
    let newer = ["--signing-config=signing.json", "--trusted-root=root.json"];
    for is_older in [false, true] {
        // polpo states, cosign verifies.
        let image = bench.image(&format!("polpo-{is_older}"));
        for (name, at_cosign, ..) in KINDS {
            let words = ["attest", &image, "--key", "cosign.key", "--type", name];
            let legacy = ["--legacy"];
            let form = if is_older { &legacy[..] } else { &[] };
            let words = [&words, form, &["--predicate", name]].concat();
            bench.polpo(&words).success();
            let verify = ["verify-attestation", "--key", "cosign.pub"];
            let form = format!("--new-bundle-format={}", !is_older);
            let root = ["--trusted-root", "root.json", &form, "--type", at_cosign];
            let words = [&verify[..], &ALONE, &root, &[&image]].concat();
            bench.cosign(3, &words).success();
        }
        // cosign states, polpo verifies.
        let image = bench.image(&format!("cosign-{is_older}"));
        let call = |words: &[&str]| {
            let with = ["--yes", "--allow-insecure-registry", "--key", "cosign.key"];
            let form = format!("--new-bundle-format={}", !is_older);
            let way = if is_older { older } else { newer };
            let words = [words, &with[..], &way, &[&form, &image]].concat();
            bench.cosign(3, &words).success();
        };
        call(&["sign"]);
        for (name, at_cosign, ..) in KINDS {
            call(&["attest", "--type", at_cosign, "--predicate", name]);
        }
        let report = bench
            .with_password(world().polpo())
            .args(["verify", &image, "--policy", "policy.yaml", "-r"])
            .arg(world().packages())
            .arg("-k")
            .arg(world().keys())
            .run();
        assert_says(&report, "✓ one of team has signed the image");
        for (_, _, kind, _) in KINDS {
            assert_says(
                &report,
                &format!("✓ {kind} is stated by a signer of the policy"),
            );
        }
    }
}

#[test]
fn passwords_are_asked_for_and_never_shown() {
    let bench = Bench::new();
    bench.key("sealed", "ecdsa-p256");
    let text = fs::read_to_string(bench.path("sealed")).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"));
    let sign = |password: Option<&str>| {
        let mut program = world().polpo().folder(bench.folder.path());
        for name in ["POLPO_KEY_PASSWORD", "COSIGN_PASSWORD"] {
            program.command().env_remove(name);
        }
        if let Some(password) = password {
            program = program.env("COSIGN_PASSWORD", password);
        }
        program.args(["sign", "none", "--key", "sealed"]).run()
    };
    fs::create_dir(bench.path("none")).unwrap();
    oci::Layout::create(bench.path("none")).unwrap();
    let without = sign(None);
    assert_eq!(without.status.code(), Some(1));
    assert_says(&without, "it is encrypted: set POLPO_KEY_PASSWORD");
    let wrong = sign(Some("secret-word"));
    assert_says(&wrong, "the password is not that of the private key");
    assert!(!wrong.stderr.contains("secret-word"));
    // The right one gets as far as the image.
    assert_says(&sign(Some(PASSWORD)), "image");
}

/// SoftHSM is a security module of Debian's that keeps its tokens in a folder.
#[test]
fn keys_in_tokens_sign() {
    const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
    let bench = Bench::new();
    let image = bench.image("token");
    fs::create_dir(bench.path("tokens")).unwrap();
    let settings = format!(
        "directories.tokendir = {}\n",
        bench.path("tokens").display()
    );
    fs::write(bench.path("softhsm2.conf"), settings).unwrap();
    let softhsm = |words: &[&str]| {
        Program::new("softhsm2-util")
            .env("SOFTHSM2_CONF", bench.path("softhsm2.conf"))
            .folder(bench.folder.path())
            .args(words)
            .run()
            .success()
    };
    let polpo = |pin: &str, words: &[&str]| {
        world()
            .polpo()
            .env("SOFTHSM2_CONF", bench.path("softhsm2.conf"))
            .env("POLPO_PKCS11_MODULE", MODULE)
            .env("POLPO_KEY_PASSWORD", pin)
            .folder(bench.folder.path())
            .args(words)
            .run()
    };
    let init = ["--init-token", "--free", "--label", "office", "--so-pin"];
    softhsm(&[&init[..], &["12345678", "--pin", "4711"]].concat());
    for (name, kind, id) in [("image", "ecdsa-p256", "a1"), ("packages", "rsa", "a2")] {
        let file = format!("{name}.pem");
        polpo("", &["key", "generate", "--type", kind, &file]).success();
        let import = ["--import", &file, "--token", "office", "--pin", "4711"];
        softhsm(&[&import[..], &["--label", name, "--id", id]].concat());
        // From here on, the token alone has it.
        fs::remove_file(bench.path(&file)).unwrap();
    }

    // What it signs, both verify.
    let uri = "pkcs11:token=office;object=image";
    let said = polpo("4711", &["sign", &image, "--key", uri]).success();
    assert_says(&said, "attached");
    let verify = [
        "verify",
        "--key",
        "image.pem.pub",
        "--trusted-root",
        "root.json",
    ];
    bench
        .cosign(3, &[&verify[..], &ALONE, &[&image]].concat())
        .success();
    bench.verify(&image, "image.pem.pub").success();

    // RSA keys sign indexes for apk; the PIN may lie in a file, the library may be in the URI.
    fs::write(bench.path("pin"), "4711\n").unwrap();
    let uri = format!(
        "pkcs11:id=%a2?module-path={MODULE}&pin-source=file:{}",
        bench.path("pin").display()
    );
    let index = bench.path("APKINDEX.tar.gz");
    let index = index.to_str().unwrap();
    let package = world().packages().join("x86_64/baselayout-1-r1.apk");
    let trusted = world().keys();
    let making = [
        "apk",
        "--keys-dir",
        trusted.to_str().unwrap(),
        "index",
        "-o",
        index,
    ];
    let making = [
        &making[..],
        &["--sign-key", &uri, package.to_str().unwrap()],
    ]
    .concat();
    polpo("", &making).success();
    fs::create_dir(bench.path("keys")).unwrap();
    fs::copy(bench.path("packages.pem.pub"), bench.path("keys/a2.pub")).unwrap();
    let keys = bench.path("keys");
    polpo(
        "",
        &["apk", "--keys-dir", keys.to_str().unwrap(), "verify", index],
    )
    .success();

    // What is wrong is said, without the PIN.
    let cases = [
        (
            "0000",
            "pkcs11:token=office;object=image",
            "log in to the token",
        ),
        ("4711", "pkcs11:token=home;object=image", "names 0 tokens"),
        (
            "4711",
            "pkcs11:token=office;object=nobody",
            "names 0 private keys",
        ),
        (
            "4711",
            "pkcs11:token=office;object=image?pin-value=4711",
            "can be read by everybody",
        ),
    ];
    for (pin, uri, reason) in cases {
        let refused = polpo(pin, &["sign", &image, "--key", uri]);
        assert!(!refused.status.success());
        assert_says(&refused, reason);
        assert!(!refused.stderr.contains("4711"), "{}", refused.stderr);
    }
}

#[test]
fn images_are_held_to_policies() {
    let bench = Bench::new();
    let image = bench.image("policy");
    for name in ["team", "tester", "stranger"] {
        bench.key(name, "ecdsa-p256");
    }
    fs::write(bench.path("tested.json"), r#"{"result": "good"}"#).unwrap();
    let attest = |key: &str| {
        let words = ["attest", &image, "--key", key, "--type"];
        let more = [
            "https://example.com/tested/v1",
            "--predicate",
            "tested.json",
        ];
        bench.polpo(&[&words[..], &more].concat()).success();
    };
    bench.polpo(&["sign", &image, "--key", "team"]).success();
    attest("stranger");
    let policy = "signers:\n  team: {key: team.pub}\n  tester: {key: tester.pub}\nsigned-by: [team]\n\
        statements:\n  - spdxjson\n  - type: https://example.com/tested/v1\n    by: [tester]\n\
        slsa:\n  level: 1\n  builders: {'urn:polpo:builder:local': 1}\n";
    let verify_with = |text: &str, more: &[&str]| {
        fs::write(bench.path("policy.yaml"), text).unwrap();
        bench
            .with_password(world().polpo())
            .args(["verify", &image, "--policy", "policy.yaml"])
            .args(more)
            .arg("-r")
            .arg(world().packages())
            .arg("-r")
            .arg(world().seed())
            .arg("-k")
            .arg(world().keys())
            .run()
    };
    let verify = |text: &str| verify_with(text, &[]);
    // A stranger's word, and that of somebody else in the policy, is not the tester's.
    let missing = "https://example.com/tested/v1 is not stated by tester";
    assert_says(&verify(policy).code(1), missing);
    attest("team");
    assert_says(&verify(policy).code(1), missing);
    attest("tester");
    let good = verify(policy).success();
    assert_says(&good, "✓ one of team has signed the image");
    assert_says(&good, "✓ https://example.com/tested/v1 is stated by tester");
    assert_says(
        &good,
        "urn:polpo:builder:local, which stands for SLSA level 1",
    );
    // Who trusts the verifier need not verify again.
    let summary = verify_with(policy, &["--summary", "summary.json"]).success();
    assert_says(&summary, "✓ one of team");
    let read = fs::read_to_string(bench.path("summary.json")).unwrap();
    let read: serde_json::Value = serde_json::from_str(&read).unwrap();
    assert_eq!(read["verificationResult"], "PASSED");
    assert_eq!(read["verifiedLevels"][0], "SLSA_BUILD_LEVEL_1");
    let attest = ["attest", &image, "--key", "tester", "--type", "vsa"];
    let attest = [&attest[..], &["--predicate", "summary.json"]].concat();
    bench.polpo(&attest).success();
    let cosign = [
        "verify-attestation",
        "--key",
        "tester.pub",
        "--trusted-root",
        "root.json",
    ];
    let kind = ["--type", "https://slsa.dev/verification_summary/v1"];
    bench
        .cosign(3, &[&cosign[..], &ALONE, &kind, &[&image]].concat())
        .success();
    // Keys alone prove no time; nobody has built the packages again.
    let aged = verify(&format!("{policy}maximum-age: 30d\n")).code(1);
    assert_says(&aged, "nothing proves how old the signature is");
    let rebuilt = verify(&format!(
        "{policy}rebuilt-by: 1\nrebuilders: [tester.pub]\n"
    ))
    .code(1);
    assert_says(
        &rebuilt,
        "no trusted rebuilder states that it comes out the same; 1 must",
    );
    let other = verify(&policy.replace("signed-by: [team]", "signed-by: [tester]")).code(1);
    assert_says(&other, "✗ none of tester has signed the image");
    let wrong = verify(&policy.replace("[tester]", "[nobody]")).code(2);
    assert_says(&wrong, "`nobody` is none of the signers: team, tester");
    assert_says(&wrong, "policy.yaml:8:10");
}

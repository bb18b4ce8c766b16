//! Where tokens and trusted roots come from.

use std::fs;

use testkit::{Finished, Program, Reply, Server};

use super::{Bench, PERSON, WORKFLOW, assert_says};

#[test]
fn trusted_roots_come_over_signatures_and_never_older() {
    let bench = Bench::new();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/all/keyless/repository.py"
    );
    Program::tool("python")
        .arg(script)
        .arg(bench.path(""))
        .run()
        .success();
    let server = Server::of(bench.path(""));
    let fetch = |folder: &str, from: &str, root: Option<&str>| -> Finished {
        let url = server.url(&format!("/{from}"));
        let mut words = vec!["trust", "fetch", folder, "--mirror", &url];
        words.extend(root.iter().flat_map(|root| ["--root", root]));
        bench.polpo(&words)
    };
    let first = Some("first/1.root.json");
    assert_says(
        &fetch("trust", "first", None).code(1),
        "name the first root that is believed",
    );
    fetch("trust", "first", first).success();
    let same = |name: &str, original: &str| {
        assert_eq!(
            fs::read(bench.path(&format!("trust/{name}"))).unwrap(),
            fs::read(bench.path(original)).unwrap()
        );
    };
    same("trusted_root.json", "trusted_root.json");
    same("signing_config.json", "signing_config_2.json");
    // The root was replaced, by one that both keys have signed.
    fetch("trust", "second", None).success();
    let newer = fs::read(bench.path("trust/trusted_root.json")).unwrap();
    assert_eq!(newer.last(), Some(&b'\n'));

    let refused = |folder: &str, from: &str, reason: &str| {
        assert_says(&fetch(folder, from, first).code(1), reason);
    };
    refused("trust", "first", "rollback");
    assert_eq!(
        fs::read(bench.path("trust/trusted_root.json")).unwrap(),
        newer
    );
    refused("fresh", "expired", "expired");
    refused("fresh", "forged", "trusted_root.json: sha256 mismatch");
    refused("fresh", "stranger", "threshold");
    assert!(!bench.path("fresh/trusted_root.json").exists());
}

/// A program without tokens of the machine that the tests run on.
fn alone(bench: &Bench) -> Program {
    let mut program = crate::world::world().polpo().folder(bench.folder.path());
    for name in [
        "SIGSTORE_ID_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "GCE_METADATA_HOST",
        "K_SERVICE",
        "GOOGLE_CLOUD_PROJECT",
    ] {
        program.command().env_remove(name);
    }
    program
}

#[test]
fn jobs_and_machines_have_tokens() {
    let bench = Bench::new();
    let sign = |image: &str, program: Program| {
        let words = [
            "sign",
            image,
            "--keyless",
            "--signing-config",
            "signing_config_2.json",
        ];
        program.args(words).run()
    };
    let image = bench.image("ambient");
    let nothing = sign(&image, alone(&bench)).code(1);
    assert_says(
        &nothing,
        "there is no identity token: name a file with --identity-token-file",
    );

    let server = Server::start();
    let token = bench.sigstore.token(WORKFLOW);
    let github = "/token?api-version=2.0&audience=sigstore";
    let answer = format!("{{\"value\": \"{token}\"}}");
    server.on(github, Reply::ok(answer).only_for("Bearer of-the-runner"));
    let of_github = |secret: &str| {
        alone(&bench)
            .env(
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                server.url("/token?api-version=2.0"),
            )
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret)
    };
    let denied = sign(&image, of_github("a-secret-word")).code(1);
    assert_says(
        &denied,
        "answered with 401; give the job `permissions: id-token: write`",
    );
    assert!(!denied.stderr.contains("a-secret-word"));
    sign(&image, of_github("of-the-runner")).success();
    assert_says(
        &bench.verify(&image, WORKFLOW),
        &format!("is signed, by {WORKFLOW}"),
    );

    let image = bench.image("machine");
    let google = "/computeMetadata/v1/instance/service-accounts/default/identity\
                  ?audience=sigstore&format=full";
    server.on(google, Reply::ok(bench.sigstore.token(PERSON)));
    let host = server.url("").replace("http://", "");
    sign(&image, alone(&bench).env("GCE_METADATA_HOST", host)).success();
    assert_says(
        &bench.verify(&image, PERSON),
        &format!("is signed, by {PERSON}"),
    );
    let asked = server.asked();
    assert_eq!(asked.last().unwrap().headers["metadata-flavor"], "Google");

    let image = bench.image("variable");
    let token = bench.sigstore.token(PERSON);
    sign(&image, alone(&bench).env("SIGSTORE_ID_TOKEN", token)).success();
    assert_says(
        &bench.verify(&image, PERSON),
        &format!("is signed, by {PERSON}"),
    );
}

#[test]
fn refusals_say_what_to_do_and_show_no_secret() {
    let bench = Bench::new();
    let image = bench.image("refused");
    let signed_with = |token: &str, config: &[&str]| {
        fs::write(bench.path("token"), token).unwrap();
        let words = ["sign", &image, "--identity-token-file", "token"];
        bench.polpo(&[&words[..], config].concat())
    };
    let config = ["--signing-config", "signing_config_2.json"];
    let genuine = bench.sigstore.token(PERSON);
    let forged = format!("{}AAAA", &genuine[..genuine.len() - 4]);
    for (token, reason) in [
        (forged.as_str(), "refused with 400: {\\\"code\\\":400"),
        (
            "secret-word",
            "the identity token is no JSON web token: it has not three parts",
        ),
    ] {
        let refused = signed_with(token, &config).code(1);
        assert_says(&refused, reason);
        assert!(!refused.stderr.contains(token), "{}", refused.stderr);
    }
    let refused = signed_with(&genuine, &[]).code(2);
    assert_says(
        &refused,
        "name a signing configuration with --signing-config",
    );
    let plain = [
        "--fulcio-url",
        "http://fulcio.example",
        "--rekor-url",
        "https://rekor.example",
    ];
    let refused = signed_with(&genuine, &[&plain[..], &["--rekor-version", "1"]].concat()).code(2);
    assert_says(&refused, "would be sent the identity token unencrypted");
    let timeless = [
        "--fulcio-url",
        bench.sigstore.fulcio(),
        "--rekor-url",
        bench.sigstore.rekor(2),
    ];
    let refused = signed_with(&genuine, &timeless).code(2);
    assert_says(&refused, "a log of version 2 tells no time");
    // A private deployment is named by its URLs.
    let clock = bench.sigstore.clock();
    signed_with(
        &genuine,
        &[&timeless[..], &["--timestamp-url", &clock]].concat(),
    )
    .success();
    assert_says(
        &bench.verify(&image, PERSON),
        &format!("is signed, by {PERSON}"),
    );

    let verify = |more: &[&str]| {
        let words = ["verify", &image, "--trusted-root", "trusted_root.json"];
        bench.polpo(&[&words[..], more].concat())
    };
    let half = verify(&["--certificate-identity", PERSON]).code(2);
    assert_says(
        &half,
        "name both, with --certificate-identity and --certificate-oidc-issuer",
    );
    assert_says(&verify(&[]).code(2), "name both");
    let pattern = [
        "--certificate-identity-regexp",
        "(",
        "--certificate-oidc-issuer",
        "x",
    ];
    assert_says(&verify(&pattern).code(2), "`(` is no pattern of identities");
    fs::write(bench.path("trusted_root.json"), "{\"mediaType\": \"x\"}").unwrap();
    let root = verify(&[
        "--certificate-identity",
        PERSON,
        "--certificate-oidc-issuer",
        "x",
    ]);
    assert_says(
        &root.code(1),
        "trusted_root.json: this is no trusted root of Sigstore that is known",
    );
}

/// Patterns match whole identities: what begins or ends as one is another.
#[test]
fn patterns_of_identities() {
    let bench = Bench::new();
    let image = bench.image("patterns");
    bench.sign(&image, WORKFLOW, 2, &[]).success();
    let issuer = bench.sigstore.issuer();
    let by = |pattern: &str| {
        bench.verify_by(&image, &["--certificate-identity-regexp", pattern], issuer)
    };
    by("https://example.com/team/hello/.*").success();
    for pattern in [
        "https://example.com/team/hello/",
        "example.com/.*",
        "https://.*@refs/heads/mai",
    ] {
        assert_says(
            &by(pattern).code(1),
            "which is not among the identities that are trusted",
        );
    }
}

//! The same work with repositories on servers.

use std::fs;
use std::path::Path;

use testkit::{Program, Reply, Server};

use crate::world::{checkout, polpo, recipe, world};

fn image(store: &Path, repositories: &[&str], output: &Path) -> Program {
    let program = polpo(store)
        .args(["image", "build"])
        .arg(checkout().join("os/images/hello.yaml"))
        .arg("hello:latest")
        .arg(output)
        .arg("-k")
        .arg(world().keys());
    repositories
        .iter()
        .fold(program, |program, place| program.args(["-r", place]))
}

/// The manifest's digest, as the layout's index names it.
fn manifest(layout: &Path) -> String {
    let index = fs::read(layout.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_out_of_servers_is_the_same_and_needs_them_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (folder.path().join("store"), folder.path().join("layout"));
    let (packages, seed) = (Server::of(world().packages()), Server::of(world().seed()));
    let places = [packages.url_for("ann:secret", ""), seed.url("/")];
    let places = places.each_ref().map(String::as_str);

    // Nothing was fetched yet: both indexes are named, nobody is asked.
    let refused = image(&store, &places, &layout)
        .arg("--offline")
        .run()
        .code(1);
    for place in [packages.url(""), seed.url("")] {
        assert!(refused.stderr.contains(&place), "{}", refused.stderr);
    }
    assert!(
        refused.stderr.contains("2 things were never fetched"),
        "{}",
        refused.stderr
    );
    assert!(packages.asked().is_empty() && seed.asked().is_empty());

    let built = image(&store, &places, &layout).run().success();
    let local = folder.path().join("local");
    world()
        .image(&world().store(), &world().packages(), &local)
        .run()
        .success();
    assert_eq!(
        layers(&layout),
        layers(&local),
        "the files do not depend on where packages come from"
    );
    assert!(packages.asked()[0].headers["authorization"].starts_with("Basic "));
    assert!(!seed.asked()[0].headers.contains_key("authorization"));
    assert!(!built.stderr.contains("secret"), "{}", built.stderr);

    // What was fetched serves without the servers.
    let before = packages.asked().len() + seed.asked().len();
    let again = folder.path().join("again");
    image(&store, &places, &again)
        .arg("--offline")
        .run()
        .success();
    assert_eq!(packages.asked().len() + seed.asked().len(), before);
    assert_eq!(manifest(&again), manifest(&layout));
    let verified = polpo(&store)
        .arg("verify")
        .arg(world().layout())
        .arg("--key")
        .arg(world().image_public_key())
        .args(["--offline", "-r", places[0], "-r", places[1], "-k"])
        .arg(world().keys())
        .run()
        .success();
    assert!(verified.stdout.contains("hello"), "{}", verified.stdout);
}

/// The digests of the layers of a layout's image.
fn layers(layout: &Path) -> Vec<String> {
    let blob = |digest: &str| {
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        let bytes = fs::read(path).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    let manifest = blob(&manifest(layout));
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn builds_and_tests_with_packages_of_servers() {
    let folder = tempfile::tempdir().unwrap();
    let (packages, seed) = (Server::of(world().packages()), Server::of(world().seed()));
    let out = folder.path().join("out");
    let with = |store: &Path, command: &str| {
        polpo(store)
            .arg(command)
            .arg(recipe("hello"))
            .args(["-r", &seed.url(""), "-k"])
            .arg(world().keys())
            .arg("--out-dir")
            .arg(&out)
    };
    // The plan is the one of the folders: the packages are known by what they are.
    let sources = ["--source-mirror", "apt:trixie", "--signing-key"];
    let build = with(&world().store(), "build")
        .args(sources)
        .arg(world().signing_key());
    build.run().success();
    assert!(seed.asked().len() <= 2, "{:?}", seed.paths());
    let made = fs::read_dir(out.join("x86_64")).unwrap();
    for entry in made {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "apk") {
            let original = world()
                .packages()
                .join("x86_64")
                .join(path.file_name().unwrap());
            assert_eq!(fs::read(&path).unwrap(), fs::read(original).unwrap());
        }
    }
    with(&world().store(), "test").run().success();

    // A store that knows nothing fetches the guest; without the network all of it is named.
    let store = folder.path().join("store");
    let refused = with(&store, "build")
        .args(sources)
        .arg(world().signing_key())
        .arg("--offline")
        .run()
        .code(1);
    assert!(
        refused
            .stderr
            .contains("not asked: the network is not to be used"),
        "{}",
        refused.stderr
    );
    drop(packages);
}

#[test]
fn keys_are_discovered_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (store, layout) = (folder.path().join("store"), folder.path().join("layout"));
    let (packages, seed) = (Server::of(world().packages()), Server::of(world().seed()));
    let places = [packages.url(""), seed.url("")];
    let without_keys = |output: &Path| {
        polpo(&store)
            .args(["image", "build"])
            .arg(checkout().join("os/images/hello.yaml"))
            .arg("hello:latest")
            .arg(output)
            .args(["-r", &places[0], "-r", &places[1]])
    };
    let refused = without_keys(&layout).run().code(1);
    assert!(
        refused.stderr.contains("not among the trusted keys"),
        "{}",
        refused.stderr
    );
    for server in [&packages, &seed] {
        assert!(!server.paths().contains(&"/apk-configuration".to_owned()));
        let keys = server.url("/keys");
        server
            .on(
                "/apk-configuration",
                Reply::ok(format!(r#"{{"jwks_uri": "{keys}"}}"#)),
            )
            .on("/keys", Reply::ok(web_keys()));
    }
    let built = without_keys(&layout).arg("--discover-keys").run().success();
    let named = format!("{} names its key test.rsa.pub", places[0]);
    assert!(
        !built.stderr.contains("never") && built.stderr.contains("names its key"),
        "{named}\n{}",
        built.stderr
    );
}

/// The world's public key as a set of JSON web keys, its numbers found by openssl.
fn web_keys() -> String {
    let public = world().keys().join("test.rsa.pub");
    let shown = Program::new("openssl")
        .args(["rsa", "-pubin", "-noout", "-modulus", "-in"])
        .arg(public)
        .run()
        .success();
    let hex = shown
        .stdout
        .trim()
        .trim_start_matches("Modulus=")
        .to_owned();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let modulus = url_safe(&bytes);
    format!(r#"{{"keys": [{{"kty": "RSA", "kid": "test", "n": "{modulus}", "e": "AQAB"}}]}}"#)
}

/// base64url without padding (RFC 4648, 5).
fn url_safe(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(
                LETTERS[(number >> (18 - 6 * place)) as usize & 63],
            ));
        }
    }
    text
}

/// As apk's library does, a proxy is told before it asks, whatever its realm.
#[test]
fn a_proxy_is_told_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Server::start();
    let index = apk::index::Index::default();
    let index = index.to_bytes(None, base::Epoch(0)).unwrap();
    let place = "http://packages.test/x86_64/APKINDEX.tar.gz";
    proxy.on(place, Reply::ok(index));
    let search = |variable: &str, url: &str, auth: &str| {
        polpo(&folder.path().join("store"))
            .args(["apk", "search", "--from", "none", "--allow-untrusted"])
            .args(["--arch", "x86_64", "--no-cache"])
            .args(["--repository", "http://packages.test", "--root"])
            .arg(folder.path())
            .env(variable, url)
            .env("HTTP_PROXY_AUTH", auth)
            .run()
    };
    let told = || proxy.asked().last().unwrap().headers["proxy-authorization"].clone();
    search("HTTP_PROXY", &proxy.url(""), "basic:*:me:se:cret").success();
    assert_eq!(proxy.asked().last().unwrap().path, place);
    assert_eq!(told(), "Basic bWU6c2U6Y3JldA==");
    // What the proxy's URL says goes before.
    search("all_proxy", &proxy.url_for("u:p", ""), "basic:*:me:secret").success();
    assert_eq!(told(), "Basic dTpw");
    let asked = proxy.asked().len();
    let refused = search("HTTP_PROXY", &proxy.url(""), "digest:me");
    assert!(
        refused
            .stderr
            .contains("HTTP_PROXY_AUTH must be `basic:REALM:USER:PASSWORD`"),
        "{}",
        refused.stderr
    );
    assert_eq!(proxy.asked().len(), asked);
}

//! Called by apko's name, on apko's own test data.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use testkit::Program;

/// A folder with `bin/apko`, and apko's test data as its tests see it.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Scene {
        let scene = Scene(tempfile::tempdir().unwrap());
        fs::create_dir(scene.path("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_polpo"), scene.path("bin/apko")).unwrap();
        symlink(testkit::corpus().join("apko/cli"), scene.path("testdata")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn apko(&self, words: &[&str]) -> Program {
        Program::new(self.path("bin/apko"))
            .args(words)
            .env("POLPO_STORE", self.path("store"))
            .env("POLPO_PROGRESS", "none")
            .env("SOURCE_DATE_EPOCH", "0")
            .folder(self.0.path())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Digests are those of whoever compresses.
fn without_digests(text: &str) -> String {
    let parts = text.split("sha256").map(|part| {
        let hex = part.trim_start_matches([':', '-']);
        let digits = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits == 64 { &hex[64..] } else { part }
    });
    let text = parts.collect::<Vec<_>>().join("sha256");
    let lines = text.lines().filter(|line| !line.contains("checksumValue"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_golden_image_is_built_by_apkos_command_line() {
    let scene = Scene::new();
    fs::create_dir(scene.path("out")).unwrap();
    scene
        .apko(&[
            "build",
            "testdata/apko.yaml",
            "golden:latest",
            "out",
            "--annotations",
            "org.opencontainers.image.title:Title,org.opencontainers.image.vendor:Vendor",
            "--sbom-path=sboms",
            "--parity",
        ])
        .run()
        .success();
    for (ours, theirs) in [
        ("out/index.json", "testdata/golden/index.json"),
        (
            "sboms/sbom-index.spdx.json",
            "testdata/golden/sboms/sbom-index.spdx.json",
        ),
        (
            "sboms/sbom-aarch64.spdx.json",
            "testdata/golden/sboms/sbom-aarch64.spdx.json",
        ),
        (
            "sboms/sbom-x86_64.spdx.json",
            "testdata/golden/sboms/sbom-x86_64.spdx.json",
        ),
    ] {
        assert_eq!(
            without_digests(&scene.read(ours)),
            without_digests(&scene.read(theirs)),
            "{ours}"
        );
    }
    // The configurations have the layers' diffIDs, and apko's bytes.
    for digest in [
        "6c815259150f37d000417f9a93f41bddf74dff905c745986069d4b03e954ac1d",
        "fbb854f9d5a601a36c4dc8cc82e5b21e91b11cdd4aab5035340e4f517c5a8eb1",
    ] {
        assert!(
            scene.path(&format!("out/blobs/sha256/{digest}")).is_file(),
            "{digest}"
        );
    }
}

#[test]
fn locks_are_apkos_and_are_followed_without_network() {
    let scene = Scene::new();
    fs::copy(scene.path("testdata/apko.yaml"), scene.path("apko.yaml")).unwrap();
    scene
        .apko(&["lock", "apko.yaml", "--parity"])
        .run()
        .success();
    assert_eq!(
        scene.read("apko.lock.json"),
        scene.read("testdata/apko.lock.json")
    );
    fs::create_dir(scene.path("out")).unwrap();
    let built = |lock: &str| {
        scene.apko(&[
            "build",
            "apko.yaml",
            "a:1",
            "out",
            "--lockfile",
            lock,
            "--offline",
            "--sbom=false",
        ])
    };
    built("testdata/apko.lock.json").run().success();
    // polpo's own lock is sealed.
    scene.apko(&["lock", "apko.yaml"]).run().success();
    built("apko.lock.json").run().success();
    let edited = scene
        .read("apko.lock.json")
        .replace("replayout-1.0.0", "replayout-1.0.1");
    fs::write(scene.path("edited.json"), edited).unwrap();
    let refused = built("edited.json").run().code(1);
    assert!(
        refused
            .stderr
            .contains("the lock was changed after it was made"),
        "{}",
        refused.stderr
    );
    let old = built("testdata/apko.pre-0.13.lock.json").run().code(1);
    assert!(old.stderr.contains("has no `checksum`"), "{}", old.stderr);
}

#[test]
fn packages_and_configuration_are_shown() {
    let scene = Scene::new();
    let listed = scene
        .apko(&[
            "show-packages",
            "testdata/apko.yaml",
            "--arch",
            "amd64",
            "--format",
            "packagelock",
        ])
        .run()
        .success();
    assert_eq!(
        listed.stdout,
        "- pretend-baselayout=1.0.0-r0\n- replayout=1.0.0-r0\n"
    );
    let shown = scene
        .apko(&["show-config", "testdata/apko.yaml"])
        .run()
        .success();
    assert!(
        shown.stdout.contains("./testdata/packages"),
        "{}",
        shown.stdout
    );
    let graph = scene
        .apko(&["dot", "testdata/apko.yaml", "--arch", "amd64"])
        .run()
        .success();
    assert!(
        graph
            .stdout
            .contains("\"replayout\" -> \"pretend-baselayout\""),
        "{}",
        graph.stdout
    );
    let emptied = scene.apko(&["clean"]).run().success();
    assert!(emptied.stdout.contains("removed"), "{}", emptied.stdout);
}

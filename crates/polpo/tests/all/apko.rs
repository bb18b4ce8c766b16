//! Called by apko's name, on apko's own test data.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use base::Digest;
use testkit::{Docker, Program};

use crate::clients;
use crate::image_diff::Shelf;
use crate::yard::json;

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

/// As `docker load` reads it: the image of each architecture under a name of its own.
#[test]
fn an_archive_holds_the_images_of_all_architectures() {
    let scene = Scene::new();
    let build = |name: &str, output: &str, options: &[&str]| {
        scene
            .apko(&["build", "testdata/apko.yaml", name, output, "--sbom=false"])
            .args(options)
            .run()
    };
    build("golden:v1", "plain.tar", &[]).success();
    build("golden:v1", "again.tar", &[]).success();
    assert_eq!(
        fs::read(scene.path("plain.tar")).unwrap(),
        fs::read(scene.path("again.tar")).unwrap()
    );
    let annotations = "org.opencontainers.image.title:Title,org.opencontainers.image.vendor:Vendor";
    let parity = ["--parity", "--annotations", annotations];
    build("golden:v1", "parity.tar", &parity).success();
    fs::create_dir(scene.path("layout")).unwrap();
    build("golden:v1", "layout", &parity).success();

    for archive in ["plain", "parity"] {
        let folder = scene.path(archive);
        fs::create_dir(&folder).unwrap();
        Program::new("tar")
            .args(["-C", archive, "-xf", &format!("{archive}.tar")])
            .folder(&scene.path(""))
            .run()
            .success();
        let read = |name: &str| json(&scene.read(&format!("{archive}/{name}")));
        // All is there that apko's archive has, under apko's names, and nothing else.
        let mut names = BTreeSet::from(["manifest.json".to_owned(), "index.json".to_owned()]);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        for (place, arch) in ["amd64", "arm64"].into_iter().enumerate() {
            let listed = &read("index.json")["manifests"][place];
            assert_eq!(listed["platform"]["architecture"], arch);
            let digest = text(&listed["digest"]);
            let bytes = fs::read(folder.join(&digest)).unwrap();
            assert_eq!(Digest::of(&bytes).to_string(), digest);
            names.insert(digest.clone());
            let manifest = read(&digest);
            let layer = text(&manifest["layers"][0]["digest"]);
            let layer = format!("{}.tar.gz", layer.strip_prefix("sha256:").unwrap());
            let expected = serde_json::json!({
                "Config": manifest["config"]["digest"],
                "RepoTags": [format!("index.docker.io/library/golden:v1-{arch}")],
                "Layers": [layer],
            });
            assert_eq!(read("manifest.json")[place], expected);
            names.extend([layer, text(&manifest["config"]["digest"])]);
        }
        let found = fs::read_dir(&folder).unwrap();
        let found = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(found.collect::<BTreeSet<_>>(), names);

        // What others read of it.
        let config = |arch: &str| {
            let place = format!("docker-archive:{archive}.tar:golden:v1-{arch}");
            let inspected = Program::new("skopeo")
                .args(["inspect", "--config", &place])
                .folder(&scene.path(""))
                .run()
                .success();
            json(&inspected.stdout)["architecture"].clone()
        };
        assert_eq!(
            (config("amd64"), config("arm64")),
            ("amd64".into(), "arm64".into())
        );
        let podman = |words: &[&str]| {
            Program::new("podman")
                .args(["--storage-driver", "vfs", "--root"])
                .arg(scene.path(&format!("podman-{archive}")))
                .arg("--runroot")
                .arg(scene.path(&format!("podman-run-{archive}")))
                .args(words)
                .folder(&scene.path(""))
                .run()
                .success()
                .stdout
        };
        podman(&["load", "--quiet", "--input", &format!("{archive}.tar")]);
        for arch in ["amd64", "arm64"] {
            let name = format!("docker.io/library/golden:v1-{arch}");
            let found = podman(&["image", "inspect", "--format", "{{.Architecture}}", &name]);
            assert_eq!(found.trim(), arch);
        }
    }
    // One image again.
    Program::new(env!("CARGO_BIN_EXE_polpo"))
        .args(["image", "copy", "docker-archive:plain.tar", "oci:back:v2"])
        .env("POLPO_STORE", scene.path("store"))
        .folder(&scene.path(""))
        .run()
        .success();
    let raw = Program::new("skopeo")
        .args(["inspect", "--raw", "oci:back:v2"])
        .folder(&scene.path(""))
        .run()
        .success();
    let configs = |index: &serde_json::Value, folder: &str| -> Vec<serde_json::Value> {
        let images = index["manifests"].as_array().unwrap().iter();
        let digests = images.map(|image| image["digest"].as_str().unwrap());
        let manifests = digests.map(|digest| match folder {
            "plain" => scene.read(&format!("plain/{digest}")),
            _ => scene.read(&format!("back/blobs/{}", digest.replace(':', "/"))),
        });
        let configs = manifests.map(|manifest| json(&manifest)["config"]["digest"].clone());
        configs.collect()
    };
    assert_eq!(
        configs(&json(&raw.stdout), "back"),
        configs(&json(&scene.read("plain/index.json")), "plain")
    );

    // With apko's bytes, the index is that of the golden layout.
    assert_eq!(
        scene.read("parity/index.json"),
        scene.read("layout/index.json")
    );
    assert_eq!(
        without_digests(&scene.read("parity/index.json")),
        without_digests(&scene.read("testdata/golden/index.json"))
    );

    // One architecture is named too, whatever the registry.
    build("registry.example:5000/a/b", "one.tar", &["--arch", "arm64"]).success();
    let names = Program::new("tar")
        .args(["-xOf", "one.tar", "manifest.json"])
        .folder(&scene.path(""))
        .run()
        .success();
    assert_eq!(
        json(&names.stdout)[0]["RepoTags"],
        serde_json::json!(["registry.example:5000/a/b:latest-arm64"])
    );
    let refused = build("No Name", "none.tar", &[]).code(1);
    assert!(refused.stderr.contains("`No Name`"), "{}", refused.stderr);
    assert!(!scene.path("none.tar").exists());
}

/// docker checks the layers by the configuration's diffIDs when it loads them.
#[test]
fn docker_loads_the_archive_runs_its_image_and_gives_it_back() {
    if !rustix::process::geteuid().is_root() {
        return; // its daemon wants root
    }
    let (scene, shelf) = (Scene::new(), Shelf::new());
    clients::repository(&shelf);
    let image = format!(
        "contents: {{repositories: [{}], keyring: [{}], packages: [busybox, secret, words]}}\n\
         accounts: {{users: [{{username: web, uid: 1000}}], run-as: web}}\n\
         entrypoint: {{command: /usr/bin/busybox}}\n\
         environment: {{COLOUR: blue}}\n\
         work-dir: /usr/share\n\
         layering: {{strategy: package, budget: 10}}\n\
         archs: [x86_64, aarch64]\n",
        shelf.path("packages").display(),
        shelf.path("keys/test.rsa.pub").display(),
    );
    fs::write(scene.path("image.yaml"), image).unwrap();
    let build = |name: &str, archive: &str, options: &[&str]| {
        scene
            .apko(&["build", "image.yaml", name, archive, "--sbom=false"])
            .args(options)
            .run()
            .success();
    };
    build("hello:v1", "all.tar", &[]);
    let elsewhere = "registry.example:5000/team/hello";
    build(elsewhere, "one.tar", &["--arch", "amd64"]);

    let daemon = Docker::start();
    let docker = |words: &[&str]| {
        let program = daemon.docker(words).folder(&scene.path(""));
        program.run().success().stdout
    };
    let images = || {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let listed = docker(&["images", "--no-trunc", "--format", format]);
        let lines = listed.lines().map(str::to_owned);
        lines.collect::<BTreeSet<_>>()
    };
    assert_eq!(
        docker(&["load", "--input", "all.tar"]),
        "Loaded image: hello:v1-amd64\nLoaded image: hello:v1-arm64\n"
    );
    let listed = |archive: &str| {
        let manifest = Program::new("tar").args(["-xOf", archive, "manifest.json"]);
        json(&manifest.folder(&scene.path("")).run().success().stdout)
    };
    let id = |archive: &str, place: usize| {
        let configuration = listed(archive)[place]["Config"].clone();
        configuration.as_str().unwrap().to_owned()
    };
    let mut expected = BTreeSet::from([
        format!("hello:v1-amd64 {}", id("all.tar", 0)),
        format!("hello:v1-arm64 {}", id("all.tar", 1)),
    ]);
    assert_eq!(images(), expected);
    for arch in ["amd64", "arm64"] {
        let inspected = json(&docker(&["inspect", &format!("hello:v1-{arch}")]));
        assert_eq!(inspected[0]["Architecture"], arch);
        // One for each package, and one for what none of them brings.
        let layers = inspected[0]["RootFS"]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 4);
    }

    let run = |words: &[&str]| {
        let options = ["run", "--rm", "--network=none", "hello:v1-amd64"];
        docker(&[&options, words].concat())
    };
    let script = "id -u; pwd; echo $COLOUR; cat words; stat -c ' %a %u:%g' /etc/secret";
    assert_eq!(
        run(&["sh", "-c", script]),
        "1000\n/usr/share\nblue\nx86_64 600 5:6\n"
    );
    // The other one's files: its program can't be run here.
    let container = docker(&["create", "--network=none", "hello:v1-arm64"]);
    let place = format!("{}:/usr/share/words", container.trim());
    docker(&["cp", &place, "words"]);
    assert_eq!(scene.read("words"), "aarch64");

    // One architecture is named too.
    docker(&["load", "--input", "one.tar"]);
    expected.insert(format!("{elsewhere}:latest-amd64 {}", id("one.tar", 0)));
    assert_eq!(images(), expected);

    // polpo reads what the daemon has, also in an archive of its own, and brings it what it lacks.
    let copy = |from: &str, to: &str| {
        let program = daemon.program(env!("CARGO_BIN_EXE_polpo"));
        let program = program.env("POLPO_STORE", scene.path("store"));
        let program = program.args(["image", "copy", from, to]);
        program.folder(&scene.path("")).run().success();
    };
    let both = ["hello:v1-amd64", "hello:v1-arm64"];
    docker(&[&["save", "--output", "saved.tar"], &both[..]].concat());
    for (place, name) in both.into_iter().enumerate() {
        for from in ["docker:", "docker-archive:saved.tar:"] {
            copy(&format!("{from}{name}"), "oci:back:v1");
            let raw = Program::new("skopeo")
                .args(["inspect", "--raw", "oci:back:v1"])
                .folder(&scene.path(""))
                .run()
                .success();
            let manifest = json(&raw.stdout);
            assert_eq!(manifest["config"]["digest"], id("all.tar", place), "{from}");
        }
    }
    copy("docker-archive:one.tar", "docker:hello:dev");
    expected.insert(format!("hello:dev {}", id("one.tar", 0)));
    assert_eq!(images(), expected);
}

/// OUTPUT that is a folder becomes a layout, of which every architecture is read by its tag.
#[test]
fn a_layout_holds_the_images_of_all_architectures() {
    let scene = Scene::new();
    fs::create_dir(scene.path("out")).unwrap();
    scene
        .apko(&[
            "build",
            "testdata/apko.yaml",
            "golden:v1",
            "out",
            "--sbom=false",
        ])
        .run()
        .success();
    let skopeo = |words: &[&str]| {
        let program = Program::new("skopeo").args(["--insecure-policy"]);
        program.args(words).folder(&scene.path("")).run().success()
    };
    skopeo(&["copy", "--quiet", "--all", "oci:out:v1", "dir:copied"]);
    let index = json(&scene.read("copied/manifest.json"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    for arch in ["amd64", "arm64"] {
        let words = ["--override-arch", arch, "inspect", "oci:out:v1"];
        assert_eq!(json(&skopeo(&words).stdout)["Architecture"], arch);
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
    // What is shown is known from the indexes alone.
    fs::remove_file(scene.path("testdata")).unwrap();
    let corpus = testkit::corpus().join("apko/cli");
    let copied = scene.path("testdata");
    let copy = Program::new("cp").arg("--recursive").arg(corpus);
    copy.arg(&copied).run().success();
    let removal = Program::new("find").arg(&copied);
    removal.args(["-name", "*.apk", "-delete"]).run().success();
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

//! Real programs accept what polpo makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use testkit::Program;

use crate::world::{checkout, world};

fn reference() -> String {
    format!("oci:{}:latest", world().layout().display())
}

#[test]
fn skopeo_copies_and_inspects() {
    let folder = tempfile::tempdir().unwrap();
    let inspected = Program::new("skopeo")
        .args(["inspect", &reference()])
        .run()
        .success()
        .stdout;
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Architecture"], "amd64");
    assert_eq!(inspected["Os"], "linux");
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 1);
    let copy = format!("dir:{}", folder.path().join("copy").display());
    Program::new("skopeo")
        .args(["copy", "--preserve-digests", &reference(), &copy])
        .run()
        .success();
    assert!(folder.path().join("copy/manifest.json").is_file());
    let archive = format!(
        "docker-archive:{}:hello:latest",
        folder.path().join("hello.tar").display()
    );
    Program::new("skopeo")
        .args(["copy", &reference(), &archive])
        .run()
        .success();
}

#[test]
fn umoci_unpacks() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let image = format!("{}:latest", world().layout().display());
    Program::new("umoci")
        .args(["unpack", "--rootless", "--image", &image])
        .arg(&bundle)
        .run()
        .success();
    let root = bundle.join("rootfs");
    assert!(root.join("usr/bin/hello").is_file());
    assert!(root.join("usr/lib/apk/db/installed").is_file());
    for absent in [
        "usr/bin/sh",
        "usr/bin/bash",
        "usr/bin/busybox",
        "usr/bin/apk",
        "usr/bin/dpkg",
    ] {
        assert!(
            !root.join(absent).exists(),
            "{absent} has no place in a minimal image"
        );
    }
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["user"]["uid"], 65532);
}

#[test]
fn podman_runs_it() {
    let storage = tempfile::tempdir().unwrap();
    let podman = || {
        Program::new("podman")
            .arg("--root")
            .arg(storage.path().join("root"))
            .arg("--runroot")
            .arg(storage.path().join("run"))
            .args(["--storage-driver", "vfs", "--runtime", "runc"])
    };
    let pulled = podman()
        .args(["pull", "--quiet", &reference()])
        .run()
        .success();
    let run = podman()
        .args([
            "run",
            "--rm",
            "--network=none",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ])
        .arg(pulled.stdout.trim())
        .run()
        .success();
    assert_eq!(run.stdout, "Hello, world!\n");
}

#[test]
fn syft_lists_exactly_the_installed_packages() {
    // syft reads layouts of one manifest only: the image as it is before it is signed.
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("hello");
    world()
        .image(&world().store(), &world().packages(), &layout)
        .run()
        .success();
    let listed = Program::tool("syft")
        .args(["scan", "-q", "-o", "json"])
        .arg(format!("oci-dir:{}", layout.display()))
        .env("SYFT_CHECK_FOR_APP_UPDATE", "false")
        .run()
        .success()
        .stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let found: BTreeSet<(String, String)> = listed["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|artifact| artifact["type"] == "apk")
        .map(|artifact| {
            let word = |key: &str| artifact[key].as_str().unwrap().to_owned();
            (word("name"), word("version"))
        })
        .collect();
    assert_eq!(found, installed());
    assert_eq!(listed["distro"]["id"], "polpo");
}

/// The packages of the image, read from its database by a few lines that know nothing of polpo.
fn installed() -> BTreeSet<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let image = format!("{}:latest", world().layout().display());
    Program::new("umoci")
        .args(["unpack", "--rootless", "--image", &image])
        .arg(&bundle)
        .run()
        .success();
    let database = fs::read_to_string(bundle.join("rootfs/usr/lib/apk/db/installed")).unwrap();
    let letter = |record: &str, letter: &str| {
        record
            .lines()
            .find_map(|line| line.strip_prefix(letter))
            .unwrap()
            .to_owned()
    };
    let packages: BTreeSet<_> = database
        .split("\n\n")
        .filter(|record| !record.trim().is_empty())
        .map(|record| (letter(record, "P:"), letter(record, "V:")))
        .collect();
    let names: Vec<&str> = packages.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains(&"hello") && names.contains(&"libc6"),
        "{names:?}"
    );
    packages
}

#[test]
fn a_validator_accepts_every_sbom() {
    let folder = tempfile::tempdir().unwrap();
    let mut documents = Vec::new();
    // Each package's own, as it lies in the package.
    let packages = world().packages().join("x86_64");
    for entry in fs::read_dir(&packages).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "apk") {
            let into = folder.path().join(path.file_stem().unwrap());
            fs::create_dir(&into).unwrap();
            Program::new("tar")
                .args(["--warning=no-unknown-keyword", "-xzf"])
                .arg(&path)
                .arg("-C")
                .arg(&into)
                .args(["--ignore-zeros", "var/lib/db/sbom"])
                .run()
                .success();
            let before = documents.len();
            collect_documents(&into, &mut documents);
            assert_eq!(documents.len(), before + 1, "{}", path.display());
        }
    }
    // The image's, from its statement.
    let layout = world().layout();
    for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let Ok(envelope) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
            continue;
        };
        let Some(payload) = envelope["dsseEnvelope"]["payload"].as_str() else {
            continue;
        };
        let decoded = Program::new("sh")
            .args(["-c", "printf %s \"$1\" | base64 -d", "sh", payload])
            .run()
            .success()
            .stdout;
        let statement: serde_json::Value = serde_json::from_str(&decoded).unwrap();
        if statement["predicateType"] == "https://spdx.dev/Document" {
            let path = folder.path().join("image.spdx.json");
            fs::write(&path, statement["predicate"].to_string()).unwrap();
            documents.push(path);
        }
    }
    assert!(
        documents
            .iter()
            .any(|path| path.ends_with("image.spdx.json"))
    );
    for document in documents {
        Program::tool("pyspdxtools")
            .arg("-i")
            .arg(&document)
            .run()
            .success();
    }
}

fn collect_documents(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_documents(&path, found);
        } else if path.to_string_lossy().ends_with(".spdx.json") {
            found.push(path);
        }
    }
}

/// The seed's packages carry documents too, one for each package of the host's distribution.
#[test]
fn a_validator_accepts_the_sboms_of_the_seed() {
    let script = checkout().join("crates/polpo/tests/all/validate_sboms.py");
    let folder = world().seed().join(std::env::consts::ARCH);
    let packages: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "apk"))
        .collect();
    let said = Program::tool("python")
        .arg("-B")
        .arg(script)
        .args(&packages)
        .run()
        .success()
        .stdout;
    let checked: usize = said.trim().parse().unwrap();
    // All but those that polpo makes itself: the base layout, `build-base` and `busybox`.
    assert_eq!(checked, packages.len() - 3);
}

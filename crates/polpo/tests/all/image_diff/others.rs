//! Images that others made, moved and keep.

use super::*;

/// An image of other programs: umoci makes whiteouts, skopeo compresses anew, podman saves.
#[test]
fn images_of_other_programs_are_compared() {
    let shelf = Shelf::new();
    let files = |name: &str, entries: &[(&str, &str)]| {
        for (path, text) in entries {
            let path = shelf.path(name).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        shelf.path(name)
    };
    let run = |program: &str, words: &[&str]| {
        Program::new(program)
            .args(words)
            .folder(shelf.folder.path())
            .run()
            .success()
    };
    run("umoci", &["init", "--layout", "other"]);
    run("umoci", &["new", "--image", "other:empty"]);
    let first = files(
        "first",
        &[
            ("etc/kept", "kept"),
            ("etc/gone", "gone"),
            ("opt/all/a", "a"),
            ("opt/all/b", "b"),
            ("usr/bin/x", "x"),
        ],
    );
    let second = files("second", &[("c", "c"), ("a", "another a")]);
    let insert = |words: &[&str]| {
        let mut all = vec!["insert", "--rootless", "--image"];
        all.extend_from_slice(words);
        run("umoci", &all);
    };
    insert(&["other:empty", "--tag", "v1", first.to_str().unwrap(), "/"]);
    insert(&["other:v1", "--tag", "v2", "--whiteout", "/etc/gone"]);
    insert(&[
        "other:v2",
        "--tag",
        "v3",
        "--opaque",
        second.to_str().unwrap(),
        "/opt/all",
    ]);
    run(
        "umoci",
        &[
            "config",
            "--image",
            "other:v3",
            "--config.user",
            "1000",
            "--config.env",
            "A=b",
        ],
    );

    let told = shelf
        .diff(&["oci:other:v1", "oci:other:v3", "--files"])
        .success();
    let text = steady(&told.stdout);
    let files_of = |text: &str| -> String {
        let kept = text.lines().filter(|line| {
            line.starts_with("    A ") || line.starts_with("    D ") || line.starts_with("    M ")
        });
        kept.map(|line| line.split(" (").next().unwrap().trim().to_owned() + "\n")
            .collect()
    };
    insta::assert_snapshot!(files_of(&text), @"
    D /etc/gone
    M /opt/all/a
    D /opt/all/b
    A /opt/all/c
    ");
    assert!(text.contains("user: none → 1000"), "{text}");
    assert!(text.contains("env A: none → b"), "{text}");

    // The same layers, otherwise compressed, are the same files.
    let copy = |words: &[&str]| {
        let mut all = vec!["--insecure-policy", "copy", "--quiet"];
        all.extend_from_slice(words);
        run("skopeo", &all);
    };
    copy(&["--dest-decompress", "oci:other:v3", "dir:plain"]);
    copy(&["--dest-compress-format", "zstd", "dir:plain", "oci:zstd:v3"]);
    copy(&["oci:other:v3", "oci-archive:v3.tar:v3"]);
    let zstd = shelf
        .diff(&["oci:other:v3", "oci:zstd:v3", "--format", "json"])
        .success();
    let value = json(&zstd.stdout);
    assert_eq!(
        value["images"][0]["files"]["changes"],
        serde_json::json!([])
    );
    let layers = &value["images"][0]["size"]["layers"]["added"];
    assert!(
        layers[0]["media_type"].as_str().unwrap().ends_with("+zstd"),
        "{layers}"
    );
    let archive = shelf
        .diff(&["oci:other:v3", "oci-archive:v3.tar:v3"])
        .success();
    assert_eq!(archive.stdout, "");

    // podman puts a layer on top and saves it as docker does.
    let podman = |words: &[&str]| {
        let mut program = Program::new("podman").args(["--storage-driver", "vfs"]);
        for (option, folder) in [("--root", "podman"), ("--runroot", "podman-run")] {
            program = program.arg(option).arg(shelf.path(folder));
        }
        program
            .args(words)
            .folder(shelf.folder.path())
            .run()
            .success()
    };
    fs::write(
        shelf.path("Containerfile"),
        "FROM scratch\nCOPY first/ /\nCOPY second/ /opt/all/\nUSER 1000\nHEALTHCHECK CMD true\n",
    )
    .unwrap();
    podman(&[
        "build",
        "--quiet",
        "--format",
        "docker",
        "--tag",
        "localhost/built:1",
        ".",
    ]);
    podman(&[
        "save",
        "--quiet",
        "--output",
        "built.tar",
        "localhost/built:1",
    ]);
    let built = shelf
        .diff(&[
            "oci:other:v3",
            "docker-archive:built.tar:localhost/built:1",
            "--files",
        ])
        .success();
    insta::assert_snapshot!(files_of(&built.stdout), @"
    A /etc/gone
    A /opt/all/b
    ");
    assert!(
        built
            .stdout
            .contains(r#"health-check: none → {"Test":["CMD-SHELL","true"]}"#),
        "{}",
        built.stdout
    );
    // Out of podman's own images, too.
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        shelf.path("podman").display(),
        shelf.path("podman-run").display()
    );
    fs::write(shelf.path("storage.conf"), storage).unwrap();
    let of_podman = shelf
        .polpo(&["image", "diff", "docker-archive:built.tar"])
        .args(["podman:localhost/built:1", "--fail-on", "any"])
        .env("CONTAINERS_STORAGE_CONF", shelf.path("storage.conf"))
        .run()
        .success();
    assert_eq!(of_podman.stdout, "");
    // What was read is copied as well.
    shelf
        .polpo(&["image", "copy", "docker-archive:built.tar", "oci:copied:1"])
        .run()
        .success();
    let copied = shelf
        .diff(&["docker-archive:built.tar", "oci:copied:1"])
        .success();
    assert_eq!(copied.stdout, "");
    let refused = shelf
        .diff(&["docker-archive:built.tar:other", "oci:copied:1"])
        .code(1);
    assert!(
        refused
            .stderr
            .contains("has localhost/built:1; name one of them behind a colon"),
        "{}",
        refused.stderr
    );
}

#[test]
fn architectures_signatures_and_registries() {
    let shelf = Shelf::new();
    shelf.releases();
    let registry = Registry::start();
    let name = registry.name("team/hello:v1");
    shelf
        .polpo(&["image", "publish", "before", &name])
        .run()
        .success();
    for key in ["one.pem", "two.pem"] {
        shelf
            .polpo(&["key", "generate", "--type", "ecdsa-p256", key])
            .run()
            .success();
    }
    // Equal bytes that nobody signed, wherever they are.
    let equal = shelf.diff(&[&name, "before", "--fail-on", "any"]).success();
    assert_eq!(equal.stdout, "");
    shelf
        .polpo(&["sign", &name, "--key", "one.pem"])
        .run()
        .success();
    let unsigned = shelf
        .diff(&[&name, "before", "--fail-on", "unsigned,attestation,sbom"])
        .code(1);
    let shown = steady(&unsigned.stdout).replace(registry.address(), "REGISTRY");
    insta::assert_snapshot!(shown, @"
    REGISTRY/team/hello:v1 → before
    linux/amd64 DIGEST → DIGEST
      SBOM
        documents: 2 → 1
        - pkg:apk/test/base@1-r0
        - pkg:apk/test/gone@1-r0
        - pkg:apk/test/same@1-r0
        - pkg:apk/test/tool@2.0-r0
        - test 1
      what refers to it
        signed → not signed
        - attestation https://slsa.dev/provenance/v1
        - attestation https://spdx.dev/Document
        - signature
    broken rules
      ✗ unsigned
          DIGEST is not signed
      ✗ attestation
          it has no attestation https://slsa.dev/provenance/v1 any more
          it has no attestation https://spdx.dev/Document any more
    ");
    let by = |key: &str| shelf.diff(&["before", &name, "--fail-on", "unsigned", "--key", key]);
    by("one.pem.pub").success();
    by("two.pem.pub").code(1);

    // An index, as a builder for two machines makes it, of images that are no one's.
    let two = |name: &str, arches: [base::Arch; 2], mark: &str| {
        let layout = oci::Layout::create(shelf.path(name)).unwrap();
        let parts = arches.map(|arch| {
            let mut writer = archive::tar::Writer::new(Vec::new());
            let text = format!("{mark} {arch}");
            let header = archive::tar::Header::file("mark", text.len() as u64);
            writer.append(&header, text.as_bytes()).unwrap();
            let layer = writer.finish().unwrap();
            let platform = oci::Platform::linux(arch);
            let mut config = oci::ImageConfig {
                architecture: platform.architecture.clone(),
                os: "linux".to_owned(),
                ..oci::ImageConfig::default()
            };
            config.rootfs.diff_ids = vec![base::Digest::of(&layer)];
            let config = layout
                .put_blob(oci::media_type::CONFIG, &config.to_bytes().unwrap())
                .unwrap();
            let layer = layout.put_blob(oci::media_type::LAYER_TAR, &layer).unwrap();
            let manifest = oci::Manifest::image(config, vec![layer]);
            let mut image = layout.put_manifest(&manifest).unwrap();
            image.platform = Some(platform);
            image
        });
        let index = layout.put_index(&oci::Index::new(parts.to_vec())).unwrap();
        layout.tag("v1", &index).unwrap();
    };
    use base::Arch::{Aarch64, Riscv64, X86_64};
    two("machines", [X86_64, Aarch64], "one");
    two("others", [Riscv64, X86_64], "other");
    let told = shelf
        .diff(&["machines", "others", "--fail-on", "platform", "--files"])
        .code(1);
    insta::assert_snapshot!(steady(&told.stdout), @"
    machines → others
    - linux/arm64
    + linux/riscv64
    linux/amd64 DIGEST → DIGEST
      files: 1 changed
        M /mark (content 10 B → 12 B)
      size
    broken rules
      ✗ platform
          linux/arm64 is gone
    ");
    let one = shelf
        .diff(&["machines", "others", "--arch", "aarch64"])
        .code(1);
    assert!(
        one.stderr.contains(
            "the second image is not made for aarch64; it has linux/riscv64, linux/amd64"
        ),
        "{}",
        one.stderr
    );
    let cpio = shelf.diff(&["machines", "cpio:x"]).code(2);
    assert!(
        cpio.stderr.contains("can only be copied to"),
        "{}",
        cpio.stderr
    );
}

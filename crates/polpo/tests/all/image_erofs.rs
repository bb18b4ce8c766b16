//! Images whose one layer is an EROFS image, judged by the programs of erofs-utils.

use std::fs;
use std::path::Path;

use testkit::Program;

use crate::image_diff::Shelf;
use crate::yard::json;

const IMAGE: &str = "contents: {packages: [base, same, greet, tool]}\n\
                     entrypoint: {command: /usr/bin/tool}\n\
                     paths: [{path: /usr/bin/other, type: hardlink, source: /usr/bin/tool}]\n";

fn blob(layout: &Path, digest: &serde_json::Value) -> std::path::PathBuf {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    layout.join("blobs/sha256").join(hex)
}

fn read(path: &Path) -> serde_json::Value {
    json(&fs::read_to_string(path).unwrap())
}

fn run(program: &str, words: &[&str]) -> String {
    Program::new(program)
        .args(words)
        .env("TZ", "UTC")
        .run()
        .success()
        .stdout
}

#[test]
fn an_erofs_image_holds_what_the_tar_does() {
    let shelf = Shelf::new();
    shelf.releases();
    shelf.image("tar", "old", IMAGE);
    shelf.image("erofs", "old", &format!("{IMAGE}format: erofs\n"));
    // By the option as by the file.
    let build = |name: &str, options: &[&str]| {
        shelf
            .polpo(&["image", "build", "image.yaml", "erofs:latest", name])
            .args(["-r", "old", "-k", "keys", "--arch", "x86_64"])
            .args(options)
            .run()
    };
    fs::write(shelf.path("image.yaml"), format!("{IMAGE}format: erofs\n")).unwrap();
    build("again", &[]).success();
    let index = |name: &str| read(&shelf.path(name).join("index.json"));
    assert_eq!(index("erofs"), index("again"));
    build("tar-again", &["--format", "tar"]).success();
    let refused = build("none", &["--compress", "zstd"]).code(2);
    assert!(
        refused.stderr.contains("is not compressed"),
        "{}",
        refused.stderr
    );
    let layered = format!("{IMAGE}format: erofs\nlayering: {{strategy: origin, budget: 3}}\n");
    fs::write(shelf.path("image.yaml"), layered).unwrap();
    let refused = build("none", &[]).code(2);
    assert!(refused.stderr.contains("one layer"), "{}", refused.stderr);
    fs::write(shelf.path("image.yaml"), IMAGE).unwrap();
    build("by-option", &["--format", "erofs"]).success();

    let layout = shelf.path("erofs");
    let entry = &index("erofs")["manifests"][0];
    assert_eq!(
        entry["platform"]["os.features"],
        serde_json::json!(["erofs"])
    );
    let manifest = read(&blob(&layout, &entry["digest"]));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0]["mediaType"], "application/vnd.erofs");
    let config = read(&blob(&layout, &manifest["config"]["digest"]));
    assert_eq!(config["os.features"], serde_json::json!(["erofs"]));
    assert_eq!(config["rootfs"]["diff_ids"][0], layers[0]["digest"]);
    let by_option = &index("by-option")["manifests"][0];
    let by_option = read(&blob(&shelf.path("by-option"), &by_option["digest"]));
    assert_eq!(by_option["layers"][0]["mediaType"], "application/vnd.erofs");

    // The programs of erofs-utils: every inode is good, and the files are those of the tar.
    let image = blob(&layout, &layers[0]["digest"]);
    let image = image.to_str().unwrap();
    run("fsck.erofs", &[image]);
    let superblock = run("dump.erofs", &["-s", image]);
    assert!(
        superblock.contains("Tue Nov 14 22:13:20 2023"),
        "{superblock}"
    );
    let linked = run("dump.erofs", &["--path=/usr/bin/other", image]);
    assert!(linked.contains("Links: 2"), "{linked}");
    // What polpo reads of it is what was written: owners, modes, capabilities, links.
    let told = shelf
        .diff(&["./tar", "./erofs", "--format", "json"])
        .success();
    let value = json(&told.stdout);
    let files = &value["images"][0]["files"];
    let changed: Vec<&str> = files["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    // The image says of itself what it is.
    assert_eq!(changed, ["etc/apko.json"], "{files}");

    // Into a file of its own, and listed.
    shelf
        .polpo(&[
            "image",
            "copy",
            "./tar",
            "erofs:root.erofs",
            "--arch",
            "x86_64",
        ])
        .run()
        .success();
    let file = shelf.path("root.erofs");
    run("fsck.erofs", &[file.to_str().unwrap()]);
    let listed = |place: &str| {
        let finished = shelf
            .polpo(&["image", "files", place, "--arch", "x86_64"])
            .run();
        finished.success().stdout
    };
    let of_layout = listed("./erofs");
    let lines = |text: &str, names: &[&str]| -> String {
        let found = text.lines().filter(|line| {
            let path = line.split(' ').filter(|word| !word.is_empty()).nth(5);
            path.is_some_and(|path| names.contains(&path))
        });
        found.map(|line| format!("{line}\n")).collect()
    };
    let names = [
        "dev/null",
        "etc/secret",
        "tmp",
        "usr/bin/other",
        "usr/bin/ping",
        "usr/bin/su",
        "usr/bin/tool",
        "usr/lib/libgreet.so.1",
    ];
    insta::assert_snapshot!(lines(&of_layout, &names), @"
    crw-rw-rw- 0/0   1,3 1970-01-01 00:00 dev/null
    -rw-r----- 0/0     1 2023-11-14 22:13 etc/secret
    drwxrwxrwt 0/0     0 1970-01-01 00:00 tmp
    -rwxr-xr-x 0/0    10 2023-11-14 22:13 usr/bin/other
    -rwxr-xr-x 0/0     6 2023-11-14 22:13 usr/bin/ping [cap_net_raw=ep]
    -rwsr-xr-x 0/0     4 2023-11-14 22:13 usr/bin/su
    hrwxr-xr-x 0/0    10 2023-11-14 22:13 usr/bin/tool link to usr/bin/other
    lrwxrwxrwx 0/0     0 2023-11-14 22:13 usr/lib/libgreet.so.1 -> libgreet.so.1.9
    ");
    assert_eq!(
        lines(&listed("erofs:root.erofs"), &names),
        lines(&of_layout, &names)
    );
    let by_apko = shelf
        .polpo(&["apko", "erofs", "ls", "root.erofs"])
        .run()
        .success();
    assert_eq!(by_apko.stdout, listed("erofs:root.erofs"));
    let mount = shelf
        .polpo(&["apko", "erofs", "mount", "root.erofs", "x"])
        .run()
        .code(1);
    assert!(mount.stderr.contains("mount -t erofs"), "{}", mount.stderr);

    // What can't hold it says so.
    let refused = shelf
        .polpo(&["image", "copy", "./erofs", "docker-archive:x.tar:a"])
        .run()
        .code(1);
    assert!(
        refused.stderr.contains("application/vnd.erofs"),
        "{}",
        refused.stderr
    );
}

/// As apko does: names of one file are copies, and the image's time is in the superblock.
#[test]
fn apkos_erofs_images_have_copies_for_hard_links() {
    let shelf = Shelf::new();
    shelf.releases();
    let repositories = format!("{IMAGE}format: erofs\n",).replace(
        "contents: {",
        "contents: {runtime_repositories: [https://packages.example/os], ",
    );
    fs::write(shelf.path("image.yaml"), repositories).unwrap();
    fs::create_dir(shelf.path("parity")).unwrap();
    shelf
        .polpo(&[
            "image",
            "build",
            "image.yaml",
            "erofs:latest",
            "parity",
            "--parity",
        ])
        .args(["-r", "old", "-k", "keys/test.rsa.pub"])
        .args(["--arch", "x86_64"])
        .run()
        .success();
    let layout = shelf.path("parity");
    let index = read(&layout.join("index.json"));
    let entry = &index["manifests"][0];
    assert_eq!(
        entry["platform"]["os.features"],
        serde_json::json!(["erofs"])
    );
    let manifest = read(&blob(&layout, &entry["digest"]));
    let image = blob(&layout, &manifest["layers"][0]["digest"]);
    let image = image.to_str().unwrap();
    run("fsck.erofs", &[image]);
    let linked = run("dump.erofs", &["--path=/usr/bin/other", image]);
    assert!(linked.contains("Links: 1"), "{linked}");
}

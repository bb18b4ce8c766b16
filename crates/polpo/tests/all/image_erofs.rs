//! Images whose one layer is an EROFS image, judged by the programs of erofs-utils.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use archive::Limits;
use archive::tar::{EntryKind, Reader};
use base::Digest;
use testkit::{Program, Registry};

use crate::image_diff::Shelf;
use crate::world::world;
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

/// What is known of a file, whichever program wrote it down: names of one file have the same content.
#[derive(Debug, PartialEq)]
struct Known {
    kind: EntryKind,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
    xattrs: BTreeMap<String, Vec<u8>>,
    content: Digest,
}

/// The files of a tar, below its root.
fn files_of(tar: &Path) -> BTreeMap<String, Known> {
    let tar = std::io::BufReader::new(fs::File::open(tar).unwrap());
    let mut reader = Reader::new(tar, Limits::default());
    let mut files: BTreeMap<String, Known> = BTreeMap::new();
    while let Some(mut entry) = reader.next().unwrap() {
        let header = entry.header().clone();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if header.path == "." {
            continue;
        }
        let mut known = Known {
            kind: header.kind,
            mode: header.mode,
            owner: (header.uid, header.gid),
            mtime: header.mtime,
            xattrs: header.xattrs,
            content: Digest::of(&bytes),
        };
        if let EntryKind::HardLink { target } = &known.kind {
            let file = &files[target];
            known.kind = file.kind.clone();
            known.content = file.content;
            // A tar of GNU's has them on the first name alone.
            known.xattrs.clone_from(&file.xattrs);
        }
        files.insert(header.path, known);
    }
    files
}

/// The files of a folder, by GNU's tar, which follows nothing and reads what there is.
fn files_in(folder: &Path, tar: &Path) -> BTreeMap<String, Known> {
    Program::new("tar")
        .args(["--format=pax", "--numeric-owner", "--sort=name", "--xattrs"])
        .args(["--xattrs-include=*", "-C"])
        .arg(folder)
        .arg("-cf")
        .arg(tar)
        .arg(".")
        .run()
        .success();
    files_of(tar)
}

#[test]
fn fsck_and_the_kernel_take_out_what_the_tar_holds() {
    let shelf = Shelf::new();
    shelf.releases();
    let image = format!("{IMAGE}accounts: {{users: [{{username: web, uid: 1000}}]}}\n");
    shelf.image("tar", "old", &image);
    shelf.image("erofs", "old", &format!("{image}format: erofs\n"));
    let copy = |from: &str, to: &str| {
        shelf
            .polpo(&["image", "copy", from, to, "--arch", "x86_64"])
            .run()
            .success();
    };
    copy("./tar", "rootfs:tar.tar");
    let mut expected = files_of(&shelf.path("tar.tar"));
    assert_eq!(expected["home/web"].owner, (1000, 1000));
    assert!(
        expected["usr/bin/ping"]
            .xattrs
            .contains_key("security.capability")
    );
    // From the EROFS image back into a tar: what it says of itself alone differs.
    copy("./erofs", "rootfs:erofs.tar");
    let back = files_of(&shelf.path("erofs.tar"));
    let own = "etc/apko.json";
    assert_ne!(back[own].content, expected[own].content);
    expected.get_mut(own).unwrap().kind = back[own].kind.clone();
    expected.get_mut(own).unwrap().content = back[own].content;
    assert_eq!(back, expected);

    let layout = shelf.path("erofs");
    let index = read(&layout.join("index.json"));
    let manifest = read(&blob(&layout, &index["manifests"][0]["digest"]));
    let layer = blob(&layout, &manifest["layers"][0]["digest"]);
    let layer = layer.to_str().unwrap();
    let out = shelf.path("out");
    let extract = format!("--extract={}", out.display());
    run("fsck.erofs", &["--preserve", &extract, layer]);
    let mut extracted = files_in(&out, &shelf.path("out.tar"));
    assert_eq!(
        extracted.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (path, known) in &mut extracted {
        // fsck.erofs of erofs-utils 1.5 takes out no extended attributes, and gives files their owners after
        // their modes, which takes set-user-id away.
        known.mode |= expected[path].mode & 0o6000;
        if known.xattrs.is_empty() {
            known.xattrs.clone_from(&expected[path].xattrs);
        }
        assert_eq!(known, &expected[path], "{path}");
    }

    // The kernel, where it knows EROFS; Debian's has it as a module.
    let known = fs::read_to_string("/proc/filesystems").unwrap();
    if !known.split_whitespace().any(|name| name == "erofs") {
        return;
    }
    let mounted = shelf.path("mounted");
    fs::create_dir(&mounted).unwrap();
    // Within a mount namespace, so that nothing stays mounted.
    let tar = shelf.path("mounted.tar");
    Program::new("unshare")
        .args(["--mount", "sh", "-euc"])
        .arg(
            "mount -t erofs -o loop,ro \"$1\" \"$2\"\n\
             tar --format=pax --numeric-owner --sort=name --xattrs '--xattrs-include=*' \
             -C \"$2\" -cf \"$3\" .",
        )
        .args([Path::new("sh"), Path::new(layer), &mounted, &tar])
        .run()
        .success();
    assert_eq!(files_of(&tar), expected);
}

/// The road from packages to a registry and back: signed, described, compared and verified.
#[test]
fn an_erofs_image_is_signed_verified_compared_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let layout = path("hello");
    let here = layout.display().to_string();
    world()
        .image(&world().store(), &world().packages(), &layout)
        .args(["--format", "erofs"])
        .run()
        .success();
    let polpo = |words: &[&str]| world().polpo().args(words).run();
    // Before anybody vouches for it.
    let unsigned = world().verify(&layout).run().code(1);
    assert!(
        unsigned
            .stdout
            .contains("nobody who is trusted says: the image is signed"),
        "{}",
        unsigned.stdout
    );
    world()
        .polpo()
        .args(["sign", &here, "--key"])
        .arg(world().image_key())
        .run()
        .success();
    let verified = |text: String| {
        // Where each package is from, down to its source.
        assert!(text.contains("31e066137a962676e89f69d1b65382de"), "{text}");
        text
    };
    verified(world().verify(&layout).run().success().stdout);

    // Beside the image of tars: the same packages and files.
    let tars = world().layout().display().to_string();
    let told = polpo(&["image", "diff", &tars, &here, "--format", "json"]).success();
    let told = json(&told.stdout);
    assert_eq!(told["images"][0]["packages"], serde_json::json!([]));
    let changes = told["images"][0]["files"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0]["path"], "etc/apko.json");

    // Through a registry and a tar of the layout, with what refers to it.
    let registry = Registry::start();
    let name = registry.name("erofs/hello:v1");
    polpo(&["image", "publish", &here, &name]).success();
    let again = registry.name("other/hello:v2");
    polpo(&["image", "copy", &name, &again]).success();
    let archive = format!("oci-archive:{}:v3", path("hello.tar").display());
    polpo(&["image", "copy", &again, &archive]).success();
    let back = format!("oci:{}:v3", path("back").display());
    polpo(&["image", "copy", &archive, &back]).success();
    verified(world().verify(&path("back")).run().success().stdout);
    assert_eq!(
        polpo(&["image", "diff", &here, &again, "--fail-on", "any"])
            .success()
            .stdout,
        ""
    );
    let program = Program::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--raw"])
        .arg(format!("docker://{again}"))
        .run()
        .success();
    assert!(
        program.stdout.contains("application/vnd.erofs"),
        "{}",
        program.stdout
    );

    assert_eq!(
        polpo(&["image", "run", &here]).success().stdout,
        "Hello, world!\n"
    );

    // One byte of the layer, and it is not looked at any further.
    let index = read(&path("back").join("index.json"));
    let manifests = index["manifests"].as_array().unwrap();
    let image = manifests
        .iter()
        .find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == "v3")
        .unwrap();
    let manifest = read(&blob(&path("back"), &image["digest"]));
    let layer = blob(&path("back"), &manifest["layers"][0]["digest"]);
    let mut bytes = fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let damaged = world().verify(&path("back")).run().code(1);
    assert!(
        damaged.stderr.contains("is damaged"),
        "{}{}",
        damaged.stdout,
        damaged.stderr
    );
}

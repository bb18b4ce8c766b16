//! The forms that an image takes besides a layout, read by the programs that are to read them.

use std::fs;
use std::path::Path;

use archive::tar::Writer;
use archive::tree::{FileTree, Node, NodeKind, TarOptions};
use base::Digest;
use oci::packed::{pack_docker, pack_layout};
use oci::{ImageConfig, Layout, Manifest, Platform, ResolvedImage, media_type};
use testkit::Program;

use crate::bed::{ARCH, hard_link, text, tree};

fn tar(tree: &FileTree) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    tree.write_tar(&mut writer, TarOptions::default()).unwrap();
    writer.finish().unwrap()
}

/// An image of these layers under `v1`.
fn layout(root: &Path, layers: &[Vec<u8>]) -> (Layout, ResolvedImage) {
    let layout = Layout::create(root).unwrap();
    let platform = Platform::linux(ARCH);
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: "linux".to_owned(),
        ..ImageConfig::default()
    };
    config.rootfs.kind = "layers".to_owned();
    config.rootfs.diff_ids = layers.iter().map(|bytes| Digest::of(bytes)).collect();
    let config = layout
        .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
        .unwrap();
    let layers = layers
        .iter()
        .map(|bytes| layout.put_blob(media_type::LAYER_TAR, bytes).unwrap())
        .collect();
    let mut descriptor = layout
        .put_manifest(&Manifest::image(config, layers))
        .unwrap();
    descriptor.platform = Some(platform);
    layout.tag("v1", &descriptor).unwrap();
    let image = layout.image(Some("v1"), ARCH).unwrap();
    (layout, image)
}

fn layers() -> [Vec<u8>; 3] {
    [
        tree([
            ("bin/x", text("program").with_mode(0o4755).with_owner(5, 6)),
            ("bin/y", hard_link("bin/x")),
            ("etc/gone", text("gone")),
            ("etc/kept", text("kept").with_mtime(1_000_000_000)),
            ("etc/link", Node::symlink("kept")),
            ("opt/old/a", text("a")),
            ("opt/old/b", text("b")),
            ("opt/was-folder/file", text("file")),
            (
                "dev/null",
                Node::new(NodeKind::CharDevice { major: 1, minor: 3 }),
            ),
        ]),
        tree([
            ("etc/.wh.gone", text("")),
            ("etc/new", text("new")),
            ("opt/old/.wh..wh..opq", text("")),
            ("opt/old/c", text("c")),
            ("opt/was-folder", text("file now")),
        ]),
        tree([
            ("etc/kept", text("changed")),
            ("run", Node::directory().with_mode(0o1777)),
        ]),
    ]
    .map(|tree| tar(&tree))
}

fn lines(program: Program) -> String {
    program.run().success().stdout
}

#[test]
fn layers_become_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (layout, image) = layout(&path("layout"), &layers());
    fs::create_dir(path("files")).unwrap();
    let flat = image::flatten(&layout, &image, &path("files")).unwrap();
    image::write_root_tar(&flat, &path("root.tar")).unwrap();
    let listed = lines(
        Program::new("tar")
            .args(["--numeric-owner", "--full-time", "--utc", "-tvf"])
            .arg(path("root.tar")),
    );
    insta::assert_snapshot!(listed, @"
    drwxr-xr-x 0/0               0 1970-01-01 00:00:00 bin
    -rwsr-xr-x 5/6               7 1970-01-01 00:00:00 bin/x
    hrw-r--r-- 0/0               0 1970-01-01 00:00:00 bin/y link to bin/x
    drwxr-xr-x 0/0               0 1970-01-01 00:00:00 dev
    crw-r--r-- 0/0             1,3 1970-01-01 00:00:00 dev/null
    drwxr-xr-x 0/0               0 1970-01-01 00:00:00 etc
    -rw-r--r-- 0/0               7 1970-01-01 00:00:00 etc/kept
    lrwxrwxrwx 0/0               0 1970-01-01 00:00:00 etc/link -> kept
    -rw-r--r-- 0/0               3 1970-01-01 00:00:00 etc/new
    drwxr-xr-x 0/0               0 1970-01-01 00:00:00 opt
    drwxr-xr-x 0/0               0 1970-01-01 00:00:00 opt/old
    -rw-r--r-- 0/0               1 1970-01-01 00:00:00 opt/old/c
    -rw-r--r-- 0/0               8 1970-01-01 00:00:00 opt/was-folder
    drwxrwxrwt 0/0               0 1970-01-01 00:00:00 run
    ");

    // umoci makes the same of the layers, but for what an ordinary user can't have.
    Program::new("umoci")
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:v1", path("layout").display()))
        .arg(path("bundle"))
        .run()
        .success();
    let unpacked = path("unpacked");
    fs::create_dir(&unpacked).unwrap();
    Program::new("tar")
        .args(["--no-same-owner", "--exclude=dev/null", "-C"])
        .arg(&unpacked)
        .arg("-xf")
        .arg(path("root.tar"))
        .run()
        .success();
    fs::remove_file(path("bundle/rootfs/dev/null")).unwrap();
    Program::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(path("bundle/rootfs"))
        .arg(&unpacked)
        .run()
        .success();

    // Twice the same bytes.
    fs::create_dir(path("again")).unwrap();
    let flat = image::flatten(&layout, &image, &path("again")).unwrap();
    image::write_root_tar(&flat, &path("again.tar")).unwrap();
    assert_eq!(
        fs::read(path("root.tar")).unwrap(),
        fs::read(path("again.tar")).unwrap()
    );

    image::write_root_cpio(&flat, &path("root.cpio")).unwrap();
    let cpio = |words: &[&str], within: &Path| {
        let mut program = Program::new("cpio").args(words).folder(within);
        let archive = fs::File::open(path("root.cpio")).unwrap();
        program.command().stdin(archive);
        lines(program)
    };
    let listed = cpio(&["-itvn", "--quiet"], folder.path());
    insta::assert_snapshot!(listed, @"
    drwxr-xr-x   2 0        0               0 Jan  1  1970 bin
    -rwsr-xr-x   2 5        6               0 Jan  1  1970 bin/x
    -rwsr-xr-x   2 5        6               7 Jan  1  1970 bin/y
    drwxr-xr-x   2 0        0               0 Jan  1  1970 dev
    crw-r--r--   1 0        0          1,   3 Jan  1  1970 dev/null
    drwxr-xr-x   2 0        0               0 Jan  1  1970 etc
    -rw-r--r--   1 0        0               7 Jan  1  1970 etc/kept
    lrwxrwxrwx   1 0        0               4 Jan  1  1970 etc/link -> kept
    -rw-r--r--   1 0        0               3 Jan  1  1970 etc/new
    drwxr-xr-x   2 0        0               0 Jan  1  1970 opt
    drwxr-xr-x   2 0        0               0 Jan  1  1970 opt/old
    -rw-r--r--   1 0        0               1 Jan  1  1970 opt/old/c
    -rw-r--r--   1 0        0               8 Jan  1  1970 opt/was-folder
    drwxrwxrwt   2 0        0               0 Jan  1  1970 run
    ");
    let within = path("cpio");
    fs::create_dir(&within).unwrap();
    let names = ["bin/*", "etc/*", "opt/*", "run"];
    cpio(
        &[&["-idm", "--quiet", "--no-preserve-owner"][..], &names].concat(),
        &within,
    );
    fs::remove_dir(unpacked.join("dev")).unwrap();
    Program::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(&within)
        .arg(&unpacked)
        .run()
        .success();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(within.join("bin/x")).unwrap().nlink(), 2);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, layers: &[Vec<u8>]| {
        let (layout, image) = layout(&folder.path().join(name), layers);
        let files = folder.path().join(format!("{name}-files"));
        fs::create_dir(&files).unwrap();
        image::flatten(&layout, &image, &files)
            .unwrap_err()
            .to_string()
    };
    let mut below = FileTree::new();
    below.insert(archive::tree::TreePath::new("a/b").unwrap(), text("b"));
    // A link to what only a lower layer had, and what this one has not.
    let mut linked = Vec::new();
    let mut writer = Writer::new(&mut linked);
    let link = archive::tar::EntryKind::HardLink {
        target: "none".to_owned(),
    };
    writer
        .append(&archive::tar::Header::new("b", link), std::io::empty())
        .unwrap();
    writer.finish().unwrap();
    let errors = [
        refused("below", &[tar(&tree([("a", text("a"))])), tar(&below)]),
        refused("link", &[linked]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    a/b lies below a, which is no folder
    b is a hard link to none, and there is no such file in the layers up to it
    ");
}

#[test]
fn archives_are_taken_by_engines() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (layout, image) = layout(&path("layout"), &layers());
    let config = image.manifest.config.digest;
    pack_layout(&layout, &path("layout.tar")).unwrap();
    let raw = lines(
        Program::new("skopeo")
            .args(["inspect", "--raw"])
            .arg(format!("oci-archive:{}:v1", path("layout.tar").display())),
    );
    assert_eq!(Digest::of(raw.as_bytes()), image.descriptor.digest);

    let names = vec!["localhost/hello:v1".to_owned(), "hello".to_owned()];
    pack_docker(&layout, &[(image.clone(), names)], &path("docker.tar")).unwrap();
    let inspected = lines(
        Program::new("skopeo")
            .args(["inspect", "--config", "--raw"])
            .arg(format!(
                "docker-archive:{}:localhost/hello:v1",
                path("docker.tar").display()
            )),
    );
    assert_eq!(Digest::of(inspected.as_bytes()), config);
    let mut podman = Program::new("podman").args(["--storage-driver", "vfs"]);
    for (option, folder) in [("--root", "podman"), ("--runroot", "podman-run")] {
        podman = podman.arg(option).arg(path(folder));
    }
    let loaded = lines(
        podman
            .args(["load", "--quiet", "--input"])
            .arg(path("docker.tar")),
    );
    assert!(loaded.contains("localhost/hello:v1"), "{loaded}");

    pack_docker(&layout, &[(image.clone(), Vec::new())], &path("one.tar")).unwrap();
    pack_docker(&layout, &[(image, Vec::new())], &path("two.tar")).unwrap();
    assert_eq!(
        fs::read(path("one.tar")).unwrap(),
        fs::read(path("two.tar")).unwrap()
    );
}

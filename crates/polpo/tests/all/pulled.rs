//! Images that polpo published, pulled by podman from the registry: whole, and file by file as their
//! tables of contents say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use archive::Limits;
use archive::tar::{EntryKind, Header, Reader};
use archive::tree::{Node, NodeKind, TreePath};
use base::Digest;
use testkit::{FaultProxy, Finished, Program, Registry};

use crate::image_diff::{Shelf, capable, info, text, tree};
use crate::world::checkout;

const IMAGE: &str = "contents: {packages: [busybox, files]}\n\
                     accounts: {users: [{username: web, uid: 1000}]}\n\
                     entrypoint: {command: /usr/bin/busybox}\n";

/// The file that eStargz has more than other layers.
const TABLE: &str = "stargz.index.json";

const BY_TABLE: &str = "enable_partial_images = \"true\"";

/// Bytes that hardly shrink, of which no block is like another.
fn noise(length: usize) -> Vec<u8> {
    let (mut bytes, mut state) = (Vec::with_capacity(length + 8), 7_u64);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A repository with a program that runs and with every kind of file, of which `changed` stand in for
/// those of their names.
fn repository(shelf: &Shelf, name: &str, changed: Vec<(&str, Node)>) {
    let busybox = fs::read("/bin/busybox").expect("a static busybox: scripts/install test");
    let program = Node::file(busybox).with_mode(0o755);
    let long = format!("usr/share/{}/{}", "folder".repeat(20), "name".repeat(30));
    let hard_link = Node::new(NodeKind::HardLink {
        target: TreePath::new("usr/share/words").unwrap(),
    });
    let drop = Node::directory().with_mode(0o1777).with_owner(7, 8);
    let mut files = vec![
        ("etc/group", text("root:x:0:\n")),
        ("etc/passwd", text("root:x:0:0:root:/root:/bin/sh\n")),
        ("etc/secret", text("s").with_mode(0o600).with_owner(5, 6)),
        (
            "usr/bin/ping",
            capable(text("#!ping").with_mode(0o755), 1 << 13),
        ),
        ("usr/bin/su", text("#!su").with_mode(0o4755)),
        ("usr/share/empty", text("")),
        // In two pieces, each of which is fetched alone.
        ("usr/share/large", Node::file(noise(5 << 20))),
        ("usr/share/link", Node::symlink("large")),
        ("usr/share/words", text("words")),
        ("usr/share/words.again", hard_link),
        (long.as_str(), text("long")),
        ("var/spool/drop", drop),
    ];
    files.extend(changed);
    shelf.repository(
        name,
        vec![
            (
                info("busybox", "1-r0", "MIT"),
                tree(vec![("usr/bin/busybox", program)]),
            ),
            (info("files", "1-r0", "MIT"), tree(files)),
        ],
    );
}

fn publish(shelf: &Shelf, repository: &str, reference: &str, compression: &str) {
    fs::write(shelf.path("image.yaml"), IMAGE).unwrap();
    shelf
        .polpo(&["image", "publish", "image.yaml", reference, "--"])
        .args(["-r", repository, "-k", "keys", "--arch", "x86_64"])
        .args(["--compress", compression])
        .run()
        .success();
}

/// Everything about each file: its header and the digest of its bytes.
type Files = BTreeMap<String, (Header, Digest)>;

/// podman with a storage of its own.
struct Engine {
    folder: tempfile::TempDir,
    is_newer: bool,
}

impl Engine {
    /// This machine's.
    fn new(driver: &str, pull_options: &str) -> Engine {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        let (root, run) = (place("root"), place("run"));
        let configuration = format!(
            "[storage]\ndriver = \"{driver}\"\ngraphroot = \"{root}\"\nrunroot = \"{run}\"\n\
             rootless_storage_path = \"{root}\"\n\
             [storage.options]\npull_options = {{{pull_options}}}\n"
        );
        fs::write(folder.path().join("storage.conf"), configuration).unwrap();
        Engine {
            folder,
            is_newer: false,
        }
    }

    /// That of a newer Debian, which `scripts/install test` puts into a root of its own.
    fn newer(pull_options: &str) -> Engine {
        Engine {
            is_newer: true,
            ..Engine::new("overlay", pull_options)
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn podman(&self, words: &[&str]) -> Program {
        let program = match self.is_newer {
            true => self.in_newer_root().arg("podman"),
            false => Program::new("podman"),
        };
        program
            .env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"))
            .args(words)
    }

    fn in_newer_root(&self) -> Program {
        let root = checkout().join("target/podman");
        Program::new("bwrap")
            .args(["--die-with-parent", "--cap-add", "ALL"])
            .args([PathBuf::from("--ro-bind"), root.join("usr"), "/usr".into()])
            .args([PathBuf::from("--ro-bind"), root.join("etc"), "/etc".into()])
            .args(["--symlink", "usr/bin", "/bin"])
            .args(["--symlink", "usr/lib", "/lib"])
            .args(["--symlink", "usr/lib64", "/lib64"])
            .args(["--proc", "/proc", "--dev-bind", "/dev", "/dev"])
            .args(["--ro-bind", "/sys", "/sys"])
            // crun refuses control groups of two versions beside each other, as they may be here.
            .args(["--tmpfs", "/sys/fs/cgroup"])
            .args(["--tmpfs", "/run", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp"])
            .arg("--bind")
            .args([self.folder.path(), self.folder.path()])
            .args(["--setenv", "HOME", "/tmp", "--"])
    }

    fn pull(&self, name: &str) -> Finished {
        self.podman(&["--log-level=debug", "pull", "--tls-verify=false", name])
            .run()
            .success()
    }

    /// What a container of an image says.
    fn run(&self, name: &str, words: &[&str]) -> String {
        let options = match self.is_newer {
            true => ["--runtime=crun", "run", "--cgroups=disabled"],
            false => ["--runtime=runc", "run", "--cgroups=enabled"],
        };
        self.podman(&options)
            .args(["--rm", "--network=none"])
            .args(["--ulimit", "nofile=1024:1024"])
            .args(["--ulimit", "nproc=1024:1024", name])
            .args(words)
            .run()
            .success()
            .stdout
    }

    /// The inode of the file at `path` in each layer of the storage that has it.
    fn inodes(&self, path: &str) -> Vec<u64> {
        let layers = fs::read_dir(self.path("root/overlay")).unwrap();
        let files = layers.map(|layer| layer.unwrap().path().join("diff").join(path));
        let found = files.filter_map(|file| fs::symlink_metadata(file).ok());
        found.map(|file| file.ino()).collect()
    }

    /// The files of an image, as a container has them.
    fn files(&self, name: &str) -> Files {
        let made = self.podman(&["create", "--network=none", name]).run();
        let made = made.success();
        let container = made.stdout.trim();
        let tar = self.path("files.tar");
        self.podman(&["export", "--output"])
            .arg(&tar)
            .arg(container)
            .run()
            .success();
        self.podman(&["rm", container]).run().success();
        let tar = std::io::BufReader::new(fs::File::open(tar).unwrap());
        let mut reader = Reader::new(tar, Limits::default());
        let mut files = BTreeMap::new();
        while let Some(mut entry) = reader.next().unwrap() {
            let header = entry.header().clone();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.insert(header.path.clone(), (header, Digest::of(&bytes)));
        }
        files
    }
}

#[track_caller]
fn assert_same(found: &Files, expected: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(found), names(expected));
    for (path, file) in expected {
        assert_eq!(&found[path], file, "{path}");
    }
}

/// What podman 5 makes of a layer that it fetches by its table: no devices, and the times of files alone.
fn by_table(mut files: Files) -> Files {
    files.retain(|_, (header, _)| !matches!(header.kind, EntryKind::CharDevice { .. }));
    for (header, _) in files.values_mut() {
        if matches!(
            header.kind,
            EntryKind::Directory | EntryKind::Symlink { .. }
        ) {
            header.mtime = 0;
        }
    }
    files
}

/// The bytes of blobs that were asked for by ranges, and how often a whole blob was.
fn asked(proxy: &FaultProxy) -> (u64, usize) {
    let (mut bytes, mut whole) = (0, 0);
    for seen in proxy.seen() {
        if seen.method != "GET" || !seen.path.contains("/blobs/") {
            continue;
        }
        let ranges = seen.head.lines().find_map(|line| {
            let (name, value) = line.split_once(": bytes=")?;
            name.eq_ignore_ascii_case("range").then_some(value.trim())
        });
        whole += usize::from(ranges.is_none());
        for range in ranges.iter().flat_map(|ranges| ranges.split(',')) {
            let (first, last) = range.split_once('-').unwrap();
            bytes += last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap();
        }
    }
    (bytes, whole)
}

#[test]
fn podman_pulls_layers_however_they_are_compressed_and_runs_them() {
    let shelf = Shelf::new();
    repository(&shelf, "packages", vec![]);
    let registry = Registry::start();
    let engine = Engine::new("vfs", "");
    let mut plain = Files::new();
    for compression in ["gzip", "zstd", "zstd:chunked", "estargz"] {
        let tag = compression.replace(':', "-");
        let name = registry.name(&format!("team/hello:{tag}"));
        publish(&shelf, "packages", &name, compression);
        engine.pull(&name);
        let mut files = engine.files(&name);
        if compression == "estargz" {
            assert!(files.remove(TABLE).is_some());
        }
        if compression == "gzip" {
            let of = |path: &str| &files[path].0;
            assert_eq!((of("etc/secret").uid, of("etc/secret").gid), (5, 6));
            assert!(
                of("usr/bin/ping")
                    .xattrs
                    .contains_key("security.capability")
            );
            assert!(matches!(
                of("usr/share/link").kind,
                EntryKind::Symlink { .. }
            ));
            assert!(matches!(
                of("usr/share/words.again").kind,
                EntryKind::HardLink { .. }
            ));
            plain = files;
        } else {
            assert_same(&files, &plain);
        }
        let digest = plain["usr/share/large"].1;
        assert_eq!(
            engine.run(&name, &["sha256sum", "/usr/share/large"]),
            format!("{}  /usr/share/large\n", digest.hex()),
            "{compression}"
        );
        engine
            .podman(&["image", "rm", "--force", &name])
            .run()
            .success();
    }
}

/// podman 5: each file of the layer is asked for where the table says it is, checked by the table's
/// digests, and the layer's diffID by the description of its headers. What an image that is there
/// already has is not fetched again.
#[test]
fn podman_fetches_the_files_that_it_lacks() {
    let shelf = Shelf::new();
    repository(&shelf, "old", vec![]);
    repository(
        &shelf,
        "new",
        vec![("usr/share/words", text("other words"))],
    );
    let registry = Registry::start();
    let proxy = FaultProxy::before(registry.address());
    let engine = Engine::newer(BY_TABLE);
    let path = |tag: &str| format!("hello:{tag}");
    for (tag, repository, compression) in [
        ("plain", "new", "gzip"),
        ("old", "old", "zstd:chunked"),
        ("new", "new", "zstd:chunked"),
    ] {
        publish(&shelf, repository, &registry.name(&path(tag)), compression);
    }
    let pulled = |tag: &str| {
        proxy.forget();
        let finished = engine.pull(&proxy.name(&path(tag)));
        let is_partial = finished.stderr.contains("Retrieved partial blob");
        (asked(&proxy), is_partial, finished.stdout)
    };
    let ((bytes, whole), is_partial, _) = pulled("old");
    // The configuration alone is fetched whole.
    assert_eq!((whole, is_partial), (1, true));
    assert!(bytes > 6 << 20, "{bytes}");
    let ((bytes, whole), is_partial, image) = pulled("new");
    assert_eq!((whole, is_partial), (1, true));
    assert!(bytes < 100_000, "{bytes}");

    // In a storage of its own, so that nothing is taken over.
    let other = Engine::newer("");
    let plain = registry.name(&path("plain"));
    let pulled_plain = other.pull(&plain);
    // One configuration, so one diffID: podman computes it of what it fetched.
    assert_eq!(image, pulled_plain.stdout);
    assert_same(
        &by_table(engine.files(&proxy.name(&path("new")))),
        &by_table(other.files(&plain)),
    );
}

/// podman 5, told to: a file that another layer has with the same owner, mode and attributes is that
/// same file, and any other is not.
#[test]
fn podman_links_the_files_that_another_image_has() {
    let shelf = Shelf::new();
    repository(&shelf, "old", vec![]);
    let changed = vec![
        ("etc/secret", text("s").with_mode(0o640).with_owner(5, 6)),
        ("usr/bin/su", text("#!su").with_mode(0o755)),
        ("usr/share/words", text("other words")),
    ];
    repository(&shelf, "new", changed);
    let registry = Registry::start();
    let name = |tag: &str| registry.name(&format!("hello:{tag}"));
    for (tag, repository, compression) in [
        ("plain", "new", "gzip"),
        ("old", "old", "zstd:chunked"),
        ("new", "new", "zstd:chunked"),
    ] {
        publish(&shelf, repository, &name(tag), compression);
    }
    let other = Engine::newer("");
    other.pull(&name("plain"));
    let expected = by_table(other.files(&name("plain")));

    for links in [true, false] {
        let engine = Engine::newer(&format!("{BY_TABLE}, use_hard_links = \"{links}\""));
        engine.pull(&name("old"));
        let pulled = engine.pull(&name("new"));
        assert!(pulled.stderr.contains("Retrieved partial blob"));
        for (path, is_equal) in [
            ("usr/bin/busybox", true),
            ("usr/bin/ping", true),
            ("usr/share/large", true),
            ("etc/secret", false),
            ("usr/bin/su", false),
            ("usr/share/words", false),
        ] {
            let inodes = engine.inodes(path);
            assert_eq!(inodes.len(), 2, "{path}");
            let is_linked = inodes[0] == inodes[1];
            assert_eq!(is_linked, links && is_equal, "{path} {links}");
        }
        assert_same(&by_table(engine.files(&name("new"))), &expected);
        // They stay when the image goes that they were fetched with.
        engine
            .podman(&["image", "rm", &name("old")])
            .run()
            .success();
        assert_eq!(engine.inodes("usr/share/large").len(), 1);
        let digest = expected["usr/share/large"].1;
        assert_eq!(
            engine.run(&name("new"), &["sha256sum", "/usr/share/large"]),
            format!("{}  /usr/share/large\n", digest.hex()),
        );
    }
}

/// podman 4 fetches eStargz by its table; later ones take it for gzip.
#[test]
fn podman_4_fetches_estargz_by_its_table() {
    let shelf = Shelf::new();
    repository(&shelf, "packages", vec![]);
    let registry = Registry::start();
    let proxy = FaultProxy::before(registry.address());
    publish(&shelf, "packages", &registry.name("hello:v1"), "estargz");
    let engine = Engine::new("overlay", BY_TABLE);
    let version = engine.podman(&["--version"]).run().success().stdout;
    let by_table = version.contains("version 4.");
    let name = proxy.name("hello:v1");
    let pulled = engine.pull(&name);
    let (bytes, whole) = asked(&proxy);
    assert_eq!(pulled.stderr.contains("Retrieved partial blob"), by_table);
    assert_eq!(whole, if by_table { 1 } else { 2 });
    assert_eq!(bytes > 6 << 20, by_table, "{bytes}");

    let plain = Engine::new("overlay", "");
    let direct = registry.name("hello:v1");
    plain.pull(&direct);
    let mut expected = plain.files(&direct);
    assert!(expected.remove(TABLE).is_some());
    expected.retain(|_, (header, _)| !matches!(header.kind, EntryKind::CharDevice { .. }));
    let mut found = engine.files(&name);
    found.remove(TABLE);
    found.retain(|_, (header, _)| !matches!(header.kind, EntryKind::CharDevice { .. }));
    // podman 4 looks for owners and times under names that no table has.
    for files in [&mut found, &mut expected] {
        for (header, _) in files.values_mut() {
            (header.uid, header.gid, header.mtime) = (0, 0, 0);
            (header.user, header.group) = (String::new(), String::new());
        }
    }
    assert_same(&found, &expected);
}

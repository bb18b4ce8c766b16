use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read as _};
use std::path::Path;
use std::process::{Command, Output};

use base::{Digest, Epoch};
use proptest::prelude::*;

use super::{BLOCK, ErofsOptions, Image, ImageError};
use crate::Limits;
use crate::tar::EntryKind;
use crate::tree::{Content, FileTree, Node, NodeKind, TreePath};

const OPTIONS: ErofsOptions = ErofsOptions {
    time: Epoch(1_700_000_000),
    copy_hard_links: false,
};

fn tree(entries: Vec<(&str, Node)>) -> FileTree {
    let mut tree = FileTree::new();
    for (path, node) in entries {
        tree.insert(TreePath::new(path).unwrap(), node);
    }
    tree
}

fn bytes_of(tree: &FileTree) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree.write_erofs(&mut bytes, OPTIONS).unwrap();
    assert_eq!(bytes.len() as u64 % BLOCK, 0);
    bytes
}

fn file(length: usize) -> Node {
    let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + at / 256) as u8).collect();
    Node::file(bytes)
}

fn link(target: &str) -> Node {
    Node::new(NodeKind::HardLink {
        target: TreePath::new(target).unwrap(),
    })
}

/// Lines of what the reader sees, files with the start of their digest.
fn listed(bytes: &[u8]) -> Result<String, ImageError> {
    let mut lines = String::new();
    Image::open(Cursor::new(bytes))?.visit(&Limits::default(), |header, content| {
        let mut read = Vec::new();
        content.read_to_end(&mut read).map_err(ImageError::Io)?;
        let what = match &header.kind {
            EntryKind::File { size } => {
                assert_eq!(*size, read.len() as u64);
                format!("file {size} {}", &Digest::of(&read).hex()[..8])
            }
            EntryKind::Symlink { target } => format!("symlink {target}"),
            EntryKind::HardLink { target } => format!("link {target}"),
            EntryKind::CharDevice { major, minor } => format!("char {major}:{minor}"),
            EntryKind::BlockDevice { major, minor } => format!("block {major}:{minor}"),
            kind => kind.words().to_owned(),
        };
        let attributes: Vec<String> = header
            .xattrs
            .iter()
            .map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value)))
            .collect();
        lines.push_str(&format!(
            "{} {:04o} {}:{} {} {what}{}\n",
            header.path,
            header.mode,
            header.uid,
            header.gid,
            header.mtime,
            attributes.concat()
        ));
        Ok::<(), ImageError>(())
    })?;
    Ok(lines)
}

fn run(program: &str, words: &[&str]) -> Output {
    let output = Command::new(program)
        .args(words)
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("{program} can't be run: {error}; scripts/install test"));
    assert!(
        output.status.success(),
        "{program} {words:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Everything that a tree can hold, at every size that is placed in another way.
fn everything() -> FileTree {
    let long = "n".repeat(255);
    let mut entries = vec![
        ("a/empty", file(0)),
        ("a/short", file(5).with_mode(0o4755).with_owner(5, 70_000)),
        ("a/another", link("a/short")),
        ("a/block", file(4096).with_mtime(1)),
        ("a/over", file(4097)),
        ("a/large", file(300_001)),
        ("a/half", file(3500)),
        ("a/nearly", file(4095)),
        ("b", Node::directory().with_mode(0o1777).with_owner(1, 2)),
        ("b/deep/er/file", file(1)),
        ("link", Node::symlink("a/short")),
        ("far", Node::symlink(format!("/{}", "x".repeat(4000)))),
        (
            "dev/null",
            Node::new(NodeKind::CharDevice { major: 1, minor: 3 }),
        ),
        (
            "dev/disk",
            Node::new(NodeKind::BlockDevice {
                major: 259,
                minor: 70_000,
            }),
        ),
        ("dev/pipe", Node::new(NodeKind::Fifo).with_mode(0o600)),
        (long.as_str(), file(2)),
        ("+first", file(3)),
        ("ünï", file(4)),
    ];
    let attributes = BTreeMap::from([
        (
            "security.capability".to_owned(),
            b"\x01\x00\x00\x02".to_vec(),
        ),
        ("user.note".to_owned(), b"hello".to_vec()),
        ("trusted.big".to_owned(), vec![b'v'; 9000]),
    ]);
    entries.push((
        "a/marked",
        Node {
            xattrs: attributes.clone(),
            ..file(4000)
        },
    ));
    entries.push((
        "b/marked",
        Node {
            xattrs: attributes,
            ..Node::directory()
        },
    ));
    let mut tree = tree(entries);
    for number in 0..1000 {
        let path = format!("many/file-with-a-rather-long-name-{number:04}");
        tree.insert(TreePath::new(&path).unwrap(), file(number % 50));
    }
    tree
}

#[test]
fn what_is_written_is_read_again() {
    let bytes = bytes_of(&everything());
    assert_eq!(bytes, bytes_of(&everything()));
    let listed = listed(&bytes).unwrap();
    let some: Vec<&str> = listed
        .lines()
        .filter(|line| !line.starts_with("many/") && line.len() < 400)
        .collect();
    insta::assert_snapshot!(some.join("\n"), @"
    . 0755 0:0 1700000000 directory
    +first 0644 0:0 0 file 3 b361d0f9
    a 0755 0:0 1700000000 directory
    a/another 4755 5:70000 0 file 5 26a8ccb7
    a/block 0644 0:0 1 file 4096 d24ac44c
    a/empty 0644 0:0 0 file 0 e3b0c442
    a/half 0644 0:0 0 file 3500 1499b540
    a/large 0644 0:0 0 file 300001 21c9fb94
    a/nearly 0644 0:0 0 file 4095 3eb01747
    a/over 0644 0:0 0 file 4097 5b1f71a5
    a/short 4755 5:70000 0 link a/another
    b 1777 1:2 0 directory
    b/deep 0755 0:0 1700000000 directory
    b/deep/er 0755 0:0 1700000000 directory
    b/deep/er/file 0644 0:0 0 file 1 6e340b9c
    dev 0755 0:0 1700000000 directory
    dev/disk 0644 0:0 0 block 259:70000
    dev/null 0644 0:0 0 char 1:3
    dev/pipe 0600 0:0 0 named pipe
    link 0777 0:0 0 symlink a/short
    many 0755 0:0 1700000000 directory
    nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn 0644 0:0 0 file 2 2ecd8a6b
    ünï 0644 0:0 0 file 4 6e145908
    ");
    assert_eq!(
        listed
            .lines()
            .filter(|line| line.starts_with("many/"))
            .count(),
        1000
    );
    assert!(listed.contains("user.note=hello"));
}

/// erofs-utils check every inode and take the files out.
#[test]
fn the_programs_of_erofs_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let mut tree = everything();
    // This program does not make devices for an ordinary user, and has a shorter path for targets.
    tree.remove("dev/null");
    tree.remove("dev/disk");
    let bytes = bytes_of(&tree);
    fs::write(path("image.erofs"), &bytes).unwrap();
    run("fsck.erofs", &[&text("image.erofs")]);
    let extract = format!("--extract={}", text("out"));
    run(
        "fsck.erofs",
        &[&extract, "--no-preserve-owner", &text("image.erofs")],
    );
    let node = |name: &str| tree.get(name).unwrap().clone();
    for name in [
        "a/empty",
        "a/short",
        "a/block",
        "a/over",
        "a/large",
        "a/half",
        "a/nearly",
        "a/marked",
        "many/file-with-a-rather-long-name-0999",
    ] {
        let NodeKind::File { content, .. } = node(name).kind else {
            panic!("{name}");
        };
        assert!(
            fs::read(path("out").join(name)).unwrap() == content.read().unwrap(),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(path("out/many")).unwrap().count(), 1000);
    assert_eq!(
        fs::read_link(path("out/link")).unwrap(),
        Path::new("a/short")
    );
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    assert_eq!(fs::metadata(path("out/a/block")).unwrap().mtime(), 1);
    assert_eq!(fs::metadata(path("out/b")).unwrap().mode() & 0o7777, 0o1777);
    let superblock = run("dump.erofs", &["-s", &text("image.erofs")]);
    let superblock = String::from_utf8(superblock.stdout).unwrap();
    let told: Vec<&str> = superblock
        .lines()
        .filter(|line| {
            ["magic", "inode count", "root nid", "created", "features"]
                .iter()
                .any(|word| line.contains(word))
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @"
    Filesystem magic number:                      0xE0F5E1E2
    Filesystem root nid:                          36
    Filesystem inode count:                       1023
    Filesystem created:                           Tue Nov 14 22:13:20 2023
    Filesystem features:                          sb_csum mtime
    ");
    let inode = run("dump.erofs", &["--path=/a/short", &text("image.erofs")]);
    let inode = String::from_utf8(inode.stdout).unwrap();
    insta::assert_snapshot!(inode.lines().take(9).collect::<Vec<_>>().join("\n"), @"
    File : /a/another
    Size: 5  On-disk size: 5  regular file
    NID: 108   Links: 2   Layout: 2   Compression ratio: 100.00%
    Inode size: 64   Extent size: 0   Xattr size: 0
    Uid: 5   Gid: 70000  Access: 0755/rwxr-xr-x
    Timestamp: 1970-01-01 00:00:00.000000000
    ");

    // And what mkfs.erofs makes of files is read here.
    for (name, length) in [
        ("one", 0),
        ("two", 10),
        ("three", 4096),
        ("sub/four", 10_001),
    ] {
        let at = path("theirs").join(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let NodeKind::File { content, .. } = file(length).kind else {
            panic!("a file");
        };
        fs::write(at, content.read().unwrap()).unwrap();
    }
    fs::hard_link(path("theirs/two"), path("theirs/zwei")).unwrap();
    std::os::unix::fs::symlink("sub/four", path("theirs/link")).unwrap();
    for name in ["one", "two", "three", "sub/four"] {
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(path("theirs").join(name), mode).unwrap();
    }
    for name in ["", "sub"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path("theirs").join(name), mode).unwrap();
    }
    run(
        "mkfs.erofs",
        &[
            "--quiet",
            "-T0",
            "--all-root",
            &text("theirs.erofs"),
            &text("theirs"),
        ],
    );
    let theirs = listed(&fs::read(path("theirs.erofs")).unwrap()).unwrap();
    insta::assert_snapshot!(theirs, @"
    . 0755 0:0 0 directory
    link 0777 0:0 0 symlink sub/four
    one 0640 0:0 0 file 0 e3b0c442
    sub 0755 0:0 0 directory
    sub/four 0640 0:0 0 file 10001 8cdc40a7
    three 0640 0:0 0 file 4096 d24ac44c
    two 0640 0:0 0 file 10 18da5405
    zwei 0640 0:0 0 link two
    ");
}

#[test]
fn names_of_a_file_share_an_inode_unless_they_are_to_be_copies() {
    let tree = tree(vec![("a", file(5000)), ("b", link("a")), ("c", link("a"))]);
    let shared = bytes_of(&tree);
    let mut copied = Vec::new();
    let options = ErofsOptions {
        copy_hard_links: true,
        ..OPTIONS
    };
    tree.write_erofs(&mut copied, options).unwrap();
    assert!(copied.len() > shared.len());
    insta::assert_snapshot!(listed(&shared).unwrap(), @"
    . 0755 0:0 1700000000 directory
    a 0644 0:0 0 file 5000 1b5c855f
    b 0644 0:0 0 link a
    c 0644 0:0 0 link a
    ");
    insta::assert_snapshot!(listed(&copied).unwrap(), @"
    . 0755 0:0 1700000000 directory
    a 0644 0:0 0 file 5000 1b5c855f
    b 0644 0:0 0 file 5000 1b5c855f
    c 0644 0:0 0 file 5000 1b5c855f
    ");
}

#[test]
fn what_has_no_place_is_refused() {
    let refused = |entries: Vec<(&str, Node)>| {
        let written = tree(entries).write_erofs(&mut Vec::new(), OPTIONS);
        written.unwrap_err().to_string()
    };
    let marked = |name: &str| Node {
        xattrs: BTreeMap::from([(name.to_owned(), Vec::new())]),
        ..file(1)
    };
    let grown = Node::new(NodeKind::File {
        content: Content::Bytes(vec![1; 10].into()),
        size: 9,
    });
    let shrunk = Node::new(NodeKind::File {
        content: Content::Bytes(vec![1; 5000].into()),
        size: 9000,
    });
    let errors = [
        refused(vec![("a", link("none"))]),
        refused(vec![("a", marked("com.example"))]),
        refused(vec![("a", marked("user."))]),
        refused(vec![("a", file(0).with_owner(1 << 33, 0))]),
        refused(vec![("a", Node::symlink("x".repeat(4096)))]),
        refused(vec![("a", file(0)), ("a/b", file(0))]),
        refused(vec![("a", grown)]),
        refused(vec![("a", shrunk)]),
        refused(vec![(
            "a",
            Node::new(NodeKind::CharDevice {
                major: 1,
                minor: 1 << 20,
            }),
        )]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    a is a hard link to none, which is no file of the tree
    a: EROFS has no place for the extended attribute `com.example`; it knows those of user., trusted. and security.
    a: EROFS has no place for the extended attribute `user.`; it knows those of user., trusted. and security.
    a: its owner (8589934592) is more than EROFS holds (4294967295)
    a: its target (4096) is more than EROFS holds (4095)
    a/b lies beneath a, which is no folder
    can't read a: it has another size than it had before
    can't read a: it has another size than it had before
    a: its device number (1048576) is more than EROFS holds (4095)
    ");
}

#[test]
fn strangers_images_are_refused() {
    let bytes = bytes_of(&tree(vec![("a/b", file(5000)), ("c", Node::symlink("a"))]));
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        // No checksum.
        bytes[1024 + 8] = 0;
        match listed(&bytes) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    let root = 1024 + 128;
    let mut broken = bytes.clone();
    broken[1024 + 24] ^= 1;
    let errors = [
        listed(b"x").unwrap_err().to_string(),
        listed(&vec![0; 8192]).unwrap_err().to_string(),
        listed(&broken).unwrap_err().to_string(),
        listed(&bytes[..4096]).unwrap_err().to_string(),
        changed(1024 + 12, &[30]),
        changed(1024 + 80, &[4]),
        changed(1024 + 14, &[0xff, 0xff]),
        // The root: chunks, a file, another size, names outside, a folder within itself.
        changed(root, &[1 | 4 << 1]),
        changed(root + 4, &[0xed, 0x81]),
        changed(root + 8, &[0xff; 8]),
        changed(root + 64 + 8, &[0xff]),
        changed(root + 64 + 24, &[36, 0]),
    ];
    insta::assert_snapshot!(errors.join("\n"), @"
    it is no EROFS image
    it is no EROFS image
    the superblock's checksum is wrong; the image is damaged
    the EROFS image is damaged: /a/b lies past the image's end
    the EROFS image has blocks of 2^30 bytes, which polpo doesn't read; use the programs of erofs-utils
    the EROFS image is compressed or in several parts (features 0x4), which polpo doesn't read; use the programs of erofs-utils
    the EROFS image is damaged: / lies past the image's end
    the EROFS image has /. compressed or in chunks, which polpo doesn't read; use the programs of erofs-utils
    the EROFS image is damaged: / is no folder
    the EROFS image is damaged: / is larger than any such can be
    the EROFS image is damaged: / is a folder whose names can't be told apart
    the EROFS image is damaged: /a is a folder that has two places
    ");
}

#[test]
fn folders_that_are_read_over_and_over_come_to_an_end() {
    let mut tree = FileTree::new();
    for number in 0..200 {
        let path = format!("folder-{number:03}/{}", "x".repeat(200));
        tree.insert(TreePath::new(&path).unwrap(), file(0));
    }
    let bytes = bytes_of(&tree);
    let limits = Limits {
        bytes: 20_000,
        ..Limits::default()
    };
    let visited = Image::open(Cursor::new(bytes.as_slice()))
        .unwrap()
        .visit(&limits, |_, _| Ok::<(), ImageError>(()));
    assert!(matches!(visited, Err(ImageError::Limit(_))), "{visited:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any tree goes through; the image's place for everything follows from sizes alone.
    #[test]
    fn trees_go_through(files in proptest::collection::btree_map("[a-d]{1,2}(/[a-d]{1,3}){0,3}", 0_usize..20_000, 0..60)) {
        let mut tree = FileTree::new();
        for (path, size) in &files {
            let path = TreePath::new(path).unwrap();
            let is_beneath_file = std::iter::successors(path.parent(), TreePath::parent)
                .any(|parent| tree.get(parent.as_str()).is_some());
            let is_folder = tree.iter().any(|(other, _)| other.is_beneath(&path));
            if !is_beneath_file && !is_folder {
                tree.insert(path, file(*size));
            }
        }
        let listed = listed(&bytes_of(&tree)).unwrap();
        for (path, node) in tree.iter() {
            let NodeKind::File { content, size } = &node.kind else { continue };
            let digest = Digest::of(&content.read().unwrap()).hex();
            let line = format!("{path} 0644 0:0 0 file {size} {}\n", &digest[..8]);
            prop_assert!(listed.contains(&line), "{line}\n{listed}");
        }
    }

    /// No damage makes the reader panic or go on for ever.
    #[test]
    fn damage_is_survived(changes in proptest::collection::vec((0_usize..12_288, any::<u8>()), 1..20)) {
        let mut bytes = bytes_of(&tree(vec![
            ("a/b", file(5000)),
            ("c", Node::symlink("a")),
            ("d", Node { xattrs: BTreeMap::from([("user.x".to_owned(), vec![1; 30])]), ..file(10) }),
        ]));
        for (at, to) in changes {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        bytes[1024 + 8] = 0;
        let _ = listed(&bytes);
    }
}

#[test]
fn a_tar_of_an_image_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.erofs");
    let tree = everything();
    fs::write(&path, bytes_of(&tree)).unwrap();
    let stream = super::as_tar(fs::File::open(&path).unwrap(), Limits::default()).unwrap();
    let mut reader = crate::tar::Reader::new(stream, Limits::default()).strict();
    let mut seen = 0;
    while let Some(mut entry) = reader.next().unwrap() {
        let header = entry.header().clone();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if let Some(node) = tree.get(&header.path) {
            seen += 1;
            assert_eq!(header.xattrs, node.xattrs, "{}", header.path);
            if let NodeKind::File { content, .. } = &node.kind
                && !matches!(header.kind, EntryKind::HardLink { .. })
            {
                assert!(content.read().unwrap() == bytes, "{}", header.path);
            }
        }
    }
    assert_eq!(seen, tree.len());

    // What is wrong comes out of the reader, not as a shorter tar.
    let mut bytes = bytes_of(&tree);
    let half = bytes.len() / 2;
    bytes.truncate(half);
    fs::write(&path, bytes).unwrap();
    let mut stream = super::as_tar(fs::File::open(&path).unwrap(), Limits::default()).unwrap();
    let error = std::io::copy(&mut stream, &mut std::io::sink()).unwrap_err();
    assert!(
        error.to_string().contains("past the image's end"),
        "{error}"
    );
    // Nobody has to read to the end.
    drop(super::as_tar(fs::File::open(&path).unwrap(), Limits::default()).unwrap());
}

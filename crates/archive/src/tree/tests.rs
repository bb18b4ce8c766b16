use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use base::{Digest, Sha1};
use proptest::prelude::*;

use super::*;
use crate::Limits;
use crate::tar::{self, EntryKind, Header};

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn paths(tree: &FileTree) -> Vec<&str> {
    tree.iter().map(|(path, _)| path.as_str()).collect()
}

fn tar_bytes(tree: &FileTree, options: TarOptions) -> Vec<u8> {
    let mut writer = tar::Writer::new(Vec::new());
    tree.write_tar(&mut writer, options).unwrap();
    writer.finish().unwrap()
}

proptest! {
    #[test]
    fn paths_order_as_their_components_do(left in "[a-c!./-]{1,12}", right in "[a-c!./-]{1,12}") {
        let (Ok(left), Ok(right)) = (TreePath::new(&left), TreePath::new(&right)) else {
            return Ok(());
        };
        let components = left.as_str().split('/').cmp(right.as_str().split('/'));
        prop_assert_eq!(left.cmp(&right), components);
        prop_assert_eq!(left == right, components.is_eq());
    }
}

#[test]
fn paths_know_their_parts() {
    let deep = path("usr/lib/x");
    assert_eq!(deep.parent(), Some(path("usr/lib")));
    assert_eq!((deep.file_name(), deep.depth()), ("x", 3));
    assert_eq!(
        (path("usr").parent(), path("usr").file_name()),
        (None, "usr")
    );
    assert!(deep.is_beneath(&path("usr")) && !deep.is_beneath(&deep));
    assert!(!path("usr-local").is_beneath(&path("usr")));
    assert_eq!(path("usr").join("lib/x"), Ok(deep));
    assert!(path("usr").join("../x").is_err());
}

#[test]
fn entries_are_found_and_changed() {
    let mut tree = FileTree::new();
    tree.insert(path("a/b/c"), Node::file(*b"1234"));
    tree.insert_parents(&path("a/b/c"), &Node::directory().with_mode(0o700));
    tree.insert(path("a-b"), Node::symlink("a"));
    tree.insert(path("a/b-c"), Node::file(*b"12"));
    assert_eq!(paths(&tree), ["a", "a/b", "a/b/c", "a/b-c", "a-b"]);
    let children =
        |path: &str| -> Vec<&str> { tree.children(path).map(|(path, _)| path.as_str()).collect() };
    assert_eq!(children(""), ["a", "a-b"]);
    assert_eq!(children("a"), ["a/b", "a/b-c"]);
    assert_eq!(children("a/b/"), ["a/b/c"]);
    assert_eq!(children("a/b/c"), [""; 0]);
    assert_eq!(children("../x"), [""; 0]);
    assert_eq!((tree.size(), tree.len()), (6, 5));
    assert_eq!(tree.get("a/b").unwrap().mode, 0o700);
    assert_eq!(tree.remove_all("a/b"), 2);
    assert_eq!(paths(&tree), ["a", "a/b-c", "a-b"]);
    assert!(tree.remove("a-b").is_some() && !tree.contains("a-b"));
}

fn sample(folder: &Path) {
    let directory = |name: &str| std::fs::create_dir_all(folder.join(name)).unwrap();
    directory("usr/bin");
    directory("usr/share/empty");
    std::fs::write(folder.join("usr/bin/tool"), "tool").unwrap();
    std::fs::hard_link(folder.join("usr/bin/tool"), folder.join("usr/bin/alias")).unwrap();
    std::fs::hard_link(folder.join("usr/bin/tool"), folder.join("usr/zz")).unwrap();
    std::fs::write(folder.join("usr/bin-x"), vec![b'x'; 5 << 20]).unwrap();
    symlink("usr/lib", folder.join("lib")).unwrap();
    let mode = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.join(name), permissions).unwrap();
    };
    mode("usr/bin/tool", 0o4755);
    mode("usr/bin-x", 0o600);
    mode("usr/share/empty", 0o1777);
    mode("usr/share", 0o755);
    mode("usr/bin", 0o755);
    mode("usr", 0o755);
    rustix::fs::setxattr(
        folder.join("usr/bin/tool"),
        "user.note",
        b"\0binary",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
}

#[test]
fn folders_are_scanned() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let tree = FileTree::scan(folder.path()).unwrap();
    let shown: Vec<String> = tree
        .iter()
        .map(|(path, node)| {
            let kind = match &node.kind {
                NodeKind::Directory => "/".to_owned(),
                NodeKind::File { size, .. } => format!(" {size}"),
                NodeKind::Symlink { target } => format!(" -> {target}"),
                NodeKind::HardLink { target } => format!(" = {target}"),
                other => format!(" {other:?}"),
            };
            format!("{:o} {path}{kind}", node.mode)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "777 lib -> usr/lib",
            "755 usr/",
            "755 usr/bin/",
            "4755 usr/bin/alias 4",
            "4755 usr/bin/tool = usr/bin/alias",
            "600 usr/bin-x 5242880",
            "755 usr/share/",
            "1777 usr/share/empty/",
            "4755 usr/zz = usr/bin/alias",
        ]
    );
    let alias = tree.get("usr/bin/alias").unwrap();
    assert_eq!(alias.xattrs["user.note"], b"\0binary");
    let NodeKind::File { content, .. } = &alias.kind else {
        panic!("{alias:?}")
    };
    assert_eq!(content.read().unwrap(), b"tool");
}

#[test]
fn what_cannot_be_scanned_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || {
        let error = FileTree::scan(folder.path()).unwrap_err().to_string();
        error.replace(folder.path().to_str().unwrap(), "ROOT")
    };
    std::fs::write(folder.path().join("new\nline"), "").unwrap();
    assert_eq!(
        refused(),
        "`ROOT/new\nline` cannot be packaged: the name has a control character; rename or remove it"
    );
    std::fs::remove_file(folder.path().join("new\nline")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    assert_eq!(
        refused(),
        "`ROOT/socket` is a socket, which cannot be packaged; remove it"
    );
    drop(socket);
    assert_eq!(
        FileTree::scan(Path::new("/nonexistent"))
            .unwrap_err()
            .to_string(),
        "cannot read `/nonexistent`: No such file or directory (os error 2)"
    );
}

#[test]
fn a_tree_survives_tar_and_unpacking() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::create_dir_all(&from).unwrap();
    std::fs::create_dir_all(&to).unwrap();
    sample(&from);
    let options = TarOptions {
        checksums: Checksums::Sha1,
        mtime: Some(1_700_000_000),
    };
    let bytes = tar_bytes(&FileTree::scan(&from).unwrap(), options);
    let reader = || tar::Reader::new(&bytes[..], Limits::default());
    let unpack_options = crate::unpack::Options {
        set_id: true,
        xattrs: crate::unpack::Xattrs::All,
        checksums: crate::unpack::Checksums::Require,
        ..Default::default()
    };
    crate::unpack::unpack(reader(), &to, &unpack_options).unwrap();
    let scanned = FileTree::scan(&to).unwrap();
    assert_eq!(tar_bytes(&scanned, options), bytes);
    let mut read = FileTree::read_tar(reader(), &to).unwrap();
    for (_, node) in read.iter_mut() {
        // A symbolic link's own mode is always 0777 on disk, as in the archive.
        (node.uid, node.gid) = (
            scanned.get("usr").unwrap().uid,
            scanned.get("usr").unwrap().gid,
        );
    }
    assert_eq!(read, scanned);
    // Other programs see the same.
    let archive = folder.path().join("tree.tar");
    std::fs::write(&archive, &bytes).unwrap();
    let listed = Command::new("tar")
        .args(["--warning=no-unknown-keyword", "-tf"])
        .arg(&archive)
        .output()
        .unwrap();
    assert!(
        listed.status.success() && listed.stderr.is_empty(),
        "{listed:?}"
    );
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: Vec<&str> = listed
        .lines()
        .map(|line| line.trim_end_matches('/'))
        .collect();
    assert_eq!(names, paths(&scanned));
}

#[test]
fn entries_carry_checksums_where_packages_want_them() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let tree = FileTree::scan(folder.path()).unwrap();
    let options = TarOptions {
        checksums: Checksums::Sha1,
        mtime: None,
    };
    let bytes = tar_bytes(&tree, options);
    let mut reader = tar::Reader::new(&bytes[..], Limits::default());
    let mut found = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        if let Some(checksum) = entry.header().checksum {
            found.push((entry.header().path.clone(), checksum));
        }
    }
    let tool = Sha1::of(b"tool");
    let large = Sha1::of(&vec![b'x'; 5 << 20]);
    let expected = [
        ("lib", Sha1::of(b"usr/lib")),
        ("usr/bin/alias", tool),
        ("usr/bin/tool", tool),
        ("usr/bin-x", large),
        ("usr/zz", tool),
    ];
    assert_eq!(found, expected.map(|(path, sum)| (path.to_owned(), sum)));
}

/// The digest is that of what Go 1.26 writes for the same entries.
#[test]
fn the_bytes_of_a_tree_are_fixed() {
    let mut tree = FileTree::new();
    tree.insert(path("etc"), Node::directory());
    tree.insert(
        path("etc/os-release"),
        Node::file(*b"ID=polpo\n").with_mtime(5),
    );
    tree.insert(path("tmp"), Node::directory().with_mode(0o1777));
    let owned = Node::file(*b"").with_owner(65_532, 65_532).with_mode(0o600);
    tree.insert(path("home/nonroot/.profile"), owned);
    let digest = Digest::of(&tar_bytes(&tree, TarOptions::default()));
    assert_eq!(digest.hex(), DIGEST_OF_TREE);
}

const DIGEST_OF_TREE: &str = "af5ea084450d7ccdbe712761a1e6257f28a758e8cd8014a84d56749b9d2823ad";

#[test]
fn hard_links_name_what_is_before_them() {
    let link = |path: &str, target: &str| {
        let target = target.to_owned();
        Header::new(path, EntryKind::HardLink { target })
    };
    let archive = |entries: &[Header]| {
        let mut writer = tar::Writer::new(Vec::new());
        for header in entries {
            let content = vec![b'x'; header.kind.size() as usize];
            writer.append(header, &content[..]).unwrap();
        }
        writer.finish().unwrap()
    };
    let read = |bytes: &[u8]| {
        let reader = tar::Reader::new(bytes, Limits::default());
        FileTree::read_tar(reader, Path::new("/unpacked"))
    };
    // In the archive the file is first; in the tree's order it is last.
    let bytes = archive(&[
        Header::file("m", 3),
        link("z", "m"),
        link("b", "z"),
        link("a", "m"),
    ]);
    let tree = read(&bytes).unwrap();
    let content = Content::Disk(PathBuf::from("/unpacked/m"));
    assert_eq!(
        tree.get("a").unwrap().kind,
        NodeKind::File { content, size: 3 }
    );
    for other in ["b", "m", "z"] {
        let target = path("a");
        assert_eq!(tree.get(other).unwrap().kind, NodeKind::HardLink { target });
    }
    let dangling = archive(&[link("a", "gone")]);
    assert_eq!(
        read(&dangling).unwrap_err().to_string(),
        "the hard link `a` names `gone`, which is no file before it in the tree"
    );
    let mut tree = FileTree::new();
    tree.insert(path("z"), Node::file(*b"x"));
    let target = path("z");
    tree.insert(path("a"), Node::new(NodeKind::HardLink { target }));
    let mut writer = tar::Writer::new(Vec::new());
    assert_eq!(
        tree.write_tar(&mut writer, TarOptions::default())
            .unwrap_err()
            .to_string(),
        "the hard link `a` names `z`, which is no file before it in the tree"
    );
}

#[test]
fn files_that_change_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    std::fs::write(&file, "short").unwrap();
    let tree = FileTree::scan(folder.path()).unwrap();
    let write = |checksums| {
        let mut writer = tar::Writer::new(Vec::new());
        let options = TarOptions {
            checksums,
            mtime: None,
        };
        tree.write_tar(&mut writer, options)
            .unwrap_err()
            .to_string()
    };
    for (now, word) in [("longer", "longer"), ("s", "shorter")] {
        std::fs::write(&file, now).unwrap();
        for checksums in [Checksums::None, Checksums::Sha1] {
            assert_eq!(
                write(checksums),
                format!(
                    "the content of `log` is {word} than the 5 bytes it was announced with; nothing \
                     may change files while they are archived"
                )
            );
        }
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        write(Checksums::None),
        "cannot read the content of `log`: No such file or directory (os error 2)"
    );
}

//! A package with one of everything, and what tests do with packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use archive::tree::{FileTree, Node, NodeKind, TreePath};
use base::Epoch;
use key::{Algorithm, PrivateKey};
use polpo_apk::dependency::Dependency;
use polpo_apk::package::{PackageContents, PackageInfo, Script, Written, write};
use polpo_apk::signature::Signer;
use tempfile::TempDir;

pub(crate) const EPOCH: Epoch = Epoch(1_700_000_000);

/// One signer for all tests: making a key takes a second.
pub(crate) fn signer() -> &'static Signer {
    static SIGNER: OnceLock<Signer> = OnceLock::new();
    SIGNER.get_or_init(|| {
        let key = PrivateKey::generate(Algorithm::Rsa4096).expect("a key");
        Signer::new("tester.rsa.pub", key).expect("a signer")
    })
}

pub(crate) fn path(path: &str) -> TreePath {
    TreePath::new(path).expect("a safe path")
}

fn dependencies(text: &str) -> Vec<Dependency> {
    Dependency::parse_list(text).expect("dependencies")
}

pub(crate) fn info() -> PackageInfo {
    PackageInfo {
        name: "sample".to_owned(),
        version: "1.2.3_rc4-r5".to_owned(),
        arch: "x86_64".to_owned(),
        installed_size: 4321,
        origin: "sampler".to_owned(),
        description: "one of everything = all".to_owned(),
        url: "https://example.org/?a = b".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        maintainer: "A. N. Other <other@example.org>".to_owned(),
        packager: String::new(),
        build_time: Some(EPOCH.0),
        licenses: vec!["MIT OR BSD-3-Clause".to_owned(), "GPL-2.0-only".to_owned()],
        depends: dependencies("!conflicting<2 cmd:sh so:libc.so.6 zlib>=1.3"),
        provides: dependencies("cmd:sample=1.2.3_rc4-r5 so:libsample.so.1=1.0"),
        replaces: dependencies("older other<3"),
        install_if: dependencies("docs sampler=1.2.3_rc4-r5"),
        vendored: vec!["so:libinside.so.1".to_owned()],
        provider_priority: Some(7),
        replaces_priority: Some(9),
        triggers: vec!["/usr/share/sample/*".to_owned(), "+/etc".to_owned()],
        recommends: Vec::new(),
        tags: Vec::new(),
        layer: None,
        datahash: None,
        ungrammatical: Vec::new(),
        defects: Vec::new(),
    }
}

/// Directories of all modes, files empty and larger than a deflate window, links of both kinds,
/// attributes, names that need extended headers.
pub(crate) fn tree() -> FileTree {
    let mut tree = FileTree::new();
    let long = format!("usr/share/sample/{}/{}", "d".repeat(120), "n".repeat(180));
    let noise: Vec<u8> = (0u32..200_000)
        .map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut with_attributes = Node::file(*b"#!/bin/sh\n")
        .with_mode(0o4755)
        .with_owner(0, 5);
    with_attributes.group = "tty".to_owned();
    with_attributes.xattrs.insert(
        "security.capability".to_owned(),
        vec![1, 0, 0, 2, 0, 255, 10, 0],
    );
    for (place, node) in [
        ("root-file", Node::file(*b"at the top\n").with_mode(0o600)),
        ("usr/bin/sample", with_attributes),
        (
            "usr/bin/sample-alias",
            Node::new(NodeKind::HardLink {
                target: path("usr/bin/sample"),
            })
            .with_mode(0o4755),
        ),
        ("usr/lib/libsample.so", Node::symlink("libsample.so.1.0")),
        ("usr/lib/libsample.so.1.0", Node::file(noise)),
        ("usr/lib-dash/empty", Node::file(*b"")),
        ("usr/share/dangling", Node::symlink("../../nowhere/grün")),
        (long.as_str(), Node::file(*b"deep")),
        (
            "var/cache/sample/grün.txt",
            Node::file(*b"umlaut").with_owner(1000, 1000),
        ),
    ] {
        let place = path(place);
        tree.insert_parents(&place, &Node::directory());
        tree.insert(place, node);
    }
    tree.insert(path("tmp"), Node::directory().with_mode(0o1777));
    tree.insert(
        path("var/empty"),
        Node::directory().with_mode(0o2750).with_owner(22, 22),
    );
    tree
}

pub(crate) fn contents(tree: &FileTree) -> PackageContents<'_> {
    PackageContents {
        info: info(),
        scripts: BTreeMap::from([
            (Script::PostInstall, b"#!/bin/sh\necho installed\n".to_vec()),
            (Script::Trigger, b"#!/bin/sh\necho \"$@\"\n".to_vec()),
        ]),
        extras: BTreeMap::from([(
            ".melange.yaml".to_owned(),
            b"package:\n  name: sample\n".to_vec(),
        )]),
        tree,
    }
}

/// A folder with the sample package, signed.
pub(crate) fn sample() -> (TempDir, PathBuf, Written) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sample-1.2.3_rc4-r5.apk");
    let written = write_sample(&file);
    (folder, file, written)
}

pub(crate) fn write_sample(file: &Path) -> Written {
    write(file, &contents(&tree()), Some(signer()), EPOCH).expect("the sample is written")
}

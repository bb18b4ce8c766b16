//! Packages of format 3 are those that apk 3.0.6 makes of the same files, byte for byte: what is
//! pinned here are the hashes of its own.

use std::collections::BTreeMap;
use std::path::Path;

use archive::Limits;
use archive::tree::{FileTree, Node, NodeKind, TreePath};
use base::{Digest, Epoch};
use polpo_apk::adb::{Builder, Compression, Reader, Tag, Value, Writer};
use polpo_apk::dependency::{Dependency, Identity};
use polpo_apk::index::{AdbIndex, IndexEntry, StoredIndex};
use polpo_apk::package::{
    Listing, Package, PackageContents, PackageError, PackageInfo, Packing, Script, WrittenV3,
    stream_v3, write_v3,
};

use crate::sample::signer;

fn at(path: &str) -> TreePath {
    TreePath::new(path).unwrap()
}

/// Directories of several modes, one with a name that sorts between another and what is in that; a
/// file of three names, the first of them at the root; links, a device, attributes, owners.
fn tree() -> FileTree {
    let mut tree = FileTree::new();
    let mut put = |path: &str, node: Node| {
        tree.insert(at(path), node.with_mtime(1_600_000_000));
    };
    for folder in [
        "etc",
        "usr",
        "usr/bin",
        "usr/share",
        "usr/share/sample",
        "usr/share/sample/empty",
    ] {
        put(folder, Node::directory());
    }
    put("usr-x", Node::directory().with_mode(0o2775));
    put(
        "usr/bin/tool",
        Node::file(*b"#!/bin/sh\necho hi\n").with_mode(0o4755),
    );
    for name in ["usr-x/tool", "zz"] {
        let target = at("usr/bin/tool");
        put(
            name,
            Node::new(NodeKind::HardLink { target }).with_mode(0o4755),
        );
    }
    let mut nothing = Node::file(Vec::<u8>::new());
    nothing.xattrs.insert("user.note".to_owned(), vec![0, 0xff]);
    put("etc/nothing", nothing);
    put("etc/link", Node::symlink("../usr/bin/tool"));
    put(
        "etc/null",
        Node::new(NodeKind::CharDevice { major: 1, minor: 3 }).with_mode(0o666),
    );
    let mut long = Node::file(vec![b'x'; 70_000])
        .with_mode(0o640)
        .with_owner(1000, 5);
    long.user = "alice".to_owned();
    long.group = "tty".to_owned();
    put("usr/share/sample/long", long);
    tree
}

fn terms(text: &str) -> Vec<Dependency> {
    text.split(' ')
        .map(|term| Dependency::parse_untagged(term).unwrap())
        .collect()
}

fn info(tree: &FileTree) -> PackageInfo {
    PackageInfo {
        name: "sample".to_owned(),
        version: "1.2.3_rc4-r5".to_owned(),
        arch: "x86_64".to_owned(),
        installed_size: tree.size(),
        description: "everything".to_owned(),
        licenses: vec!["MIT".to_owned()],
        origin: "sampler".to_owned(),
        maintainer: "A".to_owned(),
        url: "https://example.org".to_owned(),
        commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        build_time: Some(1_700_000_000),
        provider_priority: Some(7),
        replaces_priority: Some(300_000_000),
        layer: Some(1),
        depends: terms(
            "zlib>=1.3 !conflicting<2 cmd:sh so:libc.so.6 b~2 c<~3 d>~4 f<=6 !g \
             pc:x><Q1TeeSfx1iNeOBVZCxS+J3bjEZxHw= zlib>=1.3",
        ),
        provides: terms("cmd:sample=1.2.3_rc4-r5 so:libsample.so.1=1.0"),
        replaces: terms("older other<3"),
        install_if: terms("docs sampler=1"),
        recommends: terms("more"),
        tags: ["b", "a", "c=1"].map(str::to_owned).to_vec(),
        triggers: ["/usr/share/sample/*", "+/etc"].map(str::to_owned).to_vec(),
        ..PackageInfo::default()
    }
}

fn contents(tree: &FileTree) -> PackageContents<'_> {
    PackageContents {
        info: info(tree),
        scripts: BTreeMap::from([
            (Script::Trigger, b"#!/bin/sh\nexit 0\n".to_vec()),
            (Script::PostInstall, b"#!/bin/sh\n".to_vec()),
        ]),
        extras: BTreeMap::new(),
        tree,
    }
}

fn packed(contents: &PackageContents<'_>, packing: &Packing<'_>) -> (Vec<u8>, WrittenV3) {
    let mut bytes = Vec::new();
    let written = stream_v3(Path::new("sample.apk"), &mut bytes, contents, packing).unwrap();
    assert_eq!(written.digest, Digest::of(&bytes));
    assert_eq!(written.size, bytes.len() as u64);
    (bytes, written)
}

fn plain() -> Packing<'static> {
    Packing {
        compression: Compression::None,
        ..Packing::default()
    }
}

fn hash_of(contents: &PackageContents<'_>, packing: &Packing<'_>) -> String {
    packed(contents, packing).1.digest.hex()
}

#[test]
fn everything_is_written_as_apk_writes_it() {
    let tree = tree();
    let contents = contents(&tree);
    let (bytes, written) = packed(&contents, &plain());
    assert_eq!(bytes.len(), 71_672);
    assert_eq!(
        written.digest.hex(),
        "414c93f6fd518ab4005d39d3a69cf9a2f898b70a4e6b47626ee021d17d079072"
    );
    assert_eq!(
        written.unique_id.hex(),
        "88e34f81c1a1b290c25de05331619e4b3baca556"
    );
    assert_eq!(
        hash_of(
            &contents,
            &Packing {
                listing: Listing::for_apk("3.0.0_rc9"),
                ..plain()
            }
        ),
        "d3edd20ea91d4b8fc10ec83f0908729de35f40f6ab88c6a8d1d91415a084ed92"
    );
    assert_eq!(
        hash_of(
            &contents,
            &Packing {
                epoch: Some(Epoch(1_700_000_000)),
                ..plain()
            }
        ),
        "2f0c30e2526171213267863e5c6deacffd5e87e7d2ca8f14adb99afc8b259673"
    );
}

#[test]
fn next_to_nothing_is_written_as_apk_writes_it() {
    let tree = FileTree::new();
    let mut contents = PackageContents {
        info: PackageInfo {
            name: "a".to_owned(),
            version: "1".to_owned(),
            arch: "noarch".to_owned(),
            ..PackageInfo::default()
        },
        scripts: BTreeMap::new(),
        extras: BTreeMap::new(),
        tree: &tree,
    };
    assert_eq!(
        hash_of(&contents, &plain()),
        "dbec9d7bc398ba6e60b6cfb15529c4f3fe890bf74f722ce6271439c1491f2fe1"
    );
    // A folder without files is not the same as no folder.
    contents.info.installed_size = 1;
    let folder = Packing {
        root: Some(Node::directory()),
        ..plain()
    };
    assert_eq!(
        hash_of(&contents, &folder),
        "2f1b0d53fceebd1892096c4c814c3ad03e127c64cda07e01cc35adcecf0cb7f9"
    );
    contents.info.installed_size = 0;
    contents
        .scripts
        .insert(Script::PreInstall, b"#!/bin/sh\n".to_vec());
    assert_eq!(
        hash_of(&contents, &plain()),
        "6d10701a264262c0e673e34f690e6aa15fdac3975db15b58c61c979db069e958"
    );
}

#[test]
fn listings_are_for_versions_of_apk() {
    for (version, listing) in [
        ("3.0.0_pre2", Listing::All),
        ("3.0.0_pre3", Listing::AllButRoot),
        ("3.0.0_rc8", Listing::AllButRoot),
        ("3.0.0_rc9", Listing::Empty),
        ("3.0.6", Listing::Empty),
    ] {
        assert_eq!(Listing::for_apk(version), listing, "{version}");
    }
}

#[test]
fn compression_changes_nothing_beneath() {
    let tree = tree();
    let contents = contents(&tree);
    let signers = [signer()];
    let (expected, _) = packed(
        &contents,
        &Packing {
            signers: &signers,
            ..plain()
        },
    );
    for text in [
        "none",
        "deflate",
        "deflate:1",
        "deflate:9",
        "zstd",
        "zstd:1",
        "zstd:22",
    ] {
        let compression: Compression = text.parse().unwrap();
        let packing = Packing {
            compression,
            signers: &signers,
            ..Packing::default()
        };
        let (bytes, _) = packed(&contents, &packing);
        assert_eq!(packed(&contents, &packing).0, bytes, "{text}");
        let mut reader = Reader::new(&bytes[..], Limits::default()).unwrap();
        let head = reader.head().unwrap();
        let mut original = Reader::new(&expected[..], Limits::default()).unwrap();
        assert_eq!(head, original.head().unwrap(), "{text}");
        signers[0]
            .keyring()
            .verify_adb(&head, reader.schema())
            .unwrap();
    }
}

#[test]
fn what_was_written_is_read() {
    let tree = tree();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample-1.2.3_rc4-r5.apk");
    let written = write_v3(&path, &contents(&tree), &Packing::default()).unwrap();
    let package = Package::open(&path).unwrap();
    assert_eq!(package.size(), written.size);
    let Identity::Sha256(_) = written.identity else {
        panic!("{:?}", written.identity);
    };
    let manifest = package.manifest(&Limits::default()).unwrap();
    assert_eq!(manifest.identity, written.identity);
    // The file is where its first name is; all else is as it was.
    let paths: Vec<&str> = manifest
        .entries
        .iter()
        .filter(|entry| !entry.is_directory())
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "zz",
            "etc/link",
            "etc/nothing",
            "etc/null",
            "usr-x/tool",
            "usr/bin/tool",
            "usr/share/sample/long"
        ]
    );
    let unpacked = folder.path().join("files");
    std::fs::create_dir(&unpacked).unwrap();
    package.unpack(&unpacked, &Limits::default()).unwrap();
    for name in ["zz", "usr-x/tool", "usr/bin/tool"] {
        let bytes = std::fs::read(unpacked.join(name)).unwrap();
        assert_eq!(bytes, b"#!/bin/sh\necho hi\n", "{name}");
    }
    // Out of what was read the same is written, once its lists are in their order.
    let rewritten = |from: &Path, files: &str, to: &str| {
        let package = Package::open(from).unwrap();
        let unpacked = folder.path().join(files);
        std::fs::create_dir(&unpacked).unwrap();
        let manifest = package.unpack(&unpacked, &Limits::default()).unwrap();
        let tree = manifest.tree(&unpacked);
        let contents = PackageContents {
            info: package.info().clone(),
            scripts: package.scripts().clone(),
            extras: BTreeMap::new(),
            tree: &tree,
        };
        let to = folder.path().join(to);
        let written = write_v3(&to, &contents, &Packing::default()).unwrap();
        (to, written)
    };
    let (once, first) = rewritten(&path, "files-1", "1.apk");
    let (_, second) = rewritten(&once, "files-2", "2.apk");
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.info.name, written.info.name);
}

#[test]
fn entries_of_an_earlier_index_are_taken_over_as_they_are() {
    use polpo_apk::adb::schema::{INDEX_FILE, INFO, INFOS, index, info};
    // A later apk's index: its packages have a field that is not known here.
    let mut builder = Builder::new();
    let packages = ["b", "a"].map(|name| {
        let mut fields = vec![Value::NULL; INFO.fields.len() + 2];
        for (field, text) in [(info::NAME, name), (info::VERSION, "1-r0")] {
            fields[field - 1] = builder.blob(text.as_bytes());
        }
        fields[info::HASHES - 1] = builder.blob(&[7; 32]);
        fields[INFO.fields.len() + 1] = builder.blob(format!("later {name}").as_bytes());
        builder.object(&fields)
    });
    let packages = builder.array(&INFOS, Tag::Object, packages.to_vec());
    let mut fields = [Value::NULL; 3];
    fields[index::PACKAGES - 1] = packages;
    let root = builder.object(&fields);
    builder.set_root(root);
    let payload = builder.finish().unwrap();
    let mut writer = Writer::new(Vec::new(), INDEX_FILE.id).unwrap();
    writer.head(&payload, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Packages.adb");
    std::fs::write(&path, writer.into_inner()).unwrap();

    let earlier = StoredIndex::read(&path, None).unwrap();
    let names = |entries: &[IndexEntry]| {
        let names = entries.iter().map(|entry| entry.info.name.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(earlier.entries()), ["a", "b"]);
    let mut made = AdbIndex::new();
    for place in [1, 0] {
        made.add_stored(&earlier, place).unwrap();
    }
    assert!(made.add_stored(&earlier, 2).is_err());
    let bytes = made.finish("", None, &[], Compression::None).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let again = StoredIndex::read(&path, None).unwrap();
    assert_eq!(again.entries(), earlier.entries());
    for text in ["later a", "later b"] {
        let mut places = bytes.windows(text.len());
        assert!(places.any(|place| place == text.as_bytes()), "{text}");
    }
}

#[test]
fn nothing_is_written_that_would_not_be_read() {
    type Change = fn(&mut PackageInfo);
    let changes: [(Change, &str); 6] = [
        (|info| info.name = "_x".to_owned(), "can't name a package"),
        (|info| info.commit = "HEAD".to_owned(), "not hexadecimal"),
        (|info| info.tags = vec!["a b".to_owned()], "no tag"),
        (|info| info.url = "a\nb".to_owned(), "line end"),
        (
            |info| info.depends = vec![Dependency::any("a&b")],
            "can't stand in a dependency",
        ),
        (|info| info.version = "1.x".to_owned(), "not a version"),
    ];
    let tree = tree();
    for (change, why) in changes {
        let mut contents = contents(&tree);
        change(&mut contents.info);
        let error = stream_v3(Path::new("x.apk"), Vec::new(), &contents, &plain()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut contents = contents(&tree);
    contents
        .scripts
        .insert(Script::PreUpgrade, vec![b'#'; 262_145]);
    let error = stream_v3(Path::new("x.apk"), Vec::new(), &contents, &plain()).unwrap_err();
    assert!(matches!(error, PackageError::Entry { .. }), "{error}");

    let kinds = [
        Node::symlink("a\nb").kind,
        Node::symlink("t".repeat(4095)).kind,
        NodeKind::CharDevice {
            major: 4096,
            minor: 0,
        },
        NodeKind::BlockDevice {
            major: 0,
            minor: 1 << 20,
        },
    ];
    let errors = kinds.map(|kind| {
        let mut tree = FileTree::new();
        tree.insert(at("x"), Node::new(kind));
        let contents = self::contents(&tree);
        let error = stream_v3(Path::new("x.apk"), Vec::new(), &contents, &plain()).unwrap_err();
        error.to_string()
    });
    insta::assert_snapshot!(errors.join("\n"), @"
    package x.apk: `x` refers to something that has a control character
    package x.apk: `x` refers to something that is longer than any path
    package x.apk: `x` refers to something that is device 4096:0, larger than the numbers 4095:1048575 that Linux has
    package x.apk: `x` refers to something that is device 0:1048576, larger than the numbers 4095:1048575 that Linux has
    ");
}

#[test]
fn a_file_that_changes_is_noticed_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "long").unwrap();
    let mut tree = FileTree::new();
    tree.insert(
        at("file"),
        Node::new(NodeKind::File {
            content: archive::tree::Content::Disk(file),
            size: 5,
        }),
    );
    let out = folder.path().join("out/x.apk");
    let error = write_v3(&out, &contents(&tree), &plain()).unwrap_err();
    assert!(error.to_string().contains("changed while"), "{error}");
    let left = std::fs::read_dir(folder.path().join("out")).unwrap();
    assert_eq!(left.count(), 0);
}

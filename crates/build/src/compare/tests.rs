use std::io::Write as _;

use apk::dependency::Dependency;
use apk::package::{PackageContents, PackageInfo};
use apk::signature::Signer;
use archive::tree::{FileTree, Node, TreePath};
use base::Epoch;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::*;

struct Maker {
    folder: tempfile::TempDir,
}

impl Maker {
    fn new() -> Maker {
        Maker {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn package(
        &self,
        name: &str,
        files: &[(&str, Node)],
        change: impl FnOnce(&mut PackageContents<'_>),
        signer: Option<&Signer>,
    ) -> Package {
        let mut tree = FileTree::new();
        for (path, node) in files {
            let path = TreePath::new(path).unwrap();
            tree.insert_parents(&path, &Node::directory());
            tree.insert(path, node.clone());
        }
        let mut contents = PackageContents {
            info: PackageInfo {
                name: "thing".to_owned(),
                version: "1.0-r0".to_owned(),
                arch: "x86_64".to_owned(),
                ..PackageInfo::default()
            },
            scripts: BTreeMap::new(),
            extras: BTreeMap::new(),
            tree: &tree,
        };
        change(&mut contents);
        let path = self.folder.path().join(name);
        apk::package::write(&path, &contents, signer, Epoch(0)).unwrap();
        Package::open(&path).unwrap()
    }

    fn differences(&self, one: &Package, other: &Package) -> String {
        let scratch = tempfile::tempdir().unwrap();
        let found = compare(one, other, scratch.path(), &Limits::default()).unwrap();
        let lines: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    /// What is said of packages with one file of these contents.
    fn of_contents(&self, name: &str, one: &[u8], other: &[u8]) -> String {
        let one = self.package("one.apk", &[(name, Node::file(one))], |_| {}, None);
        let other = self.package("other.apk", &[(name, Node::file(other))], |_| {}, None);
        self.differences(&one, &other)
    }
}

/// An ELF file of these sections, which no program could run.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut placed = Vec::new();
    let mut data = vec![0; 64];
    for (name, bytes) in sections {
        placed.push((names.len(), data.len(), bytes.len(), 1_u32));
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        data.extend_from_slice(bytes);
    }
    let name = names.len();
    names.extend_from_slice(b".shstrtab\0");
    placed.push((name, data.len(), names.len(), 3));
    data.extend_from_slice(&names);
    while !data.len().is_multiple_of(8) {
        data.push(0);
    }
    let table = data.len() as u64;
    data.extend_from_slice(&[0; 64]);
    for (name, offset, length, kind) in &placed {
        data.extend_from_slice(&(*name as u32).to_le_bytes());
        data.extend_from_slice(&kind.to_le_bytes());
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&(*offset as u64).to_le_bytes());
        data.extend_from_slice(&(*length as u64).to_le_bytes());
        data.extend_from_slice(&[0; 24]);
    }
    data[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    data[20] = 1;
    data[40..48].copy_from_slice(&table.to_le_bytes());
    data[52] = 64;
    data[58] = 64;
    data[60] = placed.len() as u8 + 1;
    data[62] = placed.len() as u8;
    data
}

fn zip(members: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut out);
    for (name, bytes, mode) in members {
        let (mut entry, config) = archive
            .new_file(name)
            .compression_method(rawzip::CompressionMethod::Deflate)
            .unix_permissions(*mode)
            .start()
            .unwrap();
        let encoder = DeflateEncoder::new(&mut entry, Compression::default());
        let mut writer = config.wrap(encoder);
        writer.write_all(bytes).unwrap();
        let (encoder, descriptor) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    out
}

fn ar(members: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes, time) in members {
        writeln!(
            out,
            "{:<16}{time:<12}{:<6}{:<6}{:<8}{:<10}`",
            format!("{name}/"),
            0,
            0,
            100644,
            bytes.len()
        )
        .unwrap();
        out.extend_from_slice(bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

fn tarball(members: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut writer = archive::tar::Writer::new(Vec::new());
    for (name, bytes, mode) in members {
        let mut header = archive::tar::Header::file(*name, bytes.len() as u64);
        header.mode = *mode;
        writer.append(&header, *bytes).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn entries_that_differ() {
    let maker = Maker::new();
    let mut file = Node::file(&b"text\n"[..]);
    let one = maker.package(
        "one.apk",
        &[
            ("etc/here", Node::file(&b"x"[..])),
            ("usr/bin/tool", file.clone().with_mode(0o755)),
            ("usr/lib/link", Node::symlink("here")),
            ("usr/lib/what", Node::file(&b"x"[..])),
        ],
        |_| {},
        None,
    );
    file.xattrs
        .insert("security.capability".to_owned(), vec![1, 2]);
    file.mtime = 7;
    let other = maker.package(
        "other.apk",
        &[
            ("etc/there", Node::file(&b"x"[..])),
            ("usr/bin/tool", file.with_mode(0o4755).with_owner(3, 4)),
            ("usr/lib/link", Node::symlink("there")),
            ("usr/lib/what", Node::directory()),
        ],
        |_| {},
        None,
    );
    insta::assert_snapshot!(maker.differences(&one, &other), @r#"
    etc/here: only in the original
    etc/there: only in what was built again
    usr/bin/tool: mode: 0755, now 4755
    usr/bin/tool: owner: 0:0 (:), now 3:4 (:)
    usr/bin/tool: extended attribute security.capability: nothing, now 0102
    usr/lib/link: target: here, now there
    usr/lib/what: kind: a file, now a folder
    usr/lib/what: mode: 0644, now 0755
    "#);
    assert_eq!(maker.differences(&one, &one), "");
}

#[test]
fn metadata_that_differs() {
    let maker = Maker::new();
    let depends = |words: &[&str]| {
        words
            .iter()
            .map(|word| Dependency::parse(word).unwrap())
            .collect()
    };
    let one = maker.package(
        "one.apk",
        &[],
        |contents| {
            contents.info.depends = depends(&["a", "b"]);
            contents.info.description = "one".to_owned();
            contents.scripts = BTreeMap::from([(
                apk::package::Script::PostInstall,
                b"#!/bin/sh\ntrue\n".to_vec(),
            )]);
            contents.extras = BTreeMap::from([(".melange.yaml".to_owned(), b"a\nb\n".to_vec())]);
        },
        None,
    );
    let other = maker.package(
        "other.apk",
        &[],
        |contents| {
            contents.info.depends = depends(&["b", "c"]);
            contents.info.description = "one".to_owned();
            contents.info.url = "https://example.org".to_owned();
            contents.extras = BTreeMap::from([(".melange.yaml".to_owned(), b"a\nc\n".to_vec())]);
        },
        None,
    );
    insta::assert_snapshot!(maker.differences(&one, &other), @r#"
    .PKGINFO: field depend: a, now c
    .PKGINFO: field url: nothing, now https://example.org
    .melange.yaml: contents: line 2 `b`, now line 2 `c`
    .post-install: only in the original
    "#);
    // Who signs is no difference.
    let key = key::PrivateKey::generate(key::Algorithm::Rsa4096).unwrap();
    let signer = Signer::new("test.rsa.pub", key).unwrap();
    let plain = maker.package("plain.apk", &[], |_| {}, None);
    let signed = maker.package("signed.apk", &[], |_| {}, Some(&signer));
    assert_ne!(plain.digest().unwrap(), signed.digest().unwrap());
    assert_eq!(maker.differences(&plain, &signed), "");
}

#[test]
fn sections_that_differ() {
    let maker = Maker::new();
    let one = elf(&[(".text", &[0x90; 64]), (".data", b"same"), (".gone", b"g")]);
    let other = elf(&[
        (".text", &[&[0x90; 40][..], &[0xcc; 24]].concat()),
        (".data", b"same"),
    ]);
    insta::assert_snapshot!(maker.of_contents("usr/bin/tool", &one, &other), @r#"
    usr/bin/tool: section .gone: 1 bytes, now nothing
    usr/bin/tool: section .shstrtab: 002e74657874002e64617461002e676f6e65002e736873747274616200, now 002e74657874002e64617461002e736873747274616200
    usr/bin/tool: section .text: 90 at byte 40 of 64, now cc at byte 40 of 64
    usr/bin/tool: headers: the file header a8 at byte 40 of 64, now the file header a0 at byte 40 of 64
    usr/bin/tool: headers: the section headers 01 at byte 196 of 320, now the section headers 03 at byte 196 of 256
    "#);
    let mut other = one.clone();
    other[7] = 3;
    insta::assert_snapshot!(maker.of_contents("usr/bin/tool", &one, &other), @r#"
    usr/bin/tool: headers: the file header 00 at byte 7 of 64, now the file header 03 at byte 7 of 64
    "#);
}

#[test]
fn members_that_differ() {
    let maker = Maker::new();
    let text = b"one line\nanother\n".repeat(30);
    let mut changed = text.clone();
    changed[20] = b'X';
    let one = zip(&[
        ("META-INF/MANIFEST.MF", &text, 0o644),
        ("a.class", b"a", 0o644),
    ]);
    let other = zip(&[
        ("META-INF/MANIFEST.MF", &changed, 0o600),
        ("b.class", b"a", 0o644),
    ]);
    insta::assert_snapshot!(maker.of_contents("usr/share/java/x.jar", &one, &other), @r#"
    usr/share/java/x.jar » META-INF/MANIFEST.MF: mode: 0644, now 0600
    usr/share/java/x.jar » META-INF/MANIFEST.MF: contents: line 3 `one line`, now line 3 `oneXline`
    usr/share/java/x.jar » a.class: only in the original
    usr/share/java/x.jar » b.class: only in what was built again
    "#);
    // A jar in a jar, another order.
    let outer = zip(&[("lib/x.jar", &one, 0o644), ("y", b"y", 0o644)]);
    let turned = zip(&[("y", b"y", 0o644), ("lib/x.jar", &other, 0o644)]);
    insta::assert_snapshot!(maker.of_contents("usr/share/java/y.jar", &outer, &turned), @r#"
    usr/share/java/y.jar » lib/x.jar » META-INF/MANIFEST.MF: mode: 0644, now 0600
    usr/share/java/y.jar » lib/x.jar » META-INF/MANIFEST.MF: contents: line 3 `one line`, now line 3 `oneXline`
    usr/share/java/y.jar » lib/x.jar » a.class: only in the original
    usr/share/java/y.jar » lib/x.jar » b.class: only in what was built again
    usr/share/java/y.jar: order: lib/x.jar, now y
    "#);

    let code = elf(&[(".text", b"code")]);
    let library = ar(&[("a.o", &code, 0), ("b.o", b"b", 0)]);
    let other = ar(&[("a.o", &elf(&[(".text", b"cope")]), 5), ("b.o", b"b", 0)]);
    insta::assert_snapshot!(maker.of_contents("usr/lib/libx.a", &library, &other), @r#"
    usr/lib/libx.a » a.o: modification time: 1970-01-01T00:00:00Z, now 1970-01-01T00:00:05Z
    usr/lib/libx.a » a.o: section .text: 636f6465, now 636f7065
    "#);

    let one = tarball(&[("a", &text, 0o644), ("b", b"b", 0o644)]);
    let other = tarball(&[("a", &changed, 0o755), ("b", b"b", 0o644)]);
    insta::assert_snapshot!(
        maker.of_contents("usr/share/x.tar.gz", &gzip(&one, 6), &gzip(&other, 6)),
        @r#"
    usr/share/x.tar.gz » (gzip) » a: mode: 0644, now 0755
    usr/share/x.tar.gz » (gzip) » a: contents: line 3 `one line`, now line 3 `oneXline`
    "#
    );
    insta::assert_snapshot!(
        maker.of_contents("usr/share/man/man1/x.1.gz", &gzip(&text, 1), &gzip(&text, 9)),
        @r#"
    usr/share/man/man1/x.1.gz: compression: 43 bytes, now 42 bytes
    "#
    );
    let mut dated = gzip(&text, 6);
    dated[4] = 9;
    insta::assert_snapshot!(maker.of_contents("x.gz", &gzip(&text, 6), &dated), @r#"
    x.gz: modification time: 1970-01-01T00:00:00Z, now 1970-01-01T00:00:09Z
    "#);
}

fn content(one: &[u8], other: &[u8]) -> Comparison {
    let mut comparer = Comparer::new();
    comparer.file("x", one, other);
    comparer.finish()
}

/// Whatever byte of an archive is another one, something is said, and nothing panics.
#[test]
fn every_changed_byte_is_told() {
    let code = elf(&[(".text", b"code"), (".data", b"data")]);
    let kinds = [
        zip(&[("a", &code, 0o644), ("b", b"text text text", 0o644)]),
        ar(&[("a.o", &code, 0), ("b.o", b"b", 0)]),
        tarball(&[("a", b"content", 0o644)]),
        gzip(&tarball(&[("a", &code, 0o644)]), 6),
        code,
    ];
    for original in kinds {
        for place in 0..original.len() {
            for bits in [1, 0x80, 0xff] {
                let mut other = original.clone();
                other[place] ^= bits;
                assert!(!content(&original, &other).is_equal(), "byte {place}");
            }
            assert!(!content(&original, &original[..place]).is_equal());
        }
    }
}

#[test]
fn archives_from_strangers() {
    // Deeper than anybody packs: compared as bytes from some depth on.
    let nest = |text: &[u8]| (0..40).fold(gzip(text, 6), |inner, _| gzip(&inner, 6));
    let found = content(&nest(b"one"), &nest(b"two"));
    assert_eq!(found.differences.len(), 1);
    assert_eq!(found.differences[0].within.len(), 6);
    // A member that inflates to more than is looked at.
    let bomb = zip(&[("zeros", &vec![0; 257 << 20], 0o644)]);
    let other = zip(&[("zeros", b"0", 0o644)]);
    let found = content(&bomb, &other);
    assert_eq!(found.differences.len(), 1);
    assert_eq!(found.differences[0].aspect, Aspect::Contents);
    // More differences than anybody reads are counted.
    let names: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
    let many: Vec<(&str, &[u8], u32)> = names
        .iter()
        .map(|name| (name.as_str(), &b"x"[..], 0o644))
        .collect();
    let found = content(&zip(&many), &zip(&[("y", b"y", 0o644)]));
    assert_eq!((found.differences.len(), found.omitted), (1000, 2001));
}

//! Packages written here: read back, judged by other programs, refused when something is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use archive::Limits;
use archive::segment::{Inflate, Segment as Deflated, Splicer, end_blocks};
use archive::tar::{self, EntryKind};
use archive::tree::{FileTree, Node, NodeKind};
use base::{Digest, Epoch, Sha1};
use key::{Algorithm, PrivateKey};
use polpo_apk::dependency::Identity;
use polpo_apk::index::IndexEntry;
use polpo_apk::package::{
    InfoError, MAXIMUM_CONTROL, Package, PackageContents, PackageError, PackageInfo, Part, Script,
    write,
};
use polpo_apk::signature::{Keyring, KeyringError, SignatureError, Signer};
use testkit::Program;

use crate::sample::{EPOCH, contents, info, path, sample, signer, tree, write_sample};

const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    entries: 10_000,
    metadata: 1 << 20,
    ratio: 1_100,
    memory: 1 << 20,
};

#[test]
fn what_is_written_is_read() {
    let (folder, file, written) = sample();
    let package = Package::open(&file).unwrap();
    assert_eq!(package.identity(), written.identity);
    assert_eq!(package.size(), written.size);
    assert_eq!(package.digest().unwrap(), written.digest);
    assert_eq!(written.digest, Digest::of(&fs::read(&file).unwrap()));
    assert_eq!(package.info(), &written.info);
    assert_eq!(
        package.info(),
        &PackageInfo {
            datahash: Some(written.datahash),
            ..info()
        }
    );
    let wanted = contents(&FileTree::new()).scripts;
    assert_eq!(package.scripts(), &wanted);
    assert_eq!(
        package.extras().keys().collect::<Vec<_>>(),
        [".melange.yaml"]
    );
    assert_eq!(
        package.verify(&signer().keyring()).unwrap(),
        "tester.rsa.pub"
    );
    package.check_entry(&IndexEntry::written(&written)).unwrap();
    assert_eq!(IndexEntry::written(&written), IndexEntry::of(&package));

    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let manifest = package.unpack(&unpacked, &LIMITS).unwrap();
    let mut expected = tree();
    for (place, node) in expected.iter_mut() {
        node.mtime = EPOCH.0;
        if let NodeKind::File { content, .. } = &mut node.kind {
            let on_disk = unpacked.join(place.as_str());
            assert_eq!(
                fs::read(&on_disk).unwrap(),
                content.read().unwrap(),
                "{place}"
            );
            *content = archive::tree::Content::Disk(on_disk);
        }
    }
    assert_eq!(manifest.tree(&unpacked), expected);
    // A hard link has its target's checksum, as apk records it.
    let checksum = |name: &str| {
        let mut entries = manifest.entries.iter();
        entries.find(|entry| entry.path == name).unwrap().checksum
    };
    assert_eq!(
        checksum("usr/bin/sample-alias"),
        Some(Sha1::of(b"#!/bin/sh\n").into())
    );
    assert_eq!(checksum("usr/bin/sample"), checksum("usr/bin/sample-alias"));
    assert_eq!(
        checksum("usr/share/dangling"),
        Some(Sha1::of("../../nowhere/grün".as_bytes()).into())
    );
    assert_eq!(checksum("usr/bin"), None);
}

#[test]
fn the_same_package_is_the_same_bytes() {
    let (_folder, file, _) = sample();
    let one = fs::read(&file).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (on_disk, other) = (
        elsewhere.path().join("tree"),
        elsewhere.path().join("x.apk"),
    );
    // The same files from a disk, at other times; what ordinary users can't make is set after.
    fs::create_dir(&on_disk).unwrap();
    Package::open(&file)
        .unwrap()
        .unpack(&on_disk, &LIMITS)
        .unwrap();
    let mut scanned = FileTree::scan(&on_disk).unwrap();
    let original = tree();
    for (place, node) in scanned.iter_mut() {
        let wanted = original.get(place.as_str()).unwrap();
        let kind = node.kind.clone();
        *node = Node {
            kind,
            mtime: 5,
            ..wanted.clone()
        };
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    pool.install(|| write(&other, &contents(&scanned), Some(signer()), EPOCH))
        .unwrap();
    assert!(fs::read(&other).unwrap() == one, "the bytes differ");

    let later = write(
        &other,
        &contents(&scanned),
        Some(signer()),
        Epoch(EPOCH.0 + 1),
    )
    .unwrap();
    assert_ne!(later.digest, Digest::of(&one));
}

/// tarfile, zlib, hashlib and openssl find the same in it.
#[test]
fn python_and_openssl_agree() {
    let (folder, file, written) = sample();
    let key = folder.path().join("tester.rsa.pub");
    fs::write(&key, signer().public().to_pem()).unwrap();
    let said = Program::new("python3")
        .args(["-c", include_str!("check_package.py")])
        .args([&file, &key])
        .run()
        .success();
    let said: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said["signature"], ".SIGN.RSA256.tester.rsa.pub");
    assert_eq!(said["identity"], written.identity.to_string());
    let control = said["control"].as_object().unwrap();
    assert_eq!(
        control.keys().collect::<Vec<_>>(),
        [".PKGINFO", ".melange.yaml", ".post-install", ".trigger"]
    );
    assert_eq!(control[".post-install"][0], "0o755");
    assert_eq!(control[".post-install"][1], EPOCH.0);
    insta::assert_snapshot!(control[".PKGINFO"][2].as_str().unwrap(), @r"
    # Generated by polpo
    pkgname = sample
    pkgver = 1.2.3_rc4-r5
    arch = x86_64
    size = 4321
    origin = sampler
    pkgdesc = one of everything = all
    url = https://example.org/?a = b
    commit = 0123456789abcdef0123456789abcdef01234567
    maintainer = A. N. Other <other@example.org>
    builddate = 1700000000
    license = MIT OR BSD-3-Clause
    license = GPL-2.0-only
    depend = !conflicting<2
    depend = cmd:sh
    depend = so:libc.so.6
    depend = zlib>=1.3
    provides = cmd:sample=1.2.3_rc4-r5
    provides = so:libsample.so.1=1.0
    install_if = docs
    install_if = sampler=1.2.3_rc4-r5
    replaces = older
    replaces = other<3
    # vendored = so:libinside.so.1
    provider_priority = 7
    replaces_priority = 9
    triggers = /usr/share/sample/* +/etc
    datahash = f761bd27290a04a279fec1d7a3f5a928a035e01f9f4d74339a615b553adeb19d
    ");

    let mut expected: Vec<serde_json::Value> = Vec::new();
    for directories in [true, false] {
        for (place, node) in tree()
            .iter()
            .filter(|(_, node)| node.is_directory() == directories)
        {
            let (kind, link) = match &node.kind {
                NodeKind::Directory => ("5", ""),
                NodeKind::Symlink { target } => ("2", target.as_str()),
                NodeKind::HardLink { target } => ("1", target.as_str()),
                _ => ("0", ""),
            };
            let attributes: BTreeMap<&String, String> = node
                .xattrs
                .iter()
                .map(|(name, value)| (name, hex::encode(value)))
                .collect();
            expected.push(serde_json::json!([
                place.as_str(),
                kind,
                format!("0o{:o}", node.mode),
                node.uid,
                node.gid,
                node.size(),
                link,
                EPOCH.0,
                attributes
            ]));
        }
    }
    assert_eq!(said["entries"].as_array().unwrap(), &expected);
}

/// A layer can be stitched from the segments alone.
#[test]
fn segments_are_found_and_can_be_spliced() {
    let (_folder, file, written) = sample();
    let package = Package::open(&file).unwrap();
    let manifest = package.manifest(&LIMITS).unwrap();
    let segments = package.segments(&manifest, &LIMITS).unwrap().unwrap();
    assert_eq!(segments, written.segments);

    let mut own = tar::Writer::new(Vec::new());
    own.append(&tar::Header::directory("own"), std::io::empty())
        .unwrap();
    let own: Deflated = archive::segment::deflate(own.into_inner().as_slice()).unwrap();
    let mut splicer = Splicer::new(Vec::new()).unwrap();
    splicer.append(&own).unwrap();
    for _ in 0..2 {
        for segment in [segments.directories, segments.files] {
            splicer
                .append_from(&segment.summary(), package.segment_bytes(&segment))
                .unwrap();
        }
    }
    splicer.append(&end_blocks()).unwrap();
    let layer = splicer.finish().unwrap();
    let mut members = archive::gzip::Members::new(layer.as_slice(), LIMITS);
    let mut tar = tar::Reader::new(members.next().unwrap().unwrap(), LIMITS);
    let mut names = Vec::new();
    while let Some(entry) = tar.next().unwrap() {
        names.push(entry.header().path.clone());
    }
    let once: Vec<String> = manifest
        .entries
        .iter()
        .map(|entry| entry.path.clone())
        .collect();
    assert_eq!(names, [vec!["own".to_owned()], once.clone(), once].concat());

    let mut files = Vec::new();
    Inflate::new(
        package.segment_bytes(&segments.files),
        segments.files.summary(),
    )
    .read_to_end(&mut files)
    .unwrap();
    let mut tar = tar::Reader::new(files.as_slice(), LIMITS).ending(tar::End::Segment);
    while let Some(entry) = tar.next().unwrap() {
        assert_ne!(entry.header().kind, EntryKind::Directory);
    }
}

#[test]
fn packages_of_directories_alone_and_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.apk");
    let mut tree = FileTree::new();
    for directories in [0, 1, 3_000] {
        for number in 0..directories {
            tree.insert(path(&format!("d{number}")), Node::directory());
        }
        let mut contents = contents(&tree);
        contents.info.installed_size = 0;
        let written = write(&file, &contents, None, EPOCH).unwrap();
        // apk unpacks nothing of a package of size 0.
        assert_eq!(written.info.installed_size, u64::from(directories > 0));
        let package = Package::open(&file).unwrap();
        let manifest = package.manifest(&LIMITS).unwrap();
        assert_eq!(manifest.entries.len(), directories);
        let segments = package.segments(&manifest, &LIMITS).unwrap();
        assert_eq!(segments, Some(written.segments));
        assert_eq!(written.segments.files.length, 0);
    }
}

fn open_error(file: &Path) -> PackageError {
    Package::open(file).map(|_| ()).expect_err("no package")
}

#[test]
fn trust_is_one_good_signature_of_a_trusted_name() {
    let (folder, file, _) = sample();
    let shown = |error: PackageError| {
        error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    let package = Package::open(&file).unwrap();
    let other = PrivateKey::generate(Algorithm::Rsa4096)
        .unwrap()
        .public()
        .unwrap();

    let mut keyring = Keyring::default();
    keyring.add("b.rsa.pub", other.clone());
    keyring.add("a.rsa.pub", signer().public().clone());
    // The right key under another name is not the name that signed.
    insta::assert_snapshot!(shown(package.verify(&keyring).unwrap_err()), @"package FOLDER/sample-1.2.3_rc4-r5.apk: it is signed by tester.rsa.pub, which is not among the trusted keys (a.rsa.pub, b.rsa.pub); if that key is to be trusted, add its file to the keyring (`-k`; of `apk`, the folder of `--keys-dir`)");
    keyring.add("tester.rsa.pub", other);
    insta::assert_snapshot!(shown(package.verify(&keyring).unwrap_err()), @"package FOLDER/sample-1.2.3_rc4-r5.apk: the signature by tester.rsa.pub is wrong: the file was changed after it was signed, or another key of that name signed it; get both again from their source");
    insta::assert_snapshot!(shown(package.verify(&Keyring::default()).unwrap_err()), @"package FOLDER/sample-1.2.3_rc4-r5.apk: it is signed by tester.rsa.pub, which is not among the trusted keys (none); if that key is to be trusted, add its file to the keyring (`-k`; of `apk`, the folder of `--keys-dir`)");

    let bytes = fs::read(&file).unwrap();
    let data = package.data_offset() as usize;
    let mut members = archive::gzip::Members::new(bytes.as_slice(), LIMITS);
    let signature = members
        .next()
        .unwrap()
        .unwrap()
        .finish()
        .unwrap()
        .compressed as usize;
    let control = &bytes[signature..data];
    let unsigned = folder.path().join("unsigned.apk");
    fs::write(&unsigned, &bytes[signature..]).unwrap();
    let error = Package::open(&unsigned)
        .unwrap()
        .verify(&signer().keyring())
        .unwrap_err();
    insta::assert_snapshot!(shown(error), @"package FOLDER/unsigned.apk: it is not signed; sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)");

    // Of an algorithm that is not known, then by a stranger, then by us.
    let stranger = Signer::new(
        "stranger.rsa.pub",
        PrivateKey::generate(Algorithm::Rsa4096).unwrap(),
    )
    .unwrap();
    let mut unknown = tar::Writer::new(Vec::new());
    let name = ".SIGN.DSA.tester.rsa.pub";
    unknown
        .append(&tar::Header::file(name, 1), &b"x"[..])
        .unwrap();
    let unknown = archive::gzip::compress(&unknown.into_inner());
    fs::write(
        &unsigned,
        [unknown.as_slice(), &bytes[signature..]].concat(),
    )
    .unwrap();
    let error = Package::open(&unsigned)
        .unwrap()
        .verify(&signer().keyring())
        .unwrap_err();
    insta::assert_snapshot!(shown(error), @"package FOLDER/unsigned.apk: it is not signed in a way that is known (it has .SIGN.DSA.tester.rsa.pub); sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)");
    let several = [
        unknown,
        stranger.sign(control, EPOCH).unwrap(),
        bytes.clone(),
    ]
    .concat();
    fs::write(&unsigned, several).unwrap();
    let package = Package::open(&unsigned).unwrap();
    assert_eq!(
        package.verify(&signer().keyring()).unwrap(),
        "tester.rsa.pub"
    );
    assert_eq!(
        package.verify(&stranger.keyring()).unwrap(),
        "stranger.rsa.pub"
    );

    let ecdsa = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    assert!(matches!(
        Signer::new("x.rsa.pub", ecdsa),
        Err(KeyringError::NotRsa { .. })
    ));
    assert!(matches!(
        package.verify(&Keyring::default()),
        Err(PackageError::Signature {
            source: SignatureError::UnknownKey { .. },
            ..
        })
    ));
}

#[test]
fn what_an_index_says_must_be_so() {
    let (folder, file, written) = sample();
    let shown = |error: PackageError| {
        error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "FOLDER")
    };
    let package = Package::open(&file).unwrap();
    let entry = IndexEntry::written(&written);
    let wrong = |change: &dyn Fn(&mut IndexEntry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        package.check_entry(&entry).unwrap_err()
    };
    assert!(matches!(
        wrong(&|entry| entry.size += 1),
        PackageError::WrongSize { .. }
    ));
    let error = wrong(&|entry| entry.identity = Identity::Sha1(Sha1::of(b"")));
    let error = shown(error).replace(&written.identity.to_string(), "IDENTITY");
    insta::assert_snapshot!(error, @"package FOLDER/sample-1.2.3_rc4-r5.apk is sample-1.2.3_rc4-r5 IDENTITY, its index says sample-1.2.3_rc4-r5 Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=; renew the index or get the package again");
    assert!(matches!(
        wrong(&|entry| entry.info.version = "9-r0".to_owned()),
        PackageError::WrongIdentity { .. }
    ));
    // An index may name the SHA-256 instead.
    let control = fs::read(&file).unwrap();
    let mut members = archive::gzip::Members::new(control.as_slice(), LIMITS);
    members.next().unwrap().unwrap().finish().unwrap();
    let summary = members.next().unwrap().unwrap().finish().unwrap();
    let mut entry = entry.clone();
    let range = summary.offset as usize..(summary.offset + summary.compressed) as usize;
    entry.identity = Identity::Sha256(Digest::of(&control[range]));
    package.check_entry(&entry).unwrap();
}

/// Members of a package that was put together by hand, and whether it can be read.
struct Forged {
    control: Vec<(String, Vec<u8>)>,
    data: Vec<(tar::Header, Vec<u8>)>,
}

impl Forged {
    fn new() -> Forged {
        let directory = tar::Header::directory("usr");
        Forged {
            control: Vec::new(),
            data: vec![(directory, Vec::new())],
        }
    }

    fn entry(mut self, header: tar::Header, bytes: &[u8]) -> Forged {
        self.data.push((header, bytes.to_vec()));
        self
    }

    fn control(mut self, name: &str, bytes: &[u8]) -> Forged {
        self.control.push((name.to_owned(), bytes.to_vec()));
        self
    }

    fn error(self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("forged.apk");
        let mut data = tar::Writer::new(Vec::new());
        for (header, bytes) in &self.data {
            data.append(header, bytes.as_slice()).unwrap();
        }
        let data = archive::gzip::compress(&data.finish().unwrap());
        let pkginfo = format!(
            "pkgname = forged\npkgver = 1\ndatahash = {}\n",
            Digest::of(&data).hex()
        );
        let mut control = tar::Writer::new(Vec::new());
        let mut files = vec![(".PKGINFO".to_owned(), pkginfo.into_bytes())];
        files.extend(self.control);
        for (name, bytes) in &files {
            let header = tar::Header::file(name, bytes.len() as u64);
            control.append(&header, bytes.as_slice()).unwrap();
        }
        let control = archive::gzip::compress(&control.into_inner());
        fs::write(&file, [control, data].concat()).unwrap();
        let error = match Package::open(&file) {
            Err(error) => error,
            Ok(package) => {
                let into = folder.path().join("into");
                fs::create_dir(&into).unwrap();
                let error = package.unpack(&into, &LIMITS).expect_err("it is refused");
                assert_eq!(
                    error.to_string(),
                    package.manifest(&LIMITS).unwrap_err().to_string()
                );
                assert_eq!(
                    fs::read_dir(&into).unwrap().count(),
                    0,
                    "nothing was unpacked"
                );
                error
            }
        };
        error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "")
    }
}

fn file(name: &str) -> tar::Header {
    tar::Header::file(name, 1)
}

#[test]
fn entries_that_apk_would_refuse_are_refused() {
    let hard_link = |name: &str, target: &str| {
        tar::Header::new(
            name,
            EntryKind::HardLink {
                target: target.to_owned(),
            },
        )
    };
    let mut wrong = file("usr/file");
    wrong.checksum = Some(Sha1::of(b"y"));
    let mut wrong_link = tar::Header::symlink("usr/link", "target");
    wrong_link.checksum = Some(Sha1::of(b"other"));
    let errors = [
        Forged::new().entry(file("etc/passwd"), b"x").error(),
        Forged::new().entry(file("usr/bin/x"), b"x").error(),
        Forged::new()
            .entry(tar::Header::symlink("usr/evil", "/etc"), b"")
            .entry(file("usr/evil/passwd"), b"x")
            .error(),
        Forged::new()
            .entry(tar::Header::symlink("usr/evil", "/etc"), b"")
            .entry(tar::Header::directory("usr/evil/apk"), b"")
            .error(),
        Forged::new()
            .entry(hard_link("usr/x", "usr/later"), b"")
            .error(),
        Forged::new().entry(hard_link("usr/x", "usr"), b"").error(),
        Forged::new()
            .entry(file("usr/x"), b"x")
            .entry(file("usr/x"), b"x")
            .error(),
        Forged::new().entry(wrong, b"x").error(),
        Forged::new().entry(wrong_link, b"").error(),
        Forged::new().control("usr", b"x").error(),
        Forged::new().control(".INSTALL", b"x").error(),
        Forged::new().control(".PKGINFO", b"x").error(),
        Forged::new()
            .control(".pre-install", &vec![b'x'; 262_145])
            .error(),
        Forged::new()
            .control(".big", &vec![b'x'; MAXIMUM_CONTROL as usize])
            .error(),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    package /forged.apk: `etc/passwd` stands before or without an entry for its directory `etc`; apk refuses that: have the directory added
    package /forged.apk: `usr/bin/x` stands before or without an entry for its directory `usr/bin`; apk refuses that: have the directory added
    package /forged.apk: `usr/evil/passwd` lies in `usr/evil`, which is no directory
    package /forged.apk: `usr/evil/apk` lies in `usr/evil`, which is no directory
    package /forged.apk: `usr/x` is a hard link to `usr/later`, which is no earlier file
    package /forged.apk: `usr/x` is a hard link to `usr`, which is no earlier file
    package /forged.apk: `usr/x` stands twice in the data
    `usr/file` in package /forged.apk has SHA-1 11f6ad8ec52a2984abaafd7c3b516503785c2072, its entry says 95cb0bfd2977c761298d9624e4b4d4c72a39974a; have the package made again
    `usr/link` in package /forged.apk has SHA-1 0e8a3ad980ec179856012b7eecf4327e99cd44cd, its entry says d0941e68da8f38151ff86a61fc59f7c5cf9fcaa2; have the package made again
    package /forged.apk: `usr` is a file of the package, in the control member
    package /forged.apk: `.INSTALL` belongs to format 1, which apk no longer takes
    package /forged.apk: `.PKGINFO` stands twice in the control member
    package /forged.apk: `.pre-install` is longer than the 262144 bytes that apk takes
    the control member of package /forged.apk is larger than 10485760 bytes: no real package's is
    ");
}

/// Names that our writer doesn't write.
#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut errors = Vec::new();
    for name in [
        "/etc/passwd",
        "usr/../../x",
        "..",
        "usr/a\nb",
        "usr//x",
        "usr/./x",
    ] {
        // The writer's header, with the name overwritten and its checksum made right again.
        let mut data = tar::Writer::new(Vec::new());
        data.append(&tar::Header::directory("usr"), std::io::empty())
            .unwrap();
        data.append(&file("usr/placeholder"), &b"x"[..]).unwrap();
        let mut data = data.finish().unwrap();
        let header = &mut data[512..1024];
        header[..100].fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let data = archive::gzip::compress(&data);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forged.apk");
        let pkginfo = format!(
            "pkgname = f\npkgver = 1\ndatahash = {}\n",
            Digest::of(&data).hex()
        );
        let mut control = tar::Writer::new(Vec::new());
        let header = tar::Header::file(".PKGINFO", pkginfo.len() as u64);
        control.append(&header, pkginfo.as_bytes()).unwrap();
        let control = archive::gzip::compress(&control.into_inner());
        fs::write(&path, [control, data].concat()).unwrap();
        let error = Package::open(&path).unwrap().manifest(&LIMITS).unwrap_err();
        assert!(
            matches!(
                error,
                PackageError::Tar {
                    part: Part::Data,
                    ..
                }
            ),
            "{error}"
        );
        errors.push(
            error
                .to_string()
                .replace(folder.path().to_str().unwrap(), ""),
        );
    }
    insta::assert_snapshot!(errors.join("\n"), @r"
    package /forged.apk can't be used: its data member: entry `/etc/passwd` is refused: the name is absolute
    package /forged.apk can't be used: its data member: entry `usr/../../x` is refused: the name leads out of the archive by `..`
    package /forged.apk can't be used: its data member: entry `..` is refused: the name leads out of the archive by `..`
    package /forged.apk can't be used: its data member: entry `usr/a\nb` is refused: the name has a control character
    package /forged.apk can't be used: its data member: entry `usr//x` is refused: the name has an empty component or `.` inside
    package /forged.apk can't be used: its data member: entry `usr/./x` is refused: the name has an empty component or `.` inside
    ");
}

#[test]
fn what_could_not_be_installed_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("x.apk");
    let refused = |change: &dyn Fn(&mut PackageContents<'_>), tree: &FileTree| {
        let mut contents = contents(tree);
        change(&mut contents);
        let error = write(&out, &contents, None, EPOCH).unwrap_err();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is left"
        );
        error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "")
    };
    let whole = tree();
    let mut orphan = tree();
    orphan.remove("usr/bin");
    let mut backwards = tree();
    backwards.insert(
        path("usr/aaa"),
        Node::new(NodeKind::HardLink {
            target: path("usr/bin/sample"),
        }),
    );
    let mut gone = tree();
    gone.insert(
        path("usr/gone"),
        Node::new(NodeKind::File {
            content: archive::tree::Content::Disk("/nonexistent/file".into()),
            size: 3,
        }),
    );
    let none = |_: &mut PackageContents<'_>| {};
    let errors = [
        refused(&none, &orphan),
        refused(&none, &backwards),
        refused(&none, &gone),
        refused(
            &|c| c.info.description = "x\nprovides = evil=9".to_owned(),
            &whole,
        ),
        refused(&|c| c.info.name = "../x".to_owned(), &whole),
        refused(&|c| c.info.version = "one".to_owned(), &whole),
        refused(&|c| c.info.description = "x".repeat(2000), &whole),
        refused(&|c| c.info.triggers = vec!["/a b".to_owned()], &whole),
        refused(
            &|c| drop(c.scripts.insert(Script::PreInstall, vec![0; 300_000])),
            &whole,
        ),
        refused(
            &|c| drop(c.extras.insert(".trigger".to_owned(), vec![])),
            &whole,
        ),
        refused(&|c| drop(c.extras.insert("usr".to_owned(), vec![])), &whole),
        refused(
            &|c| drop(c.extras.insert(".x".to_owned(), vec![0; 11 << 20])),
            &whole,
        ),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    package /x.apk: `usr/bin/sample` stands before or without an entry for its directory `usr/bin`; apk refuses that: have the directory added
    package /x.apk: `usr/aaa` is a hard link to `usr/bin/sample`, which is no earlier file
    can't write package /x.apk: cannot read the content of `usr/gone`: No such file or directory (os error 2)
    package /x.apk: `pkgdesc` has a line end or control character in `x\nprovides = evil=9`; write it in one line
    package /x.apk: `../x` can't name a package: letters, digits and `+-._` only, a letter, digit or `_` first
    package /x.apk: one of its versions can't be written: `one` is not a version: expected digits{.digits}…[letter]{_suffix[digits]}…[~hex][-rN], for example 1.2.3_rc1-r0
    package /x.apk: name, version, description, url, license, origin, maintainer and commit are 2166 bytes together; apk takes at most 1800: shorten the description
    package /x.apk: `triggers` has `/a b`, which must not contain spaces
    package /x.apk: `.pre-install` is longer than the 262144 bytes that apk takes
    package /x.apk: `.trigger` can't be another file of the control member
    package /x.apk: `usr` can't be another file of the control member
    the control member of package /x.apk is larger than 10485760 bytes: no real package's is
    ");
}

#[test]
fn limits_hold() {
    let (_folder, file, _) = sample();
    let package = Package::open(&file).unwrap();
    for limits in [
        Limits {
            bytes: 100_000,
            ..LIMITS
        },
        Limits {
            entries: 5,
            ..LIMITS
        },
    ] {
        let error = package.manifest(&limits).unwrap_err();
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        let mut exceeded = false;
        while let Some(error) = source {
            exceeded |= error.to_string().contains("raise the limit");
            source = error.source();
        }
        assert!(exceeded, "{error}");
    }
}

#[test]
fn texts_are_checked() {
    for (text, error) in [
        ("pkgver = 1\n", InfoError::Missing { key: "pkgname" }),
        ("pkgname = a\n", InfoError::Missing { key: "pkgver" }),
        (
            "pkgname = a/b\npkgver = 1\n",
            InfoError::Name {
                name: "a/b".to_owned(),
            },
        ),
        (
            "pkgname = a\npkgver = 1\nsize = big\n",
            InfoError::NotANumber {
                key: "size",
                value: "big".to_owned(),
            },
        ),
        (
            "pkgname = a\npkgver = 1\ndatahash = 12\n",
            InfoError::Datahash {
                value: "12".to_owned(),
            },
        ),
    ] {
        assert_eq!(PackageInfo::parse(text.as_bytes()), Err(error));
    }
    assert_eq!(
        PackageInfo::parse(b"pkgname = \xff\n"),
        Err(InfoError::NotUtf8)
    );
    let (folder, file, _) = sample();
    fs::write(&file, b"ADB.").unwrap();
    assert!(
        open_error(&file)
            .to_string()
            .contains("it ends within its header")
    );
    fs::write(&file, b"").unwrap();
    assert!(matches!(
        open_error(&file),
        PackageError::NotAPackage { .. }
    ));
    assert!(matches!(
        open_error(&folder.path().join("nothing")),
        PackageError::Read { .. }
    ));
    write_sample(&file);
    let package = Package::open(&file).unwrap();
    assert_eq!(
        package.info().license(),
        "(MIT OR BSD-3-Clause) AND GPL-2.0-only"
    );
}

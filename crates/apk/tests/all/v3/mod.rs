//! Format 3: what apk made is understood to the last byte, and what is made here is as apk's.

mod fixtures;
mod hostile;
mod properties;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::Limits;
use archive::tree::NodeKind;
use base::Arch;
use key::{Algorithm, PrivateKey, Scheme};
use polpo_apk::adb::schema::{self, INDEX_FILE, PACKAGE_FILE, TEXTS};
use polpo_apk::adb::{
    Adb, Builder, Compression, Compressor, DataBlock, Head, Reader, Resign, Tag, Value, ValueKind,
    Writer, resign,
};
use polpo_apk::database::{Database, InstalledPackage, Place};
use polpo_apk::dependency::Identity;
use polpo_apk::index::{AdbIndex, Index, IndexEntry};
use polpo_apk::package::{EntryKind, Format, Package, PackageError, Script};
use polpo_apk::repository::{NamePattern, Repository};
use polpo_apk::signature::{Keyring, Signatures, Signer};
use tempfile::TempDir;

use fixtures::{index, keyrings, meta, tool};

const LIMITS: Limits = Limits {
    bytes: 16 << 20,
    entries: 10_000,
    metadata: 1 << 20,
    ratio: 500,
    memory: 64 << 20,
};

fn placed(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("package.apk");
    fs::write(&file, bytes).unwrap();
    (folder, file)
}

fn opened(bytes: &[u8]) -> Package {
    // The file stays open.
    let (_folder, file) = placed(bytes);
    Package::open(&file).unwrap()
}

fn head_of(bytes: &[u8]) -> Head {
    Reader::new(bytes, LIMITS).unwrap().head().unwrap()
}

/// A file of this payload and these data blocks, neither signed nor compressed.
fn file_of(schema: u32, payload: &[u8], data: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), schema).unwrap();
    writer.head(payload, &[]).unwrap();
    for (path, file, contents) in data {
        let block = DataBlock {
            path: *path,
            file: *file,
            length: contents.len() as u64,
        };
        writer.data(block, *contents).unwrap();
    }
    writer.into_inner()
}

fn elliptic(name: &str) -> Signer {
    let key = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
    Signer::of_any_kind(name, key).unwrap()
}

#[test]
fn a_package_that_apk_made_is_understood() {
    let package = opened(&tool());
    assert_eq!(package.format(), Format::V3);
    let info = package.info();
    insta::assert_snapshot!(serde_json::to_string(info).unwrap(), @r#"{"name":"tool","version":"1.2.3-r4","arch":"x86_64","installed_size":24,"origin":"tools","description":"A tool","url":"https://x.example","commit":"0123456789abcdef0123456789abcdef01234567","maintainer":"A <a@b>","packager":"","build_time":1700000000,"licenses":["MIT"],"depends":["!bad","foo~3","one><Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=","so:libc.so.6","zlib>=1.2"],"provides":["cmd:tool=1.2.3-r4","virt"],"replaces":["old<2"],"install_if":["a","b=1"],"vendored":[],"provider_priority":7,"replaces_priority":5,"triggers":["/usr/lib/*","+/etc"],"recommends":["docs"],"tags":["a","b"],"layer":1,"datahash":null}"#);
    let scripts: BTreeMap<Script, &str> = package
        .scripts()
        .iter()
        .map(|(script, bytes)| (*script, std::str::from_utf8(bytes).unwrap()))
        .collect();
    assert_eq!(
        scripts,
        BTreeMap::from([
            (Script::PostInstall, "#!/bin/sh\nexit 0\n"),
            (Script::Trigger, "#!/bin/sh\nexit 1\n"),
        ])
    );
    // As `apk mkndx` and `apk adbdump` say.
    insta::assert_snapshot!(package.identity(), @"Q2cNa+KXL7rdnHbLhomUf3GDWqp8EZfi8tUz24/bk4Lek=");
    let unique = package.unique_id().unwrap().unwrap();
    insta::assert_snapshot!(hex::encode(unique), @"9324645f103f108fb84223cf30f5c31c4493652d");

    let manifest = package.manifest(&LIMITS).unwrap();
    assert_eq!((manifest.datahash, manifest.length), (None, 0));
    let lines: Vec<String> = manifest
        .entries
        .iter()
        .map(|entry| {
            let kind = match &entry.kind {
                EntryKind::File { size } => format!("file of {size}"),
                EntryKind::Directory => "directory".to_owned(),
                EntryKind::Symlink { target } => format!("-> {target}"),
                EntryKind::HardLink { target } => format!("= {target}"),
                EntryKind::CharDevice { major, minor } => format!("device {major}:{minor}"),
                other => format!("{other:?}"),
            };
            format!(
                "{} {kind} {:o} {}:{} {}",
                entry.path, entry.mode, entry.user, entry.group, entry.mtime
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    dev directory 755 root:root 0
    dev/null device 1:3 644 root:root 1700000000
    etc directory 755 root:root 0
    etc/conf file of 6 644 root:root 1700000000
    etc/empty file of 0 644 root:root 1700000000
    usr directory 755 root:root 0
    usr/bin directory 755 root:root 0
    usr/bin/alias file of 18 755 root:root 1700000000
    usr/bin/link -> tool 777 root:root 1700000000
    usr/bin/tool = usr/bin/alias 755 root:root 1700000000
    usr/share directory 755 root:root 0
    usr/share/empty directory 755 root:root 0
    ");
    for entry in &manifest.entries {
        let known = matches!(
            entry.kind,
            EntryKind::File { .. } | EntryKind::HardLink { .. } | EntryKind::Symlink { .. }
        );
        let is_sha256 = matches!(entry.checksum, Some(Identity::Sha256(_)));
        assert_eq!(is_sha256, known, "{}", entry.path);
        assert_eq!(entry.checksum.is_some(), known, "{}", entry.path);
    }
    assert_eq!(package.segments(&manifest, &LIMITS).unwrap(), None);
}

#[test]
fn each_of_several_signatures_will_do() {
    let package = opened(&tool());
    let keyrings = keyrings();
    for keyring in &keyrings {
        let (name, _) = keyring.keys().next().unwrap();
        assert_eq!(package.verify(keyring).unwrap(), name);
    }
    let stranger = elliptic("stranger.pub").keyring();
    let error = package.verify(&stranger).unwrap_err().to_string();
    assert!(
        error.contains("is signed by 454f35650b9a91304924360b64e2772f"),
        "{error}"
    );
    let error = opened(&meta()).verify(&keyrings[0]).unwrap_err();
    assert!(error.to_string().contains("it is not signed"), "{error}");
}

#[test]
fn files_are_unpacked_as_they_are() {
    let package = opened(&tool());
    let folder = tempfile::tempdir().unwrap();
    let manifest = package.unpack(folder.path(), &LIMITS).unwrap();
    assert_eq!(manifest, package.manifest(&LIMITS).unwrap());
    let read = |path: &str| fs::read_to_string(folder.path().join(path)).unwrap();
    assert_eq!(read("etc/conf"), "hello\n");
    assert_eq!(read("etc/empty"), "");
    assert_eq!(read("usr/bin/link"), "#!/bin/sh\necho hi\n");
    let inode = |path: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(folder.path().join(path)).unwrap().ino()
    };
    assert_eq!(inode("usr/bin/alias"), inode("usr/bin/tool"));
    assert!(folder.path().join("usr/share/empty").is_dir());
    assert!(!folder.path().join("dev/null").exists());

    let mut seen = Vec::new();
    let visited = package
        .visit(&LIMITS, |entry, contents| {
            let mut bytes = Vec::new();
            // Of one file, nothing is read.
            if entry.path != "usr/bin/alias" {
                contents.read_to_end(&mut bytes).unwrap();
            }
            seen.push((entry.path.clone(), bytes.len()));
            Ok::<(), PackageError>(())
        })
        .unwrap();
    assert_eq!(visited, manifest);
    assert_eq!(seen.len(), manifest.entries.len());
    assert!(seen.contains(&("etc/conf".to_owned(), 6)));
}

/// Writes every value that the root leads to anew, in the order of the source.
fn rewritten(payload: &[u8]) -> Vec<u8> {
    fn collect(adb: &Adb<'_>, value: Value, found: &mut BTreeMap<u32, Value>) {
        if matches!(value.kind(), ValueKind::Special | ValueKind::Integer)
            || found.insert(value.content(), value).is_some()
        {
            return;
        }
        if matches!(value.kind(), ValueKind::Array | ValueKind::Object) {
            let slots = adb.slots(value).unwrap();
            slots.iter().for_each(|slot| collect(adb, slot, found));
        }
    }
    let adb = Adb::new(payload).unwrap();
    let mut found = BTreeMap::new();
    collect(&adb, adb.root(), &mut found);
    let mut builder = Builder::new();
    let mut new: BTreeMap<Value, Value> = BTreeMap::new();
    for value in found.values() {
        let written = match value.kind() {
            ValueKind::Integer32 | ValueKind::Integer64 => {
                builder.integer(adb.integer(*value).unwrap())
            }
            ValueKind::Blob8 | ValueKind::Blob16 | ValueKind::Blob32 => {
                builder.blob(adb.blob(*value).unwrap())
            }
            kind => {
                let slots = adb.slots(*value).unwrap();
                let slots = slots.iter().map(|slot| *new.get(&slot).unwrap_or(&slot));
                match kind {
                    ValueKind::Array => builder.array(&TEXTS, Tag::Array, slots.collect()),
                    _ => builder.object(&slots.collect::<Vec<_>>()),
                }
            }
        };
        new.insert(*value, written);
    }
    builder.set_root(*new.get(&adb.root()).unwrap_or(&Value::NULL));
    builder.finish().unwrap()
}

#[test]
fn payloads_are_written_as_apk_writes_them() {
    for bytes in [tool(), meta()] {
        let head = head_of(&bytes);
        assert_eq!(rewritten(&head.payload), head.payload);
    }
}

#[test]
fn blocks_are_written_as_apk_writes_them() {
    for (bytes, count) in [(tool(), 2), (meta(), 0), (index(), 0)] {
        let mut reader = Reader::new(&bytes[..], LIMITS).unwrap();
        assert_eq!(reader.compression(), Compression::Deflate(0));
        let head = reader.head().unwrap();
        let mut writer = Writer::new(Vec::new(), reader.schema()).unwrap();
        writer.head(&head.payload, &head.signatures).unwrap();
        let mut blocks = 0;
        while let Some(block) = reader.next_data().unwrap() {
            writer.data(block, &mut reader).unwrap();
            blocks += 1;
        }
        assert_eq!(blocks, count);
        let mut inflated = Vec::new();
        archive::decompress::open_as(archive::decompress::Format::Deflate, &bytes[4..], LIMITS)
            .unwrap()
            .read_to_end(&mut inflated)
            .unwrap();
        assert_eq!(writer.into_inner(), inflated);
    }
}

#[test]
fn an_index_of_packages_is_the_one_that_apk_makes() {
    let mut made = AdbIndex::new();
    for bytes in [tool(), meta()] {
        made.add_package(&opened(&bytes)).unwrap();
    }
    let names = NamePattern::parse("pool/${arch}/${name}-${version}.${hash:8}.apk").unwrap();
    let payload = made.payload("A small index", Some(&names)).unwrap();
    assert_eq!(payload, head_of(&index()).payload);
}

#[test]
fn an_index_that_apk_made_leads_to_its_packages() {
    let keyrings = keyrings();
    let path = Path::new("Packages.adb");
    let read = Index::from_bytes(path, &index(), Some(&keyrings[0])).unwrap();
    let error = Index::from_bytes(path, &index(), Some(&keyrings[1])).unwrap_err();
    assert!(error.to_string().contains("is signed by 454f"), "{error}");
    assert_eq!(read.description, "A small index");
    let packages = [opened(&meta()), opened(&tool())];
    assert_eq!(read.entries.len(), 2);
    for (entry, package) in read.entries.iter().zip(&packages) {
        package.check_entry(entry).unwrap();
        assert_eq!(
            entry,
            &IndexEntry {
                info: polpo_apk::package::PackageInfo {
                    // Installation alone needs it.
                    replaces_priority: None,
                    ..IndexEntry::of(package).info
                },
                ..entry.clone()
            }
        );
        assert!(
            packages
                .iter()
                .filter(|other| other.check_entry(entry).is_ok())
                .count()
                == 1
        );
    }

    let folder = tempfile::tempdir().unwrap();
    let arch = folder.path().join("x86_64");
    fs::create_dir_all(&arch).unwrap();
    fs::write(arch.join("Packages.adb"), index()).unwrap();
    let line = format!("v3 {}", folder.path().display());
    let repository = Repository::parse(&line).unwrap();
    let loaded = repository
        .open(Arch::X86_64, Some(&keyrings[0]), None)
        .unwrap();
    let entry = &read.entries[1];
    let place = loaded.package_path(entry).unwrap();
    let Identity::Sha256(digest) = entry.identity else {
        panic!("no SHA-256");
    };
    let expected = format!("pool/x86_64/tool-1.2.3-r4.{}.apk", &digest.hex()[..8]);
    assert_eq!(place, folder.path().join(expected));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, tool()).unwrap();
    loaded.open_package(entry).unwrap();
    fs::write(&place, meta()).unwrap();
    let error = loaded.open_package(entry).unwrap_err().to_string();
    assert!(error.contains("its index says tool-1.2.3-r4"), "{error}");
}

#[test]
fn an_index_survives_both_formats() {
    let path = Path::new("Packages.adb");
    let signers = [elliptic("one.pub"), elliptic("two.pub")];
    let read = Index::from_bytes(path, &index(), None).unwrap();
    for compression in [
        Compression::None,
        Compression::Deflate(3),
        Compression::Zstd(0),
    ] {
        let bytes = read
            .to_adb(&[&signers[0], &signers[1]], compression)
            .unwrap();
        for signer in &signers {
            let again = Index::from_bytes(path, &bytes, Some(&signer.keyring())).unwrap();
            assert_eq!(again, read, "{compression}");
        }
        assert_eq!(
            Reader::new(&bytes[..], LIMITS).unwrap().compression(),
            compression
        );
    }
    // Sorted and each once, whatever order they are given in.
    let mut mixed = read.clone();
    mixed.entries.reverse();
    mixed.entries[0].info.depends.reverse();
    let again = mixed.to_adb(&[], Compression::None).unwrap();
    assert_eq!(Index::from_bytes(path, &again, None).unwrap(), read);
    let shortened = |entry: &IndexEntry| IndexEntry {
        identity: entry.identity.shortened(),
        ..entry.clone()
    };
    // `mkndx --hash sha256-160`.
    let short = Index {
        entries: read.entries.iter().map(shortened).collect(),
        ..read.clone()
    };
    let again = Index::from_bytes(path, &short.to_adb(&[], Compression::None).unwrap(), None);
    assert_eq!(again.unwrap(), short);
    opened(&tool()).check_entry(&short.entries[1]).unwrap();
    assert!(opened(&meta()).check_entry(&short.entries[1]).is_err());
}

#[test]
fn files_are_signed_again() {
    let signer = elliptic("again.pub");
    let old = keyrings();
    let (new, signers) = (signer.keyring(), [&signer]);
    let run = |how: &Resign<'_>| resign(&tool()[..], Vec::new(), how, LIMITS);
    let added = run(&Resign {
        signers: &signers,
        keyring: Some(&old[2]),
        ..Resign::default()
    })
    .unwrap();
    let package = opened(&added);
    for keyring in old.iter().chain([&new]) {
        package.verify(keyring).unwrap();
    }
    let manifest = opened(&tool()).manifest(&LIMITS).unwrap();
    assert_eq!(package.manifest(&LIMITS).unwrap(), manifest);
    let reset = run(&Resign {
        signers: &signers,
        reset: true,
        compression: Some(Compression::Zstd(19)),
        ..Resign::default()
    })
    .unwrap();
    let package = opened(&reset);
    assert_eq!(package.manifest(&LIMITS).unwrap(), manifest);
    package.verify(&new).unwrap();
    assert!(old.iter().all(|keyring| package.verify(keyring).is_err()));
    let error = run(&Resign {
        keyring: Some(&new),
        ..Resign::default()
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("not among the trusted keys")
    );
    // Nothing asked for, nothing changed, but for what deflated it.
    let same = run(&Resign::default()).unwrap();
    assert_eq!(head_of(&same), head_of(&tool()));
}

#[test]
fn rsa_and_sha512_sign_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["genrsa", "-out", "k.rsa", "2048"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let path = folder.path().join("k.rsa");
    let key = key::load_private(&path, || None).unwrap();
    let signer = Signer::of_file(&path, key).unwrap().with_sha512();
    let signed = resign(
        &meta()[..],
        Vec::new(),
        &Resign {
            signers: &[&signer],
            ..Resign::default()
        },
        LIMITS,
    )
    .unwrap();
    assert_eq!(
        opened(&signed).verify(&signer.keyring()).unwrap(),
        "k.rsa.pub"
    );

    let index = Index::from_bytes(Path::new("Packages.adb"), &index(), None).unwrap();
    let bytes = index.to_bytes(Some(&signer), crate::sample::EPOCH).unwrap();
    let read = Index::from_bytes(
        Path::new("APKINDEX.tar.gz"),
        &bytes,
        Some(&signer.keyring()),
    );
    assert_eq!(read.unwrap().entries.len(), 2);
    let mut tar = Vec::new();
    archive::decompress::open(&bytes[..], LIMITS)
        .unwrap()
        .read_to_end(&mut tar)
        .unwrap();
    assert!(tar.starts_with(b".SIGN.RSA512.k.rsa.pub\0"));

    // Format 2 knows RSA alone; what else is found there is passed over and named.
    let elliptic = elliptic("k.ec.pub");
    let error = index
        .to_bytes(Some(&elliptic), crate::sample::EPOCH)
        .unwrap_err();
    assert!(
        error.to_string().contains("except in files of format 3"),
        "{error}"
    );
    let signatures = Signatures {
        known: Vec::new(),
        skipped: vec![".SIGN.DSA.old.pub".to_owned()],
    };
    let error = Keyring::default()
        .verify(&signatures, b"")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("in a way that is known (it has .SIGN.DSA.old.pub)"),
        "{error}"
    );
    assert_eq!(signer.public().sha512_scheme(), Scheme::RsaSha512);
}

#[test]
fn an_installed_database_holds_whole_packages() {
    let payload = head_of(&tool()).payload;
    let mut builder = Builder::new();
    let blob = builder.adb(&payload);
    let packages = builder.array(&schema::PACKAGES, Tag::Object, vec![blob]);
    let root = builder.object(&[packages]);
    builder.set_root(root);
    let database = builder.finish().unwrap();
    let adb = Adb::new(&database).unwrap();
    let root = adb.root_object(&schema::INSTALLED_FILE).unwrap();
    let items = root.items(schema::installed::PACKAGES).unwrap();
    let nested = adb.nested(items.get(1)).unwrap().unwrap();
    assert_eq!(nested.payload(), payload);
    assert!(adb.nested(items.get(2)).unwrap().is_none());
    let info = nested
        .root_object(&PACKAGE_FILE)
        .unwrap()
        .object(schema::package::INFO, &schema::INFO)
        .unwrap();
    assert_eq!(info.text(schema::info::NAME).unwrap(), "tool");
    assert_eq!(schema::by_id(INDEX_FILE.id).unwrap().name, "an index");
}

/// The lines are apk's, after it installed the same files.
#[test]
fn an_installed_package_is_recorded_as_apk_records_it() {
    let package = opened(&tool());
    let manifest = package.manifest(&LIMITS).unwrap();
    let database = Database {
        packages: vec![InstalledPackage::new(&package, &manifest)],
        ..Database::default()
    };
    let tree = database.to_tree(Place::Lib, crate::sample::EPOCH).unwrap();
    let read = |file: &str| {
        let Some(NodeKind::File { content, .. }) = tree.get(file).map(|node| &node.kind) else {
            panic!("no {file}");
        };
        String::from_utf8(content.read().unwrap()).unwrap()
    };
    let installed = read("lib/apk/db/installed");
    let (_, files) = installed.split_once("g:").unwrap();
    insta::assert_snapshot!(files, @"
    a b
    r:old<2
    q:5
    f:S
    F:dev
    R:null
    F:etc
    R:conf
    Z:Q1WJG1tSLV3whtD/CxEPvZ0hu0/HE=
    R:empty
    Z:Q147DEQpj8HBSa+/TImW+5JCeuQeQ=
    F:usr
    F:usr/bin
    R:alias
    a:0:0:755
    Z:Q1KZABho+4wC/UMcM2xtBY9VWMXf8=
    R:link
    a:0:0:777
    Z:Q1fJu+Xsmz+3dOj6D1QkfpPDTd+OU=
    R:tool
    a:0:0:755
    Z:Q1KZABho+4wC/UMcM2xtBY9VWMXf8=
    F:usr/share
    F:usr/share/empty
    ");
    // The first 20 bytes of the payload's SHA-256.
    let identity = package.identity().shortened();
    assert!(installed.starts_with(&format!("C:{identity}\nP:tool\n")));
    assert_eq!(
        read("lib/apk/db/triggers"),
        format!("{identity} /usr/lib/* +/etc\n")
    );
    let again = Database::read(&tree).unwrap();
    opened(&tool())
        .check_entry(&IndexEntry {
            size: package.size(),
            ..again.packages[0].entry.clone()
        })
        .unwrap();
}

#[test]
fn compressions_are_named_as_apk_names_them() {
    for (text, compression) in [
        ("none", Compression::None),
        ("deflate", Compression::Deflate(0)),
        ("deflate:9", Compression::Deflate(9)),
        ("zstd", Compression::Zstd(0)),
        ("zstd:22", Compression::Zstd(22)),
    ] {
        assert_eq!(text.parse(), Ok(compression));
        assert_eq!(compression.to_string(), text);
    }
    for wrong in [
        "",
        "gzip",
        "none:1",
        "deflate:10",
        "deflate:",
        "zstd:23",
        "zstd:-1",
    ] {
        assert!(wrong.parse::<Compression>().is_err(), "{wrong}");
    }
    let start = |compression| {
        Compressor::new(Vec::new(), compression)
            .unwrap()
            .finish()
            .unwrap()
    };
    assert!(start(Compression::Deflate(0)).starts_with(b"ADBd"));
    assert!(start(Compression::Deflate(4)).starts_with(b"ADBc\x01\x04"));
    assert!(start(Compression::Zstd(7)).starts_with(b"ADBc\x02\x07"));
}

//! Indexes and repositories made here.

use std::fs;
use std::path::Path;

use base::{Arch, Epoch, Sha1};
use key::{Algorithm, PrivateKey};
use polpo_apk::dependency::Identity;
use polpo_apk::index::{FILE_NAME, Index, IndexEntry, IndexError};
use polpo_apk::repository::{Location, Repository, RepositoryError};
use polpo_apk::signature::{Keyring, KeyringError, SignatureError};

use crate::sample::{EPOCH, info, sample, signer};

fn entry(name: &str, version: &str) -> IndexEntry {
    let mut info = info();
    info.name = name.to_owned();
    info.version = version.to_owned();
    info.licenses = vec!["MIT".to_owned()];
    info.triggers.clear();
    info.vendored.clear();
    IndexEntry {
        identity: Identity::Sha1(Sha1::of(format!("{name}-{version}").as_bytes())),
        size: 1234,
        info,
    }
}

#[test]
fn the_text_is_in_apks_order() {
    let index = Index {
        description: String::new(),
        entries: vec![entry("sample", "1.2.3_rc4-r5")],
        ..Index::default()
    };
    insta::assert_snapshot!(index.to_text(), @r"
    C:Q1sHVtPFRP9gR1eg5+2+VPa2DSQ3g=
    P:sample
    V:1.2.3_rc4-r5
    A:x86_64
    S:1234
    I:4321
    T:one of everything = all
    U:https://example.org/?a = b
    L:MIT
    o:sampler
    m:A. N. Other <other@example.org>
    t:1700000000
    c:0123456789abcdef0123456789abcdef01234567
    k:7
    D:!conflicting<2 cmd:sh so:libc.so.6 zlib>=1.3
    p:cmd:sample=1.2.3_rc4-r5 so:libsample.so.1=1.0
    i:docs sampler=1.2.3_rc4-r5
    r:older other<3
    q:9
    ");
    assert_eq!(Index::parse(&index.to_text()), Ok(index.entries));
}

#[test]
fn a_value_begins_no_field_of_its_own() {
    let mut one = entry("sample", "1-r0");
    one.info.description = "x\nP:evil\n\nC:".to_owned();
    let index = Index {
        description: String::new(),
        entries: vec![one],
        ..Index::default()
    };
    let [read] = Index::parse(&index.to_text()).unwrap().try_into().unwrap();
    let read: IndexEntry = read;
    assert_eq!(read.info.name, "sample");
    assert_eq!(read.info.description, "x P:evil  C:");
}

/// Lists of terms that are read otherwise than they look.
#[test]
fn terms_stay_as_they_were_read() {
    let known = "C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:a\nV:1\n";
    let lists = [
        "i:[a b]",
        "i:[[]]",
        "i:[[a] b]",
        "i:[[a b]]",
        "i: [a]",
        "i:[b a]<=>1",
        "i:[a",
        "i:a]",
        "p:a=0.1.\u{1}",
        "p:a>=one",
        "p:!a=>one=two",
        "p:0d~00.=",
        "p:d~=",
        "p:a=b\u{a0}c",
        "D:a=>1 b<>X10b8ba857b49d31d0e1620e0e095988ef50fc1c80",
    ]
    .map(|list| {
        let entries = Index::parse(&format!("{known}{list}\n")).unwrap();
        let once = Index {
            entries,
            ..Index::default()
        }
        .to_text();
        let entries = Index::parse(&once).unwrap();
        let twice = Index {
            entries,
            ..Index::default()
        }
        .to_text();
        assert_eq!(once, twice);
        let written = once
            .lines()
            .filter(|line| line.starts_with(['i', 'p', 'D']));
        let line = format!("{list:?}: {}", written.collect::<String>());
        line.trim_end().to_owned()
    });
    insta::assert_snapshot!(lists.join("\n"), @r#"
    "i:[a b]": i:a b
    "i:[[]]": i:[[]]
    "i:[[a] b]": i:[a] b
    "i:[[a b]]": i:[[a b]]
    "i: [a]": i:[[a]]
    "i:[b a]<=>1": i:[[b a]]
    "i:[a": i:[a
    "i:a]": i:a]
    "p:a=0.1.\u{1}": p:a
    "p:a>=one": p:a>=one
    "p:!a=>one=two": p:!a>=one=two
    "p:0d~00.=": p:0d~00.=
    "p:d~=":
    "p:a=b\u{a0}c": p:a
    "D:a=>1 b<>X10b8ba857b49d31d0e1620e0e095988ef50fc1c80": D:a>=1 b><Q1C4uoV7SdMdDhYg4OCVmI71D8HIA=
    "#);
}

#[test]
fn later_entries_take_the_place_of_earlier_ones() {
    let mut index = Index {
        description: String::new(),
        entries: vec![entry("b", "1-r0"), entry("a", "2-r0"), entry("a", "1-r0")],
        ..Index::default()
    };
    let mut newer = entry("a", "2-r0");
    newer.size = 9;
    index.merge([newer, entry("c", "1-r0")]);
    let names: Vec<_> = index
        .entries
        .iter()
        .map(|entry| (entry.file_name(), entry.size))
        .collect();
    assert_eq!(
        names,
        [
            ("a-1-r0.apk".to_owned(), 1234),
            ("a-2-r0.apk".to_owned(), 9),
            ("b-1-r0.apk".to_owned(), 1234),
            ("c-1-r0.apk".to_owned(), 1234),
        ]
    );
}

#[test]
fn lines_that_say_nothing_are_named() {
    for (text, error) in [
        (
            "nonsense\n",
            "line 1: it is no field: expected a letter, a colon and a value",
        ),
        (
            "C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:a\n\n",
            "line 3: the record that ends here has no `V:`",
        ),
        (
            "P:a\nV:1\n\n",
            "line 3: the record that ends here has no `C:`",
        ),
        ("P:a\nS:x\n", "line 2: `S:` is `x`, not a number"),
        (
            "C:Q1x\n",
            "line 1: `Q1x` is no identity of a package: Q1 and base64 of a SHA-1, or Q2 and base64 of a SHA-256",
        ),
    ] {
        assert_eq!(Index::parse(text).unwrap_err().to_string(), error);
    }
    let known = "C:Q1pSVO0PYHVXpDdyAcYdOoCbFw2cE=\nP:a\nV:1\n";
    let [read] = Index::parse(&format!("{known}x:ignored\nX:new\nD:b>1 c=bad d\n\n"))
        .unwrap()
        .try_into()
        .unwrap();
    let read: IndexEntry = read;
    let fields: Vec<_> = read
        .info
        .defects
        .iter()
        .map(|defect| (defect.field.as_str(), defect.fatal))
        .collect();
    assert_eq!(fields, [("X", true), ("D", true)]);
    assert_eq!(read.candidate().defects.len(), 2);
    assert_eq!(read.info.depends.len(), 2);
}

#[test]
fn unsigned_wrongly_signed_and_strangers_indexes_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let index = Index {
        description: "of tests".to_owned(),
        entries: vec![entry("a", "1-r0")],
        ..Index::default()
    };
    let shown = |keyring: &Keyring| {
        let error = Index::read(&path, keyring).unwrap_err();
        error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "")
    };
    index.write(&path, None, EPOCH).unwrap();
    let unsigned = shown(&signer().keyring());
    assert_eq!(Index::read_unverified(&path).unwrap(), index);
    index.write(&path, Some(signer()), EPOCH).unwrap();
    assert_eq!(Index::read(&path, &signer().keyring()).unwrap(), index);
    let mut other = Keyring::default();
    other.add("other.rsa.pub", signer().public().clone());
    let unknown = shown(&other);
    let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    let mut impostor = Keyring::default();
    impostor.add("tester.rsa.pub", key.public().unwrap());
    insta::assert_snapshot!([unsigned, unknown, shown(&impostor)].join("\n"), @r"
    index /APKINDEX.tar.gz: it is not signed; sign it with the key of the repository (`polpo melange sign-index` signs an index, `polpo melange sign` a package)
    index /APKINDEX.tar.gz: it is signed by tester.rsa.pub, which is not among the trusted keys (other.rsa.pub); if that key is to be trusted, add its file to the keyring (`-k`; of `apk`, the folder of `--keys-dir`)
    index /APKINDEX.tar.gz: the signature by tester.rsa.pub is wrong: the file was changed after it was signed, or another key of that name signed it; get both again from their source
    ");
    assert!(matches!(
        Index::read(&path, &Keyring::default()),
        Err(IndexError::Signature {
            source: SignatureError::UnknownKey { .. },
            ..
        })
    ));

    let one = index.to_bytes(Some(signer()), EPOCH).unwrap();
    assert_eq!(fs::read(&path).unwrap(), one);
    assert_ne!(index.to_bytes(Some(signer()), Epoch(0)).unwrap(), one);
    assert!(matches!(
        Index::from_bytes(&path, &one.repeat(2), None),
        Err(IndexError::NotAnIndex { .. })
    ));
    let unsigned = index.to_bytes(None, EPOCH).unwrap();
    assert!(matches!(
        Index::from_bytes(&path, &unsigned.repeat(2), None),
        Err(IndexError::NotAnIndex { .. })
    ));
}

#[test]
fn a_folder_is_a_repository() {
    let (folder, file, written) = sample();
    let arch = folder.path().join("x86_64");
    fs::create_dir(&arch).unwrap();
    fs::rename(&file, arch.join("sample-1.2.3_rc4-r5.apk")).unwrap();
    let repository = Repository::folder(folder.path());
    let error = repository
        .open(Arch::X86_64, Some(&signer().keyring()), None)
        .unwrap_err();
    assert!(matches!(error, RepositoryError::NoIndex { .. }), "{error}");

    let mut index = Index::default();
    index.merge([
        IndexEntry::written(&written),
        entry("gone", "1-r0"),
        entry("../up", "1-r0"),
    ]);
    index
        .write(&arch.join(FILE_NAME), Some(signer()), EPOCH)
        .unwrap();
    let error = repository
        .open(Arch::X86_64, Some(&Keyring::default()), None)
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Index { .. }), "{error}");
    let loaded = repository
        .open(Arch::X86_64, Some(&signer().keyring()), None)
        .unwrap();
    assert_eq!(loaded.candidates().len(), 3);
    let unverified = repository.open(Arch::X86_64, None, None).unwrap().catalogue;
    assert_eq!(unverified.description(), index.description);
    let entries: Result<Vec<IndexEntry>, _> = unverified.entries().collect();
    assert_eq!(entries.unwrap(), index.entries);
    let find = |name: &str, version: &str| index.get(name, version).unwrap();
    let package = loaded.open_package(find("sample", "1.2.3_rc4-r5")).unwrap();
    assert_eq!(package.info(), &written.info);
    assert!(matches!(
        loaded.open_package(find("gone", "1-r0")),
        Err(RepositoryError::Package { .. })
    ));
    assert!(matches!(
        loaded.package_path(find("../up", "1-r0")),
        Err(RepositoryError::FileName { .. })
    ));
}

#[test]
fn what_suits_all_architectures_is_listed_as_the_folders() {
    let mut all = entry("a", "1-r0");
    all.info.arch = "noarch".to_owned();
    assert_eq!(all.for_arch(Arch::Aarch64).info.arch, "aarch64");
    let own = entry("a", "1-r0").for_arch(Arch::Aarch64);
    assert_eq!(own.info.arch, "x86_64");
}

#[test]
fn lines_name_repositories() {
    let parse = |text: &str| Repository::parse(text).unwrap();
    assert_eq!(parse("/srv/packages"), Repository::folder("/srv/packages"));
    assert_eq!(parse("./packages").to_string(), "./packages");
    assert_eq!(
        parse("file:///srv").location,
        Location::Folder("/srv".into())
    );
    let tagged = parse("@local https://example.org/os");
    assert_eq!(tagged.tag.as_deref(), Some("local"));
    assert!(matches!(tagged.location, Location::Url(_)));
    assert_eq!(tagged.to_string(), "@local https://example.org/os");
    assert_eq!(parse(&tagged.to_string()), tagged);
    for wrong in ["", "@x", "@ /srv", "ftp://example.org/", "https://"] {
        assert!(Repository::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn keyrings_are_loaded_from_files_and_folders() {
    let folder = tempfile::tempdir().unwrap();
    let one = signer().public().to_pem();
    let other = PrivateKey::generate(Algorithm::EcdsaP256)
        .unwrap()
        .public()
        .unwrap();
    fs::write(folder.path().join("a.rsa.pub"), &one).unwrap();
    fs::write(folder.path().join("README"), "no key").unwrap();
    let keyring = Keyring::load(&[folder.path()]).unwrap();
    assert_eq!(
        keyring.keys().map(|(name, _)| name).collect::<Vec<_>>(),
        ["a.rsa.pub"]
    );
    fs::create_dir(folder.path().join("more")).unwrap();
    let second = folder.path().join("more/a.rsa.pub");
    fs::write(&second, &one).unwrap();
    Keyring::load(&[folder.path(), &second]).unwrap();
    fs::write(&second, other.to_pem()).unwrap();
    assert!(matches!(
        Keyring::load(&[folder.path(), &second]),
        Err(KeyringError::Ambiguous { .. })
    ));
    assert!(matches!(
        Keyring::load(&[folder.path().join("README")]),
        Err(KeyringError::File(_))
    ));
    assert!(matches!(
        Keyring::load(&[Path::new("/nonexistent")]),
        Err(KeyringError::File(_))
    ));
}

//! Packages, indexes and databases that other programs made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use archive::Limits;
use archive::tree::FileTree;
use base::Sha1;
use polpo_apk::database::{self, Database};
use polpo_apk::index::{FILE_NAME, Index, IndexEntry, IndexError};
use polpo_apk::package::{EntryKind, InfoError, Manifest, Package, PackageError, PackageInfo};
use polpo_apk::signature::Keyring;
use testkit::corpus;

/// Every file beneath `folder` that `wanted` accepts, sorted.
pub(crate) fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the corpus") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn packages() -> Vec<PathBuf> {
    files(&corpus(), &|path| {
        // One is a symbolic link that became a text.
        path.extension().is_some_and(|extension| extension == "apk")
            && !path.ends_with("rsa256-signed/alpine-baselayout-3.2.0-r23.apk")
    })
}

pub(crate) fn keys() -> Vec<PathBuf> {
    files(&corpus(), &|path| {
        // One is a signature entry, unpacked.
        path.extension().is_some_and(|extension| extension == "pub")
            && !path.ends_with("extracted/.SIGN.RSA.main@tainer.com-abcdef12.rsa.pub")
    })
}

/// Test data of melange's whose files were cut down after they were made.
const EDITED: [&str; 2] = ["aws-c-s3-0.4.9-r0.apk", "neon-4604-r0.apk"];

#[test]
fn every_package_is_whole() {
    let mut entries = 0;
    let mut edited = Vec::new();
    let paths = packages();
    for path in &paths {
        let package = Package::open(path).unwrap();
        let manifest = match package.manifest(&Limits::default()) {
            Ok(manifest) => manifest,
            Err(PackageError::WrongDatahash { path, .. }) => {
                edited.extend(path.file_name().map(|name| name.to_os_string()));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        entries += manifest.entries.len();
        assert_eq!(manifest.identity, package.identity());
        assert_eq!(manifest.datahash, package.info().datahash);
        // None of them was made with segments.
        assert_eq!(
            package.segments(&manifest, &Limits::default()).unwrap(),
            None
        );
        let stored = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&stored).unwrap(), manifest);
    }
    assert_eq!(edited, EDITED);
    assert!(paths.len() >= 38, "{} packages", paths.len());
    assert!(entries > 800, "{entries} entries");
}

/// An installed tree is what the manifest says, by another reading of it.
#[test]
fn packages_are_unpacked() {
    for path in packages() {
        let package = Package::open(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let Ok(manifest) = package.unpack(folder.path(), &Limits::default()) else {
            assert!(EDITED.iter().any(|name| path.ends_with(name)));
            continue;
        };
        let scanned = FileTree::scan(folder.path()).unwrap();
        let said = manifest.tree(folder.path());
        let kinds = |tree: &FileTree| -> Vec<_> {
            tree.iter()
                .map(|(path, node)| (path.clone(), node.kind.clone(), node.mode & 0o777))
                .collect()
        };
        assert_eq!(kinds(&scanned), kinds(&said), "{}", path.display());
        for entry in &manifest.entries {
            if let EntryKind::File { .. } = entry.kind {
                let bytes = fs::read(folder.path().join(&entry.path)).unwrap();
                assert_eq!(entry.checksum, Some(Sha1::of(&bytes).into()));
            }
        }
    }
}

#[test]
fn what_packages_say_of_themselves_is_written_back() {
    for path in packages() {
        let package = Package::open(&path).unwrap();
        let mut info = package.info().clone();
        if !info.defects.is_empty() {
            assert!(matches!(info.to_pkginfo(), Err(InfoError::Version(_))));
            continue;
        }
        let again = PackageInfo::parse(info.to_pkginfo().unwrap().as_bytes()).unwrap();
        for terms in [&mut info.depends, &mut info.provides] {
            terms.sort_by_key(ToString::to_string);
            terms.dedup();
        }
        assert_eq!(again, info, "{}", path.display());
    }
}

#[test]
fn what_is_provided_in_no_grammar_is_found_by_name() {
    let path = corpus().join("apk/packages/aws-c-s3-0.4.9-r0.apk");
    let package = Package::open(&path).unwrap();
    let [defect] = package.info().defects.as_slice() else {
        panic!("{:?}", package.info().defects);
    };
    assert_eq!((defect.field.as_str(), defect.fatal), ("provides", false));
    assert!(defect.reason.contains("0unstable"), "{}", defect.reason);
    let candidate = IndexEntry::of(&package).candidate();
    assert_eq!(candidate.defects, [""; 0]);
    assert_eq!(
        candidate.provides[0].to_string(),
        "so:libaws-c-s3.so.0unstable=0unstable"
    );
    let json = serde_json::to_string(package.info()).unwrap();
    assert_eq!(
        &serde_json::from_str::<PackageInfo>(&json).unwrap(),
        package.info()
    );
}

/// A file of the corpus and the names of the keys that it is signed by and that are at hand.
fn verified(paths: &[PathBuf], check: &dyn Fn(&Path, &Keyring) -> Option<String>) -> Vec<String> {
    let root = corpus();
    let mut verified = Vec::new();
    for path in paths {
        let mut names: Vec<String> = keys()
            .iter()
            .filter_map(|key| check(path, &Keyring::load(&[key]).unwrap()))
            .collect();
        names.dedup();
        if !names.is_empty() {
            let path = path.strip_prefix(&root).unwrap().display();
            verified.push(format!("{path} {}", names.join(" ")));
        }
    }
    verified
}

#[test]
fn signatures_are_found_good() {
    let of_packages = verified(&packages(), &|path, keyring| {
        let package = Package::open(path).unwrap();
        package.verify(keyring).ok().map(str::to_owned)
    });
    insta::assert_snapshot!(of_packages.join("\n"), @r"
    apko/cli/packages/aarch64/custom-ca-certs-1-1.0.0-r0.apk melange.rsa.pub
    apko/cli/packages/aarch64/custom-ca-certs-2-1.0.0-r0.apk melange.rsa.pub
    apko/cli/packages/aarch64/pretend-baselayout-1.0.0-r0.apk melange.rsa.pub
    apko/cli/packages/aarch64/replayout-1.0.0-r0.apk melange.rsa.pub
    apko/cli/packages/x86_64/custom-ca-certs-1-1.0.0-r0.apk melange.rsa.pub
    apko/cli/packages/x86_64/custom-ca-certs-2-1.0.0-r0.apk melange.rsa.pub
    apko/cli/packages/x86_64/pretend-baselayout-1.0.0-r0.apk melange.rsa.pub
    apko/cli/packages/x86_64/replayout-1.0.0-r0.apk melange.rsa.pub
    apko/cli/private_packages/packages/aarch64/package-x-1.0.0-r0.apk private_pkg_key.rsa.pub
    apko/cli/private_packages/packages/aarch64/package-y-1.0.0-r0.apk private_pkg_key.rsa.pub
    apko/cli/private_packages/packages/x86_64/package-x-1.0.0-r0.apk private_pkg_key.rsa.pub
    apko/cli/private_packages/packages/x86_64/package-y-1.0.0-r0.apk private_pkg_key.rsa.pub
    ");
    let of_indexes = verified(&indexes(), &|path, keyring| {
        Index::read(path, keyring).ok()?;
        keyring.keys().next().map(|(name, _)| name.to_owned())
    });
    insta::assert_snapshot!(of_indexes.join("\n"), @r"
    apko/apk/rsa256-signed/APKINDEX.tar.gz test-rsa256.rsa.pub
    apko/apk/signing/APKINDEX.tar.gz chainguard-0106f58bac88057c2ff5c2829850df492717a876ed700443550353c7ab23f5a0.rsa.pub chainguard-60912bbc46bfc8ed6bda0b50db3a8a5f3c4344d6bc8549ec9b84d96140b475d1.rsa.pub chainguard-61cb6bccd1f584b007db7be51ebce2b0530a54cc5a94e7650b570d113d537cf3.rsa.pub
    apko/cli/packages/aarch64/APKINDEX.tar.gz melange.rsa.pub
    apko/cli/packages/x86_64/APKINDEX.tar.gz melange.rsa.pub
    apko/cli/private_packages/packages/aarch64/APKINDEX.tar.gz private_pkg_key.rsa.pub
    apko/cli/private_packages/packages/x86_64/APKINDEX.tar.gz private_pkg_key.rsa.pub
    ");
}

fn indexes() -> Vec<PathBuf> {
    // One is no index to apk: its signature comes last, where nothing could be covered by it.
    files(&corpus(), &|path| {
        path.ends_with(FILE_NAME) && !path.ends_with("apko/apk/APKINDEX.tar.gz")
    })
}

#[test]
fn a_signature_at_the_end_is_refused() {
    let path = corpus().join("apko/apk/APKINDEX.tar.gz");
    let error = Index::read_unverified(&path).unwrap_err();
    assert!(matches!(error, IndexError::NotAnIndex { .. }), "{error}");
}

#[test]
fn indexes_are_written_back() {
    let (mut entries, mut defects) = (0, BTreeMap::new());
    for path in indexes() {
        let index = Index::read_unverified(&path).unwrap();
        entries += index.entries.len();
        let mut again = Index::parse(&index.to_text()).unwrap();
        again
            .iter_mut()
            .for_each(|entry| entry.info.defects.clear());
        let mut same = index.entries.clone();
        for entry in &mut same {
            // What is zero is not written.
            entry.info.build_time = entry.info.build_time.filter(|time| *time > 0);
            entry.info.provider_priority = entry.info.provider_priority.filter(|p| *p > 0);
            for defect in entry.info.defects.drain(..) {
                *defects.entry((defect.field, defect.fatal)).or_insert(0) += 1;
            }
        }
        assert_eq!(again, same, "{}", path.display());
        let bytes = index.to_bytes(None, base::Epoch(0)).unwrap();
        let read = Index::from_bytes(&path, &bytes, None).unwrap();
        assert_eq!(read.to_text(), index.to_text());
        assert_eq!(read.description, index.description);
    }
    assert!(entries > 9_000, "{entries} entries");
    // `cmd:smtpd=6.8.0p2-r4`, `pc:librtmp=v2.4` and the like, as Alpine once had them.
    let counted: Vec<_> = defects
        .iter()
        .map(|((field, fatal), count)| (field.as_str(), *fatal, *count))
        .collect();
    assert_eq!(counted, [("D", true, 1), ("i", false, 2), ("p", false, 7)]);
}

/// The entries of real indexes are those of the packages beside them.
#[test]
fn index_entries_speak_of_their_packages() {
    let (mut compared, mut altered) = (0, 0);
    for path in indexes() {
        let index = Index::read_unverified(&path).unwrap();
        for entry in &index.entries {
            let file = path.with_file_name(entry.file_name());
            let Ok(package) = Package::open(&file) else {
                continue;
            };
            match package.check_entry(entry) {
                Ok(()) => {
                    compared += 1;
                    let own = IndexEntry::of(&package);
                    assert_eq!(own.info.depends, entry.info.depends);
                    assert_eq!(own.info.provides, entry.info.provides);
                    assert_eq!(own.info.installed_size, entry.info.installed_size);
                    assert_eq!(own.info.description, entry.info.description);
                    assert_eq!(own.info.origin, entry.info.origin);
                }
                // Two of Alpine's were altered after they were indexed.
                Err(error) => {
                    assert!(
                        matches!(error, PackageError::WrongIdentity { .. }),
                        "{error}"
                    );
                    altered += 1;
                }
            }
        }
    }
    assert_eq!((compared, altered), (12, 2));
}

#[test]
fn installed_databases_are_written_back() {
    let mut files_seen = 0;
    for path in [
        "apko/apk/installed/wolfi-base",
        "apko/apk/installed/bad-top-level-perms",
        "apko/apk/installed/redis-operator-compat",
        "apko/apk/root/usr/lib/apk/db/installed",
    ] {
        let text = fs::read_to_string(corpus().join(path)).unwrap();
        let mut packages = database::parse(&text).unwrap();
        let mut again = database::parse(&database::to_text(&packages)).unwrap();
        packages.sort_by(|left, right| left.entry.info.name.cmp(&right.entry.info.name));
        for package in packages.iter_mut().chain(&mut again) {
            package.entry.info.build_time = package.entry.info.build_time.filter(|time| *time > 0);
            package.entry.info.provider_priority = None;
        }
        assert_eq!(again, packages);
        files_seen += packages
            .iter()
            .flat_map(|package| &package.directories)
            .map(|directory| directory.files.len())
            .sum::<usize>();
    }
    assert!(files_seen > 50, "{files_seen}");
}

#[test]
fn apkos_database_is_read_whole() {
    let tree = FileTree::scan(&corpus().join("apko/apk/root")).unwrap();
    let database = Database::read(&tree).unwrap();
    let with_scripts: Vec<_> = database
        .packages
        .iter()
        .filter(|package| !package.scripts.is_empty())
        .map(|package| package.entry.info.name.as_str())
        .collect();
    assert_eq!(with_scripts, ["busybox", "alpine-baselayout"]);
    let triggers: Vec<_> = database
        .packages
        .iter()
        .flat_map(|package| &package.entry.info.triggers)
        .map(String::as_str)
        .collect();
    assert_eq!(
        triggers,
        ["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/lib/modules/*"]
    );
}

//! The real image files choose the packages that apko chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use apk::dependency::{Constraint, Identity};
use apk::index::{Index, IndexEntry};
use apk::package::PackageInfo;
use base::{Digest, Sha1};
use image::{ImageConfiguration, Target};

use crate::bed::{ARCH, Bed, EPOCH, SIGNER, access, info, list};

/// What apko chose out of [`index`]: for each image file the number of packages, and the SHA-256 of
/// `NAME=VERSION` of each, sorted, a line each.
const CHOSEN_BY_APKO: &str = include_str!("resolved.txt");

fn image_files() -> BTreeMap<String, PathBuf> {
    let files = std::fs::read_dir(testkit::corpus().join("images")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_stem().unwrap().display().to_string(), path))
        .collect()
}

fn read(path: &Path) -> ImageConfiguration {
    let mut configuration = image::configuration::load(path, &[])
        .unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
        .configuration;
    configuration.archs.clear();
    configuration
}

/// A number that is the same everywhere and otherwise any.
fn chance(text: &str, below: u64) -> u64 {
    let digest = Digest::of(text.as_bytes()).hex();
    u64::from_str_radix(&digest[..15], 16).unwrap() % below
}

fn entry(name: &str, version: &str, depends: &str, provides: &str) -> IndexEntry {
    IndexEntry {
        identity: Identity::Sha1(Sha1::of(format!("{name}-{version}").as_bytes())),
        size: 1,
        info: PackageInfo {
            version: version.to_owned(),
            depends: list(depends),
            provides: list(provides),
            ..info(name)
        },
    }
}

/// All names that the image files ask for, each in several versions, upon libraries that need each
/// other, of which some have rivals, and programs that two packages bring.
fn index(wanted: &BTreeMap<String, BTreeSet<String>>) -> Index {
    const LIBRARIES: u64 = 60;
    const PROGRAMS: u64 = 9;
    let mut entries = Vec::new();
    for number in 0..LIBRARIES {
        let name = format!("lib{number}");
        let needed = (0..number.min(3)).map(|place| {
            let other = chance(&format!("{name} {place}"), number);
            format!("so:lib{other}.so.1")
        });
        let needed: Vec<String> = needed.collect();
        let needed = needed.join(" ");
        for version in [
            format!("1.{number}"),
            format!("2.{number}"),
            format!("2.{number}_rc1"),
        ] {
            let provides = format!("so:lib{number}.so.1={version}");
            entries.push(entry(&name, &format!("{version}-r0"), &needed, &provides));
        }
        if number % 7 == 0 {
            let provides = format!("so:lib{number}.so.1=0.1");
            let (name, version) = (format!("{name}-compat"), format!("9.{number}-r0"));
            let mut rival = entry(&name, &version, "", &provides);
            rival.info.provider_priority = (number % 2 == 1).then_some(5);
            entries.push(rival);
        }
    }
    for (name, pinned) in wanted {
        let mut versions: BTreeSet<String> = pinned.clone();
        versions.extend(
            ["1.0.0-r0", "1.10.0-r1", "2.0.0_rc1-r0", "1.9.9-r30"].map(ToString::to_string),
        );
        for version in versions {
            let libraries = (0..4).map(|place| {
                let library = chance(&format!("{name} {place}"), LIBRARIES);
                format!("so:lib{library}.so.1")
            });
            let mut depends: Vec<String> = libraries.collect();
            if chance(name, 3) == 0 {
                depends.push(format!("cmd:program{}", chance(name, PROGRAMS)));
            }
            if chance(name, 5) == 0 {
                depends.push(format!("lib{}>=1", chance(name, LIBRARIES)));
            }
            let provides = format!("cmd:{name}={version}");
            entries.push(entry(name, &version, &depends.join(" "), &provides));
        }
    }
    for number in 0..PROGRAMS {
        for (name, version) in [("program", "1-r0"), ("alternative", "3-r0")] {
            let provides = format!("cmd:program{number}={version}");
            entries.push(entry(&format!("{name}{number}"), version, "", &provides));
        }
    }
    Index {
        entries,
        ..Index::default()
    }
}

#[test]
fn real_images_choose_the_packages_that_apko_chooses() {
    let files = image_files();
    assert_eq!(files.len(), 110);
    let images: BTreeMap<&str, ImageConfiguration> = files
        .iter()
        .map(|(name, path)| (name.as_str(), read(path)))
        .collect();
    let mut wanted = BTreeMap::<String, BTreeSet<String>>::new();
    for image in images.values() {
        for package in &image.contents.packages {
            let versions = wanted.entry(package.term.name.clone()).or_default();
            if let Some(Constraint::Version(_, version)) = &package.term.constraint {
                let version = version.to_string();
                let is_whole = version.rsplit_once("-r").is_some();
                versions.insert(if is_whole {
                    version
                } else {
                    format!("{version}-r0")
                });
            }
        }
    }
    assert!(wanted.len() > 500, "{}", wanted.len());

    let bed = Bed::new();
    let folder = bed.path("packages").join(ARCH.apk());
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("APKINDEX.tar.gz");
    index(&wanted).write(&file, [&*SIGNER], EPOCH).unwrap();
    let repositories = bed.repositories();
    let access = access(&bed.store());
    let mut chosen = String::new();
    for (name, image) in &images {
        let target = Target {
            arch: ARCH,
            repositories: &repositories,
        };
        let mut selections = image::select(image, Path::new(""), &[target], &access)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let packages = selections.pop().unwrap().chosen;
        let lines: BTreeSet<String> = packages
            .iter()
            .map(|(_, entry)| format!("{}={}\n", entry.info.name, entry.info.version))
            .collect();
        let text: String = lines.into_iter().collect();
        let _ = writeln!(
            chosen,
            "{name} {} {}",
            packages.len(),
            Digest::of(text.as_bytes()).hex()
        );
    }
    for (own, theirs) in chosen.lines().zip(CHOSEN_BY_APKO.lines()) {
        assert_eq!(own, theirs);
    }
    assert_eq!(chosen.lines().count(), CHOSEN_BY_APKO.lines().count());
}

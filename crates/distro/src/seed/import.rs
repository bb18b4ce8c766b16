//! From a lock to a signed apk repository.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use apk::index::{FILE_NAME, Index, IndexEntry};
use apk::package::{Package, PackageInfo};
use apk::signature::Signer;
use archive::tree::FileTree;
use base::{Arch, Digest, Epoch, Event, Reporter, Task, Unit, Verb};
use rayon::prelude::*;
use serde::Serialize;
use store::apt::{self, Apt, Lists};
use store::{AtomicFile, Store, WriteError};

use super::convert::{self, Facts, Terms, write_package};
use super::{Ground, Lock, LockedPackage, Seed, SeedError, dependencies, generate};

/// Changes when the conversion itself does, so that what older programs cached is not used.
const FORMAT: u32 = 4;

/// What is to be imported.
#[derive(Clone, Copy, Debug)]
pub struct Import<'i> {
    /// How packages are converted.
    pub seed: &'i Seed,
    /// Which packages.
    pub lock: &'i Lock,
    /// What they stand upon: looked at, but not imported again.
    pub ground: Option<&'i Ground>,
    /// For which architecture.
    pub arch: Arch,
    /// The repository's folder; packages and index go to a folder of the architecture's name in it.
    pub folder: &'i Path,
    /// Signs packages and index.
    pub signer: &'i Signer,
    /// The time that packages carry.
    pub epoch: Epoch,
    /// Never touch the network.
    pub offline: bool,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Packages in the repository, the generated ones included.
    pub packages: usize,
    /// How many of them had to be converted; the others were in the store.
    pub converted: usize,
    /// Bytes of all packages.
    pub size: u64,
    /// Bytes of their files, installed.
    pub installed_size: u64,
}

/// Fetches every .deb of the lock, converts each to a signed apk, and writes the signed index.
/// The same lock, seed, key and epoch give the same bytes. Converted packages stay in the store.
///
/// # Errors
/// A .deb can't be fetched or converted, two packages own one path or provide one name, or the
/// repository can't be written.
pub fn import(
    request: &Import<'_>,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<Imported, SeedError> {
    let locked = request
        .lock
        .packages
        .get(&request.arch)
        .ok_or(SeedError::NoArch { arch: request.arch })?;
    for wanted in &request.seed.packages {
        if !locked.iter().any(|locked| locked.package == *wanted) {
            return Err(SeedError::Stale {
                package: wanted.clone(),
                by: "the seed's list".to_owned(),
            });
        }
    }
    let facts = all_facts(request, locked, store, reporter)?;
    let ground = ground(request)?;
    let ground_facts = match &ground {
        Some((request, locked)) => all_facts(request, locked, store, reporter)?,
        None => Vec::new(),
    };
    let standing = ground.iter().flat_map(|(_, locked)| *locked);
    let known: dependencies::Known<'_> = locked
        .iter()
        .zip(&facts)
        .chain(standing.zip(&ground_facts))
        .map(|(locked, facts)| (locked.package.as_str(), (locked, facts)))
        .collect();
    let generated = generated(request)?;
    check_owners(&known, &generated)?;
    let terms = match &ground {
        Some((ground, _)) => dependencies::terms(&request.seed.with_ground(ground.seed), &known)?,
        None => dependencies::terms(request.seed, &known)?,
    };
    report_unprovided(&known, reporter);
    let jobs: Vec<(&LockedPackage, Terms)> = locked
        .iter()
        .map(|locked| {
            let terms = terms.get(&locked.package).cloned().unwrap_or_default();
            (locked, terms)
        })
        .collect();
    let converted = convert_all(request, &jobs, store, reporter)?;
    place_all(request, &jobs, &generated, store, reporter).map(|imported| Imported {
        converted,
        ..imported
    })
}

/// The ground as if it were to be imported, and its packages.
fn ground<'i>(
    request: &Import<'i>,
) -> Result<Option<(Import<'i>, &'i Vec<LockedPackage>)>, SeedError> {
    let Some(ground) = request.ground else {
        return Ok(None);
    };
    let locked = ground.lock.packages.get(&request.arch);
    let locked = locked.ok_or(SeedError::NoArch { arch: request.arch })?;
    let request = Import {
        seed: &ground.seed,
        lock: &ground.lock,
        ground: None,
        ..*request
    };
    Ok(Some((request, locked)))
}

/// Names that files need and no package of the seed provides are left out of the dependencies.
fn report_unprovided(known: &dependencies::Known<'_>, reporter: &dyn Reporter) {
    let provided: BTreeSet<&String> = known
        .values()
        .flat_map(|(_, facts)| &facts.provides)
        .collect();
    for (name, (_, facts)) in known {
        for need in facts.needs.iter().filter(|need| !provided.contains(need)) {
            let message = format!("nothing in the seed provides {need}, which {name} needs");
            reporter.report(Event::Notice { message: &message });
        }
    }
}

/// What of the seed's policy bears on one .deb.
#[derive(Serialize)]
struct Policy<'p> {
    format: u32,
    deb: &'p Digest,
    omit: &'p [String],
    keep: &'p BTreeSet<String>,
    links: Option<&'p BTreeMap<String, String>>,
    bundles: Option<&'p BTreeMap<String, String>>,
}

fn digest_of(value: &impl Serialize) -> Digest {
    // Plain data: this can't fail, and an empty key would only miss the cache.
    Digest::of(&serde_json::to_vec(value).unwrap_or_default())
}

fn policy_key(seed: &Seed, locked: &LockedPackage) -> Digest {
    digest_of(&Policy {
        format: FORMAT,
        deb: &locked.sha256,
        omit: &seed.omit,
        keep: &seed.keep,
        links: seed.links.get(&locked.package),
        bundles: seed.bundles.get(&locked.package),
    })
}

fn package_key(request: &Import<'_>, locked: &LockedPackage, terms: &Terms) -> Digest {
    let texts = |list: &[apk::dependency::Dependency]| -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    };
    digest_of(&(
        policy_key(request.seed, locked),
        texts(&terms.depends),
        texts(&terms.provides),
        request.arch,
        request.epoch,
        request.signer.public().id(),
        request.signer.key_name(),
    ))
}

/// Brings the .debs into the store.
fn fetch(
    request: &Import<'_>,
    locked: &[&LockedPackage],
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<(), SeedError> {
    let files: Vec<apt::File> = locked
        .iter()
        .filter(|locked| !store.contains(&locked.sha256))
        .map(|locked| apt::File {
            path: locked.path.clone(),
            digest: locked.sha256,
            size: locked.size,
        })
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let suites = [request.lock.suite.clone()];
    let apt = Apt::open(
        store,
        Lists::Packages(request.arch),
        &suites,
        request.offline,
    )?;
    apt.download(&files, reporter)?;
    Ok(())
}

fn open(
    request: &Import<'_>,
    locked: &LockedPackage,
    store: &Store,
) -> Result<convert::Source, SeedError> {
    let file = store.open_verified(&locked.sha256)?;
    convert::open(locked, request.seed, file, store.temp_dir()?)
}

/// The facts of all packages, in the lock's order: from the store, or by reading the .debs.
fn all_facts(
    request: &Import<'_>,
    locked: &[LockedPackage],
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<Vec<Facts>, SeedError> {
    let cached = locked
        .iter()
        .map(|locked| store.record_get("seed-facts", &policy_key(request.seed, locked)))
        .collect::<Result<Vec<Option<Facts>>, _>>()?;
    let missing: Vec<&LockedPackage> = locked
        .iter()
        .zip(&cached)
        .filter(|(_, facts)| facts.is_none())
        .map(|(locked, _)| locked)
        .collect();
    fetch(request, &missing, store, reporter)?;
    let total = missing.len() as u64;
    let task = Task::start(
        reporter,
        Verb::Unpack,
        "Debian packages",
        Some(total),
        Unit::Items,
    );
    let facts = locked
        .par_iter()
        .zip(cached)
        .map(|(locked, cached)| {
            if let Some(facts) = cached {
                return Ok(facts);
            }
            let facts = open(request, locked, store)?.facts(locked)?;
            store.record_put("seed-facts", &policy_key(request.seed, locked), &facts)?;
            task.advance(1);
            Ok(facts)
        })
        .collect::<Result<Vec<Facts>, SeedError>>()?;
    match total {
        0 => task.unchanged(),
        _ => task.done(),
    }
    Ok(facts)
}

/// The packages made of no .deb.
fn generated(request: &Import<'_>) -> Result<Vec<(PackageInfo, FileTree)>, SeedError> {
    let Import {
        seed, arch, epoch, ..
    } = *request;
    let mut generated = Vec::new();
    if request.ground.is_none() {
        generated.push(generate::base_layout(seed, arch, epoch)?);
    }
    for info in generate::meta_packages(seed, arch, epoch)? {
        generated.push((info, FileTree::new()));
    }
    Ok(generated)
}

/// No path but folders may be in two packages, and none may be a file here and a folder there.
fn check_owners(
    known: &dependencies::Known<'_>,
    generated: &[(PackageInfo, FileTree)],
) -> Result<(), SeedError> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let converted = known.iter().flat_map(|(name, (_, facts))| {
        let paths = facts.files.iter();
        paths.map(|path| (path.as_str(), *name))
    });
    let made = generated.iter().flat_map(|(info, tree)| {
        let files = tree.iter().filter(|(_, node)| !node.is_directory());
        files.map(|(path, _)| (path.as_str(), info.name.as_str()))
    });
    let owned = |path: &str, first: &str, second: &str| SeedError::Owned {
        path: path.to_owned(),
        first: first.to_owned(),
        second: second.to_owned(),
    };
    for (path, name) in converted.chain(made) {
        if let Some(first) = owners.insert(path, name) {
            return Err(owned(path, first, name));
        }
    }
    for (path, name) in &owners {
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            if let Some(other) = owners.get(folder) {
                return Err(owned(folder, other, name));
            }
        }
    }
    Ok(())
}

/// Converts what the store does not have yet; says how many that were.
fn convert_all(
    request: &Import<'_>,
    jobs: &[(&LockedPackage, Terms)],
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<usize, SeedError> {
    let mut missing = Vec::new();
    for (locked, terms) in jobs {
        let key = package_key(request, locked, terms);
        let cached: Option<Digest> = store.record_get("seed-package", &key)?;
        if !cached.is_some_and(|digest| store.contains(&digest)) {
            missing.push((*locked, terms, key));
        }
    }
    let debs: Vec<&LockedPackage> = missing.iter().map(|(locked, _, _)| *locked).collect();
    fetch(request, &debs, store, reporter)?;
    let total = Some(missing.len() as u64);
    let task = Task::start(
        reporter,
        Verb::Convert,
        "Debian packages",
        total,
        Unit::Items,
    );
    missing
        .par_iter()
        .try_for_each(|(locked, terms, key)| -> Result<(), SeedError> {
            let folder = store.temp_dir()?;
            let out = folder.path().join("package.apk");
            let source = open(request, locked, store)?;
            source.write(
                locked,
                request.arch,
                (*terms).clone(),
                &out,
                request.signer,
                request.epoch,
            )?;
            let blob = store.put_file(&out)?;
            store.record_put("seed-package", key, &blob.digest)?;
            task.advance(1);
            Ok(())
        })?;
    match missing.len() {
        0 => task.unchanged(),
        _ => task.done(),
    }
    Ok(missing.len())
}

/// Puts all packages and the index into the repository's folder.
fn place_all(
    request: &Import<'_>,
    jobs: &[(&LockedPackage, Terms)],
    generated: &[(PackageInfo, FileTree)],
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<Imported, SeedError> {
    let folder = request.folder.join(request.arch.apk());
    std::fs::create_dir_all(&folder).map_err(WriteError::at("create the folder", &folder))?;
    let subject = folder.display().to_string();
    let total = Some((jobs.len() + generated.len()) as u64);
    let task = Task::start(reporter, Verb::Write, &subject, total, Unit::Items);
    let mut entries = jobs
        .par_iter()
        .map(|(locked, terms)| {
            let key = package_key(request, locked, terms);
            let digest: Digest = store
                .record_get("seed-package", &key)?
                .ok_or(store::StoreError::Missing(key))?;
            let blob = store
                .path(&digest)
                .ok_or(store::StoreError::Missing(digest))?;
            let package = Package::open(&blob).map_err(|source| SeedError::Package {
                package: locked.package.clone(),
                source: Box::new(source),
            })?;
            let entry = IndexEntry::of(&package);
            place(store, &digest, &folder.join(entry.file_name()))?;
            task.advance(1);
            Ok(entry)
        })
        .collect::<Result<Vec<IndexEntry>, SeedError>>()?;
    for (info, tree) in generated {
        let out = folder.join(info.file_name());
        let written = write_package(info.clone(), tree, &out, request.signer, request.epoch)?;
        entries.push(IndexEntry::written(&written));
        task.advance(1);
    }
    let imported = Imported {
        packages: entries.len(),
        converted: 0,
        size: entries.iter().map(|entry| entry.size).sum(),
        installed_size: entries.iter().map(|entry| entry.info.installed_size).sum(),
    };
    let mut index = Index {
        description: format!("seed of {}", request.lock.suite),
        entries: Vec::new(),
        ..Index::default()
    };
    index.merge(entries);
    index
        .write(&folder.join(FILE_NAME), Some(request.signer), request.epoch)
        .map_err(|source| SeedError::Index(Box::new(source)))?;
    task.done();
    Ok(imported)
}

/// Copies a blob to its place, unless the same bytes are there.
fn place(store: &Store, digest: &Digest, path: &Path) -> Result<(), SeedError> {
    if let Ok(file) = std::fs::File::open(path) {
        let (found, _) = Digest::of_all(file).map_err(WriteError::at("read", path))?;
        if found == *digest {
            return Ok(());
        }
    }
    let mut from = store.open_verified(digest)?;
    let mut to = AtomicFile::create(path)?;
    io::copy(&mut from, to.file()).map_err(WriteError::at("write", path))?;
    Ok(to.commit()?)
}

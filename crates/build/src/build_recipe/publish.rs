//! Putting packages into a repository: first the files, then the index that names them, all under a
//! lock and only if the index that is there can be carried on.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use apk::index::{FILE_NAME, Index, IndexEntry, IndexError, Stamp, Stamping};
use apk::package::Package;
use apk::signature::{Keyring, SignatureError};
use attest::cyclonedx;
use base::{Arch, Digest};
use rustix::fs::FlockOperation;
use store::{AtomicFile, Store, StoreError, WriteError};

use super::{BuildError, BuildOptions, BuildRecord, BuiltPackage};
use crate::describe;
use crate::emit::published;
use crate::plan::BuildPlan;
use crate::provenance::{self, BuildFacts, Parameters, RecipeFile};
use crate::recipe::ResolvedRecipe;
use crate::signing::{SigningError, SigningProcess};

/// What is stated of a build.
pub(super) fn facts(
    recipe: &ResolvedRecipe,
    plan: &BuildPlan,
    options: &BuildOptions<'_>,
) -> BuildFacts {
    BuildFacts {
        recipe: published(recipe),
        plan: plan.clone(),
        parameters: Parameters {
            architecture: recipe.arch.apk().to_owned(),
            source_date_epoch: options.epoch.0,
            namespace: options.namespace.to_owned(),
            network: plan.network,
            strip_origin_name: options.strip_origin_name,
            recipe_file: options.recipe.as_ref().map(RecipeFile::from),
        },
    }
}

/// Puts the package at `path`, as it was made, into the store: signed, where somebody signs. Gives
/// its digest and the statement of how it was made.
pub(super) fn keep(
    store: &Store,
    path: &Path,
    file_name: &str,
    facts: &BuildFacts,
    options: &BuildOptions<'_>,
) -> Result<(Digest, Vec<u8>), BuildError> {
    let Some(signer) = options.signer else {
        let digest = store.put_file(path)?.digest;
        let version = env!("CARGO_PKG_VERSION");
        return Ok((digest, facts.line(file_name, digest, version, None)?));
    };
    let sealed = signer.seal(path).map_err(failed(file_name))?;
    let made = File::open(path).map_err(WriteError::at("read", path))?;
    // If these are not the bytes that the signer has seen, they are not kept.
    let blob = store.put_expecting(sealed.signature.chain(made), sealed.digest)?;
    Ok((blob.digest, sealed.statement))
}

fn failed(package: &str) -> impl Fn(SigningError) -> BuildError {
    move |source| BuildError::Sign {
        package: package.to_owned(),
        source,
    }
}

/// Whether what is kept of a build is vouched for: where there is a signer, by what it stated itself
/// when it was carried out. Whoever can write into the store can't put another package there.
pub(super) fn is_stated(
    store: &Store,
    record: &BuildRecord,
    facts: &BuildFacts,
    options: &BuildOptions<'_>,
) -> Result<bool, BuildError> {
    let key = options.signer.map(SigningProcess::public);
    for (package, statement) in record.packages.iter().zip(&record.statements) {
        let line = blob(store, statement)?;
        if !facts.are_stated(&line, &package.digest, key) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn blob(store: &Store, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    store
        .open_verified(digest)?
        .read_to_end(&mut bytes)
        .map_err(StoreError::Input)?;
    Ok(bytes)
}

/// Puts the packages of `record` into `options.out` and its index. What is there already stays
/// untouched, so a repository that has them all does not change.
pub(super) fn publish(
    store: &Store,
    recipe: &ResolvedRecipe,
    plan: &BuildPlan,
    record: &BuildRecord,
    options: &BuildOptions<'_>,
) -> Result<(), BuildError> {
    let folder = options.out.join(recipe.arch.apk());
    fs::create_dir_all(&folder).map_err(WriteError::at("create the folder", &folder))?;
    let _held = lock(&folder)?;
    let before = present_index(recipe.arch, options)?;
    let mut entries = Vec::new();
    for package in &record.packages {
        entries.push(IndexEntry::of(&Package::open(&path_of(store, package)?)?));
    }
    let joined = joined(before.as_ref(), entries, options.stamping);
    let place = folder.join(FILE_NAME);
    // The signer may refuse, or be gone: then nothing has changed.
    let changed = match joined {
        None => None,
        Some(joined) => Some(match options.signer {
            None => joined.to_bytes(None, options.epoch)?,
            Some(signer) => {
                let failed = failed(&recipe.package.name);
                let facts = facts(recipe, plan, options);
                signer
                    .begin(&facts, options.keyring, options.stamping)
                    .map_err(&failed)?;
                for (package, statement) in record.packages.iter().zip(&record.statements) {
                    let statement = blob(store, statement)?;
                    signer
                        .known(&path_of(store, package)?, &statement)
                        .map_err(&failed)?;
                }
                signer
                    .index(before.is_some().then_some(&*place))
                    .map_err(&failed)?
            }
        }),
    };
    for package in &record.packages {
        copy_out(store, package, &folder)?;
    }
    if let Some(bytes) = changed {
        store::write_atomically(&place, &bytes)?;
    }
    Ok(())
}

/// The index with `entries` in it and the next stamp; `None` if the one that is there says as much.
pub(crate) fn joined(
    before: Option<&Index>,
    entries: impl IntoIterator<Item = IndexEntry>,
    stamping: Stamping,
) -> Option<Index> {
    let mut index = before.cloned().unwrap_or_default();
    index.merge(entries);
    let begins = stamping.begin && Stamp::of(&index.description).is_none();
    if !begins && before == Some(&index) {
        return None;
    }
    let former = before.map(|before| before.description.as_str());
    index.description = stamping.describe(&index.description, former);
    Some(index)
}

fn path_of(store: &Store, package: &BuiltPackage) -> Result<PathBuf, StoreError> {
    let path = store.path(&package.digest);
    path.ok_or(StoreError::Missing(package.digest))
}

/// The index that `options.out` has already, if packages made with `options` may join it.
///
/// # Errors
/// It can't be read, is signed by nobody who is trusted, or is signed while the packages will not be.
pub(super) fn present_index(
    arch: Arch,
    options: &BuildOptions<'_>,
) -> Result<Option<Index>, BuildError> {
    let path = options.out.join(arch.apk()).join(FILE_NAME);
    let read = match options.signer {
        // What this key does not vouch for yet, it must not begin to vouch for.
        Some(signer) => {
            let mut keyring = options.keyring.clone();
            keyring.add(signer.key_name(), signer.public().clone());
            Index::read(&path, &keyring)
        }
        None => match Index::read(&path, &Keyring::default()) {
            Err(IndexError::Signature { source, .. }) => match source {
                SignatureError::Unsigned { skipped } if skipped.is_empty() => {
                    Index::read_unverified(&path)
                }
                _ => {
                    return Err(BuildError::SignedRepository {
                        repository: options.out.to_owned(),
                    });
                }
            },
            other => other,
        },
    };
    match read {
        Ok(index) => Ok(Some(index)),
        Err(IndexError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts a CycloneDX bill of materials beside the package in `folder`: what its SPDX document says.
fn bill_of_materials(
    store: &Store,
    package: &BuiltPackage,
    folder: &Path,
) -> Result<(), BuildError> {
    let opened = Package::open(&path_of(store, package)?)?;
    let Some(document) = describe::packaged_document(&opened)? else {
        return Ok(());
    };
    let bill = cyclonedx::bill_of_materials(&document, &package.file_name, &package.digest);
    let bill = bill.map_err(|source| BuildError::Describe {
        package: package.file_name.clone(),
        source,
    })?;
    if let Some(bill) = bill {
        let name = format!("{}{}", package.file_name, cyclonedx::SUFFIX);
        store::write_atomically(&folder.join(name), &bill)?;
    }
    Ok(())
}

/// Puts beside each package of `record` what it is made of and how, where that is asked for.
pub(super) fn state(
    store: &Store,
    arch: Arch,
    record: &BuildRecord,
    options: &BuildOptions<'_>,
) -> Result<(), BuildError> {
    let folder = options.out.join(arch.apk());
    if options.cyclonedx {
        for package in &record.packages {
            bill_of_materials(store, package, &folder)?;
        }
    }
    if options.provenance {
        for (package, statement) in record.packages.iter().zip(&record.statements) {
            let line = blob(store, statement)?;
            let path = provenance::beside(&folder.join(&package.file_name));
            if fs::read(&path).ok().as_ref() != Some(&line) {
                store::write_atomically(&path, &line)?;
            }
        }
    }
    Ok(())
}

/// Writes the package's file into `folder`, unless it is there.
pub(crate) fn copy_out(
    store: &Store,
    package: &BuiltPackage,
    folder: &Path,
) -> Result<(), BuildError> {
    fs::create_dir_all(folder).map_err(WriteError::at("create the folder", folder))?;
    let path = folder.join(&package.file_name);
    if digest_of(&path).is_some_and(|digest| digest == package.digest) {
        return Ok(());
    }
    let mut blob = store.open_verified(&package.digest)?;
    let mut file = AtomicFile::create(&path)?;
    io::copy(&mut blob, file.file()).map_err(WriteError::at("write", &path))?;
    Ok(file.commit()?)
}

fn digest_of(path: &Path) -> Option<Digest> {
    let (digest, _) = Digest::of_all(File::open(path).ok()?).ok()?;
    Some(digest)
}

/// Held while the index is read and written, by whatever process.
fn lock(folder: &Path) -> Result<File, WriteError> {
    let path = folder.join(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(WriteError::at("create", &path))?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WriteError::at("lock", &path)(error.into())),
        }
    }
}

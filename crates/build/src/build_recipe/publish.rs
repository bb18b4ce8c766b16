//! Putting packages into a repository: first the files, then the index that names them, all under a
//! lock and only if the index that is there can be carried on.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use apk::index::{FILE_NAME, Index, IndexEntry, IndexError, Stamp};
use apk::package::Package;
use apk::signature::{Keyring, SignatureError, Signer};
use attest::cyclonedx;
use base::{Arch, Digest};
use rustix::fs::FlockOperation;
use store::{AtomicFile, Store, StoreError, WriteError};

use super::{BuildError, BuildOptions, BuiltPackage};
use crate::describe;
use crate::emit::published;
use crate::plan::BuildPlan;
use crate::provenance::{self, BuildFacts, Parameters, RecipeFile};
use crate::recipe::ResolvedRecipe;

/// Puts `packages` into `options.out` and its index. What is there already stays untouched, so a
/// repository that has them all does not change.
pub(super) fn publish(
    store: &Store,
    packages: &[BuiltPackage],
    arch: Arch,
    options: &BuildOptions<'_>,
) -> Result<(), BuildError> {
    let folder = options.out.join(arch.apk());
    fs::create_dir_all(&folder).map_err(WriteError::at("create the folder", &folder))?;
    let _held = lock(&folder)?;
    let before = present_index(arch, options)?;
    let mut entries = Vec::new();
    for package in packages {
        copy_out(store, package, &folder)?;
        let path = store
            .path(&package.digest)
            .ok_or(StoreError::Missing(package.digest))?;
        entries.push(IndexEntry::of(&Package::open(&path)?));
    }
    let mut index = before.clone().unwrap_or_default();
    index.merge(entries);
    let begins = options.stamping.begin && Stamp::of(&index.description).is_none();
    if begins || before.as_ref().is_none_or(|before| *before != index) {
        let former = before.as_ref().map(|before| before.description.as_str());
        index.description = options.stamping.describe(&index.description, former);
        index.write(&folder.join(FILE_NAME), options.signer, options.epoch)?;
    }
    Ok(())
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
    let path = store
        .path(&package.digest)
        .ok_or(StoreError::Missing(package.digest))?;
    let Some(document) = describe::packaged_document(&Package::open(&path)?)? else {
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

/// Puts beside each of `packages` what it is made of and how, where that is asked for.
pub(super) fn state(
    store: &Store,
    recipe: &ResolvedRecipe,
    plan: &BuildPlan,
    packages: &[BuiltPackage],
    options: &BuildOptions<'_>,
) -> Result<(), BuildError> {
    if options.cyclonedx {
        for package in packages {
            bill_of_materials(store, package, &options.out.join(recipe.arch.apk()))?;
        }
    }
    if !options.provenance {
        return Ok(());
    }
    let facts = BuildFacts {
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
    };
    let folder = options.out.join(recipe.arch.apk());
    let key = options.signer.map(Signer::key);
    for package in packages {
        let version = env!("CARGO_PKG_VERSION");
        let line = facts.line(&package.file_name, package.digest, version, key)?;
        let path = provenance::beside(&folder.join(&package.file_name));
        if fs::read(&path).ok().as_ref() != Some(&line) {
            store::write_atomically(&path, &line)?;
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
    let mut reader = base::DigestReader::new(File::open(path).ok()?);
    io::copy(&mut reader, &mut io::sink()).ok()?;
    Some(reader.finish().1)
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

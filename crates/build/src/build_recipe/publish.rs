//! Putting packages into a repository: first the files, then the index that names them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use apk::index::{FILE_NAME, Index, IndexEntry};
use apk::package::Package;
use base::{Arch, Digest};
use rustix::fs::FlockOperation;
use store::{AtomicFile, Store, StoreError, WriteError};

use super::{BuildError, BuildOptions, BuiltPackage};

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
    let mut entries = Vec::new();
    for package in packages {
        copy_out(store, package, &folder)?;
        let path = store
            .path(&package.digest)
            .ok_or(StoreError::Missing(package.digest))?;
        entries.push(IndexEntry::of(&Package::open(&path)?));
    }
    let _held = lock(&folder)?;
    let path = folder.join(FILE_NAME);
    let mut index = match options.signer {
        // What this key does not vouch for yet, it must not begin to vouch for.
        Some(signer) if path.exists() => {
            let mut keyring = options.keyring.clone();
            keyring.add(signer.key_name(), signer.public().clone());
            Index::read(&path, &keyring)?
        }
        None if path.exists() => Index::read_unverified(&path)?,
        _ => Index::default(),
    };
    let before = index.clone();
    index.merge(entries);
    if index != before || !path.exists() {
        index.write(&path, options.signer, options.epoch)?;
    }
    Ok(())
}

/// Writes the package's file into `folder`, unless it is there.
pub(super) fn copy_out(
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

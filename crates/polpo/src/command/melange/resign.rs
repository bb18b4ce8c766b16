//! Signatures of finished packages and indexes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use apk::index::Index;
use apk::package::Package;
use apk::signature::{Keyring, Signer};
use base::Epoch;
use store::{AtomicFile, WriteError};

use crate::command::apk::source_date_epoch;
use crate::output::failure::Failure;
use crate::settings;

/// Signs the index at `path`. One that is signed already stays as it is unless `force` says to replace
/// its signatures; gives whether anything was written.
pub(crate) fn sign_index(key: &Path, path: &Path, force: bool) -> Result<bool, Failure> {
    let what = || format!("{} was not signed", path.display());
    let signer = settings::signer(key)?;
    let index = Index::read_unverified(path).map_err(|error| Failure::failed(what(), error))?;
    let mut keyring = Keyring::default();
    keyring.add(signer.key_name(), signer.public().clone());
    let signed_by_it = Index::read(path, &keyring).is_ok();
    if !force && (signed_by_it || !is_unsigned(path)) {
        return Ok(false);
    }
    let epoch = source_date_epoch()?.unwrap_or(Epoch(0));
    index
        .write(path, [&signer], epoch)
        .map_err(|error| Failure::failed(what(), error))?;
    Ok(true)
}

/// Whether nobody signed an index that can be read.
fn is_unsigned(path: &Path) -> bool {
    use apk::index::IndexError;
    use apk::signature::SignatureError;
    matches!(
        Index::read(path, &Keyring::default()),
        Err(IndexError::Signature { source: SignatureError::Unsigned { skipped }, .. })
            if skipped.is_empty()
    )
}

/// Signs packages anew, in place: control and data stay byte for byte.
pub(crate) fn sign(key: &Path, packages: &[PathBuf]) -> Result<(), Failure> {
    let signer = settings::signer(key)?;
    for path in packages {
        let what = || format!("{} was not signed", path.display());
        resign(path, &signer).map_err(|error| Failure::failed(what(), error))?;
    }
    Ok(())
}

fn resign(path: &Path, signer: &Signer) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let package = Package::open(path)?;
    let control = package.control();
    // The signature has the time that the package's other entries have.
    let epoch = Epoch(package.info().build_time.unwrap_or(0));
    let signature = signer.sign(control, epoch)?;
    let mut data = File::open(path)?;
    data.seek(SeekFrom::Start(package.data_offset()))?;
    let mut placed = AtomicFile::create(path)?;
    let written = placed
        .write_all(&signature)
        .and_then(|()| placed.write_all(control))
        .and_then(|()| io::copy(&mut data, &mut placed));
    written.map_err(WriteError::at("write", path))?;
    Ok(placed.commit()?)
}

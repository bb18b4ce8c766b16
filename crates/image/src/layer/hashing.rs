//! SHA-256 of a layer's contents: one thread reads them, another does nothing but hash.

use std::fs::File;

use base::{HashingThread, Sha256Hasher};

use super::{LayerError, Part, Source, run, shortened};

/// Goes on from `hasher` with `parts` as tar. Gives its state after each of them too.
pub(super) fn hash_contents(
    parts: &[Part<'_>],
    hasher: Sha256Hasher,
) -> Result<(Sha256Hasher, Vec<String>), LayerError> {
    let mut hashing = HashingThread::new(hasher)?;
    for part in parts {
        match &part.source {
            Source::Package {
                whole: Some(package),
                ..
            } => {
                let length = package.run.length;
                if hashing.read_from(File::open(package.file())?, length)? != length {
                    return Err(shortened(&package.digest));
                }
            }
            _ => run::write(&part.items, &mut hashing)?,
        }
        hashing.note_state()?;
    }
    Ok(hashing.finish()?)
}

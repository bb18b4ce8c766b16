//! What a writer put into a layout is taken out again if its work fails.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::sync::{Mutex, PoisonError};

use base::Digest;
use rustix::fs::FlockOperation;
use store::WriteError;

use super::{Layout, LayoutError};
use crate::{Descriptor, media_type};

/// As many manifests and indexes are read to learn what is named.
const DOCUMENTS: usize = 10_000;

/// What one writer did, and that it is writing.
#[derive(Debug, Default)]
pub(super) struct Writing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Every writer shares the lock on the folder of blobs, from its first one on.
    lock: Option<File>,
    /// The blobs that were not there before.
    put: Vec<Digest>,
}

impl Layout {
    /// Says that this writes, before it looks which blobs are there: those are not taken away now.
    pub(crate) fn begin_writing(&self) -> Result<(), LayoutError> {
        let mut state = self.writing.locked();
        if state.lock.is_none() {
            let path = self.root.join("blobs/sha256");
            fs::create_dir_all(&path).map_err(WriteError::at("create the folder", &path))?;
            let folder = File::open(&path).map_err(WriteError::at("open", &path))?;
            rustix::fs::flock(&folder, FlockOperation::LockShared)
                .map_err(|error| WriteError::at("lock", &path)(error.into()))?;
            state.lock = Some(folder);
        }
        Ok(())
    }

    /// Says that this blob was put where there was none.
    pub(super) fn has_put(&self, digest: Digest) {
        self.writing.locked().put.push(digest);
    }

    /// Removes the blobs that this writer put and that nothing in `index.json` leads to. While
    /// others write they may count on any of them, and they are left.
    ///
    /// # Errors
    /// What is named can't be read, or a blob can't be removed; then the rest is left.
    pub(crate) fn take_back(&self) -> Result<(), LayoutError> {
        let mut state = self.writing.locked();
        let Some(lock) = state.lock.take() else {
            return Ok(());
        };
        let alone = FlockOperation::NonBlockingLockExclusive;
        if state.put.is_empty() || rustix::fs::flock(&lock, alone).is_err() {
            return Ok(());
        }
        let named = self.named_blobs()?;
        for digest in state.put.drain(..) {
            let path = self.blob_path(&digest);
            if !named.contains(&digest) {
                fs::remove_file(&path).map_err(WriteError::at("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Every blob that `index.json` leads to.
    fn named_blobs(&self) -> Result<BTreeSet<Digest>, LayoutError> {
        let mut named = BTreeSet::new();
        let mut waiting: Vec<Descriptor> = self.index()?.manifests;
        let mut documents = 0;
        while let Some(descriptor) = waiting.pop() {
            let media_type = &descriptor.media_type;
            let leads_on = media_type::is_manifest(media_type) || media_type::is_index(media_type);
            if !named.insert(descriptor.digest) || !leads_on {
                continue;
            }
            documents += 1;
            if documents > DOCUMENTS {
                return Err(LayoutError::TooMany {
                    path: self.root.clone(),
                    digest: descriptor.digest,
                    limit: DOCUMENTS,
                });
            }
            match self.document(&descriptor) {
                Ok(document) => {
                    named.extend(document.blobs().iter().map(|blob| blob.digest));
                    waiting.extend(document.manifests().iter().cloned());
                    waiting.extend(document.subject().cloned());
                }
                // Part of an image only.
                Err(LayoutError::Missing { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(named)
    }
}

impl Writing {
    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Blobs of the store put into a layout, none of them read twice.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};
use store::{AtomicFile, Store, WriteError};

use super::{Layout, LayoutError};
use crate::Descriptor;

/// The kind of the store's records of files whose bytes were seen to be a blob's, by its digest.
const SEEN: &str = "layout-blob";
/// As many files are remembered for a blob.
const MOST: usize = 16;

/// A file as it was when its bytes were seen. Whoever changes them changes its times: a filesystem sets
/// the last of them by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(metadata: &Metadata) -> Seen {
        Seen {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Layout {
    /// Copies a blob of the store in. One that is there is left: if it was put there before and not
    /// touched since, it isn't read again; any other is read and put in place of what it is not.
    ///
    /// # Errors
    /// It is not in the store, can't be read or written, or is shorter than `descriptor` says.
    pub fn put_from_store(
        &self,
        descriptor: &Descriptor,
        store: &Store,
    ) -> Result<(), LayoutError> {
        self.put_remembered(descriptor, store, |file| {
            let mut source = store.open_blob(&descriptor.digest)?;
            // The kernel copies, where the filesystems can by sharing the blocks.
            let path = self.blob_path(&descriptor.digest);
            let copied = io::copy(&mut source, file).map_err(WriteError::at("write", &path))?;
            Ok::<_, LayoutError>(copied)
        })
    }

    /// As [`Layout::put_from_store`], of a blob that `write` writes: its bytes are taken to be right, and it
    /// says how many they are. That the file was put there is remembered in `store`.
    ///
    /// # Errors
    /// What `write` says; the file can't be put there, or is no longer or shorter than `descriptor` says.
    pub fn put_remembered<E: From<LayoutError>>(
        &self,
        descriptor: &Descriptor,
        store: &Store,
        write: impl FnOnce(&mut File) -> Result<u64, E>,
    ) -> Result<(), E> {
        let path = self.blob_path(&descriptor.digest);
        let mut seen: Vec<Seen> = store
            .record_get(SEEN, &descriptor.digest)
            .map_err(LayoutError::from)?
            .unwrap_or_default();
        self.begin_writing()?;
        let is_new = path.symlink_metadata().is_err();
        let there = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() && metadata.size() == descriptor.size => {
                if seen.contains(&Seen::of(&metadata)) {
                    return Ok(());
                }
                self.is_intact(descriptor)?
            }
            _ => false,
        };
        if !there {
            let mut file = AtomicFile::create(&path).map_err(LayoutError::from)?;
            let found_size = write(file.file())?;
            if found_size != descriptor.size {
                return Err(E::from(LayoutError::Damaged {
                    path: store.path(&descriptor.digest).unwrap_or(path),
                    expected: descriptor.digest,
                    size: descriptor.size,
                    found: descriptor.digest,
                    found_size,
                }));
            }
            file.commit().map_err(LayoutError::from)?;
            if is_new {
                self.has_put(descriptor.digest);
            }
        }
        let metadata = path
            .symlink_metadata()
            .map_err(|source| LayoutError::Read { path, source })?;
        seen.insert(0, Seen::of(&metadata));
        seen.truncate(MOST);
        let remembered = store.record_put(SEEN, &descriptor.digest, &seen);
        Ok(remembered.map_err(LayoutError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use base::Digest;
    use store::StoreError;

    use super::*;
    use crate::media_type;

    #[test]
    fn what_was_touched_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        let blob = store.put(&b"a layer"[..]).unwrap();
        let descriptor = Descriptor::new(media_type::LAYER_TAR, blob.digest, blob.size);
        let layout = Layout::create(folder.path().join("layout")).unwrap();
        layout.put_from_store(&descriptor, &store).unwrap();
        let path = layout.blob_path(&blob.digest);
        let inode = || path.metadata().unwrap().ino();
        let first = inode();
        layout.put_from_store(&descriptor, &store).unwrap();
        assert_eq!(inode(), first);

        // As long as it was, and other bytes: replaced.
        std::fs::write(&path, b"A LAYER").unwrap();
        layout.put_from_store(&descriptor, &store).unwrap();
        assert_eq!(Digest::of(&std::fs::read(&path).unwrap()), blob.digest);
        // The same bytes, touched: read, and left.
        let second = inode();
        std::fs::write(&path, b"a layer").unwrap();
        layout.put_from_store(&descriptor, &store).unwrap();
        assert_eq!(inode(), second);
        // Another layout has files of its own.
        let other = Layout::create(folder.path().join("other")).unwrap();
        other.put_from_store(&descriptor, &store).unwrap();
        assert_eq!(
            std::fs::read(other.blob_path(&blob.digest)).unwrap(),
            b"a layer"
        );

        std::fs::remove_file(store.path(&blob.digest).unwrap()).unwrap();
        layout.put_from_store(&descriptor, &store).unwrap();
        std::fs::remove_file(&path).unwrap();
        let error = layout.put_from_store(&descriptor, &store).unwrap_err();
        assert!(matches!(error, LayoutError::Store(StoreError::Missing(_))));
    }
}

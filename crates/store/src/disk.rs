//! Blobs, trees and records on a disk.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Digest, DigestWriter};
use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempDir};

use crate::atomic::{AtomicFile, WriteError};

/// The store can't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("the store {} is in use by another polpo; wait until that is done", root.display())]
    InUse {
        /// The store's folder.
        root: PathBuf,
    },
    /// A file of the store can't be read or written.
    #[error(transparent)]
    Disk(#[from] WriteError),
    /// The bytes to be put could not be read.
    #[error("can't read what was to be stored: {0}")]
    Input(#[source] io::Error),
    /// The bytes are not those that were promised.
    #[error("wrong contents: expected {expected}, got {actual} ({size} bytes)")]
    Mismatch {
        /// The digest promised.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
        /// How many bytes came.
        size: u64,
    },
    /// No such blob is stored.
    #[error("{0} is not in the store; fetch or build it first")]
    Missing(Digest),
    /// A stored blob no longer has its digest.
    #[error("{} is damaged: its contents are {actual}; it was removed, fetch or build it again", path.display())]
    Damaged {
        /// The blob's file.
        path: PathBuf,
        /// What its bytes are.
        actual: Digest,
    },
    /// A record can't be written as JSON.
    #[error("the record {kind}/{key} can't be written as JSON: {source}")]
    Record {
        /// The kind of record.
        kind: String,
        /// What it is about.
        key: Digest,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No folder for the store is known.
    #[error("no folder for the store: set POLPO_STORE, XDG_CACHE_HOME or HOME")]
    NoHome,
}

/// A tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TreeError<E> {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to fill the tree failed.
    #[error("{0}")]
    Fill(E),
}

/// A stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
}

/// A content-addressed store in a folder. Clones share it; so may processes.
#[derive(Clone, Debug)]
pub struct Store {
    session: Arc<Session>,
}

/// One opening of the store: its part of `tmp/`, held by a lock that dies with the process.
#[derive(Debug)]
struct Session {
    root: PathBuf,
    temporary: PathBuf,
    boot: String,
    _held: File,
}

impl Store {
    /// Opens the store at `root`, made when it is missing. Removes what dead processes left.
    ///
    /// # Errors
    /// The folder can't be made or written to.
    pub fn open(root: impl AsRef<Path>) -> Result<Store, StoreError> {
        let root = root.as_ref();
        make_folder(root)?;
        let root = root
            .canonicalize()
            .map_err(WriteError::at("open the folder", root))?;
        for folder in [
            "blobs/sha256",
            "trees",
            "records",
            "locks",
            "partial",
            "tmp",
        ] {
            make_folder(&root.join(folder))?;
        }
        // Held while sessions come and go, so that none is swept between its making and its lock.
        let gate = lock(&root.join("tmp/lock"))?;
        sweep(&root.join("tmp"))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
        forget_unsynced(&root, &boot)?;
        let temporary = tempfile::Builder::new()
            .prefix("session-")
            .tempdir_in(root.join("tmp"))
            .map_err(WriteError::at("write in", &root.join("tmp")))?
            .keep();
        let held = lock(&temporary.join("lock"))?;
        drop(gate);
        Ok(Store {
            session: Arc::new(Session {
                root,
                temporary,
                boot,
                _held: held,
            }),
        })
    }

    /// Where the store is by default: `$POLPO_STORE`, else `$XDG_CACHE_HOME/polpo`, else
    /// `~/.cache/polpo`.
    ///
    /// # Errors
    /// None of the three variables is set.
    pub fn default_root() -> Result<PathBuf, StoreError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(root) = variable("POLPO_STORE") {
            return Ok(root.into());
        }
        if let Some(cache) = variable("XDG_CACHE_HOME") {
            return Ok(Path::new(&cache).join("polpo"));
        }
        variable("HOME")
            .map(|home| Path::new(&home).join(".cache/polpo"))
            .ok_or(StoreError::NoHome)
    }

    /// Bytes of everything in the store.
    ///
    /// # Errors
    /// It can't be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        let mut size = 0;
        let mut folders = vec![self.session.root.clone()];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder)? {
                // What another process removes meanwhile has no size.
                match fs::symlink_metadata(&path) {
                    Ok(metadata) if metadata.is_dir() => folders.push(path),
                    Ok(metadata) => size += metadata.len(),
                    Err(_) => {}
                }
            }
        }
        Ok(size)
    }

    /// Removes everything from the store.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open, or something can't be removed.
    pub fn clear(&self) -> Result<(), StoreError> {
        let root = &self.session.root;
        // No session begins or is swept before this is done.
        let _gate = lock(&root.join("tmp/lock"))?;
        sweep(&root.join("tmp"))?;
        let own = &self.session.temporary;
        let others = entries(&root.join("tmp"))?
            .into_iter()
            .filter(|path| path != own && path.file_name().is_some_and(|name| name != "lock"));
        if others.count() > 0 {
            return Err(StoreError::InUse { root: root.clone() });
        }
        for folder in ["records", "trees", "blobs", "partial", "unsynced"] {
            for path in entries(&root.join(folder))? {
                remove(&path)?;
            }
        }
        make_folder(&root.join("blobs/sha256"))
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.session.root
    }

    /// Stores all bytes of `read`.
    ///
    /// # Errors
    /// They can't be read, or not be written.
    pub fn put(&self, read: impl Read) -> Result<Blob, StoreError> {
        self.put_checked(read, None)
    }

    /// Stores the bytes of the file at `path`, which stays as it is.
    ///
    /// # Errors
    /// It can't be read, or not be stored.
    pub fn put_file(&self, path: &Path) -> Result<Blob, StoreError> {
        let file = File::open(path).map_err(WriteError::at("read", path))?;
        self.put(file)
    }

    /// Stores all bytes of `read` if their digest is `expected`; else nothing is stored.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`], or they can't be read or written.
    pub fn put_expecting(&self, read: impl Read, expected: Digest) -> Result<Blob, StoreError> {
        self.put_checked(read, Some(expected))
    }

    fn put_checked(
        &self,
        mut read: impl Read,
        expected: Option<Digest>,
    ) -> Result<Blob, StoreError> {
        let beside = self.temp_file()?;
        let mut writer = DigestWriter::new(beside);
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = match read.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(StoreError::Input(error)),
            };
            writer
                .write_all(&buffer[..count])
                .map_err(WriteError::at("write in", &self.session.temporary))?;
        }
        let (beside, actual, size) = writer.finish();
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(StoreError::Mismatch {
                expected,
                actual,
                size,
            });
        }
        self.adopt(beside, actual)?;
        Ok(Blob {
            digest: actual,
            size,
        })
    }

    /// Takes a file of [`Store::temp_file`] whose digest the caller has computed while writing.
    ///
    /// # Errors
    /// The file can't be made durable or renamed.
    pub fn adopt(&self, file: NamedTempFile, digest: Digest) -> Result<PathBuf, StoreError> {
        let path = self.blob_path(&digest);
        let size = file.as_file().metadata();
        let size = size.map_err(WriteError::at("read", file.path()))?.len();
        // One that was cut off is put in order.
        if fs::metadata(&path).is_ok_and(|there| there.len() == size) {
            return Ok(path);
        }
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        make_durable(file.as_file(), file.path())?;
        file.persist(&path)
            .map_err(|error| WriteError::at("write", &path)(error.error))?;
        Ok(path)
    }

    /// Takes the file at `from`, on this filesystem, whose digest the caller has computed.
    pub(crate) fn adopt_file(
        &self,
        file: &File,
        from: &Path,
        digest: Digest,
    ) -> Result<PathBuf, StoreError> {
        let path = self.blob_path(&digest);
        if path.exists() {
            remove(from)?;
            return Ok(path);
        }
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        make_durable(file, from)?;
        fs::rename(from, &path).map_err(WriteError::at("write", &path))?;
        Ok(path)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.session.root.join("blobs/sha256");
        path.push(&hex[..2]);
        path.push(&hex);
        path
    }

    /// The blob's file, if it is stored. It must not be changed.
    pub fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.blob_path(digest);
        path.is_file().then_some(path)
    }

    /// Whether the blob is stored.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_some()
    }

    /// Opens the blob; its bytes are taken to be right.
    ///
    /// # Errors
    /// [`StoreError::Missing`], or it can't be read.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing(*digest),
            _ => WriteError::at("read", &path)(error).into(),
        })
    }

    /// Opens the blob after checking every byte. A damaged one is removed.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Damaged`], or it can't be read.
    pub fn open_verified(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        let mut file = self.open_blob(digest)?;
        let (actual, _) = Digest::of_all(&mut file).map_err(WriteError::at("read", &path))?;
        if actual != *digest {
            fs::remove_file(&path).map_err(WriteError::at("remove", &path))?;
            return Err(StoreError::Damaged { path, actual });
        }
        file.rewind().map_err(WriteError::at("read", &path))?;
        Ok(file)
    }

    /// The folder made for `key`, if there is one.
    pub fn tree_path(&self, key: &Digest) -> Option<PathBuf> {
        let path = self.session.root.join("trees").join(key.hex());
        path.is_dir().then_some(path)
    }

    /// The folder for `key`; when it is missing, `fill` fills an empty one that then takes its
    /// place. Callers of the same key, in this process or others, wait for the first.
    ///
    /// The folder must not be changed afterwards.
    ///
    /// # Errors
    /// `fill` failed (nothing is kept), or the store can't be written to.
    pub fn tree<E>(
        &self,
        key: &Digest,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, TreeError<E>> {
        if let Some(path) = self.tree_path(key) {
            return Ok(path);
        }
        let root = &self.session.root;
        let _held = lock(&root.join("locks").join(key.hex()))?;
        if let Some(path) = self.tree_path(key) {
            return Ok(path);
        }
        let beside = self.temp_dir()?;
        let folder = beside.path().join("tree");
        make_folder(&folder)?;
        fill(&folder).map_err(TreeError::Fill)?;
        // A crash of the machine may lose file contents after the rename has reached the disk.
        // Syncing each tree costs more than making it; instead the tree stays on a list until the
        // session has synced once, and what a former boot left on the list is not trusted.
        Ok(self.session.keep_tree(key, &folder)?)
    }

    /// An empty folder on the store's filesystem, removed when dropped.
    ///
    /// # Errors
    /// The store can't be written to.
    pub fn temp_dir(&self) -> Result<TempDir, StoreError> {
        let within = &self.session.temporary;
        Ok(TempDir::new_in(within).map_err(WriteError::at("write in", within))?)
    }

    /// An empty file on the store's filesystem, removed when dropped.
    ///
    /// # Errors
    /// The store can't be written to.
    pub fn temp_file(&self) -> Result<NamedTempFile, StoreError> {
        let within = &self.session.temporary;
        Ok(NamedTempFile::new_in(within).map_err(WriteError::at("write in", within))?)
    }

    /// The record of `kind` about `key`. One that is missing, or was written by another version
    /// and no longer decodes, is `None`.
    ///
    /// # Errors
    /// It is there but can't be read.
    pub fn record_get<T: DeserializeOwned>(
        &self,
        kind: &str,
        key: &Digest,
    ) -> Result<Option<T>, StoreError> {
        // Records are read by the hundred: memory that is new each time costs more than they do.
        thread_local! {
            static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let path = self.record_path(kind, key);
        BYTES.with_borrow_mut(|bytes| {
            bytes.clear();
            match File::open(&path).and_then(|mut file| file.read_to_end(bytes)) {
                Ok(_) => Ok(serde_json::from_slice(bytes).ok()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(WriteError::at("read", &path)(error).into()),
            }
        })
    }

    /// Writes the record of `kind` about `key`, in place of an earlier one.
    ///
    /// # Errors
    /// It can't be written.
    pub fn record_put<T: Serialize>(
        &self,
        kind: &str,
        key: &Digest,
        value: &T,
    ) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|source| StoreError::Record {
            kind: kind.to_owned(),
            key: *key,
            source,
        })?;
        let path = self.record_path(kind, key);
        let mut file = AtomicFile::create(&path)?;
        file.write_all(&bytes)
            .map_err(WriteError::at("write", &path))?;
        Ok(file.commit()?)
    }

    /// Whether there is a record of this kind about `key`, whatever it says.
    pub fn has_record(&self, kind: &str, key: &Digest) -> bool {
        self.record_path(kind, key).exists()
    }

    fn record_path(&self, kind: &str, key: &Digest) -> PathBuf {
        let mut path = self.session.root.join("records");
        path.push(kind);
        path.push(format!("{}.json", key.hex()));
        path
    }

    /// Makes everything written so far safe from a crash of the machine. The last user of an
    /// opened store does so by itself.
    ///
    /// # Errors
    /// The filesystem can't be synced.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.session.sync()
    }
}

impl Session {
    fn keep_tree(&self, key: &Digest, folder: &Path) -> Result<PathBuf, StoreError> {
        let list = self.root.join("unsynced").join(&self.boot);
        make_folder(&list)?;
        let mark = list.join(key.hex());
        File::create(&mark).map_err(WriteError::at("create", &mark))?;
        let path = self.root.join("trees").join(key.hex());
        fs::rename(folder, &path).map_err(WriteError::at("create", &path))?;
        Ok(path)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let list = self.root.join("unsynced").join(&self.boot);
        let marks = entries(&list)?;
        if marks.is_empty() {
            return Ok(());
        }
        let folder = File::open(&self.root).map_err(WriteError::at("open", &self.root))?;
        rustix::fs::syncfs(&folder)
            .map_err(|error| WriteError::at("sync", &self.root)(error.into()))?;
        for mark in marks {
            remove(&mark)?;
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nobody is left to tell; what fails here is swept by the next one who opens the store.
        let _ = self.sync();
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

/// What a blob's file is before it takes its name: read-only, and on the disk.
fn make_durable(file: &File, path: &Path) -> Result<(), StoreError> {
    file.set_permissions(fs::Permissions::from_mode(0o444))
        .map_err(WriteError::at("set the mode of", path))?;
    Ok(file.sync_data().map_err(WriteError::at("write", path))?)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    Ok(fs::create_dir_all(path).map_err(WriteError::at("create the folder", path))?)
}

/// Waits for the exclusive lock on the file at `path`. It lasts until the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(WriteError::at("create", path))?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(WriteError::at("lock", path)(error.into()).into()),
        }
    }
}

/// The entries of a folder; none when it is missing.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(WriteError::at("read the folder", folder)(error).into()),
    };
    let mut paths = read
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(WriteError::at("read the folder", folder))?;
    paths.sort();
    Ok(paths)
}

/// Removes a file or a folder with all that is in it; one already gone is fine.
fn remove(path: &Path) -> Result<(), StoreError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder {
        remove_folder(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(WriteError::at("remove", path)(error).into())
        }
        _ => Ok(()),
    }
}

/// How often, and how long apart, a folder is removed that something is still written into.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// `remove_dir_all` that also gets rid of folders without write permission, and of those of a process
/// that was killed: what it had started dies just after it, and until then may write there.
fn remove_folder(path: &Path) -> io::Result<()> {
    let mut attempts = 1;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                open_up(path)?;
                return fs::remove_dir_all(path);
            }
            Err(error)
                if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempts < ATTEMPTS =>
            {
                attempts += 1;
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the temporary folders that no live process holds.
fn sweep(temporary: &Path) -> Result<(), StoreError> {
    for path in entries(temporary)? {
        if path.file_name().is_some_and(|name| name == "lock") {
            continue;
        }
        let held = File::open(path.join("lock")).is_ok_and(|file| {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        });
        if !held {
            // What belongs to ids that only a build has can't be removed here: it is tried again the
            // next time, and no store is unusable for it.
            let _ = remove(&path);
        }
    }
    Ok(())
}

/// Removes the trees that an earlier boot of the machine left unsynced, and their marks.
fn forget_unsynced(root: &Path, boot: &str) -> Result<(), StoreError> {
    for list in entries(&root.join("unsynced"))? {
        if list.file_name().is_some_and(|name| name == boot) {
            continue;
        }
        for mark in entries(&list)? {
            if let Some(name) = mark.file_name() {
                remove(&root.join("trees").join(name))?;
            }
            remove(&mark)?;
        }
        remove(&list)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_still_written_into_is_removed_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session");
        fs::create_dir(&path).unwrap();
        let busy = path.clone();
        let writer = std::thread::spawn(move || {
            for number in 0..2000 {
                // Gone in between, or not.
                let _ = fs::write(busy.join(number.to_string()), "");
            }
        });
        remove_folder(&path).unwrap();
        writer.join().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_store_is_emptied_unless_another_uses_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let blob = store.put(&b"bytes"[..]).unwrap();
        store
            .tree(&blob.digest, |tree| fs::write(tree.join("file"), "x"))
            .unwrap();
        assert!(store.size().unwrap() >= 6);
        let other = Store::open(folder.path()).unwrap();
        assert!(matches!(store.clear(), Err(StoreError::InUse { .. })));
        assert!(store.contains(&blob.digest));
        drop(other);
        store.clear().unwrap();
        assert!(!store.contains(&blob.digest));
        assert!(store.tree_path(&blob.digest).is_none());
        // It can be used again.
        store.put(&b"bytes"[..]).unwrap();
    }
}

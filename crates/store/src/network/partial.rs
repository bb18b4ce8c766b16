//! Files on their way into the store. What has come of one is kept when the transfer breaks off,
//! for a later call or process to go on with.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base::{Digest, Sha256Hasher};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::Validators;
use crate::{Expected, Store, StoreError, WriteError, write_atomically};

/// For so long what has come of a file waits for somebody to go on with it.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A file that is being fetched.
pub(super) struct Partial {
    path: PathBuf,
    /// Where the notes are; a file that nobody comes back to has none.
    notes_path: Option<PathBuf>,
    file: File,
    sha256: Sha256Hasher,
    sha512: Option<sha2::Sha512>,
    size: u64,
    notes: Notes,
    resumed: bool,
    by_digest: bool,
    keep: bool,
    adopted: bool,
}

/// What must still hold of the server's file for its rest to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) validators: Validators,
    pub(super) total: Option<u64>,
}

impl Partial {
    /// The file for `key`, with what an earlier call has left of it. While another call works at
    /// it, a file of its own for this one.
    pub(super) fn open(
        store: &Store,
        key: &Digest,
        expected: Option<Expected>,
    ) -> Result<Partial, StoreError> {
        let path = store.root().join(format!("partial/{}.part", key.hex()));
        let notes_path = path.with_extension("json");
        let Some(file) = lock(&path)? else {
            return Partial::private(store, expected);
        };
        let notes = match fs::read(&notes_path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Notes::default(),
            Err(error) => return Err(WriteError::at("read", &notes_path)(error).into()),
        };
        let mut partial = Partial {
            path,
            notes_path: Some(notes_path),
            file,
            sha256: Sha256Hasher::default(),
            sha512: hasher(expected),
            size: 0,
            notes,
            resumed: false,
            by_digest: expected.is_some(),
            keep: true,
            adopted: false,
        };
        partial.read_again()?;
        Ok(partial)
    }

    fn private(store: &Store, expected: Option<Expected>) -> Result<Partial, StoreError> {
        let (file, path) = store
            .temp_file()?
            .keep()
            .map_err(|error| WriteError::at("keep", error.file.path())(error.error))?;
        Ok(Partial {
            path,
            notes_path: None,
            file,
            sha256: Sha256Hasher::default(),
            sha512: hasher(expected),
            size: 0,
            notes: Notes::default(),
            resumed: false,
            by_digest: expected.is_some(),
            keep: false,
            adopted: false,
        })
    }

    /// Hashes what is there already.
    fn read_again(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; 1 << 17];
        loop {
            let count = match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(WriteError::at("read", &self.path)(error).into()),
            };
            self.hash(buffer.get(..count).unwrap_or_default());
        }
        self.resumed = self.size > 0;
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.sha256.update(bytes);
        if let Some(hasher) = &mut self.sha512 {
            hasher.update(bytes);
        }
    }

    /// Bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What is known of the file that the bytes so far are of.
    pub(super) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The bytes that come now go on where the former ended.
    pub(super) fn resume(&mut self) {
        self.resumed = true;
    }

    /// Forgets all bytes: those that come now are a file from its beginning, of which `notes` holds.
    pub(super) fn restart(&mut self, notes: Notes) -> Result<(), StoreError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(WriteError::at("write", &self.path))?;
        self.sha256 = Sha256Hasher::default();
        self.sha512 = self.sha512.take().map(|_| sha2::Sha512::new());
        self.size = 0;
        self.resumed = false;
        if let Some(path) = &self.notes_path
            && self.notes != notes
        {
            let bytes = serde_json::to_vec(&notes).unwrap_or_default();
            write_atomically(path, &bytes)?;
        }
        self.notes = notes;
        Ok(())
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(WriteError::at("write", &self.path))?;
        self.hash(bytes);
        Ok(())
    }

    /// Nobody is left to tell of a failure, and notes without their file do no harm.
    fn forget_notes(&self) {
        if let Some(notes) = &self.notes_path {
            let _ = fs::remove_file(notes);
        }
    }

    /// The file is whole.
    pub(super) fn finish(mut self) -> Arrived {
        self.keep = false;
        let sha512 = self.sha512.take().map(|hasher| hasher.finalize().into());
        Arrived {
            digest: std::mem::take(&mut self.sha256).finish(),
            size: self.size,
            sha512,
            partial: self,
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Whoever comes next goes on with it, if anything can tell that the rest still fits.
        let fits = self.by_digest || self.notes.validators.strong().is_some();
        let worth_keeping = self.keep && fits && self.size > 0;
        if !(self.adopted || worth_keeping) {
            self.forget_notes();
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file that came whole. It is removed when dropped, unless [`Arrived::keep`] stores it.
pub struct Arrived {
    partial: Partial,
    digest: Digest,
    size: u64,
    sha512: Option<[u8; 64]>,
}

impl Arrived {
    /// Where it is for now.
    pub fn path(&self) -> &Path {
        &self.partial.path
    }

    /// Its SHA-256.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it came in several parts: if they don't fit each other, fetching it once more helps.
    pub fn is_resumed(&self) -> bool {
        self.partial.resumed
    }

    /// What the server says by which it can tell later whether its file has changed.
    pub fn validators(&self) -> &Validators {
        &self.partial.notes.validators
    }

    /// The digest of the kind that `expected` is.
    pub(super) fn like(&self, expected: &Expected) -> Expected {
        match (expected, self.sha512) {
            (Expected::Sha512(_), Some(digest)) => Expected::Sha512(digest),
            _ => Expected::Sha256(self.digest),
        }
    }

    /// Puts it into the store under its SHA-256, and says where.
    ///
    /// # Errors
    /// It can't be made durable or renamed.
    pub fn keep(mut self, store: &Store) -> Result<PathBuf, StoreError> {
        self.partial.forget_notes();
        let stored = store.adopt_file(&self.partial.file, &self.partial.path, self.digest)?;
        self.partial.adopted = true;
        sweep(&store.root().join("partial"), &stored);
        Ok(stored)
    }
}

impl std::fmt::Debug for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.digest, self.size)
    }
}

/// Removes what was left unfinished long before the file at `arrived` came: nobody is coming back.
/// What can't be removed stays for the next time; that is no reason for what has come to fail.
fn sweep(folder: &Path, arrived: &Path) {
    let modified = |path: &Path| fs::metadata(path)?.modified();
    let Some(latest) = modified(arrived)
        .ok()
        .and_then(|now| now.checked_sub(PATIENCE))
    else {
        return;
    };
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let is_old = |path: &Path| modified(path).is_ok_and(|time: SystemTime| time < latest);
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            // Whoever has the file locked is at work.
            Some("part") if is_old(&path) => {
                if let Ok(Some(_held)) = lock(&path)
                    && is_old(&path)
                {
                    let _ = fs::remove_file(path.with_extension("json"));
                    let _ = fs::remove_file(&path);
                }
            }
            Some("json") if is_old(&path) && !path.with_extension("part").exists() => {
                let _ = fs::remove_file(&path);
            }
            _ => {}
        }
    }
}

fn hasher(expected: Option<Expected>) -> Option<sha2::Sha512> {
    matches!(expected, Some(Expected::Sha512(_))).then(sha2::Sha512::new)
}

/// Opens and locks the file at `path`; none when somebody else has it.
fn lock(path: &Path) -> Result<Option<File>, StoreError> {
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(WriteError::at("create", path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(WriteError::at("lock", path)(error.into()).into()),
        }
        // Between opening and locking, its former holder may have made a blob of it.
        let opened = file.metadata().map_err(WriteError::at("read", path))?;
        match fs::metadata(path) {
            Ok(named) if named.ino() == opened.ino() && named.dev() == opened.dev() => {
                return Ok(Some(file));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(WriteError::at("read", path)(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aged(path: &Path, days: u64) {
        fs::write(path, "some").unwrap();
        let age = Duration::from_secs(days * 24 * 60 * 60);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000) - age;
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    #[test]
    fn what_nobody_goes_on_with_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, days) in [
            ("old.part", 8),
            ("old.json", 8),
            ("busy.part", 8),
            ("alone.json", 8),
            ("new.part", 6),
            ("new.json", 9),
            ("arrived", 0),
        ] {
            aged(&path(name), days);
        }
        let busy = lock(&path("busy.part")).unwrap();
        sweep(folder.path(), &path("arrived"));
        drop(busy);
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["arrived", "busy.part", "new.json", "new.part"]);
    }
}

//! A layout appears under its name once it is whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use store::WriteError;

use crate::layout::{Layout, LayoutError};

impl Layout {
    /// Fills the layout in the folder `root`. One that is there already is filled in place. A new one
    /// is made in a folder beside it and renamed once `fill` is done and all is on the disk, so that
    /// nobody ever finds an empty layout there; what a killed run left of it is taken up again.
    ///
    /// # Errors
    /// As of [`Layout::create`], those of `fill`, and a layout that can't be put in its place. Then a
    /// new layout is removed again, and of an older one the blobs that nothing names.
    pub fn fill<T, E: From<LayoutError>>(
        root: &Path,
        fill: impl FnOnce(&Layout) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(aside) = Aside::beside(root).map_err(LayoutError::from)? else {
            let mut there = InPlace::new(root)?;
            let value = fill(&there.layout)?;
            there.is_whole = true;
            return Ok(value);
        };
        let filled = Layout::create(aside.layout())
            .map_err(E::from)
            .and_then(|layout| fill(&layout));
        aside.end(root, filled)
    }

    /// As [`Layout::fill`], by work that waits for others.
    ///
    /// # Errors
    /// As of [`Layout::fill`].
    pub async fn fill_slowly<T, E: From<LayoutError>>(
        root: &Path,
        fill: impl AsyncFnOnce(&Layout) -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(aside) = Aside::beside(root).map_err(LayoutError::from)? else {
            let mut there = InPlace::new(root)?;
            let value = fill(&there.layout).await?;
            there.is_whole = true;
            return Ok(value);
        };
        let filled = match Layout::create(aside.layout()) {
            Ok(layout) => fill(&layout).await,
            Err(error) => Err(error.into()),
        };
        aside.end(root, filled)
    }
}

/// A layout that was there before.
struct InPlace {
    layout: Layout,
    /// The work is done.
    is_whole: bool,
}

impl InPlace {
    fn new(root: &Path) -> Result<InPlace, LayoutError> {
        let layout = Layout::create(root)?;
        layout.begin_writing()?;
        Ok(InPlace {
            layout,
            is_whole: false,
        })
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        // Work that failed, or was given up, leaves nothing; its own error is the one to tell.
        if !self.is_whole {
            let _ = self.layout.take_back();
        }
    }
}

/// The folder beside a layout in which it is made. Whoever has it holds the lock on it.
struct Aside {
    path: PathBuf,
    _lock: File,
    /// It is in its place.
    is_put: bool,
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Work that failed, or was given up, leaves nothing; its own error is the one to tell.
        if !self.is_put {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Aside {
    /// None where there is a layout, or something else that is the caller's to refuse.
    fn beside(root: &Path) -> Result<Option<Aside>, WriteError> {
        let Some(name) = root.file_name() else {
            return Ok(None);
        };
        let mut partial = std::ffi::OsString::from(".");
        partial.push(name);
        partial.push(".partial");
        let path = root.with_file_name(partial);
        loop {
            match fs::read_dir(root).map(|mut entries| entries.next().is_none()) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(false) | Err(_) => return Ok(None),
            }
            fs::create_dir_all(&path).map_err(WriteError::at("create the folder", &path))?;
            let lock = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(WriteError::at("open", &path))?,
            };
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)
                .map_err(|error| WriteError::at("lock", &path)(error.into()))?;
            // Whoever had it before may have finished, and taken the folder away.
            let locked = lock.metadata().map_err(WriteError::at("read", &path))?;
            match fs::symlink_metadata(&path) {
                Ok(there) if (there.dev(), there.ino()) == (locked.dev(), locked.ino()) => {
                    if root.join("oci-layout").exists() {
                        let _ = fs::remove_dir(&path);
                        return Ok(None);
                    }
                    return Ok(Some(Aside {
                        path,
                        _lock: lock,
                        is_put: false,
                    }));
                }
                _ => {}
            }
        }
    }

    fn layout(&self) -> PathBuf {
        self.path.join("layout")
    }

    fn end<T, E: From<LayoutError>>(self, root: &Path, filled: Result<T, E>) -> Result<T, E> {
        let value = filled?;
        self.put(root)?;
        Ok(value)
    }

    fn put(mut self, root: &Path) -> Result<(), LayoutError> {
        let layout = self.layout();
        // From here on a failure leaves what is whole already.
        self.is_put = true;
        let place = |from: &Path| -> io::Result<()> {
            for folder in ["blobs/sha256", "blobs", ""] {
                File::open(from.join(folder))?.sync_all()?;
            }
            fs::rename(from, root)?;
            fs::remove_dir(&self.path)?;
            match self.path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
                _ => File::open(".")?.sync_all(),
            }
        };
        Ok(place(&layout).map_err(WriteError::at("put the layout at", root))?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::{Descriptor, Index, Manifest, media_type};

    fn put(root: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
        Layout::fill(root, |layout| {
            assert!(!root.join("oci-layout").exists() || root == layout.root());
            layout.put_blob(media_type::CONFIG, bytes).map(drop)
        })
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_layout_appears_whole_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("image");
        fs::create_dir(&root).unwrap();
        put(&root, b"{}").unwrap();
        put(&root, b"[]").unwrap();
        assert_eq!(names(folder.path()), ["image"]);
        assert_eq!(names(&root.join("blobs/sha256")).len(), 2);
    }

    #[test]
    fn what_a_killed_run_left_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("image");
        let left = Layout::create(folder.path().join(".image.partial/layout")).unwrap();
        left.put_blob(media_type::CONFIG, b"{}").unwrap();
        put(&root, b"[]").unwrap();
        assert_eq!(names(folder.path()), ["image"]);
        assert_eq!(names(&root.join("blobs/sha256")).len(), 2);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("image");
        let failed: Result<(), LayoutError> = Layout::fill(&root, |layout| {
            layout.put_blob(media_type::CONFIG, b"{}")?;
            layout.resolve(None).map(drop)
        });
        failed.unwrap_err();
        assert!(names(folder.path()).is_empty());
    }

    /// Puts a blob, and fails.
    fn fail(root: &Path, bytes: &[u8], meanwhile: impl FnOnce(&Layout)) {
        let failed: Result<(), LayoutError> = Layout::fill(root, |layout| {
            layout.put_blob(media_type::CONFIG, bytes)?;
            meanwhile(layout);
            layout.resolve(Some("nowhere")).map(drop)
        });
        failed.unwrap_err();
    }

    #[test]
    fn a_failure_leaves_an_older_layout_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("image");
        put(&root, b"{}").unwrap();
        let blobs = || names(&root.join("blobs/sha256"));
        let before = blobs();
        fail(&root, b"[1]", |_| {});
        assert_eq!(blobs(), before);
        // One that was there stays, named or not.
        fail(&root, b"{}", |_| {});
        assert_eq!(blobs(), before);
        // What is named stays, and what that leads to.
        fail(&root, b"[2]", |layout| {
            let config = Descriptor::of(media_type::CONFIG, b"[2]");
            let manifest = Manifest::image(config, Vec::new());
            let index = Index::new(vec![layout.put_manifest(&manifest).unwrap()]);
            let index = layout.put_index(&index).unwrap();
            layout.tag("some", &index).unwrap();
            layout.put_blob(media_type::CONFIG, b"[3]").unwrap();
        });
        assert_eq!(blobs().len(), before.len() + 3);
        // Others may count on a blob while they write.
        let other = Layout::open(&root).unwrap();
        other.put_blob(media_type::CONFIG, b"[4]").unwrap();
        fail(&root, b"[5]", |_| {});
        assert_eq!(blobs().len(), before.len() + 5);
        drop(other);
        fail(&root, b"[6]", |_| {});
        assert_eq!(blobs().len(), before.len() + 5);
    }

    #[test]
    fn many_at_once_fill_one_layout() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("image");
        std::thread::scope(|scope| {
            for number in 0..8u8 {
                let root = &root;
                scope.spawn(move || put(root, &[b'[', b'0' + number, b']']).unwrap());
            }
        });
        assert_eq!(names(folder.path()), ["image"]);
        assert_eq!(names(&root.join("blobs/sha256")).len(), 8);
    }

    #[test]
    fn other_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let error = put(folder.path(), b"{}").unwrap_err();
        assert!(matches!(error, LayoutError::NotALayout { .. }), "{error}");
    }
}

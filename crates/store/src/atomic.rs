//! Writing files so that readers see the old one or the new one, never a part.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file could not be written, read, made or removed.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} {}: {source}{}", path.display(), hint(source))]
pub struct WriteError {
    /// What was tried, a verb: `write`, `create`, `rename`.
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl WriteError {
    /// For `map_err`: names the action and the path.
    pub fn at<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Self + 'p {
        move |source| WriteError {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there or choose another folder"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; choose a folder you may write to"
        }
        _ => "",
    }
}

/// A file being written beside its final name. Dropped without [`AtomicFile::commit`], it leaves
/// nothing behind, and the file that was there stays.
#[derive(Debug)]
pub struct AtomicFile {
    beside: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Begins to write `path`, mode 0644. Missing parent folders are made.
    ///
    /// # Errors
    /// The folder can't be made or written to.
    pub fn create(path: &Path) -> Result<AtomicFile, WriteError> {
        AtomicFile::with_mode(path, 0o644)
    }

    /// Begins to write `path` with the permission bits `mode`, whatever the umask.
    ///
    /// # Errors
    /// The folder can't be made or written to.
    pub fn with_mode(path: &Path, mode: u32) -> Result<AtomicFile, WriteError> {
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(WriteError::at("create the folder", folder))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".part")
            .tempfile_in(folder)
            .map_err(WriteError::at("write in", folder))?;
        beside
            .as_file()
            .set_permissions(std::fs::Permissions::from_mode(mode))
            .map_err(WriteError::at("set the mode of", beside.path()))?;
        Ok(AtomicFile {
            beside,
            path: path.to_owned(),
        })
    }

    /// The open file, for those who must seek.
    pub fn file(&mut self) -> &mut File {
        self.beside.as_file_mut()
    }

    /// Makes the bytes durable and gives the file its name, in place of what had it.
    ///
    /// # Errors
    /// The bytes can't be made durable, or the name can't be taken.
    pub fn commit(self) -> Result<(), WriteError> {
        let AtomicFile { beside, path } = self;
        beside
            .as_file()
            .sync_all()
            .map_err(WriteError::at("write", &path))?;
        beside
            .persist(&path)
            .map_err(|error| WriteError::at("write", &path)(error.error))?;
        let folder = folder_of(&path);
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(WriteError::at("write in", folder))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.beside.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.beside.flush()
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// Writes `bytes` to `path`, mode 0644: beside it, durable, then renamed.
///
/// # Errors
/// Names the path and the reason: no such folder may be made, disk full, read-only.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)
        .map_err(WriteError::at("write", path))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file");
        write_atomically(&path, b"first").unwrap();
        let mut second = AtomicFile::create(&path).unwrap();
        second.write_all(b"sec").unwrap();
        drop(second);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
    }

    #[test]
    fn the_error_names_the_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let error = write_atomically(&folder.path().join("file/below"), b"x").unwrap_err();
        let text = error
            .to_string()
            .replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(text, @"can't create the folder DIR/file: File exists (os error 17)");
    }
}

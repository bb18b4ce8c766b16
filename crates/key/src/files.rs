use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{KeyError, Password, PrivateKey, PublicKey};

/// Far more than any key needs.
const MAXIMUM_FILE_SIZE: u64 = 64 * 1024;

/// A key file can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file's contents are no such key.
    #[error("key file {path}: {source}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The file can't be read.
    #[error("can't read key file {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any key.
    #[error("key file {path} is larger than {MAXIMUM_FILE_SIZE} bytes: that is no key", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be written.
    #[error("can't write key file {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key is there already.
    #[error("{path} exists already and would be lost; name another file or move it away", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a private key from a PEM file; `password` is asked only where it is encrypted.
///
/// # Errors
/// See [`FileError`]; no error shows any of the file's contents.
pub fn load_private(
    path: &Path,
    password: impl FnOnce() -> Option<Password>,
) -> Result<PrivateKey, FileError> {
    PrivateKey::from_pem(&read(path)?, password).map_err(|source| FileError::Key {
        path: path.to_owned(),
        source,
    })
}

/// Reads a public key from a PEM file.
///
/// # Errors
/// See [`FileError`].
pub fn load_public(path: &Path) -> Result<PublicKey, FileError> {
    PublicKey::from_pem(&read(path)?).map_err(|source| FileError::Key {
        path: path.to_owned(),
        source,
    })
}

/// Reads a password or PIN: the file's contents, without line ends behind them.
///
/// # Errors
/// See [`FileError`].
pub(crate) fn load_password(path: &Path) -> Result<Password, FileError> {
    Ok(Password::new(read(path)?.trim_end_matches(['\r', '\n'])))
}

/// Where [`save_pair`] puts the public half of the private key at `path`: beside it, with `.pub`
/// appended.
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Writes the private key to `path`, readable by its owner alone and under the password if there is
/// one, and the public one to `path.pub`. Neither file may exist; neither is ever seen half-written. A
/// folder that isn't there is made, for its owner alone.
///
/// # Errors
/// See [`FileError`].
pub fn save_pair(
    key: &PrivateKey,
    path: &Path,
    password: Option<&Password>,
) -> Result<(), FileError> {
    let wrong = |source| FileError::Key {
        path: path.to_owned(),
        source,
    };
    let public_path = public_path(path);
    let private = key.to_pem(password).map_err(wrong)?;
    let public = key.public().map_err(wrong)?.to_pem();
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| FileError::Write {
            path: folder.to_owned(),
            source,
        })?;
    }
    for path in [path, &public_path] {
        if path.symlink_metadata().is_ok() {
            return Err(FileError::Exists {
                path: path.to_owned(),
            });
        }
    }
    // The public half first: when only one gets written, it is the one that can be made again.
    write_new(&public_path, public.as_bytes(), 0o644)?;
    write_new(path, private.as_bytes(), 0o600)
}

fn read(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    // With room for all of it: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAXIMUM_FILE_SIZE as usize + 2));
    File::open(path)
        .map_err(failed)?
        .take(MAXIMUM_FILE_SIZE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAXIMUM_FILE_SIZE {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// Writes beside, syncs, and links into place, which unlike a rename refuses to overwrite.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists {
            path: path.to_owned(),
        },
        _ => FileError::Write {
            path: path.to_owned(),
            source,
        },
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        // The umask may have taken bits away.
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::hard_link(&beside, path)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    })();
    let removed = fs::remove_file(&beside);
    written.and(removed).map_err(failed)
}

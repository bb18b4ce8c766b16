use std::io;
use std::path::Path;

use super::InstallError;
use super::beneath::Beneath;
use super::root::{ARCH, configuration};
use crate::signature::Keyring;

/// Bytes of a settings file that is read.
const MAXIMUM: u64 = 1 << 20;

/// Where the keys are that a system trusts; of two files with one name, the first folder's counts.
const KEYS: [&str; 2] = ["etc/apk/keys", "lib/apk/keys"];

/// Files of a system that a person or a package sets it up with. They are read without the
/// database, from where apk looks for them, and never from outside the root.
#[derive(Debug)]
pub(crate) struct Settings {
    /// None if there is no such folder, and so no file in it.
    beneath: Option<Beneath>,
}

impl Settings {
    /// Those of the root at `root`.
    pub(crate) fn of(root: &Path) -> io::Result<Settings> {
        match Beneath::open(root) {
            Ok(beneath) => Ok(Settings {
                beneath: Some(beneath),
            }),
            Err(error) if is_absent(&error) => Ok(Settings { beneath: None }),
            Err(error) => Err(error),
        }
    }

    /// A file's bytes; none if it isn't there.
    pub(crate) fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match &self.beneath {
            Some(beneath) => beneath.read(path, MAXIMUM),
            None => Ok(None),
        }
    }

    /// The regular files of several folders whose names are `wanted`, by name; of equal names the
    /// first folder's counts.
    pub(crate) fn list(
        &self,
        folders: &[&str],
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<Vec<String>> {
        let Some(beneath) = &self.beneath else {
            return Ok(Vec::new());
        };
        let mut paths = configuration(beneath, folders, wanted)?;
        paths.retain(|path| beneath.is_file(path));
        Ok(paths)
    }
}

impl super::Root {
    /// The keys of `etc/apk/keys` and `lib/apk/keys`, or of `folder` alone: one of the root's, or
    /// one of this machine if its path is absolute. Files that hold no public key are passed over,
    /// as apk does, and so is what is no file.
    ///
    /// # Errors
    /// One can't be read.
    pub fn keyring_of(root: &Path, folder: Option<&Path>) -> Result<Keyring, InstallError> {
        let given = folder.map(Path::to_string_lossy);
        let (root, folders) = match (folder, &given) {
            (Some(folder), _) if folder.is_absolute() => (folder, vec![""]),
            (_, Some(given)) => (root, vec![given.trim_matches('/')]),
            (_, None) => (root, KEYS.to_vec()),
        };
        let failed = |action, path: &str| {
            let path = path.to_owned();
            move |source| InstallError::file(root, action, &path, source)
        };
        let settings = Settings::of(root).map_err(failed("open", ""))?;
        let first = folders.first().copied().unwrap_or_default();
        let paths = settings
            .list(&folders, |name| !name.starts_with('.'))
            .map_err(failed("list", first))?;
        let mut keyring = Keyring::default();
        for path in paths {
            let bytes = settings.read(&path).map_err(failed("read", &path))?;
            let text = String::from_utf8(bytes.unwrap_or_default());
            if let Ok(text) = text
                && let Ok(key) = key::PublicKey::from_pem(&text)
            {
                keyring.add(super::place::split(&path).1, key);
            }
        }
        Ok(keyring)
    }

    /// The architectures of `etc/apk/arch`; none if it isn't there.
    ///
    /// # Errors
    /// It can't be read.
    pub fn arches_of(root: &Path) -> Result<Vec<String>, InstallError> {
        let failed = |source| InstallError::file(root, "read", ARCH, source);
        let settings = Settings::of(root).map_err(failed)?;
        let bytes = settings.read(ARCH).map_err(failed)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(str::trim);
        Ok(lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

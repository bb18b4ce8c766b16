use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::InstallError;
use crate::signature::Keyring;

/// Bytes of a settings file that is read.
const MAXIMUM_SETTING: u64 = 1 << 20;

/// Files of a system that a person or a package sets it up with. They are read without the
/// database, and are where apk looks for them.
impl super::Root {
    /// The keys of `etc/apk/keys` and `lib/apk/keys`, or of `folder` alone. Files that hold no
    /// public key are passed over, as apk does.
    ///
    /// # Errors
    /// One can't be read.
    pub fn keyring_of(root: &Path, folder: Option<&Path>) -> Result<Keyring, InstallError> {
        let files = match folder {
            Some(folder) => list(&root.join(folder), |_| true)?,
            None => setting_files(root, &["etc/apk/keys", "lib/apk/keys"], |_| true)?
                .into_iter()
                .map(|(_, path)| path)
                .collect(),
        };
        let mut keyring = Keyring::default();
        for path in files {
            let name = path.file_name().map(|name| name.to_string_lossy());
            if let (Some(name), Some(text)) = (name, read(&path)?)
                && let Ok(key) = key::PublicKey::from_pem(&text)
            {
                keyring.add(name, key);
            }
        }
        Ok(keyring)
    }

    /// The architectures of `etc/apk/arch`; none if it isn't there.
    ///
    /// # Errors
    /// It can't be read.
    pub fn arches_of(root: &Path) -> Result<Vec<String>, InstallError> {
        let text = read(&root.join("etc/apk/arch"))?.unwrap_or_default();
        let lines = text.lines().map(str::trim);
        Ok(lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// The files of several folders, by name: one in an earlier folder hides those of the same name in
/// later ones. Each with its path below the root.
fn setting_files(
    root: &Path,
    folders: &[&str],
    accept: impl Fn(&str) -> bool,
) -> Result<Vec<(String, PathBuf)>, InstallError> {
    let mut files = BTreeMap::new();
    for folder in folders {
        for path in list(&root.join(folder), &accept)? {
            if let Some(name) = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
            {
                let file = format!("{folder}/{name}");
                files.entry(name).or_insert((file, path));
            }
        }
    }
    Ok(files.into_values().collect())
}

/// The files of a folder that are not hidden, by name; none if there is no such folder.
fn list(folder: &Path, accept: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, InstallError> {
    let failed = |source| InstallError::File {
        action: "list",
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && accept(&name) && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file; none if it isn't there.
fn read(path: &Path) -> Result<Option<String>, InstallError> {
    let failed = |source| InstallError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAXIMUM_SETTING + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAXIMUM_SETTING {
        return Err(failed(io::Error::other(format!(
            "it is larger than {MAXIMUM_SETTING} bytes"
        ))));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

//! The package cache: copies of package files and indexes, in apk's place and by apk's names
//! (apk-cache(5)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use apk::dependency::Identity;
use apk::index::{Index, IndexEntry};
use base::Digest;
use store::{AtomicFile, WriteError, write_atomically};

use super::options::Global;
use crate::output::failure::Failure;

/// apk's usual place.
const USUAL: &str = "etc/apk/cache";

/// Where indexes are kept when nobody has made the usual place.
const STATIC: &str = "var/cache/apk";

/// The list of packages that no repository has.
pub(crate) const KEPT: &str = "installed";

/// Where packages and indexes are kept.
#[derive(Clone, Debug)]
pub(crate) struct PackageCache {
    folder: PathBuf,
    /// Packages too, not indexes alone.
    pub(crate) packages: bool,
}

/// A file of the cache.
#[derive(Clone, Debug)]
pub(crate) struct CachedFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

impl PackageCache {
    /// The cache of a system; none with `--no-cache`, or if it has none.
    pub(crate) fn of(root: &Path, global: &Global) -> Result<Option<PackageCache>, Failure> {
        if !global.cache.on() {
            return Ok(None);
        }
        let wanted = global.cache_packages.is_some_and(|switch| switch.on())
            || global.cache_predownload.on();
        let usual = root.join(global.cache_dir.as_deref().unwrap_or(Path::new(USUAL)));
        if usual.is_dir() {
            return Ok(Some(PackageCache {
                folder: usual,
                packages: true,
            }));
        }
        if global.cache_dir.is_some() {
            return Err(Failure::failed(
                format!(
                    "Unable to setup the cache: {} is no folder",
                    usual.display()
                ),
                io::Error::from(io::ErrorKind::NotFound),
            ));
        }
        let folder = root.join(STATIC);
        Ok(Some(PackageCache {
            folder,
            packages: wanted,
        }))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether copies can be put there. The folder that nobody has to make is made.
    pub(crate) fn is_writable(&self) -> bool {
        // Without it there is no cache, and what comes is kept in the store instead.
        let _ = fs::create_dir_all(&self.folder);
        rustix::fs::access(&self.folder, rustix::fs::Access::WRITE_OK).is_ok()
    }

    /// Where the copy of a package is or would be.
    pub(crate) fn package_path(&self, entry: &IndexEntry) -> PathBuf {
        let info = &entry.info;
        self.folder
            .join(package_name(&info.name, &info.version, &entry.identity))
    }

    /// The copy of a package, if there is one of its size.
    pub(crate) fn find(&self, entry: &IndexEntry) -> Option<PathBuf> {
        let path = self.package_path(entry);
        let found = fs::symlink_metadata(&path).ok()?;
        (found.is_file() && found.len() == entry.size).then_some(path)
    }

    /// Puts a copy of a package file into the cache.
    pub(crate) fn keep(&self, file: &Path, entry: &IndexEntry) -> Result<(), WriteError> {
        let path = self.package_path(entry);
        let failed = |source| WriteError {
            action: "copy",
            path: path.clone(),
            source,
        };
        let mut from = fs::File::open(file).map_err(failed)?;
        let mut copy = AtomicFile::create(&path)?;
        io::copy(&mut from, &mut copy).map_err(failed)?;
        copy.commit()
    }

    /// The list of packages that no repository has: what is installed on a system in memory.
    pub(crate) fn kept(&self) -> Result<Vec<IndexEntry>, Failure> {
        let path = self.folder.join(KEPT);
        let failed = || format!("{} can't be read", path.display());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::failed(failed(), error)),
        };
        let packages =
            apk::database::parse(&text).map_err(|error| Failure::failed(failed(), error))?;
        Ok(packages.into_iter().map(|package| package.entry).collect())
    }

    /// Writes that list; one without packages is none.
    pub(crate) fn keep_list(&self, entries: Vec<IndexEntry>) -> Result<(), WriteError> {
        let path = self.folder.join(KEPT);
        if !entries.is_empty() {
            let index = Index {
                entries,
                ..Index::default()
            };
            return write_atomically(&path, index.to_text().as_bytes());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(WriteError::at("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// All files, by name.
    pub(crate) fn files(&self) -> Result<Vec<CachedFile>, Failure> {
        let failed = |error| {
            Failure::failed(
                format!("the cache {} can't be read", self.folder.display()),
                error,
            )
        };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let size = entry.metadata().map_err(failed)?.len();
            files.push(CachedFile {
                name: entry.file_name().to_string_lossy().into_owned(),
                path: entry.path(),
                size,
            });
        }
        files.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(files)
    }
}

/// `${name}-${version}.${hash:8}.apk`
pub(crate) fn package_name(name: &str, version: &str, identity: &Identity) -> String {
    let hash = match identity {
        Identity::Sha1(hash) => hash.hex(),
        Identity::Sha256(hash) => hash.hex(),
    };
    format!("{name}-{version}.{}.apk", hash.get(..8).unwrap_or(&hash))
}

/// `APKINDEX.${hash:8}.tar.gz`, the hash being that of the index's place.
pub(crate) fn index_name(place: &str) -> String {
    let hash = Digest::of(place.as_bytes()).hex();
    format!("APKINDEX.{}.tar.gz", hash.get(..8).unwrap_or(&hash))
}

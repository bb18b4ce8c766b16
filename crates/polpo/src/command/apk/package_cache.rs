//! The package cache: copies of package files and indexes, in apk's place and by apk's names
//! (apk-cache(5)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use apk::dependency::Identity;
use apk::index::{Index, IndexEntry};
use apk::install::{CacheFolder, CachedFile};
use base::Digest;
use store::WriteError;

use super::options::Global;
use crate::output::failure::Failure;

/// apk's usual place.
const USUAL: &str = "etc/apk/cache";

/// Where indexes are kept when nobody has made the usual place.
const STATIC: &str = "var/cache/apk";

/// The list of packages that no repository has.
pub(crate) const KEPT: &str = "installed";

/// Bytes of the list that is read.
const MAXIMUM_LIST: u64 = 64 << 20;

/// Where packages and indexes are kept.
#[derive(Clone, Debug)]
pub(crate) struct PackageCache {
    folder: CacheFolder,
    /// Packages too, not indexes alone.
    pub(crate) packages: bool,
}

impl PackageCache {
    /// The cache of a system; none with `--no-cache`, or if it has none.
    pub(crate) fn of(root: &Path, global: &Global) -> Result<Option<PackageCache>, Failure> {
        if !global.cache.on() {
            return Ok(None);
        }
        let named = global.cache_dir.as_deref();
        let folder = CacheFolder::new(root, named.unwrap_or(Path::new(USUAL)));
        let failed = |error| Failure::failed("Unable to setup the cache", error);
        if folder.exists().map_err(failed)? {
            return Ok(Some(PackageCache {
                folder,
                packages: true,
            }));
        }
        if named.is_some() {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(failed(WriteError::at("open", &folder.path())(error)));
        }
        Ok(Some(PackageCache {
            folder: CacheFolder::new(root, Path::new(STATIC)),
            packages: global.cache_packages.is_some_and(|switch| switch.on())
                || global.cache_predownload.on(),
        }))
    }

    pub(crate) fn folder(&self) -> &CacheFolder {
        &self.folder
    }

    /// The copy of a package, if there is one of its size.
    pub(crate) fn find(&self, entry: &IndexEntry) -> Option<PathBuf> {
        let name = entry_name(entry);
        let found = self.folder.find(&name)?;
        (found.size == entry.size).then(|| self.folder.path().join(name))
    }

    /// Puts a copy of a package file into the cache.
    pub(crate) fn keep(&self, file: &Path, entry: &IndexEntry) -> Result<(), WriteError> {
        let mut from = fs::File::open(file).map_err(WriteError::at("copy", file))?;
        self.folder.write(&entry_name(entry), &mut from)
    }

    /// The list of packages that no repository has: what is installed on a system in memory.
    pub(crate) fn kept(&self) -> Result<Vec<IndexEntry>, Failure> {
        let failed = || "the list of packages in the cache can't be read".to_owned();
        let bytes = self.folder.read(KEPT, MAXIMUM_LIST);
        let bytes = bytes.map_err(|error| Failure::failed(failed(), error))?;
        let text = String::from_utf8(bytes.unwrap_or_default())
            .map_err(|error| Failure::failed(failed(), error))?;
        let packages =
            apk::database::parse(&text).map_err(|error| Failure::failed(failed(), error))?;
        Ok(packages.into_iter().map(|package| package.entry).collect())
    }

    /// Writes that list; one without packages is none.
    pub(crate) fn keep_list(&self, entries: Vec<IndexEntry>) -> Result<(), WriteError> {
        if entries.is_empty() {
            return self.folder.remove(KEPT);
        }
        let index = Index {
            entries,
            ..Index::default()
        };
        self.folder.write(KEPT, &mut index.to_text().as_bytes())
    }

    /// All files, by name.
    pub(crate) fn files(&self) -> Result<Vec<CachedFile>, Failure> {
        let files = self.folder.files();
        files.map_err(|error| Failure::failed("the cache can't be read", error))
    }
}

/// The name of a package's copy.
fn entry_name(entry: &IndexEntry) -> String {
    package_name(&entry.info.name, &entry.info.version, &entry.identity)
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

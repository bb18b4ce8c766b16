//! The image that another is built upon: its layers as they are, its files to build over, and what
//! is installed in it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use apk::database::{self, Database, InstalledPackage};
use apk::index::TextError;
use archive::unpack::Ownership;
use base::{Arch, Digest};
use oci::{ImageConfig, Layout, LayoutError, Manifest};
use store::{Store, StoreError, TreeError};

use crate::configuration::BaseImage;
use crate::contents::{self, Contents, ContentsError, unpack_image};

/// The largest list of installed packages that is read.
const LIST_LIMIT: u64 = 64 << 20;

/// A base image, for one architecture.
#[derive(Clone, Debug)]
pub struct Base {
    /// The folder of its layout.
    pub layout: PathBuf,
    /// Its manifest's digest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: ImageConfig,
    /// What is installed in it.
    pub packages: Vec<InstalledPackage>,
    /// Its database: what was asked for, and whom it trusts.
    pub(crate) database: Database,
    /// The records of its packages as apko writes them again.
    pub(crate) records: Vec<String>,
    pub(crate) contents: Contents,
    /// Where its files lie in the store.
    pub(crate) folder: PathBuf,
}

/// Nothing can be built upon the image.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// Its layout can't be read.
    #[error("the base image can't be used: {0}")]
    Layout(#[from] LayoutError),
    /// It is for other machines, or its configuration is for another one than its index says.
    #[error("the base image in {} is for {found}, not for {arch}; build it for {arch} too, or leave {arch} out of `archs`", path.display())]
    Arch {
        /// The layout.
        path: PathBuf,
        /// What is built for.
        arch: Arch,
        /// What it is for.
        found: String,
    },
    /// Its layers can't be read.
    #[error("the base image can't be used: {0}")]
    Contents(#[from] ContentsError),
    /// They can't be unpacked into the store.
    #[error("the base image can't be unpacked: {0}")]
    Unpack(#[from] TreeError<ContentsError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its database can't be read.
    #[error("what is installed in the base image can't be read: {0}")]
    Database(#[from] database::DatabaseError),
    /// The list of its packages can't be read.
    #[error("can't read {}, what is installed in the base image: {source}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The list of its packages is malformed.
    #[error("{} can't be understood: {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TextError,
    },
    /// The list and the image differ.
    #[error("{} lists {listed}, which the base image itself doesn't have; make the list anew from the image's usr/lib/apk/db/installed", path.display())]
    Differs {
        /// The list.
        path: PathBuf,
        /// What it has too much.
        listed: String,
    },
}

impl Base {
    /// Reads the image that `named` names, whose paths are relative to `folder`.
    ///
    /// # Errors
    /// [`BaseError`]: it can't be read, or isn't for `arch`.
    pub fn read(
        named: &BaseImage,
        folder: &Path,
        arch: Arch,
        store: &Store,
    ) -> Result<Base, BaseError> {
        let path = folder.join(&named.image);
        let layout = Layout::open(&path)?;
        let other = |found: &str| BaseError::Arch {
            path: path.clone(),
            arch,
            found: found.to_owned(),
        };
        let image = layout.image(None, arch).map_err(|error| match error {
            LayoutError::NoPlatform { found, .. } if !found.is_empty() => other(&found.join(", ")),
            error => error.into(),
        })?;
        let (architecture, _) = arch.oci();
        if image.config.architecture != architecture {
            return Err(other(&image.config.architecture));
        }
        let contents = contents::read(&layout, &image)?;
        let unpacked = store.tree(
            &Digest::of(format!("base-image-1 {}", image.descriptor.digest).as_bytes()),
            |into| unpack_image(&layout, &image, into, Ownership::Ignore),
        )?;
        let database = Database::read(&contents.kept)?;
        let inside = database.packages.clone();
        let (packages, text) = if named.apkindex.is_empty() {
            let text = database::to_text(&inside);
            (inside, text)
        } else {
            let path = folder
                .join(&named.apkindex)
                .join(arch.apk())
                .join("APKINDEX");
            let (packages, text) = read_list(&path)?;
            let extra = packages.iter().find(|listed| {
                inside.iter().all(|package| {
                    (&package.entry.info.name, &package.entry.info.version)
                        != (&listed.entry.info.name, &listed.entry.info.version)
                })
            });
            // An image whose database was taken out has nothing to hold the list to.
            if let (Some(extra), false) = (extra, inside.is_empty()) {
                let info = &extra.entry.info;
                return Err(BaseError::Differs {
                    path,
                    listed: format!("{} {}", info.name, info.version),
                });
            }
            (packages, text)
        };
        Ok(Base {
            layout: path,
            digest: image.descriptor.digest,
            manifest: image.manifest,
            config: image.config,
            // apko drops a last record that no empty line follows.
            records: text
                .rsplit_once("\n\n")
                .map_or("", |(ended, _)| ended)
                .split("\n\n")
                .filter_map(rewritten)
                .collect(),
            packages,
            database,
            contents,
            folder: unpacked,
        })
    }
}

fn read_list(path: &Path) -> Result<(Vec<InstalledPackage>, String), BaseError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LIST_LIMIT).read_to_string(&mut text))
        .map_err(|source| BaseError::List {
            path: path.to_owned(),
            source,
        })?;
    let packages = database::parse(&text).map_err(|source| BaseError::Text {
        path: path.to_owned(),
        source,
    })?;
    Ok((packages, text))
}

/// A record as apko writes it after it was read: without modes and checksums.
fn rewritten(record: &str) -> Option<String> {
    let value = |letter: &str| {
        let lines = record.lines();
        lines
            .filter_map(|line| line.strip_prefix(letter))
            .next_back()
            .unwrap_or_default()
    };
    if value("P:").is_empty() {
        return None;
    }
    let mut text = String::new();
    for letter in ["P:", "V:", "A:", "L:", "T:", "o:", "m:", "U:", "D:", "p:"] {
        let _ = writeln!(text, "{letter}{}", value(letter));
    }
    if record.lines().any(|line| line.starts_with("r:")) {
        let _ = writeln!(text, "r:{}", value("r:"));
    }
    let number = |letter: &str| value(letter).parse::<u64>().unwrap_or(0);
    let _ = writeln!(text, "c:{}", value("c:"));
    let _ = writeln!(text, "i:[{}]", value("i:"));
    for letter in ["t:", "S:", "I:", "k:"] {
        let _ = writeln!(text, "{letter}{}", number(letter));
    }
    if !value("C:").is_empty() {
        let _ = writeln!(text, "C:{}", value("C:"));
    }
    let mut in_root = true;
    for line in record.lines() {
        match line.split_at_checked(2) {
            Some(("F:", path)) if !path.is_empty() => {
                in_root = false;
                let _ = writeln!(text, "F:{path}");
            }
            Some(("R:", name)) => {
                if in_root {
                    text.push_str("F:\n");
                    in_root = false;
                }
                let _ = writeln!(text, "R:{name}");
            }
            _ => {}
        }
    }
    text.push('\n');
    Some(text)
}

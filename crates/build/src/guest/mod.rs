//! The guest: the root folder that steps see, made out of the trees of its packages.
//!
//! A package is unpacked once, into the store. A guest is an overlay of such trees and costs
//! milliseconds; where the host refuses the overlay it is put together out of clones or copies of
//! their files, with the same result.

mod base_layer;
mod choose;
mod merge;
mod relocate;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::Digest;
use rayon::prelude::*;
use store::{Store, StoreError, TreeError};

use crate::plan::GuestPackage;
use crate::recipe::Accounts;
use crate::sandbox::Root;

pub use choose::{ChooseError, bring_recorded, choose};
pub use merge::Method;
use merge::merge;
use relocate::Shape;

/// The most trees that the kernel stacks in one overlay (`OVL_MAX_STACK` in fs/overlayfs/params.h).
const MOST_LAYERS: usize = 500;

/// How a guest's root is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuestMode {
    /// An overlay, or else clones, or else copies.
    #[default]
    Automatic,
    /// An overlay of the packages' trees.
    Overlay,
    /// A folder of its own; files share their blocks with the store where the filesystem can do
    /// that (`FICLONE`) and are copied where it can't.
    Copy,
    /// A folder of hard links into the store. So that no step changes the store, steps can't write
    /// outside their workspace and `/tmp`: never chosen by itself.
    HardLinks,
}

/// The word is no way to make a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to make a guest; known are auto, overlay, copy, hard-links")]
pub struct UnknownGuestMode(pub String);

impl FromStr for GuestMode {
    type Err = UnknownGuestMode;

    fn from_str(text: &str) -> Result<GuestMode, UnknownGuestMode> {
        match text {
            "auto" => Ok(GuestMode::Automatic),
            "overlay" => Ok(GuestMode::Overlay),
            "copy" => Ok(GuestMode::Copy),
            "hard-links" => Ok(GuestMode::HardLinks),
            _ => Err(UnknownGuestMode(text.to_owned())),
        }
    }
}

impl fmt::Display for GuestMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GuestMode::Automatic => "auto",
            GuestMode::Overlay => "overlay",
            GuestMode::Copy => "copy",
            GuestMode::HardLinks => "hard-links",
        })
    }
}

/// A guest can't be made.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A package is not in the store.
    #[error("the guest's package {name}-{version} ({digest}) is not in the store")]
    Missing {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// Its file.
        digest: Digest,
    },
    /// A package can't be unpacked.
    #[error("the guest's package {name}-{version} can't be unpacked: {source}")]
    Unpack {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of the guest can't be made.
    #[error("can't {action} `{path}` of the guest: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Links between folders lead in a circle.
    #[error("in the guest, the folder `{0}` is a link that leads back to itself")]
    Circle(String),
}

impl GuestError {
    fn at<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> GuestError + 'p {
        move |source| GuestError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<TreeError<GuestError>> for GuestError {
    fn from(error: TreeError<GuestError>) -> GuestError {
        match error {
            TreeError::Store(error) => error.into(),
            TreeError::Fill(error) => error,
        }
    }
}

/// The trees that make up a guest, the lowest first. Each is a folder of the store and must not be
/// changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers(Vec<PathBuf>);

impl Layers {
    /// Unpacks what is not unpacked yet and stacks the packages' trees in install order, upon a
    /// base that has the folders every guest needs.
    ///
    /// A package that has a folder where another has a link to a folder (a merged `/usr`) is
    /// stacked as apk installs it: its files are where the link leads.
    ///
    /// # Errors
    /// A package is missing or damaged, or the store can't be written to.
    pub fn of(
        store: &Store,
        packages: &[GuestPackage],
        accounts: &Accounts,
    ) -> Result<Layers, GuestError> {
        let trees: Vec<(Digest, PathBuf)> = packages
            .par_iter()
            .map(|package| Ok((tree_key(&package.digest), unpacked(store, package)?)))
            .collect::<Result<_, GuestError>>()?;
        Layers::stack(store, &trees, accounts)
    }

    /// Stacks trees of the store upon the base, the lowest first.
    ///
    /// # Errors
    /// As [`Layers::of`].
    pub fn stack(
        store: &Store,
        trees: &[(Digest, PathBuf)],
        accounts: &Accounts,
    ) -> Result<Layers, GuestError> {
        let shapes: Vec<Shape> = trees
            .par_iter()
            .map(|(key, path)| Shape::of(store, key, path))
            .collect::<Result<_, GuestError>>()?;
        let mut layers = vec![base_layer::lowest(store)?];
        layers.extend(relocate::relocated(store, trees, &shapes)?);
        if let Some(uppermost) = base_layer::uppermost(store, &layers, accounts)? {
            layers.push(uppermost);
        }
        // The kernel refuses a tree that is there twice; the upper of the two is the one seen.
        let mut last = BTreeMap::new();
        for (position, layer) in layers.iter().enumerate() {
            last.insert(layer.clone(), position);
        }
        let mut position = 0;
        layers.retain(|layer| {
            position += 1;
            last.get(layer) == Some(&(position - 1))
        });
        Ok(Layers(layers))
    }

    /// The folders, the lowest first.
    pub fn folders(&self) -> &[PathBuf] {
        &self.0
    }

    /// The uppermost layer's file, folder or link at `path`, relative to the root. Links on the way
    /// are not followed.
    pub fn find(&self, path: &str) -> Option<PathBuf> {
        self.0
            .iter()
            .rev()
            .map(|layer| layer.join(path))
            .find(|candidate| candidate.symlink_metadata().is_ok())
    }

    /// Makes a root that a sandbox can write to without changing the trees. `within` takes what
    /// that needs; it must be empty and on the store's filesystem.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn prepare(&self, mode: GuestMode, within: &Path) -> Result<Root, GuestError> {
        let make = |name: &str| {
            let path = within.join(name);
            std::fs::create_dir_all(&path).map_err(GuestError::at("create", &path))?;
            // Of an overlay, `/` has the mode of what is uppermost.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                .map_err(GuestError::at("set the mode of", &path))?;
            Ok::<PathBuf, GuestError>(path)
        };
        match mode {
            GuestMode::Automatic | GuestMode::Overlay => {
                let mut lower: Vec<PathBuf> = Vec::new();
                let surplus = self.0.len().saturating_sub(MOST_LAYERS);
                let mut rest = self.0.as_slice();
                if surplus > 0 {
                    // An overlay never writes to what is below, so links into the store are safe.
                    let (lowest, others) = self.0.split_at(surplus + 1);
                    let merged = make("merged")?;
                    merge(lowest, &merged, Method::HardLink)?;
                    lower.push(merged);
                    rest = others;
                }
                lower.extend(rest.iter().cloned());
                // bubblewrap reads the list of mounts for each of its own, and the overlay's line in
                // it has every tree's name: so trees go by a number.
                let trees = make("trees")?;
                for (number, tree) in lower.iter().enumerate() {
                    let link = trees.join(number.to_string());
                    std::os::unix::fs::symlink(tree, &link)
                        .map_err(GuestError::at("create", &link))?;
                }
                make("upper")?;
                make("work")?;
                Ok(Root::Overlay {
                    base: trees,
                    lower: (0..lower.len())
                        .rev()
                        .map(|number| PathBuf::from(number.to_string()))
                        .collect(),
                    upper: "../upper".into(),
                    work: "../work".into(),
                    mount_point: make("root")?,
                })
            }
            GuestMode::Copy | GuestMode::HardLinks => {
                let path = make("root")?;
                let (method, read_only) = match mode {
                    GuestMode::HardLinks => (Method::HardLink, true),
                    _ => (Method::Clone, false),
                };
                merge(&self.0, &path, method)?;
                Ok(Root::Folder { path, read_only })
            }
        }
    }
}

/// The key of a package's tree. It changes when packages are unpacked otherwise.
fn tree_key(package: &Digest) -> Digest {
    Digest::of(format!("guest package 1 {package}").as_bytes())
}

/// The tree of `package`, unpacked now if it was not yet.
fn unpacked(store: &Store, package: &GuestPackage) -> Result<PathBuf, GuestError> {
    let missing = || GuestError::Missing {
        name: package.name.clone(),
        version: package.version.clone(),
        digest: package.digest,
    };
    let tree = store.tree(&tree_key(&package.digest), |folder| {
        let path = store.path(&package.digest).ok_or_else(missing)?;
        unpack_package(&path, folder).map_err(|source| GuestError::Unpack {
            name: package.name.clone(),
            version: package.version.clone(),
            source,
        })
    });
    Ok(tree?)
}

fn unpack_package(
    file: &Path,
    folder: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let package = apk::package::Package::open(file)?;
    package.unpack(folder, &archive::Limits::default())?;
    Ok(())
}

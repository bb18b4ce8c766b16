//! From the image file and signed indexes to a plan: which packages, by hash, in which order.

use std::path::{Path, PathBuf};

use apk::dependency::Dependency;
use apk::index::{Index, IndexEntry};
use apk::repository::{
    self, Access, Choice, ChoiceError, Chosen, JointChoiceError, LoadedRepository, RepositoryError,
};
use apk::signature::Keyring;
use apk::solver::Unsolvable;
use apk::solver::joint::JointError;
use base::{Arch, Digest, Epoch, Reporter};
use rayon::prelude::*;
use serde::Serialize;
use store::{Store, StoreError};

use crate::base_image::{Base, BaseError};
use crate::configuration::{EntrypointKind, ImageConfiguration};
use crate::layer::Compression;
use crate::parity;

/// Everything that decides an image's bytes, but for the epoch.
#[derive(Clone, Debug)]
pub struct ImagePlan {
    /// What it is made for.
    pub arch: Arch,
    /// The image file, with everything it includes.
    pub configuration: ImageConfiguration,
    /// What was asked for.
    pub world: Vec<Dependency>,
    /// The packages, in the order in which they are installed.
    pub packages: Vec<PlannedPackage>,
    /// The keys that signed the indexes, which the image trusts too.
    pub keyring: Keyring,
    /// The image that it is built upon.
    pub base: Option<Base>,
    /// Whether a lock says which packages they are.
    pub is_locked: bool,
    /// With apko's bytes: the time that the entries of `scripts.tar` have.
    pub parity: Option<Epoch>,
    /// How its layers are compressed; apko's bytes always by gzip.
    pub compression: Compression,
}

/// A package of a plan. Its file is a blob of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPackage {
    /// What the signed index says of it.
    pub entry: IndexEntry,
    /// SHA-256 of the .apk.
    pub digest: Digest,
    /// The repository that it comes from, for messages.
    pub repository: String,
    /// Where it comes from: a path or URL, without credentials.
    pub place: String,
    /// The repository's tag.
    pub tag: Option<String>,
}

/// No plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The packages don't fit together.
    #[error("{unsolvable}")]
    Unsolvable {
        /// The conflict.
        unsolvable: Box<Unsolvable>,
    },
    /// The packages don't fit together on all architectures with equal versions.
    #[error(transparent)]
    Joint(Box<JointError>),
    /// A package isn't what the index says.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file changed while it was read.
    #[error("package {path} changed while it was read; try again")]
    Changed {
        /// The package.
        path: PathBuf,
    },
    /// The image isn't made for that architecture.
    #[error("the image file is for {known}, not for {arch}; add it to `archs` or choose another")]
    Arch {
        /// What was asked for.
        arch: Arch,
        /// What there is.
        known: String,
    },
    /// Nothing can be built upon the base image.
    #[error(transparent)]
    Base(#[from] Box<BaseError>),
}

/// One architecture that an image is planned for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The architecture.
    pub arch: Arch,
    /// Repositories whose indexes were vouched for; earlier ones win ties.
    pub repositories: &'t [LoadedRepository],
}

/// Chooses the packages for `arch` out of `repositories`, whose indexes `keyring` vouched for, and
/// takes their files into the store of `access`, from wherever they are.
///
/// # Errors
/// [`PlanError`]: the packages don't fit together, or one isn't what its index says.
pub async fn plan(
    configuration: &ImageConfiguration,
    arch: Arch,
    repositories: &[LoadedRepository],
    keyring: &Keyring,
    access: &Access,
    reporter: &dyn Reporter,
) -> Result<ImagePlan, PlanError> {
    let targets = [Target { arch, repositories }];
    let folder = Path::new("");
    let mut plans = plan_all(configuration, folder, &targets, keyring, access, reporter).await?;
    plans.pop().ok_or_else(|| PlanError::Arch {
        arch,
        known: String::new(),
    })
}

/// As [`plan`], for several architectures: a package has one version on all of them. The base image
/// is looked for in `folder`.
///
/// # Errors
/// [`PlanError`], also if the architectures have no versions in common.
pub async fn plan_all(
    configuration: &ImageConfiguration,
    folder: &Path,
    targets: &[Target<'_>],
    keyring: &Keyring,
    access: &Access,
    reporter: &dyn Reporter,
) -> Result<Vec<ImagePlan>, PlanError> {
    let mut plans = Vec::new();
    for selection in select(configuration, folder, targets, access)? {
        plans.push(ImagePlan {
            arch: selection.arch,
            configuration: configuration.clone(),
            world: selection.world,
            packages: take(selection.chosen, access, reporter).await?,
            keyring: keyring.clone(),
            base: selection.base,
            is_locked: false,
            parity: None,
            compression: Compression::default(),
        });
    }
    Ok(plans)
}

/// What is chosen for one architecture: none of it has been fetched.
#[derive(Debug)]
pub struct Selection<'r> {
    /// What it is chosen for.
    pub arch: Arch,
    /// The packages, in the order in which they are installed.
    pub chosen: Vec<Chosen<'r>>,
    world: Vec<Dependency>,
    base: Option<Base>,
}

/// Chooses the packages for each of `targets`, as [`plan_all`] does, and fetches none of them.
///
/// # Errors
/// [`PlanError`]: the packages don't fit together, or the base image can't be used.
pub fn select<'r>(
    configuration: &ImageConfiguration,
    folder: &Path,
    targets: &[Target<'r>],
    access: &Access,
) -> Result<Vec<Selection<'r>>, PlanError> {
    check_archs(configuration, targets.iter().map(|target| target.arch))?;
    let world = world(configuration);
    let bases = targets
        .iter()
        .map(|target| base_of(configuration, folder, target.arch, access))
        .collect::<Result<Vec<Option<Base>>, PlanError>>()?;
    let installed: Vec<Vec<IndexEntry>> = bases
        .iter()
        .map(|base| {
            let packages = base.iter().flat_map(|base| &base.packages);
            packages.map(|package| package.entry.clone()).collect()
        })
        .collect();
    let chosen: Vec<Vec<Chosen<'r>>> = match (targets, installed.as_slice()) {
        ([target], [installed]) if installed.is_empty() => {
            vec![repository::choose(
                target.repositories,
                target.arch,
                &world,
            )?]
        }
        _ => {
            let choices: Vec<Choice<'r, '_>> = targets
                .iter()
                .zip(&installed)
                .map(|(target, installed)| Choice {
                    arch: target.arch,
                    repositories: target.repositories,
                    installed,
                    world: &world,
                })
                .collect();
            repository::choose_together(&choices)?
        }
    };
    let selections = targets.iter().zip(bases).zip(chosen);
    let selections = selections.map(|((target, base), chosen)| Selection {
        arch: target.arch,
        chosen,
        world: world.clone(),
        base,
    });
    Ok(selections.collect())
}

impl Selection<'_> {
    /// With its packages in the order in which apko installs them.
    #[must_use]
    pub fn with_parity(mut self) -> Self {
        self.chosen = parity::in_order(self.chosen, |(_, entry)| &entry.info);
        self
    }
}

/// Where a package comes from: a path or URL, without credentials.
///
/// # Errors
/// [`RepositoryError`]: the index names no place that could be.
pub fn place(repository: &LoadedRepository, entry: &IndexEntry) -> Result<String, RepositoryError> {
    let place = repository.package_place(entry)?;
    Ok(store::without_credentials(&place.to_string()))
}

pub(crate) fn check_archs(
    configuration: &ImageConfiguration,
    archs: impl Iterator<Item = Arch>,
) -> Result<(), PlanError> {
    let known = &configuration.archs;
    for arch in archs {
        if !known.is_empty() && !known.contains(&arch) {
            let known: Vec<&str> = known.iter().map(|arch| arch.apk()).collect();
            return Err(PlanError::Arch {
                arch,
                known: known.join(", "),
            });
        }
    }
    Ok(())
}

pub(crate) fn world(configuration: &ImageConfiguration) -> Vec<Dependency> {
    let mut world: Vec<Dependency> = configuration
        .contents
        .packages
        .iter()
        .map(|package| package.term.clone())
        .collect();
    if configuration.entrypoint.kind == EntrypointKind::ServiceBundle
        && world.iter().all(|wanted| wanted.name != "s6")
    {
        world.push(Dependency::any("s6"));
    }
    world
}

pub(crate) fn base_of(
    configuration: &ImageConfiguration,
    folder: &Path,
    arch: Arch,
    access: &Access,
) -> Result<Option<Base>, PlanError> {
    let named = configuration.contents.baseimage.as_ref();
    named
        .map(|named| Base::read(named, folder, arch, access.store()))
        .transpose()
        .map_err(|error| PlanError::Base(Box::new(error)))
}

/// The kind of the store's records of packages that were taken and checked, by what an index says of
/// them.
const TAKEN: &str = "package-taken";

/// All that the index says: of an entry that says the same, everything was found to be so.
fn taken_key(entry: &IndexEntry) -> Digest {
    let index = Index {
        entries: vec![entry.clone()],
        ..Index::default()
    };
    Digest::of(index.to_text().as_bytes())
}

/// Puts a package at `path` into the store, if it is the one that the index speaks of.
fn bring(
    repository: &LoadedRepository,
    entry: &IndexEntry,
    path: &Path,
    access: &Access,
) -> Result<Digest, PlanError> {
    let store = access.store();
    let package = repository.open_package_at(path, entry)?;
    let blob = store.put_file(package.path())?;
    // What was stored is looked at, whatever became of the file meanwhile.
    let stored = store
        .path(&blob.digest)
        .ok_or(StoreError::Missing(blob.digest))?;
    if repository.open_package_at(&stored, entry).is_err() {
        return Err(PlanError::Changed {
            path: package.path().to_owned(),
        });
    }
    // Whoever has a lock finds it again without an index.
    access.remember_checked(entry, blob.digest)?;
    Ok(blob.digest)
}

/// Remembers that all of a package was checked: it need not be brought again.
pub(crate) fn remember(store: &Store, package: &PlannedPackage) -> Result<(), StoreError> {
    let key = taken_key(&package.entry);
    if store.record_get(TAKEN, &key)? == Some(package.digest) {
        return Ok(());
    }
    store.record_put(TAKEN, &key, &package.digest)
}

/// Brings the packages into the store.
async fn take(
    chosen: Vec<Chosen<'_>>,
    access: &Access,
    reporter: &dyn Reporter,
) -> Result<Vec<PlannedPackage>, PlanError> {
    let store = access.store();
    let taken: Vec<Option<Digest>> = chosen
        .par_iter()
        .map(|(_, entry)| {
            let digest: Option<Digest> = store.record_get(TAKEN, &taken_key(entry))?;
            Ok(digest.filter(|digest| store.contains(digest)))
        })
        .collect::<Result<_, StoreError>>()?;
    let wanted = chosen
        .iter()
        .zip(&taken)
        .filter(|(_, taken)| taken.is_none())
        .map(|((repository, entry), _)| (*repository, entry));
    let mut paths = access.packages(wanted, reporter).await?.into_iter();
    let places: Vec<Option<PathBuf>> = taken
        .iter()
        .map(|taken| match taken {
            None => paths.next(),
            Some(_) => None,
        })
        .collect();
    let digests: Vec<Option<Digest>> = chosen
        .par_iter()
        .zip(&places)
        .zip(taken)
        .map(|(((repository, entry), path), taken)| match path {
            Some(path) => bring(repository, entry, path, access).map(Some),
            None => Ok(taken),
        })
        .collect::<Result<_, PlanError>>()?;
    let mut packages = Vec::new();
    for ((repository, entry), digest) in chosen.into_iter().zip(digests) {
        // Each is there already, or was brought.
        let Some(digest) = digest else { continue };
        packages.push(PlannedPackage {
            place: place(repository, &entry)?,
            entry,
            digest,
            repository: repository.name.clone(),
            tag: repository.repository.tag.clone(),
        });
    }
    Ok(packages)
}

impl From<ChoiceError> for PlanError {
    fn from(error: ChoiceError) -> PlanError {
        match error {
            ChoiceError::Unsolvable(unsolvable) => PlanError::Unsolvable { unsolvable },
            ChoiceError::Repository(error) => PlanError::Repository(error),
        }
    }
}

impl From<JointChoiceError> for PlanError {
    fn from(error: JointChoiceError) -> PlanError {
        match error {
            JointChoiceError::Joint(error) => PlanError::Joint(error),
            JointChoiceError::Repository(error) => PlanError::Repository(error),
        }
    }
}

impl ImagePlan {
    /// Makes it a plan of apko's image, in whose `scripts.tar` the entries have this time: packages
    /// are installed in apko's order.
    #[must_use]
    pub fn with_parity(mut self, scripts_time: Epoch) -> ImagePlan {
        self.parity = Some(scripts_time);
        if !self.is_locked {
            self.packages = parity::in_order(self.packages, |package| &package.entry.info);
        }
        self
    }

    /// When the newest of the packages was built: the image's time where none is given.
    pub fn newest_build(&self) -> Epoch {
        Epoch(
            self.packages
                .iter()
                .filter_map(|package| package.entry.info.build_time)
                .max()
                .unwrap_or(0),
        )
    }

    /// The digest of everything that decides the image's bytes.
    ///
    /// # Errors
    /// None in practice.
    pub fn digest(&self, epoch: Epoch) -> Result<Digest, serde_json::Error> {
        #[derive(Serialize)]
        struct Key<'a> {
            format: &'static str,
            arch: Arch,
            configuration: &'a ImageConfiguration,
            world: Vec<String>,
            packages: Vec<Digest>,
            keys: Vec<(&'a str, Digest)>,
            base: Option<Digest>,
            parity: Option<Epoch>,
            compression: Compression,
            epoch: Epoch,
        }
        let key = Key {
            format: "image-4",
            arch: self.arch,
            configuration: &self.configuration,
            world: self.world.iter().map(ToString::to_string).collect(),
            packages: self.packages.iter().map(|package| package.digest).collect(),
            keys: self
                .keyring
                .keys()
                .map(|(name, key)| (name, key.id()))
                .collect(),
            base: self.base.as_ref().map(|base| base.digest),
            parity: self.parity,
            compression: self.compression,
            epoch,
        };
        Ok(Digest::of(&serde_json::to_vec(&key)?))
    }
}

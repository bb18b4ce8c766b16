//! From the image file and signed indexes to a plan: which packages, by hash, in which order.

use std::path::PathBuf;

use apk::dependency::Dependency;
use apk::index::IndexEntry;
use apk::repository::{self, Access, ChoiceError, LoadedRepository, RepositoryError};
use apk::signature::Keyring;
use apk::solver::Unsolvable;
use base::{Arch, Digest, Epoch, Reporter};
use serde::Serialize;
use store::StoreError;

use crate::configuration::{EntrypointKind, ImageConfiguration};

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
    let archs = &configuration.archs;
    if !archs.is_empty() && !archs.contains(&arch) {
        let known: Vec<&str> = archs.iter().map(|arch| arch.apk()).collect();
        return Err(PlanError::Arch {
            arch,
            known: known.join(", "),
        });
    }
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
    let chosen = repository::choose(repositories, arch, &world)?;
    let wanted = chosen
        .iter()
        .map(|(repository, entry)| (*repository, entry));
    let paths = access.packages(wanted, reporter).await?;
    let mut packages = Vec::new();
    for ((repository, entry), path) in chosen.into_iter().zip(paths) {
        let package = repository.open_package_at(&path, &entry)?;
        let blob = access.store().put_file(package.path())?;
        let verified = package
            .digest()
            .map_err(|source| RepositoryError::Package {
                repository: repository.name.clone(),
                source,
            })?;
        if blob.digest != verified {
            return Err(PlanError::Changed {
                path: package.path().to_owned(),
            });
        }
        packages.push(PlannedPackage {
            entry,
            digest: blob.digest,
            repository: repository.name.clone(),
            tag: repository.repository.tag.clone(),
        });
    }
    Ok(ImagePlan {
        arch,
        configuration: configuration.clone(),
        world,
        packages,
        keyring: keyring.clone(),
    })
}

impl From<ChoiceError> for PlanError {
    fn from(error: ChoiceError) -> PlanError {
        match error {
            ChoiceError::Unsolvable(unsolvable) => PlanError::Unsolvable { unsolvable },
            ChoiceError::Repository(error) => PlanError::Repository(error),
        }
    }
}

impl ImagePlan {
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
            epoch: Epoch,
        }
        let key = Key {
            format: "image-1",
            arch: self.arch,
            configuration: &self.configuration,
            world: self.world.iter().map(ToString::to_string).collect(),
            packages: self.packages.iter().map(|package| package.digest).collect(),
            keys: self
                .keyring
                .keys()
                .map(|(name, key)| (name, key.id()))
                .collect(),
            epoch,
        };
        Ok(Digest::of(&serde_json::to_vec(&key)?))
    }
}

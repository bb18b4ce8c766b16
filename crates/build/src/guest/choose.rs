//! Which packages a guest has, and how they come into the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apk::dependency::{Dependency, InvalidDependency};
use apk::index::IndexEntry;
use apk::package::{Package, PackageError};
use apk::repository::{self, Access, ChoiceError, LoadedRepository, RepositoryError};
use apk::solver::Unsolvable;
use base::{Arch, Reporter};
use rayon::prelude::*;
use store::StoreError;

use crate::plan::GuestPackage;

/// The packages of a guest can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// A name or constraint is not in apk's grammar.
    #[error("`{text}` among the guest's packages: {source}")]
    Dependency {
        /// What is written.
        text: String,
        /// What is wrong.
        source: InvalidDependency,
    },
    /// No set of packages will do.
    #[error("the guest's packages can't be chosen: {0}")]
    Unsolvable(Box<Unsolvable>),
    /// A repository lists what can't be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A package is no good.
    #[error("`{}` of repository {repository} can't be used: {source}", path.display())]
    Package {
        /// The repository.
        repository: String,
        /// The package's file there.
        path: PathBuf,
        /// What is wrong with it.
        source: PackageError,
    },
    /// Packages that a guest had are nowhere any more.
    #[error(
        "no repository has these packages of the guest, and neither has the store: {}; name one that has them with `-r`",
        packages.join(", ")
    )]
    Gone {
        /// The packages, with their identities.
        packages: Vec<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Chooses the packages that `wanted` asks for, as apk would, and brings them into the store.
/// The indexes vouch for them: each is checked against its entry, and its data against itself, before
/// the store knows it by its identity.
///
/// # Errors
/// Nothing will do, or a package is missing or not the one the index speaks of.
pub async fn choose(
    access: &Access,
    arch: Arch,
    repositories: &[LoadedRepository],
    wanted: &[String],
    reporter: &dyn Reporter,
) -> Result<Vec<GuestPackage>, ChooseError> {
    let world = wanted
        .iter()
        .map(|text| {
            Dependency::parse_apko(text).map_err(|source| ChooseError::Dependency {
                text: text.clone(),
                source,
            })
        })
        .collect::<Result<Vec<Dependency>, ChooseError>>()?;
    let chosen = repository::choose(repositories, arch, &world)?;
    bring(access, chosen, reporter).await
}

/// Brings these very packages into the store, from whichever repository lists them: what a guest had
/// before. One that is in the store is not looked for, if it is known there by its identity: a blob
/// that whoever recorded it says to be that package may be anything.
///
/// # Errors
/// No repository lists one, or it can't be had.
pub async fn bring_recorded(
    access: &Access,
    repositories: &[LoadedRepository],
    recorded: &[GuestPackage],
    reporter: &dyn Reporter,
) -> Result<Vec<GuestPackage>, ChooseError> {
    let mut missing: BTreeMap<&str, &GuestPackage> = BTreeMap::new();
    for package in recorded {
        let known = match package.identity.parse() {
            Ok(identity) => access.checked_package(&identity)?,
            Err(_) => None,
        };
        if known != Some(package.digest) {
            missing.insert(&package.identity, package);
        }
    }
    let mut chosen = Vec::new();
    for repository in repositories {
        if missing.is_empty() {
            break;
        }
        for (place, candidate) in repository.candidates().iter().enumerate() {
            // What may not be chosen may not be used again either.
            if !candidate.defects.is_empty() {
                continue;
            }
            let identity = candidate.identity.map(|identity| identity.to_string());
            if identity.is_some_and(|identity| missing.remove(identity.as_str()).is_some()) {
                chosen.push((repository, repository.entry(place)?));
            }
        }
    }
    if !missing.is_empty() {
        let missing = missing.values();
        return Err(ChooseError::Gone {
            packages: missing
                .map(|package| {
                    format!(
                        "{}-{} ({})",
                        package.name, package.version, package.identity
                    )
                })
                .collect(),
        });
    }
    let brought = bring(access, chosen, reporter).await?;
    // Equal identity, equal package, whoever signed it.
    let found = |package: &GuestPackage| {
        let mut brought = brought.iter();
        brought
            .find(|one| one.identity == package.identity)
            .unwrap_or(package)
            .clone()
    };
    Ok(recorded.iter().map(found).collect())
}

async fn bring(
    access: &Access,
    chosen: Vec<(&LoadedRepository, IndexEntry)>,
    reporter: &dyn Reporter,
) -> Result<Vec<GuestPackage>, ChooseError> {
    let store = access.store();
    let known = chosen
        .iter()
        .map(|(_, entry)| access.checked(entry))
        .collect::<Result<Vec<_>, _>>()?;
    let absent = |repository: &LoadedRepository, known: &Option<_>| {
        known.is_none() && !repository.is_local()
    };
    let missing = chosen
        .iter()
        .zip(&known)
        .filter(|((repository, _), known)| absent(repository, known))
        .map(|((repository, entry), _)| (*repository, entry));
    let mut brought = access.packages(missing, reporter).await?.into_iter();
    let chosen: Vec<_> = chosen
        .into_iter()
        .zip(known)
        .map(|((repository, entry), known)| {
            let source = absent(repository, &known).then(|| brought.next()).flatten();
            (repository, entry, known, source)
        })
        .collect();
    chosen
        .into_par_iter()
        .map(|(repository, entry, known, source)| {
            // Equal identity, equal package, whoever signed it: the file first seen is the one used.
            let identity = entry.identity.to_string();
            let digest = match (known, source) {
                (Some(digest), _) => digest,
                (None, source) => {
                    let source = source.map_or_else(|| repository.package_path(&entry), Ok)?;
                    let blob = store.put_file(&source)?;
                    let path = store
                        .path(&blob.digest)
                        .ok_or(StoreError::Missing(blob.digest))?;
                    check(&path, &entry).map_err(|error| ChooseError::Package {
                        repository: repository.name.clone(),
                        path: source,
                        source: error,
                    })?;
                    access.remember_checked(&entry, blob.digest)?;
                    blob.digest
                }
            };
            Ok(GuestPackage {
                name: entry.info.name,
                version: entry.info.version,
                identity,
                digest,
            })
        })
        .collect()
}

impl From<ChoiceError> for ChooseError {
    fn from(error: ChoiceError) -> ChooseError {
        match error {
            ChoiceError::Unsolvable(unsolvable) => ChooseError::Unsolvable(unsolvable),
            ChoiceError::Repository(error) => ChooseError::Repository(error),
        }
    }
}

/// Whether the file at `path` is, as a whole, the package that `entry` speaks of: the index vouches
/// for its control member, and that for its data.
fn check(path: &Path, entry: &IndexEntry) -> Result<(), PackageError> {
    let package = Package::open(path)?;
    package.check_entry(entry)?;
    package.manifest(&archive::Limits::default())?;
    Ok(())
}

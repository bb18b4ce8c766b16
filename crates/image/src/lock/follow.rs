use std::path::Path;

use apk::catalogue::Catalogue;
use apk::dependency::{Dependency, Identity};
use apk::index::{Index, IndexEntry};
use apk::package::{Package, PackageInfo};
use apk::repository::{
    Access, LoadedRepository, Location, NamePattern, Repository, RepositoryError,
};
use apk::signature::Keyring;
use base::{Arch, Problem, Reporter};
use store::StoreError;

use super::{Lock, LockError, LockedPackage, checksum, members};
use crate::base_image::Base;
use crate::configuration::Loaded;
use crate::layer::Compression;
use crate::plan::{ImagePlan, PlanError, PlannedPackage, base_of, check_archs, world};

/// What a lock is followed with.
#[derive(Clone, Copy, Debug)]
pub struct Locked<'l> {
    /// The image file.
    pub loaded: &'l Loaded,
    /// The lock.
    pub lock: &'l Lock,
    /// The lock's file, for messages.
    pub path: &'l Path,
    /// The folder that the base image's paths are relative to.
    pub folder: &'l Path,
    /// The keys that the image gets.
    pub keyring: &'l Keyring,
}

/// Plans the image as its lock says, for each of `archs`. No index is read: packages come from the
/// store, else from where the lock says they are.
///
/// # Errors
/// [`LockError`]: the image file changed since, a package isn't what the lock says, or the packages
/// don't hold together.
pub async fn follow(
    locked: &Locked<'_>,
    archs: &[Arch],
    access: &Access,
    reporter: &dyn Reporter,
) -> Result<Vec<ImagePlan>, LockError> {
    let configuration = &locked.loaded.configuration;
    check_archs(configuration, archs.iter().copied())?;
    let drift = drift(locked, archs);
    if !drift.is_empty() {
        return Err(LockError::Problems(drift));
    }
    let mut plans = Vec::new();
    for arch in archs {
        let base = base_of(configuration, locked.folder, *arch, access)?;
        let entries = locked
            .lock
            .contents
            .packages
            .iter()
            .filter(|package| package.architecture == arch.apk());
        let mut packages = Vec::new();
        let mut infos = Vec::new();
        for entry in entries {
            let (package, planned) = take(entry, *arch, access, reporter).await?;
            infos.push((entry.line, package.info().clone()));
            packages.push(planned);
        }
        let world = world(configuration);
        hold_together(*arch, &infos, base.as_ref(), &world)?;
        plans.push(ImagePlan {
            arch: *arch,
            configuration: configuration.clone(),
            world,
            packages,
            keyring: locked.keyring.clone(),
            base,
            is_locked: true,
            parity: None,
            compression: Compression::default(),
        });
    }
    Ok(plans)
}

/// What of the image file the lock doesn't have.
fn drift(locked: &Locked<'_>, archs: &[Arch]) -> Vec<Problem> {
    let Some(file) = &locked.lock.config else {
        return Vec::new();
    };
    let now = checksum(&locked.loaded.checksum());
    if file.checksum.is_empty() || file.checksum == now {
        return Vec::new();
    }
    let again = format!(
        "make the lock anew by `polpo image lock`, or take back the change since {} was made",
        locked.path.display()
    );
    let packages = &locked.lock.contents.packages;
    let mut problems = Vec::new();
    for wanted in &locked.loaded.configuration.contents.packages {
        let Some((source, span)) = &wanted.place else {
            continue;
        };
        for arch in archs {
            let found: Vec<&LockedPackage> = packages
                .iter()
                .filter(|package| {
                    package.architecture == arch.apk() && package.name == wanted.term.name
                })
                .collect();
            let fits = found
                .iter()
                .any(|package| wanted.term.matches(Some(&package.version), None));
            let message = match (found.first(), fits, wanted.term.conflict) {
                (_, true, false) | (None, _, true) => continue,
                (Some(package), ..) => format!(
                    "`{wanted}` is not what the lock has for {arch}: {} {} (line {})",
                    package.name, package.version, package.line
                ),
                (None, ..) => format!("`{wanted}` is not in the lock for {arch}"),
            };
            problems.push(
                Problem::error("lock-drift", message)
                    .at(source, span.clone(), "")
                    .help(again.clone()),
            );
        }
    }
    for arch in archs {
        if !packages.is_empty()
            && packages
                .iter()
                .all(|package| package.architecture != arch.apk())
        {
            problems.push(
                Problem::error("lock-drift", format!("the lock has nothing for {arch}"))
                    .help(again.clone()),
            );
        }
    }
    if problems.is_empty() {
        let mut problem = Problem::error(
            "lock-drift",
            format!(
                "the image file changed since the lock was made: its bytes and those of what it includes are {now}, in the lock {}",
                file.checksum
            ),
        );
        if let Some(source) = locked.loaded.sources.first() {
            problem = problem.at(source, 0..0, "");
        }
        problems.push(problem.help(again));
    }
    problems
}

/// Brings a package and holds it to the lock.
async fn take(
    entry: &LockedPackage,
    arch: Arch,
    access: &Access,
    reporter: &dyn Reporter,
) -> Result<(Package, PlannedPackage), LockError> {
    let place = |reason: String| LockError::Place {
        line: entry.line,
        url: store::without_credentials(&entry.url),
        reason,
    };
    let identity: Identity = entry
        .checksum
        .parse()
        .map_err(|error: apk::dependency::InvalidIdentity| place(error.to_string()))?;
    let title = format!("{}-{}", entry.name, entry.version);
    let opened = |path: &Path| {
        Package::open(path).map_err(|source| RepositoryError::Package {
            repository: "the lock".to_owned(),
            source,
        })
    };
    let stored = access
        .checked_package(&identity)?
        .and_then(|digest| access.store().path(&digest));
    let package = match stored {
        Some(path) => opened(&path)?,
        None => {
            let repository = repository(entry, arch).map_err(place)?;
            let size = entry
                .data
                .range
                .rsplit_once('-')
                .and_then(|(_, last)| last.parse::<u64>().ok())
                .map_or(0, |last| last.saturating_add(1));
            let wanted = IndexEntry {
                identity,
                size,
                info: PackageInfo {
                    name: entry.name.clone(),
                    version: entry.version.clone(),
                    arch: arch.apk().to_owned(),
                    ..PackageInfo::default()
                },
            };
            let path = access.package(&repository, &wanted, reporter).await?;
            opened(&path)?
        }
    };
    let differs = |member, found: String, expected: String| LockError::Member {
        line: entry.line,
        package: title.clone(),
        member,
        found,
        expected,
    };
    let info = package.info();
    let own = format!("{}-{}", info.name, info.version);
    if own != title {
        return Err(differs("name and version", own, title.clone()));
    }
    if package.identity() != identity {
        return Err(differs(
            "identity",
            package.identity().to_string(),
            entry.checksum.clone(),
        ));
    }
    let (signature, control, data) = members(&package)?;
    for (member, found, expected) in [
        ("signature", signature, &entry.signature),
        ("control member", control, &entry.control),
        ("data", data, &entry.data),
    ] {
        if found != *expected {
            let shown =
                |member: &super::LockedMember| format!("{} of {}", member.checksum, member.range);
            return Err(differs(member, shown(&found), shown(expected)));
        }
    }
    let blob = access.store().put_file(package.path())?;
    let digest = package
        .digest()
        .map_err(|source| RepositoryError::Package {
            repository: "the lock".to_owned(),
            source,
        })?;
    if blob.digest != digest {
        return Err(PlanError::Changed {
            path: package.path().to_owned(),
        }
        .into());
    }
    let index_entry = IndexEntry::of(&package);
    access.remember_checked(&index_entry, digest)?;
    let path = access
        .store()
        .path(&digest)
        .ok_or(StoreError::Missing(digest))?;
    let package = opened(&path)?;
    Ok((
        package,
        PlannedPackage {
            entry: index_entry,
            digest,
            repository: "the lock".to_owned(),
            place: entry.url.clone(),
            tag: None,
        },
    ))
}

/// The folder or server that a package is on, as a repository without index.
fn repository(entry: &LockedPackage, arch: Arch) -> Result<LoadedRepository, String> {
    let (folder, file) = entry.url.rsplit_once('/').unwrap_or((".", &entry.url));
    if file.contains('$') {
        return Err("its file's name has a `$`".to_owned());
    }
    Ok(LoadedRepository {
        repository: Repository::parse(folder).map_err(|error| error.to_string())?,
        name: "the lock".to_owned(),
        arch: arch.into(),
        base: Location::parse(folder).map_err(|error| error.to_string())?,
        names: NamePattern::of_index(file).map_err(|error| error.to_string())?,
        catalogue: Catalogue::of(&Index::default()).map_err(|error| error.to_string())?,
        proof: None,
    })
}

/// Whether everything that is needed is there, and nothing that is forbidden.
fn hold_together(
    arch: Arch,
    packages: &[(usize, PackageInfo)],
    base: Option<&Base>,
    world: &[Dependency],
) -> Result<(), LockError> {
    let below = base
        .iter()
        .flat_map(|base| &base.packages)
        .map(|package| &package.entry.info);
    let all: Vec<&PackageInfo> = packages.iter().map(|(_, info)| info).chain(below).collect();
    let has = |term: &Dependency, but: Option<&PackageInfo>| {
        all.iter()
            .filter(|info| but.is_none_or(|but| but.name != info.name))
            .any(|info| {
                (info.name == term.name && term.matches(Some(&info.version), None))
                    || info.provides.iter().any(|provided| {
                        provided.name == term.name
                            && term
                                .matches(provided.version().map(|version| version.as_str()), None)
                    })
            })
    };
    let wanted = world.iter().map(|term| (0, "the image file", term, None));
    let needed = packages.iter().flat_map(|(line, info)| {
        info.depends
            .iter()
            .map(move |term| (*line, info.name.as_str(), term, Some(info)))
    });
    for (line, name, term, info) in wanted.chain(needed) {
        if term.conflict {
            if has(term, info) {
                return Err(LockError::Forbidden {
                    line,
                    package: name.to_owned(),
                    arch,
                    term: term.clone(),
                });
            }
        } else if !has(term, None) {
            return Err(LockError::Missing {
                line,
                package: name.to_owned(),
                arch,
                term: term.clone(),
            });
        }
    }
    Ok(())
}

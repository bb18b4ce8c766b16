use apk::package::Package;
use apk::repository::Repository;
use base::Arch;
use store::{Store, StoreError};

use super::{
    Lock, LockError, LockedContents, LockedFile, LockedKey, LockedPackage, LockedRepository,
    checksum, members,
};
use crate::configuration::{Loaded, redacted};
use crate::plan::ImagePlan;

/// The lock of these plans, which are of the image file `loaded`, called `name`. `keys` are those of
/// the image file and the command line: path or URL, and PEM.
///
/// # Errors
/// A package is no longer in the store, or of a format that has no place in a lock.
pub fn lock(
    loaded: &Loaded,
    name: &str,
    keys: &[(String, String)],
    plans: &[ImagePlan],
    store: &Store,
) -> Result<Lock, LockError> {
    let contents = &loaded.configuration.contents;
    let mut keyring: Vec<LockedKey> = keys
        .iter()
        .map(|(url, content)| LockedKey {
            name: without_scheme(url).to_owned(),
            url: url.clone(),
            content: content.clone(),
        })
        .collect();
    keyring.sort_by(|one, other| one.name.cmp(&other.name));
    let mut locked = LockedContents {
        keyring,
        ..LockedContents::default()
    };
    for plan in plans {
        for planned in &plan.packages {
            let path = store
                .path(&planned.digest)
                .ok_or(StoreError::Missing(planned.digest))?;
            let info = &planned.entry.info;
            let package = Package::open(&path).map_err(|source| {
                apk::repository::RepositoryError::Package {
                    repository: planned.repository.clone(),
                    source,
                }
            })?;
            let (signature, control, data) = members(&package)?;
            locked.packages.push(LockedPackage {
                name: info.name.clone(),
                url: planned.place.clone(),
                version: info.version.clone(),
                architecture: plan.arch.apk().to_owned(),
                signature,
                control,
                data,
                checksum: package.identity().to_string(),
                line: 0,
            });
        }
        for (from, to) in [
            (&contents.build_repositories, &mut locked.build_repositories),
            (
                &contents.runtime_repositories,
                &mut locked.runtime_repositories,
            ),
            (&contents.repositories, &mut locked.repositories),
        ] {
            to.extend(
                from.iter()
                    .map(|repository| locked_repository(repository, plan.arch)),
            );
        }
    }
    Ok(Lock {
        version: "v1".to_owned(),
        config: Some(LockedFile {
            name: name.to_owned(),
            checksum: checksum(&loaded.checksum()),
        }),
        contents: locked,
        checksum: None,
    })
}

fn without_scheme(url: &str) -> &str {
    url.strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .unwrap_or(url)
}

fn locked_repository(repository: &Repository, arch: Arch) -> LockedRepository {
    let text = redacted(repository);
    let place = match text.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
        Some((_, place)) => place,
        None => &text,
    };
    LockedRepository {
        name: format!("{}/{arch}", without_scheme(place)),
        url: format!("{place}/{arch}/APKINDEX.tar.gz"),
        architecture: arch.apk().to_owned(),
    }
}

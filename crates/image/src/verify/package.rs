//! Packages and indexes by themselves, as files of this machine.

use std::path::Path;

use apk::index::{Freshness, Index};
use apk::package::{Package, PackageError};
use apk::repository::{Layout, LoadedRepository, Location, Repository, RepositoryError};
use apk::signature::SignatureError;
use archive::Limits;
use attest::slsa;
use base::Arch;
use store::WriteError;

use super::chain::{Looked, counted, origins};
use super::{Finding, Grounds, Subject, VerifyError, VerifyReport};

/// Checks the package at `path`: its data against the hashes in it, its signature, what signed indexes
/// say of it, and how it was built by the provenance beside it.
///
/// # Errors
/// It is no package, or what lies beside it can't be read. Everything else is in the report.
pub async fn verify_package(
    path: &Path,
    grounds: Grounds<'_>,
) -> Result<VerifyReport, VerifyError> {
    let looked = Looked::whole(Package::open(path)?, grounds.access.store())?;
    let package = &looked.package;
    let mut findings = vec![Finding::proven(
        "its control part and its data have the hashes that name them".to_owned(),
    )];
    let listed = grounds.listed(&package.identity());
    let listed = match listed {
        Some((repository, Ok(entry))) => {
            findings.extend(grounds.by_index(repository, &entry));
            Some((repository, entry))
        }
        Some((_, Err(unreadable))) => {
            findings.push(Finding::failed(unreadable.to_string()));
            None
        }
        // Rebuilders state what they do about what an index lists.
        None if grounds
            .repositories
            .iter()
            .any(|other| other.proof.is_some()) =>
        {
            let message =
                "no signed index that was given lists it, so nobody states a rebuild of it";
            findings.push(Finding::failed(message.to_owned()));
            None
        }
        None if grounds.repositories.is_empty() => None,
        None => {
            let message = "no signed index that was given lists it";
            findings.push(Finding::unproven(message.to_owned()));
            None
        }
    };
    findings.push(signature(package, grounds, listed.is_some()));
    let beside = stated_beside(path)?;
    let (said, made) = match beside {
        Some(bytes) => {
            let made = grounds.read_statements(&bytes, &looked.digest).map(Some);
            origins(made, &looked)
        }
        None => {
            let listed = listed.as_ref();
            let listed = listed.map(|(repository, entry)| (*repository, entry));
            grounds.origins(listed, &looked).await
        }
    };
    findings.extend(said);
    let made: Vec<_> = made.into_iter().collect();
    findings.extend(grounds.built_with(&made).await);
    let info = looked.package.info();
    let title = format!("{} {} for {}", info.name, info.version, info.arch);
    Ok(VerifyReport {
        subject: Subject::Package(looked.digest),
        slsa_level: None,
        findings: vec![Finding::group(title, findings)],
    })
}

fn signature(package: &Package, grounds: Grounds<'_>, listed: bool) -> Finding {
    match package.verify(grounds.keyring) {
        Ok(key) => Finding::proven(format!("it is signed by {key}")),
        // A signed index may stand for it, but not for a signature that is wrong.
        Err(PackageError::Signature { source, .. })
            if listed && !matches!(source, SignatureError::Wrong { .. }) =>
        {
            Finding::unproven(format!("its own signature: {source}"))
        }
        Err(refused) => Finding::failed(refused.to_string()),
    }
}

fn stated_beside(path: &Path) -> Result<Option<Vec<u8>>, WriteError> {
    let mut name = path.as_os_str().to_owned();
    name.push(slsa::FILE_SUFFIX);
    let path = Path::new(&name);
    store::find_bounded(path, super::chain::STATEMENTS).map_err(WriteError::at("read", path))
}

/// Checks the index at `path`: its signature, how recent it says it is, and those packages that it lists
/// and that lie beside it.
///
/// # Errors
/// It is no index, or can't be read. Everything else is in the report.
pub fn verify_index(
    path: &Path,
    arch: Arch,
    freshness: Freshness,
    grounds: Grounds<'_>,
) -> Result<VerifyReport, VerifyError> {
    let repository = Repository {
        location: Location::Folder(path.to_owned()),
        layout: Layout::Index,
        tag: None,
    };
    let (digest, signer) = Index::signer(path, grounds.keyring)?;
    // What is read again is held to the keys again.
    let keyring = signer.is_ok().then_some(grounds.keyring);
    let loaded = repository.open(arch, keyring, Some(grounds.access.store()))?;
    let stamp = loaded.stamp();
    let fresh = freshness.check(stamp, None);
    let findings = vec![
        match signer {
            Ok(key) => Finding::proven(format!("it is signed by {key}")),
            Err(refused) => Finding::failed(refused.to_string()),
        },
        match (fresh, stamp) {
            (Err(stale), _) => Finding::failed(stale.to_string()),
            (Ok(()), Some(stamp)) => Finding::proven(format!("it says how recent it is: {stamp}")),
            (Ok(()), None) => Finding::unproven(
                "it has no serial: an older one could be passed off as new".to_owned(),
            ),
        },
        packages(&loaded),
    ];
    Ok(VerifyReport {
        subject: Subject::Index(digest),
        slsa_level: None,
        findings,
    })
}

/// The packages that an index lists, as far as they lie beside it.
fn packages(loaded: &LoadedRepository) -> Finding {
    let (mut parts, mut beside, mut elsewhere) = (Vec::new(), 0_usize, 0_usize);
    for place in 0..loaded.catalogue.len() {
        let checked = loaded.entry(place).and_then(|entry| {
            let path = loaded.package_path(&entry)?;
            if !path.exists() {
                return Ok(false);
            }
            let package = loaded.open_package_at(&path, &entry)?;
            match package.manifest(&Limits::default()) {
                Ok(_) => Ok(true),
                Err(source) => Err(RepositoryError::Package {
                    repository: loaded.name.clone(),
                    source,
                }),
            }
        });
        match checked {
            Ok(true) => beside += 1,
            Ok(false) => elsewhere += 1,
            Err(refused) => parts.push(Finding::failed(refused.to_string())),
        }
    }
    if beside > 0 {
        let message = counted(beside, "lies beside it and is", "lie beside it and are");
        parts.push(Finding::proven(format!("{message} what it names")));
    }
    if elsewhere > 0 {
        let message = counted(elsewhere, "does not lie", "do not lie");
        parts.push(Finding::unproven(format!("{message} beside it")));
    }
    let title = counted(loaded.catalogue.len(), "package is", "packages are");
    Finding::group(format!("{title} listed"), parts)
}

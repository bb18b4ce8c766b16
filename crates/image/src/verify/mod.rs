//! The chain from an image to the sources its packages were built from, link by link.
//!
//! What is proven, what is not and cannot be (a seed package's source is somebody else's binary),
//! and what is false are told apart: a report without anything false is good, but says how far it
//! reaches.

mod chain;
mod files;
mod package;
mod policy;
mod report;
mod statements;

use std::collections::BTreeMap;

use apk::database::{Database, DatabaseError, InstalledPackage};
use apk::dependency::Dependency;
use apk::index::{IndexEntry, IndexError};
use apk::package::{PackageError, PackageInfo};
use apk::repository::RepositoryError;
use apk::signature::Keyring;
use attest::spdx::Document;
use base::{Arch, Digest, Epoch};
use futures_util::StreamExt as _;
use futures_util::stream;
use oci::{Layout, LayoutError};
use tokio::sync::Semaphore;

use crate::contents::{self, Contents, ContentsError};

use chain::{LookError, Made};

pub use chain::Grounds;
pub use package::{verify_index, verify_package};
pub use policy::Policy;
pub(crate) use report::plain;
pub use report::{Finding, Standing, Subject, VerifyReport};
pub use statements::{ATTACHED_LIMIT, Stated, Statements};

/// The folder of packages' own bills of materials.
const BILLS: &str = "var/lib/db/sbom";

/// Packages that are brought at the same time.
const AT_ONCE: usize = 8;

/// What an image is checked against.
#[derive(Clone, Copy)]
pub struct VerifyRequest<'a> {
    /// Where the image is.
    pub layout: &'a Layout,
    /// Its tag; none means the only image.
    pub tag: Option<&'a str>,
    /// The architecture whose image is checked.
    pub arch: Arch,
    /// Whom to believe, about the image and its packages.
    pub grounds: Grounds<'a>,
    /// What else must hold, and the time that ages are told from.
    pub policy: Option<(&'a Policy, Epoch)>,
}

/// What is to be verified can't even be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no such image, or it is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its layers can't be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// Its database can't be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// It is no package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A thread ended early.
    #[error("the check was broken off")]
    BrokenOff,
    /// It is no index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A repository can't be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// It, or a file beside it, can't be read.
    #[error(transparent)]
    Disk(#[from] store::WriteError),
}

impl From<LookError> for VerifyError {
    fn from(error: LookError) -> VerifyError {
        match error {
            LookError::Repository(error) => VerifyError::Repository(error),
            LookError::Package(error) => VerifyError::Package(error),
            LookError::Store(error) => VerifyError::Store(error),
            LookError::BrokenOff => VerifyError::BrokenOff,
        }
    }
}

/// A package of the image and what its repository has of it.
struct Checked<'a> {
    installed: &'a InstalledPackage,
    /// What a signed index says of it, if one lists it.
    listed: Option<IndexEntry>,
    /// The .apk's SHA-256, if the repository has this very package.
    original: Option<Digest>,
}

impl Checked<'_> {
    /// Name, version and so on: the signed index's, not what the image says, where there is a choice.
    fn info(&self) -> &PackageInfo {
        &self.listed.as_ref().unwrap_or(&self.installed.entry).info
    }
}

/// Checks an image: every blob against its digest, the statements about it against who is trusted, its
/// packages against the signed indexes, its files against the packages, its SBOM against the
/// installed database, and the packages' own SBOMs for their sources.
///
/// # Errors
/// The image can't be read at all. Everything else is in the report.
pub async fn verify(request: &VerifyRequest<'_>) -> Result<VerifyReport, VerifyError> {
    let layout = request.layout;
    let image = layout.image(request.tag, request.arch)?;
    let digest = image.descriptor.digest;
    let store = request.grounds.access.store();
    // What is known of layers with these digests holds for these if they have them.
    let hashing = contents::are_known(store, &image).then(|| {
        let (layout, layers) = (layout.clone(), image.manifest.layers.clone());
        tokio::task::spawn_blocking(move || {
            let mut layers = layers.iter();
            layers.try_for_each(|layer| layout.open_blob(layer).map(drop))
        })
    });
    let read = || -> Result<Contents, VerifyError> {
        let contents = contents::read(layout, &image)?;
        contents::remember(store, &image, &contents)?;
        Ok(contents)
    };
    let (kept, files) = match contents::known_kept(store, &image)? {
        Some(kept) => (kept, None),
        None => {
            let contents = read()?;
            (contents.kept, Some(contents.files))
        }
    };
    let database = Database::read(&kept)?;

    let layers = match image.manifest.layers.len() {
        1 => "the layer".to_owned(),
        count => format!("the {count} layers"),
    };
    let mut findings = vec![Finding::proven(format!(
        "{layers}, the configuration and the manifest have the digests that name them"
    ))];
    let said = statements::check(request, &image.descriptor)?;
    let sboms = said.sboms;
    findings.extend(said.findings);

    let (mut checked, mut packages, mut made) = (Vec::new(), Vec::new(), Vec::new());
    // Hashing takes longest, and has a core for itself.
    let cores = rayon::current_num_threads() - usize::from(hashing.is_some());
    let cores = Semaphore::new(cores.max(1));
    let work = database.packages.iter();
    let mut work = stream::iter(work.map(|package| installed(request.grounds, package, &cores)))
        .buffered(AT_ONCE);
    while let Some((finding, package, stated)) = work.next().await {
        packages.push(finding);
        checked.push(package);
        made.extend(stated);
    }
    drop(work);
    let title = match packages.len() {
        1 => "1 package is installed".to_owned(),
        count => format!("{count} packages are installed"),
    };
    findings.push(Finding::group(title, packages));
    findings.extend(request.grounds.built_with(&made).await);
    let key = files::key(&contents::key(&image), &checked);
    findings.push(match store.record_get(files::FOUND, &key)? {
        Some(found) => found,
        None => {
            let known =
                files.map_or_else(|| contents::known_files(store, &image), |it| Ok(Some(it)));
            let files = known?.map_or_else(|| read().map(|contents| contents.files), Ok)?;
            let mut manifests = BTreeMap::new();
            for digest in checked.iter().filter_map(|package| package.original) {
                let manifest = chain::manifest(store, &digest)?;
                manifests.insert(digest, manifest.ok_or(VerifyError::BrokenOff)?);
            }
            let found = files::check(&files, &checked, &manifests);
            store.record_put(files::FOUND, &key, &found)?;
            found
        }
    });
    findings.push(keys(&database, request.grounds.keyring));
    findings.extend(sboms.iter().map(|sbom| same_packages(sbom, &checked)));
    if sboms.is_empty() {
        findings.push(Finding::failed(
            "no trusted SBOM says what is in the image".to_owned(),
        ));
    }
    if let Some(hashing) = hashing {
        hashing.await.map_err(|_| VerifyError::BrokenOff)??;
    }
    Ok(VerifyReport {
        subject: Subject::Image(digest),
        slsa_level: said.slsa_level,
        findings,
    })
}

/// Whom apk in the image trusts, beside those who sign the repositories.
fn keys(database: &Database, keyring: &Keyring) -> Finding {
    let parts: Vec<Finding> = database
        .keys
        .keys()
        .filter(|(name, key)| keyring.get(name) != Some(key))
        .map(|(name, key)| {
            Finding::unproven(format!(
                "apk in the image also trusts {name} ({})",
                key.id()
            ))
        })
        .collect();
    if parts.is_empty() {
        return Finding::proven("apk in the image trusts only the repositories' keys".to_owned());
    }
    Finding::group(
        "apk in the image trusts more keys than the repositories'".to_owned(),
        parts,
    )
}

/// One package: a signed index lists it, its file is intact, its making is stated.
async fn installed<'i>(
    grounds: Grounds<'_>,
    installed: &'i InstalledPackage,
    cores: &Semaphore,
) -> (Finding, Checked<'i>, Option<Made>) {
    let recorded = &installed.entry;
    let mut checked = Checked {
        installed,
        listed: None,
        original: None,
    };
    let listed = match grounds.listed(&recorded.identity) {
        Some((repository, Ok(entry))) => Ok((repository, entry)),
        Some((_, Err(unreadable))) => Err(unreadable.to_string()),
        None => {
            let mut repositories = grounds.repositories.iter();
            let other = repositories.any(|repository| {
                let catalogue = &repository.catalogue;
                let info = &recorded.info;
                catalogue.find(&info.name, &info.version).is_some()
            });
            Err(match other {
                true => "the signed index has another package of this name and version",
                false if grounds.repositories.is_empty() => {
                    "no repository is named whose signed index could list it (`-r`)"
                }
                false => "no signed index lists it",
            }
            .to_owned())
        }
    };
    let (repository, entry) = match listed {
        Ok(listed) => listed,
        Err(reason) => {
            let title = format!("{} {}", recorded.info.name, recorded.info.version);
            let finding = Finding::group(title, vec![Finding::failed(reason)]);
            return (finding, checked, None);
        }
    };
    let title = format!("{} {}", entry.info.name, entry.info.version);
    let mut parts = grounds.by_index(repository, &entry);
    parts.extend(misstated(&recorded.info, &entry.info));
    let mut made = None;
    match grounds.look(repository, &entry, cores).await {
        Err(refused) => parts.push(Finding::failed(refused.to_string())),
        Ok(looked) => {
            parts.push(Finding::proven(format!(
                "the index names the file {} whose data has the hashes it names",
                looked.digest
            )));
            if looked.package.scripts() != &installed.scripts {
                parts.push(Finding::failed(
                    "the installed database has other scripts than its file".to_owned(),
                ));
            }
            parts.push(match looked.package.verify(grounds.keyring) {
                Ok(key) => Finding::proven(format!("its file is signed by {key}")),
                Err(refused) => Finding::unproven(format!("its file: {refused}")),
            });
            let of = Some((repository, &entry));
            let (findings, found) = grounds.origins(of, &looked).await;
            parts.extend(findings);
            made = found;
            checked.original = Some(looked.digest);
        }
    }
    checked.listed = Some(entry);
    (Finding::group(title, parts), checked, made)
}

/// What the installed database says otherwise than the signed index: scanners and apk go by it.
fn misstated(installed: &PackageInfo, listed: &PackageInfo) -> Vec<Finding> {
    let sorted = |dependencies: &[Dependency]| {
        let mut words: Vec<String> = dependencies.iter().map(Dependency::to_string).collect();
        words.sort();
        words.join(" ")
    };
    let compared = [
        ("name", installed.name.clone(), listed.name.clone()),
        ("version", installed.version.clone(), listed.version.clone()),
        ("architecture", installed.arch.clone(), listed.arch.clone()),
        ("origin", installed.origin.clone(), listed.origin.clone()),
        (
            "dependencies",
            sorted(&installed.depends),
            sorted(&listed.depends),
        ),
        (
            "provides",
            sorted(&installed.provides),
            sorted(&listed.provides),
        ),
    ];
    compared
        .into_iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(what, found, expected)| {
            Finding::failed(format!(
                "the installed database has the {what} `{found}`, the signed index `{expected}`"
            ))
        })
        .collect()
}

/// Whether the SBOM lists the installed packages, all of them, and nothing else.
fn same_packages(sbom: &Document, checked: &[Checked<'_>]) -> Finding {
    let contained = |holder: &str| -> Vec<&str> {
        sbom.relationships
            .iter()
            .filter(|relation| {
                relation.relationship_type == "CONTAINS" && relation.spdx_element_id == holder
            })
            .map(|relation| relation.related_spdx_element.as_str())
            .collect()
    };
    let mut listed: BTreeMap<(String, String), &attest::spdx::Package> = BTreeMap::new();
    let mut holders: Vec<&str> = sbom.document_describes.iter().map(String::as_str).collect();
    let mut depth = 0;
    // The image contains layers, and they packages.
    while depth < 2 {
        let mut next = Vec::new();
        for id in holders.iter().flat_map(|holder| contained(holder)) {
            let Some(package) = sbom.packages.iter().find(|package| package.id == id) else {
                continue;
            };
            match package.primary_package_purpose.as_deref() {
                Some("ARCHIVE") => next.push(id),
                Some("OPERATING-SYSTEM") => {}
                _ => {
                    let version = package.version_info.clone().unwrap_or_default();
                    listed.insert((package.name.clone(), version), package);
                }
            }
        }
        holders = next;
        depth += 1;
    }
    let mut wrong = Vec::new();
    for package in checked {
        let info = package.info();
        let key = (info.name.clone(), info.version.clone());
        let Some(element) = listed.remove(&key) else {
            wrong.push(Finding::failed(format!(
                "the SBOM does not list {} {}, which is installed",
                key.0, key.1
            )));
            continue;
        };
        if let Some(digest) = &package.original {
            let hex = digest.hex();
            let agrees = element
                .checksums
                .iter()
                .any(|checksum| checksum.algorithm == "SHA256" && checksum.checksum_value == hex);
            if !agrees {
                wrong.push(Finding::failed(format!(
                    "the SBOM lists another {} {} than the one of the repository",
                    key.0, key.1
                )));
            }
        }
    }
    for (name, version) in listed.into_keys() {
        wrong.push(Finding::failed(format!(
            "the SBOM lists {name} {version}, which is not installed"
        )));
    }
    if wrong.is_empty() {
        Finding::proven(
            "the SBOM lists the installed packages, all of them and nothing else".to_owned(),
        )
    } else {
        Finding::group(
            "the SBOM and the installed packages differ".to_owned(),
            wrong,
        )
    }
}

//! The chain from an image to the sources its packages were built from, link by link.
//!
//! What is proven, what is not and cannot be (a seed package's source is somebody else's binary),
//! and what is false are told apart: a report without anything false is good, but says how far it
//! reaches.

mod files;
mod policy;
mod report;
mod statements;

use std::collections::BTreeMap;

use apk::database::{Database, DatabaseError, InstalledPackage};
use apk::dependency::{Dependency, Identity};
use apk::index::IndexEntry;
use apk::package::{Manifest, PackageInfo};
use apk::repository::{Access, LoadedRepository, Proof};
use apk::signature::Keyring;
use archive::Limits;
use archive::tree::NodeKind;
use attest::spdx::Document;
use attest::trust::Trust;
use base::{Arch, Digest, Epoch, Reporter};
use oci::{Layout, LayoutError};

use crate::contents::{self, Contents, ContentsError};

pub use policy::Policy;
pub(crate) use report::plain;
pub use report::{Finding, Standing, VerifyReport};
pub use statements::{Stated, Statements};

/// What an image is checked against.
#[derive(Clone, Copy)]
pub struct VerifyRequest<'a> {
    /// Where the image is.
    pub layout: &'a Layout,
    /// Its tag; none means the only image.
    pub tag: Option<&'a str>,
    /// The architecture whose image is checked.
    pub arch: Arch,
    /// Whose statements about the image count.
    pub trust: &'a Trust,
    /// The repositories that its packages come from; their indexes' signatures were checked when
    /// they were opened.
    pub repositories: &'a [LoadedRepository],
    /// How their packages are come by.
    pub access: &'a Access,
    /// The keys of the repositories.
    pub keyring: &'a Keyring,
    /// What else must hold, and the time that ages are told from.
    pub policy: Option<(&'a Policy, Epoch)>,
    /// Is told what is fetched.
    pub reporter: &'a dyn Reporter,
}

/// The image can't even be looked at.
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
}

/// A package of the image and what its repository has of it.
struct Checked<'a> {
    installed: &'a InstalledPackage,
    /// What a signed index says of it, if one lists it.
    listed: Option<IndexEntry>,
    /// The .apk's entries and SHA-256, if the repository has this very package.
    original: Option<(Manifest, Digest)>,
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
    let contents = contents::read(layout, &image)?;
    let database = Database::read(&contents.kept)?;

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

    let mut checked = Vec::new();
    let mut packages = Vec::new();
    for installed in &database.packages {
        let (finding, listed, original) = package(request, installed, &contents).await;
        packages.push(finding);
        checked.push(Checked {
            installed,
            listed,
            original,
        });
    }
    let title = match packages.len() {
        1 => "1 package is installed".to_owned(),
        count => format!("{count} packages are installed"),
    };
    findings.push(Finding::group(title, packages));
    findings.push(files::check(&contents, &checked));
    findings.push(keys(&database, request.keyring));
    findings.extend(sboms.iter().map(|sbom| same_packages(sbom, &checked)));
    if sboms.is_empty() {
        findings.push(Finding::failed(
            "no trusted SBOM says what is in the image".to_owned(),
        ));
    }
    Ok(VerifyReport {
        image: digest,
        slsa_level: said.slsa_level,
        findings,
    })
}

/// Whether enough builders made the package again.
fn rebuilt(proof: &Proof, identity: &Identity) -> Finding {
    let (found, required) = (proof.vouched(identity), proof.required());
    let message = match found {
        0 => "no trusted rebuilder states that it comes out the same".to_owned(),
        1 => "1 trusted rebuilder states that it comes out the same".to_owned(),
        count => format!("{count} trusted rebuilders state that it comes out the same"),
    };
    match found >= required {
        true => Finding::proven(message),
        false => Finding::failed(format!("{message}; {required} must")),
    }
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

/// One package: a signed index lists it, its file is intact, its sources are named.
async fn package(
    request: &VerifyRequest<'_>,
    installed: &InstalledPackage,
    contents: &Contents,
) -> (Finding, Option<IndexEntry>, Option<(Manifest, Digest)>) {
    let identity = &installed.entry.identity;
    let listed = request.repositories.iter().find_map(|repository| {
        let place = repository.catalogue.find_identity(identity)?;
        Some((repository, repository.entry(place)))
    });
    let unlisted = |reason: String| {
        let info = &installed.entry.info;
        let title = format!("{} {}", info.name, info.version);
        let finding = Finding::group(title, vec![Finding::failed(reason)]);
        (finding, None, None)
    };
    let (repository, entry) = match listed {
        Some((repository, Ok(entry))) => (repository, entry),
        Some((_, Err(unreadable))) => return unlisted(unreadable.to_string()),
        None => {
            let info = &installed.entry.info;
            let mut repositories = request.repositories.iter();
            let other = repositories.any(|repository| {
                let catalogue = &repository.catalogue;
                catalogue.find(&info.name, &info.version).is_some()
            });
            let reason = if other {
                "the signed index has another package of this name and version"
            } else {
                "no signed index lists it"
            };
            return unlisted(reason.to_owned());
        }
    };
    let info = &entry.info;
    let title = format!("{} {}", info.name, info.version);
    let mut parts = vec![Finding::proven(format!(
        "a signed index lists it as {}",
        entry.identity
    ))];
    parts.extend(misstated(&installed.entry.info, &entry.info));
    parts.extend(
        repository
            .proof
            .as_ref()
            .map(|proof| rebuilt(proof, identity)),
    );
    let brought = request
        .access
        .package(repository, &entry, request.reporter)
        .await;
    let opened = brought.and_then(|path| {
        let package = repository.open_package_at(&path, &entry)?;
        let failed = |source| apk::repository::RepositoryError::Package {
            repository: repository.name.clone(),
            source,
        };
        let manifest = package.manifest(&Limits::default()).map_err(failed)?;
        let digest = package.digest().map_err(failed)?;
        Ok((package, manifest, digest))
    });
    let original = match opened {
        Err(refused) => {
            parts.push(Finding::failed(refused.to_string()));
            None
        }
        Ok((package, manifest, digest)) => {
            parts.push(Finding::proven(format!(
                "its file {digest} is what the index names, and its data has the hashes it names"
            )));
            if package.scripts() != &installed.scripts {
                parts.push(Finding::failed(
                    "the installed database has other scripts than its file".to_owned(),
                ));
            }
            parts.push(match package.verify(request.keyring) {
                Ok(key) => Finding::proven(format!("its file is signed by {key}")),
                Err(refused) => Finding::unproven(format!("its file: {refused}")),
            });
            Some((manifest, digest))
        }
    };
    parts.push(sources(&info.name, &info.version, contents));
    (Finding::group(title, parts), Some(entry), original)
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

/// What the package's own SBOM says it was built from.
fn sources(name: &str, version: &str, contents: &Contents) -> Finding {
    let path = format!("var/lib/db/sbom/{name}-{version}.spdx.json");
    let document = contents.kept.get(&path).and_then(|node| match &node.kind {
        NodeKind::File { content, .. } => Document::from_json(&content.read().ok()?).ok(),
        _ => None,
    });
    let Some(document) = document else {
        return Finding::unproven(
            "it names no sources: to this check it is an opaque binary".to_owned(),
        );
    };
    let sources: Vec<&attest::spdx::Package> = document
        .relationships
        .iter()
        .filter(|relation| relation.relationship_type == "GENERATED_FROM")
        .filter_map(|relation| {
            document
                .packages
                .iter()
                .find(|package| package.id == relation.related_spdx_element)
        })
        .collect();
    if sources.is_empty() {
        return Finding::unproven(
            "its SBOM names no sources: to this check it is an opaque binary".to_owned(),
        );
    }
    let parts = sources
        .into_iter()
        .map(|source| {
            let digest = source
                .checksums
                .iter()
                .find(|checksum| checksum.algorithm == "SHA256");
            let name = source_name(source);
            match digest {
                Some(digest) if source.primary_package_purpose.as_deref() == Some("INSTALL") => {
                    Finding::unproven(format!(
                        "{name} sha256:{}, a binary that somebody else built",
                        digest.checksum_value
                    ))
                }
                Some(digest) => Finding::proven(format!("{name} sha256:{}", digest.checksum_value)),
                None => Finding::unproven(format!("{name} is named without a SHA-256")),
            }
        })
        .collect();
    Finding::group("its SBOM names what it was built from".to_owned(), parts)
}

/// What a source is called: where it is to be had, else its package URL if that says more than its
/// name, else its name.
fn source_name(source: &attest::spdx::Package) -> &str {
    if source.download_location != attest::licence::NO_ASSERTION {
        return &source.download_location;
    }
    let locators = source
        .external_refs
        .iter()
        .map(|reference| reference.reference_locator.as_str());
    let mut distributed = locators.filter(|locator| !locator.starts_with("pkg:generic/"));
    distributed.next().unwrap_or(&source.name)
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
        if let Some((_, digest)) = &package.original {
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

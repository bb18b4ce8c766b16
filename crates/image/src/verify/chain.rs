//! From a package back to what it was built from and with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use apk::dependency::Identity;
use apk::index::IndexEntry;
use apk::package::{EntryKind, Manifest, Package, PackageError};
use apk::repository::{Access, LoadedRepository, Proof, RepositoryError};
use apk::signature::Keyring;
use archive::Limits;
use attest::bundle::Bundle;
use attest::dsse::Envelope;
use attest::intoto::Statement;
use attest::slsa::{self, Provenance, ResourceDescriptor};
use attest::spdx::{self, Document};
use attest::trust::Trust;
use base::{Digest, Reporter};
use key::PublicKey;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};
use tokio::sync::Semaphore;

use super::{BILLS, Finding};

/// Bytes of all that is stated about a package.
pub(super) const STATEMENTS: u64 = 128 << 20;

/// Packages that are followed back, at any depth.
const MAXIMUM_PACKAGES: usize = 100_000;

/// Names that are told of many.
const TOLD: usize = 8;

/// On what grounds packages are believed.
#[derive(Clone, Copy)]
pub struct Grounds<'a> {
    /// Whose statements count, besides those of the keyring's keys.
    pub trust: &'a Trust,
    /// The repositories that packages come from; their indexes' signatures were checked when they
    /// were opened.
    pub repositories: &'a [LoadedRepository],
    /// How their packages are come by.
    pub access: &'a Access,
    /// The keys of the repositories.
    pub keyring: &'a Keyring,
    /// Is told what is fetched.
    pub reporter: &'a dyn Reporter,
}

/// The record of the entries of a package, by the SHA-256 of its file: every hash in it is right.
const MANIFEST: &str = "package-entries";

/// The record of what a package's own bill of materials says it was built from, if it has one. It is
/// written last.
const BILLED: &str = "package-billed";

/// The record of the SHA-256 that the file has which begins with a head (see [`Package::head`]).
const HEADS: &str = "package-heads-1";

/// Bytes of a bill of materials in a package.
const BILL: u64 = 64 << 20;

/// A package that was looked at, with every hash in it.
pub(super) struct Looked {
    pub(super) package: Package,
    /// What its own bill of materials says it was built from, if it has one.
    bill: Option<Vec<Billed>>,
    /// SHA-256 of its file.
    pub(super) digest: Digest,
}

/// Something that a package's own bill of materials names as a source.
#[derive(Serialize, Deserialize)]
struct Billed {
    name: String,
    /// Its SHA-256, in hexadecimal digits.
    sha256: Option<String>,
    /// Somebody else built it.
    binary: bool,
}

impl Looked {
    /// Reads a package. What was once found in a file with its SHA-256 is not looked for again.
    pub(super) fn whole(package: Package, store: &Store) -> Result<Looked, LookError> {
        let digest = package.digest()?;
        let known = match store.has_record(MANIFEST, &digest) {
            true => store.record_get(BILLED, &digest)?,
            false => None,
        };
        let bill = match known {
            Some(bill) => bill,
            None => {
                let (manifest, bill) = contents(&package)?;
                store.record_put(MANIFEST, &digest, &manifest)?;
                store.record_put(BILLED, &digest, &bill)?;
                bill
            }
        };
        Ok(Looked {
            package,
            bill,
            digest,
        })
    }

    /// What the head of a package stands for: its digest and sources, once the whole was seen. The data is
    /// not read again: this is for what was made of the package, and says nothing of how its file is now.
    fn known(package: &Package, store: &Store) -> Result<Option<Known>, LookError> {
        if let Some(head) = package.head()?
            && let Some(digest) = store.record_get(HEADS, &head)?
            && store.has_record(MANIFEST, &digest)
            && let Some(bill) = store.record_get(BILLED, &digest)?
        {
            return Ok(Some((digest, bill)));
        }
        Ok(None)
    }

    /// As [`Looked::whole`]; from now on its head stands for it.
    fn headed(package: Package, store: &Store) -> Result<Looked, LookError> {
        let looked = Looked::whole(package, store)?;
        if let Some(head) = looked.package.head()? {
            store.record_put(HEADS, &head, &looked.digest)?;
        }
        Ok(looked)
    }
}

/// The digest and the sources of a package.
type Known = (Digest, Option<Vec<Billed>>);

/// The entries of a package that was looked at before.
pub(super) fn manifest(store: &Store, digest: &Digest) -> Result<Option<Manifest>, StoreError> {
    store.record_get(MANIFEST, digest)
}

/// Reads the whole package.
fn contents(package: &Package) -> Result<(Manifest, Option<Vec<Billed>>), PackageError> {
    let info = package.info();
    let wanted = format!("{BILLS}/{}-{}.spdx.json", info.name, info.version);
    let mut document = None;
    let manifest = package.visit(&Limits::default(), |entry, content| {
        let fits = matches!(entry.kind, EntryKind::File { size } if size <= BILL);
        if fits && entry.path == wanted {
            let mut bytes = Vec::new();
            let read = content.read_to_end(&mut bytes);
            read.map_err(|source| PackageError::Read {
                path: package.path().to_owned(),
                source,
            })?;
            document = Document::from_json(&bytes).ok();
        }
        Ok::<(), PackageError>(())
    })?;
    Ok((manifest, document.as_ref().map(Billed::all)))
}

impl Billed {
    fn all(document: &Document) -> Vec<Billed> {
        let by_id: BTreeMap<&str, &spdx::Package> = document
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package))
            .collect();
        let relations = document.relationships.iter();
        let sources = relations
            .filter(|relation| relation.relationship_type == "GENERATED_FROM")
            .filter_map(|relation| by_id.get(relation.related_spdx_element.as_str()));
        let billed = sources.map(|source| {
            let mut checksums = source.checksums.iter();
            let sha256 = checksums.find(|checksum| checksum.algorithm == "SHA256");
            Billed {
                name: source_name(source).to_owned(),
                sha256: sha256.map(|checksum| checksum.checksum_value.clone()),
                binary: source.primary_package_purpose.as_deref() == Some("INSTALL"),
            }
        });
        billed.collect()
    }
}

/// A package can't be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the check was broken off")]
    BrokenOff,
}

/// How a package was made, by the word of somebody who is trusted.
#[derive(Debug)]
pub(super) struct Made {
    builder: String,
    /// The packages that were there.
    guest: Vec<Material>,
    /// All else that took part.
    sources: Vec<Source>,
}

/// Something that a package was made from.
#[derive(Debug)]
struct Source {
    name: String,
    /// Its hashes, `sha256:…` and the like.
    hashes: Vec<String>,
}

/// A package that took part in building another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Material {
    name: String,
    identity: Option<Identity>,
    digest: Digest,
}

impl<'a> Grounds<'a> {
    /// Who lists the package, and as what.
    pub(super) fn listed(
        &self,
        identity: &Identity,
    ) -> Option<(&'a LoadedRepository, Result<IndexEntry, RepositoryError>)> {
        self.repositories.iter().find_map(|repository| {
            let place = repository.catalogue.find_identity(identity)?;
            Some((repository, repository.entry(place)))
        })
    }

    /// What follows from the index that lists a package: that it does, and who built it again.
    pub(super) fn by_index(
        &self,
        repository: &LoadedRepository,
        entry: &IndexEntry,
    ) -> Vec<Finding> {
        let mut findings = vec![Finding::proven(format!(
            "a signed index lists it as {}",
            entry.identity
        ))];
        let proof = repository.proof.as_ref();
        findings.extend(proof.map(|proof| rebuilt(proof, &entry.identity)));
        findings
    }

    /// Brings the package that an index lists, and looks at what it is meant to be: where it has to be read as
    /// a whole, once one of the `cores` is free.
    pub(super) async fn look(
        &self,
        repository: &LoadedRepository,
        entry: &IndexEntry,
        cores: &Semaphore,
    ) -> Result<Looked, LookError> {
        let brought = self
            .access
            .package(repository, entry, self.reporter)
            .await?;
        let looked = self.look_at(&brought, entry, cores).await;
        looked.map_err(|error| match error {
            LookError::Package(source) => LookError::Repository(RepositoryError::Package {
                repository: repository.name.clone(),
                source,
            }),
            other => other,
        })
    }

    async fn look_at(
        &self,
        path: &Path,
        entry: &IndexEntry,
        cores: &Semaphore,
    ) -> Result<Looked, LookError> {
        let store = self.access.store();
        let package = Package::open(path)?;
        package.check_entry(entry)?;
        // That costs less than another thread does.
        if let Some((digest, bill)) = Looked::known(&package, store)? {
            return Ok(Looked {
                package,
                bill,
                digest,
            });
        }
        let core = cores.acquire().await;
        let core = core.map_err(|_closed| LookError::BrokenOff)?;
        let store = store.clone();
        let looked = tokio::task::spawn_blocking(move || Looked::headed(package, &store)).await;
        drop(core);
        looked.unwrap_or(Err(LookError::BrokenOff))
    }

    /// How the package that an index lists was made. None if nobody says; why what is said does not
    /// count.
    async fn made(
        &self,
        repository: &LoadedRepository,
        entry: &IndexEntry,
        digest: &Digest,
    ) -> Result<Option<Made>, String> {
        let suffix = slsa::FILE_SUFFIX;
        let bytes = self
            .access
            .beside_package(repository, entry, suffix, STATEMENTS, self.reporter)
            .await
            .map_err(|error| error.to_string())?;
        bytes
            .map(|bytes| self.read_statements(&bytes, digest))
            .transpose()
    }

    /// How the package with this digest was made, by what is stated beside it.
    pub(super) fn read_statements(&self, bytes: &[u8], digest: &Digest) -> Result<Made, String> {
        let mut keys = self.trust.keys().to_vec();
        keys.extend(self.keyring.keys().map(|(_, key)| key.clone()));
        let mut reason = "there is no statement in it".to_owned();
        for line in bytes.split(|byte| *byte == b'\n') {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match self.statement(line, &keys, digest) {
                Ok(provenance) => return Ok(Made::of(provenance)),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    fn statement(
        &self,
        line: &[u8],
        keys: &[PublicKey],
        digest: &Digest,
    ) -> Result<Provenance, Box<dyn std::error::Error>> {
        let verified = match Envelope::from_json(line) {
            Ok(envelope) => envelope.verify(keys)?,
            Err(refused) => match Bundle::from_json(line) {
                Ok(bundle) => bundle.verify(self.trust)?,
                Err(_) => return Err(refused.into()),
            },
        };
        let statement: Statement<Provenance> = Statement::from_verified(&verified)?;
        statement.expect(slsa::PREDICATE_TYPE, digest)?;
        Ok(statement.predicate)
    }

    /// What is known of a package's making: by its provenance in the repository that lists it, and by
    /// the bill of materials in it.
    pub(super) async fn origins(
        &self,
        listed: Option<(&LoadedRepository, &IndexEntry)>,
        looked: &Looked,
    ) -> (Vec<Finding>, Option<Made>) {
        let made = match listed {
            Some((repository, entry)) => self.made(repository, entry, &looked.digest).await,
            None => Ok(None),
        };
        origins(made, looked)
    }

    /// Follows what packages were built with back to where nobody says how it came about.
    pub(super) async fn built_with(&self, made: &[Made]) -> Option<Finding> {
        let first = made.iter().flat_map(|made| made.guest.iter().cloned());
        let mut next: BTreeSet<Material> = first.collect();
        if next.is_empty() {
            return None;
        }
        let mut seen: BTreeSet<Digest> = BTreeSet::new();
        let (mut built, mut opaque, mut unlisted) = (0_usize, BTreeSet::new(), BTreeSet::new());
        while let Some(material) = next.pop_first() {
            if !seen.insert(material.digest) {
                continue;
            }
            if seen.len() > MAXIMUM_PACKAGES {
                let message =
                    format!("more than {MAXIMUM_PACKAGES} packages took part in building");
                return Some(Finding::failed(message));
            }
            let listed = material
                .identity
                .and_then(|identity| self.listed(&identity));
            let Some((repository, Ok(entry))) = listed else {
                unlisted.insert(material.name);
                continue;
            };
            match self.made(repository, &entry, &material.digest).await {
                Ok(Some(made)) => {
                    built += 1;
                    next.extend(made.guest);
                }
                Ok(None) | Err(_) => _ = opaque.insert(material.name),
            }
        }
        let mut parts = Vec::new();
        if built > 0 {
            parts.push(Finding::proven(format!(
                "{} by trusted provenance",
                counted(built, "was built", "were built")
            )));
        }
        if !opaque.is_empty() {
            parts.push(Finding::unproven(format!(
                "{} no provenance to trust, and must be believed: {}",
                counted(opaque.len(), "has", "have"),
                some_of(&opaque)
            )));
        }
        if !unlisted.is_empty() {
            parts.push(Finding::unproven(format!(
                "{} in no index that was given: {}",
                counted(unlisted.len(), "is", "are"),
                some_of(&unlisted)
            )));
        }
        let title = format!(
            "{} part in building them, at any depth",
            counted(seen.len(), "package took", "packages took")
        );
        Some(Finding::group(title, parts))
    }
}

impl Made {
    fn of(provenance: Provenance) -> Made {
        let mut made = Made {
            builder: provenance.run_details.builder.id,
            guest: Vec::new(),
            sources: Vec::new(),
        };
        for found in provenance.build_definition.resolved_dependencies {
            match material(&found) {
                Some(material) => made.guest.push(material),
                None => made.sources.push(Source::of(found)),
            }
        }
        made
    }
}

/// The package that a dependency is, if it is one.
fn material(found: &ResourceDescriptor) -> Option<Material> {
    let identity = found.annotations.get("apkIdentity")?;
    Some(Material {
        name: found.name.clone(),
        identity: identity.parse().ok(),
        digest: found.digest.get("sha256")?.parse().ok()?,
    })
}

impl Source {
    fn of(found: ResourceDescriptor) -> Source {
        let hashes = found.digest.iter();
        // Of a commit, also what is checked out.
        let tree = found.annotations.get("tree").cloned();
        Source {
            hashes: hashes
                .map(|(kind, hash)| format!("{kind}:{hash}"))
                .chain(tree)
                .collect(),
            name: match found.uri.is_empty() {
                true => found.name,
                false => found.uri,
            },
        }
    }
}

/// What is known of a package's making, by whoever is trusted and by the package itself.
pub(super) fn origins(
    made: Result<Option<Made>, String>,
    looked: &Looked,
) -> (Vec<Finding>, Option<Made>) {
    let (provenance, made) = match made {
        Ok(Some(made)) => {
            let title = format!(
                "its provenance is signed by somebody who is trusted: {} built it with {} and this",
                made.builder,
                counted(made.guest.len(), "package", "packages")
            );
            let sources = made.sources.iter();
            let parts = sources.map(|source| {
                Finding::proven(format!("{} {}", source.name, source.hashes.join(" ")))
            });
            (Finding::group(title, parts.collect()), Some(made))
        }
        Ok(None) => {
            let message = "no provenance lies beside it: nobody says how it was built";
            (Finding::unproven(message.to_owned()), None)
        }
        Err(reason) => {
            let message = format!("the provenance beside it counts for nothing: {reason}");
            (Finding::unproven(message), None)
        }
    };
    let sources = sources(looked.bill.as_deref(), made.as_ref());
    (vec![provenance, sources], made)
}

/// What the package's own SBOM says it was built from, which trusted provenance must say too.
fn sources(bill: Option<&[Billed]>, made: Option<&Made>) -> Finding {
    let opaque = "to this check it is an opaque binary";
    let Some(bill) = bill else {
        return Finding::unproven(format!("it names no sources: {opaque}"));
    };
    if bill.is_empty() {
        return Finding::unproven(format!("its SBOM names no sources: {opaque}"));
    }
    let parts = bill.iter().map(|source| {
        let name = &source.name;
        let Some(digest) = &source.sha256 else {
            return Finding::unproven(format!("{name} is named without a SHA-256"));
        };
        let hash = format!("sha256:{digest}");
        if source.binary {
            return Finding::unproven(format!("{name} {hash}, a binary that somebody else built"));
        }
        let stated = |made: &Made| {
            let mut sources = made.sources.iter();
            sources.any(|source| source.hashes.contains(&hash))
        };
        match made {
            Some(made) if !stated(made) => Finding::failed(format!(
                "{name} {hash}, of which its provenance says nothing"
            )),
            _ => Finding::proven(format!("{name} {hash}")),
        }
    });
    let parts = parts.collect();
    Finding::group("its SBOM names what it was built from".to_owned(), parts)
}

/// What a source is called: where it is to be had, else its package URL if that says more than its
/// name, else its name.
fn source_name(source: &spdx::Package) -> &str {
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

pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn some_of(names: &BTreeSet<String>) -> String {
    let told: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
    match names.len() - told.len() {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

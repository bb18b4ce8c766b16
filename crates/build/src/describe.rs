//! What a package says of its own origin: the SPDX document that lies in it.

use std::collections::BTreeMap;
use std::io::Read;

use apk::package::{EntryKind, Package, PackageError};
use attest::intoto::JsonError;
use attest::licence::{CopyrightEntry, Expression, Licence, NO_ASSERTION};
use attest::spdx::{Document, PackageRecord, RecipeRecord, SourceRecord, package_url};
use base::{Digest, Epoch, Problem};
use store::Expected;

use crate::plan::Network;
use crate::recipe::{Action, GitCheckout, ResolvedPackage, ResolvedRecipe, Step};
use crate::recording::{Exchange, Recording, package_of};

/// What is known of a build besides its recipe.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The distribution: purl's namespace, the supplier, the maintainer.
    pub namespace: String,
    /// The digests of the sources that were fetched, by what the recipe says they hash to.
    pub sources: BTreeMap<Expected, Digest>,
    /// The digests of the sources of which the recipe knows nothing, by their URIs.
    pub unpinned: BTreeMap<String, Digest>,
    /// The commits of the git repositories that were checked out.
    pub commits: BTreeMap<GitCheckout, String>,
    /// The files beside the recipe, such as patches: their paths in the workspace and digests.
    pub files: Vec<(String, Digest)>,
    /// The recipe's place.
    pub recipe: Option<RecipeRecord>,
    /// Whether steps reached the network, and with it sources that nobody named.
    pub network: Network,
    /// What steps got from the network, where that is known.
    pub recording: Recording,
    /// The texts of the licences that the recipe names by `license-path`, by that path.
    pub licence_texts: BTreeMap<String, String>,
}

/// Longer documents of a package are not read: 64 MiB.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Where a package's document lies in it.
pub fn document_path(package: &ResolvedPackage) -> String {
    place(&package.name, &package.full_version)
}

fn place(name: &str, version: &str) -> String {
    format!("var/lib/db/sbom/{name}-{version}.spdx.json")
}

/// The document that lies in a package, if there is one and it makes sense.
///
/// # Errors
/// The package is damaged.
pub fn packaged_document(package: &Package) -> Result<Option<Document>, PackageError> {
    let info = package.info();
    let place = place(&info.name, &info.version);
    let mut document = None;
    package.visit(&archive::Limits::default(), |entry, content| {
        if entry.path == place && matches!(entry.kind, EntryKind::File { .. }) {
            let mut bytes = Vec::new();
            let read = content.take(MAX_DOCUMENT).read_to_end(&mut bytes);
            document = read.ok().and_then(|_| Document::from_json(&bytes).ok());
        }
        Ok::<(), PackageError>(())
    })?;
    Ok(document)
}

/// What the document of a package says that was built with the network within reach.
const NETWORK: &str = "built with network access: sources beyond those named are unknown";

/// The document of one package of `recipe`: its [`record`], and whether more than that went into it.
///
/// # Errors
/// It can't be written as JSON.
pub fn document(
    recipe: &ResolvedRecipe,
    package: &ResolvedPackage,
    steps: &[Step],
    origin: &Origin,
    epoch: Epoch,
) -> Result<Document, JsonError> {
    let mut document = record(recipe, package, steps, origin).document(epoch)?;
    if origin.network != Network::Allowed {
        return Ok(document);
    }
    for described in &mut document.packages {
        if document.document_describes.contains(&described.id) {
            described.source_info = Some(NETWORK.to_owned());
        }
    }
    document.seal()
}

/// The facts of one package of `recipe`. `steps` are its own; the main package's steps make every
/// subpackage too.
pub fn record(
    recipe: &ResolvedRecipe,
    package: &ResolvedPackage,
    steps: &[Step],
    origin: &Origin,
) -> PackageRecord {
    let mut sources = Vec::new();
    for step in recipe.steps.iter().chain(steps) {
        collect(step, package, origin, &mut sources);
    }
    sources.extend(origin.files.iter().map(|(path, digest)| SourceRecord {
        name: path.clone(),
        version: None,
        uri: String::new(),
        digest: Some(*digest),
        commit: None,
        purl: None,
    }));
    let exchanges = origin.recording.exchanges().iter();
    sources.extend(exchanges.filter_map(recorded_source));
    sources.sort();
    sources.dedup();
    let notices = package
        .licenses
        .iter()
        .map(|entry| entry.attestation.trim().to_owned());
    PackageRecord {
        namespace: origin.namespace.clone(),
        name: package.name.clone(),
        version: package.full_version.clone(),
        arch: Some(recipe.arch),
        origin: Some(recipe.package.name.clone()),
        description: one_line(&package.description),
        url: package.url.trim().to_owned(),
        licence: licence(package, origin),
        copyright: notices.filter(|notice| !notice.is_empty()).collect(),
        cpe: package
            .cpe
            .as_ref()
            .map(|cpe| cpe.formatted(&package.version)),
        sources,
        recipe: origin.recipe.clone(),
    }
}

/// A recorded answer as a source: archives of registries and others, not what only leads to them.
fn recorded_source(exchange: &Exchange) -> Option<SourceRecord> {
    if exchange.status != 200 || exchange.method != "GET" {
        return None;
    }
    let source = |name: &str, version: Option<String>, purl| SourceRecord {
        name: name.to_owned(),
        version,
        uri: exchange.url.clone(),
        digest: Some(exchange.digest),
        commit: None,
        purl,
    };
    if let Some(found) = package_of(&exchange.url) {
        let path: Vec<&str> = found.path.iter().map(String::as_str).collect();
        let purl = package_url(found.kind, &path, &found.version);
        return Some(source(
            found.name(),
            Some(found.version.clone()),
            Some(purl),
        ));
    }
    let path = exchange.url.split('?').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    ARCHIVES
        .iter()
        .any(|suffix| file.ends_with(suffix))
        .then(|| source(file, None, None))
}

/// The ends of the names of files that hold others.
const ARCHIVES: [&str; 14] = [
    ".7z", ".apk", ".bz2", ".crate", ".deb", ".gem", ".gz", ".jar", ".tgz", ".txz", ".whl", ".xz",
    ".zip", ".zst",
];

/// The package's licences as one expression.
pub fn licence(package: &ResolvedPackage, origin: &Origin) -> Licence {
    let entries: Vec<CopyrightEntry> = package
        .licenses
        .iter()
        .map(|entry| CopyrightEntry {
            licence: entry.license.clone(),
            text: origin.licence_texts.get(&entry.license_path).cloned(),
        })
        .collect();
    Licence::join(&entries)
}

/// A warning for each licence that is no SPDX expression.
pub fn check_licences(package: &ResolvedPackage) -> Vec<Problem> {
    package
        .licenses
        .iter()
        .filter(|entry| entry.license != NO_ASSERTION)
        .filter_map(|entry| {
            let error = Expression::parse(&entry.license).err()?;
            let message = format!("{}: {error}", package.name);
            Some(Problem::warning("licence", message).help(
                "the package is described with a `LicenseRef-` for it; write the expression of \
                 spdx.org/licenses that is meant",
            ))
        })
        .collect()
}

/// A text without line ends: what would start another field of .PKGINFO becomes a space.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|letter: char| letter.is_whitespace() || letter.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

fn collect(
    step: &Step,
    package: &ResolvedPackage,
    origin: &Origin,
    sources: &mut Vec<SourceRecord>,
) {
    let given = |text: &str, otherwise: &str| {
        let text = if text.is_empty() { otherwise } else { text };
        text.to_owned()
    };
    if let Action::Fetch(fetch) = &step.action {
        sources.push(SourceRecord {
            name: given(&fetch.purl_name, &package.name),
            version: Some(given(&fetch.purl_version, &package.version)),
            uri: fetch.uri.clone(),
            digest: match &fetch.expected {
                Some(expected) => origin.sources.get(expected).copied(),
                None => origin.unpinned.get(&fetch.uri).copied(),
            },
            commit: None,
            purl: None,
        });
    }
    if let Action::GitCheckout(checkout) = &step.action {
        let repository = store::without_credentials(&checkout.repository);
        let last = repository.trim_end_matches('/').rsplit(['/', ':']).next();
        let name = last.unwrap_or_default().trim_end_matches(".git");
        sources.push(SourceRecord {
            name: given(name, &package.name),
            version: checkout.tag.clone(),
            uri: repository,
            digest: None,
            commit: origin
                .commits
                .get(checkout)
                .or(checkout.expected_commit.as_ref())
                .cloned(),
            purl: None,
        });
    }
    for inner in &step.steps {
        collect(inner, package, origin, sources);
    }
}

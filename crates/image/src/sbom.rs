//! The image's SPDX document, composed of what its packages say of themselves.

use std::path::Path;

use apk::package::PackageInfo;
use attest::licence::Licence;
use attest::spdx::{Document, ImageLayer, ImagePackage, ImageRecord, PackageRecord};
use base::{Digest, Epoch};

use crate::build::Unpacked;
use crate::filesystem::{Filesystem, FilesystemError};
use crate::layer::Layer;
use crate::plan::ImagePlan;

/// The document can't be composed.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// A file of the image can't be read.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// The document can't be written as JSON.
    #[error("the SBOM of the image can't be composed: {0}")]
    Json(#[from] attest::intoto::JsonError),
}

/// Where packages keep their own documents.
const FOLDER: &str = "var/lib/db/sbom";

/// What there is to compose from.
pub(crate) struct Parts<'a> {
    pub(crate) plan: &'a ImagePlan,
    pub(crate) packages: &'a [Unpacked],
    /// The packages of each layer.
    pub(crate) groups: &'a [Vec<usize>],
    pub(crate) filesystem: &'a Filesystem,
    pub(crate) layers: &'a [Layer],
}

pub(crate) fn compose(
    parts: &Parts<'_>,
    name: &str,
    manifest: Digest,
    epoch: Epoch,
    notes: &mut Vec<String>,
) -> Result<Document, SbomError> {
    let os_release = parts.filesystem.read("etc/os-release")?.unwrap_or_default();
    let os_release = String::from_utf8_lossy(&os_release).into_owned();
    let id = os_release_value(&os_release, "ID");
    let namespace = id.clone().unwrap_or_else(|| "unknown".to_owned());
    let mut own = |info: &PackageInfo, read: &dyn Fn(&str) -> Option<Vec<u8>>| match own_document(
        info, read,
    ) {
        Ok(document) => document,
        Err(reason) => {
            notes.push(format!(
                "the SBOM that {} {} brings can't be read ({reason}); the image's SBOM only names the package",
                info.name, info.version
            ));
            None
        }
    };
    let base = parts.plan.base.as_ref();
    let lower = base.map_or(0, |base| base.manifest.layers.len());
    let mut packages: Vec<ImagePackage> = Vec::new();
    if let Some(base) = base {
        packages.extend(base.packages.iter().map(|package| {
            let info = &package.entry.info;
            ImagePackage {
                record: record(info, &namespace),
                document: own(info, &|path| in_folder(&base.folder, path)),
                checksum: None,
                // Which of the base image's layers it is in isn't known.
                layer: usize::MAX,
            }
        }));
    }
    packages.extend(parts.packages.iter().enumerate().map(|(index, package)| {
        let document = own(&package.info, &|path| package.stored.read(path));
        ImagePackage {
            record: record(&package.info, &namespace),
            document,
            checksum: Some(package.stored.digest),
            layer: parts
                .groups
                .iter()
                .position(|group| group.contains(&index))
                .map_or(usize::MAX, |place| lower + place),
        }
    }));
    let record = ImageRecord {
        name: name.to_owned(),
        digest: Some(manifest),
        arch: parts.plan.arch,
        namespace,
        operating_system: id.map(|id| {
            let version = os_release_value(&os_release, "VERSION_ID").unwrap_or_default();
            (id, version)
        }),
        layers: base
            .iter()
            .flat_map(|base| &base.manifest.layers)
            .map(|layer| layer.digest)
            .chain(parts.layers.iter().map(|layer| layer.digest))
            .map(|digest| ImageLayer { digest })
            .collect(),
        packages,
    };
    Ok(record.document(epoch)?)
}

/// What the package's own control file says of it.
fn record(info: &PackageInfo, namespace: &str) -> PackageRecord {
    PackageRecord {
        namespace: namespace.to_owned(),
        name: info.name.clone(),
        version: info.version.clone(),
        arch: info.arch.parse().ok(),
        origin: Some(info.origin.clone()).filter(|origin| !origin.is_empty()),
        description: info.description.clone(),
        url: info.url.clone(),
        licence: Licence::of(&info.license()),
        copyright: Vec::new(),
        cpe: None,
        sources: Vec::new(),
        recipe: None,
    }
}

/// The document that a package brings along, which `read` reads by its path, under the names that melange and apko know: with the
/// full version, without its release, without version.
pub(crate) fn own_document(
    info: &PackageInfo,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Option<Document>, attest::intoto::JsonError> {
    let unreleased = info
        .version
        .rsplit_once("-r")
        .map_or(info.version.as_str(), |(version, _)| version);
    let names = [
        format!("{}-{}", info.name, info.version),
        format!("{}-{unreleased}", info.name),
        info.name.clone(),
    ];
    let bytes = names
        .iter()
        .filter(|name| !name.contains('/'))
        .find_map(|name| read(&format!("{FOLDER}/{name}.spdx.json")));
    bytes.map(|bytes| Document::from_json(&bytes)).transpose()
}

/// The bytes of a file beneath `folder`.
fn in_folder(folder: &Path, path: &str) -> Option<Vec<u8>> {
    let path = folder.join(path);
    // A link there could lead anywhere.
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    is_file.then(|| std::fs::read(path).ok()).flatten()
}

/// A value of os-release(5), its quotes removed.
fn os_release_value(text: &str, key: &str) -> Option<String> {
    let value = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value.trim())?;
    let value = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    (!value.is_empty()).then(|| value.to_owned())
}

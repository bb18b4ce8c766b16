//! SPDX documents with apko's words and Go's bytes (`pkg/sbom/generator/spdx`).

use std::collections::{BTreeMap, BTreeSet};

use base::{Arch, Digest, Epoch};
use oci::{Descriptor, media_type};
use serde::{Deserialize, Serialize};

use super::tree::Tree;
use super::{ParityError, element};

const NO_ASSERTION: &str = "NOASSERTION";
const FOLDER: &str = "var/lib/db/sbom";

/// An SPDX document whose fields stand in apko's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoDocument {
    #[serde(rename = "SPDXID", default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "spdxVersion", default)]
    version: String,
    #[serde(rename = "creationInfo", default)]
    creation: Creation,
    #[serde(rename = "dataLicense", default)]
    data_license: String,
    #[serde(rename = "documentNamespace", default)]
    namespace: String,
    #[serde(rename = "documentDescribes", default, deserialize_with = "nullable")]
    describes: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    packages: Vec<Package>,
    #[serde(default, deserialize_with = "nullable")]
    relationships: Vec<Relationship>,
    #[serde(
        rename = "hasExtractedLicensingInfos",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "nullable"
    )]
    licences: Vec<ExtractedLicence>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Creation {
    #[serde(default)]
    created: String,
    #[serde(default)]
    creators: Vec<String>,
    #[serde(rename = "licenseListVersion", default)]
    licence_list: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ExtractedLicence {
    #[serde(rename = "licenseId", default)]
    id: String,
    #[serde(rename = "extractedText", default)]
    text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_info: String,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    license_concluded: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    license_declared: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    download_location: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    originator: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    supplier: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source_info: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    copyright_text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    attribution_text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    primary_package_purpose: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    external_refs: Vec<Reference>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Checksum {
    algorithm: String,
    #[serde(rename = "checksumValue")]
    value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reference {
    #[serde(rename = "referenceCategory", default)]
    category: String,
    #[serde(rename = "referenceLocator", default)]
    locator: String,
    #[serde(rename = "referenceType", default)]
    kind: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Relationship {
    #[serde(rename = "spdxElementId", default)]
    element: String,
    #[serde(rename = "relationshipType", default)]
    kind: String,
    #[serde(rename = "relatedSpdxElement", default)]
    related: String,
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl GoDocument {
    /// As Go's encoder writes it: two spaces a level, `<`, `>` and `&` escaped, a newline at the end.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        crate::go_json::pretty(self)
    }

    fn new(name: String, epoch: Epoch) -> GoDocument {
        GoDocument {
            id: "SPDXRef-DOCUMENT".to_owned(),
            name,
            version: "SPDX-2.3".to_owned(),
            creation: Creation {
                created: epoch.rfc3339(),
                creators: vec![
                    "Tool: apko (devel)".to_owned(),
                    "Organization: Chainguard, Inc".to_owned(),
                ],
                licence_list: "3.27".to_owned(),
            },
            data_license: "CC0-1.0".to_owned(),
            namespace: "https://spdx.org/spdxdocs/apko/".to_owned(),
            ..GoDocument::default()
        }
    }

    fn relate(&mut self, element: &str, kind: &str, related: &str) {
        self.relationships.push(Relationship {
            element: element.to_owned(),
            kind: kind.to_owned(),
            related: related.to_owned(),
        });
    }

    /// Adds the repository that the image file is kept in.
    fn add_source(&mut self, vcs_url: &str, parent: &str, supplier: &str) {
        let (place, revision) = vcs_url.split_once('@').unwrap_or((vcs_url, ""));
        let mut name = place;
        for scheme in ["git+ssh://", "git://", "https://"] {
            name = name.strip_prefix(scheme).unwrap_or(name);
        }
        let purl = name.strip_prefix("github.com/").and_then(|slug| {
            let (owner, repository) = slug.split_once('/')?;
            let repository = repository.strip_suffix(".git").unwrap_or(repository);
            let version = if revision.is_empty() {
                String::new()
            } else {
                format!("@{revision}")
            };
            Some(format!("pkg:github/{owner}/{repository}{version}"))
        });
        let package = Package {
            id: format!("SPDXRef-Package-{}", identifier(vcs_url)),
            name: name.to_owned(),
            version_info: revision.to_owned(),
            description: "Image configuration source".to_owned(),
            download_location: vcs_url.to_owned(),
            supplier: supplier.to_owned(),
            primary_package_purpose: "SOURCE".to_owned(),
            checksums: if vcs_url.contains('@') {
                vec![Checksum {
                    algorithm: "SHA1".to_owned(),
                    value: revision.to_owned(),
                }]
            } else {
                Vec::new()
            },
            external_refs: purl.map(reference).into_iter().collect(),
            ..Package::default()
        };
        let id = package.id.clone();
        self.packages.push(package);
        self.relate(parent, "GENERATED_FROM", &id);
    }
}

fn reference(locator: String) -> Reference {
    Reference {
        category: "PACKAGE-MANAGER".to_owned(),
        locator,
        kind: "purl".to_owned(),
    }
}

fn identifier(text: &str) -> String {
    let mut id = String::new();
    for byte in text.replace(':', "-").bytes() {
        if byte.is_ascii_alphanumeric() || b"-.".contains(&byte) {
            id.push(char::from(byte));
        } else if byte.is_ascii() {
            id.push_str(&format!("C{byte}"));
        } else {
            // A byte that is no character by itself is the replacement character to Go.
            id.push_str("C65533");
        }
    }
    id
}

/// The last part of the repository of `name`, such as `hello` of `example.org/a/hello:latest`.
fn repository(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split([':', '@']).next().unwrap_or(last)
}

fn purl(name: &str, digest: &Digest, qualifiers: &[(&str, &str)]) -> Reference {
    let qualifiers: Vec<String> = qualifiers
        .iter()
        .map(|(key, value)| format!("{key}={}", value.replace('/', "%2F").replace('+', "%2B")))
        .collect();
    reference(format!(
        "pkg:oci/{}@{digest}?{}",
        repository(name),
        qualifiers.join("&")
    ))
}

/// What there is to describe.
pub(super) struct Described<'a> {
    pub(super) name: &'a str,
    pub(super) digest: Digest,
    pub(super) arch: Arch,
    pub(super) epoch: Epoch,
    pub(super) layers: &'a [Descriptor],
    pub(super) records: &'a [String],
    pub(super) tree: &'a Tree,
}

struct System {
    id: String,
    version: String,
    supplier: String,
}

fn system(tree: &Tree) -> Result<System, ParityError> {
    let Some(bytes) = tree.read("etc/os-release")? else {
        return Ok(System {
            id: "unknown".to_owned(),
            version: "unknown".to_owned(),
            supplier: "Organization: apko-generated image".to_owned(),
        });
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let value = |key: &str| {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut pairs = lines.filter_map(|line| line.split_once('='));
        pairs
            .rfind(|(name, _)| *name == key)
            .map(|(_, value)| value.trim_matches('"').to_owned())
            .unwrap_or_default()
    };
    let name = value("NAME");
    Ok(System {
        id: value("ID"),
        version: value("VERSION_ID"),
        supplier: if name.is_empty() {
            NO_ASSERTION.to_owned()
        } else {
            format!("Organization: {name}")
        },
    })
}

pub(super) fn image(described: &Described<'_>) -> Result<GoDocument, ParityError> {
    let system = system(described.tree)?;
    let first = described
        .layers
        .first()
        .map_or(described.digest, |layer| layer.digest);
    let mut document = GoDocument::new(format!("sbom-{first}"), described.epoch);
    let (architecture, _) = described.arch.oci();
    let image_id = format!("SPDXRef-Package-Image-{}", element(&described.digest));
    document.packages.push(Package {
        id: image_id.clone(),
        name: described.digest.to_string(),
        version_info: described.digest.to_string(),
        description: "apko container image".to_owned(),
        download_location: NO_ASSERTION.to_owned(),
        supplier: system.supplier.clone(),
        primary_package_purpose: "CONTAINER".to_owned(),
        checksums: vec![Checksum {
            algorithm: "SHA256".to_owned(),
            value: described.digest.hex(),
        }],
        external_refs: vec![purl(
            described.name,
            &described.digest,
            &[
                ("arch", architecture),
                ("mediaType", media_type::MANIFEST),
                ("os", "linux"),
            ],
        )],
        ..Package::default()
    });
    for layer in described.layers {
        let id = format!("SPDXRef-Package-ImageLayer-{}", element(&layer.digest));
        document.relate(&image_id, "CONTAINS", &id);
        document.packages.push(Package {
            id,
            name: layer.digest.to_string(),
            version_info: system.version.clone(),
            description: "apko operating system layer".to_owned(),
            download_location: NO_ASSERTION.to_owned(),
            supplier: system.supplier.clone(),
            primary_package_purpose: "CONTAINER".to_owned(),
            external_refs: vec![purl(
                described.name,
                &layer.digest,
                &[
                    ("arch", architecture),
                    ("mediaType", &layer.media_type),
                    ("os", "linux"),
                ],
            )],
            ..Package::default()
        });
    }
    document.describes = vec![image_id.clone()];
    document.packages.push(Package {
        id: format!("SPDXRef-OperatingSystem-{}", identifier(&system.id)),
        name: system.id.clone(),
        version_info: system.version.clone(),
        description: "Operating System".to_owned(),
        download_location: NO_ASSERTION.to_owned(),
        supplier: system.supplier.clone(),
        primary_package_purpose: "OPERATING_SYSTEM".to_owned(),
        ..Package::default()
    });
    for record in described.records {
        let field = |letter: &str| {
            record
                .lines()
                .find_map(|line| line.strip_prefix(letter))
                .unwrap_or_default()
        };
        if let Some(own) = own_document(described.tree, field("P:"), field("V:"))? {
            add(&mut document, own, &image_id, &system.supplier);
        }
    }
    let mut seen = BTreeSet::new();
    document
        .packages
        .retain(|package| seen.insert(package.id.clone()));
    Ok(document)
}

/// The document that a package brings; what can't be read is passed over.
fn own_document(tree: &Tree, name: &str, version: &str) -> Result<Option<GoDocument>, ParityError> {
    let unreleased = match version.rsplit_once("-r") {
        Some((version, release))
            if !release.is_empty() && release.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            version
        }
        _ => version,
    };
    for file in [
        format!("{name}-{version}"),
        format!("{name}-{unreleased}"),
        name.to_owned(),
    ] {
        if let Some(bytes) = tree.read(&format!("{FOLDER}/{file}.spdx.json"))? {
            return Ok(serde_json::from_slice(&bytes).ok());
        }
    }
    Ok(None)
}

/// Takes over what a package's document describes and all that it leads to, files aside.
fn add(document: &mut GoDocument, own: GoDocument, image: &str, supplier: &str) {
    let is_file = |id: &str| id.starts_with("SPDXRef-File-");
    let mut described: BTreeSet<&str> = own.describes.iter().map(String::as_str).collect();
    for relation in &own.relationships {
        if relation.element == "SPDXRef-DOCUMENT" && relation.kind == "DESCRIBES" {
            described.insert(&relation.related);
        }
    }
    let tops: BTreeSet<String> = own
        .packages
        .iter()
        .filter(|package| described.contains(package.id.as_str()))
        .map(|package| package.id.clone())
        .collect();
    let mut wanted = tops.clone();
    loop {
        let before = wanted.len();
        for relation in own
            .relationships
            .iter()
            .filter(|relation| !is_file(&relation.related))
        {
            if wanted.contains(&relation.element) {
                wanted.insert(relation.related.clone());
            }
        }
        if wanted.len() == before {
            break;
        }
    }
    for mut package in own.packages {
        if !wanted.contains(&package.id) {
            continue;
        }
        if package.originator.is_empty() {
            supplier.clone_into(&mut package.originator);
        }
        if package.supplier.is_empty() {
            package.supplier.clone_from(&package.originator);
        }
        package.files_analyzed = false;
        document.packages.push(package);
    }
    let relations = own.relationships.into_iter();
    document.relationships.extend(
        relations
            .filter(|relation| wanted.contains(&relation.element) && !is_file(&relation.related)),
    );
    let known: BTreeMap<String, ()> = document
        .licences
        .iter()
        .map(|licence| (licence.id.clone(), ()))
        .collect();
    let licences = own.licences.into_iter();
    document
        .licences
        .extend(licences.filter(|licence| !known.contains_key(&licence.id)));
    for top in tops {
        document.relate(image, "CONTAINS", &top);
    }
}

/// The document of an index of these images.
pub fn index(
    name: &str,
    vcs_url: &str,
    index: &Descriptor,
    images: &[Descriptor],
    epoch: Epoch,
) -> GoDocument {
    // What apko says where it has no image to ask.
    let supplier = "Organization: Chainguard, Inc.";
    let digest = index.digest;
    let mut document = GoDocument::new(format!("sbom-{digest}"), epoch);
    let id = format!("SPDXRef-Package-{}", element(&digest));
    let package = |id: String, digest: &Digest, reference: Reference| Package {
        id,
        name: digest.to_string(),
        version_info: digest.to_string(),
        download_location: NO_ASSERTION.to_owned(),
        supplier: supplier.to_owned(),
        primary_package_purpose: "CONTAINER".to_owned(),
        checksums: vec![Checksum {
            algorithm: "SHA256".to_owned(),
            value: digest.hex(),
        }],
        external_refs: vec![reference],
        ..Package::default()
    };
    document.packages.push(Package {
        description: "Multi-arch image index".to_owned(),
        source_info: "Generated at image build time by apko".to_owned(),
        ..package(
            id.clone(),
            &digest,
            purl(name, &digest, &[("mediaType", media_type::INDEX)]),
        )
    });
    document.describes = vec![id.clone()];
    for image in images {
        let arch = image
            .platform
            .as_ref()
            .map_or("", |platform| platform.architecture.as_str());
        let image_id = format!("SPDXRef-Package-{}", element(&image.digest));
        document.packages.push(package(
            image_id.clone(),
            &image.digest,
            purl(
                name,
                &image.digest,
                &[
                    ("arch", arch),
                    ("mediaType", media_type::MANIFEST),
                    ("os", "linux"),
                ],
            ),
        ));
        document.relate(&id, "VARIANT_OF", &image_id);
    }
    if !vcs_url.is_empty() {
        document.add_source(vcs_url, &id, supplier);
    }
    document
}

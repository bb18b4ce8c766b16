//! SPDX 2.3 documents in JSON (ISO/IEC 5962, `spdx.github.io/spdx-spec/v2.3`).
//!
//! A document is a function of the facts given: fields in the specification's order, packages and
//! relationships sorted, `documentNamespace` derived from everything else in it.

mod image;
pub(crate) mod package;

use serde::{Deserialize, Serialize};

use crate::json::{self, JsonError};

pub use image::{ImageLayer, ImagePackage, ImageRecord};
pub use package::{PackageRecord, RecipeRecord, SourceRecord, apk_purl, package_url, spdx_id};

/// Documents longer than this are not read: 64 MiB.
const MAX_LENGTH: usize = 64 << 20;

/// The id of the document itself.
pub const DOCUMENT_ID: &str = "SPDXRef-DOCUMENT";

/// What SPDX writes where nothing is claimed.
pub const NO_ASSERTION: &str = crate::licence::NO_ASSERTION;

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// `SPDXRef-DOCUMENT`.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// `SPDX-2.3`.
    pub spdx_version: String,
    /// Who made it and when.
    pub creation_info: CreationInfo,
    /// Its name.
    pub name: String,
    /// `CC0-1.0`.
    pub data_license: String,
    /// A URI that no other document has.
    pub document_namespace: String,
    /// What it is about: ids of packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub document_describes: Vec<String>,
    /// The packages, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// Licences that are not on SPDX's list, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub has_extracted_licensing_infos: Vec<ExtractedLicensingInfo>,
    /// The relationships, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relationships: Vec<Relationship>,
}

/// Who made a document and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreationInfo {
    /// RFC 3339 in UTC.
    pub created: String,
    /// `Tool: …`, `Organization: …`.
    pub creators: Vec<String>,
    /// The version of SPDX's licence list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_list_version: Option<String>,
}

/// A package: an apk, an image, a layer, a source archive or a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Its id in the document, `SPDXRef-…`.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    /// `Organization: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// `Organization: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator: Option<String>,
    /// A URL or `NOASSERTION`.
    pub download_location: String,
    /// Whether the document lists the package's files; never, here.
    #[serde(default)]
    pub files_analyzed: bool,
    /// Checksums, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<Checksum>,
    /// The project's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// How the package came to be, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_info: Option<String>,
    /// `NOASSERTION`: polpo concludes nothing by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_concluded: Option<String>,
    /// What its authors say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_declared: Option<String>,
    /// The copyright notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copyright_text: Option<String>,
    /// One line about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// purl, CPE.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
    /// What it is for: `OPERATING-SYSTEM`, `CONTAINER`, `SOURCE` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_package_purpose: Option<String>,
}

/// A checksum.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checksum {
    /// `SHA1`, `SHA256` …
    pub algorithm: String,
    /// Lower-case hex.
    pub checksum_value: String,
}

impl Checksum {
    /// A SHA-256.
    pub fn sha256(digest: &base::Digest) -> Checksum {
        Checksum {
            algorithm: "SHA256".to_owned(),
            checksum_value: digest.hex(),
        }
    }
}

/// A name in another system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRef {
    /// `PACKAGE-MANAGER` or `SECURITY`. syft writes `PACKAGE_MANAGER`; both are in use.
    pub reference_category: String,
    /// `purl`, `cpe23Type`.
    pub reference_type: String,
    /// The name.
    pub reference_locator: String,
}

impl ExternalRef {
    /// A package URL.
    pub fn purl(locator: impl Into<String>) -> ExternalRef {
        ExternalRef {
            reference_category: "PACKAGE-MANAGER".to_owned(),
            reference_type: "purl".to_owned(),
            reference_locator: locator.into(),
        }
    }

    /// A CPE 2.3.
    pub fn cpe(locator: impl Into<String>) -> ExternalRef {
        ExternalRef {
            reference_category: "SECURITY".to_owned(),
            reference_type: "cpe23Type".to_owned(),
            reference_locator: locator.into(),
        }
    }
}

/// A licence that is not on SPDX's list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtractedLicensingInfo {
    /// `LicenseRef-…`.
    pub license_id: String,
    /// Its text.
    pub extracted_text: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A relationship between two elements.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    /// From.
    pub spdx_element_id: String,
    /// `DESCRIBES`, `CONTAINS`, `GENERATED_FROM` …
    pub relationship_type: String,
    /// To.
    pub related_spdx_element: String,
}

impl Relationship {
    /// `from` is in the relationship `kind` to `to`.
    pub fn new(from: &str, kind: &str, to: &str) -> Relationship {
        Relationship {
            spdx_element_id: from.to_owned(),
            relationship_type: kind.to_owned(),
            related_spdx_element: to.to_owned(),
        }
    }
}

/// The version of SPDX's licence list, which is two numbers in a document.
fn license_list_version() -> String {
    let parts: Vec<&str> = ::spdx::license_version().split('.').take(2).collect();
    parts.join(".")
}

impl Document {
    /// A document called `name`, still without a namespace: [`Document::seal`] ends its making.
    fn open(name: &str, supplier: &str, epoch: base::Epoch) -> Document {
        Document {
            id: DOCUMENT_ID.to_owned(),
            spdx_version: "SPDX-2.3".to_owned(),
            creation_info: CreationInfo {
                created: epoch.rfc3339(),
                creators: vec!["Tool: polpo".to_owned(), supplier.to_owned()],
                license_list_version: Some(license_list_version()),
            },
            name: name.to_owned(),
            data_license: "CC0-1.0".to_owned(),
            document_namespace: String::new(),
            document_describes: Vec::new(),
            packages: Vec::new(),
            has_extracted_licensing_infos: Vec::new(),
            relationships: Vec::new(),
        }
    }

    /// Sorts everything and derives the namespace from it all, the name included. Documents made
    /// here are sealed; one that was changed is to be sealed again.
    pub fn seal(mut self) -> Result<Document, JsonError> {
        self.packages.sort_by(|one, other| one.id.cmp(&other.id));
        self.packages.dedup();
        for package in &mut self.packages {
            package.checksums.sort();
            package.checksums.dedup();
            package.external_refs.sort();
            package.external_refs.dedup();
        }
        self.has_extracted_licensing_infos.sort();
        self.has_extracted_licensing_infos.dedup();
        self.document_describes.sort();
        self.document_describes.dedup();
        self.relationships.sort();
        self.relationships.dedup();
        self.document_namespace.clear();
        let digest = base::Digest::of(&serde_json::to_vec(&self)?);
        let words: String = self
            .name
            .chars()
            .map(|letter| match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' => letter,
                _ => '-',
            })
            .collect();
        self.document_namespace = format!("https://spdx.org/spdxdocs/{words}-{}", digest.hex());
        Ok(self)
    }

    /// Reads a document. It may not name a key twice; fields polpo doesn't know are dropped.
    pub fn from_json(bytes: &[u8]) -> Result<Document, JsonError> {
        json::decode(bytes, MAX_LENGTH)
    }

    /// JSON with an indent of two spaces and a newline at the end.
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

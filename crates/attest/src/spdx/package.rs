use base::{Arch, Digest, Epoch};

use super::{
    Checksum, DOCUMENT_ID, Document, ExternalRef, ExtractedLicensingInfo, NO_ASSERTION, Package,
    Relationship,
};
use crate::json::JsonError;
use crate::licence::Licence;

/// The facts about an apk that its SPDX document states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageRecord {
    /// The distribution: purl's namespace, and the supplier.
    pub namespace: String,
    /// The package's name.
    pub name: String,
    /// Its full version, such as `1.2.3-r0`.
    pub version: String,
    /// Its architecture; `None` is `noarch`.
    pub arch: Option<Arch>,
    /// The package whose recipe made it, where that is another one.
    pub origin: Option<String>,
    /// One line about it.
    pub description: String,
    /// The project's page, or nothing.
    pub url: String,
    /// What it is licensed under.
    pub licence: Licence,
    /// Copyright notices.
    pub copyright: Vec<String>,
    /// A CPE 2.3 name.
    pub cpe: Option<String>,
    /// What it was built from.
    pub sources: Vec<SourceRecord>,
    /// The recipe that built it.
    pub recipe: Option<RecipeRecord>,
}

/// A source that a package was built from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRecord {
    /// A name: the package's or the archive's.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Where it is to be had: the archive's URL, or the repository's.
    pub uri: String,
    /// The archive's digest.
    pub digest: Option<Digest>,
    /// The Git commit, for a repository.
    pub commit: Option<String>,
    /// Its package URL, for an archive of a registry; the others get a generic one.
    pub purl: Option<String>,
}

/// The recipe that built a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecipeRecord {
    /// Its path in its repository.
    pub path: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The repository's URL.
    pub repository: Option<String>,
    /// The repository's commit.
    pub commit: Option<String>,
}

/// `text` as the tail of an SPDX id: `:`, `/` and spaces become `-`, other letters that ids can't
/// have become `C` and their code.
pub fn spdx_id(text: &str) -> String {
    let mut id = String::from("SPDXRef-");
    for letter in text.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => id.push(letter),
            ':' | '/' | ' ' => id.push('-'),
            _ => {
                id.push('C');
                id.push_str(&u32::from(letter).to_string());
            }
        }
    }
    id
}

/// Percent-encoding as package URLs want it.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `pkg:TYPE/PATH@VERSION?KEY=VALUE…`, the qualifiers sorted, empty ones left out.
pub(super) fn purl(
    kind: &str,
    path: &[&str],
    version: &str,
    qualifiers: &[(&str, &str)],
    subpath: &str,
) -> String {
    let path: Vec<String> = path
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| encode(part))
        .collect();
    let mut text = format!("pkg:{kind}/{}", path.join("/"));
    if !version.is_empty() {
        text.push('@');
        text.push_str(&encode(version));
    }
    let mut qualifiers: Vec<_> = qualifiers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    qualifiers.sort();
    for (number, (key, value)) in qualifiers.into_iter().enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&encode(value));
    }
    let subpath: Vec<String> = subpath
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .map(encode)
        .collect();
    if !subpath.is_empty() {
        text.push('#');
        text.push_str(&subpath.join("/"));
    }
    text
}

/// The package URL of something in a registry: `pkg:KIND/PATH@VERSION`, encoded as it must be.
pub fn package_url(kind: &str, path: &[&str], version: &str) -> String {
    purl(kind, path, version, &[], "")
}

/// The package URL of an apk: `pkg:apk/NAMESPACE/NAME@VERSION?arch=…&distro=…&upstream=ORIGIN`,
/// `upstream` only when the origin is another package.
pub fn apk_purl(record: &PackageRecord) -> String {
    let upstream = record
        .origin
        .as_deref()
        .filter(|origin| *origin != record.name)
        .unwrap_or_default();
    purl(
        "apk",
        &[&record.namespace.to_lowercase(), &record.name],
        &record.version,
        &[
            ("arch", record.arch.map_or("noarch", Arch::apk)),
            ("distro", &record.namespace.to_lowercase()),
            ("upstream", upstream),
        ],
        "",
    )
}

/// `Organization: Wolfi` for `wolfi`.
pub(super) fn organization(namespace: &str) -> String {
    let mut letters = namespace.chars();
    match letters.next() {
        Some(first) => format!("Organization: {}{}", first.to_uppercase(), letters.as_str()),
        None => "Organization: Unknown".to_owned(),
    }
}

/// `owner/name` of a repository at GitHub, from any of the URL forms Git takes.
fn github(repository: &str) -> Option<(&str, &str)> {
    let rest = repository
        .strip_prefix("git+")
        .unwrap_or(repository)
        .trim_end_matches('/');
    let rest = ["https://", "http://", "git://", "ssh://git@"]
        .iter()
        .find_map(|scheme| rest.strip_prefix(scheme))
        .and_then(|rest| rest.strip_prefix("github.com/"))
        .or_else(|| rest.strip_prefix("git@github.com:"))?;
    let (owner, name) = rest.strip_suffix(".git").unwrap_or(rest).split_once('/')?;
    (!owner.is_empty() && !name.is_empty() && !name.contains('/')).then_some((owner, name))
}

/// The package URL of something in a Git repository.
fn git_purl(name: &str, repository: &str, commit: &str, path: &str) -> String {
    match github(repository) {
        Some((owner, name)) => purl(
            "github",
            &[&owner.to_lowercase(), &name.to_lowercase()],
            commit,
            &[],
            path,
        ),
        None => {
            let vcs = format!("{}@{commit}", git_location(repository));
            purl("generic", &[name], commit, &[("vcs_url", &vcs)], path)
        }
    }
}

/// A repository's URL with `git+` before it, as SPDX's downloadLocation wants it.
fn git_location(repository: &str) -> String {
    if repository.starts_with("git+") || repository.starts_with("git:") {
        repository.to_owned()
    } else {
        format!("git+{repository}")
    }
}

/// A text that is `NOASSERTION` when empty.
fn or_no_assertion(text: String) -> String {
    if text.trim().is_empty() {
        NO_ASSERTION.to_owned()
    } else {
        text
    }
}

/// A package that claims nothing but its name.
pub(super) fn bare(id: String, name: &str) -> Package {
    Package {
        id,
        name: name.to_owned(),
        version_info: None,
        supplier: None,
        originator: None,
        download_location: NO_ASSERTION.to_owned(),
        files_analyzed: false,
        checksums: Vec::new(),
        homepage: None,
        source_info: None,
        license_concluded: Some(NO_ASSERTION.to_owned()),
        license_declared: Some(NO_ASSERTION.to_owned()),
        copyright_text: Some(NO_ASSERTION.to_owned()),
        summary: None,
        external_refs: Vec::new(),
        primary_package_purpose: None,
    }
}

impl SourceRecord {
    /// The source as an SPDX package. Its id is made of its content, so that equal sources of
    /// several packages are one element in an image's document.
    fn element(&self) -> Package {
        let mut identity = self.uri.clone();
        for part in [
            self.digest.map(|digest| digest.hex()),
            self.commit.clone(),
            self.version.clone(),
        ] {
            identity.push('\n');
            identity.push_str(&part.unwrap_or_default());
        }
        let hex = Digest::of(identity.as_bytes()).hex();
        let id = spdx_id(&format!(
            "Package-source-{}-{}",
            self.name,
            hex.get(..16).unwrap_or_default()
        ));
        let mut package = bare(id, &self.name);
        package.version_info = self.version.clone();
        package.primary_package_purpose = Some("SOURCE".to_owned());
        let version = self.version.as_deref().unwrap_or_default();
        if let Some(commit) = &self.commit {
            package.download_location = format!("{}@{commit}", git_location(&self.uri));
            package.external_refs = vec![ExternalRef::purl(git_purl(
                &self.name, &self.uri, commit, "",
            ))];
        } else {
            // The specification wants a location that tools can download from.
            let downloadable = ["https://", "http://", "ftp://"]
                .iter()
                .any(|scheme| self.uri.starts_with(scheme));
            let location = if downloadable {
                self.uri.clone()
            } else {
                String::new()
            };
            package.download_location = or_no_assertion(location);
            let checksum = self
                .digest
                .map_or(String::new(), |digest| digest.to_string());
            package.external_refs =
                vec![ExternalRef::purl(self.purl.clone().unwrap_or_else(|| {
                    purl(
                        "generic",
                        &[&self.name],
                        version,
                        &[("checksum", &checksum), ("download_url", &self.uri)],
                        "",
                    )
                }))];
        }
        package.checksums = self.digest.iter().map(Checksum::sha256).collect();
        package
    }
}

impl RecipeRecord {
    /// The recipe that `document` says its package was made of, if it says so in the way of
    /// [`PackageRecord::document`].
    pub fn from_document(document: &Document) -> Option<RecipeRecord> {
        let described = document.relationships.iter().find(|relationship| {
            relationship.relationship_type == "DESCRIBED_BY"
                && document
                    .document_describes
                    .contains(&relationship.spdx_element_id)
        })?;
        let mut packages = document.packages.iter();
        let recipe = packages.find(|package| package.id == described.related_spdx_element)?;
        let checksum = recipe
            .checksums
            .iter()
            .find(|checksum| checksum.algorithm == "SHA256")?;
        let repository = recipe
            .download_location
            .strip_prefix("git+")
            .and_then(|location| location.split_once('#'))
            .and_then(|(location, _)| location.rsplit_once('@'))
            .map(|(repository, _)| repository.to_owned());
        Some(RecipeRecord {
            path: recipe.name.clone(),
            digest: checksum.checksum_value.parse().ok()?,
            repository,
            commit: recipe.version_info.clone(),
        })
    }

    fn element(&self) -> Package {
        let hex = self.digest.hex();
        let id = spdx_id(&format!(
            "Package-recipe-{}-{}",
            self.path,
            hex.get(..16).unwrap_or_default()
        ));
        let mut package = bare(id, &self.path);
        package.version_info = self.commit.clone();
        package.checksums = vec![Checksum::sha256(&self.digest)];
        package.primary_package_purpose = Some("SOURCE".to_owned());
        if let (Some(repository), Some(commit)) = (&self.repository, &self.commit) {
            let name = self.path.rsplit('/').next().unwrap_or(&self.path);
            package.download_location =
                format!("{}@{commit}#{}", git_location(repository), self.path);
            package.external_refs = vec![ExternalRef::purl(git_purl(
                name, repository, commit, &self.path,
            ))];
        }
        package
    }
}

impl PackageRecord {
    /// The apk itself as an SPDX package.
    pub(super) fn element(&self) -> Package {
        let id = spdx_id(&format!("Package-{}-{}", self.name, self.version));
        let mut package = bare(id, &self.name);
        package.version_info = Some(self.version.clone());
        package.supplier = Some(organization(&self.namespace));
        package.originator = Some(organization(&self.namespace));
        if !self.url.trim().is_empty() {
            package.homepage = Some(self.url.clone());
        }
        if !self.description.trim().is_empty() {
            package.summary = Some(self.description.clone());
        }
        package.license_declared = Some(self.licence.expression.clone());
        package.copyright_text = Some(or_no_assertion(self.copyright.join("\n")));
        package.external_refs = vec![ExternalRef::purl(apk_purl(self))];
        if let Some(cpe) = &self.cpe {
            package.external_refs.push(ExternalRef::cpe(cpe.clone()));
        }
        package
    }

    pub(super) fn extracted(&self) -> Vec<ExtractedLicensingInfo> {
        self.licence
            .extracted
            .iter()
            .map(|(id, text)| ExtractedLicensingInfo {
                license_id: id.clone(),
                extracted_text: text.clone(),
                name: None,
            })
            .collect()
    }

    /// The document that lies in the package at `var/lib/db/sbom/NAME-VERSION.spdx.json`: the apk,
    /// its sources (`GENERATED_FROM`) and its recipe (`DESCRIBED_BY`).
    pub fn document(&self, epoch: Epoch) -> Result<Document, JsonError> {
        let name = format!("apk-{}-{}-{}", self.namespace, self.name, self.version);
        let mut document = Document::open(&name, &organization(&self.namespace), epoch);
        let package = self.element();
        let relate = |kind, to: &Package| Relationship::new(&package.id, kind, &to.id);
        for source in &self.sources {
            let source = source.element();
            document
                .relationships
                .push(relate("GENERATED_FROM", &source));
            document.packages.push(source);
        }
        if let Some(recipe) = &self.recipe {
            let recipe = recipe.element();
            document.relationships.push(relate("DESCRIBED_BY", &recipe));
            document.packages.push(recipe);
        }
        document.document_describes.push(package.id.clone());
        document
            .relationships
            .push(Relationship::new(DOCUMENT_ID, "DESCRIBES", &package.id));
        document.packages.push(package);
        document.has_extracted_licensing_infos = self.extracted();
        document.seal()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(name: &str) -> PackageRecord {
        PackageRecord {
            namespace: "wolfi".to_owned(),
            name: name.to_owned(),
            version: "2.12.1-r1".to_owned(),
            arch: Some(Arch::X86_64),
            origin: Some("hello".to_owned()),
            description: "says hello".to_owned(),
            url: "https://www.gnu.org/software/hello/".to_owned(),
            licence: Licence::join(&[
                crate::licence::CopyrightEntry {
                    licence: "GPL-3.0-or-later OR MIT".to_owned(),
                    text: None,
                },
                crate::licence::CopyrightEntry {
                    licence: "Acme Licence".to_owned(),
                    text: Some("Be kind.".to_owned()),
                },
            ]),
            copyright: vec!["Copyright (C) 2022 FSF".to_owned()],
            cpe: Some("cpe:2.3:a:gnu:hello:2.12.1:*:*:*:*:*:*:*".to_owned()),
            sources: vec![
                SourceRecord {
                    name: "hello".to_owned(),
                    version: Some("2.12.1".to_owned()),
                    uri: "https://ftp.gnu.org/gnu/hello/hello-2.12.1.tar.gz".to_owned(),
                    digest: Some(Digest::of(b"tarball")),
                    commit: None,
                    purl: None,
                },
                SourceRecord {
                    name: "gnulib".to_owned(),
                    version: None,
                    uri: "https://github.com/coreutils/gnulib.git".to_owned(),
                    digest: None,
                    commit: Some("0123456789012345678901234567890123456789".to_owned()),
                    purl: None,
                },
            ],
            recipe: Some(RecipeRecord {
                path: "packages/hello.yaml".to_owned(),
                digest: Digest::of(b"recipe"),
                repository: Some("https://example.org/os.git".to_owned()),
                commit: Some("abcdef".to_owned()),
            }),
        }
    }

    #[test]
    fn a_packages_document() {
        let document = record("hello").document(Epoch(0)).unwrap();
        let json = document.to_json().unwrap();
        assert_eq!(Document::from_json(&json).unwrap(), document);
        insta::assert_snapshot!(String::from_utf8(json).unwrap(), @r#"
{
  "SPDXID": "SPDXRef-DOCUMENT",
  "spdxVersion": "SPDX-2.3",
  "creationInfo": {
    "created": "1970-01-01T00:00:00Z",
    "creators": [
      "Tool: polpo",
      "Organization: Wolfi"
    ],
    "licenseListVersion": "3.29"
  },
  "name": "apk-wolfi-hello-2.12.1-r1",
  "dataLicense": "CC0-1.0",
  "documentNamespace": "https://spdx.org/spdxdocs/apk-wolfi-hello-2.12.1-r1-b866bdd88e8a544dbe81539228eba378d3af99f8cfe054fe93d60f18d7974660",
  "documentDescribes": [
    "SPDXRef-Package-hello-2.12.1-r1"
  ],
  "packages": [
    {
      "SPDXID": "SPDXRef-Package-hello-2.12.1-r1",
      "name": "hello",
      "versionInfo": "2.12.1-r1",
      "supplier": "Organization: Wolfi",
      "originator": "Organization: Wolfi",
      "downloadLocation": "NOASSERTION",
      "filesAnalyzed": false,
      "homepage": "https://www.gnu.org/software/hello/",
      "licenseConcluded": "NOASSERTION",
      "licenseDeclared": "(GPL-3.0-or-later OR MIT) AND LicenseRef-Acme-Licence",
      "copyrightText": "Copyright (C) 2022 FSF",
      "summary": "says hello",
      "externalRefs": [
        {
          "referenceCategory": "PACKAGE-MANAGER",
          "referenceType": "purl",
          "referenceLocator": "pkg:apk/wolfi/hello@2.12.1-r1?arch=x86_64&distro=wolfi"
        },
        {
          "referenceCategory": "SECURITY",
          "referenceType": "cpe23Type",
          "referenceLocator": "cpe:2.3:a:gnu:hello:2.12.1:*:*:*:*:*:*:*"
        }
      ]
    },
    {
      "SPDXID": "SPDXRef-Package-recipe-packages-hello.yaml-e1d8e552330911f9",
      "name": "packages/hello.yaml",
      "versionInfo": "abcdef",
      "downloadLocation": "git+https://example.org/os.git@abcdef#packages/hello.yaml",
      "filesAnalyzed": false,
      "checksums": [
        {
          "algorithm": "SHA256",
          "checksumValue": "e1d8e552330911f9f779f85b6f2c00a15e790dcc3fbb3b28f5da1d660a30c5b8"
        }
      ],
      "licenseConcluded": "NOASSERTION",
      "licenseDeclared": "NOASSERTION",
      "copyrightText": "NOASSERTION",
      "externalRefs": [
        {
          "referenceCategory": "PACKAGE-MANAGER",
          "referenceType": "purl",
          "referenceLocator": "pkg:generic/hello.yaml@abcdef?vcs_url=git%2Bhttps:%2F%2Fexample.org%2Fos.git%40abcdef#packages/hello.yaml"
        }
      ],
      "primaryPackagePurpose": "SOURCE"
    },
    {
      "SPDXID": "SPDXRef-Package-source-gnulib-9346ae41d2af3012",
      "name": "gnulib",
      "downloadLocation": "git+https://github.com/coreutils/gnulib.git@0123456789012345678901234567890123456789",
      "filesAnalyzed": false,
      "licenseConcluded": "NOASSERTION",
      "licenseDeclared": "NOASSERTION",
      "copyrightText": "NOASSERTION",
      "externalRefs": [
        {
          "referenceCategory": "PACKAGE-MANAGER",
          "referenceType": "purl",
          "referenceLocator": "pkg:github/coreutils/gnulib@0123456789012345678901234567890123456789"
        }
      ],
      "primaryPackagePurpose": "SOURCE"
    },
    {
      "SPDXID": "SPDXRef-Package-source-hello-077fc0d7b78655de",
      "name": "hello",
      "versionInfo": "2.12.1",
      "downloadLocation": "https://ftp.gnu.org/gnu/hello/hello-2.12.1.tar.gz",
      "filesAnalyzed": false,
      "checksums": [
        {
          "algorithm": "SHA256",
          "checksumValue": "db4b4d0d1cb480bf9aeea253771c00febe627f236765fa37d6a5614f079a3aa0"
        }
      ],
      "licenseConcluded": "NOASSERTION",
      "licenseDeclared": "NOASSERTION",
      "copyrightText": "NOASSERTION",
      "externalRefs": [
        {
          "referenceCategory": "PACKAGE-MANAGER",
          "referenceType": "purl",
          "referenceLocator": "pkg:generic/hello@2.12.1?checksum=sha256:db4b4d0d1cb480bf9aeea253771c00febe627f236765fa37d6a5614f079a3aa0&download_url=https:%2F%2Fftp.gnu.org%2Fgnu%2Fhello%2Fhello-2.12.1.tar.gz"
        }
      ],
      "primaryPackagePurpose": "SOURCE"
    }
  ],
  "hasExtractedLicensingInfos": [
    {
      "licenseId": "LicenseRef-Acme-Licence",
      "extractedText": "Be kind."
    }
  ],
  "relationships": [
    {
      "spdxElementId": "SPDXRef-DOCUMENT",
      "relationshipType": "DESCRIBES",
      "relatedSpdxElement": "SPDXRef-Package-hello-2.12.1-r1"
    },
    {
      "spdxElementId": "SPDXRef-Package-hello-2.12.1-r1",
      "relationshipType": "DESCRIBED_BY",
      "relatedSpdxElement": "SPDXRef-Package-recipe-packages-hello.yaml-e1d8e552330911f9"
    },
    {
      "spdxElementId": "SPDXRef-Package-hello-2.12.1-r1",
      "relationshipType": "GENERATED_FROM",
      "relatedSpdxElement": "SPDXRef-Package-source-gnulib-9346ae41d2af3012"
    },
    {
      "spdxElementId": "SPDXRef-Package-hello-2.12.1-r1",
      "relationshipType": "GENERATED_FROM",
      "relatedSpdxElement": "SPDXRef-Package-source-hello-077fc0d7b78655de"
    }
  ]
}
"#);
    }

    #[test]
    fn namespaces_differ_where_anything_does() {
        let namespace =
            |record: &PackageRecord| record.document(Epoch(0)).unwrap().document_namespace;
        let hello = record("hello");
        let mut other = hello.clone();
        other.copyright.clear();
        assert_ne!(namespace(&hello), namespace(&other));
        assert_ne!(namespace(&hello), namespace(&record("hello-doc")));
        assert_eq!(namespace(&hello), namespace(&record("hello")));
        // The order in which sources are given is no fact.
        let mut turned = hello.clone();
        turned.sources.reverse();
        assert_eq!(
            turned.document(Epoch(0)).unwrap(),
            hello.document(Epoch(0)).unwrap()
        );
    }

    #[test]
    fn names_in_other_systems() {
        let mut subpackage = record("libstdc++-dev");
        assert_eq!(
            apk_purl(&subpackage),
            "pkg:apk/wolfi/libstdc%2B%2B-dev@2.12.1-r1?arch=x86_64&distro=wolfi&upstream=hello"
        );
        subpackage.name = "hello".to_owned();
        assert_eq!(
            apk_purl(&subpackage),
            "pkg:apk/wolfi/hello@2.12.1-r1?arch=x86_64&distro=wolfi"
        );
        assert_eq!(spdx_id("Package-a+b/c_d"), "SPDXRef-Package-aC43b-cC95d");
        for url in [
            "https://github.com/Owner/Name.git",
            "git@github.com:Owner/Name.git",
            "git+https://github.com/Owner/Name/",
        ] {
            assert_eq!(git_purl("x", url, "c0", ""), "pkg:github/owner/name@c0");
        }
        assert_eq!(
            git_purl("x", "https://example.org/x", "c0", "a/../b"),
            "pkg:generic/x@c0?vcs_url=git%2Bhttps:%2F%2Fexample.org%2Fx%40c0#a/b"
        );
    }
}

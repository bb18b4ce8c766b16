use std::collections::BTreeMap;

use base::{Arch, Digest, Epoch};

use super::package::{bare, organization, purl};
use super::{
    Checksum, DOCUMENT_ID, Document, ExternalRef, ExtractedLicensingInfo, NO_ASSERTION, Package,
    PackageRecord, Relationship, spdx_id,
};
use crate::json::JsonError;
use crate::licence::Expression;

/// The facts about an image of one architecture that its SPDX document states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The image's name, such as `nginx` or `registry.example/nginx:1.2`.
    pub name: String,
    /// The manifest's digest, where it is known already.
    pub digest: Option<Digest>,
    /// Its architecture.
    pub arch: Arch,
    /// The distribution that supplies it.
    pub namespace: String,
    /// `ID` and `VERSION_ID` of its os-release.
    pub operating_system: Option<(String, String)>,
    /// Its layers, the lowest first.
    pub layers: Vec<ImageLayer>,
    /// The packages in it.
    pub packages: Vec<ImagePackage>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The digest of the layer's blob.
    pub digest: Digest,
}

/// A package in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePackage {
    /// What the installed database says of it. It is what counts.
    pub record: PackageRecord,
    /// The document that the package brought along.
    pub document: Option<Document>,
    /// The digest of the .apk.
    pub checksum: Option<Digest>,
    /// The layer it lies in, counted from 0; a number past the last one means the image.
    pub layer: usize,
}

/// The elements of the documents put together so far.
#[derive(Default)]
struct Composition {
    packages: BTreeMap<String, Package>,
    extracted: BTreeMap<String, ExtractedLicensingInfo>,
    relationships: Vec<Relationship>,
}

/// A short name for the content of `value`.
fn content(value: &impl serde::Serialize) -> Result<String, JsonError> {
    let hex = Digest::of(&serde_json::to_vec(value)?).hex();
    Ok(hex.get(..12).unwrap_or_default().to_owned())
}

impl Composition {
    /// Adds a package and says under which id: equal ones are one, different ones of one id are
    /// told apart.
    fn package(&mut self, mut package: Package) -> Result<String, JsonError> {
        package.checksums.sort();
        package.external_refs.sort();
        // Documents of strangers name their elements as they like.
        let tail = package.id.strip_prefix("SPDXRef-").unwrap_or(&package.id);
        package.id = spdx_id(tail);
        if package.id == DOCUMENT_ID || package.id == "SPDXRef-" {
            package.id = spdx_id(&format!("Package-{}", package.name));
        }
        if self
            .packages
            .get(&package.id)
            .is_some_and(|there| *there != package)
        {
            package.id = format!("{}-{}", package.id, content(&package)?);
        }
        let id = package.id.clone();
        self.packages.insert(id.clone(), package);
        Ok(id)
    }

    /// Adds a licence and says under which id.
    fn licence(&mut self, mut info: ExtractedLicensingInfo) -> Result<String, JsonError> {
        let conflict = self
            .extracted
            .get(&info.license_id)
            .is_some_and(|there| there.extracted_text != info.extracted_text);
        if conflict {
            info.license_id = format!("{}-{}", info.license_id, content(&info.extracted_text)?);
        }
        let id = info.license_id.clone();
        self.extracted.entry(id.clone()).or_insert(info);
        Ok(id)
    }

    /// Adds a package with everything its own document says, and says under which id.
    fn add(&mut self, given: &ImagePackage) -> Result<String, JsonError> {
        let own = given.record.element();
        let checksum: Vec<Checksum> = given.checksum.iter().map(Checksum::sha256).collect();
        let document = given.document.as_ref().and_then(|document| {
            // A document that speaks of another package or version is not this package's.
            let main = document.packages.iter().find(|package| {
                package.name == own.name
                    && package.version_info == own.version_info
                    && document.describes(&package.id)
            })?;
            Some((document, main))
        });
        let Some((document, main)) = document else {
            let mut renamed = BTreeMap::new();
            for info in given.record.extracted() {
                renamed.insert(info.license_id.clone(), self.licence(info)?);
            }
            let mut package = own;
            package.checksums = checksum;
            rename_licences(&mut package, &renamed);
            return self.package(package);
        };
        let mut renamed = BTreeMap::new();
        for info in &document.has_extracted_licensing_infos {
            renamed.insert(info.license_id.clone(), self.licence(info.clone())?);
        }
        let mut ids = BTreeMap::new();
        for package in &document.packages {
            let mut copy = package.clone();
            if package.id == main.id {
                copy.checksums.extend(checksum.iter().cloned());
                copy.checksums.dedup();
            }
            // Its files are not taken over.
            copy.files_analyzed = false;
            rename_licences(&mut copy, &renamed);
            check_licences(&mut copy);
            ids.insert(package.id.as_str(), self.package(copy)?);
        }
        for relationship in &document.relationships {
            let ends = (
                ids.get(relationship.spdx_element_id.as_str()),
                ids.get(relationship.related_spdx_element.as_str()),
            );
            if let (Some(from), Some(to)) = ends {
                self.relationships.push(Relationship::new(
                    from,
                    &relationship.relationship_type,
                    to,
                ));
            }
        }
        Ok(ids.remove(main.id.as_str()).unwrap_or_default())
    }
}

/// Replaces the licence ids in a package's expressions.
fn rename_licences(package: &mut Package, renamed: &BTreeMap<String, String>) {
    let part_of_id = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
    let expressions = [
        &mut package.license_declared,
        &mut package.license_concluded,
    ];
    for text in expressions.into_iter().flatten() {
        let mut replaced = String::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let end = rest
                .find(|letter| !part_of_id(letter))
                .unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            replaced.push_str(renamed.get(word).map_or(word, String::as_str));
            let next = tail.find(part_of_id).unwrap_or(tail.len());
            let (between, tail) = tail.split_at(next);
            replaced.push_str(between);
            rest = tail;
        }
        *text = replaced;
    }
}

/// A document may say anything; the image's document is to be valid.
fn check_licences(package: &mut Package) {
    let expressions = [
        &mut package.license_declared,
        &mut package.license_concluded,
    ];
    for text in expressions.into_iter().flatten() {
        if text != NO_ASSERTION && text != "NONE" && Expression::parse(text).is_err() {
            *text = NO_ASSERTION.to_owned();
        }
    }
}

impl Document {
    /// Whether the document is about the element `id`.
    pub fn describes(&self, id: &str) -> bool {
        self.document_describes
            .iter()
            .any(|described| described == id)
            || self.relationships.iter().any(|relationship| {
                relationship.spdx_element_id == DOCUMENT_ID
                    && relationship.relationship_type == "DESCRIBES"
                    && relationship.related_spdx_element == id
            })
    }
}

impl ImageRecord {
    /// The image's document: the image (`DESCRIBES`) `CONTAINS` its layers, they their packages,
    /// and each package says what its own document said.
    pub fn document(&self, epoch: Epoch) -> Result<Document, JsonError> {
        let last = self.name.rsplit('/').next().unwrap_or(&self.name);
        let short = last.split(['@', ':']).next().unwrap_or(last);
        let (arch, variant) = self.arch.oci();
        let title = format!("image-{}-{}", self.name, self.arch);
        let supplier = organization(&self.namespace);
        let mut document = Document::open(&title, &supplier, epoch);
        let mut all = Composition::default();

        let mut image = bare(
            spdx_id(&format!("Image-{}-{}", self.name, self.arch)),
            &self.name,
        );
        image.supplier = Some(supplier);
        image.primary_package_purpose = Some("CONTAINER".to_owned());
        let mut version = String::new();
        if let Some(digest) = self.digest {
            version = digest.to_string();
            image.version_info = Some(version.clone());
            image.checksums = vec![Checksum::sha256(&digest)];
        }
        let qualifiers = [("arch", arch), ("variant", variant.unwrap_or_default())];
        image.external_refs = vec![ExternalRef::purl(purl(
            "oci",
            &[&short.to_lowercase()],
            &version,
            &qualifiers,
            "",
        ))];
        let image = all.package(image)?;

        let mut layers = Vec::new();
        for layer in &self.layers {
            let name = layer.digest.to_string();
            let mut element = bare(spdx_id(&format!("Layer-{name}")), &name);
            element.checksums = vec![Checksum::sha256(&layer.digest)];
            element.primary_package_purpose = Some("ARCHIVE".to_owned());
            let id = all.package(element)?;
            all.relationships
                .push(Relationship::new(&image, "CONTAINS", &id));
            layers.push(id);
        }
        if let Some((id, version)) = &self.operating_system {
            let mut element = bare(spdx_id(&format!("OperatingSystem-{id}-{version}")), id);
            element.version_info = (!version.is_empty()).then(|| version.clone());
            element.primary_package_purpose = Some("OPERATING-SYSTEM".to_owned());
            let id = all.package(element)?;
            all.relationships
                .push(Relationship::new(&image, "CONTAINS", &id));
        }
        let mut packages: Vec<&ImagePackage> = self.packages.iter().collect();
        packages.sort_by_key(|package| (&package.record.name, &package.record.version));
        for package in packages {
            let id = all.add(package)?;
            let holder = layers.get(package.layer).unwrap_or(&image);
            all.relationships
                .push(Relationship::new(holder, "CONTAINS", &id));
        }

        document.document_describes = vec![image.clone()];
        document.packages = all.packages.into_values().collect();
        document.has_extracted_licensing_infos = all.extracted.into_values().collect();
        document.relationships = all.relationships;
        document
            .relationships
            .push(Relationship::new(DOCUMENT_ID, "DESCRIBES", &image));
        document.seal()
    }
}

#[cfg(test)]
mod tests {
    use super::super::package::tests::record;
    use super::*;
    use crate::licence::Licence;

    fn image(packages: Vec<ImagePackage>) -> ImageRecord {
        ImageRecord {
            name: "registry.example/team/hello:latest".to_owned(),
            digest: Some(Digest::of(b"manifest")),
            arch: Arch::X86_64,
            namespace: "wolfi".to_owned(),
            operating_system: Some(("wolfi".to_owned(), "20230201".to_owned())),
            layers: vec![ImageLayer {
                digest: Digest::of(b"layer"),
            }],
            packages,
        }
    }

    fn package(record: PackageRecord, with_document: bool) -> ImagePackage {
        ImagePackage {
            document: with_document.then(|| record.document(Epoch(0)).unwrap()),
            checksum: Some(Digest::of(record.name.as_bytes())),
            layer: 0,
            record,
        }
    }

    #[test]
    fn packages_documents_make_an_images() {
        let mut foreign = record("foreign");
        foreign.licence = Licence::of("Acme Licence");
        foreign.sources.clear();
        let packages = vec![
            package(record("hello"), true),
            package(record("hello-doc"), true),
            package(foreign, false),
        ];
        let document = image(packages.clone()).document(Epoch(0)).unwrap();
        let mut turned = packages;
        turned.reverse();
        assert_eq!(image(turned).document(Epoch(0)).unwrap(), document);

        let lines: Vec<String> = document
            .relationships
            .iter()
            .map(|line| {
                format!(
                    "{} {} {}",
                    line.spdx_element_id, line.relationship_type, line.related_spdx_element
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
SPDXRef-DOCUMENT DESCRIBES SPDXRef-Image-registry.example-team-hello-latest-x86C9564
SPDXRef-Image-registry.example-team-hello-latest-x86C9564 CONTAINS SPDXRef-Layer-sha256-dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85
SPDXRef-Image-registry.example-team-hello-latest-x86C9564 CONTAINS SPDXRef-OperatingSystem-wolfi-20230201
SPDXRef-Layer-sha256-dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85 CONTAINS SPDXRef-Package-foreign-2.12.1-r1
SPDXRef-Layer-sha256-dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85 CONTAINS SPDXRef-Package-hello-2.12.1-r1
SPDXRef-Layer-sha256-dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85 CONTAINS SPDXRef-Package-hello-doc-2.12.1-r1
SPDXRef-Package-hello-2.12.1-r1 DESCRIBED_BY SPDXRef-Package-recipe-packages-hello.yaml-e1d8e552330911f9
SPDXRef-Package-hello-2.12.1-r1 GENERATED_FROM SPDXRef-Package-source-gnulib-9346ae41d2af3012
SPDXRef-Package-hello-2.12.1-r1 GENERATED_FROM SPDXRef-Package-source-hello-077fc0d7b78655de
SPDXRef-Package-hello-doc-2.12.1-r1 DESCRIBED_BY SPDXRef-Package-recipe-packages-hello.yaml-e1d8e552330911f9
SPDXRef-Package-hello-doc-2.12.1-r1 GENERATED_FROM SPDXRef-Package-source-gnulib-9346ae41d2af3012
SPDXRef-Package-hello-doc-2.12.1-r1 GENERATED_FROM SPDXRef-Package-source-hello-077fc0d7b78655de
"#);
        // Sources that the packages share are one element; the two licences of one name are two.
        let names: Vec<&str> = document.packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names.iter().filter(|name| **name == "gnulib").count(), 1);
        assert_eq!(document.has_extracted_licensing_infos.len(), 2);
        for name in ["hello", "foreign"] {
            let package = document
                .packages
                .iter()
                .find(|p| p.name == name && p.supplier.is_some())
                .unwrap();
            let declared = package.license_declared.as_ref().unwrap();
            let text = document
                .has_extracted_licensing_infos
                .iter()
                .find(|info| declared.ends_with(&info.license_id))
                .unwrap();
            let expected = if name == "hello" {
                "Be kind."
            } else {
                "Acme Licence"
            };
            assert_eq!(text.extracted_text, expected);
            assert_eq!(
                package.checksums,
                [Checksum::sha256(&Digest::of(name.as_bytes()))]
            );
        }
    }

    #[test]
    fn a_document_of_another_package_is_not_believed() {
        let mut lying = package(record("hello"), false);
        lying.document = Some(record("other").document(Epoch(0)).unwrap());
        let with = image(vec![lying]).document(Epoch(0)).unwrap();
        let without = image(vec![package(record("hello"), false)])
            .document(Epoch(0))
            .unwrap();
        assert_eq!(with, without);
    }

    #[test]
    fn what_others_state_is_made_valid() {
        let mut odd = package(record("hello"), true);
        let document = odd.document.as_mut().unwrap();
        for package in &mut document.packages {
            package.files_analyzed = true;
            package.license_declared = Some("whatever you like".to_owned());
        }
        let made = image(vec![odd]).document(Epoch(0)).unwrap();
        assert!(made.packages.iter().all(|package| !package.files_analyzed));
        let declared = |package: &Package| package.license_declared.clone().unwrap();
        assert!(made.packages.iter().all(|p| declared(p) == NO_ASSERTION));
    }

    #[test]
    fn hostile_ids_are_mended() {
        let mut odd = package(record("hello"), true);
        let document = odd.document.as_mut().unwrap();
        for package in &mut document.packages {
            package.id = "SPDXRef-DOCUMENT".to_owned();
        }
        document.document_describes = vec!["SPDXRef-DOCUMENT".to_owned()];
        let made = image(vec![odd]).document(Epoch(0)).unwrap();
        let mut ids: Vec<&String> = made.packages.iter().map(|package| &package.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), made.packages.len());
        assert!(!ids.contains(&&DOCUMENT_ID.to_owned()));
    }
}

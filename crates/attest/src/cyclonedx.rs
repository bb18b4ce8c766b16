//! CycloneDX 1.6 (ECMA-424) in JSON, made of what an SPDX document of a package says.
//!
//! The same document gives the same bytes: the serial number is derived from everything else.

use base::Digest;
use serde_json::{Map, Value, json};

use crate::json::JsonError;
use crate::spdx::{Document, NO_ASSERTION, Package};

/// What the file beside a package has after the package's name.
pub const SUFFIX: &str = ".cdx.json";

/// The bill of materials of the package in the file with this name and digest, which `document`
/// describes: indented JSON with a newline at the end. None if the document describes nothing.
///
/// # Errors
/// It can't be written as JSON.
pub fn bill_of_materials(
    document: &Document,
    file_name: &str,
    digest: &Digest,
) -> Result<Option<Vec<u8>>, JsonError> {
    let find = |id: &str| document.packages.iter().find(|package| package.id == id);
    let main = document.document_describes.first();
    let Some(main) = main.and_then(|id| find(id)) else {
        return Ok(None);
    };
    let related = |kind: &str| -> Vec<&Package> {
        let relationships = document.relationships.iter();
        relationships
            .filter(|one| one.spdx_element_id == main.id && one.relationship_type == kind)
            .filter_map(|one| find(&one.related_spdx_element))
            .collect()
    };
    let mut described = component(main, "application");
    described.insert("hashes".to_owned(), hash(&digest.hex()));
    described.insert(
        "properties".to_owned(),
        json!([{"name": "polpo:file", "value": file_name}]),
    );
    if let Some(evidence) = evidence(document, main) {
        described.insert("evidence".to_owned(), evidence);
    }
    let sources = related("GENERATED_FROM");
    let ancestors: Vec<Value> = sources
        .iter()
        .chain(&related("DESCRIBED_BY"))
        .map(|source| Value::Object(component(source, "file")))
        .collect();
    if !ancestors.is_empty() {
        described.insert("pedigree".to_owned(), json!({ "ancestors": ancestors }));
    }
    let mut bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": document.creation_info.created,
            "tools": { "components": [{ "type": "application", "name": "polpo" }] },
            "component": described,
        },
        "dependencies": [{ "ref": main.id }],
    });
    let serial = serial_number(&serde_json::to_vec(&bill)?);
    if let Value::Object(bill) = &mut bill {
        bill.insert("serialNumber".to_owned(), Value::from(serial));
    }
    let mut bytes = serde_json::to_vec_pretty(&bill)?;
    bytes.push(b'\n');
    Ok(Some(bytes))
}

/// A UUID of version 8 (RFC 9562), made of what it stands for.
fn serial_number(content: &[u8]) -> String {
    let mut bytes = *Digest::of(content).as_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = Digest::from_bytes(bytes).hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

fn hash(hex: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": hex }])
}

fn asserted(text: &Option<String>) -> Option<&str> {
    let text = text.as_deref()?.trim();
    (!text.is_empty() && text != NO_ASSERTION).then_some(text)
}

fn component(package: &Package, kind: &str) -> Map<String, Value> {
    let mut component = Map::new();
    let mut set = |name: &str, value: Value| component.insert(name.to_owned(), value);
    set("type", Value::from(kind));
    set("bom-ref", Value::from(package.id.as_str()));
    set("name", Value::from(package.name.as_str()));
    if let Some(version) = asserted(&package.version_info) {
        set("version", Value::from(version));
    }
    if let Some(summary) = asserted(&package.summary) {
        set("description", Value::from(summary));
    }
    if let Some(supplier) = asserted(&package.supplier) {
        let name = supplier.strip_prefix("Organization: ").unwrap_or(supplier);
        set("supplier", json!({ "name": name }));
    }
    if let Some(expression) = asserted(&package.license_declared) {
        set("licenses", json!([{ "expression": expression }]));
    }
    if let Some(notice) = asserted(&package.copyright_text) {
        set("copyright", Value::from(notice));
    }
    for reference in &package.external_refs {
        let locator = Value::from(reference.reference_locator.as_str());
        match reference.reference_type.as_str() {
            "purl" => set("purl", locator),
            "cpe23Type" => set("cpe", locator),
            _ => None,
        };
    }
    let sha256 = package.checksums.iter();
    for checksum in sha256.filter(|checksum| checksum.algorithm == "SHA256") {
        set("hashes", hash(&checksum.checksum_value));
    }
    let mut references = Vec::new();
    let location = package.download_location.trim();
    if let Some(repository) = location.strip_prefix("git+") {
        references.push(json!({ "type": "vcs", "url": repository }));
    } else if !location.is_empty() && location != NO_ASSERTION && location != "NONE" {
        references.push(json!({ "type": "source-distribution", "url": location }));
    }
    if let Some(homepage) = asserted(&package.homepage) {
        references.push(json!({ "type": "website", "url": homepage }));
    }
    if !references.is_empty() {
        set("externalReferences", Value::from(references));
    }
    component
}

/// The texts of licences that are not on SPDX's list, and the copyright notices one by one.
fn evidence(document: &Document, main: &Package) -> Option<Value> {
    let licences: Vec<Value> = document
        .has_extracted_licensing_infos
        .iter()
        .map(|info| {
            json!({ "license": {
                "name": info.license_id,
                "text": { "contentType": "text/plain", "content": info.extracted_text },
            }})
        })
        .collect();
    let notices: Vec<Value> = asserted(&main.copyright_text)
        .into_iter()
        .flat_map(str::lines)
        .map(|line| json!({ "text": line }))
        .collect();
    let mut evidence = Map::new();
    if !licences.is_empty() {
        evidence.insert("licenses".to_owned(), Value::from(licences));
    }
    if !notices.is_empty() {
        evidence.insert("copyright".to_owned(), Value::from(notices));
    }
    (!evidence.is_empty()).then_some(Value::Object(evidence))
}

#[cfg(test)]
mod tests {
    use base::Epoch;

    use super::*;
    use crate::spdx::package::tests::record;

    #[test]
    fn a_packages_bill() {
        let document = record("hello").document(Epoch(0)).unwrap();
        let digest = Digest::of(b"apk");
        let bill = bill_of_materials(&document, "hello-2.12.1-r1.apk", &digest)
            .unwrap()
            .unwrap();
        let again = bill_of_materials(&document, "hello-2.12.1-r1.apk", &digest).unwrap();
        assert_eq!(again.as_ref(), Some(&bill));
        let other = record("other").document(Epoch(0)).unwrap();
        let other = bill_of_materials(&other, "other.apk", &digest).unwrap();
        let serial = |bytes: &[u8]| {
            let value: Value = serde_json::from_slice(bytes).unwrap();
            value["serialNumber"].as_str().unwrap().to_owned()
        };
        assert_ne!(serial(&bill), serial(&other.unwrap()));
        let bill: Value = serde_json::from_slice(&bill).unwrap();
        let component = &bill["metadata"]["component"];
        assert_eq!(
            component["purl"],
            "pkg:apk/wolfi/hello@2.12.1-r1?arch=x86_64&distro=wolfi"
        );
        assert_eq!(component["hashes"][0]["content"], digest.hex());
        assert_eq!(
            component["licenses"][0]["expression"],
            "(GPL-3.0-or-later OR MIT) AND LicenseRef-Acme-Licence"
        );
        let texts = &component["evidence"]["licenses"][0]["license"]["text"];
        assert_eq!(texts["content"], "Be kind.");
        let ancestors = component["pedigree"]["ancestors"].as_array().unwrap();
        let names: Vec<&str> = ancestors
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["gnulib", "hello", "packages/hello.yaml"]);
        assert_eq!(
            ancestors[0]["externalReferences"][0]["url"],
            "https://github.com/coreutils/gnulib.git@0123456789012345678901234567890123456789"
        );
    }
}

use std::io::Write as _;

use archive::tar::{Header, Writer};
use attest::intoto::{Statement, Subject};
use base::Digest;
use image::verify::{Standing, VerifyReport, VerifyRequest, verify};
use image::{BuiltImage, SIGNATURE};
use key::{Algorithm, PrivateKey};
use oci::{Descriptor, Layout, media_type};

use crate::bed::{ARCH, Bed, EPOCH, info, text, tree};

const HELLO: &str = "
contents: {packages: [hello]}
accounts:
  run-as: nonroot
  users: [{username: nonroot, uid: 65532}]
paths:
  - {path: /srv, type: directory, permissions: 0o755}
  - {path: /usr/bin/ciao, type: symlink, source: hello}
";

fn signed(bed: &Bed, key: &PrivateKey) -> (BuiltImage, Layout) {
    let (image, layout) = bed.layout(HELLO);
    image::attach_all(&layout, &image.descriptor, &image.sbom, None, &[key], EPOCH).unwrap();
    (image, layout)
}

fn report(bed: &Bed, layout: &Layout, key: &PrivateKey) -> VerifyReport {
    let keys = [key.public().unwrap()];
    verify(&VerifyRequest {
        layout,
        tag: Some("latest"),
        arch: ARCH,
        keys: &keys,
        repositories: &bed.repositories(),
        keyring: &bed.keyring(),
    })
    .unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(Algorithm::EcdsaP256).unwrap()
}

/// The tree without digests.
fn drawn(report: &VerifyReport) -> String {
    let mut text = String::new();
    for word in report.to_string().split_inclusive([' ', '\n']) {
        let end = word.len() - word.trim_end().len();
        let (core, space) = word.split_at(word.len() - end);
        if let Some(at) = core.find("sha256:") {
            text.push_str(&core[..at]);
            text.push_str("sha256:…");
        } else if core.starts_with("Q1") {
            text.push_str("Q1…");
        } else {
            text.push_str(core);
        }
        text.push_str(space);
    }
    text
}

#[test]
fn an_honest_image() {
    let bed = Bed::with_hello();
    let key = key();
    let (_, layout) = signed(&bed, &key);
    let report = report(&bed, &layout, &key);
    insta::assert_snapshot!(drawn(&report), @r"
    image sha256:…
    ├─✓ the layer, the configuration and the manifest have the digests that name them
    ├─? what is said about the image
    │ ├─✓ the image is signed, by a trusted key and about this digest
    │ ├─✓ an SBOM (SPDX) is attached, by a trusted key and about this digest
    │ └─? no trusted key says: its provenance (SLSA 1) is attached
    ├─? 2 packages are installed
    │ ├─? base 1.0-r0
    │ │ ├─✓ a signed index lists it as Q1…
    │ │ ├─✓ its file sha256:… is what the index names, and its data has the hashes it names
    │ │ ├─✓ its file is signed by test.rsa.pub
    │ │ └─? it names no sources: to this check it is an opaque binary
    │ └─✓ hello 1.0-r0
    │   ├─✓ a signed index lists it as Q1…
    │   ├─✓ its file sha256:… is what the index names, and its data has the hashes it names
    │   ├─✓ its file is signed by test.rsa.pub
    │   └─✓ its SBOM names what it was built from
    │     └─✓ https://example.org/hello-1.0.tar.gz sha256:…
    ├─? the files of the layers
    │ ├─✓ 8 files are as their packages have them
    │ ├─? /etc/passwd of base 1.0-r0 was changed by the image file
    │ ├─✓ 16 files and devices are those that every image has
    │ └─? 1 entries are made by the image file
    │   └─? /usr/bin/ciao is a symbolic link to hello
    ├─✓ apk in the image trusts only the repositories' keys
    └─✓ the SBOM lists the installed packages, all of them and nothing else
    ");
    assert!(report.is_good());
    assert_eq!(report.standing(), Standing::Unproven);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["standing"], "proven");
}

#[test]
fn nobodys_statements_do_not_count() {
    let bed = Bed::with_hello();
    let (mine, stranger) = (key(), key());
    let (_, layout) = signed(&bed, &stranger);
    let found = report(&bed, &layout, &mine);
    assert!(!found.is_good());
    let text = drawn(&found);
    assert!(
        text.contains("✗ no trusted key says: the image is signed"),
        "{text}"
    );
    assert!(text.contains("✗ no trusted SBOM"), "{text}");
}

#[test]
fn an_sbom_alone_is_no_signature_and_other_subjects_do_not_count() {
    let bed = Bed::with_hello();
    let key = key();
    let (image, layout) = bed.layout(HELLO);
    let other = Statement::new(
        vec![Subject::new("", Digest::of(b"another image"))],
        SIGNATURE,
        serde_json::Map::new(),
    );
    image::attach(&layout, &image.descriptor, &other, &[&key], EPOCH).unwrap();
    let sbom = Statement::new(
        vec![Subject::new("", image.descriptor.digest)],
        attest::intoto::SPDX_PREDICATE,
        &image.sbom,
    );
    image::attach(&layout, &image.descriptor, &sbom, &[&key], EPOCH).unwrap();
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good());
    let text = drawn(&found);
    assert!(
        text.contains("✗ no trusted key says: the image is signed"),
        "{text}"
    );
    assert!(text.contains("does not speak of"), "{text}");
}

/// Puts `files` on top of the image as one more layer, signed by the same key: what somebody who
/// holds the key, but not the repository's, can do.
fn altered(bed: &Bed, key: &PrivateKey, files: &[(&str, &str, u32)]) -> Layout {
    let (image, layout) = bed.layout(HELLO);
    let mut writer = Writer::new(Vec::new());
    for (path, content, mode) in files {
        let mut header = Header::file(*path, content.len() as u64);
        header.mode = *mode;
        writer.append(&header, content.as_bytes()).unwrap();
    }
    let tar = writer.finish().unwrap();
    let blob = archive::gzip::compress(&tar);
    let (mut config, mut manifest) = (image.config.clone(), image.manifest.clone());
    config.rootfs.diff_ids.push(Digest::of(&tar));
    manifest
        .layers
        .push(layout.put_blob(media_type::LAYER_TAR_GZIP, &blob).unwrap());
    manifest.config = layout
        .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
        .unwrap();
    let descriptor: Descriptor = layout.put_manifest(&manifest).unwrap();
    layout.tag("latest", &descriptor).unwrap();
    image::attach_all(&layout, &descriptor, &image.sbom, None, &[key], EPOCH).unwrap();
    layout
}

#[test]
fn changed_and_smuggled_files_are_found() {
    let bed = Bed::with_hello();
    let key = key();
    let layout = altered(
        &bed,
        &key,
        &[
            ("usr/bin/hello", "#!/bin/evil!\n", 0o755),
            ("usr/bin/evil", "evil", 0o755),
        ],
    );
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good());
    let text = drawn(&found);
    assert!(
        text.contains("✗ /usr/bin/hello of hello 1.0-r0 has other contents than in its package"),
        "{text}"
    );
    assert!(text.contains("✗ /usr/bin/evil is no package's"), "{text}");
}

#[test]
fn an_unlisted_package_is_found() {
    let bed = Bed::with_hello();
    let key = key();
    let (_, layout) = signed(&bed, &key);
    // The repository goes on with another build of the same version.
    let mut other = Bed::new();
    other.package(
        info("base"),
        tree([("etc/passwd", text("root:x:0:0:root:/:/bin/sh\n"))]),
    );
    let found = report(&other, &layout, &key);
    let text = drawn(&found);
    assert!(!found.is_good());
    assert!(
        text.contains("✗ the signed index has another package of this name and version"),
        "{text}"
    );
    assert!(text.contains("✗ no signed index lists it"), "{text}");
}

#[test]
fn a_damaged_package_file_is_found() {
    let bed = Bed::with_hello();
    let key = key();
    let (_, layout) = signed(&bed, &key);
    let path = bed.path("packages/x86_64/hello-1.0-r0.apk");
    let bytes = std::fs::read(&path).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&bytes[..bytes.len() - 1]).unwrap();
    file.write_all(&[bytes[bytes.len() - 1] ^ 1]).unwrap();
    let found = report(&bed, &layout, &key);
    assert!(!found.is_good(), "{found}");
}

#[test]
fn an_sbom_of_other_packages_is_found() {
    let bed = Bed::with_hello();
    let key = key();
    let (image, layout) = bed.layout(HELLO);
    let mut sbom = image.sbom.clone();
    for package in &mut sbom.packages {
        if package.name == "base" {
            package.version_info = Some("2.0-r0".to_owned());
        }
    }
    image::attach_all(&layout, &image.descriptor, &sbom, None, &[&key], EPOCH).unwrap();
    let text = drawn(&report(&bed, &layout, &key));
    assert!(
        text.contains("✗ the SBOM does not list base 1.0-r0, which is installed"),
        "{text}"
    );
    assert!(
        text.contains("✗ the SBOM lists base 2.0-r0, which is not installed"),
        "{text}"
    );
}

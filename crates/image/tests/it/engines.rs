//! Other programs read the layouts: by tag, and by the folder alone while nothing is attached.

use testkit::Program;

use crate::bed::{Bed, EPOCH};

const HELLO: &str = "contents: {packages: [hello]}\nentrypoint: {command: /usr/bin/hello}\n";

#[test]
fn skopeo_and_umoci_read_a_signed_layout() {
    let bed = Bed::with_hello();
    let (image, layout) = bed.layout(HELLO);
    let source = format!("oci:{}", layout.root().display());
    let copy = |from: &str, to: &str| {
        Program::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .arg(from)
            .arg(format!("oci:{}:copied", bed.path(to).display()))
            .run()
            .success()
    };
    // Unambiguous without a tag, as long as nothing is attached.
    copy(&source, "plain");

    let key = key::PrivateKey::generate(key::Algorithm::EcdsaP256).unwrap();
    image::attach_all(&layout, &image.descriptor, &image.sbom, None, &[&key], EPOCH).unwrap();
    copy(&format!("{source}:latest"), "tagged");
    let copied = oci::Layout::open(bed.path("tagged")).unwrap();
    assert_eq!(copied.resolve(None).unwrap().digest, image.descriptor.digest);

    let bundle = bed.path("bundle");
    Program::new("umoci")
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:latest", layout.root().display()))
        .arg(&bundle)
        .run()
        .success();
    let hello = std::fs::read(bundle.join("rootfs/usr/bin/hi")).unwrap();
    assert_eq!(hello, b"#!/bin/hello\n");
}

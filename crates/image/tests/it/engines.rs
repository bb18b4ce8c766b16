//! Other programs read the layouts: by tag, and by the folder alone while nothing is attached.

use testkit::Program;

use crate::bed::{Bed, EPOCH};

const HELLO: &str = "contents: {packages: [hello]}\nentrypoint: {command: /usr/bin/hello}\n";

#[test]
fn skopeo_umoci_and_podman_read_a_signed_layout() {
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
    let attaching = image::Attaching {
        layout: &layout,
        image: &image.descriptor,
        key: &key,
        form: image::Form::Bundle,
        epoch: EPOCH,
    };
    attaching.all("", &image.sbom, None).unwrap();
    copy(&format!("{source}:latest"), "tagged");
    let copied = oci::Layout::open(bed.path("tagged")).unwrap();
    assert_eq!(
        copied.resolve(None).unwrap().digest,
        image.descriptor.digest
    );

    let bundle = bed.path("bundle");
    Program::new("umoci")
        .args(["unpack", "--rootless", "--image"])
        .arg(format!("{}:latest", layout.root().display()))
        .arg(&bundle)
        .run()
        .success();
    let hello = std::fs::read(bundle.join("rootfs/usr/bin/hi")).unwrap();
    assert_eq!(hello, b"#!/bin/hello\n");

    let podman = |arguments: &[&str]| {
        let mut program = Program::new("podman").args(["--storage-driver", "vfs"]);
        for (option, folder) in [("--root", "podman"), ("--runroot", "podman-run")] {
            program = program.arg(option).arg(bed.path(folder));
        }
        // podman names the image by the folder, which has to be in lower case then.
        program
            .folder(&bed.path(""))
            .args(arguments)
            .run()
            .success()
    };
    let pulled = podman(&["pull", "--quiet", "oci:layout:latest"]);
    let config = &image.manifest.config.digest;
    assert_eq!(pulled.stdout.trim(), config.hex());
}

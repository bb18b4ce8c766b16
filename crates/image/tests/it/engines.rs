//! Other programs read the layouts: by tag, and by the folder alone while nothing is attached.

use base::Silent;
use image::Compression;
use testkit::{Finished, Program};

use crate::bed::{Bed, EPOCH, wait};

const HELLO: &str = "contents: {packages: [hello]}\nentrypoint: {command: /usr/bin/hello}\n";

/// podman with a storage of its own, in the bed's folder: it names images by their folders, which have to
/// be in lower case then.
fn podman(bed: &Bed, arguments: &[&str]) -> Finished {
    let mut program = Program::new("podman").args(["--storage-driver", "vfs"]);
    for (option, folder) in [("--root", "podman"), ("--runroot", "podman-run")] {
        program = program.arg(option).arg(bed.path(folder));
    }
    program
        .folder(&bed.path(""))
        .args(arguments)
        .run()
        .success()
}

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
        signer: image::Signer::Key(&key),
        form: image::Form::Bundle,
        epoch: EPOCH,
    };
    wait(attaching.all("", &image.sbom, None)).unwrap();
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

    let pulled = podman(&bed, &["pull", "--quiet", "oci:layout:latest"]);
    let config = &image.manifest.config.digest;
    assert_eq!(pulled.stdout.trim(), config.hex());
}

#[test]
fn skopeo_and_podman_read_layers_however_they_are_compressed() {
    let bed = Bed::with_hello();
    let store = bed.store();
    for compression in [
        Compression::Zstd,
        Compression::Best,
        Compression::ZstdChunked,
        Compression::Estargz,
    ] {
        let yaml = "contents: {packages: [hello]}\nlayering: {strategy: package}\n";
        let mut plan = bed.plan(&store, yaml);
        plan.compression = compression;
        let image = image::build(&plan, "test", EPOCH, &store, &Silent).unwrap();
        let name = compression.to_string().replace(':', "-");
        let root = bed.path(&name);
        image::write_layout(std::slice::from_ref(&image), &store, &root, "latest").unwrap();
        // Unpacked, and compared with the configuration's diffIDs.
        let unpacked = bed.path(&format!("{name}-unpacked"));
        Program::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-decompress"])
            .arg(format!("oci:{}:latest", root.display()))
            .arg(format!("dir:{}", unpacked.display()))
            .run()
            .success();
        for layer in &image.layers {
            assert!(
                unpacked.join(layer.diff_id.hex()).is_file(),
                "{compression}"
            );
        }
        let pulled = podman(&bed, &["pull", "--quiet", &format!("oci:{name}:latest")]);
        let id = pulled.stdout.trim();
        assert_eq!(id, image.manifest.config.digest.hex());
        let listed = podman(
            &bed,
            &["image", "inspect", "--format", "{{len .RootFS.Layers}}", id],
        );
        assert_eq!(listed.stdout.trim(), "3");
        podman(&bed, &["image", "rm", id]);
    }
}

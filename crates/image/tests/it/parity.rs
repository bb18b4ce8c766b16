//! apko's own images, made again: the corpus has what apko wrote.

use std::path::{Path, PathBuf};

use apk::repository::{LoadedRepository, Repository};
use apk::signature::Keyring;
use base::{Arch, Digest, Epoch, Silent, SourceText};
use image::lock::{Lock, Locked, follow};
use image::{BuiltImage, ImageConfiguration, Target, configuration, parity};
use oci::Layout;
use store::Store;

use crate::bed::{access, wait};

fn cli() -> PathBuf {
    testkit::corpus().join("apko/cli")
}

/// The images of a file of the corpus, as its repositories and keys would have them made.
fn built(
    file: &str,
    change: impl FnOnce(&mut ImageConfiguration),
    name: &str,
    store: &Store,
) -> Vec<BuiltImage> {
    let loaded = configuration::load(&cli().join(file), &[]).unwrap();
    let mut configuration = loaded.configuration;
    change(&mut configuration);
    let keyring = Keyring::load(&[cli().join("melange.rsa.pub")]).unwrap();
    let repositories = |arch: Arch| -> Vec<LoadedRepository> {
        let repository = Repository::folder(cli().join("packages"));
        vec![repository.open(arch, Some(&keyring), None).unwrap()]
    };
    let archs = [Arch::X86_64, Arch::Aarch64];
    let opened: Vec<Vec<LoadedRepository>> = archs.into_iter().map(repositories).collect();
    let targets: Vec<Target<'_>> = archs
        .into_iter()
        .zip(&opened)
        .map(|(arch, repositories)| Target { arch, repositories })
        .collect();
    let access = access(store);
    let plans = image::plan_all(
        &configuration,
        Path::new(""),
        &targets,
        &keyring,
        &access,
        &Silent,
    );
    wait(plans)
        .unwrap()
        .into_iter()
        .map(|plan| {
            image::build(&plan.with_parity(Epoch(0)), name, Epoch(0), store, &Silent).unwrap()
        })
        .collect()
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

/// Digests of compressed layers, and so of manifests and indexes, are whoever compresses'.
fn replaced(text: &str, pairs: &[(Digest, Digest)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        text.replace(&from.hex(), &to.hex())
    })
}

#[test]
fn the_golden_image_is_made_again() {
    let (_folder, store) = store();
    let images = built(
        "apko.yaml",
        |configuration| {
            for (key, value) in [("title", "Title"), ("vendor", "Vendor")] {
                configuration
                    .annotations
                    .insert(format!("org.opencontainers.image.{key}"), value.to_owned());
            }
        },
        "golden:latest",
        &store,
    );
    let golden = Layout::open(cli().join("golden")).unwrap();
    let mut pairs = Vec::new();
    for image in &images {
        let theirs = golden.image(None, image.arch).unwrap();
        assert_eq!(image.config.rootfs, theirs.config.rootfs, "{}", image.arch);
        let bytes = golden.read(&theirs.manifest.config, 1 << 20).unwrap();
        assert_eq!(
            String::from_utf8(image.config.to_bytes().unwrap()).unwrap(),
            String::from_utf8(bytes).unwrap()
        );
        assert_eq!(image.manifest.annotations, theirs.manifest.annotations);
        pairs.push((theirs.descriptor.digest, image.descriptor.digest));
        pairs.push((theirs.manifest.layers[0].digest, image.layers[0].digest));
    }
    for image in &images {
        let name = format!("golden/sboms/sbom-{}.spdx.json", image.arch);
        let theirs = std::fs::read_to_string(cli().join(name)).unwrap();
        let ours = image.parity_sbom.as_ref().unwrap().to_bytes().unwrap();
        assert_eq!(String::from_utf8(ours).unwrap(), replaced(&theirs, &pairs));
    }
    let out = tempfile::tempdir().unwrap();
    let index = image::write_parity_layout(
        &images,
        &images_configuration(),
        Epoch(0),
        &store,
        out.path(),
    )
    .unwrap();
    let text = std::fs::read_to_string(out.path().join("index.json")).unwrap();
    let theirs = std::fs::read(cli().join("golden/index.json")).unwrap();
    pairs.push((Digest::of(&theirs), index.digest));
    assert_eq!(
        text,
        replaced(std::str::from_utf8(&theirs).unwrap(), &pairs)
    );
    let descriptors: Vec<_> = images
        .iter()
        .map(|image| image.descriptor.clone())
        .collect();
    let document = parity::index_sbom("golden:latest", "", &index, &descriptors, Epoch(0));
    let theirs = std::fs::read_to_string(cli().join("golden/sboms/sbom-index.spdx.json")).unwrap();
    assert_eq!(
        String::from_utf8(document.to_bytes().unwrap()).unwrap(),
        replaced(&theirs, &pairs)
    );
}

fn images_configuration() -> ImageConfiguration {
    let mut configuration = configuration::load(&cli().join("apko.yaml"), &[])
        .unwrap()
        .configuration;
    for (key, value) in [("title", "Title"), ("vendor", "Vendor")] {
        configuration
            .annotations
            .insert(format!("org.opencontainers.image.{key}"), value.to_owned());
    }
    configuration
}

/// A lock of apko's and the base image it was made for: the image on top is made again.
#[test]
fn an_image_upon_another_is_made_again() {
    let (folder, store) = store();
    let root = folder.path().join("work");
    std::fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(cli(), root.join("testdata")).unwrap();
    let loaded = configuration::load(&cli().join("image_on_top.apko.yaml"), &[]).unwrap();
    let text = std::fs::read_to_string(cli().join("image_on_top.apko.lock.json")).unwrap();
    let text = text.replace("./testdata/", &format!("{}/", cli().display()));
    let lock = Lock::parse(SourceText::new("lock.json", text)).unwrap();
    let keyring = Keyring::load(&[cli().join("melange.rsa.pub")]).unwrap();
    let access = access(&store);
    let locked = Locked {
        loaded: &loaded,
        lock: &lock,
        path: Path::new("lock.json"),
        folder: &root,
        keyring: &keyring,
    };
    let plans = wait(follow(
        &locked,
        &[Arch::X86_64, Arch::Aarch64],
        &access,
        &Silent,
    ))
    .unwrap();
    let theirs = Layout::open(cli().join("top_image")).unwrap();
    for plan in plans {
        let arch = plan.arch;
        // Upon it, and with polpo's own bytes: every package is in the database and in the SBOM.
        let own = image::build(&plan, "top", Epoch(0), &store, &Silent).unwrap();
        let names: Vec<&str> = own
            .sbom
            .packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        for name in ["package-x", "package-y", "pretend-baselayout", "replayout"] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
        assert_eq!(own.config.rootfs.diff_ids.len(), 2);
        let out = folder.path().join(format!("own-{arch}"));
        image::write_layout(std::slice::from_ref(&own), &store, &out, "top").unwrap();
        let made = image::build(
            &plan.with_parity(Epoch(0)),
            "top",
            Epoch(0),
            &store,
            &Silent,
        )
        .unwrap();
        let theirs = theirs.image(None, arch).unwrap();
        assert_eq!(made.config.rootfs, theirs.config.rootfs);
        assert_eq!(made.config.config, theirs.config.config);
    }
}

/// The lock that apko made of its own image file, byte for byte.
#[test]
fn the_golden_lock_is_made_again() {
    let (_folder, store) = store();
    let loaded = configuration::load(&cli().join("apko.yaml"), &[]).unwrap();
    let keyring = Keyring::load(&[cli().join("melange.rsa.pub")]).unwrap();
    let archs = [Arch::X86_64, Arch::Aarch64];
    let opened: Vec<Vec<LoadedRepository>> = archs
        .iter()
        .map(|arch| {
            let repository = Repository::folder(cli().join("packages"));
            vec![repository.open(*arch, Some(&keyring), None).unwrap()]
        })
        .collect();
    let targets: Vec<Target<'_>> = archs
        .into_iter()
        .zip(&opened)
        .map(|(arch, repositories)| Target { arch, repositories })
        .collect();
    let access = access(&store);
    let plans = wait(image::plan_all(
        &loaded.configuration,
        Path::new(""),
        &targets,
        &keyring,
        &access,
        &Silent,
    ))
    .unwrap();
    let key = std::fs::read_to_string(cli().join("melange.rsa.pub")).unwrap();
    let keys = [("./testdata/melange.rsa.pub".to_owned(), key)];
    let lock = image::lock::lock(&loaded, "apko.yaml", &keys, &plans, &store).unwrap();
    let ours = String::from_utf8(lock.to_bytes().unwrap()).unwrap();
    let ours = ours.replace(
        &cli().join("packages").display().to_string(),
        "./testdata/packages",
    );
    assert_eq!(
        ours,
        std::fs::read_to_string(cli().join("apko.lock.json")).unwrap()
    );
}

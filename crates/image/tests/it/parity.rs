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

/// The images of a configuration, as the corpus's repository and key would have them made.
fn built(
    configuration: &ImageConfiguration,
    name: &str,
    epoch: Epoch,
    store: &Store,
) -> Vec<BuiltImage> {
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
    let access = access(store);
    let folder = Path::new("");
    let plans = image::plan_all(configuration, folder, &targets, &keyring, &access, &Silent);
    wait(plans)
        .unwrap()
        .into_iter()
        .map(|plan| image::build(&plan.with_parity(epoch), name, epoch, store, &Silent).unwrap())
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
    let configuration = images_configuration();
    let images = built(&configuration, "golden:latest", Epoch(0), &store);
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
    let index =
        image::write_parity_layout(&images, &configuration, Epoch(0), &store, out.path()).unwrap();
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

/// Accounts, paths of every kind, services, certificates and layers by origin: the configurations,
/// which hold the layers' diffIDs, and the SBOMs but for their digests have the digests of apko's.
#[test]
fn other_images_are_made_as_apko_makes_them() {
    const KITCHEN: &str = r#"
contents:
  keyring: [./testdata/melange.rsa.pub]
  repositories: [./testdata/packages]
  packages: [replayout, custom-ca-certs-1, custom-ca-certs-2]
entrypoint: {command: "/bin/sh -c 'echo hi'", services: {web: "/bin/web -f & <x>"}}
cmd: a "b c"
stop-signal: SIGQUIT
work-dir: /srv
accounts:
  users: [{username: web, uid: 1000}, {username: other, uid: 1001, gid: 5, homedir: /srv/o, shell: /bin/false}]
  groups: [{groupname: web, gid: 1000, members: [web, other]}]
  run-as: web
environment: {A: "b <c>", SSL_CERT_FILE: /x}
paths:
  - {path: /var/lib/web/deep, type: directory, uid: 1000, permissions: 0o2750}
  - {path: /etc/empty, type: empty-file, permissions: 0o600}
  - {path: /etc/link, type: symlink, source: empty, uid: 5, gid: 6, permissions: 0o640}
  - {path: /etc/hard, type: hardlink, source: /etc/empty, permissions: 0o604}
  - {path: /left/out, type: directory}
  - {path: /var, type: permissions, recursive: true, permissions: 0o755, gid: 1000}
archs: [x86_64, aarch64]
annotations: {org.opencontainers.image.title: T, x: "<y>"}
volumes: [/data]
vcs-url: https://github.com/example/hello@0123456789abcdef0123456789abcdef01234567
layering: {strategy: origin, budget: 2}
"#;
    let file = |name: &str| std::fs::read_to_string(cli().join(name)).unwrap();
    let epoch = Epoch(1_700_000_000);
    for (name, text, configurations, image_sbom, index_sbom) in [
        (
            "layering",
            file("layering.yaml"),
            [
                "e41aa3da8f02ee4ba668595a3eb4f504ee8eee2c1a8a4d0490dff7403fa9bf69",
                "4f83631fefddb18bcf9e4f6a4425578d9cbfc4497f6450af72c5a169b4904b57",
            ],
            "bb8ba7de7669613378a152debda32c8c0c028171bdc9bdef3e471958867fa832",
            "65fe8e63c02639e9b1754c76773903f478182e4322f51b2ff4aba8fe8a120e45",
        ),
        (
            "certificates",
            file("apko-certs.yaml"),
            [
                "2b06b6622d7a7704d1512e4d3f5a34b57371705ef7ac53078a20ccff72be8d3c",
                "1c0c2178f526967c547b1389d855bfa142a170005fb5d6d9886dabc7b9c5be4d",
            ],
            "ec1b14da57d57208ef28a758d4f1cb5acadf1f9b06cffb947aa49f3891c01af2",
            "65fe8e63c02639e9b1754c76773903f478182e4322f51b2ff4aba8fe8a120e45",
        ),
        (
            "kitchen",
            KITCHEN.to_owned(),
            [
                "3f56f5956a31fc756c1bf0368657aeb3de579a9251508b0a371b2266bddbc13b",
                "361aab3268878aaa1b1718206e9791abb3181afa2e424856e5a25844e01019df",
            ],
            "7a3d8bacb38371dab5a146a1322d7fbfe63fb76a10163cd1dc302a46abbca6cb",
            "4f56ac574ed17f41cc7f625fe513202f0e2f843d8df7d1fe2a169b2315ee777a",
        ),
    ] {
        let (_folder, store) = store();
        let (configuration, _) = configuration::parse(SourceText::new(name, text)).unwrap();
        let images = built(&configuration, "example.org/pin:latest", epoch, &store);
        let found: Vec<String> = images
            .iter()
            .map(|image| Digest::of(&image.config.to_bytes().unwrap()).hex())
            .collect();
        assert_eq!(found, configurations, "{name}");
        let out = tempfile::tempdir().unwrap();
        let layout = out.path().join("layout");
        let index =
            image::write_parity_layout(&images, &configuration, epoch, &store, &layout).unwrap();
        let descriptors: Vec<_> = images
            .iter()
            .map(|image| image.descriptor.clone())
            .collect();
        let of_index = parity::index_sbom(
            "example.org/pin:latest",
            &configuration.vcs_url,
            &index,
            &descriptors,
            epoch,
        );
        for (document, expected) in [
            (images[0].parity_sbom.as_ref().unwrap(), image_sbom),
            (&of_index, index_sbom),
        ] {
            let text = String::from_utf8(document.to_bytes().unwrap()).unwrap();
            let bare = without_digests(&text);
            assert_eq!(
                Digest::of(bare.as_bytes()).hex(),
                expected,
                "{name}: {text}"
            );
        }
    }
}

/// The text without its runs of 64 hexadecimal digits.
fn without_digests(text: &str) -> String {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some(first) = rest.first() {
        let digits = rest
            .iter()
            .take(64)
            .take_while(|byte| is_digit(byte))
            .count();
        if digits == 64 {
            rest = &rest[64..];
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    String::from_utf8(out).unwrap()
}

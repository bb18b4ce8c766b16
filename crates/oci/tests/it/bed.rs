//! What the tests work with: a folder, a store, images, and ways to registries.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Arch, Digest, Silent};
use oci::copy::{CopyError, CopyReport, CopySettings, Origin, to_layout, to_registry};
use oci::registry::{Keychain, Reference, Registry, RegistrySettings};
use oci::{Descriptor, ImageConfig, Index, Layout, Manifest, Platform, media_type};
use store::{CredentialSource, Credentials, Network, NetworkSettings, Store};
use tempfile::TempDir;
use testkit::Program;

pub(crate) struct Bed {
    folder: TempDir,
    pub(crate) store: Store,
    pub(crate) network: NetworkSettings,
    pub(crate) settings: RegistrySettings,
    pub(crate) keychain: Keychain,
    /// How many blobs are on their way at a time.
    pub(crate) parallel: usize,
}

pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Bytes that can't be compressed, always the same.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

impl Bed {
    pub(crate) fn new() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store")).unwrap();
        Bed {
            folder,
            store,
            network: NetworkSettings {
                credentials: CredentialSource::Given(Credentials::default()),
                first_pause: Duration::from_millis(5),
                read_timeout: Duration::from_secs(2),
                ..NetworkSettings::default()
            },
            settings: RegistrySettings {
                pause: Duration::from_millis(5),
                at_once: 1 << 20,
                ..RegistrySettings::default()
            },
            keychain: Keychain::empty(),
            parallel: 4,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(
            Network::new(self.network.clone()),
            self.keychain.clone(),
            self.settings.clone(),
        )
    }

    /// An image of one layer that engines can unpack: a file `/mark` with this text.
    pub(crate) fn image(&self, layout: &Layout, mark: &str, arch: Arch) -> Descriptor {
        let files = self.path("files");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("mark"), mark).unwrap();
        let tar = self.path("layer.tar");
        Program::new("tar")
            .args([
                "--format=ustar",
                "--numeric-owner",
                "--mtime=@0",
                "--mode=0644",
            ])
            .args(["--owner=0", "--group=0", "-cf"])
            .arg(&tar)
            .arg("-C")
            .arg(&files)
            .arg("mark")
            .run()
            .success();
        let plain = std::fs::read(&tar).unwrap();
        Program::new("gzip").args(["-nf"]).arg(&tar).run().success();
        let packed = std::fs::read(self.path("layer.tar.gz")).unwrap();
        self.with_layers(layout, &[(packed, Digest::of(&plain))], arch)
    }

    /// An image of layers that are bytes and no more.
    pub(crate) fn blobs(&self, layout: &Layout, layers: &[Vec<u8>]) -> Descriptor {
        let layers: Vec<(Vec<u8>, Digest)> = layers
            .iter()
            .map(|bytes| (bytes.clone(), Digest::of(bytes)))
            .collect();
        self.with_layers(layout, &layers, Arch::X86_64)
    }

    fn with_layers(&self, layout: &Layout, layers: &[(Vec<u8>, Digest)], arch: Arch) -> Descriptor {
        let platform = Platform::linux(arch);
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: "linux".to_owned(),
            ..ImageConfig::default()
        };
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids = layers.iter().map(|(_, diff_id)| *diff_id).collect();
        let config = layout
            .put_blob(media_type::CONFIG, &config.to_bytes().unwrap())
            .unwrap();
        let layers = layers
            .iter()
            .map(|(bytes, _)| layout.put_blob(media_type::LAYER_TAR_GZIP, bytes).unwrap())
            .collect();
        let mut descriptor = layout
            .put_manifest(&Manifest::image(config, layers))
            .unwrap();
        descriptor.platform = Some(platform);
        descriptor
    }

    /// A layout with an image for two architectures under `v1`.
    pub(crate) fn layout(&self, name: &str) -> (Layout, Descriptor) {
        let layout = Layout::create(self.path(name)).unwrap();
        let parts = [Arch::X86_64, Arch::Aarch64].map(|arch| self.image(&layout, arch.apk(), arch));
        let index = layout.put_index(&Index::new(parts.to_vec())).unwrap();
        layout.tag("v1", &index).unwrap();
        (layout, index)
    }

    pub(crate) fn publish(&self, layout: &Layout, names: &[&str]) -> Result<CopyReport, CopyError> {
        let origin = Origin::Layout {
            layout: layout.clone(),
            tag: None,
        };
        self.send(&origin, names)
    }

    pub(crate) fn send(&self, origin: &Origin, names: &[&str]) -> Result<CopyReport, CopyError> {
        let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        let repository = self.registry().repository(names[0].repository());
        wait(to_registry(
            origin,
            &repository,
            &names,
            &[],
            CopySettings {
                parallel: self.parallel,
                ..CopySettings::default()
            },
            &self.store,
            &Silent,
        ))
    }

    pub(crate) fn origin(&self, name: &str) -> Origin {
        let reference: Reference = name.parse().unwrap();
        Origin::Registry {
            repository: self.registry().repository(reference.repository()),
            reference,
        }
    }

    pub(crate) fn pull(&self, name: &str, to: &Path) -> Result<CopyReport, CopyError> {
        wait(to_layout(
            &self.origin(name),
            to,
            Some("copy"),
            CopySettings {
                parallel: self.parallel,
                ..CopySettings::default()
            },
            &self.store,
            &Silent,
        ))
    }
}

/// Every blob of a layout is what it is named, and all that manifests name is there.
pub(crate) fn assert_whole(root: &Path) {
    let layout = Layout::open(root).unwrap();
    let mut documents: Vec<Descriptor> = layout.index().unwrap().manifests;
    while let Some(descriptor) = documents.pop() {
        let document = layout.document(&descriptor).unwrap();
        documents.extend(document.manifests().to_vec());
        for blob in document.blobs() {
            layout.open_blob(blob).unwrap();
        }
    }
}

/// An artefact about an image, attached in the layout.
pub(crate) fn attach(layout: &Layout, about: &Descriptor, kind: &str) -> Descriptor {
    let blob = layout.put_blob(kind, kind.as_bytes()).unwrap();
    let mut artifact = Manifest::artifact(kind, vec![blob], about);
    artifact
        .annotations
        .insert("kind".to_owned(), kind.to_owned());
    layout.attach(&artifact).unwrap()
}

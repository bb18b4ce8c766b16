//! A repository of small packages, a store and a layout, in a folder that goes away.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use apk::dependency::Dependency;
use apk::index::{Index, IndexEntry};
use apk::package::{Package, PackageContents, PackageInfo, Script};
use apk::repository::{Access, AccessSettings, LoadedRepository, Repository};
use apk::signature::{Keyring, Signer};
use archive::gzip::{MemberWriter, Members};
use archive::tree::{FileTree, Node, NodeKind, TreePath};
use base::{Arch, Digest, Epoch, Silent, SourceText};
use image::{BuiltImage, ImageConfiguration, ImagePlan, PlanError};
use key::{Algorithm, PrivateKey};
use oci::Layout;
use store::{Network, Store};

pub(crate) const ARCH: Arch = Arch::X86_64;
pub(crate) const EPOCH: Epoch = Epoch(1_700_000_000);

/// Folders are all that these tests take packages from.
pub(crate) fn access(store: &Store) -> Access {
    Access::new(store.clone(), Network::offline(), AccessSettings::default())
}

pub(crate) fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

/// One key for all tests: making one takes a second.
pub(crate) static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let key = PrivateKey::generate(Algorithm::Rsa4096).unwrap();
    Signer::new("test.rsa.pub", key).unwrap()
});

pub(crate) struct Bed {
    folder: tempfile::TempDir,
    entries: Vec<IndexEntry>,
}

pub(crate) fn info(name: &str) -> PackageInfo {
    PackageInfo {
        name: name.to_owned(),
        version: "1.0-r0".to_owned(),
        arch: ARCH.apk().to_owned(),
        origin: name.to_owned(),
        description: format!("the package {name}"),
        licenses: vec!["MIT".to_owned()],
        build_time: Some(EPOCH.0),
        ..PackageInfo::default()
    }
}

pub(crate) fn list(text: &str) -> Vec<Dependency> {
    Dependency::parse_list(text).unwrap()
}

/// A tree of these entries and their parents.
pub(crate) fn tree<const N: usize>(entries: [(&str, Node); N]) -> FileTree {
    let mut tree = FileTree::new();
    for (path, node) in entries {
        let path = TreePath::new(path).unwrap();
        tree.insert_parents(&path, &Node::directory());
        tree.insert(path, node);
    }
    tree
}

pub(crate) fn text(text: &str) -> Node {
    Node::file(text.as_bytes().to_vec())
}

pub(crate) fn hard_link(target: &str) -> Node {
    Node::new(NodeKind::HardLink {
        target: TreePath::new(target).unwrap(),
    })
}

impl Bed {
    pub(crate) fn new() -> Bed {
        Bed {
            folder: tempfile::tempdir().unwrap(),
            entries: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a package into the repository and its index.
    pub(crate) fn package(&mut self, info: PackageInfo, tree: FileTree) -> &mut Bed {
        self.package_with(info, tree, BTreeMap::new())
    }

    pub(crate) fn package_with(
        &mut self,
        info: PackageInfo,
        tree: FileTree,
        scripts: BTreeMap<Script, Vec<u8>>,
    ) -> &mut Bed {
        let folder = self.path("packages").join(ARCH.apk());
        std::fs::create_dir_all(&folder).unwrap();
        let written = apk::package::write(
            &folder.join(info.file_name()),
            &PackageContents {
                info,
                scripts,
                extras: BTreeMap::new(),
                tree: &tree,
            },
            Some(&SIGNER),
            EPOCH,
        )
        .unwrap();
        self.list(IndexEntry::written(&written))
    }

    fn list(&mut self, entry: IndexEntry) -> &mut Bed {
        let folder = self.path("packages").join(ARCH.apk());
        self.entries.push(entry);
        let mut index = Index::default();
        index.merge(self.entries.clone());
        index
            .write(&folder.join("APKINDEX.tar.gz"), [&*SIGNER], EPOCH)
            .unwrap();
        self
    }

    /// The same, as another program would write it: the data deflated in one run, at this level.
    pub(crate) fn foreign_package(
        &mut self,
        info: PackageInfo,
        tree: FileTree,
        level: u32,
    ) -> &mut Bed {
        let path = self
            .path("packages")
            .join(ARCH.apk())
            .join(info.file_name());
        self.package(info, tree);
        self.entries.pop();
        let package = Package::open(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut members = Members::new(
            &bytes[package.data_offset() as usize..],
            archive::Limits::default(),
        );
        let mut tar = Vec::new();
        members
            .next()
            .unwrap()
            .unwrap()
            .read_to_end(&mut tar)
            .unwrap();
        let mut data = MemberWriter::new(Vec::new(), level);
        data.write_all(&tar).unwrap();
        let data = data.finish().unwrap();
        let datahash = |hash: &base::Digest| format!("datahash = {}", hash.hex());
        let old = datahash(&package.info().datahash.unwrap());
        let pkginfo = package
            .pkginfo()
            .replace(&old, &datahash(&base::Digest::of(&data)));
        assert_ne!(pkginfo, package.pkginfo());
        let mut control = archive::tar::Writer::new(Vec::new());
        let header = archive::tar::Header::file(".PKGINFO", pkginfo.len() as u64);
        control.append(&header, pkginfo.as_bytes()).unwrap();
        let control = archive::gzip::compress(&control.into_inner());
        std::fs::write(&path, [control, data].concat()).unwrap();
        let package = Package::open(&path).unwrap();
        self.list(IndexEntry::of(&package))
    }

    /// A base, and a program with a link, a hard link and an SBOM that names its source.
    pub(crate) fn with_hello() -> Bed {
        let mut bed = Bed::new();
        bed.package(
            info("base"),
            tree([
                ("etc/passwd", text("root:x:0:0:root:/root:/bin/sh\n")),
                ("etc/group", text("root:x:0:\n")),
                ("etc/os-release", text("ID=test\nVERSION_ID=1\n")),
                ("usr/lib", Node::directory()),
                ("bin", Node::symlink("usr/bin")),
                ("usr/bin", Node::directory()),
            ]),
        );
        let sbom = attest::spdx::PackageRecord {
            namespace: "test".to_owned(),
            name: "hello".to_owned(),
            version: "1.0-r0".to_owned(),
            arch: Some(ARCH),
            origin: None,
            description: "the package hello".to_owned(),
            url: String::new(),
            licence: attest::licence::Licence::of("MIT"),
            copyright: Vec::new(),
            cpe: None,
            sources: vec![attest::spdx::SourceRecord {
                name: "hello".to_owned(),
                version: Some("1.0".to_owned()),
                uri: "https://example.org/hello-1.0.tar.gz".to_owned(),
                digest: Some(base::Digest::of(b"source")),
                commit: None,
                purl: None,
            }],
            recipe: None,
        }
        .document(EPOCH)
        .unwrap();
        let sbom = Node::file(sbom.to_json().unwrap());
        let mut hello = info("hello");
        hello.depends = list("base");
        bed.package(
            hello,
            tree([
                ("usr/bin/hello", text("#!/bin/hello\n").with_mode(0o755)),
                ("usr/bin/hi", hard_link("usr/bin/hello").with_mode(0o755)),
                ("usr/bin/salve", Node::symlink("hello")),
                ("usr/share/hello/words", text(&"hello ".repeat(10_000))),
                ("var/lib/db/sbom/hello-1.0-r0.spdx.json", sbom),
            ]),
        );
        bed
    }

    pub(crate) fn keyring(&self) -> Keyring {
        SIGNER.keyring()
    }

    pub(crate) fn repositories(&self) -> Vec<LoadedRepository> {
        let repository = Repository::folder(self.path("packages"));
        vec![repository.open(ARCH, Some(&self.keyring()), None).unwrap()]
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    pub(crate) fn plan(&self, store: &Store, yaml: &str) -> ImagePlan {
        self.try_plan(store, yaml).unwrap()
    }

    pub(crate) fn try_plan(&self, store: &Store, yaml: &str) -> Result<ImagePlan, PlanError> {
        wait(image::plan(
            &configuration(yaml),
            ARCH,
            &self.repositories(),
            &self.keyring(),
            &access(store),
            &Silent,
        ))
    }

    pub(crate) fn try_build(&self, yaml: &str) -> Result<BuiltImage, image::BuildError> {
        let store = self.store();
        image::build(&self.plan(&store, yaml), "test", EPOCH, &store, &Silent)
    }

    pub(crate) fn build(&self, yaml: &str) -> BuiltImage {
        self.try_build(yaml).unwrap()
    }

    /// Builds, and writes a layout with the tag `latest`.
    pub(crate) fn layout(&self, yaml: &str) -> (BuiltImage, Layout) {
        let image = self.build(yaml);
        let root = self.path("layout");
        image::write_layout(std::slice::from_ref(&image), &self.store(), &root, "latest").unwrap();
        (image, Layout::open(root).unwrap())
    }

    /// The error's words, without this machine's folder.
    pub(crate) fn shown(&self, error: impl std::fmt::Display) -> String {
        error
            .to_string()
            .replace(&self.folder.path().display().to_string(), "DIR")
    }
}

pub(crate) fn configuration(yaml: &str) -> ImageConfiguration {
    image::configuration::parse(SourceText::new("image.yaml", yaml))
        .unwrap()
        .0
}

/// The files of an image's own layers.
pub(crate) fn layer_files(store: &Store, image: &BuiltImage) -> Vec<PathBuf> {
    let files: BTreeMap<Digest, PathBuf> = image
        .blobs(store)
        .unwrap()
        .into_iter()
        .map(|(descriptor, path)| (descriptor.digest, path))
        .collect();
    let own = image.layers.iter();
    own.map(|layer| files[&layer.digest].clone()).collect()
}

/// A layer's entries as Python's tarfile lists them: `type mode uid:gid path [target]`.
pub(crate) fn listed(layer: &Path) -> Vec<String> {
    const LIST: &str = "
import sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    for m in tar:
        print(m.type.decode(), oct(m.mode)[2:], f'{m.uid}:{m.gid}', m.name, m.linkname)
    rest = tar.fileobj.read()
    assert not rest.strip(b'\\0'), 'something follows the end of the archive'
";
    let finished = testkit::Program::new("python3")
        .args(["-c", LIST])
        .arg(layer)
        .run()
        .success();
    finished
        .stdout
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

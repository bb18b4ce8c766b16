//! One .deb into one apk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use apk::dependency::Dependency;
use apk::package::{PackageContents, PackageInfo, Written};
use apk::signature::Signer;
use archive::tree::{FileTree, Node, NodeKind, TreePath};
use attest::licence::Licence;
use attest::spdx::{ExternalRef, PackageRecord, SourceRecord};
use base::{Arch, Epoch};
use build::analyse::{Options, PackageView};
use serde::{Deserialize, Serialize};
use store::apt::paragraph::Paragraphs;
use tempfile::TempDir;

use super::control::{self, Deb};
use super::error::DebDefect;
use super::tree::{add_parents, owned};
use super::version::map_version;
use super::{LockedPackage, Seed, SeedError, licence};

/// What other packages' dependencies have to know of a .deb, and its own relations. Kept in the
/// store by the .deb's digest and what the seed says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// `Pre-Depends` and `Depends`, as written.
    pub(super) relations: String,
    /// `Provides`, as written.
    pub(super) virtuals: String,
    /// The names its files provide: `so:`, `cmd:`, `pc:`.
    pub(super) provides: BTreeSet<String>,
    /// The names its files need.
    pub(super) needs: BTreeSet<String>,
    /// All its paths but folders.
    pub(super) files: Vec<String>,
}

/// A .deb, read and checked against its line in the lock.
pub(super) struct Source {
    deb: Deb,
    fields: BTreeMap<String, String>,
}

/// Reads the .deb from the store's file, already verified; its larger files go to `scratch`.
pub(super) fn open(
    locked: &LockedPackage,
    seed: &Seed,
    file: File,
    scratch: TempDir,
) -> Result<Source, SeedError> {
    let defect = |reason: DebDefect| SeedError::Deb {
        package: locked.package.clone(),
        digest: locked.sha256,
        reason,
    };
    let mut deb = control::read(std::io::BufReader::new(file), seed, scratch).map_err(defect)?;
    let fields: BTreeMap<String, String> = Paragraphs::of(&deb.control)
        .next()
        .unwrap_or_default()
        .fields()
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    if field("Package") != locked.package || field("Version") != locked.version {
        return Err(defect(DebDefect::Other {
            found: format!("{} {}", field("Package"), field("Version")),
        }));
    }
    add_links(&mut deb.tree, locked, seed)?;
    add_bundles(&mut deb.tree, locked, seed)?;
    add_parents(&mut deb.tree);
    Ok(Source { deb, fields })
}

fn path(text: &str, locked: &LockedPackage) -> Result<TreePath, SeedError> {
    TreePath::new(text).map_err(|source| SeedError::Deb {
        package: locked.package.clone(),
        digest: locked.sha256,
        reason: DebDefect::Path {
            path: text.to_owned(),
            source,
        },
    })
}

fn add_links(tree: &mut FileTree, locked: &LockedPackage, seed: &Seed) -> Result<(), SeedError> {
    for (at, target) in seed.links.get(&locked.package).into_iter().flatten() {
        tree.insert(path(at, locked)?, owned(Node::symlink(target.as_str())));
    }
    Ok(())
}

fn add_bundles(tree: &mut FileTree, locked: &LockedPackage, seed: &Seed) -> Result<(), SeedError> {
    for (at, folder) in seed.bundles.get(&locked.package).into_iter().flatten() {
        let mut bundle = Vec::new();
        for (path, node) in tree.iter() {
            let inside = path
                .as_str()
                .strip_prefix(folder.as_str())
                .is_some_and(|rest| rest.starts_with('/') && rest.ends_with(".crt"));
            if let (true, NodeKind::File { content, .. }) = (inside, &node.kind) {
                let bytes = content.read().map_err(|source| SeedError::Read {
                    path: path.as_str().into(),
                    source,
                })?;
                bundle.extend_from_slice(&bytes);
                if !bytes.ends_with(b"\n") {
                    bundle.push(b'\n');
                }
            }
        }
        tree.insert(path(at, locked)?, owned(Node::file(bundle)));
    }
    Ok(())
}

impl Source {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// What other packages have to know.
    pub(super) fn facts(&self, locked: &LockedPackage) -> Result<Facts, SeedError> {
        let tree = &self.deb.tree;
        let mut facts = Facts {
            relations: format!("{},{}", self.field("Pre-Depends"), self.field("Depends")),
            virtuals: self.field("Provides").to_owned(),
            files: tree
                .iter()
                .filter(|(_, node)| !node.is_directory())
                .map(|(path, _)| path.to_string())
                .collect(),
            ..Facts::default()
        };
        let view = PackageView {
            name: &locked.package,
            version: &map_version(&locked.version).0,
            tree,
            runtime: &[],
            provides: &[],
            options: Options::default(),
            library_versions: None,
        };
        let loader = loader_configuration(tree);
        let found = build::analyse::analyse(&view, &[&loader])?;
        let generated = |term: &String| {
            let name = term.split(['=', '<', '>', '~']).next().unwrap_or_default();
            let (kind, _) = name.split_once(':')?;
            matches!(kind, "so" | "cmd" | "pc").then(|| name.to_owned())
        };
        facts.provides = found.provides.iter().filter_map(generated).collect();
        facts.needs = found.runtime.iter().filter_map(generated).collect();
        for (path, node) in tree.iter() {
            // A link to a program is a program: `cc`, `sh`, `python3`.
            let is_link = matches!(
                node.kind,
                NodeKind::Symlink { .. } | NodeKind::HardLink { .. }
            );
            let command = path.as_str().strip_prefix("usr/bin/");
            if let Some(name) = command.filter(|name| is_link && !name.contains('/')) {
                facts.provides.insert(format!("cmd:{name}"));
            }
        }
        for path in &facts.files {
            let module = path
                .strip_suffix(".pc")
                .and_then(|path| path.rsplit_once("/pkgconfig/"))
                .filter(|(folder, _)| is_library_folder(folder));
            if let Some((_, module)) = module {
                facts.provides.insert(format!("pc:{module}"));
            }
        }
        Ok(facts)
    }

    fn licence(&self, package: &str) -> Licence {
        let path = format!("usr/share/doc/{package}/copyright");
        let Some(NodeKind::File { content, .. }) = self.deb.tree.get(&path).map(|node| &node.kind)
        else {
            return Licence::unknown();
        };
        match content.read().map(String::from_utf8) {
            Ok(Ok(text)) => licence::of_copyright(&text),
            _ => Licence::unknown(),
        }
    }

    /// Writes the apk with these dependencies and provides.
    pub(super) fn write(
        mut self,
        locked: &LockedPackage,
        arch: Arch,
        terms: Terms,
        out: &std::path::Path,
        signer: &Signer,
        epoch: Epoch,
    ) -> Result<Written, SeedError> {
        let licence = self.licence(&locked.package);
        let source = self
            .field("Source")
            .split_whitespace()
            .next()
            .unwrap_or(&locked.package)
            .to_owned();
        let info = PackageInfo {
            name: locked.package.clone(),
            version: map_version(&locked.version).0,
            arch: arch.apk().to_owned(),
            installed_size: self.deb.tree.size(),
            origin: source,
            description: one_line(self.field("Description")),
            url: one_line(self.field("Homepage")),
            maintainer: one_line(self.field("Maintainer")),
            build_time: Some(epoch.0),
            licenses: vec![licence.expression.clone()],
            depends: terms.depends,
            provides: terms.provides,
            ..PackageInfo::default()
        };
        self.describe(locked, arch, &info, licence, epoch)?;
        add_parents(&mut self.deb.tree);
        write_package(info, &self.deb.tree, out, signer, epoch)
    }

    /// Puts the SPDX document into the tree.
    fn describe(
        &mut self,
        locked: &LockedPackage,
        arch: Arch,
        info: &PackageInfo,
        licence: Licence,
        epoch: Epoch,
    ) -> Result<(), SeedError> {
        let failed = |source| SeedError::Describe {
            package: locked.package.clone(),
            source,
        };
        let record = PackageRecord {
            namespace: super::generate::NAMESPACE.to_owned(),
            name: info.name.clone(),
            version: info.version.clone(),
            arch: Some(arch),
            origin: Some(info.origin.clone()),
            description: info.description.clone(),
            url: info.url.clone(),
            licence,
            copyright: Vec::new(),
            cpe: None,
            sources: vec![SourceRecord {
                name: locked.package.clone(),
                version: Some(locked.version.clone()),
                uri: String::new(),
                digest: Some(locked.sha256),
                commit: None,
                purl: None,
            }],
            recipe: None,
        };
        let mut document = record.document(epoch).map_err(failed)?;
        let purl = deb_purl(locked);
        for package in &mut document.packages {
            if package
                .checksums
                .iter()
                .any(|checksum| checksum.checksum_value == locked.sha256.hex())
            {
                package.external_refs = vec![ExternalRef::purl(purl.clone())];
                // A binary package, not what it was built from.
                package.primary_package_purpose = Some("INSTALL".to_owned());
            }
        }
        let document = document.seal().map_err(failed)?;
        let bytes = document.to_json().map_err(failed)?;
        let at = format!("var/lib/db/sbom/{}-{}.spdx.json", info.name, info.version);
        self.deb.tree.insert(
            path(&at, locked)?,
            owned(Node::file(bytes)).with_mtime(epoch.0),
        );
        Ok(())
    }
}

/// `pkg:deb/debian/gcc@4%3A12.2.0-3?arch=amd64`.
fn deb_purl(locked: &LockedPackage) -> String {
    let escaped = |text: &str| {
        text.bytes().fold(String::new(), |mut all, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                    all.push(char::from(byte));
                }
                _ => all.push_str(&format!("%{byte:02X}")),
            }
            all
        })
    };
    format!(
        "pkg:deb/debian/{}@{}?arch={}",
        escaped(&locked.package),
        escaped(&locked.version),
        escaped(&locked.architecture)
    )
}

/// The first line of a field, without control characters.
fn one_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|letter| !letter.is_control())
        .collect()
}

/// Whether a folder is one of Debian's for libraries of one architecture.
fn is_library_folder(folder: &str) -> bool {
    folder
        .strip_prefix("usr/lib/")
        .is_some_and(|triplet| !triplet.contains('/') && triplet.contains("-linux-gnu"))
}

/// Debian's loader looks into a folder per architecture; this says so to the analyser, as the
/// C library's own package says it to the loader.
fn loader_configuration(tree: &FileTree) -> FileTree {
    let folders: BTreeSet<String> = tree
        .iter()
        .filter(|(path, node)| node.is_directory() && is_library_folder(path.as_str()))
        .map(|(path, _)| format!("/{path}\n"))
        .collect();
    let text: String = folders.into_iter().collect();
    let mut configuration = FileTree::new();
    if let Ok(path) = TreePath::new("etc/ld.so.conf.d/debian.conf") {
        configuration.insert(path, Node::file(text.into_bytes()));
    }
    add_parents(&mut configuration);
    configuration
}

/// Dependencies and provides of an apk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) depends: Vec<Dependency>,
    pub(super) provides: Vec<Dependency>,
}

/// Writes an apk of a tree.
pub(super) fn write_package(
    info: PackageInfo,
    tree: &FileTree,
    out: &std::path::Path,
    signer: &Signer,
    epoch: Epoch,
) -> Result<Written, SeedError> {
    let package = info.name.clone();
    let contents = PackageContents {
        info,
        scripts: BTreeMap::new(),
        extras: BTreeMap::new(),
        tree,
    };
    apk::package::write(out, &contents, Some(signer), epoch).map_err(|source| SeedError::Package {
        package,
        source: Box::new(source),
    })
}

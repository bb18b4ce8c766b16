//! What an image has beside its packages' files: the directories and devices every image has,
//! certificates, services, busybox's links, and apk's and apko's records of how it was made.

use apk::package::PackageInfo;
use archive::tree::{Node, NodeKind, TreePath};
use base::Digest;

use crate::certificate::Certificate;
use crate::configuration::{Certificates, Entrypoint, ImageConfiguration};
use crate::filesystem::{Filesystem, FilesystemError};
use crate::loader_cache::{self, Candidate, Files};
use crate::truststore::{self, TrustStoreError};

/// Something that an image has beside its packages' files can't be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A file can't be changed.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// Java's trust store can't be changed.
    #[error("`certificates` can't be added to /{JAVA_TRUST_STORE}: {0}")]
    JavaTrustStore(#[from] TrustStoreError),
    /// A certificate is none.
    #[error("`{0}` of `certificates.additional` isn't one certificate in PEM")]
    Certificate(String),
    /// /lib/apk is in use.
    #[error(
        "/lib/apk has to be a link to ../usr/lib/apk, but packages have files there; build them with /usr/lib/apk"
    )]
    LibApk,
    /// The configuration can't be written as JSON.
    #[error("can't write /etc/apko.json")]
    Json(#[from] serde_json::Error),
}

pub(crate) const BUNDLES: [&str; 3] = [
    "etc/ssl/certs/ca-certificates.crt",
    "var/lib/ecs/deps/execute-command/certs/tls-ca-bundle.pem",
    "kaniko/ssl/certs/ca-certificates.crt",
];
pub(crate) const JAVA_TRUST_STORE: &str = "etc/ssl/certs/java/cacerts";
const CERTIFICATES: &str = "usr/local/share/ca-certificates";
const BUSYBOX: &str = "bin/busybox";

/// The directories and files that every image of apko's has, where no package brings them.
pub(crate) fn skeleton(filesystem: &mut Filesystem) -> Result<(), FilesystemError> {
    for (path, mode) in [
        ("tmp", 0o1777),
        ("dev", 0o755),
        ("etc", 0o755),
        ("opt", 0o755),
        ("proc", 0o555),
        ("var", 0o755),
        ("usr", 0o755),
        ("etc/apk", 0o755),
        ("etc/apk/keys", 0o755),
        ("usr/lib/apk/db", 0o755),
        ("usr/lib/apk/exec", 0o755),
        ("var/cache/apk", 0o755),
        ("var/cache/misc", 0o755),
    ] {
        filesystem.make_directory(path, Node::directory().with_mode(mode))?;
    }
    Ok(())
}

/// The character devices that programs expect even where no /dev is mounted.
pub(crate) fn devices(filesystem: &mut Filesystem) -> Result<(), FilesystemError> {
    for (path, major, minor, mode) in [
        ("dev/console", 5, 1, 0o620),
        ("dev/null", 1, 3, 0o666),
        ("dev/random", 1, 8, 0o666),
        ("dev/urandom", 1, 9, 0o666),
        ("dev/zero", 1, 5, 0o666),
    ] {
        let there = filesystem.follow_parents(path)?;
        if filesystem.node(&there).is_none() {
            let node = Node::new(NodeKind::CharDevice { major, minor }).with_mode(mode);
            filesystem.put(path, node)?;
        }
    }
    Ok(())
}

/// The link that lets older programs find apk's database.
pub(crate) fn link_apk(filesystem: &mut Filesystem) -> Result<(), GenerateError> {
    let real = filesystem.follow("lib/apk")?;
    if real.as_ref().map(TreePath::as_str) == Some("usr/lib/apk") {
        return Ok(());
    }
    let path = filesystem.follow_parents("lib/apk")?;
    match filesystem.entry(&path) {
        None => {}
        // A base image of old has its database there, where it stays.
        Some((_, placed)) if placed.below => return Ok(()),
        Some(_) => return Err(GenerateError::LibApk),
    }
    filesystem.put("lib/apk", Node::symlink("../usr/lib/apk"))?;
    Ok(())
}

/// `/etc/apko.json`, the image file as JSON, where scanners look for it.
pub(crate) fn record_configuration(
    filesystem: &mut Filesystem,
    configuration: &ImageConfiguration,
) -> Result<(), GenerateError> {
    let mut text = oci::json::to_vec(configuration)?;
    text.push(b'\n');
    filesystem.put("etc/apko.json", Node::file(text).with_mode(0o444))?;
    Ok(())
}

/// Certificates of the image file and of packages that provide them: files of their own, and
/// appended to the bundles there are. Every bundle gets its SHA-256 in a file beside it.
pub(crate) fn certificates(
    filesystem: &mut Filesystem,
    certificates: Option<&Certificates>,
    packages: &[PackageInfo],
) -> Result<(), GenerateError> {
    let mut added: Vec<(String, Certificate)> = Vec::new();
    for entry in certificates.iter().flat_map(|it| &it.additional) {
        let certificate = Certificate::only(&entry.content)
            .ok_or_else(|| GenerateError::Certificate(entry.name.clone()))?;
        let name = format!("{}-{}", entry.name, Digest::of(&certificate.der).hex());
        filesystem.put(
            &format!("{CERTIFICATES}/{name}.crt"),
            Node::file(certificate.pem().into_bytes()),
        )?;
        added.push((name, certificate));
    }
    let providers: Vec<&str> = certificates
        .iter()
        .flat_map(|it| &it.providers)
        .map(String::as_str)
        .collect();
    let provides = |package: &PackageInfo| {
        package
            .provides
            .iter()
            .any(|provided| providers.contains(&provided.to_string().as_str()))
    };
    let brought: Vec<TreePath> = filesystem
        .iter()
        .filter(|(path, placed)| {
            let text = path.as_str();
            text.starts_with(CERTIFICATES)
                && (text.ends_with(".crt") || text.ends_with(".pem"))
                && placed
                    .owner
                    .and_then(|owner| packages.get(owner))
                    .is_some_and(provides)
        })
        .map(|(path, _)| path.clone())
        .collect();
    for path in brought {
        let bytes = filesystem.read(path.as_str())?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        // What isn't exactly one certificate is passed over, as apko does.
        if let Some(certificate) = Certificate::only(&text) {
            let name = format!("pkg-{}", Digest::of(&certificate.der).hex());
            added.push((name, certificate));
        }
    }
    for bundle in BUNDLES {
        let Some(mut bytes) = filesystem.read(bundle)? else {
            continue;
        };
        if !added.is_empty() {
            for (_, certificate) in &added {
                bytes.extend_from_slice(certificate.pem().as_bytes());
                bytes.push(b'\n');
            }
            filesystem.write(bundle, bytes, 0o644)?;
        }
    }
    if let (Some(bytes), false) = (filesystem.read(JAVA_TRUST_STORE)?, added.is_empty()) {
        let certificates: Vec<(String, Vec<u8>)> = added
            .into_iter()
            .map(|(name, certificate)| (name, certificate.der))
            .collect();
        let bytes = truststore::add(&bytes, &certificates, 0)?;
        filesystem.write(JAVA_TRUST_STORE, bytes, 0o644)?;
    }
    for store in BUNDLES.into_iter().chain([JAVA_TRUST_STORE]) {
        let Some(bytes) = filesystem.read(store)? else {
            continue;
        };
        let (folder, name) = store.rsplit_once('/').unwrap_or(("", store));
        let line = format!("{}  {name}\n", Digest::of(&bytes).hex());
        let node = Node::file(line.into_bytes()).with_mode(0o444);
        filesystem.put(&format!("{folder}/.{name}.sha256"), node)?;
    }
    Ok(())
}

/// The services that s6 supervises: one folder of `/sv` each.
pub(crate) fn services(
    filesystem: &mut Filesystem,
    entrypoint: &Entrypoint,
) -> Result<(), FilesystemError> {
    for (name, command) in &entrypoint.services {
        let script = format!("#!/bin/execlineb\n{command}\n");
        let node = Node::file(script.into_bytes()).with_mode(0o755);
        filesystem.put(&format!("sv/{name}/run"), node)?;
    }
    Ok(())
}

/// The names by which busybox's programs are called, as the package that brings it lists them in
/// `/etc/busybox-paths.d`, or as the program says itself where there is no list. Names that packages
/// bring themselves stay.
pub(crate) fn busybox_links(filesystem: &mut Filesystem) -> Result<(), FilesystemError> {
    let exists = filesystem
        .follow(BUSYBOX)?
        .is_some_and(|path| filesystem.node(&path).is_some());
    if !exists {
        return Ok(());
    }
    let lists: Vec<TreePath> = match filesystem.follow("etc/busybox-paths.d")? {
        Some(folder) => filesystem.beneath(&folder),
        None => Vec::new(),
    };
    let mut links: Vec<String> = Vec::new();
    if lists.is_empty() {
        let program = filesystem.read(BUSYBOX)?.unwrap_or_default();
        links = crate::busybox::links(&program);
    }
    for list in lists {
        let bytes = filesystem.read(list.as_str())?.unwrap_or_default();
        links.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
    }
    for link in links {
        let link = link.trim().trim_start_matches('/');
        if link.is_empty() || link == BUSYBOX {
            continue;
        }
        let path = filesystem.follow_parents(link)?;
        if filesystem.node(&path).is_none() {
            filesystem.put(link, Node::symlink("/bin/busybox"))?;
        }
    }
    Ok(())
}

/// glibc's cache of libraries, where `/etc/ld.so.conf` asks for one and no package brings it.
pub(crate) fn cache_libraries(filesystem: &mut Filesystem) -> Result<(), GenerateError> {
    let there = filesystem.follow("etc/ld.so.cache")?;
    let is_brought = there
        .and_then(|path| filesystem.entry(&path))
        .is_some_and(|(_, placed)| placed.owner.is_some());
    if is_brought || filesystem.read("etc/ld.so.conf")?.is_none() {
        return Ok(());
    }
    let cache = loader_cache::build(&*filesystem);
    filesystem.write("etc/ld.so.cache", cache, 0o644)?;
    Ok(())
}

impl Files for Filesystem {
    fn text(&self, path: &str) -> Option<String> {
        let bytes = self.read(path).ok()??;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(Some(folder)) = self.follow(folder) else {
            return Vec::new();
        };
        let paths = self.beneath(&folder).into_iter();
        paths
            .filter(|path| path.parent().as_ref() == Some(&folder))
            .map(|path| path.file_name().to_owned())
            .collect()
    }

    fn real(&self, folder: &str) -> Option<String> {
        let path = self.follow(folder).ok()??;
        self.node(&path)?.is_directory().then(|| path.to_string())
    }

    fn candidate(&self, folder: &str, name: &str) -> Option<Candidate> {
        let path = format!("{folder}/{name}");
        let itself = self.follow_parents(&path).ok()?;
        let mut real = self.follow(&path).ok()??;
        let is_link = matches!(self.node(&itself)?.kind, NodeKind::Symlink { .. });
        let link = is_link.then(|| real.file_name().to_owned());
        if let NodeKind::HardLink { target } = &self.node(&real)?.kind {
            real = target.clone();
        }
        match &self.node(&real)?.kind {
            NodeKind::File { content, .. } => Some(Candidate {
                name: name.to_owned(),
                link,
                content: content.clone(),
            }),
            _ => None,
        }
    }
}

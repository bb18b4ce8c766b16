//! What an image has beside its packages' files: the directories and devices every image has,
//! certificates, services, busybox's links, and apk's and apko's records of how it was made.

use apk::package::PackageInfo;
use archive::tree::{Node, NodeKind, TreePath};
use base::Digest;

use crate::configuration::{Certificates, Entrypoint, ImageConfiguration};
use crate::filesystem::{Filesystem, FilesystemError};

/// Something that an image has beside its packages' files can't be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A file can't be changed.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// Java's trust store needs changing.
    #[error(
        "`certificates` can't be added to /{0}: polpo doesn't write Java's format; leave out the package that brings it, or the certificates"
    )]
    JavaTrustStore(&'static str),
    /// /lib/apk is in use.
    #[error(
        "/lib/apk has to be a link to ../usr/lib/apk, but packages have files there; build them with /usr/lib/apk"
    )]
    LibApk,
    /// The configuration can't be written as JSON.
    #[error("can't write /etc/apko.json")]
    Json(#[from] serde_json::Error),
}

const BUNDLES: [&str; 3] = [
    "etc/ssl/certs/ca-certificates.crt",
    "var/lib/ecs/deps/execute-command/certs/tls-ca-bundle.pem",
    "kaniko/ssl/certs/ca-certificates.crt",
];
const JAVA_TRUST_STORE: &str = "etc/ssl/certs/java/cacerts";
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
    if filesystem.node(&path).is_some() {
        return Err(GenerateError::LibApk);
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
    let mut added: Vec<String> = Vec::new();
    for entry in certificates.iter().flat_map(|it| &it.additional) {
        let pem = pem_of(&entry.content);
        let fingerprint = Digest::of(&der_of(&pem)).hex();
        filesystem.put(
            &format!("{CERTIFICATES}/{}-{fingerprint}.crt", entry.name),
            Node::file(pem.clone().into_bytes()),
        )?;
        added.push(pem);
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
        if text.matches("-----BEGIN CERTIFICATE-----").count() == 1 {
            added.push(pem_of(&text));
        }
    }
    if !added.is_empty()
        && filesystem
            .follow(JAVA_TRUST_STORE)?
            .is_some_and(|path| filesystem.node(&path).is_some())
    {
        return Err(GenerateError::JavaTrustStore(JAVA_TRUST_STORE));
    }
    for bundle in BUNDLES {
        let Some(mut bytes) = filesystem.read(bundle)? else {
            continue;
        };
        if !added.is_empty() {
            for pem in &added {
                bytes.extend_from_slice(pem.as_bytes());
                bytes.push(b'\n');
            }
            filesystem.write(bundle, bytes, 0o644)?;
        }
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

/// The certificate alone, in lines without spaces at their ends.
fn pem_of(text: &str) -> String {
    let begin = text.find("-----BEGIN CERTIFICATE-----").unwrap_or(0);
    let mut pem = String::new();
    for line in text.get(begin..).unwrap_or_default().lines() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        pem.push_str(line);
        pem.push('\n');
        if line == "-----END CERTIFICATE-----" {
            break;
        }
    }
    pem
}

fn der_of(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap_or_default()
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
/// `/etc/busybox-paths.d`. Names that packages bring themselves stay.
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
    for list in lists {
        let bytes = filesystem.read(list.as_str())?.unwrap_or_default();
        for link in String::from_utf8_lossy(&bytes).lines() {
            let link = link.trim().trim_start_matches('/');
            if link.is_empty() || link == BUSYBOX {
                continue;
            }
            let path = filesystem.follow_parents(link)?;
            if filesystem.node(&path).is_none() {
                filesystem.put(link, Node::symlink("/bin/busybox"))?;
            }
        }
    }
    Ok(())
}

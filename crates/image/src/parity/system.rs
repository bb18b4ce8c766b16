//! What apko does to the files beside its packages', in its order (`pkg/build`).

use std::collections::BTreeMap;

use archive::tree::Content;
use base::{Digest, Epoch};

use super::ParityError;
use super::install::INSTALLED;
use super::pkginfo::PkgInfo;
use super::tree::{Kind, Tree};
use crate::build::Unpacked;
use crate::certificate::Certificate;
use crate::configuration::{
    Accounts, Certificates, ImageConfiguration, PathChange, PathChangeKind,
};
use crate::generate::{BUNDLES, JAVA_TRUST_STORE};
use crate::loader_cache::{self, Candidate, Files};
use crate::plan::ImagePlan;
use crate::truststore;

const CERTIFICATES: &str = "usr/local/share/ca-certificates";

/// The directories, files and devices that are there before any package.
pub(super) fn prepare(tree: &mut Tree, plan: &ImagePlan) -> Result<(), ParityError> {
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
        ("usr/lib", 0o755),
        ("usr/lib/apk", 0o755),
        ("usr/lib/apk/db", 0o755),
        ("usr/lib/apk/exec", 0o755),
        ("var/cache", 0o755),
        ("var/cache/apk", 0o755),
        ("var/cache/misc", 0o755),
    ] {
        tree.make_directory(path, mode)?;
    }
    tree.write("usr/lib/apk/db/lock", Vec::new(), 0o600)?;
    tree.write("usr/lib/apk/db/triggers", Vec::new(), 0o644)?;
    tree.write(INSTALLED, Vec::new(), 0o644)?;
    let arch = format!("{}\n", plan.arch.apk());
    tree.write("etc/apk/arch", arch.into_bytes(), 0o644)?;
    for (path, numbers, mode) in [
        ("dev/zero", (1, 5), 0o666),
        ("dev/urandom", (1, 9), 0o666),
        ("dev/null", (1, 3), 0o666),
        ("dev/random", (1, 8), 0o666),
        ("dev/console", (5, 1), 0o620),
    ] {
        tree.device(path, numbers, mode)?;
    }
    for (name, key) in plan.keyring.keys() {
        tree.write(
            &format!("etc/apk/keys/{name}"),
            key.to_pem().into_bytes(),
            0o644,
        )?;
    }
    Ok(())
}

/// The link by which older programs find apk's database.
pub(super) fn link_database(tree: &mut Tree, packages: &[String]) -> Result<(), ParityError> {
    let cleaned = |target: &str| {
        target
            .split('/')
            .filter(|part| !matches!(*part, "" | "." | ".."))
            .collect::<Vec<_>>()
            .join("/")
    };
    if tree.link_target("lib").map(cleaned).as_deref() == Some("usr/lib") {
        return Ok(());
    }
    if tree.exists("lib")?
        && tree.link_target("lib/apk").map(cleaned).as_deref() == Some("usr/lib/apk")
    {
        return Ok(());
    }
    if !tree.exists("lib")? {
        if packages.iter().any(|record| {
            record.lines().any(|line| {
                line.strip_prefix("p:")
                    .is_some_and(|names| names.split(' ').any(|name| name == "merged-lib"))
            })
        }) {
            return tree.symlink("usr/lib", "lib");
        }
        tree.make_directory("lib", 0o755)?;
    }
    if tree.exists("lib/apk")? {
        for name in tree.names("lib/apk")? {
            let below = format!("lib/apk/{name}");
            if !tree.get(tree.lookup(&below)?).is_directory() || !tree.names(&below)?.is_empty() {
                return Err(ParityError::Database(below));
            }
            tree.remove(&below)?;
        }
        tree.remove("lib/apk")?;
    }
    tree.symlink("../usr/lib/apk", "lib/apk")
}

/// The lines of a file of accounts, each of `count` fields.
fn table(tree: &Tree, path: &str, count: usize) -> Result<Vec<Vec<String>>, ParityError> {
    let bytes = tree.read(path)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines()
        .map(|line| {
            let fields: Vec<String> = line.trim().split(':').map(str::to_owned).collect();
            if fields.len() == count {
                Ok(fields)
            } else {
                Err(ParityError::Line {
                    path: path.to_owned(),
                    line: line.to_owned(),
                    count,
                })
            }
        })
        .collect()
}

fn lines(table: &[Vec<String>]) -> Vec<u8> {
    let lines = table.iter().map(|fields| format!("{}\n", fields.join(":")));
    lines.collect::<String>().into_bytes()
}

/// Users, groups and homes. Gives what `run-as` becomes.
pub(super) fn add_accounts(tree: &mut Tree, accounts: &Accounts) -> Result<String, ParityError> {
    if !accounts.groups.is_empty() {
        let mut groups = table(tree, "etc/group", 4)?;
        groups.extend(accounts.groups.iter().map(|group| {
            vec![
                group.name.clone(),
                "x".to_owned(),
                group.gid.to_string(),
                group.members.join(","),
            ]
        }));
        tree.write("etc/group", lines(&groups), 0o644)?;
    }
    let mut users = table(tree, "etc/passwd", 7)?;
    users.extend(accounts.users.iter().map(|user| {
        vec![
            user.name.clone(),
            "x".to_owned(),
            user.uid.to_string(),
            user.group().to_string(),
            "Account created by apko".to_owned(),
            user.home.clone(),
            user.shell().to_owned(),
        ]
    }));
    for user in &users {
        let [_, _, uid, gid, _, home, ..] = user.as_slice() else {
            continue;
        };
        if home == "/dev/null" || tree.exists(home)? {
            continue;
        }
        let parent = home
            .trim_end_matches('/')
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent);
        tree.make_directories(parent, 0o755)?;
        tree.make_directory(home, 0o700)?;
        let owner = (uid.parse().unwrap_or(0), gid.parse().unwrap_or(0));
        tree.change(home, |node| (node.uid, node.gid) = owner)?;
    }
    tree.write("etc/passwd", lines(&users), 0o644)?;
    if !accounts.users.is_empty() {
        let mut shadow = table(tree, "etc/shadow", 9)?;
        // The day of the last change is lost.
        for line in &mut shadow {
            if let Some(field) = line.get_mut(2) {
                field.clear();
            }
        }
        for user in &accounts.users {
            let mut line = vec![user.name.clone(), "!".to_owned()];
            line.resize(9, String::new());
            shadow.push(line);
        }
        tree.write("etc/shadow", lines(&shadow), 0o640)?;
    }
    let found = users
        .iter()
        .find(|user| user.first() == Some(&accounts.run_as));
    Ok(found
        .and_then(|user| user.get(2).cloned())
        .unwrap_or_else(|| accounts.run_as.clone()))
}

type NamesByNumber = BTreeMap<u64, String>;

/// The names of users and groups by number, as far as their files can be read.
pub(super) fn names(tree: &Tree) -> Result<(NamesByNumber, NamesByNumber), ParityError> {
    let read = |path: &str, count: usize| -> Result<BTreeMap<u64, String>, ParityError> {
        let bytes = tree.read(path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut names = BTreeMap::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let number = fields.get(2).and_then(|field| field.parse().ok());
            let (Some(name), Some(number), true) = (fields.first(), number, fields.len() == count)
            else {
                break;
            };
            names.insert(number, (*name).to_owned());
        }
        Ok(names)
    };
    Ok((read("etc/passwd", 7)?, read("etc/group", 4)?))
}

pub(super) fn change_paths(tree: &mut Tree, changes: &[PathChange]) -> Result<(), ParityError> {
    for change in changes {
        let path = change.path.as_str();
        let mode = change.permissions.unwrap_or(0);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        match &change.kind {
            PathChangeKind::Directory => tree.make_directories(path, mode)?,
            PathChangeKind::EmptyFile => {
                tree.make_directories(parent, 0o755)?;
                tree.write(path, Vec::new(), 0o644)?;
            }
            PathChangeKind::Hardlink { source } => {
                tree.make_directories(parent, 0o755)?;
                if tree.entry(path)?.is_some() {
                    tree.remove(path)?;
                }
                tree.link(source.as_str(), path, false)?;
            }
            PathChangeKind::Symlink { source } => {
                tree.make_directories(parent, 0o755)?;
                tree.symlink(source, path)?;
            }
            PathChangeKind::Permissions => {}
        }
        let paths = if change.recursive {
            tree.beneath(path)?
        } else {
            vec![path.to_owned()]
        };
        for path in paths {
            tree.change(&path, |node| {
                node.mode = mode;
                if change.uid.is_some() || change.gid.is_some() {
                    node.uid = change.uid.unwrap_or(0).into();
                    node.gid = change.gid.unwrap_or(0).into();
                }
            })?;
        }
    }
    Ok(())
}

pub(super) fn add_certificates(
    tree: &mut Tree,
    certificates: Option<&Certificates>,
    packages: &[Unpacked],
    time: Epoch,
) -> Result<(), ParityError> {
    let mut added: Vec<(String, Certificate)> = Vec::new();
    for entry in certificates.iter().flat_map(|it| &it.additional) {
        let certificate = Certificate::only(&entry.content)
            .ok_or_else(|| ParityError::Certificate(entry.name.clone()))?;
        let name = format!("{}-{}", entry.name, Digest::of(&certificate.der).hex());
        let path = format!("{CERTIFICATES}/{name}.crt");
        tree.make_directories(CERTIFICATES, 0o755)?;
        tree.write(&path, certificate.pem().into_bytes(), 0o644)?;
        tree.change(&path, |node| node.mtime = time.0)?;
        added.push((name, certificate));
    }
    let mut brought: Vec<&str> = Vec::new();
    for package in packages {
        let info = PkgInfo::parse(package.package.pkginfo());
        let providers = certificates.iter().flat_map(|it| &it.providers);
        if !info
            .list("provides")
            .any(|name| providers.clone().any(|other| other == name))
        {
            continue;
        }
        let entries = package.stored.run.manifest.entries.iter();
        brought.extend(
            entries
                .filter(|entry| !entry.is_directory())
                .map(|entry| entry.path.as_str())
                .filter(|path| {
                    path.starts_with(&format!("{CERTIFICATES}/"))
                        && (path.ends_with(".crt") || path.ends_with(".pem"))
                }),
        );
    }
    brought.sort_unstable();
    for path in brought {
        let bytes = tree.read(path)?.unwrap_or_default();
        if let Some(certificate) = Certificate::only(&String::from_utf8_lossy(&bytes)) {
            added.push((
                format!("pkg-{}", Digest::of(&certificate.der).hex()),
                certificate,
            ));
        }
    }
    if !added.is_empty() {
        for bundle in BUNDLES {
            let Some(mut bytes) = tree.read(bundle)? else {
                continue;
            };
            for (_, certificate) in &added {
                bytes.extend(certificate.pem().into_bytes());
                bytes.push(b'\n');
            }
            tree.write(bundle, bytes, 0o644)?;
            tree.change(bundle, |node| node.mtime = time.0)?;
        }
        if let Some(bytes) = tree.read(JAVA_TRUST_STORE)? {
            let certificates: Vec<(String, Vec<u8>)> = added
                .into_iter()
                .map(|(name, certificate)| (name, certificate.der))
                .collect();
            let bytes = truststore::add(&bytes, &certificates, time.0.saturating_mul(1000))
                .map_err(ParityError::TrustStore)?;
            tree.write(JAVA_TRUST_STORE, bytes, 0o644)?;
            tree.change(JAVA_TRUST_STORE, |node| node.mtime = time.0)?;
        }
    }
    for bundle in BUNDLES.into_iter().chain([JAVA_TRUST_STORE]) {
        let Some(bytes) = tree.read(bundle)? else {
            continue;
        };
        let (folder, name) = bundle.rsplit_once('/').unwrap_or(("", bundle));
        let beside = format!("{folder}/.{name}.sha256");
        let line = format!("{}  {name}\n", Digest::of(&bytes).hex());
        tree.write(&beside, line.into_bytes(), 0o444)?;
        tree.change(&beside, |node| node.mtime = time.0)?;
    }
    Ok(())
}

pub(super) fn add_keys(
    tree: &mut Tree,
    configuration: &ImageConfiguration,
    time: Epoch,
) -> Result<(), ParityError> {
    for entry in &configuration.contents.runtime_keyring {
        let path = format!("etc/apk/keys/{}", entry.name);
        if tree.entry(&path)?.is_some() {
            return Err(ParityError::Key(entry.name.clone()));
        }
        let key = key::PublicKey::from_pem(&entry.content)
            .map_err(|_| ParityError::Key(entry.name.clone()))?;
        tree.write(&path, key.to_pem().into_bytes(), 0o644)?;
        tree.change(&path, |node| node.mtime = time.0)?;
    }
    Ok(())
}

pub(super) fn add_services(
    tree: &mut Tree,
    services: &BTreeMap<String, String>,
) -> Result<(), ParityError> {
    for (name, command) in services {
        tree.make_directories(&format!("sv/{name}"), 0o777)?;
        let script = format!("#!/bin/execlineb\n{command}\n");
        tree.write(&format!("sv/{name}/run"), script.into_bytes(), 0o755)?;
    }
    Ok(())
}

/// busybox's links, `links` being those that no list in the image names.
pub(super) fn link_busybox(tree: &mut Tree, packages: &[Unpacked]) -> Result<(), ParityError> {
    const BUSYBOX: &str = "/bin/busybox";
    if !tree.exists(BUSYBOX)? {
        return Ok(());
    }
    let time = tree.get(tree.lookup(BUSYBOX)?).mtime;
    let name = packages
        .iter()
        .find(|package| {
            package.info.name == "busybox"
                || PkgInfo::parse(package.package.pkginfo())
                    .list("provides")
                    .any(|name| name.contains("busybox"))
        })
        .map(|package| package.info.name.clone())
        .ok_or(ParityError::Busybox)?;
    let links = match tree.read(&format!("etc/busybox-paths.d/{name}"))? {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => {
            let bytes = tree.read(BUSYBOX)?.unwrap_or_default();
            crate::busybox::links(&bytes).join("\n")
        }
    };
    for link in links.split('\n') {
        let Some((folder, _)) = link.rsplit_once('/').filter(|_| link != BUSYBOX) else {
            continue;
        };
        tree.make_directories(folder, 0o755)?;
        if !folder.is_empty() {
            tree.change(folder, |node| node.mtime = time)?;
        }
        if tree.entry(link)?.is_none() {
            tree.symlink(BUSYBOX, link)?;
        }
    }
    Ok(())
}

pub(super) fn cache_libraries(tree: &mut Tree) -> Result<(), ParityError> {
    if !tree.exists("etc/ld.so.conf")? {
        return Ok(());
    }
    let bytes = loader_cache::build_as_apko(tree).map_err(ParityError::Library)?;
    tree.write("etc/ld.so.cache", bytes, 0o644)?;
    tree.change("etc/ld.so.cache", |node| node.mode = 0o644)
}

impl Files for Tree {
    fn text(&self, path: &str) -> Option<String> {
        let bytes = self.read(path).ok()??;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        Tree::names(self, folder).unwrap_or_default()
    }

    fn real(&self, folder: &str) -> Option<String> {
        self.lookup(folder).ok().map(|id| id.to_string())
    }

    fn candidate(&self, folder: &str, name: &str) -> Option<Candidate> {
        let path = format!("{folder}/{name}");
        let content: Content = match &self.get(self.lookup(&path).ok()?).kind {
            Kind::File { content, .. } => content.clone(),
            _ => return None,
        };
        let link = self
            .link_target(&path)
            .map(|target| target.rsplit('/').next().unwrap_or_default().to_owned());
        Some(Candidate {
            name: name.to_owned(),
            link,
            content,
        })
    }
}

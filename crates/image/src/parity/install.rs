//! Packages laid out and recorded as apko does it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use apk::dependency::Identity;
use apk::package::{Entry, EntryKind, PackageInfo};
use archive::tree::Content;
use archive::{Limits, tar};
use base::Epoch;

use super::ParityError;
use super::pkginfo::PkgInfo;
use super::tree::{Kind, Node, Tree};
use crate::build::Unpacked;

pub(super) const INSTALLED: &str = "usr/lib/apk/db/installed";
const SCRIPTS: &str = "usr/lib/apk/db/scripts.tar";
const TRIGGERS: &str = "usr/lib/apk/db/triggers";

/// Lays out the packages in this order and gives each one's record of the installed database.
pub(super) fn install(
    tree: &mut Tree,
    packages: &[Unpacked],
    scripts_time: Epoch,
) -> Result<Vec<String>, ParityError> {
    let infos: Vec<PkgInfo> = packages
        .iter()
        .map(|package| PkgInfo::parse(package.package.pkginfo()))
        .collect();
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    let mut triggers = String::new();
    let mut scripts = tar::Writer::new(Vec::new());
    for (index, package) in packages.iter().enumerate() {
        for (place, entry) in package.stored.run.manifest.entries.iter().enumerate() {
            let content = package.stored.content(place);
            if put(tree, entry, content, index, packages, &infos)?
                && matches!(entry.kind, EntryKind::File { .. })
            {
                owners.insert(entry.path.clone(), index);
            }
        }
        add_scripts(&mut scripts, package, scripts_time)?;
        if let (Some(info), Identity::Sha1(_)) = (infos.get(index), package.package.identity()) {
            for trigger in info.list("triggers") {
                let _ = writeln!(triggers, "{} {trigger}", package.package.identity());
            }
        }
    }
    tree.write(
        SCRIPTS,
        scripts.finish().map_err(ParityError::Scripts)?,
        0o644,
    )?;
    if !triggers.is_empty() {
        tree.write(TRIGGERS, triggers.into_bytes(), 0o644)?;
    }
    let mut records = Vec::new();
    for (index, (package, info)) in packages.iter().zip(&infos).enumerate() {
        let mut entries: Vec<&Entry> = package
            .stored
            .run
            .manifest
            .entries
            .iter()
            .filter(|entry| owners.get(&entry.path).is_none_or(|owner| *owner == index))
            .collect();
        sort(&mut entries);
        records.push(record(package, info, &entries));
    }
    Ok(records)
}

/// Whether the entry came to be.
fn put(
    tree: &mut Tree,
    entry: &Entry,
    content: Option<Content>,
    index: usize,
    packages: &[Unpacked],
    infos: &[PkgInfo],
) -> Result<bool, ParityError> {
    let path = entry.path.as_str();
    let kind = match &entry.kind {
        EntryKind::Directory => {
            tree.make_directories(path, entry.mode & 0o777)?;
            let xattrs = entry.xattrs.clone();
            tree.change(path, |node| {
                node.mtime = entry.mtime;
                node.xattrs.extend(xattrs);
            })?;
            return Ok(true);
        }
        EntryKind::HardLink { target } => {
            tree.link(target, path, true)?;
            return Ok(true);
        }
        EntryKind::Symlink { target } => {
            if tree.link_target(path) == Some(target.as_str()) {
                return Ok(false);
            }
            Kind::Symlink(target.clone())
        }
        EntryKind::File { size } => Kind::File {
            content: content.unwrap_or_else(|| Content::Bytes([].into())),
            size: *size,
        },
        _ => {
            return Err(ParityError::Kind(path.to_owned()));
        }
    };
    let mut node = Node::new(kind, entry.mode);
    node.mtime = entry.mtime;
    node.owner = Some(index);
    node.checksum = entry.checksum;
    let installed = match tree.entry(path)? {
        None => true,
        Some(there) => takes_over(tree.get(there), entry, path, index, packages, infos)?,
    };
    if installed {
        tree.replace(path, node)?;
    }
    if !entry.xattrs.is_empty() {
        let xattrs = entry.xattrs.clone();
        tree.change(path, |node| node.xattrs.extend(xattrs))?;
    }
    Ok(installed)
}

/// Whether the entry of `packages[index]` takes the place of what is there.
fn takes_over(
    there: &Node,
    entry: &Entry,
    path: &str,
    index: usize,
    packages: &[Unpacked],
    infos: &[PkgInfo],
) -> Result<bool, ParityError> {
    let conflict = |first: &str| ParityError::Conflict {
        path: path.to_owned(),
        first: first.to_owned(),
        second: title(packages.get(index)),
    };
    let Some(owner) = there.owner else {
        let same = match &there.kind {
            Kind::File { content, .. } => content
                .read()
                .is_ok_and(|bytes| entry.checksum == Some(Identity::Sha1(base::Sha1::of(&bytes)))),
            _ => false,
        };
        return if same {
            Ok(false)
        } else {
            Err(conflict("apko itself"))
        };
    };
    if there.checksum == entry.checksum {
        return Ok(false);
    }
    let (Some(first), Some(second)) = (packages.get(owner), packages.get(index)) else {
        return Ok(true);
    };
    let replaces = |one: usize, other: &PackageInfo| {
        infos
            .get(one)
            .is_some_and(|info| info.list("replaces").any(|term| term == other.name))
    };
    if replaces(owner, &second.info) {
        return Ok(false);
    }
    if first.info.origin == second.info.origin || replaces(index, &first.info) {
        return Ok(true);
    }
    Err(conflict(&title(Some(first))))
}

fn title(package: Option<&Unpacked>) -> String {
    package.map_or_else(String::new, |package| {
        format!("{} {}", package.info.name, package.info.version)
    })
}

/// Whatever of the control member can be run, named after the package.
fn add_scripts(
    scripts: &mut tar::Writer<Vec<u8>>,
    package: &Unpacked,
    time: Epoch,
) -> Result<(), ParityError> {
    let control = package.package.control();
    let failed = |source| ParityError::Control {
        package: title(Some(package)),
        source,
    };
    let content = archive::decompress::open(control, Limits::default())
        .map_err(|source| failed(tar::ReadError::Io(source)))?;
    let mut reader = tar::Reader::new(content, Limits::default()).ending(tar::End::Segment);
    while let Some(mut entry) = reader.next().map_err(failed)? {
        let mut header = entry.header().clone();
        if header.path == ".PKGINFO" || header.mode & 0o555 != 0o555 {
            continue;
        }
        header.path = format!(
            "{}-{}.{}{}",
            package.info.name,
            package.info.version,
            package.package.identity(),
            header.path
        );
        header.mtime = time.0;
        scripts
            .append(&header, &mut entry)
            .map_err(ParityError::Scripts)?;
    }
    Ok(())
}

/// Directories after the files beside them, each with what it holds; what lies in a directory that
/// the package doesn't have is left out.
fn sort(entries: &mut Vec<&Entry>) {
    entries.sort_by(|one, other| {
        let mut first = one.path.split('/').peekable();
        let mut second = other.path.split('/').peekable();
        loop {
            match (first.next(), second.next()) {
                (Some(a), Some(b)) => {
                    let a_is_directory = first.peek().is_some() || one.is_directory();
                    let b_is_directory = second.peek().is_some() || other.is_directory();
                    let last = first.peek().is_none() || second.peek().is_none();
                    if last && a_is_directory != b_is_directory {
                        return a_is_directory.cmp(&b_is_directory);
                    }
                    if a != b {
                        return a.cmp(b);
                    }
                }
                (a, b) => return a.is_some().cmp(&b.is_some()),
            }
        }
    });
    let directories: BTreeSet<String> = entries
        .iter()
        .filter(|entry| entry.is_directory())
        .map(|entry| entry.path.clone())
        .collect();
    entries.retain(|entry| {
        let mut parent = entry.path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            if !directories.contains(above) {
                return false;
            }
            parent = above;
        }
        true
    });
}

fn record(package: &Unpacked, info: &PkgInfo, entries: &[&Entry]) -> String {
    let mut text = String::new();
    let list = |key: &str| info.list(key).collect::<Vec<_>>().join(" ");
    for (letter, value) in [
        ('P', info.value("pkgname").to_owned()),
        ('V', info.value("pkgver").to_owned()),
        ('A', info.value("arch").to_owned()),
        ('L', info.value("license").to_owned()),
        ('T', info.value("pkgdesc").to_owned()),
        ('o', info.value("origin").to_owned()),
        ('m', info.value("maintainer").to_owned()),
        ('U', info.value("url").to_owned()),
        ('D', list("depend")),
        ('p', list("provides")),
    ] {
        let _ = writeln!(text, "{letter}:{value}");
    }
    if info.list("replaces").next().is_some() {
        let _ = writeln!(text, "r:{}", list("replaces"));
    }
    let number = |key: &str| info.value(key).parse::<u64>().unwrap_or(0);
    let _ = writeln!(text, "c:{}", info.value("commit"));
    let _ = writeln!(text, "i:[{}]", list("install_if"));
    let _ = writeln!(text, "t:{}", number("builddate"));
    let _ = writeln!(text, "S:{}", package.package.size());
    let _ = writeln!(text, "I:{}", number("size"));
    let _ = writeln!(text, "k:{}", number("provider_priority"));
    let _ = writeln!(text, "C:{}", package.package.identity());
    let mut in_root = true;
    for entry in entries {
        let (name, letter, usual) = if entry.is_directory() {
            let _ = writeln!(text, "F:{}", entry.path);
            in_root = false;
            ("", 'M', 0o755)
        } else {
            if in_root {
                text.push_str("F:\n");
                in_root = false;
            }
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            (name, 'a', 0o644)
        };
        if !name.is_empty() {
            let _ = writeln!(text, "R:{name}");
        }
        if (entry.mode, entry.uid, entry.gid) != (usual, 0, 0) {
            let _ = writeln!(
                text,
                "{letter}:{}:{}:{:04o}",
                entry.uid, entry.gid, entry.mode
            );
        }
        // Makers of packages record the checksum of a hard link's file with the link too.
        if let Some(checksum) = entry.checksum.filter(|_| !entry.is_directory()) {
            let _ = writeln!(text, "Z:{checksum}");
        }
    }
    text.push('\n');
    text
}

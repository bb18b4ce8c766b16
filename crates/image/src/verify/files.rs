use std::collections::{BTreeMap, BTreeSet};

use apk::package::{Entry, EntryKind as PackageKind, Manifest};
use archive::tar::{EntryKind, Header};
use base::Digest;

use super::{Checked, Finding};
use crate::contents::{Files, ImageFile};

/// Files of packages that accounts and certificates of an image file add to.
const AMENDED: [&str; 7] = [
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/ssl/certs/ca-certificates.crt",
    "var/lib/ecs/deps/execute-command/certs/tls-ca-bundle.pem",
    "kaniko/ssl/certs/ca-certificates.crt",
    "etc/ssl/certs/java/cacerts",
];

const SET_ID: u32 = 0o6000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Whose contents are checked elsewhere (apk's database is read as a whole), or are none.
enum Usual {
    CharDevice(u32, u32),
    Symlink(&'static str),
    Empty,
    File,
}

/// What every image has where no package brings it, with its mode; all of it is root's.
const USUAL: [(&str, Usual, u32); 13] = [
    ("dev/console", Usual::CharDevice(5, 1), 0o620),
    ("dev/null", Usual::CharDevice(1, 3), 0o666),
    ("dev/random", Usual::CharDevice(1, 8), 0o666),
    ("dev/urandom", Usual::CharDevice(1, 9), 0o666),
    ("dev/zero", Usual::CharDevice(1, 5), 0o666),
    ("lib/apk", Usual::Symlink("../usr/lib/apk"), 0o777),
    ("etc/apk/arch", Usual::File, 0o644),
    ("etc/apk/repositories", Usual::File, 0o644),
    ("etc/apk/world", Usual::File, 0o644),
    ("usr/lib/apk/db/installed", Usual::File, 0o644),
    ("usr/lib/apk/db/lock", Usual::Empty, 0o600),
    ("usr/lib/apk/db/scripts.tar", Usual::File, 0o644),
    ("usr/lib/apk/db/triggers", Usual::File, 0o644),
];

/// The directories that every image has, where no package brings them; all others that polpo makes
/// are 0755 and root's unless the image file says otherwise.
const DIRECTORIES: [(&str, u32); 2] = [("tmp", 0o1777), ("proc", 0o555)];

/// What the image file makes with contents, which only it could prove: where, and what it is.
fn made_by_image_file(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["sv", _, "run"] => Some("a service"),
        ["usr", "local", "share", "ca-certificates", name] if name.ends_with(".crt") => {
            Some("a certificate")
        }
        ["etc", "passwd" | "group" | "shadow"] => Some("a table of accounts"),
        ["etc", "apko.json"] => Some("what the image file says of itself"),
        ["etc", "ld.so.cache"] => Some("the cache of the image's libraries"),
        ["etc", "ssl", "certs", ".ca-certificates.crt.sha256"]
        | ["etc", "ssl", "certs", "java", ".cacerts.sha256"]
        | ["kaniko", "ssl", "certs", ".ca-certificates.crt.sha256"]
        | [
            "var",
            "lib",
            "ecs",
            "deps",
            "execute-command",
            "certs",
            ".tls-ca-bundle.pem.sha256",
        ] => Some("a checksum"),
        _ => None,
    }
}

/// Whether it is a key that apk trusts: they are checked as such elsewhere.
fn is_key(path: &str) -> bool {
    path.strip_prefix("etc/apk/keys/")
        .is_some_and(|name| !name.contains('/') && name.ends_with(".pub"))
}

/// The record of what [`check`] found. What it says comes of what [`key`] is of alone, and of its code: when
/// it looks at more, the record has another name.
pub(super) const FOUND: &str = "files-found";

/// What [`check`] goes by, of layers with the key `layers`: the database is in them.
pub(super) fn key(layers: &Digest, checked: &[Checked<'_>]) -> Digest {
    let packages = checked.iter().map(|package| {
        let info = package.info();
        (&info.name, &info.version, &package.original)
    });
    let words: Vec<_> = packages.collect();
    Digest::of(format!("{layers} {words:?}").as_bytes())
}

/// Checks every file of the image against the package that the database says it is from. `manifests` are
/// those of the packages whose original is known.
pub(super) fn check(
    files: &Files,
    checked: &[Checked<'_>],
    manifests: &BTreeMap<Digest, Manifest>,
) -> Finding {
    let mut parts = Vec::new();
    let mut owned: BTreeSet<String> = BTreeSet::new();
    let mut directories: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    let mut equal = 0_u64;
    for package in checked {
        let info = package.info();
        let title = format!("{} {}", info.name, info.version);
        let originals: BTreeMap<&str, &Entry> = package
            .original
            .iter()
            .filter_map(|digest| manifests.get(digest))
            .flat_map(|manifest| &manifest.entries)
            .map(|entry| (entry.path.as_str(), entry))
            .collect();
        let mut listed: BTreeSet<String> = BTreeSet::new();
        for directory in &package.installed.directories {
            for file in &directory.files {
                let path = if directory.path.is_empty() {
                    file.name.clone()
                } else {
                    format!("{}/{}", directory.path, file.name)
                };
                listed.insert(path.clone());
                // Without the original, the package itself was found false already.
                if package.original.is_none() {
                    continue;
                }
                let original = originals.get(path.as_str());
                let recorded = original.and_then(|entry| entry.recorded());
                if file.checksum != recorded {
                    parts.push(Finding::failed(format!(
                        "/{path} of {title} has another checksum in the installed database"
                    )));
                }
                match compare(&path, &originals, files.get(&path)) {
                    Ok(changes) if changes.is_empty() => equal += 1,
                    Ok(changes) => {
                        let changes = changes.join(" and ");
                        parts.push(Finding::unproven(format!("/{path} of {title} {changes}")));
                    }
                    Err(reason) => {
                        parts.push(Finding::failed(format!("/{path} of {title} {reason}")));
                    }
                }
            }
        }
        for entry in originals.values() {
            if entry.is_directory() {
                directories.entry(&entry.path).or_default().push(entry);
            } else if !files.contains_key(&entry.path) && !listed.contains(&entry.path) {
                // What the package has and the database doesn't: another package must have it.
                parts.push(Finding::failed(format!(
                    "/{} of {title} is missing",
                    entry.path
                )));
            }
        }
        owned.extend(listed);
    }
    for path in directories.keys() {
        match files.get(*path).map(|file| &file.header.kind) {
            Some(EntryKind::Directory) => {}
            // A link to where another package has its directory is compared with its own package.
            Some(EntryKind::Symlink { .. }) if owned.contains(*path) => {}
            found => parts.push(Finding::failed(format!(
                "/{path}, a directory of a package, is {}",
                found.map_or("missing".to_owned(), described)
            ))),
        }
    }
    let mut made = 0_u64;
    let mut others = Vec::new();
    for (path, file) in files {
        if file.header.kind == EntryKind::Directory {
            let brought = directories.get(path.as_str()).map(Vec::as_slice);
            others.extend(directory(path, &file.header, brought.unwrap_or_default()));
            continue;
        }
        if let Err(reason) = hard_link(file, files) {
            parts.push(Finding::failed(format!("/{path} {reason}")));
        }
        if owned.contains(path) {
            continue;
        }
        let finding = unowned(path, &file.header);
        match finding {
            None => made += 1,
            Some(finding) => others.push(finding),
        }
    }
    let failed = |finding: &Finding| finding.standing == super::Standing::Failed;
    let (wrong, others): (Vec<Finding>, Vec<Finding>) = others.into_iter().partition(failed);
    parts.extend(wrong);
    parts.insert(
        0,
        Finding::proven(format!("{equal} files are as their packages have them")),
    );
    if made > 0 {
        parts.push(Finding::proven(format!(
            "{made} files and devices are those that every image has"
        )));
    }
    if !others.is_empty() {
        parts.push(Finding::group(
            format!("{} entries are made by the image file", others.len()),
            others,
        ));
    }
    Finding::group("the files of the layers".to_owned(), parts)
}

/// What is to be said of an entry, no directory, that no package has; nothing if every image has it.
fn unowned(path: &str, header: &Header) -> Option<Finding> {
    if header.mode & SET_ID != 0 && !matches!(header.kind, EntryKind::Symlink { .. }) {
        return Some(Finding::failed(format!(
            "/{path} is no package's and runs as its owner or group: its mode is {:o}",
            header.mode
        )));
    }
    if !header.xattrs.is_empty() {
        let names: Vec<&str> = header.xattrs.keys().map(String::as_str).collect();
        return Some(Finding::failed(format!(
            "/{path} is no package's and has the extended attributes {}",
            names.join(", ")
        )));
    }
    if let Some((_, usual, mode)) = USUAL.iter().find(|(known, _, _)| *known == path) {
        let same = match (usual, &header.kind) {
            (Usual::CharDevice(major, minor), EntryKind::CharDevice { major: a, minor: b }) => {
                (major, minor) == (a, b)
            }
            (Usual::Symlink(target), EntryKind::Symlink { target: found }) => target == found,
            (Usual::Empty, EntryKind::File { size: 0 }) | (Usual::File, EntryKind::File { .. }) => {
                true
            }
            _ => false,
        };
        if !same {
            return Some(Finding::failed(format!(
                "/{path} is {}, not what every image has there",
                described(&header.kind)
            )));
        }
        return as_made(path, header, *mode);
    }
    if is_key(path) && matches!(header.kind, EntryKind::File { .. }) {
        return as_made(path, header, 0o644);
    }
    let others = match &header.kind {
        EntryKind::File { .. } => match made_by_image_file(path) {
            Some(what) => format!("/{path} is {what}"),
            None if header.kind.size() == 0 => format!("/{path} is an empty file"),
            None => {
                return Some(Finding::failed(format!(
                    "/{path} is no package's, and polpo makes no such file"
                )));
            }
        },
        EntryKind::Symlink { .. } | EntryKind::HardLink { .. } => {
            format!("/{path} is {}", described(&header.kind))
        }
        kind => {
            return Some(Finding::failed(format!(
                "/{path} is {}: it is no package's, and no image file makes such",
                described(kind)
            )));
        }
    };
    Some(Finding::unproven(others))
}

/// Nothing if mode and owner are as polpo makes it: an image file may change them.
fn as_made(path: &str, header: &Header, mode: u32) -> Option<Finding> {
    let is_link = matches!(header.kind, EntryKind::Symlink { .. });
    if (is_link || header.mode == mode) && (header.uid, header.gid) == (0, 0) {
        return None;
    }
    Some(Finding::unproven(format!(
        "/{path} has mode {:o} and is owned by {}:{}",
        header.mode, header.uid, header.gid
    )))
}

fn described(kind: &EntryKind) -> String {
    match kind {
        EntryKind::Symlink { target } => format!("a symbolic link to {target}"),
        EntryKind::HardLink { target } => format!("another name of /{target}"),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            format!("a {} {major}:{minor}", kind.words())
        }
        kind => format!("a {}", kind.words()),
    }
}

/// What is to be said of a directory; `brought` are those that packages have there.
fn directory(path: &str, found: &Header, brought: &[&Entry]) -> Option<Finding> {
    let usual = DIRECTORIES
        .iter()
        .find(|(known, _)| *known == path)
        .map_or(0o755, |(_, mode)| *mode);
    let expected: Vec<(u32, u64, u64)> = match brought {
        [] => vec![(usual, 0, 0)],
        // The first package's is kept, and which that was nobody says.
        brought => brought
            .iter()
            .map(|entry| (entry.mode, entry.uid, entry.gid))
            .collect(),
    };
    let shown = if path == "." { "" } else { path };
    if !found.xattrs.is_empty() && brought.iter().all(|entry| entry.xattrs != found.xattrs) {
        return Some(Finding::failed(format!(
            "/{shown} is a directory with extended attributes that no package gives it"
        )));
    }
    if expected.contains(&(found.mode, found.uid, found.gid)) {
        return None;
    }
    let known = expected.iter().fold(0, |known, (mode, _, _)| known | mode);
    let message = format!(
        "/{shown} is a directory of mode {:o}, owned by {}:{}",
        found.mode, found.uid, found.gid
    );
    let added = found.mode & !known;
    // A package's directory that others may write to is one whose files others may replace.
    if added & SET_ID != 0 || !brought.is_empty() && added & WRITABLE_BY_OTHERS != 0 {
        return Some(Finding::failed(format!(
            "{message}, which gives more rights than the {known:o} it should have"
        )));
    }
    Some(Finding::unproven(message))
}

/// A hard link has to name a file that is still the one it named, with its mode and owner: some
/// programs give the file those of the link.
fn hard_link(link: &ImageFile, files: &Files) -> Result<(), String> {
    let EntryKind::HardLink { target } = &link.header.kind else {
        return Ok(());
    };
    let named = files.get(target).filter(|file| {
        matches!(
            file.header.kind,
            EntryKind::File { .. } | EntryKind::HardLink { .. }
        )
    });
    let Some(named) = named else {
        return Err(format!("is another name of /{target}, which is no file"));
    };
    if link.checksum.is_none() || link.checksum != named.checksum {
        return Err(format!(
            "is another name of an earlier /{target}, which was replaced"
        ));
    }
    let rights = |header: &Header| (header.mode, header.uid, header.gid);
    if rights(&link.header) != rights(&named.header) {
        return Err(format!(
            "is another name of /{target}, but with another mode or owner"
        ));
    }
    let added = link
        .header
        .xattrs
        .iter()
        .any(|(name, value)| named.header.xattrs.get(name) != Some(value));
    if added {
        return Err(format!(
            "is another name of /{target}, but with other extended attributes"
        ));
    }
    Ok(())
}

/// In what the entry at `path` differs as an image file may have changed it; else an error.
fn compare(
    path: &str,
    originals: &BTreeMap<&str, &Entry>,
    found: Option<&ImageFile>,
) -> Result<Vec<String>, String> {
    let original = originals
        .get(path)
        .ok_or("is listed as the package's, which has no such file")?;
    let found = found.ok_or("is missing")?;
    let header = &found.header;
    let same_kind = match (&original.kind, &header.kind) {
        // Which of the names of one file is the file doesn't matter.
        (
            PackageKind::File { .. } | PackageKind::HardLink { .. },
            EntryKind::File { .. } | EntryKind::HardLink { .. },
        )
        | (PackageKind::Symlink { .. }, EntryKind::Symlink { .. })
        | (PackageKind::Fifo, EntryKind::Fifo) => true,
        (
            PackageKind::CharDevice { major, minor },
            EntryKind::CharDevice { major: a, minor: b },
        )
        | (
            PackageKind::BlockDevice { major, minor },
            EntryKind::BlockDevice { major: a, minor: b },
        ) => (major, minor) == (a, b),
        _ => false,
    };
    if !same_kind {
        return Err(format!(
            "is another {} than in its package",
            header.kind.words()
        ));
    }
    let same_size = match (&original.kind, &header.kind) {
        (PackageKind::File { size }, EntryKind::File { size: other }) => size == other,
        (PackageKind::Symlink { target }, EntryKind::Symlink { target: other }) => target == other,
        _ => true,
    };
    let mut changes = Vec::new();
    let same_content = match (&original.checksum, &found.checksum) {
        (Some(original), Some(found)) => found.is(original),
        (None, None) => true,
        _ => false,
    };
    if !same_size || !same_content {
        if !(AMENDED.contains(&path) && matches!(header.kind, EntryKind::File { .. })) {
            return Err("has other contents than in its package".to_owned());
        }
        changes.push("was changed by the image file".to_owned());
    }
    // A link's file may carry the attributes for all its names.
    let named = match &original.kind {
        PackageKind::HardLink { target } => originals.get(target.as_str()).copied(),
        _ => None,
    };
    let expected = [Some(*original), named];
    if !expected
        .iter()
        .flatten()
        .any(|entry| entry.xattrs == header.xattrs)
    {
        return Err("has other extended attributes than in its package".to_owned());
    }
    if matches!(header.kind, EntryKind::Symlink { .. }) {
        return Ok(changes);
    }
    if header.mode != original.mode {
        let change = format!("has mode {:o} instead of {:o}", header.mode, original.mode);
        if header.mode & !original.mode & (SET_ID | WRITABLE_BY_OTHERS) != 0 {
            return Err(change);
        }
        changes.push(change);
    }
    if (header.uid, header.gid) != (original.uid, original.gid) {
        let change = format!(
            "is owned by {}:{} instead of {}:{}",
            header.uid, header.gid, original.uid, original.gid
        );
        // It would run with root's rights instead of somebody's.
        if (header.mode & 0o4000 != 0 && header.uid == 0 && original.uid != 0)
            || (header.mode & 0o2000 != 0 && header.gid == 0 && original.gid != 0)
        {
            return Err(change);
        }
        changes.push(change);
    }
    Ok(changes)
}

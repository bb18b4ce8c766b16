use std::collections::BTreeMap;

use apk::dependency::Identity;
use apk::package::{Entry, EntryKind as PackageKind};
use archive::tar::EntryKind;
use base::Sha1;

use super::{Checked, Finding};
use crate::contents::{Contents, ImageFile};

/// Files of packages that accounts and certificates of an image file add lines to.
const AMENDED: [&str; 6] = [
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/ssl/certs/ca-certificates.crt",
    "var/lib/ecs/deps/execute-command/certs/tls-ca-bundle.pem",
    "kaniko/ssl/certs/ca-certificates.crt",
];

/// Where polpo itself puts files with contents.
const GENERATED: [&str; 11] = [
    "etc/apk/",
    "usr/lib/apk/db/",
    "usr/local/share/ca-certificates/",
    "sv/",
    "etc/apko.json",
    "etc/passwd",
    "etc/group",
    "etc/shadow",
    "etc/ssl/certs/.ca-certificates.crt.sha256",
    "etc/ssl/certs/java/.cacerts.sha256",
    "kaniko/ssl/certs/.ca-certificates.crt.sha256",
];

/// What every image has beside those.
const USUAL: [&str; 10] = [
    "dev/console",
    "dev/null",
    "dev/random",
    "dev/urandom",
    "dev/zero",
    "etc/apk/repositories",
    "etc/apk/world",
    "lib/apk",
    "usr/lib/apk/db/lock",
    "usr/lib/apk/db/triggers",
];

/// Checks every file of the image against the package that the database says it is from.
pub(super) fn check(contents: &Contents, checked: &[Checked<'_>]) -> Finding {
    let mut parts = Vec::new();
    let mut owned: BTreeMap<String, ()> = BTreeMap::new();
    let mut equal = 0_u64;
    for package in checked {
        let info = &package.installed.entry.info;
        let title = format!("{} {}", info.name, info.version);
        let originals: BTreeMap<&str, &Entry> = package
            .original
            .iter()
            .flat_map(|(manifest, _)| &manifest.entries)
            .map(|entry| (entry.path.as_str(), entry))
            .collect();
        for directory in &package.installed.directories {
            for file in &directory.files {
                let path = if directory.path.is_empty() {
                    file.name.clone()
                } else {
                    format!("{}/{}", directory.path, file.name)
                };
                owned.insert(path.clone(), ());
                // Without the original, the package itself was found false already.
                if package.original.is_none() {
                    continue;
                }
                let original = originals.get(path.as_str());
                let recorded = original
                    .and_then(|entry| entry.checksum)
                    .map(Identity::Sha1);
                if file.checksum != recorded {
                    parts.push(Finding::failed(format!(
                        "/{path} of {title} has another checksum in the installed database"
                    )));
                }
                match compare(original, contents.files.get(&path), contents) {
                    Ok(None) => equal += 1,
                    Ok(Some(change)) => {
                        parts.push(Finding::unproven(format!("/{path} of {title} {change}")));
                    }
                    Err(_) if AMENDED.contains(&path.as_str()) => {
                        parts.push(Finding::unproven(format!(
                            "/{path} of {title} was changed by the image file"
                        )));
                    }
                    Err(reason) => {
                        parts.push(Finding::failed(format!("/{path} of {title} {reason}")));
                    }
                }
            }
        }
        // What the package has and the database doesn't: another package must have it.
        for entry in originals.values().filter(|entry| !entry.is_directory()) {
            if !contents.files.contains_key(&entry.path) {
                parts.push(Finding::failed(format!(
                    "/{} of {title} is missing",
                    entry.path
                )));
            }
        }
    }
    let mut made = 0_u64;
    let mut others = Vec::new();
    for (path, file) in &contents.files {
        if owned.contains_key(path) {
            continue;
        }
        match &file.header.kind {
            EntryKind::File { size } if *size > 0 => {
                if GENERATED
                    .iter()
                    .any(|known| path == known || (known.ends_with('/') && path.starts_with(known)))
                {
                    made += 1;
                } else {
                    parts.push(Finding::failed(format!(
                        "/{path} is no package's, and polpo makes no such file"
                    )));
                }
            }
            EntryKind::Directory => {}
            _ if USUAL.iter().any(|known| path == known) => made += 1,
            kind => others.push(Finding::unproven(format!(
                "/{path} is {}",
                match kind {
                    EntryKind::Symlink { target } => format!("a symbolic link to {target}"),
                    EntryKind::HardLink { target } => format!("another name of /{target}"),
                    kind => format!("an empty or special {}", kind.words()),
                }
            ))),
        }
    }
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

/// Nothing if they are equal, in what they differ if only mode or owner, else an error.
fn compare(
    original: Option<&&Entry>,
    found: Option<&ImageFile>,
    contents: &Contents,
) -> Result<Option<String>, String> {
    let original = original.ok_or("is listed as the package's, which has no such file")?;
    let found = found.ok_or("is missing")?;
    let same_kind = match (&original.kind, &found.header.kind) {
        (PackageKind::File { size }, EntryKind::File { size: other }) => size == other,
        (PackageKind::Symlink { target }, EntryKind::Symlink { target: other }) => target == other,
        // Which of the names of one file is the file doesn't matter.
        (PackageKind::HardLink { .. }, EntryKind::HardLink { .. } | EntryKind::File { .. })
        | (PackageKind::File { .. }, EntryKind::HardLink { .. }) => true,
        (
            PackageKind::CharDevice { major, minor },
            EntryKind::CharDevice { major: a, minor: b },
        )
        | (
            PackageKind::BlockDevice { major, minor },
            EntryKind::BlockDevice { major: a, minor: b },
        ) => (major, minor) == (a, b),
        (PackageKind::Fifo, EntryKind::Fifo) => true,
        _ => false,
    };
    let checksum: Option<Sha1> = match &found.header.kind {
        EntryKind::HardLink { target } => contents.files.get(target).and_then(|file| file.checksum),
        _ => found.checksum,
    };
    if !same_kind {
        return Err(format!(
            "is another {} than in its package",
            found.header.kind.words()
        ));
    }
    if original.checksum.is_some() && original.checksum != checksum {
        return Err("has other contents than in its package".to_owned());
    }
    let header = &found.header;
    if matches!(
        header.kind,
        EntryKind::Symlink { .. } | EntryKind::HardLink { .. }
    ) {
        return Ok(None);
    }
    if header.mode != original.mode {
        return Ok(Some(format!(
            "has mode {:o} instead of {:o}",
            header.mode, original.mode
        )));
    }
    if (header.uid, header.gid) != (original.uid, original.gid) {
        return Ok(Some(format!(
            "is owned by {}:{} instead of {}:{}",
            header.uid, header.gid, original.uid, original.gid
        )));
    }
    if header.xattrs != original.xattrs {
        return Err("has other extended attributes than in its package".to_owned());
    }
    Ok(None)
}

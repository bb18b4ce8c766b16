//! Files of two images, and the rights that they give.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base::Digest;

use super::capability;
use super::layers::{Facts, Kind, Placed, Tree};
use super::model::{Aspect, FileChange, FileFacts, FileFate, Files, Privilege, Right};
use super::packages::Packages;

/// More files that differ than this are counted only.
const LISTED: usize = 100_000;
/// Longer values of attributes are told by their hash.
const VALUE: usize = 64;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_ALL: u32 = 0o002;

/// An image's files and whose they are.
pub(super) type Owned<'a> = (&'a Tree, &'a Packages);

/// Compares all files.
pub(super) fn compare(before: Owned<'_>, after: Owned<'_>) -> (Files, Vec<Privilege>) {
    let paths: BTreeSet<&String> = before.0.files.keys().chain(after.0.files.keys()).collect();
    let mut files = Files::default();
    let mut privileges = Vec::new();
    for path in paths {
        let (one, other) = (before.0.files.get(path), after.0.files.get(path));
        let package = after.1.owner(path).or_else(|| before.1.owner(path));
        let package = package.cloned();
        rights(path, package.as_ref(), one, other, &mut privileges);
        let (change, aspects) = match (one, other) {
            (Some(one), Some(other)) => {
                let aspects = aspects(one, other);
                if aspects.is_empty() {
                    files.times += usize::from(one.facts.mtime != other.facts.mtime);
                    continue;
                }
                files.changed += 1;
                (FileFate::Changed, aspects)
            }
            (None, _) => {
                files.added += 1;
                (FileFate::Added, Vec::new())
            }
            (_, None) => {
                files.removed += 1;
                (FileFate::Removed, Vec::new())
            }
        };
        if files.changes.len() >= LISTED {
            files.omitted += 1;
            continue;
        }
        files.changes.push(FileChange {
            path: path.clone(),
            change,
            aspects,
            before: one.map(|placed| told(placed, before.1.owner(path))),
            after: other.map(|placed| told(placed, after.1.owner(path))),
        });
    }
    (files, privileges)
}

fn aspects(one: &Placed, other: &Placed) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    let mut differs = |aspect, differs: bool| {
        if differs {
            aspects.push(aspect);
        }
    };
    let (before, after) = (&one.facts, &other.facts);
    match (&before.kind, &after.kind) {
        (Kind::File { digest, .. }, Kind::File { digest: now, .. }) => {
            differs(Aspect::Content, digest != now);
        }
        (Kind::Symlink { target }, Kind::Symlink { target: now }) => {
            differs(Aspect::Target, target != now);
        }
        (Kind::Device { block, .. }, Kind::Device { block: now, .. }) if block == now => {
            differs(Aspect::Device, before.kind != after.kind);
        }
        (Kind::Directory, Kind::Directory) | (Kind::Fifo, Kind::Fifo) => {}
        _ => differs(Aspect::Type, true),
    }
    differs(Aspect::HardLink, one.linked != other.linked);
    // Nothing goes by a symbolic link's mode, and programs write several.
    let links = [&before.kind, &after.kind].map(|kind| matches!(kind, Kind::Symlink { .. }));
    differs(
        Aspect::Mode,
        links == [false, false] && before.mode != after.mode,
    );
    differs(
        Aspect::Owner,
        (before.uid, before.gid) != (after.uid, after.gid),
    );
    differs(
        Aspect::Capability,
        capabilities(before) != capabilities(after),
    );
    differs(Aspect::Attribute, attributes(before) != attributes(after));
    aspects
}

fn capabilities(facts: &Facts) -> Option<String> {
    let value = facts.xattrs.get(capability::ATTRIBUTE)?;
    Some(capability::words(value))
}

fn attributes(facts: &Facts) -> BTreeMap<String, String> {
    let others = facts.xattrs.iter();
    others
        .filter(|(name, _)| *name != capability::ATTRIBUTE)
        .map(|(name, value)| {
            let mut text = String::new();
            if value.len() > VALUE {
                text = Digest::of(value).to_string();
            } else {
                for byte in value {
                    let _ = write!(text, "{byte:02x}");
                }
            }
            (name.clone(), text)
        })
        .collect()
}

pub(super) fn told(placed: &Placed, package: Option<&String>) -> FileFacts {
    let facts = &placed.facts;
    let (mut size, mut digest, mut target, mut device) = (None, None, None, None);
    match &facts.kind {
        Kind::File {
            size: bytes,
            digest: hash,
        } => (size, digest) = (Some(*bytes), Some(*hash)),
        Kind::Symlink { target: to } => target = Some(to.clone()),
        Kind::Device { major, minor, .. } => device = Some(format!("{major}:{minor}")),
        Kind::Directory | Kind::Fifo => {}
    }
    FileFacts {
        kind: facts.kind.words(),
        mode: format!("{:04o}", facts.mode),
        uid: facts.uid,
        gid: facts.gid,
        size,
        digest,
        target,
        hard_link: placed.linked.clone(),
        device,
        capabilities: capabilities(facts),
        attributes: attributes(facts),
        package: package.cloned(),
    }
}

/// A right as a file gives it: what it is to whom, and in words. None if it does not.
fn right(right: Right, facts: &Facts) -> Option<(String, String)> {
    let is_file = matches!(facts.kind, Kind::File { .. });
    let is_directory = facts.kind == Kind::Directory;
    let shown = || format!("{:04o} {}:{}", facts.mode, facts.uid, facts.gid);
    match right {
        Right::Setuid if is_file && facts.mode & SETUID != 0 => {
            Some((facts.uid.to_string(), shown()))
        }
        Right::Setgid if (is_file || is_directory) && facts.mode & SETGID != 0 => {
            Some((facts.gid.to_string(), shown()))
        }
        Right::Capability => capabilities(facts).map(|words| (words.clone(), words)),
        // In a sticky folder others' files are safe; devices such as /dev/null are for everybody.
        Right::WorldWritable
            if facts.mode & WRITABLE_BY_ALL != 0
                && (is_file || (is_directory && facts.mode & STICKY == 0)) =>
        {
            Some((String::new(), shown()))
        }
        _ => None,
    }
}

fn rights(
    path: &str,
    package: Option<&String>,
    one: Option<&Placed>,
    other: Option<&Placed>,
    privileges: &mut Vec<Privilege>,
) {
    for kind in [
        Right::Setuid,
        Right::Setgid,
        Right::Capability,
        Right::WorldWritable,
    ] {
        let before = one.and_then(|placed| right(kind, &placed.facts));
        let after = other.and_then(|placed| right(kind, &placed.facts));
        let whose = |side: &Option<(String, String)>| side.as_ref().map(|(whose, _)| whose.clone());
        if whose(&before) == whose(&after) {
            continue;
        }
        privileges.push(Privilege {
            path: path.to_owned(),
            package: package.cloned(),
            right: kind,
            // As somebody else, or with other capabilities, is another right.
            gained: after.is_some(),
            before: before.map(|(_, shown)| shown),
            after: after.map(|(_, shown)| shown),
        });
    }
}

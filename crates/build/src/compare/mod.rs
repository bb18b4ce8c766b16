//! Where two packages differ: file by file, in an ELF file section by section, in an archive member
//! by member, in the metadata field by field.
//!
//! Either package may come from strangers. What is read is bounded: the depth of archives within
//! archives, the bytes that come out of them all, and the number of differences that are told.

mod content;
mod elf;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use apk::package::{Entry, EntryKind, Manifest, Package, PackageError};
use archive::Limits;
use base::Digest;
use serde::Serialize;

use content::Comparer;

/// More differences than this are counted only.
const MAX_DIFFERENCES: usize = 1000;

/// More files than this are not looked into.
const MAX_FILES: usize = 2000;

/// Larger files are not looked into: 256 MiB.
const MAX_FILE: u64 = 256 << 20;

/// Of more than this together, no file is looked into: 4 GiB on the disk.
const MAX_SCRATCH: u64 = 4 << 30;

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "aspect", content = "name")]
pub enum Aspect {
    /// Only one of the two has it.
    Presence,
    /// A file in one, something else in the other.
    Kind,
    /// Permission bits.
    Mode,
    /// Owner and group.
    Owner,
    /// When it was changed.
    ModificationTime,
    /// An extended attribute.
    Attribute(String),
    /// Where a link leads.
    Target,
    /// The bytes.
    Contents,
    /// A section of an ELF file.
    Section(String),
    /// What is not in any section or member: headers, tables, padding.
    Headers,
    /// The order of members or entries.
    Order,
    /// How it is compressed; what comes out is the same.
    Compression,
    /// A field of the metadata.
    Field(String),
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aspect::Presence => f.write_str("presence"),
            Aspect::Kind => f.write_str("kind"),
            Aspect::Mode => f.write_str("mode"),
            Aspect::Owner => f.write_str("owner"),
            Aspect::ModificationTime => f.write_str("modification time"),
            Aspect::Attribute(name) => write!(f, "extended attribute {}", name.escape_debug()),
            Aspect::Target => f.write_str("target"),
            Aspect::Contents => f.write_str("contents"),
            Aspect::Section(name) => write!(f, "section {}", name.escape_debug()),
            Aspect::Headers => f.write_str("headers"),
            Aspect::Order => f.write_str("order"),
            Aspect::Compression => f.write_str("compression"),
            Aspect::Field(name) => write!(f, "field {}", name.escape_debug()),
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// A file of the package, or of its control member such as `.PKGINFO`.
    pub path: String,
    /// The member of the archive that the file is, the member of that, and so on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<String>,
    /// What differs.
    #[serde(flatten)]
    pub aspect: Aspect,
    /// What the original has, in words; none if it has nothing.
    pub original: Option<String>,
    /// What the other has.
    pub rebuilt: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.escape_debug())?;
        for member in &self.within {
            write!(f, " » {}", member.escape_debug())?;
        }
        match (&self.aspect, &self.original, &self.rebuilt) {
            (Aspect::Presence, Some(_), _) => f.write_str(": only in the original"),
            (Aspect::Presence, ..) => f.write_str(": only in what was built again"),
            (aspect, original, rebuilt) => {
                let word = |side: &Option<String>| side.clone().unwrap_or("nothing".to_owned());
                write!(f, ": {aspect}: {}, now {}", word(original), word(rebuilt))
            }
        }
    }
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The differences, in the order of the packages' parts and paths.
    pub differences: Vec<Difference>,
    /// How many more there are.
    pub omitted: usize,
}

impl Comparison {
    /// Whether the packages are the same but for who signed them.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.omitted == 0
    }
}

/// Packages can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// One can't be read.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The contents of a file can't be read.
    #[error("`{path}` of the package can't be read: {source}")]
    Entry {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The folder for files that differ can't be used.
    #[error("can't write `{path}`: {source}", path = path.display())]
    Scratch {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Compares the data and control of two packages, not who signed them. `scratch` is a folder for what
/// differs while it is looked into.
///
/// # Errors
/// A package is damaged or exceeds `limits`, or the disk is full.
pub fn compare(
    original: &Package,
    rebuilt: &Package,
    scratch: &Path,
    limits: &Limits,
) -> Result<Comparison, CompareError> {
    let mut comparer = Comparer::new();
    let ours = Contents::read(original, limits)?;
    let theirs = Contents::read(rebuilt, limits)?;
    let data_differs = ours.manifest.datahash != theirs.manifest.datahash;
    if data_differs {
        let mut differing = BTreeSet::new();
        entries(&ours, &theirs, &mut comparer, &mut differing);
        look_into(
            original,
            rebuilt,
            &differing,
            scratch,
            limits,
            &mut comparer,
        )?;
        if comparer.is_silent() {
            data_form(&ours.manifest, &theirs.manifest, &mut comparer);
        }
    }
    if original.identity() != rebuilt.identity() {
        let before = comparer.count();
        control(original, rebuilt, data_differs, &mut comparer);
        if comparer.count() == before && !data_differs {
            comparer.tell(
                "the control member",
                Aspect::Headers,
                Some("the same files".to_owned()),
                Some("in another order, with other owners or otherwise compressed".to_owned()),
            );
        }
    }
    Ok(comparer.finish())
}

/// A package's entries and what its files hash to.
struct Contents {
    manifest: Manifest,
    digests: BTreeMap<String, Digest>,
}

impl Contents {
    fn read(package: &Package, limits: &Limits) -> Result<Contents, CompareError> {
        let mut digests = BTreeMap::new();
        let manifest = package.visit(limits, |entry, content| {
            if matches!(entry.kind, EntryKind::File { .. }) {
                let found = Digest::of_all(content).map_err(|source| CompareError::Entry {
                    path: entry.path.clone(),
                    source,
                })?;
                digests.insert(entry.path.clone(), found.0);
            }
            Ok::<(), CompareError>(())
        })?;
        Ok(Contents { manifest, digests })
    }

    fn by_path(&self) -> BTreeMap<&str, &Entry> {
        let entries = self.manifest.entries.iter();
        entries.map(|entry| (entry.path.as_str(), entry)).collect()
    }
}

/// Compares what entries say, and collects the files whose contents differ.
fn entries(
    ours: &Contents,
    theirs: &Contents,
    comparer: &mut Comparer,
    differing: &mut BTreeSet<String>,
) {
    let (our_entries, their_entries) = (ours.by_path(), theirs.by_path());
    let paths: BTreeSet<&str> = our_entries
        .keys()
        .chain(their_entries.keys())
        .copied()
        .collect();
    for path in paths {
        match (our_entries.get(path), their_entries.get(path)) {
            (Some(one), Some(other)) => {
                entry(one, other, comparer);
                let digests = (ours.digests.get(path), theirs.digests.get(path));
                if let (Some(one), Some(other)) = digests
                    && one != other
                {
                    differing.insert(path.to_owned());
                }
            }
            (one, other) => {
                let kind = |entry: Option<&&Entry>| entry.map(|entry| words(&entry.kind));
                comparer.tell(path, Aspect::Presence, kind(one), kind(other));
            }
        }
    }
}

fn words(kind: &EntryKind) -> String {
    match kind {
        EntryKind::File { .. } => "a file".to_owned(),
        EntryKind::Directory => "a folder".to_owned(),
        EntryKind::Symlink { .. } => "a symbolic link".to_owned(),
        EntryKind::HardLink { .. } => "a hard link".to_owned(),
        other => format!("{other:?}"),
    }
}

fn entry(one: &Entry, other: &Entry, comparer: &mut Comparer) {
    let path = &one.path;
    let mut tell = |aspect, one: String, other: String| {
        if one != other {
            comparer.tell(path, aspect, Some(one), Some(other));
        }
    };
    tell(Aspect::Kind, words(&one.kind), words(&other.kind));
    let mode = |entry: &Entry| format!("{:04o}", entry.mode);
    tell(Aspect::Mode, mode(one), mode(other));
    let owner = |entry: &Entry| {
        format!(
            "{}:{} ({}:{})",
            entry.uid, entry.gid, entry.user, entry.group
        )
    };
    tell(Aspect::Owner, owner(one), owner(other));
    let time = |entry: &Entry| base::Epoch(entry.mtime).rfc3339();
    tell(Aspect::ModificationTime, time(one), time(other));
    let target = |entry: &Entry| match &entry.kind {
        EntryKind::Symlink { target } => target.clone(),
        EntryKind::HardLink { target } => target.clone(),
        _ => String::new(),
    };
    tell(Aspect::Target, target(one), target(other));
    let names: BTreeSet<&String> = one.xattrs.keys().chain(other.xattrs.keys()).collect();
    for name in names {
        let value = |entry: &Entry| entry.xattrs.get(name).map(|value| content::short(value));
        let (one, other) = (value(one), value(other));
        if one != other {
            comparer.tell(path, Aspect::Attribute(name.clone()), one, other);
        }
    }
}

/// Takes the files that differ out of both packages and compares each with its counterpart.
fn look_into(
    original: &Package,
    rebuilt: &Package,
    differing: &BTreeSet<String>,
    scratch: &Path,
    limits: &Limits,
    comparer: &mut Comparer,
) -> Result<(), CompareError> {
    let numbers: BTreeMap<&str, usize> = differing
        .iter()
        .take(MAX_FILES)
        .enumerate()
        .map(|(number, path)| (path.as_str(), number))
        .collect();
    let mut room = MAX_SCRATCH;
    for (side, package) in [("original", original), ("rebuilt", rebuilt)] {
        package.visit(limits, |entry, content| {
            let (Some(number), EntryKind::File { size }) =
                (numbers.get(entry.path.as_str()), &entry.kind)
            else {
                return Ok(());
            };
            if *size > MAX_FILE || *size > room {
                return Ok(());
            }
            room -= size;
            let path = scratch.join(format!("{number}.{side}"));
            let failed = |source| CompareError::Scratch {
                path: path.clone(),
                source,
            };
            let mut file = File::create(&path).map_err(failed)?;
            io::copy(content, &mut file).map_err(failed)?;
            Ok::<(), CompareError>(())
        })?;
    }
    for path in differing {
        let read = |side: &str| {
            let number = numbers.get(path.as_str())?;
            let file = File::open(scratch.join(format!("{number}.{side}"))).ok()?;
            let mut bytes = Vec::new();
            file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        match (read("original"), read("rebuilt")) {
            (Some(one), Some(other)) => comparer.file(path, &one, &other),
            _ => comparer.tell(
                path,
                Aspect::Contents,
                Some("other bytes".to_owned()),
                Some("too many to look into".to_owned()),
            ),
        }
    }
    Ok(())
}

/// The data differs, but nothing in it does.
fn data_form(ours: &Manifest, theirs: &Manifest, comparer: &mut Comparer) {
    let pairs = ours.entries.iter().zip(&theirs.entries);
    for (one, other) in pairs {
        if one.path != other.path {
            comparer.tell(
                "the data member",
                Aspect::Order,
                Some(one.path.clone()),
                Some(other.path.clone()),
            );
            return;
        }
    }
    let length = |manifest: &Manifest| Some(format!("{} bytes in all", manifest.length));
    comparer.tell(
        "the data member",
        if ours.length == theirs.length {
            Aspect::Compression
        } else {
            Aspect::Headers
        },
        length(ours),
        length(theirs),
    );
}

/// Compares the files of the control members.
fn control(original: &Package, rebuilt: &Package, data_differs: bool, comparer: &mut Comparer) {
    let (ours, theirs) = (fields(original.pkginfo()), fields(rebuilt.pkginfo()));
    let names: BTreeSet<&str> = ours.keys().chain(theirs.keys()).copied().collect();
    for name in names {
        // That it differs follows from what was said of the data.
        if name == "datahash" && data_differs {
            continue;
        }
        let empty = Vec::new();
        let (one, other) = (
            ours.get(name).unwrap_or(&empty),
            theirs.get(name).unwrap_or(&empty),
        );
        if one == other {
            continue;
        }
        let only = |these: &[&str], those: &[&str]| {
            let values = these.iter().filter(|value| !those.contains(value));
            let values: Vec<&str> = values.copied().take(20).collect();
            Some(values.join(", ")).filter(|values| !values.is_empty())
        };
        let (mut first, mut second) = (only(one, other), only(other, one));
        if first.is_none() && second.is_none() {
            (first, second) = (Some(one.join(", ")), Some(other.join(", ")));
        }
        comparer.tell(".PKGINFO", Aspect::Field(name.to_owned()), first, second);
    }
    let files = |package: &Package| -> BTreeMap<String, Vec<u8>> {
        let scripts = package.scripts().iter();
        let scripts = scripts.map(|(script, text)| (format!(".{}", script.as_str()), text.clone()));
        let extras = package.extras().iter();
        let extras = extras.map(|(name, bytes)| (name.clone(), bytes.clone()));
        scripts.chain(extras).collect()
    };
    let (ours, theirs) = (files(original), files(rebuilt));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for name in names {
        match (ours.get(name), theirs.get(name)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => comparer.file(name, one, other),
            (one, other) => {
                let kind = |bytes: Option<&Vec<u8>>| bytes.map(|_| "a file".to_owned());
                comparer.tell(name, Aspect::Presence, kind(one), kind(other));
            }
        }
    }
}

/// The fields of a `.PKGINFO`, those in comments too.
fn fields(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut fields: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(" = ").unwrap_or(("", line));
        fields.entry(name.trim()).or_default().push(value.trim());
    }
    fields
}

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use archive::tree::TreePath;
use base::Sha1;

use crate::dependency::Identity;
use crate::index::IndexEntry;
use crate::index::text::{Record, TextError, field, write_package, write_replaces};
use crate::package::{Entry, Format, Manifest, Package, Script};

/// A package of an installed database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledPackage {
    /// Name, version, dependencies and so on; `replaces`, `replaces_priority` and `triggers` too.
    pub entry: IndexEntry,
    /// `s`: the tag of the repository it was pinned to, without `@`.
    pub repository_tag: Option<String>,
    /// `g`: the tags of the package itself.
    pub tags: Vec<String>,
    /// `f`: what went wrong when it was installed.
    pub broken: Broken,
    /// Its directories, each with its files, sorted.
    pub directories: Vec<InstalledDirectory>,
    /// Its scripts.
    pub scripts: BTreeMap<Script, Vec<u8>>,
}

/// The flags of `f:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// `f`: files are missing or differ.
    pub files: bool,
    /// `s`: a script failed.
    pub script: bool,
    /// `x`: attributes could not be set.
    pub attributes: bool,
    /// `S`: no defect: checksums are SHA-256, cut to 160 bits.
    pub sha256_160: bool,
}

/// Owner, mode and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// The hash of the extended attributes, if there are any.
    pub attributes: Option<Identity>,
}

/// `F`: a directory of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledDirectory {
    /// The path without leading or trailing `/`; empty for the root.
    pub path: String,
    /// `M`.
    pub permissions: Permissions,
    /// Its files, sorted by name.
    pub files: Vec<InstalledFile>,
}

/// `R`: a file, link or device of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledFile {
    /// The last component of its path.
    pub name: String,
    /// `a`.
    pub permissions: Permissions,
    /// `Z`: the hash of a file's contents or a symbolic link's target.
    pub checksum: Option<Identity>,
}

impl Permissions {
    /// Those that need no line: root's, without attributes.
    fn usual(mode: u32) -> Permissions {
        Permissions {
            uid: 0,
            gid: 0,
            mode,
            attributes: None,
        }
    }

    fn of(entry: &Entry) -> Permissions {
        Permissions {
            uid: entry.uid,
            gid: entry.gid,
            mode: entry.mode,
            attributes: attributes_hash(&entry.xattrs),
        }
    }

    fn parse(value: &str) -> Option<Permissions> {
        let mut parts = value.splitn(4, ':');
        Some(Permissions {
            uid: parts.next()?.parse().ok()?,
            gid: parts.next()?.parse().ok()?,
            mode: u32::from_str_radix(parts.next()?, 8).ok()?,
            attributes: parts.next().map(str::parse).transpose().ok()?,
        })
    }

    fn write(&self, out: &mut String, letter: char, usual: u32) {
        if *self == Permissions::usual(usual) {
            return;
        }
        // Writing to a string can't fail.
        let _ = write!(out, "{letter}:{}:{}:{:o}", self.uid, self.gid, self.mode);
        if let Some(hash) = &self.attributes {
            let _ = write!(out, ":{}", short(*hash));
        }
        out.push('\n');
    }
}

const USUAL_DIRECTORY: u32 = 0o755;
const USUAL_FILE: u32 = 0o644;

/// SHA-1 of the attributes in order of their names: each name and value after its length in four
/// bytes, most significant first (apk's `apk_fileinfo_hash_xattr`).
pub(crate) fn attributes_hash(attributes: &BTreeMap<String, Vec<u8>>) -> Option<Identity> {
    if attributes.is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    for (name, value) in attributes {
        for part in [name.as_bytes(), value] {
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend(part);
        }
    }
    Some(Identity::Sha1(Sha1::of(&bytes)))
}

impl InstalledPackage {
    /// The record of a package that was laid out whole.
    pub fn new(package: &Package, manifest: &Manifest) -> InstalledPackage {
        let mut entry = IndexEntry::of(package);
        entry.info.triggers.clone_from(&package.info().triggers);
        InstalledPackage {
            entry,
            repository_tag: None,
            tags: package.info().tags.clone(),
            broken: Broken {
                sha256_160: package.format() == Format::V3,
                ..Broken::default()
            },
            directories: directories(&manifest.entries),
            scripts: package.scripts().clone(),
        }
    }

    /// Leaves out the files whose paths `keep` refuses: those that another package replaced.
    pub fn retain_files(&mut self, mut keep: impl FnMut(&str) -> bool) {
        for directory in &mut self.directories {
            let path = &directory.path;
            directory.files.retain(|file| {
                if path.is_empty() {
                    keep(&file.name)
                } else {
                    keep(&format!("{path}/{}", file.name))
                }
            });
        }
    }

    fn write(&self, out: &mut String) {
        write_package(out, &self.entry, &short(self.entry.identity));
        // Writing to a string can't fail.
        if !self.tags.is_empty() {
            let _ = writeln!(out, "g:{}", self.tags.join(" "));
        }
        write_replaces(out, &self.entry.info);
        if let Some(tag) = &self.repository_tag {
            let _ = writeln!(out, "s:{tag}");
        }
        let flags: String = [
            (self.broken.files, 'f'),
            (self.broken.script, 's'),
            (self.broken.attributes, 'x'),
            (self.broken.sha256_160, 'S'),
        ]
        .iter()
        .filter_map(|(is_set, flag)| is_set.then_some(*flag))
        .collect();
        if !flags.is_empty() {
            let _ = writeln!(out, "f:{flags}");
        }
        for directory in &self.directories {
            let _ = writeln!(out, "F:{}", directory.path);
            directory.permissions.write(out, 'M', USUAL_DIRECTORY);
            for file in &directory.files {
                let _ = writeln!(out, "R:{}", file.name);
                file.permissions.write(out, 'a', USUAL_FILE);
                if let Some(checksum) = &file.checksum {
                    let _ = writeln!(out, "Z:{}", short(*checksum));
                }
            }
        }
        out.push('\n');
    }
}

/// Entries as directories with their files. The root appears when files lie in it.
fn directories(entries: &[Entry]) -> Vec<InstalledDirectory> {
    // `None`, the root, sorts first.
    let mut all: BTreeMap<Option<TreePath>, (Permissions, BTreeMap<String, InstalledFile>)> =
        BTreeMap::new();
    let usual = || (Permissions::usual(USUAL_DIRECTORY), BTreeMap::new());
    for entry in entries {
        let Ok(path) = TreePath::new(&entry.path) else {
            continue;
        };
        if entry.is_directory() {
            all.entry(Some(path)).or_insert_with(usual).0 = Permissions::of(entry);
            continue;
        }
        let name = path.file_name().to_owned();
        let file = InstalledFile {
            name: name.clone(),
            permissions: Permissions::of(entry),
            checksum: entry.recorded(),
        };
        all.entry(path.parent())
            .or_insert_with(usual)
            .1
            .insert(name, file);
    }
    all.into_iter()
        .map(|(path, (permissions, files))| InstalledDirectory {
            path: path.map(|path| path.to_string()).unwrap_or_default(),
            permissions,
            files: files.into_values().collect(),
        })
        .collect()
}

/// Hashes of an installed database have 160 bits: a SHA-256 is cut, as `f:S` tells.
pub(crate) fn short(identity: Identity) -> Identity {
    identity.shortened()
}

/// Packages in the order that apk lists them in: by name without regard to case, then by name.
pub(crate) fn sorted(packages: &[InstalledPackage]) -> Vec<&InstalledPackage> {
    let mut sorted: Vec<&InstalledPackage> = packages.iter().collect();
    sorted.sort_by_cached_key(|package| {
        let name = &package.entry.info.name;
        (name.to_ascii_lowercase(), name.clone())
    });
    sorted
}

/// The text of `installed`: the packages sorted by name, each with the fields of an index in
/// apk's order, then its directories and files.
pub fn to_text(packages: &[InstalledPackage]) -> String {
    let mut out = String::new();
    for package in sorted(packages) {
        package.write(&mut out);
    }
    out
}

/// What is done about fields and flags of a database that are not known: a later apk wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// The database is refused: rewriting it would lose them.
    #[default]
    Refuse,
    /// They are passed over (`--force-old-apk`).
    PassOver,
}

/// Reads the text of `installed`, apk's or apko's.
///
/// # Errors
/// The first line that can't be understood. Unlike in an index, an unknown field is an error, as
/// it is to apk: rewriting the database would lose it.
pub fn parse(text: &str) -> Result<Vec<InstalledPackage>, TextError> {
    parse_with(text, Unknown::Refuse).map(|(packages, _)| packages)
}

/// As [`parse`], with a choice about what is not known. Says also whether something was passed
/// over.
///
/// # Errors
/// The first line that can't be understood.
pub(crate) fn parse_with(
    text: &str,
    unknown: Unknown,
) -> Result<(Vec<InstalledPackage>, bool), TextError> {
    let mut packages = Vec::new();
    let mut partial: Option<Partial> = None;
    let mut last = 0;
    let mut passed_over = false;
    for (line, content) in text.split('\n').enumerate() {
        last = line + 1;
        let at = |reason| TextError {
            line: line + 1,
            reason,
        };
        if content.len() < 2 {
            if let Some(partial) = partial.take() {
                packages.push(partial.finish().map_err(at)?);
            }
            continue;
        }
        let (letter, value) = field(content).map_err(at)?;
        let known = partial
            .get_or_insert_default()
            .set(letter, value)
            .map_err(at)?;
        match (known, unknown) {
            (None, _) => {}
            (Some(_), Unknown::PassOver) => passed_over = true,
            (Some(what), Unknown::Refuse) => {
                return Err(at(format!(
                    "{what} is not known to this version of polpo; `--force-old-apk` goes on \
                     without it, and it is lost when the database is changed"
                )));
            }
        }
    }
    if let Some(partial) = partial {
        packages.push(
            partial
                .finish()
                .map_err(|reason| TextError { line: last, reason })?,
        );
    }
    Ok((packages, passed_over))
}

#[derive(Default)]
struct Partial {
    record: Record,
    repository_tag: Option<String>,
    tags: Vec<String>,
    broken: Broken,
    directories: Vec<InstalledDirectory>,
}

impl Partial {
    /// Takes a field in; gives back what of it is not known.
    fn set(&mut self, letter: char, value: &str) -> Result<Option<String>, String> {
        if self.record.set(letter, value)? {
            return Ok(None);
        }
        let mut unknown = None;
        match letter {
            'g' => self
                .tags
                .extend(value.split_ascii_whitespace().map(str::to_owned)),
            's' => self.repository_tag = Some(value.to_owned()),
            'f' => {
                for flag in value.chars() {
                    match flag {
                        'f' => self.broken.files = true,
                        's' => self.broken.script = true,
                        'x' => self.broken.attributes = true,
                        'S' => self.broken.sha256_160 = true,
                        _ => unknown = Some(format!("the flag {flag:?} in `f:`")),
                    }
                }
            }
            'F' => {
                // Some writers name the root `/` or end a path with one.
                let path = value.trim_end_matches('/');
                if !path.is_empty() && archive::tar::safe_path(path) != Ok(path) {
                    return Err(format!("`F:{}` is no safe path", value.escape_debug()));
                }
                self.directories.push(InstalledDirectory {
                    path: path.to_owned(),
                    permissions: Permissions::usual(USUAL_DIRECTORY),
                    files: Vec::new(),
                });
            }
            'R' => {
                let directory = self.directory(letter)?;
                if value.contains('/') || archive::tar::safe_path(value) != Ok(value) {
                    return Err(format!("`R:{}` is no file's name", value.escape_debug()));
                }
                directory.files.push(InstalledFile {
                    name: value.to_owned(),
                    permissions: Permissions::usual(USUAL_FILE),
                    checksum: None,
                });
            }
            'M' => self.directory(letter)?.permissions = permissions(letter, value)?,
            'a' => self.file(letter)?.permissions = permissions(letter, value)?,
            'Z' => {
                self.file(letter)?.checksum =
                    Some(value.parse().map_err(|error| format!("{error}"))?);
            }
            _ => unknown = Some(format!("the field `{letter}:`")),
        }
        Ok(unknown)
    }

    fn directory(&mut self, letter: char) -> Result<&mut InstalledDirectory, String> {
        self.directories
            .last_mut()
            .ok_or_else(|| format!("`{letter}:` stands before the first `F:`"))
    }

    fn file(&mut self, letter: char) -> Result<&mut InstalledFile, String> {
        self.directories
            .last_mut()
            .and_then(|directory| directory.files.last_mut())
            .ok_or_else(|| format!("`{letter}:` stands before the first `R:` of its directory"))
    }

    fn finish(self) -> Result<InstalledPackage, String> {
        Ok(InstalledPackage {
            entry: self.record.finish()?,
            repository_tag: self.repository_tag,
            tags: self.tags,
            broken: self.broken,
            directories: self.directories,
            scripts: BTreeMap::new(),
        })
    }
}

fn permissions(letter: char, value: &str) -> Result<Permissions, String> {
    Permissions::parse(value).ok_or_else(|| {
        format!(
            "`{letter}:{}` is not owner:group:mode, the mode in octal",
            value.escape_debug()
        )
    })
}

//! The image file: what an image is made of, in apko's YAML.
//!
//! Every key of apko's `ImageConfiguration` is read, typed and checked, and all problems of a file
//! are reported at once. Where apko's rules are traps, polpo's differ, and say so: `permissions`
//! left out of a path means 0755 for directories and 0644 for files (0000 in apko), and a mode or
//! owner never goes through a symbolic link to something else. A warning says so where it matters;
//! `--parity` makes apko's result.

mod decode;
mod form;
mod format;
mod include;
mod shown;
mod words;

use std::collections::BTreeMap;
use std::fmt;

use std::ops::Range;

use apk::dependency::Dependency;
use apk::repository::{Location, Repository};
use base::{Arch, SourceText};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

pub use form::{form, schema};
pub use include::{Loaded, load, parse};
pub use shown::shown;
pub use words::{UnbalancedQuote, split_words};

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageConfiguration {
    /// Packages and where they come from.
    pub contents: Contents,
    /// The command that runs.
    pub entrypoint: Entrypoint,
    /// Its arguments, a line of shell words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cmd: String,
    /// The signal that asks the command to end.
    #[serde(rename = "stop-signal", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// The directory in which the command runs.
    #[serde(rename = "work-dir", skip_serializing_if = "String::is_empty")]
    pub work_dir: String,
    /// Users and groups.
    pub accounts: Accounts,
    /// The architectures it is made for, as they are written; empty means every one.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "go_archs")]
    pub archs: Vec<Arch>,
    /// Environment variables.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Changes of paths, done in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathChange>,
    /// Where the file is kept: `url@revision`.
    #[serde(rename = "vcs-url", skip_serializing_if = "String::is_empty")]
    pub vcs_url: String,
    /// Annotations of the manifest, and labels of the configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Another file that this one adds to. Already merged into what [`load`] returns.
    #[serde(skip)]
    pub include: Option<String>,
    /// Folders that the runtime keeps apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// How the files are split into layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layering: Option<Layering>,
    /// What layers are; left out, tar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LayerFormat>,
    /// Certificates to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
}

/// Packages and where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Repositories to build from only.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "repositories")]
    pub build_repositories: Vec<Repository>,
    /// Repositories named in the image only.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "repositories")]
    pub runtime_repositories: Vec<Repository>,
    /// Repositories to build from, also named in the image.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "repositories")]
    pub repositories: Vec<Repository>,
    /// Public keys that sign the repositories: paths or URLs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keyring: Vec<String>,
    /// Keys that only the image itself trusts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runtime_keyring: Vec<NamedText>,
    /// What must be installed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageTerm>,
    /// The image that this one is built upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseimage: Option<BaseImage>,
}

/// What must be installed: a package by name, version and repository.
#[derive(Clone, Debug)]
pub struct PackageTerm {
    /// What is asked for.
    pub term: Dependency,
    /// As it is written, in apko's way.
    pub written: String,
    /// Where, if it was read from a file.
    pub place: Option<(SourceText, Range<usize>)>,
}

impl PackageTerm {
    /// A term that stands in no file.
    pub fn of(term: Dependency) -> PackageTerm {
        PackageTerm {
            written: term.to_string(),
            term,
            place: None,
        }
    }
}

/// Where it stands makes no difference.
impl PartialEq for PackageTerm {
    fn eq(&self, other: &PackageTerm) -> bool {
        self.term == other.term && self.written == other.written
    }
}

impl Eq for PackageTerm {}

impl fmt::Display for PackageTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for PackageTerm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

/// The image that another is built upon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BaseImage {
    /// Folder of an OCI layout.
    pub image: String,
    /// Folder of `ARCH/APKINDEX`: what is installed in it. Its own database says the same.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub apkindex: String,
}

/// The command that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entrypoint {
    /// Whether s6 supervises `services`.
    #[serde(rename = "type", skip_serializing_if = "is_plain")]
    pub kind: EntrypointKind,
    /// The command, a line of shell words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// A script for `/bin/sh -c` in place of the command.
    #[serde(rename = "shell-fragment", skip_serializing_if = "String::is_empty")]
    pub shell_fragment: String,
    /// Commands that s6 keeps running, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, String>,
}

/// How the command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum EntrypointKind {
    /// By itself.
    #[default]
    #[serde(rename = "")]
    Plain,
    /// As s6's supervision of the services.
    #[serde(rename = "service-bundle")]
    ServiceBundle,
}

/// Users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// The user as whom the command runs: a name or a number.
    #[serde(rename = "run-as", skip_serializing_if = "String::is_empty")]
    pub run_as: String,
    /// Users to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Groups to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// A user to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name.
    #[serde(rename = "username")]
    pub name: String,
    /// The number, never 0.
    pub uid: u32,
    /// The first group's number; left out, that of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The shell; empty means /bin/sh.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shell: String,
    /// The home directory.
    #[serde(rename = "homedir")]
    pub home: String,
}

impl User {
    /// The first group's number.
    pub fn group(&self) -> u32 {
        self.gid.unwrap_or(self.uid)
    }

    /// The shell.
    pub fn shell(&self) -> &str {
        if self.shell.is_empty() {
            "/bin/sh"
        } else {
            &self.shell
        }
    }
}

/// A group to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The name.
    #[serde(rename = "groupname")]
    pub name: String,
    /// The number.
    pub gid: u32,
    /// Names of users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// A path inside an image: no `.`, `..`, NUL or control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePath {
    /// No leading or trailing slash.
    path: String,
    written: String,
}

/// Not a path that can be in an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It climbs out.
    #[error("`{0}` has a component `..`, which could leave the image")]
    Climbs(String),
    /// It can't be typed or printed.
    #[error("{0:?} has a control character")]
    Control(String),
    /// It names no file.
    #[error("`{0}` names the image's root and nothing inside it")]
    Root(String),
}

/// One change of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// What is changed.
    pub path: ImagePath,
    /// How.
    pub kind: PathChangeKind,
    /// The owner; left alone where neither it nor `gid` is given.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// Permission bits, if given.
    pub permissions: Option<u32>,
    /// Whether it covers everything beneath.
    pub recursive: bool,
}

/// In the order of the keys in `/etc/apko.json`.
impl Serialize for PathChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path)?;
        map.serialize_entry("type", self.kind.as_str())?;
        for (key, number) in [("uid", self.uid), ("gid", self.gid)] {
            if let Some(number) = number {
                map.serialize_entry(key, &number)?;
            }
        }
        if let Some(permissions) = self.permissions.filter(|bits| *bits != 0) {
            map.serialize_entry("permissions", &permissions)?;
        }
        if let Some(source) = self.kind.source() {
            map.serialize_entry("source", source)?;
        }
        if self.recursive {
            map.serialize_entry("recursive", &true)?;
        }
        map.end()
    }
}

/// What is done to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChangeKind {
    /// A directory and its parents are made.
    Directory,
    /// An empty file is made; what a package put there stays as it is.
    EmptyFile,
    /// Another name for the file `source`.
    Hardlink {
        /// The file.
        source: ImagePath,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        source: String,
    },
    /// Mode and owner only.
    Permissions,
}

/// How the files are split into layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Layering {
    /// By the packages' origin, or each on its own; without it there is one layer.
    #[serde(rename = "strategy", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<LayeringStrategy>,
    /// The most layers of packages.
    #[serde(skip_serializing_if = "is_zero")]
    pub budget: Option<u32>,
}

/// What decides which layer a package is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayeringStrategy {
    /// The recipe it was built by.
    Origin,
    /// None shares one, but for the smallest.
    Package,
}

impl LayeringStrategy {
    /// As the image file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            LayeringStrategy::Origin => "origin",
            LayeringStrategy::Package => "package",
        }
    }
}

/// What layers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerFormat {
    /// Compressed tars, which every program takes.
    Tar,
    /// One EROFS image, which engines mount as it is.
    Erofs,
}

impl LayerFormat {
    /// As the image file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            LayerFormat::Tar => "tar",
            LayerFormat::Erofs => "erofs",
        }
    }
}

/// Certificates to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Certificates {
    /// Written in the image file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional: Vec<NamedText>,
    /// Names whose providers among the packages carry certificates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
}

/// A small file written in the image file: a key or a certificate in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedText {
    /// The file's name.
    pub name: String,
    /// Its text.
    pub content: String,
}

impl ImagePath {
    /// Takes a path as people write it, with or without slashes around it.
    ///
    /// # Errors
    /// It has `..` or control characters, or names the root.
    pub fn parse(text: &str) -> Result<ImagePath, InvalidPath> {
        if text.chars().any(char::is_control) {
            return Err(InvalidPath::Control(text.to_owned()));
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(InvalidPath::Climbs(text.to_owned())),
                part => parts.push(part),
            }
        }
        if parts.is_empty() {
            return Err(InvalidPath::Root(text.to_owned()));
        }
        Ok(ImagePath {
            path: parts.join("/"),
            written: text.to_owned(),
        })
    }

    /// Without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// As it is written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

impl fmt::Display for ImagePath {
    /// With a leading slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.path)
    }
}

impl Serialize for ImagePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

/// `repository` as a line of `/etc/apk/repositories`, without user and password.
pub(crate) fn redacted(repository: &Repository) -> String {
    let mut public = repository.clone();
    if let Location::Url(url) = &mut public.location {
        // Both only fail for URLs that can't have credentials.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    public.to_string()
}

impl PathChangeKind {
    /// The word that the image file has for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            PathChangeKind::Directory => "directory",
            PathChangeKind::EmptyFile => "empty-file",
            PathChangeKind::Hardlink { .. } => "hardlink",
            PathChangeKind::Symlink { .. } => "symlink",
            PathChangeKind::Permissions => "permissions",
        }
    }

    /// What it points to, as it is written.
    pub fn source(&self) -> Option<&str> {
        match self {
            PathChangeKind::Hardlink { source } => Some(source.written()),
            PathChangeKind::Symlink { source } => Some(source),
            _ => None,
        }
    }
}

/// An architecture in OCI's words: `amd64`, `arm/v7`.
pub(crate) fn oci_arch(arch: Arch) -> String {
    match arch.oci() {
        (name, None) => name.to_owned(),
        (name, Some(variant)) => format!("{name}/{variant}"),
    }
}

fn is_zero(budget: &Option<u32>) -> bool {
    budget.is_none_or(|budget| budget == 0)
}

fn is_plain(kind: &EntrypointKind) -> bool {
    *kind == EntrypointKind::Plain
}

fn go_archs<S: Serializer>(archs: &[Arch], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(archs.iter().map(|arch| oci_arch(*arch)))
}

fn repositories<S: Serializer>(list: &[Repository], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(redacted))
}

#[cfg(test)]
mod tests;

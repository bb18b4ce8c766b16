//! What a comparison says: the JSON that `polpo image diff --format json` prints. Fields are added
//! to it, never changed or taken away, while [`FORMAT`] stays.

use std::collections::BTreeMap;

use base::Digest;
use serde::Serialize;

use super::policy::Broken;

/// The name of this form.
pub const FORMAT: &str = "polpo-image-diff/1";

/// Where two images differ, for every machine that they are made for.
#[derive(Clone, Debug, Serialize)]
pub struct Differences {
    /// [`FORMAT`].
    pub format: &'static str,
    /// The first image.
    pub before: Named,
    /// The second one.
    pub after: Named,
    /// Whether they are the same, byte by byte.
    pub identical: bool,
    /// Whether nothing that is compared differs.
    pub equal: bool,
    /// Machines that only one of them is made for, such as `linux/arm64`.
    pub platforms: OneSided<String>,
    /// Annotations of the index, where one is for several machines.
    pub annotations: Vec<Setting>,
    /// What refers to the index as a whole.
    pub statements: Statements,
    /// The images for machines that both are made for.
    pub images: Vec<ImageDifferences>,
    /// Rules that the second image breaks.
    pub broken: Vec<Broken>,
}

/// An image by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// As it was given.
    pub name: String,
    /// Of its manifest or index.
    pub digest: Digest,
}

/// What only one of two has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OneSided<T> {
    /// Only the second.
    pub added: Vec<T>,
    /// Only the first.
    pub removed: Vec<T>,
}

impl<T> Default for OneSided<T> {
    fn default() -> OneSided<T> {
        OneSided {
            added: Vec::new(),
            removed: Vec::new(),
        }
    }
}

impl<T> OneSided<T> {
    /// Whether both have the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// A value before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// The first image's.
    pub before: T,
    /// The second one's.
    pub after: T,
}

impl<T: PartialEq> Pair<T> {
    /// Whether both are the same.
    pub fn is_same(&self) -> bool {
        self.before == self.after
    }
}

/// Where the images for one machine differ.
#[derive(Clone, Debug, Serialize)]
pub struct ImageDifferences {
    /// The machine, such as `linux/amd64` or `linux/arm/v7`.
    pub platform: String,
    /// The manifests.
    pub manifest: Pair<Digest>,
    /// How many packages are installed.
    pub package_count: Pair<usize>,
    /// Packages, by name.
    pub packages: Vec<PackageChange>,
    /// Licences.
    pub licences: Licences,
    /// Files that give rights they did not give before, or no longer give them.
    pub privileges: Vec<Privilege>,
    /// Files.
    pub files: Files,
    /// Shared libraries whose exported symbols differ.
    pub libraries: Vec<LibraryChange>,
    /// How large they are.
    pub size: Sizes,
    /// The configuration: what is run, how, and what is said of it.
    pub settings: Vec<Setting>,
    /// What the images' SBOMs list.
    pub sbom: Sbom,
    /// What refers to the images: signatures, attestations, SBOMs.
    pub statements: Statements,
}

impl ImageDifferences {
    /// Whether nothing that is compared differs.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
            && self.licences.changed.is_empty()
            && self.privileges.is_empty()
            && self.files.is_empty()
            && self.libraries.is_empty()
            && self.size.layers.is_empty()
            && self.settings.is_empty()
            && self.sbom.components.is_empty()
            && self.statements.is_same()
    }
}

/// A package as an image has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageFacts {
    /// Its version.
    pub version: String,
    /// The package it is built from.
    pub origin: String,
    /// Its licence, as the database says.
    pub licence: String,
    /// The bytes of its files in the image.
    pub size: u64,
    /// apk's identity of it.
    pub checksum: String,
}

/// What became of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageFate {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// The version is higher, by apk's order.
    Upgraded,
    /// The version is lower.
    Downgraded,
    /// The same version, made anew with another result.
    Rebuilt,
}

/// A package that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: PackageFate,
    /// As the first image has it.
    pub before: Option<PackageFacts>,
    /// As the second image has it.
    pub after: Option<PackageFacts>,
}

/// Licences that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Licences {
    /// Packages that are in both images under another licence.
    pub changed: Vec<LicenceChange>,
    /// Licences that some package has now and none had before, with these packages.
    pub new: BTreeMap<String, Vec<String>>,
    /// Licences that no package has any more.
    pub gone: Vec<String>,
}

/// A package's licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LicenceChange {
    /// The package.
    pub package: String,
    /// Its licence in the first image.
    pub before: String,
    /// Its licence in the second image.
    pub after: String,
}

/// A right that a file gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// It runs as its owner.
    Setuid,
    /// It runs as its group, or what is made in it belongs to that.
    Setgid,
    /// It has capabilities when it runs.
    Capability,
    /// Everybody may write to it, and in a folder also replace what others put there.
    WorldWritable,
}

/// A right that a file gives now and did not give before, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Privilege {
    /// The file.
    pub path: String,
    /// The package it belongs to.
    pub package: Option<String>,
    /// The right.
    pub right: Right,
    /// Whether the second image's file gives more than the first one's.
    pub gained: bool,
    /// In the first image: mode and owner, or the capabilities.
    pub before: Option<String>,
    /// In the second image.
    pub after: Option<String>,
}

/// Files that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// How many only the second image has.
    pub added: usize,
    /// How many only the first image has.
    pub removed: usize,
    /// How many differ in more than their time.
    pub changed: usize,
    /// How many differ in nothing but their time; they are not listed.
    pub times: usize,
    /// Each of them, by path.
    pub changes: Vec<FileChange>,
    /// How many more there are than are listed.
    pub omitted: usize,
}

impl Files {
    /// Whether all files are the same.
    pub fn is_empty(&self) -> bool {
        self.added + self.removed + self.changed + self.times == 0
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFate {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

/// What differs in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// A file in one, something else in the other.
    Type,
    /// The bytes.
    Content,
    /// Where a symbolic link leads.
    Target,
    /// Which file it is another name of.
    HardLink,
    /// The device's numbers.
    Device,
    /// Permission bits.
    Mode,
    /// User or group.
    Owner,
    /// What it may do when it runs.
    Capability,
    /// Another extended attribute.
    Attribute,
}

impl Aspect {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Aspect::Type => "type",
            Aspect::Content => "content",
            Aspect::Target => "target",
            Aspect::HardLink => "hard link",
            Aspect::Device => "device",
            Aspect::Mode => "mode",
            Aspect::Owner => "owner",
            Aspect::Capability => "capability",
            Aspect::Attribute => "attribute",
        }
    }
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path, without a slash before it; `.` is the image's root.
    pub path: String,
    /// What became of it.
    pub change: FileFate,
    /// What differs, of a file that both have.
    pub aspects: Vec<Aspect>,
    /// As the first image has it.
    pub before: Option<FileFacts>,
    /// As the second image has it.
    pub after: Option<FileFacts>,
}

/// A file as an image has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// `file`, `directory`, `symbolic link`, `character device`, `block device`, `named pipe`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Permission bits in octal.
    pub mode: String,
    /// User.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// SHA-256 of a file's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The file that a hard link is another name of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_link: Option<String>,
    /// A device's numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The capabilities, such as `cap_net_raw=ep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<String>,
    /// The other extended attributes, their values in hexadecimal; of long ones the SHA-256.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The package it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

/// A shared library whose exported symbols differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LibraryChange {
    /// Its soname, or its path if it has none.
    pub name: String,
    /// What became of it. A library is the same if it has the same path or the same soname.
    pub change: FileFate,
    /// The file in the first image.
    pub before: Option<LibraryFacts>,
    /// The file in the second image.
    pub after: Option<LibraryFacts>,
    /// Symbols that are there no more: programs that need them don't start.
    pub removed: Vec<String>,
    /// Symbols that are new.
    pub added: Vec<String>,
    /// How many more symbols differ than are listed.
    pub omitted: usize,
}

impl LibraryChange {
    /// Whether what was linked with the first image's library may not run with the second one's.
    pub fn may_break(&self) -> bool {
        let soname = |side: &Option<LibraryFacts>| side.as_ref().map(|facts| facts.soname.clone());
        self.change == FileFate::Removed
            || !self.removed.is_empty()
            || (self.change == FileFate::Changed && soname(&self.before) != soname(&self.after))
    }
}

/// A library's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LibraryFacts {
    /// Its path.
    pub path: String,
    /// Its soname.
    pub soname: Option<String>,
    /// How many symbols it exports.
    pub symbols: usize,
    /// The package it belongs to.
    pub package: Option<String>,
}

/// How large two images are, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// All layers as they are sent.
    pub compressed: Pair<u64>,
    /// All layers when not compressed.
    pub unpacked: Pair<u64>,
    /// All files.
    pub files: Pair<u64>,
    /// What has to be sent to who has the first image.
    pub to_send: u64,
    /// Layers that only one of them has.
    pub layers: OneSided<LayerFacts>,
    /// How many layers both have.
    pub shared_layers: usize,
    /// Packages whose files have other sizes together, the largest difference first; what belongs to
    /// no package has an empty name.
    pub packages: Vec<PackageSize>,
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerFacts {
    /// Its blob's digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes as it is sent.
    pub compressed: u64,
    /// Its bytes when not compressed.
    pub unpacked: u64,
}

/// The bytes of a package's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageSize {
    /// The package, or nothing.
    pub package: String,
    /// In the first image.
    pub before: u64,
    /// In the second image.
    pub after: u64,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `entrypoint`, `cmd`, `user`, `working-dir`, `env NAME`, `label NAME`, `volume PATH`,
    /// `port PORT`, `annotation NAME` and so on.
    pub key: String,
    /// In the first image; a list or map as JSON.
    pub before: Option<String>,
    /// In the second image.
    pub after: Option<String>,
}

/// What the SBOMs list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sbom {
    /// How many documents there are: beside the image, and of packages in it.
    pub documents: Pair<usize>,
    /// What they list: package URLs, or name and version.
    pub components: OneSided<String>,
    /// Packages installed in the second image that no SBOM of it lists, where there is one.
    pub unlisted: Vec<String>,
}

/// What refers to images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statements {
    /// How many of each kind, such as `signature`, `attestation https://slsa.dev/provenance/v1`,
    /// `sbom application/spdx+json`.
    pub before: BTreeMap<String, usize>,
    /// For the second image.
    pub after: BTreeMap<String, usize>,
    /// Whether the images are signed: by somebody who is trusted, or, where nobody is named, by anyone.
    pub signed: Pair<bool>,
}

impl Statements {
    /// Whether the same kinds refer to both.
    pub fn is_same(&self) -> bool {
        self.before == self.after && self.signed.is_same()
    }

    /// Kinds that only one of them has.
    pub fn kinds(&self) -> OneSided<&str> {
        OneSided {
            added: only(&self.after, &self.before),
            removed: only(&self.before, &self.after),
        }
    }
}

fn only<'k>(these: &'k BTreeMap<String, usize>, those: &BTreeMap<String, usize>) -> Vec<&'k str> {
    let kinds = these.keys().filter(|kind| !those.contains_key(*kind));
    kinds.map(String::as_str).collect()
}

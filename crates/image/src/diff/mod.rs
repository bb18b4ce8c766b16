//! Where two images differ, and whether the second one may follow the first.
//!
//! Both may be anybody's: every blob is held to its digest, nothing is unpacked, and memory, depth
//! and the length of lists are bounded.

mod capability;
mod described;
mod files;
mod layers;
mod libraries;
mod listing;
mod markdown;
mod model;
mod packages;
mod policy;
mod settings;
mod symbols;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use apk::index::TextError;
use archive::tar::UnsafePath;
use attest::trust::Trust;
use base::{Arch, Digest};
use oci::{Descriptor, Layout, LayoutError, NamedImages, Platform, ResolvedImage};

use crate::contents::ContentsError;
use described::{Components, Described};
use layers::{Layers, Tree};
use packages::Packages;

pub use listing::{ListedFile, list, list_erofs, listing};
pub use model::{
    Aspect, Differences, FORMAT, FileChange, FileFacts, FileFate, Files, ImageDifferences,
    LayerFacts, LibraryChange, LibraryFacts, LicenceChange, Licences, Named, OneSided,
    PackageChange, PackageFacts, PackageFate, PackageSize, Pair, Privilege, Right, Sbom, Setting,
    Sizes, Statements,
};
pub use policy::{Broken, RULES, Rule, UnknownRule};

/// One of the images that are compared.
#[derive(Clone, Copy, Debug)]
pub struct DiffSide<'a> {
    /// What it is called in the result.
    pub name: &'a str,
    /// Where it is.
    pub layout: &'a Layout,
    /// Its tag; none means the only image.
    pub tag: Option<&'a str>,
}

/// What is compared.
#[derive(Clone, Copy)]
pub struct DiffRequest<'a> {
    /// The first image.
    pub before: DiffSide<'a>,
    /// The second image.
    pub after: DiffSide<'a>,
    /// The images for this architecture alone.
    pub arch: Option<Arch>,
    /// Whose signatures count; none: anybody's.
    pub trust: Option<&'a Trust>,
    /// What the second image is held to.
    pub rules: &'a [Rule],
    /// An empty folder for libraries while they are looked into.
    pub scratch: &'a Path,
}

/// Which of two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Before,
    /// The second.
    After,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Before => "first",
            Side::After => "second",
        })
    }
}

/// Images can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// One isn't there, or is damaged.
    #[error("the {side} image can't be read: {source}")]
    Layout {
        /// Which of them.
        side: Side,
        /// Why.
        #[source]
        source: LayoutError,
    },
    /// A blob isn't there, or is damaged.
    #[error(transparent)]
    Blob(#[from] LayoutError),
    /// Its layers can't be read.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// The list of its packages can't be read.
    #[error("the package database of the {side} image can't be read: {source}")]
    Database {
        /// Which of them.
        side: Side,
        /// Why.
        #[source]
        source: TextError,
    },
    /// A configuration isn't JSON.
    #[error("the configuration of the {side} image can't be read: {source}")]
    Configuration {
        /// Which of them.
        side: Side,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// So many files, names or attributes that they don't fit.
    #[error(
        "what layer {layer} and those before it say of their files takes more than {limit} MiB; compare the images by --arch, one at a time"
    )]
    TooLarge {
        /// The layer that is too much.
        layer: Digest,
        /// How much is kept.
        limit: u64,
    },
    /// A hard link names nothing.
    #[error("layer {layer}: /{} is a hard link to /{}, and there is no such file in the layers up to it", path.escape_debug(), target.escape_debug())]
    Dangling {
        /// The layer.
        layer: Digest,
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// Symbolic links lead round in a circle.
    #[error("layer {layer}: /{} leads through too many symbolic links", path.escape_debug())]
    LinkLoop {
        /// The layer.
        layer: Digest,
        /// The path.
        path: String,
    },
    /// A name that no engine would take for a file inside the image.
    #[error("layer {layer} has an entry `{}`: {reason}", name.escape_debug())]
    Name {
        /// The layer.
        layer: Digest,
        /// The name.
        name: String,
        /// Why not.
        reason: UnsafePath,
    },
    /// Neither image, or only one of them, is made for the architecture.
    #[error("the {side} image is not made for {arch}; it has {}", found.join(", "))]
    NoPlatform {
        /// Which of them.
        side: Side,
        /// What was asked for.
        arch: Arch,
        /// What there is.
        found: Vec<String>,
    },
    /// A file is no image that can be read.
    #[error("can't read {}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder for libraries can't be used.
    #[error("can't write {}: {source}", path.display())]
    Scratch {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An image with all that is said about it.
struct Subject<'a> {
    side: Side,
    layout: &'a Layout,
    image: &'a ResolvedImage,
    described: Described,
    /// Whether the index it is part of is signed.
    index_signed: bool,
}

/// Compares two images, and holds the second to rules.
///
/// # Errors
/// One can't be read, is damaged or asks for too much; see [`DiffError`].
pub fn diff(request: &DiffRequest<'_>) -> Result<Differences, DiffError> {
    let before = named(&request.before, Side::Before)?;
    let after = named(&request.after, Side::After)?;
    let about = |side: &DiffSide<'_>, named: &NamedImages, which| {
        Described::read(side.layout, &named.root, &named.others, request.trust).map_err(|source| {
            DiffError::Layout {
                side: which,
                source,
            }
        })
    };
    let whole = (
        about(&request.before, &before, Side::Before)?,
        about(&request.after, &after, Side::After)?,
    );
    let (one, other) = (
        machines(&before, request.arch, Side::Before)?,
        machines(&after, request.arch, Side::After)?,
    );
    let (pairs, platforms) = pair(&one, &other);
    let is_index = before.index.is_some() || after.index.is_some();
    let mut differences = Differences {
        format: FORMAT,
        before: Named {
            name: request.before.name.to_owned(),
            digest: before.root.digest,
        },
        after: Named {
            name: request.after.name.to_owned(),
            digest: after.root.digest,
        },
        identical: before.root.digest == after.root.digest,
        equal: false,
        platforms,
        annotations: settings::compare(&index_annotations(&before), &index_annotations(&after)),
        statements: match is_index {
            true => statements(&whole.0, &whole.1, false, false),
            false => Statements::default(),
        },
        images: Vec::new(),
        broken: Vec::new(),
    };
    let mut layers = Layers::default();
    for (number, (platform, one, other)) in pairs.into_iter().enumerate() {
        let subject = |side: Side, given: &DiffSide<'_>, named: &NamedImages, image| {
            let image: &ResolvedImage = image;
            let described = match image.descriptor.digest == named.root.digest {
                true => match side {
                    Side::Before => whole.0.clone(),
                    Side::After => whole.1.clone(),
                },
                false => Described::read(
                    given.layout,
                    &image.descriptor,
                    &named.others,
                    request.trust,
                )
                .map_err(|source| DiffError::Layout { side, source })?,
            };
            Ok::<_, DiffError>(described)
        };
        let one = Subject {
            side: Side::Before,
            layout: request.before.layout,
            image: one,
            described: subject(Side::Before, &request.before, &before, one)?,
            index_signed: whole.0.signed,
        };
        let other = Subject {
            side: Side::After,
            layout: request.after.layout,
            image: other,
            described: subject(Side::After, &request.after, &after, other)?,
            index_signed: whole.1.signed,
        };
        let scratch = request.scratch.join(number.to_string());
        differences
            .images
            .push(compare(platform, &one, &other, &mut layers, &scratch)?);
    }
    differences.equal = differences.platforms.is_empty()
        && differences.annotations.is_empty()
        && differences.statements.is_same()
        && differences.images.iter().all(ImageDifferences::is_empty);
    differences.broken = policy::broken(request.rules, &differences);
    Ok(differences)
}

fn named(side: &DiffSide<'_>, which: Side) -> Result<NamedImages, DiffError> {
    side.layout
        .images_named(side.tag)
        .map_err(|source| DiffError::Layout {
            side: which,
            source,
        })
}

/// An image and the machine it is for, in words.
type Machine<'n> = (String, &'n ResolvedImage);

/// The images for that architecture, or all.
fn machines(
    named: &NamedImages,
    arch: Option<Arch>,
    side: Side,
) -> Result<Vec<Machine<'_>>, DiffError> {
    let machine = |image: &ResolvedImage| image.descriptor.platform.as_ref().map(words);
    let all: Vec<Machine<'_>> = named
        .images
        .iter()
        .map(|image| (machine(image).unwrap_or_default(), image))
        .collect();
    let Some(arch) = arch else {
        return Ok(all);
    };
    let is_for = |image: &ResolvedImage| {
        let platform = image.descriptor.platform.as_ref();
        platform.is_some_and(|platform| platform.is(arch))
    };
    let found = all.iter().map(|(machine, _)| machine.clone()).collect();
    let fitting: Vec<Machine<'_>> = all.into_iter().filter(|(_, image)| is_for(image)).collect();
    match fitting.is_empty() {
        true => Err(DiffError::NoPlatform { side, arch, found }),
        false => Ok(fitting),
    }
}

fn words(platform: &Platform) -> String {
    let mut words = format!("{}/{}", platform.os, platform.architecture);
    // Every 64-bit ARM is at least v8; some say so.
    let usual = platform.architecture == "arm64" && platform.variant.as_deref() == Some("v8");
    for more in platform.variant.iter().filter(|_| !usual) {
        words.push('/');
        words.push_str(more);
    }
    if let Some(version) = &platform.os_version {
        words.push(' ');
        words.push_str(version);
    }
    if !platform.os_features.is_empty() {
        words.push_str(&format!(" ({})", platform.os_features.join(", ")));
    }
    words
}

type Pairs<'b, 'a> = Vec<(String, &'b ResolvedImage, &'a ResolvedImage)>;

/// Which images are compared with which: those for the same machine; where each side has but one,
/// these, whatever they are for.
fn pair<'b, 'a>(
    before: &[Machine<'b>],
    after: &[Machine<'a>],
) -> (Pairs<'b, 'a>, OneSided<String>) {
    if let ([(machine, one)], [(_, other)]) = (before, after) {
        return (vec![(machine.clone(), one, other)], OneSided::default());
    }
    let after_by: BTreeMap<&String, &'a ResolvedImage> = after
        .iter()
        .map(|(machine, image)| (machine, *image))
        .collect();
    let mut pairs = Vec::new();
    let mut only = OneSided::default();
    let mut met = BTreeSet::new();
    for (machine, one) in before {
        match after_by.get(machine) {
            Some(other) if met.insert(machine) => pairs.push((machine.clone(), *one, *other)),
            Some(_) => {}
            None => only.removed.push(machine.clone()),
        }
    }
    let new = after.iter().filter(|(machine, _)| !met.contains(machine));
    only.added = new.map(|(machine, _)| machine.clone()).collect();
    (pairs, only)
}

fn index_annotations(named: &NamedImages) -> settings::Settings {
    let annotations = named.index.as_ref().map(|index| &index.annotations);
    annotations
        .map(settings::of_annotations)
        .unwrap_or_default()
}

fn statements(
    before: &Described,
    after: &Described,
    before_signed: bool,
    after_signed: bool,
) -> Statements {
    Statements {
        before: before.kinds.clone(),
        after: after.kinds.clone(),
        signed: Pair {
            before: before.signed || before_signed,
            after: after.signed || after_signed,
        },
    }
}

/// Compares the images for one machine.
fn compare(
    platform: String,
    before: &Subject<'_>,
    after: &Subject<'_>,
    layers: &mut Layers,
    scratch: &Path,
) -> Result<ImageDifferences, DiffError> {
    let manifest = Pair {
        before: before.image.descriptor.digest,
        after: after.image.descriptor.digest,
    };
    let mut found = ImageDifferences {
        platform,
        manifest,
        package_count: Pair::default(),
        packages: Vec::new(),
        licences: Licences::default(),
        privileges: Vec::new(),
        files: Files::default(),
        libraries: Vec::new(),
        size: Sizes::default(),
        settings: Vec::new(),
        sbom: Sbom::default(),
        statements: statements(
            &before.described,
            &after.described,
            before.index_signed,
            after.index_signed,
        ),
    };
    let trees = (
        layers.tree(before.layout, before.image)?,
        layers.tree(after.layout, after.image)?,
    );
    let packages = (
        Packages::read(&trees.0, before.side)?,
        Packages::read(&trees.1, after.side)?,
    );
    found.package_count = Pair {
        before: packages.0.by_name.len(),
        after: packages.1.by_name.len(),
    };
    found.size = sizes(before.image, after.image, &trees);
    let (one, other) = ((&trees.0, &packages.0), (&trees.1, &packages.1));
    found.sbom = sbom(before, after, one, other);
    if manifest.is_same() {
        return Ok(found);
    }
    found.packages = packages::compare(&packages.0, &packages.1);
    found.licences = packages::licences(&packages.0, &packages.1);
    found.size.packages = packages::sizes(&packages.0, &packages.1);
    (found.files, found.privileges) = files::compare(one, other);
    found.libraries = libraries::compare(before, after, one, other, scratch)?;
    found.settings = settings::compare(&configured(before)?, &configured(after)?);
    Ok(found)
}

fn configured(subject: &Subject<'_>) -> Result<settings::Settings, DiffError> {
    let manifest = &subject.image.manifest;
    let bytes = subject.layout.read(&manifest.config, CONFIGURATION)?;
    let value = serde_json::from_slice(&bytes).map_err(|source| DiffError::Configuration {
        side: subject.side,
        source,
    })?;
    let mut all = settings::of_configuration(&value);
    all.extend(settings::of_annotations(&manifest.annotations));
    Ok(all)
}

/// The largest configuration that is read.
const CONFIGURATION: u64 = 8 << 20;

fn sizes(before: &ResolvedImage, after: &ResolvedImage, trees: &(Tree, Tree)) -> Sizes {
    let compressed =
        |image: &ResolvedImage| image.manifest.layers.iter().map(|layer| layer.size).sum();
    let digests = |image: &ResolvedImage| -> BTreeSet<Digest> {
        let layers = image.manifest.layers.iter();
        layers.map(|layer| layer.digest).collect()
    };
    let (one, other) = (digests(before), digests(after));
    let only = |image: &ResolvedImage, tree: &Tree, known: &BTreeSet<Digest>| -> Vec<LayerFacts> {
        let layers: Vec<(&Descriptor, &u64)> =
            image.manifest.layers.iter().zip(&tree.sizes).collect();
        layers
            .into_iter()
            .filter(|(layer, _)| !known.contains(&layer.digest))
            .map(|(layer, unpacked)| LayerFacts {
                digest: layer.digest,
                media_type: layer.media_type.clone(),
                compressed: layer.size,
                unpacked: *unpacked,
            })
            .collect()
    };
    let layers = OneSided {
        added: only(after, &trees.1, &one),
        removed: only(before, &trees.0, &other),
    };
    Sizes {
        compressed: Pair {
            before: compressed(before),
            after: compressed(after),
        },
        unpacked: Pair {
            before: trees.0.sizes.iter().sum(),
            after: trees.1.sizes.iter().sum(),
        },
        files: Pair {
            before: trees.0.size(),
            after: trees.1.size(),
        },
        to_send: layers.added.iter().map(|layer| layer.compressed).sum(),
        layers,
        shared_layers: one.intersection(&other).count(),
        packages: Vec::new(),
    }
}

fn sbom(
    before: &Subject<'_>,
    after: &Subject<'_>,
    one: files::Owned<'_>,
    other: files::Owned<'_>,
) -> Sbom {
    let all = |subject: &Subject<'_>, tree: &Tree| {
        let mut components = subject.described.components.clone();
        components.of_packages(tree);
        components
    };
    let beside = &after.described.components;
    let (first, second) = (all(before, one.0), all(after, other.0));
    let mut unlisted = Vec::new();
    if after.described.bills > 0 {
        let installed = other.1.by_name.iter();
        unlisted = installed
            .filter(|(name, facts)| !beside.has(name, &facts.version))
            .map(|(name, facts)| format!("{name} {}", facts.version))
            .collect();
    }
    Sbom {
        documents: Pair {
            before: first.documents,
            after: second.documents,
        },
        components: Components::compare(&first, &second),
        unlisted,
    }
}

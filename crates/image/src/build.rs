//! From a plan to an image: filesystem, layers, configuration, manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use apk::package::{Package, PackageError, PackageInfo, RunError};
use attest::spdx::Document;
use base::{Arch, Digest, Epoch, Reporter, Task, Unit, Verb};
use oci::{Descriptor, ImageConfig, Index, Layout, LayoutError, Manifest, Platform, media_type};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};

use crate::accounts::{self, AccountError, Names};
use crate::configuration::{
    EntrypointKind, ImageConfiguration, LayerFormat, Layering, LayeringStrategy, UnbalancedQuote,
    split_words,
};
use crate::database::{self, DatabaseError};
use crate::erofs_layer;
use crate::filesystem::{Filesystem, FilesystemError};
use crate::generate::{self, GenerateError};
use crate::layer::{self, Layer, LayerError, Share, StoredPackage, Target, pieces};
use crate::layering::{self, MOST_LAYERS};
use crate::parity::{self, GoDocument, ParityError};
use crate::paths::{self, PathError};
use crate::plan::{self, ImagePlan, PlannedPackage};
use crate::sbom::{self, Parts, SbomError};

pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin";
pub(crate) const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The kind of the store's records of whole images, by all that decides their bytes.
const BUILT: &str = "image-built";

/// An image whose layers are in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuiltImage {
    /// What it is made for.
    pub arch: Arch,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// The configuration.
    pub config: ImageConfig,
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's descriptor, with its platform.
    pub descriptor: Descriptor,
    /// What is in it, composed of what its packages say of themselves.
    pub sbom: Document,
    /// With apko's bytes: the document as apko writes it.
    #[serde(skip)]
    pub parity_sbom: Option<GoDocument>,
    /// The layout of the image that it is built upon, whose layers stand before its own.
    pub below: Option<PathBuf>,
    /// What a person should know: an `ld.so.cache` that isn't made, and the like.
    pub notes: Vec<String>,
}

/// An image can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A package that was taken from a repository is no good.
    #[error("package {package} of {repository}: {source}")]
    Taken {
        /// Its name and version.
        package: String,
        /// The repository.
        repository: String,
        /// What is wrong with it.
        source: Box<BuildError>,
    },
    /// A package is no good.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A package can't be kept in the store.
    #[error(transparent)]
    Run(RunError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The packages' files don't fit together.
    #[error(transparent)]
    Filesystem(#[from] FilesystemError),
    /// The accounts can't be made.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A path can't be changed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A generated file can't be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The database can't be written.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A layer can't be written.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The SBOM can't be composed.
    #[error(transparent)]
    Sbom(#[from] SbomError),
    /// The layout can't be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An EROFS image can't be added to another image.
    #[error("an EROFS image has all files of an image, and can't be added to a base image")]
    ErofsOverBase,
    /// JSON can't be written.
    #[error("can't write JSON")]
    Json(#[from] serde_json::Error),
    /// apko would not make it so.
    #[error(transparent)]
    Parity(#[from] ParityError),
    /// A command line isn't one.
    #[error("`{line}` is no command line: {source}")]
    Words {
        /// The line.
        line: String,
        /// Why.
        #[source]
        source: UnbalancedQuote,
    },
}

impl From<RunError> for BuildError {
    fn from(error: RunError) -> BuildError {
        match error {
            RunError::Package(error) => BuildError::Package(error),
            other => BuildError::Run(other),
        }
    }
}

/// A package whose files lie in the store.
pub(crate) struct Unpacked {
    pub(crate) info: PackageInfo,
    pub(crate) package: Package,
    pub(crate) stored: StoredPackage,
}

/// Builds the image of a plan. What was made before, by any image, is not made again: unpacked
/// packages, deflated files, whole layers.
///
/// # Errors
/// [`BuildError`]: packages that don't fit together, a path or account that can't be, no room.
pub fn build(
    plan: &ImagePlan,
    name: &str,
    epoch: Epoch,
    store: &Store,
    reporter: &dyn Reporter,
) -> Result<BuiltImage, BuildError> {
    let target = Target {
        store,
        layout: None,
    };
    build_for(target, plan, name, epoch, reporter)
}

fn build_for(
    target: Target<'_>,
    plan: &ImagePlan,
    name: &str,
    epoch: Epoch,
    reporter: &dyn Reporter,
) -> Result<BuiltImage, BuildError> {
    let store = target.store;
    let key = Digest::of(&serde_json::to_vec(&(plan.digest(epoch)?, name))?);
    if plan.parity.is_none()
        && let Some(image) = store.record_get::<BuiltImage>(BUILT, &key)?
        && image.is_kept(store)?
    {
        return Ok(BuiltImage {
            below: plan.base.as_ref().map(|base| base.layout.clone()),
            ..image
        });
    }
    let image = build_anew(target, plan, name, epoch, reporter)?;
    if plan.parity.is_none() {
        store.record_put(BUILT, &key, &image)?;
    }
    Ok(image)
}

fn build_anew(
    target: Target<'_>,
    plan: &ImagePlan,
    name: &str,
    epoch: Epoch,
    reporter: &dyn Reporter,
) -> Result<BuiltImage, BuildError> {
    let store = target.store;
    let task = Task::start(
        reporter,
        Verb::Unpack,
        name,
        Some(plan.packages.len() as u64),
        Unit::Items,
    );
    let packages = take_in_all(plan, store, &task)?;
    task.done();

    let task = Task::start(reporter, Verb::Write, name, None, Unit::Items);
    if let Some(scripts_time) = plan.parity {
        let image = parity::build(plan, &packages, name, (epoch, scripts_time), store)?;
        task.done();
        return Ok(image);
    }
    let mut notes = Vec::new();
    let (filesystem, run_as) = lay_out(plan, &packages)?;
    let stored: Vec<StoredPackage> = packages
        .iter()
        .map(|package| package.stored.clone())
        .collect();
    let groups = groups(plan, &packages);
    let layers = if plan.configuration.format == Some(LayerFormat::Erofs) {
        if plan.base.is_some() {
            return Err(BuildError::ErofsOverBase);
        }
        vec![erofs_layer::build(store, &filesystem, epoch)?]
    } else {
        task.step("layers");
        let shares: Vec<Share<'_>> = groups
            .iter()
            .enumerate()
            .map(|(place, group)| Share {
                members: group,
                is_last: place + 1 == groups.len(),
            })
            .collect();
        layer::build(target, &filesystem, &stored, &shares, plan.compression)?
    };
    let config = config(plan, epoch, run_as, &layers)?;
    let config_descriptor = Descriptor::of(media_type::CONFIG, &config.to_bytes()?);
    let base = plan.base.as_ref();
    let mut described: Vec<Descriptor> = base
        .map(|base| base.manifest.layers.clone())
        .unwrap_or_default();
    described.extend(layers.iter().map(Layer::descriptor));
    let mut manifest = Manifest::image(config_descriptor, described);
    manifest.annotations = annotations(&plan.configuration, epoch);
    let mut descriptor = Descriptor::of(media_type::MANIFEST, &manifest.to_bytes()?);
    descriptor.platform = Some(Platform {
        os_features: config.os_features.clone(),
        ..Platform::linux(plan.arch)
    });
    let parts = Parts {
        plan,
        packages: &packages,
        groups: &groups,
        filesystem: &filesystem,
        layers: &layers,
    };
    let sbom = sbom::compose(&parts, name, descriptor.digest, epoch, &mut notes)?;
    task.done();
    Ok(BuiltImage {
        arch: plan.arch,
        layers,
        config,
        manifest,
        descriptor,
        sbom,
        parity_sbom: None,
        below: base.map(|base| base.layout.clone()),
        notes,
    })
}

impl BuiltImage {
    /// Whether all of its own layers are in the store.
    fn is_kept(&self, store: &Store) -> Result<bool, LayerError> {
        for layer in &self.layers {
            if !pieces::is_kept(store, &layer.digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes every layer into `layout`.
    fn put_layers(&self, layout: &Layout, store: &Store) -> Result<(), BuildError> {
        let lower = self.manifest.layers.len().saturating_sub(self.layers.len());
        for (place, descriptor) in self.manifest.layers.iter().enumerate() {
            match &self.below {
                Some(below) if place < lower => {
                    let below = Layout::open(below)?.blob_path(&descriptor.digest);
                    layout.put_blob_file(descriptor, &below)?;
                }
                _ => pieces::put(layout, descriptor, store)?,
            }
        }
        Ok(())
    }

    /// Every layer with the file that has its bytes, the lowest first: of the base image's layout,
    /// then of the store.
    ///
    /// # Errors
    /// A layer is no longer in the store, or the base image can't be read.
    pub fn blobs(&self, store: &Store) -> Result<Vec<(Descriptor, PathBuf)>, BuildError> {
        let lower = self.manifest.layers.len().saturating_sub(self.layers.len());
        let mut blobs = Vec::new();
        for (place, descriptor) in self.manifest.layers.iter().enumerate() {
            let path = match &self.below {
                Some(layout) if place < lower => {
                    Layout::open(layout)?.blob_path(&descriptor.digest)
                }
                _ => pieces::file(store, &descriptor.digest)?,
            };
            blobs.push((descriptor.clone(), path));
        }
        Ok(blobs)
    }
}

/// The packages of a plan, in its order.
fn take_in_all(
    plan: &ImagePlan,
    store: &Store,
    task: &Task<'_>,
) -> Result<Vec<Unpacked>, BuildError> {
    // The largest first, each by whichever core is free: none is left with a large one at the end.
    let mut order: Vec<usize> = (0..plan.packages.len()).collect();
    let size = |place: &usize| plan.packages.get(*place).map(|planned| planned.entry.size);
    order.sort_by_key(|place| std::cmp::Reverse(size(place)));
    let next = AtomicUsize::new(0);
    let work = |_| {
        let mut taken = Vec::new();
        while let Some(place) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(planned) = plan.packages.get(*place) {
                taken.push((*place, take_in_planned(store, planned)));
                task.advance(1);
            }
        }
        taken
    };
    let workers = rayon::current_num_threads();
    let mut taken: Vec<_> = (0..workers).into_par_iter().flat_map_iter(work).collect();
    taken.sort_by_key(|(place, _)| *place);
    taken.into_iter().map(|(_, unpacked)| unpacked).collect()
}

fn take_in_planned(store: &Store, planned: &PlannedPackage) -> Result<Unpacked, BuildError> {
    let unpacked = take_in(store, &planned.digest).map_err(|source| BuildError::Taken {
        package: format!("{}-{}", planned.entry.info.name, planned.entry.info.version),
        repository: planned.repository.clone(),
        source: Box::new(source),
    })?;
    plan::remember(store, planned)?;
    Ok(unpacked)
}

/// Reads a package of the store once, and keeps its run; every hash of it is checked then.
pub(crate) fn take_in(store: &Store, digest: &Digest) -> Result<Unpacked, BuildError> {
    let file = store.path(digest).ok_or(StoreError::Missing(*digest))?;
    let package = Package::open(&file)?;
    Ok(Unpacked {
        info: package.info().clone(),
        stored: StoredPackage::take_in(store, digest, &package)?,
        package,
    })
}

/// The whole filesystem, and as whom the image runs.
fn lay_out(plan: &ImagePlan, packages: &[Unpacked]) -> Result<(Filesystem, String), BuildError> {
    let configuration = &plan.configuration;
    let infos: Vec<PackageInfo> = packages
        .iter()
        .map(|package| package.info.clone())
        .collect();
    let mut filesystem = match &plan.base {
        Some(base) => Filesystem::over(base),
        None => Filesystem::default(),
    };
    let entries = packages.par_iter();
    let entries = entries.map(|package| package.stored.entries()).collect();
    filesystem.add_packages(&infos, entries)?;
    generate::skeleton(&mut filesystem)?;
    let run_as = accounts::add(&mut filesystem, &configuration.accounts)?;
    generate::record_configuration(&mut filesystem, configuration)?;
    paths::apply(&mut filesystem, &configuration.paths)?;
    generate::certificates(&mut filesystem, configuration.certificates.as_ref(), &infos)?;
    generate::services(&mut filesystem, &configuration.entrypoint)?;
    generate::busybox_links(&mut filesystem)?;
    generate::devices(&mut filesystem)?;
    generate::link_apk(&mut filesystem)?;
    generate::cache_libraries(&mut filesystem)?;
    let names = Names::read(&filesystem)?;
    database::write(&mut filesystem, plan, packages, &names)?;
    names.apply(&mut filesystem);
    Ok((filesystem, run_as))
}

/// Which packages share a layer: the lowest layer first, the last also has what is left. One layer
/// unless the image file asks for more.
fn groups(plan: &ImagePlan, packages: &[Unpacked]) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..packages.len()).collect();
    let infos: Vec<&PackageInfo> = packages.iter().map(|package| &package.info).collect();
    let layering = match plan.configuration.format {
        Some(LayerFormat::Erofs) => Layering::default(),
        _ => plan.configuration.layering.clone().unwrap_or_default(),
    };
    let budget = layering.budget.map(|budget| budget as usize);
    let mut groups = match layering.strategy {
        None => return vec![all],
        Some(LayeringStrategy::Origin) => layering::by_origin(&infos, budget.unwrap_or(0)),
        Some(LayeringStrategy::Package) => {
            let below = plan.base.as_ref().map(|base| base.manifest.layers.len());
            let most = MOST_LAYERS.saturating_sub(1 + below.unwrap_or(0));
            layering::by_package(&infos, budget, most)
        }
    };
    groups.push(Vec::new());
    groups
}

/// What a host must know to use the layers.
pub(crate) fn os_features(configuration: &ImageConfiguration) -> Vec<String> {
    match configuration.format {
        Some(LayerFormat::Erofs) => vec![erofs_layer::FEATURE.to_owned()],
        _ => Vec::new(),
    }
}

fn annotations(configuration: &ImageConfiguration, epoch: Epoch) -> BTreeMap<String, String> {
    let mut annotations = configuration.annotations.clone();
    let mut add = |key: &str, value: &str| {
        annotations
            .entry(format!("org.opencontainers.image.{key}"))
            .or_insert_with(|| value.to_owned());
    };
    add("created", &epoch.rfc3339());
    if let Some((url, revision)) = configuration.vcs_url.rsplit_once('@') {
        add("source", url);
        add("revision", revision);
    } else if !configuration.vcs_url.is_empty() {
        add("source", &configuration.vcs_url);
    }
    annotations
}

pub(crate) fn words(line: &str) -> Result<Vec<String>, BuildError> {
    split_words(line).map_err(|source| BuildError::Words {
        line: line.to_owned(),
        source,
    })
}

fn config(
    plan: &ImagePlan,
    epoch: Epoch,
    run_as: String,
    layers: &[Layer],
) -> Result<ImageConfig, BuildError> {
    let configuration = &plan.configuration;
    let entrypoint = &configuration.entrypoint;
    let command = if entrypoint.kind == EntrypointKind::ServiceBundle {
        words("/bin/s6-svscan /sv")?
    } else if entrypoint.shell_fragment.is_empty() {
        words(&entrypoint.command)?
    } else {
        vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            entrypoint.shell_fragment.clone(),
        ]
    };
    let below = plan
        .base
        .as_ref()
        .map(|base| base.config.clone())
        .unwrap_or_default();
    let mut environment = configuration.environment.clone();
    for (name, value) in below
        .config
        .env
        .iter()
        .filter_map(|line| line.split_once('='))
    {
        environment
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    for (name, value) in [("PATH", PATH), ("SSL_CERT_FILE", CERTIFICATES)] {
        environment
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    let labels = annotations(configuration, epoch);
    let label = |key: &str| {
        labels
            .get(&format!("org.opencontainers.image.{key}"))
            .map(String::as_str)
    };
    let comment = match (label("title"), label("vendor")) {
        (Some(title), Some(vendor)) => Some(format!("{title} by {vendor}")),
        _ => None,
    };
    let created = epoch.rfc3339();
    let own = layers.iter().map(|_| oci::History {
        author: Some("polpo".to_owned()),
        created: Some(created.clone()),
        created_by: Some("polpo".to_owned()),
        comment: comment.clone(),
        empty_layer: false,
    });
    let history = below.history.into_iter().chain(own).collect();
    let run = below.config;
    let given = |own: Vec<String>, other: Vec<String>| if own.is_empty() { other } else { own };
    let or = |own: &str, other: String| {
        if own.is_empty() {
            other
        } else {
            own.to_owned()
        }
    };
    let mut all_labels = run.labels;
    all_labels.extend(labels.clone());
    let mut volumes = run.volumes;
    let named = configuration.volumes.iter();
    volumes.extend(named.map(|volume| (volume.clone(), BTreeMap::new())));
    let (architecture, variant) = plan.arch.oci();
    Ok(ImageConfig {
        architecture: architecture.to_owned(),
        author: Some("polpo".to_owned()),
        created: Some(created),
        history,
        os: "linux".to_owned(),
        rootfs: oci::RootFs {
            diff_ids: below
                .rootfs
                .diff_ids
                .into_iter()
                .chain(layers.iter().map(|layer| layer.diff_id))
                .collect(),
            ..oci::RootFs::default()
        },
        config: oci::Execution {
            cmd: given(words(&configuration.cmd)?, run.cmd),
            entrypoint: given(command, run.entrypoint),
            env: environment
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            labels: all_labels,
            user: or(&run_as, run.user),
            volumes,
            working_dir: or(&configuration.work_dir, run.working_dir),
            exposed_ports: run.exposed_ports,
            stop_signal: or(&configuration.stop_signal, run.stop_signal),
        },
        variant: variant.map(str::to_owned),
        os_features: os_features(configuration),
    })
}

/// Builds the images of plans, each with its epoch, and writes them into the layout in the folder `root`
/// under `tag`, as [`write_layout`] does. Layers are put there while others are still being made.
///
/// # Errors
/// Those of [`build`], or the layout can't be written.
pub fn build_layout(
    plans: &[(&ImagePlan, Epoch)],
    name: &str,
    store: &Store,
    reporter: &dyn Reporter,
    (root, tag): (&Path, &str),
) -> Result<(Vec<BuiltImage>, Descriptor), BuildError> {
    Layout::fill(root, |layout| {
        let target = Target {
            store,
            layout: Some(layout),
        };
        let images = plans
            .iter()
            .map(|(plan, epoch)| build_for(target, plan, name, *epoch, reporter))
            .collect::<Result<Vec<_>, _>>()?;
        let tagged = write_tagged(&images, store, layout, tag)?;
        Ok((images, tagged))
    })
}

/// Writes images of one configuration into the layout in the folder `root`, under `tag`: one image
/// as it is, several as an index by architecture. Gives the descriptor that has the tag.
///
/// # Errors
/// A layer is no longer in the store, or the layout can't be written.
pub fn write_layout(
    images: &[BuiltImage],
    store: &Store,
    root: &Path,
    tag: &str,
) -> Result<Descriptor, BuildError> {
    Layout::fill(root, |layout| write_tagged(images, store, layout, tag))
}

fn write_tagged(
    images: &[BuiltImage],
    store: &Store,
    layout: &Layout,
    tag: &str,
) -> Result<Descriptor, BuildError> {
    let descriptors = write_images(images, store, layout)?;
    let tagged = match <[Descriptor; 1]>::try_from(descriptors) {
        Ok([descriptor]) => descriptor,
        Err(mut descriptors) => {
            descriptors.sort_by_key(|descriptor| {
                descriptor
                    .platform
                    .as_ref()
                    .map(|platform| (platform.architecture.clone(), platform.variant.clone()))
            });
            let mut index = Index::new(descriptors);
            if let Some(image) = images.first() {
                index.annotations = image.manifest.annotations.clone();
            }
            layout.put_index(&index)?
        }
    };
    layout.tag(tag, &tagged)?;
    Ok(tagged)
}

/// Writes the blobs and manifests of images into a layout. Gives their descriptors.
fn write_images(
    images: &[BuiltImage],
    store: &Store,
    layout: &Layout,
) -> Result<Vec<Descriptor>, BuildError> {
    let mut descriptors = Vec::new();
    for image in images {
        image.put_layers(layout, store)?;
        layout.put_blob(media_type::CONFIG, &image.config.to_bytes()?)?;
        layout.put_manifest(&image.manifest)?;
        descriptors.push(image.descriptor.clone());
    }
    Ok(descriptors)
}

/// Writes images made with apko's bytes as apko writes a layout: `index.json` is their index itself,
/// without a tag. Gives the index's descriptor.
///
/// # Errors
/// A layer is no longer in the store, or the layout can't be written.
pub fn write_parity_layout(
    images: &[BuiltImage],
    configuration: &ImageConfiguration,
    epoch: Epoch,
    store: &Store,
    root: &Path,
) -> Result<Descriptor, BuildError> {
    Layout::fill(root, |layout| {
        let mut descriptors = write_images(images, store, layout)?;
        descriptors.sort_by_key(|descriptor| {
            descriptor
                .platform
                .as_ref()
                .map(|platform| (platform.architecture.clone(), platform.variant.clone()))
        });
        let mut index = Index::new(descriptors);
        index.annotations = parity::index_annotations(configuration, epoch);
        layout.replace_index(&index)?;
        Ok(Descriptor::of(media_type::INDEX, &index.to_bytes()?))
    })
}

use std::path::Path;

use base::{Arch, Epoch};
use oci::copy::{
    Architectures, CopyReport, CopySettings, Count, Origin, Referrers, to_layout, to_registry,
};
use oci::packed::{PackError, pack_docker, pack_layout, unpack_layout};
use oci::{Layout, ResolvedImage};
use store::Store;

use super::image_source;
use super::place::{Engine, Place};
use crate::arguments::registry::Copy;
use crate::output::failure::Failure;
use crate::settings::Session;

/// An engine did not take an image.
#[derive(Debug, thiserror::Error)]
enum EngineError {
    #[error("{program} can't be run: {source}; install it, or copy to docker-archive:FILE.tar")]
    NotRun {
        program: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("`{program} load` failed ({status}): {words}")]
    Failed {
        program: &'static str,
        status: std::process::ExitStatus,
        words: String,
    },
}

/// Opens a layout: a folder, or a tar file, which is unpacked into the folder `scratch`.
pub(super) fn open(path: &Path, scratch: &Path) -> Result<Layout, PackError> {
    match path.is_file() {
        true => unpack_layout(path, &scratch.join("unpacked")),
        false => Ok(Layout::open(path)?),
    }
}

pub(crate) async fn run(arguments: &Copy, session: &Session<'_>) -> Result<(), Failure> {
    let source = Place::parse(&arguments.source)?;
    let destination = Place::parse(&arguments.destination)?;
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::failed(format!("{} was not copied", arguments.source), error)
    };
    let store = session.store()?;
    let scratch = store.temp_dir().map_err(|error| failed(error.into()))?;
    let registry = session.registry(&arguments.registries);
    let origin = image_source::origin(source, &arguments.source, &registry, scratch.path())
        .await
        .map_err(|refused| refused.into_failure(&format!("{} was not copied", arguments.source)))?;
    let settings = CopySettings {
        referrers: match arguments.without_referrers {
            true => Referrers::None,
            false => Referrers::All,
        },
        architectures: Architectures::named(arguments.arch),
        parallel: arguments.registries.parallel,
    };
    // A name that the image has is worth keeping.
    let own = match &origin {
        Origin::Registry { reference, .. } => reference.tag().map(str::to_owned),
        Origin::Layout { tag, .. } => tag.clone(),
    };
    let reporter = session.reporter();
    let report = match &destination {
        Place::Registry(reference) => {
            let reference = reference.clone().or_latest();
            let repository = registry.repository(reference.repository());
            to_registry(
                &origin,
                &repository,
                &[reference],
                &[],
                settings,
                &store,
                reporter,
            )
            .await
            .map_err(|error| failed(error.into()))?
        }
        Place::Layout(path, tag) => {
            let tag = tag.clone().or(own);
            to_layout(&origin, path, tag.as_deref(), settings, &store, reporter)
                .await
                .map_err(|error| failed(error.into()))?
        }
        Place::LayoutArchive(path, tag) => {
            let tag = tag.clone().or(own);
            let folder = scratch.path().join("packed");
            let report = to_layout(&origin, &folder, tag.as_deref(), settings, &store, reporter)
                .await
                .map_err(|error| failed(error.into()))?;
            let layout = Layout::open(&folder).map_err(|error| failed(error.into()))?;
            pack_layout(&layout, path).map_err(|error| failed(error.into()))?;
            named(report, arguments)
        }
        Place::DockerArchive(..)
        | Place::Engine(..)
        | Place::RootFilesystem(_)
        | Place::Cpio(_)
        | Place::Erofs(_) => {
            let settings = CopySettings {
                referrers: Referrers::None,
                architectures: match arguments.arch {
                    Some(arch) => Architectures::Only(arch),
                    None => Architectures::OneOfSeveral(Arch::host()),
                },
                ..settings
            };
            let (layout, image) =
                one_image(&origin, settings, arguments.arch, &store, &scratch, session)
                    .await
                    .map_err(&failed)?;
            let report = CopyReport {
                digest: image.descriptor.digest,
                media_type: image.descriptor.media_type.clone(),
                names: Vec::new(),
                parts: Vec::new(),
                manifests: Count::default(),
                blobs: Count::default(),
                referrers: Count::default(),
                sent_bytes: 0,
            };
            write(&destination, layout, image, scratch.path())
                .await
                .map_err(&failed)?;
            named(report, arguments)
        }
    };
    super::image_publish::print(&[report], arguments.format)
}

fn named(mut report: CopyReport, arguments: &Copy) -> CopyReport {
    report.names = vec![arguments.destination.clone()];
    report
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The image of one architecture, in a layout of this machine.
async fn one_image(
    origin: &Origin,
    settings: CopySettings,
    arch: Option<Arch>,
    store: &Store,
    scratch: &impl AsRef<Path>,
    session: &Session<'_>,
) -> Result<(Layout, ResolvedImage), AnyError> {
    let (layout, tag) = match origin {
        Origin::Layout { layout, tag } => (layout.clone(), tag.clone()),
        Origin::Registry { .. } => {
            let folder = scratch.as_ref().join("pulled");
            to_layout(origin, &folder, None, settings, store, session.reporter()).await?;
            (Layout::open(&folder)?, None)
        }
    };
    let image = layout.image(tag.as_deref(), arch)?;
    Ok((layout, image))
}

async fn write(
    destination: &Place,
    layout: Layout,
    image: ResolvedImage,
    scratch: &Path,
) -> Result<(), AnyError> {
    match destination {
        Place::DockerArchive(path, name) => {
            let names = name.iter().cloned().collect();
            Ok(pack_docker(&layout, &[(image, names)], path)?)
        }
        Place::Engine(engine, name) => {
            let file = scratch.join("image.tar");
            pack_docker(&layout, &[(image, vec![name.clone()])], &file)?;
            Ok(load(*engine, &file).await?)
        }
        Place::RootFilesystem(path) | Place::Cpio(path) | Place::Erofs(path) => {
            let files = scratch.join("files");
            std::fs::create_dir(&files)?;
            let tree = image::flatten(&layout, &image, &files)?;
            match destination {
                Place::Cpio(_) => image::write_root_cpio(&tree, path)?,
                Place::Erofs(_) => {
                    let created = image.config.created.as_deref();
                    let time = created.and_then(Epoch::from_rfc3339).unwrap_or_default();
                    image::write_root_erofs(&tree, time, path)?;
                }
                _ => image::write_root_tar(&tree, path)?,
            }
            Ok(())
        }
        Place::Registry(_) | Place::Layout(..) | Place::LayoutArchive(..) => Ok(()),
    }
}

async fn load(engine: Engine, file: &Path) -> Result<(), EngineError> {
    let program = engine.program();
    let output = tokio::process::Command::new(program)
        .args(["load", "--quiet", "--input"])
        .arg(file)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| EngineError::NotRun { program, source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(EngineError::Failed {
            program,
            status: output.status,
            words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

//! Images to read, wherever they are.

use std::path::Path;
use std::process::Stdio;

use base::Arch;
use oci::Layout;
use oci::copy::{Architectures, CopySettings, Origin, Referrers, to_layout};
use oci::packed::{PackError, unpack_docker};
use oci::registry::Registry;

use super::image_copy;
use super::place::{Engine, Place};
use crate::arguments::registry::Registries;
use crate::output::failure::Failure;
use crate::settings::Session;

/// An image can't be read from where it is said to be.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// Nothing is read from such a place.
    #[error("`{0}` can only be copied to, not read from")]
    OnlyWritten(String),
    /// A file or folder isn't what it should be.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// An engine isn't there.
    #[error(
        "{program} can't be run: {source}; install it, or name a file: docker-archive:FILE.tar"
    )]
    NotRun {
        /// The engine.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An engine did not give the image.
    #[error("`{program} save` failed ({status}): {words}")]
    Failed {
        /// The engine.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it says.
        words: String,
    },
}

impl SourceError {
    /// `what` says what isn't done.
    pub(super) fn into_failure(self, what: &str) -> Failure {
        match self {
            SourceError::OnlyWritten(_) => Failure::Usage(self.to_string()),
            error => Failure::failed(what, error),
        }
    }
}

/// Opens the image at `place`, which the command line has as `named`. What has to be unpacked is put
/// into the folder `scratch`, which is used for one image alone.
pub(super) async fn origin(
    place: Place,
    named: &str,
    registry: &Registry,
    scratch: &Path,
) -> Result<Origin, SourceError> {
    let unpacked = scratch.join("docker");
    let whole = |layout| Origin::Layout { layout, tag: None };
    Ok(match place {
        Place::Registry(reference) => {
            let reference = reference.or_latest();
            Origin::Registry {
                repository: registry.repository(reference.repository()),
                reference,
            }
        }
        Place::Layout(path, tag) | Place::LayoutArchive(path, tag) => Origin::Layout {
            layout: image_copy::open(&path, scratch)?,
            tag,
        },
        Place::DockerArchive(path, name) => {
            whole(unpack_docker(&path, name.as_deref(), &unpacked)?)
        }
        Place::Engine(engine, name) => {
            let file = scratch.join("saved.tar");
            save(engine, &name, &file).await?;
            let layout = unpack_docker(&file, None, &unpacked)?;
            // Nothing needs it any more; that it stays would be no harm.
            let _ = std::fs::remove_file(&file);
            whole(layout)
        }
        Place::RootFilesystem(_) | Place::Cpio(_) | Place::Erofs(_) => {
            return Err(SourceError::OnlyWritten(named.to_owned()));
        }
    })
}

/// An image that is to be read.
pub(super) struct Wanted<'w> {
    pub(super) place: Place,
    /// As the command line has it.
    pub(super) named: &'w str,
    /// The image for this architecture alone.
    pub(super) arch: Option<Arch>,
    /// Also what refers to it.
    pub(super) referrers: Referrers,
}

/// The image in a layout of this machine, and its tag there; the folder `scratch` is used for it.
pub(super) async fn bring(
    wanted: Wanted<'_>,
    registries: &Registries,
    scratch: &Path,
    session: &Session<'_>,
    what: &str,
) -> Result<(Layout, Option<String>), Failure> {
    let registry = session.registry(registries);
    let origin = origin(wanted.place, wanted.named, &registry, scratch)
        .await
        .map_err(|error| error.into_failure(what))?;
    if let Origin::Layout { layout, tag } = origin {
        return Ok((layout, tag));
    }
    let root = scratch.join("layout");
    let tag = "brought".to_owned();
    let settings = CopySettings {
        referrers: wanted.referrers,
        architectures: Architectures::named(wanted.arch),
        parallel: registries.parallel,
    };
    let store = session.store()?;
    let reporter = session.reporter();
    to_layout(&origin, &root, Some(&tag), settings, &store, reporter)
        .await
        .map_err(|error| Failure::failed(what, error))?;
    let layout = Layout::open(root).map_err(|error| Failure::failed(what, error))?;
    Ok((layout, Some(tag)))
}

async fn save(engine: Engine, name: &str, file: &Path) -> Result<(), SourceError> {
    let program = engine.program();
    let mut command = tokio::process::Command::new(program);
    command.arg("save");
    if engine == Engine::Podman {
        command.args(["--quiet", "--format", "docker-archive"]);
    }
    let output = command
        .arg("--output")
        .arg(file)
        .arg("--")
        .arg(name)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| SourceError::NotRun { program, source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(SourceError::Failed {
            program,
            status: output.status,
            words: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
    }
}

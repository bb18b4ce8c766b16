use std::path::Path;

use oci::copy::{CopySettings, Origin, to_layout, to_registry};
use oci::{Layout, LayoutError};

use super::place::Place;
use crate::arguments::registry::Copy;
use crate::output::failure::Failure;
use crate::settings::Session;

/// A layout, and the folder that a tar file was unpacked to for it.
pub(super) struct Opened {
    pub(super) layout: Layout,
}

/// Opens a layout.
pub(super) fn open(path: &Path, _session: &Session<'_>) -> Result<Opened, LayoutError> {
    Ok(Opened {
        layout: Layout::open(path)?,
    })
}

pub(crate) async fn run(arguments: &Copy, session: &Session<'_>) -> Result<(), Failure> {
    let source = Place::parse(&arguments.source)?;
    let destination = Place::parse(&arguments.destination)?;
    let what = || format!("{} was not copied", arguments.source);
    let registry = session.registry(&arguments.registries);
    let origin = match source {
        Place::Registry(reference) => {
            let reference = reference.or_latest();
            Origin::Registry {
                repository: registry.repository(reference.repository()),
                reference,
            }
        }
        Place::Layout(path, tag) => Origin::Layout {
            layout: open(&path, session)
                .map_err(|error| Failure::failed(what(), error))?
                .layout,
            tag,
        },
        _ => {
            return Err(Failure::Usage(format!(
                "`{}` can't be copied from",
                arguments.source
            )));
        }
    };
    let settings = CopySettings {
        referrers: !arguments.without_referrers,
        arch: arguments.arch,
        parallel: arguments.registries.parallel,
    };
    let store = session.store()?;
    let reporter = session.reporter();
    let copied = match destination {
        Place::Registry(reference) => {
            let reference = reference.or_latest();
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
        }
        Place::Layout(path, tag) => {
            // A name that the image has is worth keeping.
            let own = match &origin {
                Origin::Registry { reference, .. } => reference.tag().map(str::to_owned),
                Origin::Layout { tag, .. } => tag.clone(),
            };
            let tag = tag.or(own);
            to_layout(&origin, &path, tag.as_deref(), settings, &store, reporter).await
        }
        Place::Engine(engine, _) => {
            return Err(Failure::Usage(format!(
                "`{}` can't be copied to {}",
                arguments.source,
                engine.program()
            )));
        }
        _ => {
            return Err(Failure::Usage(format!(
                "`{}` can't be copied to",
                arguments.destination
            )));
        }
    };
    let report = copied.map_err(|error| Failure::failed(what(), error))?;
    super::image_publish::print(&[report], arguments.format)
}

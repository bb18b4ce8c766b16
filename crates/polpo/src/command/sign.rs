use image::ImageRecord;
use oci::Layout;

use crate::arguments::Sign;
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) fn run(arguments: &Sign, session: &Session<'_>) -> Result<(), Failure> {
    let what = || format!("{} was not signed", arguments.layout.display());
    let layout = Layout::open(&arguments.layout).map_err(|error| Failure::failed(what(), error))?;
    let key = key::load_private(&arguments.key).map_err(|error| Failure::failed(what(), error))?;
    let arch = arguments.arch.unwrap_or(base::Arch::host());
    let image = layout
        .image(arguments.tag.as_deref(), arch)
        .map_err(|error| Failure::failed(what(), error))?;
    let digest = image.descriptor.digest;
    let store = session.store()?;
    let record = ImageRecord::find(&store, &digest)
        .map_err(|error| Failure::failed(what(), error))?
        .ok_or_else(|| Failure::failed(what(), NoRecord(digest)))?;
    let attached = image::attach_all(
        &layout,
        &image.descriptor,
        &record.sbom,
        Some(record.provenance),
        &[&key],
        record.epoch,
    )
    .map_err(|error| Failure::failed(what(), error))?;
    session.notice(&format!(
        "{digest}: signed; {} statements attached to {}",
        attached.len(),
        arguments.layout.display()
    ));
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the store knows nothing of how {0} was made: sign it where `polpo image build` made it, with the same --store"
)]
struct NoRecord(base::Digest);

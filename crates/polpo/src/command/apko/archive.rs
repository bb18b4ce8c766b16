//! The archive that `apko build` writes.

use std::path::Path;

use oci::Layout;
use oci::packed::pack_apko;
use oci::registry::{InvalidReference, Reference};

use crate::output::failure::Failure;

/// Writes the one image of a layout, for every architecture that it is made for, and gives the names that
/// they have in the archive.
pub(crate) fn archive(
    layout: &Path,
    reference: &Reference,
    output: &Path,
) -> Result<Vec<String>, Failure> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::failed(format!("{} was not written", output.display()), error)
    };
    let layout = Layout::open(layout).map_err(|error| failed(error.into()))?;
    pack_apko(&layout, None, reference, output).map_err(|error| failed(error.into()))
}

/// A name as docker completes it: nothing is sent by it.
pub(super) fn reference(name: &str) -> Result<Reference, Failure> {
    let parsed = match name.parse() {
        Err(InvalidReference::NoRegistry { proposed, .. }) => proposed.parse(),
        parsed => parsed,
    };
    let reference: Reference = parsed.map_err(|error| Failure::Usage(error.to_string()))?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(Failure::Usage(format!(
            "`{name}` has a digest; the image that is built has its own: give a name and a tag"
        ))),
    }
}

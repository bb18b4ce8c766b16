use serde::Serialize;

use crate::arguments::image::Clean;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::Session;

#[derive(Serialize)]
struct Cleaned {
    store: String,
    bytes: u64,
    removed: bool,
}

pub(crate) fn run(arguments: &Clean, session: &Session<'_>) -> Result<(), Failure> {
    let store = session.store()?;
    let failed = |error| Failure::failed("the store was not cleaned", error);
    let bytes = store.size().map_err(failed)?;
    if !arguments.dry_run {
        store.clear().map_err(failed)?;
    }
    let cleaned = Cleaned {
        store: store.root().display().to_string(),
        bytes,
        removed: !arguments.dry_run,
    };
    Printer::new(arguments.format).print(&cleaned, |cleaned| {
        let verb = if cleaned.removed {
            "removed"
        } else {
            "would remove"
        };
        format!("{}: {verb} {} bytes", cleaned.store, cleaned.bytes)
    })
}

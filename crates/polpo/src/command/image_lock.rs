use std::path::PathBuf;

use super::image_plans::{self, Planned};
use crate::arguments::image::ImageLock;
use crate::output::failure::Failure;
use crate::output::print_raw;
use crate::settings::Session;

pub(crate) async fn run(arguments: &ImageLock, session: &Session<'_>) -> Result<(), Failure> {
    let what = format!("{} was not locked", arguments.file.config.display());
    let planned = image_plans::plan(&arguments.file, None, None, &what, session).await?;
    let Planned {
        loaded,
        plans,
        keys,
        store,
    } = &planned;
    let name = arguments.file.config.display().to_string();
    let mut lock = image::lock::lock(loaded, &name, keys, plans, store)
        .map_err(|error| image_plans::lock_failure(&what, error))?;
    let failed = |error| Failure::failed(what.clone(), error);
    if !arguments.file.parity {
        lock.checksum = Some(lock.seal().map_err(failed)?);
    }
    let bytes = lock.to_bytes().map_err(failed)?;
    let output = match &arguments.output {
        Some(output) if output.as_os_str() == "-" => {
            return print_raw(&String::from_utf8_lossy(&bytes));
        }
        Some(output) => output.clone(),
        None => default_output(arguments),
    };
    store::write_atomically(&output, &bytes)
        .map_err(|error| Failure::failed(what.clone(), error))?;
    session.notice(&format!(
        "{}: {} packages",
        output.display(),
        lock.contents.packages.len()
    ));
    Ok(())
}

fn default_output(arguments: &ImageLock) -> PathBuf {
    arguments.file.config.with_extension("lock.json")
}

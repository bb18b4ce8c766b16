use std::path::{Path, PathBuf};

use base::{Arch, Epoch, Event, Reporter};
use distro::seed::{Import, Lock, Seed, import};

use crate::arguments::SourceImport;
use crate::command::source_lock::failure;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) fn run(arguments: &SourceImport, session: &Session<'_>) -> Result<(), Failure> {
    let what = || format!("{} can't be imported", arguments.lock.display());
    let seed_path = seed_path(arguments)?;
    let seed = Seed::load(&seed_path).map_err(|error| failure(what(), error))?;
    let lock = Lock::load(&arguments.lock).map_err(|error| failure(what(), error))?;
    let ground = seed.ground(&seed_path);
    let ground = ground.map_err(|error| failure(what(), error))?;
    let signer = settings::signer(&arguments.signing_key)?;
    let store = session.store()?;
    let request = Import {
        seed: &seed,
        lock: &lock,
        ground: ground.as_ref(),
        arch: arguments.arch.unwrap_or(Arch::host()),
        folder: &arguments.out_dir,
        signer: &signer,
        epoch: Epoch(arguments.source_date_epoch),
        offline: session.offline,
    };
    let imported =
        import(&request, &store, session.reporter()).map_err(|error| failure(what(), error))?;
    let message = format!(
        "{}: {} packages, {} of them converted now; {} MB packed, {} MB installed",
        arguments.out_dir.display(),
        imported.packages,
        imported.converted,
        imported.size / 1_000_000,
        imported.installed_size / 1_000_000
    );
    session.progress.report(Event::Notice { message: &message });
    Ok(())
}

/// The seed list that the lock was made of: `seed.lock.yaml` belongs to `seed.yaml`.
fn seed_path(arguments: &SourceImport) -> Result<PathBuf, Failure> {
    if let Some(seed) = &arguments.seed {
        return Ok(seed.clone());
    }
    let name = arguments.lock.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| name.strip_suffix(".lock.yaml")) {
        Some(stem) => Ok(arguments
            .lock
            .parent()
            .unwrap_or(Path::new(""))
            .join(format!("{stem}.yaml"))),
        None => Err(Failure::Usage(format!(
            "{} is not called NAME.lock.yaml: name its seed list with --seed",
            arguments.lock.display()
        ))),
    }
}

use std::path::{Path, PathBuf};

use base::{Arch, Event, Reporter};
use distro::seed::{Seed, SeedError, resolve};

use crate::arguments::SourceLock;
use crate::output::failure::Failure;
use crate::settings::Session;

/// `seed.yaml` has its lock in `seed.lock.yaml`.
pub(crate) fn lock_path(seed: &Path) -> PathBuf {
    seed.with_extension("lock.yaml")
}

pub(crate) fn failure(what: String, error: SeedError) -> Failure {
    match error {
        SeedError::Problems(problems) => Failure::Problems(problems),
        error => Failure::failed(what, error),
    }
}

pub(crate) fn run(arguments: &SourceLock, session: &Session<'_>) -> Result<(), Failure> {
    let what = || format!("{} can't be resolved", arguments.seed.display());
    let seed = Seed::load(&arguments.seed).map_err(|error| failure(what(), error))?;
    let arches = match arguments.arch.as_slice() {
        [] => &[Arch::host()][..],
        arches => arches,
    };
    let store = session.store()?;
    let ground = seed.ground(&arguments.seed);
    let ground = ground.map_err(|error| failure(what(), error))?;
    let lock = resolve(
        &seed,
        ground.as_ref(),
        arches,
        session.offline,
        &store,
        session.reporter(),
    )
    .map_err(|error| failure(what(), error))?;
    let output = arguments
        .output
        .clone()
        .unwrap_or_else(|| lock_path(&arguments.seed));
    lock.save(&output)
        .map_err(|error| failure(format!("{} can't be written", output.display()), error))?;
    for (arch, packages) in &lock.packages {
        let count = packages.len();
        let message = format!("{}: {count} packages for {arch}", output.display());
        session.progress.report(Event::Notice { message: &message });
    }
    Ok(())
}

use std::process::ExitCode;

use base::Arch;
use build::rebuild::{RebuildError, RebuildOptions, RebuildReport, rebuild};
use key::PublicKey;

use crate::arguments::Rebuild;
use crate::arguments::machine::Folders;
use crate::command::build::executor;
use crate::command::interruptible;
use crate::command::recipes;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) async fn run(arguments: &Rebuild, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let what = || format!("{} was not built again", arguments.package.display());
    let signer = arguments
        .signing_key
        .as_deref()
        .map(settings::signer)
        .transpose()?;
    let arch = Arch::host();
    let (repositories, keyring) = settings::repositories(&arguments.repositories, arch)?;
    let access = settings::access(&arguments.repositories, session)?;
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let mut trusted: Vec<PublicKey> = keyring.keys().map(|(_, key)| key.clone()).collect();
    for path in &arguments.key {
        let key = key::load_public(path).map_err(|error| Failure::failed(what(), error))?;
        trusted.push(key);
    }
    let store = session.store()?;
    let executor = executor(&store, &Folders::default(), &arguments.runner)?;
    let options = RebuildOptions {
        repositories: &repositories,
        keyring: &keyring,
        access: &access,
        origins: &origins,
        source_folder: arguments.source_dir.as_deref(),
        provenance: arguments.provenance.as_deref(),
        trusted: &trusted,
        signer: signer.as_ref(),
        out: arguments.out_dir.as_deref(),
    };
    let report = interruptible(rebuild(
        &store,
        &executor,
        &arguments.package,
        &options,
        session.reporter(),
    ))
    .await?
    .map_err(|error| match error {
        RebuildError::Recipe { problems, .. } => Failure::Problems(problems),
        error => Failure::failed(what(), error),
    })?;
    Printer::new(arguments.format).print(&report, RebuildReport::to_string)?;
    Ok(if report.is_equal() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

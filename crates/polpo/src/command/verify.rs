use std::process::ExitCode;

use base::Arch;
use image::verify::{VerifyReport, VerifyRequest, verify};
use oci::Layout;

use crate::arguments::Verify;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) async fn run(arguments: &Verify, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let what = || format!("{} can't be verified", arguments.layout.display());
    let layout = Layout::open(&arguments.layout).map_err(|error| Failure::failed(what(), error))?;
    let arch = arguments.arch.unwrap_or(Arch::host());
    let keys = arguments
        .key
        .iter()
        .map(|path| key::load_public(path))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::failed(what(), error))?;
    let trusted = settings::trusted(&arguments.repositories, arch, session).await?;
    let report = verify(&VerifyRequest {
        layout: &layout,
        tag: arguments.tag.as_deref(),
        arch,
        keys: &keys,
        repositories: &trusted.repositories,
        access: &trusted.access,
        keyring: &trusted.keyring,
        reporter: session.reporter(),
    })
    .await
    .map_err(|error| Failure::failed(what(), error))?;
    Printer::new(arguments.format).print(&report, VerifyReport::to_string)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

use std::path::Path;
use std::process::ExitCode;

use apk::adb::schema::INSTALLED_FILE;
use apk::adb::{Compressor, Signature, Signed, Writer};
use apk::database;
use clap::Args;
use store::AtomicFile;

use super::context::{Context, Needs};
use super::making::{Accounts, Generating};
use super::options::Generation;
use crate::output::failure::Failure;

/// The file that is written, in the current folder.
const FILE: &str = "installed.adb";

#[derive(Debug, Args)]
#[command(after_help = "The database of --root is written to installed.adb in the current folder.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    generation: Generation,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let generating = Generating::new(&arguments.generation)?;
    let needs = Needs {
        system_repositories: false,
        other_repositories: false,
        ..Needs::default()
    };
    let system = context.open(&needs).await?;
    let accounts = Accounts::of(context.root())?;
    let packages = system.root.as_ref().map(|root| root.installed());
    let payload = database::to_adb(packages.unwrap_or_default(), &accounts)
        .map_err(|error| Failure::failed("the database can't be converted", error))?;
    let signed = Signed::new(INSTALLED_FILE.id, &payload);
    let signatures = generating
        .signers
        .iter()
        .map(|signer| signer.sign_adb(&signed))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::failed("the database can't be signed", error))?;
    write(&payload, &signatures, &generating)?;
    Ok(ExitCode::SUCCESS)
}

fn write(payload: &[u8], signatures: &[Signature], generating: &Generating) -> Result<(), Failure> {
    let what = || format!("{FILE} is not written");
    let mut placed =
        AtomicFile::create(Path::new(FILE)).map_err(|error| Failure::failed(what(), error))?;
    let mut write = || {
        let out = Compressor::new(&mut placed, generating.compression())?;
        let mut out = Writer::new(out, INSTALLED_FILE.id)?;
        out.head(payload, signatures)?;
        out.into_inner().finish().map(drop)
    };
    write().map_err(|error| Failure::failed(what(), error))?;
    placed
        .commit()
        .map_err(|error| Failure::failed(what(), error))
}

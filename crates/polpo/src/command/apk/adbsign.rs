use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::adb::{Resign, ResignError, resign};
use apk::signature::Signer;
use archive::Limits;
use clap::Args;
use serde::Serialize;
use store::{AtomicFile, WriteError};

use super::context::Context;
use super::making::{self, Generating, REFUSED};
use super::options::Generation;
use super::verify::system_words;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apk adbsign --sign-key me.rsa Packages.adb           # beside the signatures that it has
  apk adbsign --reset-signatures --compression zstd:19 --sign-key me.rsa *.apk")]
pub(crate) struct Arguments {
    /// Leave out the signatures that the files have
    #[arg(long)]
    reset_signatures: bool,
    /// How the outcome is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    generation: Generation,
    /// Packages, indexes and installed databases of format 3
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// A file can't be signed.
#[derive(Debug, thiserror::Error)]
enum SignError {
    #[error("{}", system_words(.0))]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Resign(#[from] ResignError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What became of a file.
#[derive(Serialize)]
struct Outcome<'o> {
    file: &'o Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let generating = Generating::new(&arguments.generation)?;
    let signers: Vec<&Signer> = generating.signers.iter().collect();
    let how = Resign {
        signers: &signers,
        reset: arguments.reset_signatures,
        compression: generating.compression,
        keyring: making::keyring(context)?,
    };
    let outcomes: Vec<Outcome<'_>> = arguments
        .files
        .iter()
        .map(|path| {
            let error = sign(path, &how).err().map(|error| error.to_string());
            if let Some(error) = &error {
                context
                    .console
                    .error(&format!("{}: {error}", path.display()));
            }
            Outcome { file: path, error }
        })
        .collect();
    let failed = outcomes.iter().any(|outcome| outcome.error.is_some());
    Printer::new(arguments.format).print(&outcomes, |_| String::new())?;
    Ok(match failed {
        true => ExitCode::from(REFUSED),
        false => ExitCode::SUCCESS,
    })
}

/// Puts the signed file in the place of the other one.
fn sign(path: &Path, how: &Resign<'_>) -> Result<(), SignError> {
    let file = BufReader::new(File::open(path)?);
    let placed = AtomicFile::create(path)?;
    let placed = resign(file, placed, how, Limits::default())?;
    Ok(placed.commit()?)
}

use std::path::PathBuf;
use std::process::ExitCode;

use apk::index::{AdbIndex, Index};
use apk::signature::Signer;
use clap::Args;

use super::context::Context;
use super::making::{self, Generating};
use super::options::Generation;
use crate::output::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apk convndx --sign-key me.rsa APKINDEX.tar.gz > Packages.adb")]
pub(crate) struct Arguments {
    #[command(flatten)]
    generation: Generation,
    /// Indexes; several become one
    #[arg(value_name = "INDEX")]
    indexes: Vec<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    making::check_stdout(context.global)?;
    let generating = Generating::new(&arguments.generation)?;
    let signers: Vec<&Signer> = generating.signers.iter().collect();
    let keyring = making::keyring(context)?;
    let mut converted = AdbIndex::new();
    for path in &arguments.indexes {
        let index = match keyring {
            Some(keyring) => Index::read(path, keyring),
            None => Index::read_unverified(path),
        };
        let index = match index {
            Ok(index) => index,
            // It names the file.
            Err(error) => return Ok(making::refuse(context, &error.to_string())),
        };
        for entry in &index.entries {
            // Without what is broken it would ask for less than it needs.
            match entry.info.defects.iter().find(|defect| defect.fatal) {
                Some(defect) => context.console.warning(&format!(
                    "{}: {} is left out: {}",
                    path.display(),
                    entry.info.file_name(),
                    defect.reason
                )),
                None => converted.add(entry),
            }
        }
        if context.console.verbosity() >= 1 {
            let count = format!("{}: {} packages", path.display(), converted.len());
            context.console.explanation(&count);
        }
    }
    let bytes = converted
        .finish("", None, &signers, generating.compression())
        .map_err(|error| Failure::failed("the index is not written", error))?;
    making::to_stdout(&bytes)?;
    Ok(ExitCode::SUCCESS)
}

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::adb::text::parse;
use apk::adb::{MAXIMUM_PAYLOAD, Writer};
use clap::Args;

use super::context::Context;
use super::making;
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Texts as `adbdump` writes them
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    if !arguments.files.is_empty() {
        making::check_stdout(context.global)?;
    }
    for path in &arguments.files {
        match generate(path) {
            Ok(bytes) => making::to_stdout(&bytes)?,
            Err(why) => {
                let why = format!("{}: {why}", path.display());
                return Ok(making::refuse(context, &why));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The file that a text describes, neither signed nor compressed, as apk leaves it; or why not.
fn generate(path: &Path) -> Result<Vec<u8>, String> {
    // A text says each value once more than its payload, and its key.
    let limit = MAXIMUM_PAYLOAD * 4;
    let text = store::read_bounded(path, limit).map_err(|error| error.to_string())?;
    let parsed = parse(&text).map_err(|error| error.to_string())?;
    let write = || -> io::Result<Vec<u8>> {
        let mut writer = Writer::new(Vec::new(), parsed.schema)?;
        writer.head(&parsed.payload, &[])?;
        Ok(writer.into_inner())
    };
    write().map_err(|error| error.to_string())
}

//! One file per command.

mod completions;
mod key_generate;

use std::process::ExitCode;

use crate::arguments::{Command, Key};
use crate::output::failure::Failure;
use crate::settings::Session;

/// Runs a command.
pub(crate) async fn run(command: Command, session: &Session<'_>) -> Result<ExitCode, Failure> {
    match command {
        Command::Key(Key::Generate(arguments)) => key_generate::run(&arguments, session)?,
        Command::Completions { shell } => completions::run(shell),
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

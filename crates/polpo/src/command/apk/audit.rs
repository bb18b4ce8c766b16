use std::process::ExitCode;

use clap::Args;

use super::context::Context;
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {}

pub(crate) async fn run(
    _arguments: &Arguments,
    _context: &Context<'_>,
) -> Result<ExitCode, Failure> {
    Err(Failure::Usage("`audit` is not there yet".to_owned()))
}

//! The program: arguments, settings, output and exit codes. The work is done by the crates below.

mod arguments;
mod command;
mod output;
mod settings;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use output::failure::Failure;
use output::{Progress, ProgressKind};
use settings::Session;

fn main() -> ExitCode {
    // A sandbox is entered before any thread exists: namespaces are joined by one thread alone.
    build::sandbox::init_if_requested();
    let arguments = Arguments::parse();
    let mut progress = arguments.global.progress;
    if arguments.command.may_open_shell() && progress != ProgressKind::Json {
        // Bars would be drawn over the shell.
        progress = ProgressKind::Lines;
    }
    let progress = Progress::new(progress, arguments.global.verbose);
    match run(arguments, &progress) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody can be told that stderr is gone; the exit code still says it.
            let _ = std::io::stderr()
                .lock()
                .write_all(failure.text(progress.colour()).as_bytes());
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments, progress: &Progress) -> Result<ExitCode, Failure> {
    let session = Session::new(arguments.global, progress)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the asynchronous runtime can't start", error))?;
    runtime.block_on(command::run(arguments.command, &session))
}

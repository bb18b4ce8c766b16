//! The program: arguments, settings, output and exit codes. The work is done by the crates below.

mod arguments;
mod command;
mod output;
mod settings;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use output::failure::Failure;
use output::{Progress, ProgressKind};
use settings::Session;

/// Plans are made of a great many small pieces, which the C library's allocator is slow with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A sandbox is entered before any thread exists: namespaces are joined by one thread alone.
    build::sandbox::init_if_requested();
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(words) = for_apk(&words) {
        let arguments = match command::apk::Arguments::read(words) {
            Ok(arguments) => arguments,
            Err(answered) => return answer(&answered),
        };
        let progress = arguments.progress();
        let result = start(|| command::apk::run(&arguments, &progress));
        return finish(result, &progress);
    }
    let arguments = Arguments::parse_from(words);
    let mut progress = arguments.global.progress;
    if arguments.command.may_open_shell() && progress != ProgressKind::Json {
        // Bars would be drawn over the shell.
        progress = ProgressKind::Lines;
    }
    let progress = Progress::new(progress, arguments.global.verbose);
    let result = Session::new(arguments.global, &progress)
        .and_then(|session| start(|| command::run(arguments.command, &session)));
    finish(result, &progress)
}

/// The words of apk's command line: the program goes by that name, or that is its first word.
fn for_apk(words: &[OsString]) -> Option<&[OsString]> {
    let name = words.first().map(Path::new).and_then(Path::file_name);
    if name == Some("apk".as_ref()) {
        words.get(1..)
    } else if words.get(1).is_some_and(|word| word == "apk") {
        words.get(2..)
    } else {
        None
    }
}

/// The one place where the program waits.
fn start<F: Future<Output = Result<ExitCode, Failure>>>(
    work: impl FnOnce() -> F,
) -> Result<ExitCode, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the asynchronous runtime can't start", error))?
        .block_on(work())
}

fn answer(answered: &command::apk::Answered) -> ExitCode {
    // Nobody can be told that the stream is gone; the exit code still says how it ended.
    let text = answered.text.as_bytes();
    if answered.refused {
        let _ = std::io::stderr().lock().write_all(text);
        return ExitCode::from(2);
    }
    let _ = std::io::stdout().lock().write_all(text);
    ExitCode::SUCCESS
}

fn finish(result: Result<ExitCode, Failure>, progress: &Progress) -> ExitCode {
    result.unwrap_or_else(|failure| {
        // Nobody can be told that stderr is gone; the exit code still says it.
        let _ = std::io::stderr()
            .lock()
            .write_all(failure.shown(progress.colour()).as_bytes());
        failure.exit_code()
    })
}

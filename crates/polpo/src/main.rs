//! The program: arguments, settings, output and exit codes. The work is done by the crates below.

mod arguments;
mod command;
mod output;
mod settings;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use base::{Event, Reporter};
use clap::Parser;

use arguments::Arguments;
use command::apk::Answered;
use command::other_program::{self, Call, Calls, Program, Stop};
use output::failure::Failure;
use output::{Progress, ProgressKind};
use settings::Session;

/// Plans are made of a great many small pieces, which the C library's allocator is slow with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A sandbox is entered before any thread exists: namespaces are joined by one thread alone.
    build::sandbox::init_if_requested();
    build::signing::serve_if_requested(settings::open_to_sign);
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(words) = after_name(&words, "apk") {
        return apk(words);
    }
    for program in other_program::PROGRAMS {
        if let Some(words) = after_name(&words, program.name) {
            return other_program(program, words);
        }
    }
    polpo(Arguments::parse_from(words))
}

fn polpo(arguments: Arguments) -> ExitCode {
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

fn apk(words: &[OsString]) -> ExitCode {
    let arguments = match command::apk::Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(answered) => return answer(&answered),
    };
    let progress = arguments.progress();
    let result = start(|| command::apk::run(&arguments, &progress));
    finish(result, &progress)
}

/// One after the other, until one fails. Other programs have one exit code for every failure.
fn other_program(program: &Program, words: &[OsString]) -> ExitCode {
    let progress = Progress::new(ProgressKind::default(), false);
    let code = match other_program::read(program, words) {
        Ok(calls) => all(&calls, &progress),
        Err(Stop::Answered(answered)) => answer(&answered),
        Err(Stop::Failure(failure)) => finish(Err(failure), &progress),
    };
    match code {
        code if code == ExitCode::SUCCESS || code == ExitCode::from(130) => code,
        _ => ExitCode::from(1),
    }
}

fn all(calls: &Calls, progress: &Progress) -> ExitCode {
    for note in &calls.notes {
        progress.report(Event::Notice { message: note });
    }
    if let Some(folder) = &calls.folder
        && let Err(error) = std::env::set_current_dir(folder)
    {
        let what = format!("--workdir {} can't be worked in", folder.display());
        return finish(Err(Failure::failed(what, error)), progress);
    }
    let mut codes = calls.calls.iter().map(|call| one(call, progress));
    codes
        .find(|code| *code != ExitCode::SUCCESS)
        .unwrap_or(ExitCode::SUCCESS)
}

fn one(call: &Call, progress: &Progress) -> ExitCode {
    match call {
        Call::Apk(words) => apk(words),
        Call::Polpo(words) => {
            let words = std::iter::once(OsString::from("polpo")).chain(words.iter().cloned());
            match Arguments::try_parse_from(words) {
                Ok(arguments) => polpo(arguments),
                Err(error) => answer(&Answered {
                    text: error.render().to_string(),
                    refused: error.use_stderr(),
                }),
            }
        }
        Call::Archive {
            layout,
            reference,
            output,
        } => {
            let written = command::apko::archive(layout, reference, output);
            if let Ok(names) = &written {
                let message = format!("{}: {}", output.display(), names.join(", "));
                progress.report(Event::Notice { message: &message });
            }
            finish(written.map(|_| ExitCode::SUCCESS), progress)
        }
        Call::Sign { key, packages } => {
            let signed = command::melange::sign(key, packages);
            finish(signed.map(|()| ExitCode::SUCCESS), progress)
        }
        Call::SignIndex { key, index, force } => {
            let signed = command::melange::sign_index(key, index, *force);
            if let Ok(false) = signed {
                let message = format!("{} is signed already", index.display());
                progress.report(Event::Notice { message: &message });
            }
            finish(signed.map(|_| ExitCode::SUCCESS), progress)
        }
    }
}

/// The words of another program's command line: polpo goes by its name, or that is the first word.
fn after_name<'w>(words: &'w [OsString], name: &str) -> Option<&'w [OsString]> {
    let called = words.first().map(Path::new).and_then(Path::file_name);
    if called.is_some_and(|called| called == name) {
        words.get(1..)
    } else if words.get(1).is_some_and(|word| word == name) {
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

fn answer(answered: &Answered) -> ExitCode {
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
        progress.fail(&failure);
        failure.exit_code()
    })
}

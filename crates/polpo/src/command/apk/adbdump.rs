use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::adb::text::{Dump, DumpError};
use apk::adb::{AdbError, Reader};
use apk::serialize::{Form, Serializer};
use apk::signature::Keyring;
use archive::Limits;
use clap::{Args, ValueEnum};

use super::context::Context;
use super::making::{self, REFUSED};
use super::options::Decision;
use super::verify::system_words;
use crate::output::failure::Failure;
use crate::output::terminal::Stdout;

/// How a file is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// As `yaml`.
    #[default]
    Default,
    /// For people, and for `adbgen`.
    Yaml,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How files are shown
    #[arg(long, value_enum, default_value_t)]
    format: Shape,
    /// Packages, indexes and installed databases of format 3
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let form = match arguments.format {
        Shape::Default | Shape::Yaml => Form::Yaml,
        Shape::Json => Form::Json,
    };
    let pretty = match context.global.pretty_print {
        Decision::Yes => true,
        Decision::No => false,
        Decision::Auto => io::stdout().is_terminal(),
    };
    let keyring = context.keyring()?;
    for path in &arguments.files {
        let mut out = BufWriter::new(Stdout::new());
        let shown = dump(path, form, pretty, keyring, &mut out);
        let flushed = out.flush();
        match shown {
            Err(DumpError::Write(error)) => return ended(error),
            Err(error) => {
                let reason = match &error {
                    DumpError::Adb(AdbError::Io(error)) => system_words(error),
                    error => error.to_string(),
                };
                let why = format!("{}: {reason}", path.display());
                return Ok(making::refuse(context, &why));
            }
            Ok(()) => {}
        }
        if let Err(error) = flushed {
            return ended(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ended(error: io::Error) -> Result<ExitCode, Failure> {
    match error.kind() {
        // Whoever read the output has seen enough.
        io::ErrorKind::BrokenPipe => Ok(ExitCode::from(REFUSED)),
        _ => Err(Failure::failed("the text can't be printed", error)),
    }
}

fn dump(
    path: &Path,
    form: Form,
    pretty: bool,
    keyring: &Keyring,
    out: &mut impl Write,
) -> Result<(), DumpError> {
    let file = File::open(path).map_err(apk::adb::AdbError::Io)?;
    let mut reader = Reader::new(io::BufReader::new(file), Limits::default())?;
    Dump::new(&mut Serializer::new(form, pretty, out)).file(&mut reader, keyring)
}

use std::io::{self, Write};

use serde::Serialize;

use super::failure::Failure;
use super::terminal;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints a command's result on stdout, the only place where polpo does so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Printer {
    format: Format,
}

impl Printer {
    pub(crate) fn new(format: Format) -> Printer {
        Printer { format }
    }

    /// Prints `value` as JSON, or what `text` makes of it.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let mut out = match self.format {
            Format::Text => text(value),
            Format::Json => serde_json::to_string_pretty(value)
                .map_err(|error| Failure::failed("the result can't be written as JSON", error))?,
        };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        print_raw(&out)
    }
}

/// Prints a command's result on stdout as it is, but for what a terminal would obey.
pub(crate) fn print_raw(out: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(terminal::for_stdout(out).as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed("the result can't be printed", error)),
        Ok(()) => Ok(()),
    }
}

//! Command lines of other programs, `polpo melange …` and `polpo apko …`, or polpo called by such a name.
//! Each program is a table of commands and options and a function that translates what was said into
//! calls of polpo's own commands.

mod given;
pub(in crate::command) mod table;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use oci::registry::Reference;

pub(in crate::command) use given::Given;
pub(crate) use table::Program;

use super::apk::Answered;
use crate::output::failure::Failure;

/// Every such program.
pub(crate) const PROGRAMS: [&Program; 2] = [&super::apko::PROGRAM, &super::melange::PROGRAM];

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A command line of polpo's, without the program's name.
    Polpo(Vec<OsString>),
    /// One of apk's, without the program's name.
    Apk(Vec<OsString>),
    /// Write what `docker load` reads of the image of every architecture in a layout.
    Archive {
        /// The layout.
        layout: PathBuf,
        /// The image's name; the architecture follows its tag.
        reference: Reference,
        /// The archive.
        output: PathBuf,
    },
    /// Sign an index.
    SignIndex {
        /// The private key.
        key: PathBuf,
        /// The index.
        index: PathBuf,
        /// Whether signatures that are there are replaced.
        force: bool,
    },
    /// Sign packages anew.
    Sign {
        /// The private key.
        key: PathBuf,
        /// The packages.
        packages: Vec<PathBuf>,
    },
}

/// What a command line asks for, in order.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) calls: Vec<Call>,
    /// What was said and has no effect.
    pub(crate) notes: Vec<String>,
    /// The folder to work in.
    pub(crate) folder: Option<PathBuf>,
    /// What lies between two calls; it goes with this value.
    pub(crate) _scratch: Option<tempfile::TempDir>,
}

/// Why there is nothing to be called.
pub(crate) enum Stop {
    /// The command line was answered or refused.
    Answered(Answered),
    /// It can't be translated.
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

/// Reads the words behind the program's name.
pub(crate) fn read(program: &Program, words: &[OsString]) -> Result<Calls, Stop> {
    let line = std::iter::once(OsString::from(program.name)).chain(words.iter().cloned());
    let matches = program
        .command()
        .try_get_matches_from(line)
        .map_err(|error| {
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            Stop::Answered(Answered {
                text: error.render().to_string(),
                refused: !asked,
            })
        })?;
    let found = matches.subcommand().and_then(|(name, matches)| {
        let mut commands = program.commands.iter();
        let command = commands.find(|command| command.name == name)?;
        Some(Given { command, matches })
    });
    // clap asks for a command, and knows those of the table alone.
    let Some(given) = found else {
        return Ok(Calls::default());
    };
    let (fewest, most) = given.command.count;
    let count = given.operands().len();
    if !(fewest..=most).contains(&count) {
        return Err(usage(format!(
            "{} {} takes {}; {count} words are there",
            program.name, given.command.name, given.command.operands
        ))
        .into());
    }
    if given.is_on("ignore-signatures") {
        return Err(usage(
            "indexes whose signature nobody checked are not used; name the key by -k, or leave \
             --ignore-signatures out",
        )
        .into());
    }
    let calls = (program.translate)(&given)?;
    Ok(Calls {
        notes: given.notes(),
        ..calls
    })
}

/// The words of a call.
pub(in crate::command) fn words(line: &[&str], more: Vec<OsString>) -> Vec<OsString> {
    let line = line.iter().map(|word| OsString::from(*word));
    line.chain(more).collect()
}

pub(in crate::command) fn usage(message: impl Into<String>) -> Failure {
    Failure::Usage(message.into())
}

#[cfg(test)]
pub(in crate::command) mod tests;

//! apko's command line: `polpo apko …`, or polpo called by the name `apko`. It is translated into
//! calls of polpo's own commands.

mod flags;
mod translate;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;

pub(crate) use flags::command;

use super::apk::Answered;
use super::melange::{Given, Stop};

/// What a command line of apko's asks for.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Command lines of polpo's without the program's name, in order.
    pub(crate) calls: Vec<Vec<OsString>>,
    /// What was said and has no effect.
    pub(crate) notes: Vec<String>,
    /// The folder to work in.
    pub(crate) folder: Option<PathBuf>,
    /// A layout that lies between two calls; it goes with this value.
    pub(crate) _scratch: Option<tempfile::TempDir>,
}

/// Reads the words after `apko`.
pub(crate) fn read(words: &[OsString]) -> Result<Calls, Stop> {
    let line = std::iter::once(OsString::from("apko")).chain(words.iter().cloned());
    let matches = command().try_get_matches_from(line).map_err(|error| {
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
        let command = flags::COMMANDS
            .iter()
            .find(|command| command.name == name)?;
        Some(Given { command, matches })
    });
    match found {
        Some(given) => Ok(translate::translate(&given)?),
        // clap asks for a command, and knows those of the table alone.
        None => Ok(Calls {
            calls: Vec::new(),
            notes: Vec::new(),
            folder: None,
            _scratch: None,
        }),
    }
}

#[cfg(test)]
mod tests;

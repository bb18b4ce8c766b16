//! melange's command line: `polpo melange …`, or polpo called by the name `melange`. It is translated
//! into calls of polpo's own commands.

pub(super) mod flags;
mod resign;
mod translate;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::error::ErrorKind;

pub(crate) use flags::command;
pub(crate) use resign::{sign, sign_index};
pub(super) use translate::seconds_since_1970;

use super::apk::Answered;
use crate::output::failure::Failure;

/// Something to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A command line of polpo's, without the program's name.
    Polpo(Vec<OsString>),
    /// One of apk's, without the program's name.
    Apk(Vec<OsString>),
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

/// What a command line of melange's asks for, in order.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) calls: Vec<Call>,
    /// What was said and has no effect.
    pub(crate) notes: Vec<String>,
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

/// Reads the words after `melange`.
pub(crate) fn read(words: &[OsString]) -> Result<Calls, Stop> {
    let line = std::iter::once(OsString::from("melange")).chain(words.iter().cloned());
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
        Some((command, matches))
    });
    match found {
        Some((command, matches)) => translate::translate(&Given { command, matches }),
        // clap asks for a command, and knows those of the table alone.
        None => Ok(Calls {
            calls: Vec::new(),
            notes: Vec::new(),
        }),
    }
}

/// A command and what was said to it.
pub(super) struct Given<'m> {
    pub(super) command: &'static flags::Command,
    pub(super) matches: &'m ArgMatches,
}

impl Given<'_> {
    pub(super) fn was_said(&self, long: &str) -> bool {
        self.matches.value_source(long) == Some(clap::parser::ValueSource::CommandLine)
    }

    pub(super) fn value(&self, long: &str) -> Option<&str> {
        let value = self.matches.try_get_one::<String>(long);
        value.ok().flatten().map(String::as_str)
    }

    pub(super) fn list(&self, long: &str) -> Vec<&str> {
        let values = self.matches.try_get_many::<String>(long);
        let values = values.ok().flatten();
        values.into_iter().flatten().map(String::as_str).collect()
    }

    pub(super) fn is_on(&self, long: &str) -> bool {
        let value = self.matches.try_get_one::<bool>(long);
        value.ok().flatten().copied().unwrap_or(false)
    }

    pub(super) fn operands(&self) -> Vec<&str> {
        match self.command.count {
            (_, 0) => Vec::new(),
            _ => self.list("operands"),
        }
    }

    /// The options that polpo has too, in polpo's words.
    pub(super) fn passed_on(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        for flag in self.command.flags().filter(|flag| self.was_said(flag.long)) {
            let option = match flag.fate {
                flags::Fate::Same => format!("--{}", flag.long),
                flags::Fate::As(option) => option.to_owned(),
                flags::Fate::Own(_) | flags::Fate::Nothing(_) => continue,
            };
            match flag.kind {
                flags::Kind::Switch if self.is_on(flag.long) => words.push(option.into()),
                flags::Kind::Switch => {}
                flags::Kind::Value => {
                    let value = self.value(flag.long).unwrap_or_default();
                    words.push(format!("{option}={value}").into());
                }
                flags::Kind::List => {
                    for value in self.list(flag.long) {
                        words.push(format!("{option}={value}").into());
                    }
                }
            }
        }
        if self
            .value("log-level")
            .is_some_and(|level| level.eq_ignore_ascii_case("debug"))
        {
            words.push("--verbose".into());
        }
        // Each of several ways to say it counts once.
        let mut verbose = false;
        words.retain(|word| word != "--verbose" || !std::mem::replace(&mut verbose, true));
        words
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let said = self.command.flags().filter(|flag| self.was_said(flag.long));
        said.filter_map(|flag| match flag.fate {
            flags::Fate::Nothing(why) => Some(format!("--{} has no effect: {why}", flag.long)),
            _ => None,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;

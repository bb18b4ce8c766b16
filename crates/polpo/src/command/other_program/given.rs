use std::ffi::OsString;

use base::Epoch;
use clap::ArgMatches;

use super::table::{Command, Fate, Kind};
use crate::output::failure::Failure;

/// A command and what was said to it.
pub(in crate::command) struct Given<'m> {
    pub(in crate::command) command: &'static Command,
    pub(in crate::command) matches: &'m ArgMatches,
}

impl Given<'_> {
    pub(in crate::command) fn was_said(&self, long: &str) -> bool {
        self.matches.value_source(long) == Some(clap::parser::ValueSource::CommandLine)
    }

    pub(in crate::command) fn value(&self, long: &str) -> Option<&str> {
        let value = self.matches.try_get_one::<String>(long);
        value.ok().flatten().map(String::as_str)
    }

    pub(in crate::command) fn list(&self, long: &str) -> Vec<&str> {
        let values = self.matches.try_get_many::<String>(long);
        let values = values.ok().flatten();
        values.into_iter().flatten().map(String::as_str).collect()
    }

    pub(in crate::command) fn is_on(&self, long: &str) -> bool {
        let value = self.matches.try_get_one::<bool>(long);
        value.ok().flatten().copied().unwrap_or(false)
    }

    pub(in crate::command) fn operands(&self) -> Vec<&str> {
        match self.command.count {
            (_, 0) => Vec::new(),
            _ => self.list("operands"),
        }
    }

    /// The options that polpo has too, in polpo's words.
    pub(in crate::command) fn passed_on(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        for flag in self.command.flags().filter(|flag| self.was_said(flag.long)) {
            let option = match flag.fate {
                Fate::Same => format!("--{}", flag.long),
                Fate::As(option) => option.to_owned(),
                Fate::Own(_) | Fate::Nothing(_) => continue,
            };
            match flag.kind {
                Kind::Switch if self.is_on(flag.long) => words.push(option.into()),
                Kind::Switch => {}
                Kind::Value => {
                    let value = self.value(flag.long).unwrap_or_default();
                    words.push(format!("{option}={value}").into());
                }
                Kind::List => {
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

    pub(in crate::command) fn notes(&self) -> Vec<String> {
        let said = self.command.flags().filter(|flag| self.was_said(flag.long));
        said.filter_map(|flag| match flag.fate {
            Fate::Nothing(why) => Some(format!("--{} has no effect: {why}", flag.long)),
            _ => None,
        })
        .collect()
    }

    /// `--build-date`, as an option of polpo's, unless the environment says otherwise.
    pub(in crate::command) fn build_date(&self) -> Result<Option<OsString>, Failure> {
        let date = self.value("build-date").filter(|date| !date.is_empty());
        let set = std::env::var_os("SOURCE_DATE_EPOCH").is_some_and(|epoch| !epoch.is_empty());
        let (Some(date), false) = (date, set) else {
            return Ok(None);
        };
        let epoch = Epoch::from_rfc3339(date).ok_or_else(|| {
            Failure::Usage(format!(
                "--build-date is `{date}`, which is no time such as 2026-01-31T12:00:00Z"
            ))
        })?;
        Ok(Some(format!("--source-date-epoch={epoch}").into()))
    }
}

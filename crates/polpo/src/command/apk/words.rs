//! The words of apk's command line, brought into the one form that clap reads: options may stand
//! anywhere, be shortened, and be turned off as `--no-NAME` (apk-tools' `apk.c`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Arg;

/// The command line as it is given to clap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The command, if one is named.
    pub(super) command: Option<String>,
    /// Options, in full.
    pub(super) options: Vec<OsString>,
    /// All else.
    pub(super) operands: Vec<OsString>,
}

/// A word that can't be understood, in apk's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidWord {
    #[error("{place}: unrecognized option '{option}'")]
    Unknown { place: &'static str, option: String },
    #[error("{place}: ambiguous option '{option}'")]
    Ambiguous { place: &'static str, option: String },
    #[error("{place}: option '{option}' does not expect argument (got '{value}')")]
    Unexpected {
        place: &'static str,
        option: String,
        value: String,
    },
    #[error("{place}: option '{option}' expects an argument")]
    Expected { place: &'static str, option: String },
    #[error("{place}: invalid argument for option '{option}': '{value}'")]
    Invalid {
        place: &'static str,
        option: String,
        value: String,
    },
    #[error("'{0}' is not an apk command. See 'apk --help'.")]
    Command(String),
}

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    /// `yes`, `no` or, for some, `auto`.
    Switch {
        auto: bool,
    },
}

/// An option as it was found.
struct Match<'c> {
    option: &'c Arg,
    takes: Takes,
    /// `--no-NAME`.
    off: bool,
    exact: bool,
}

const COMMAND_LINE: &str = "command line";
const CONFIGURATION: &str = "config";

impl Words {
    /// Reads the words after the program's name. `configuration` is the text of `apk`'s
    /// configuration file; what is wrong with it is told to `warn`.
    pub(super) fn read(
        words: &[OsString],
        configuration: &str,
        commands: &clap::Command,
        mut warn: impl FnMut(InvalidWord),
    ) -> Result<Words, InvalidWord> {
        let command = named(words, commands);
        let reader = Reader {
            options: command.unwrap_or(commands),
        };
        let mut found = Words {
            command: command.map(|command| command.get_name().to_owned()),
            ..Words::default()
        };
        for line in configuration.lines() {
            match reader.setting(line) {
                Ok(Some(option)) => found.options.push(option),
                Ok(None) => {}
                Err(invalid) => warn(invalid),
            }
        }
        let mut pending = found.command.clone();
        let mut ended = false;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_bytes() {
                b"--" if !ended => ended = true,
                [b'-', b'-', name @ ..] if !ended => {
                    found.options.push(reader.long(name, &mut words)?);
                }
                [b'-', letters @ ..] if !ended && !letters.is_empty() => {
                    reader.short(letters, &mut words, &mut found.options)?;
                }
                _ if pending.as_deref().is_some_and(|name| word == name) => pending = None,
                _ => found.operands.push(word.clone()),
            }
        }
        match (&found.command, found.operands.first()) {
            (None, Some(operand)) => {
                Err(InvalidWord::Command(operand.to_string_lossy().into_owned()))
            }
            _ => Ok(found),
        }
    }
}

/// The first word that is a command. Options of commands are not known yet; those of all are.
fn named<'c>(words: &[OsString], commands: &'c clap::Command) -> Option<&'c clap::Command> {
    let reader = Reader { options: commands };
    let mut words = words.iter();
    let mut ended = false;
    while let Some(word) = words.next() {
        // An option that isn't known yet may be the command's: it is read again later.
        match word.as_bytes() {
            b"--" if !ended => ended = true,
            [b'-', b'-', name @ ..] if !ended => _ = reader.long(name, &mut words),
            [b'-', letters @ ..] if !ended && !letters.is_empty() => {
                _ = reader.short(letters, &mut words, &mut Vec::new());
            }
            _ => {
                let command = word
                    .to_str()
                    .and_then(|name| commands.find_subcommand(name));
                // clap's own `help` is none of apk's.
                if let Some(command) = command.filter(|command| command.get_name() != "help") {
                    return Some(command);
                }
            }
        }
    }
    None
}

struct Reader<'c> {
    options: &'c clap::Command,
}

impl<'c> Reader<'c> {
    /// A line of the configuration file: the full name of an option and perhaps its value.
    fn setting(&self, line: &str) -> Result<Option<OsString>, InvalidWord> {
        let line = line
            .split('#')
            .next()
            .unwrap_or_default()
            .trim_end_matches(' ');
        let (name, value) = match line.split_once(' ') {
            None => (line, None),
            Some((name, value)) => (name, Some(value)),
        };
        if name.is_empty() {
            return Ok(None);
        }
        let found = self.find(CONFIGURATION, name.as_bytes())?;
        if !found.exact {
            return Err(InvalidWord::Unknown {
                place: CONFIGURATION,
                option: name.to_owned(),
            });
        }
        let value = value.map(OsStr::new);
        spell(CONFIGURATION, name, &found, value, || None).map(Some)
    }

    /// `NAME` or `NAME=VALUE`, after the dashes.
    fn long<'w>(
        &self,
        word: &[u8],
        next: &mut impl Iterator<Item = &'w OsString>,
    ) -> Result<OsString, InvalidWord> {
        let (name, value) = match word.iter().position(|byte| *byte == b'=') {
            None => (word, None),
            Some(place) => (&word[..place], Some(&word[place + 1..])),
        };
        let found = self.find(COMMAND_LINE, name)?;
        let name = String::from_utf8_lossy(name);
        spell(
            COMMAND_LINE,
            &name,
            &found,
            value.map(OsStr::from_bytes),
            || next.next().cloned(),
        )
    }

    /// Letters after one dash; what follows a letter that takes a value is its value.
    fn short<'w>(
        &self,
        letters: &[u8],
        next: &mut impl Iterator<Item = &'w OsString>,
        options: &mut Vec<OsString>,
    ) -> Result<(), InvalidWord> {
        for (place, letter) in letters.iter().enumerate() {
            let name = char::from(*letter).to_string();
            let option = self
                .options
                .get_arguments()
                .find(|option| option.get_short() == Some(char::from(*letter)))
                .ok_or_else(|| InvalidWord::Unknown {
                    place: COMMAND_LINE,
                    option: name.clone(),
                })?;
            let takes = takes(option);
            let rest = &letters[place + 1..];
            let value = match takes {
                Takes::Value if !rest.is_empty() => Some(OsStr::from_bytes(rest)),
                _ => None,
            };
            let found = Match {
                option,
                takes,
                off: false,
                exact: true,
            };
            options.push(spell(COMMAND_LINE, &name, &found, value, || {
                next.next().cloned()
            })?);
            if takes == Takes::Value {
                break;
            }
        }
        Ok(())
    }

    /// The option of that name, or the only one whose name begins so.
    fn find(&self, place: &'static str, name: &[u8]) -> Result<Match<'c>, InvalidWord> {
        let mut shortened: Vec<Match<'c>> = Vec::new();
        for option in self.options.get_arguments() {
            let takes = takes(option);
            for long in option.get_long_and_visible_aliases().unwrap_or_default() {
                let off = match takes {
                    Takes::Switch { .. } => name.strip_prefix(b"no-"),
                    _ => None,
                };
                for (typed, off) in [(Some(name), false), (off, true)] {
                    let Some(typed) = typed else { continue };
                    if !long.as_bytes().starts_with(typed) {
                        continue;
                    }
                    let found = Match {
                        option,
                        takes,
                        off,
                        exact: long.len() == typed.len(),
                    };
                    if found.exact {
                        return Ok(found);
                    }
                    shortened.push(found);
                }
            }
        }
        let option = String::from_utf8_lossy(name).into_owned();
        match shortened.pop() {
            Some(found) if shortened.is_empty() => Ok(found),
            Some(_) => Err(InvalidWord::Ambiguous { place, option }),
            None => Err(InvalidWord::Unknown { place, option }),
        }
    }
}

fn takes(option: &Arg) -> Takes {
    if !option.get_action().takes_values() {
        Takes::Nothing
    } else if option.is_require_equals_set() {
        let values = option.get_possible_values();
        Takes::Switch {
            auto: values.iter().any(|value| value.get_name() == "auto"),
        }
    } else {
        Takes::Value
    }
}

/// The option in full, with its value.
fn spell(
    place: &'static str,
    typed: &str,
    found: &Match<'_>,
    value: Option<&OsStr>,
    next: impl FnOnce() -> Option<OsString>,
) -> Result<OsString, InvalidWord> {
    let option = typed.to_owned();
    let mut word = Vec::new();
    match (found.option.get_long(), found.option.get_short()) {
        (Some(long), _) => {
            word.extend(b"--");
            word.extend(long.as_bytes());
        }
        (None, short) => {
            word.push(b'-');
            word.extend(short.map(String::from).unwrap_or_default().as_bytes());
        }
    }
    let unexpected = |value: &OsStr| InvalidWord::Unexpected {
        place,
        option: option.clone(),
        value: value.to_string_lossy().into_owned(),
    };
    match (found.takes, value) {
        (Takes::Nothing, None) => {}
        (Takes::Switch { .. }, None) if found.off => word.extend(b"=no"),
        (Takes::Switch { .. }, None) => word.extend(b"=yes"),
        (Takes::Switch { auto }, Some(value)) if !found.off => match value.to_str() {
            Some(value) if value == "yes" || value == "no" || (auto && value == "auto") => {
                word.push(b'=');
                word.extend(value.as_bytes());
            }
            _ => {
                return Err(InvalidWord::Invalid {
                    place,
                    option,
                    value: value.to_string_lossy().into_owned(),
                });
            }
        },
        (Takes::Nothing | Takes::Switch { .. }, Some(value)) => return Err(unexpected(value)),
        (Takes::Value, value) => {
            let value = value.map(OsStr::to_owned).or_else(next);
            let value = value.ok_or(InvalidWord::Expected { place, option })?;
            if found.option.get_long().is_some() {
                word.push(b'=');
            }
            word.extend(value.as_bytes());
        }
    }
    Ok(OsString::from_vec(word))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::command::apk::Arguments;

    fn read(words: &str, configuration: &str) -> Result<Words, String> {
        let mut commands = Arguments::command();
        commands.build();
        let words: Vec<OsString> = words.split_ascii_whitespace().map(Into::into).collect();
        let mut warnings = String::new();
        let read = Words::read(&words, configuration, &commands, |invalid| {
            warnings.push_str(&format!("{invalid}\n"));
        });
        match read {
            Ok(words) if warnings.is_empty() => Ok(words),
            Ok(_) => Err(warnings),
            Err(error) => Err(error.to_string()),
        }
    }

    fn options(words: &str) -> Vec<String> {
        let options = read(words, "").unwrap().options.into_iter();
        options.map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn options_stand_anywhere_and_may_be_shortened() {
        let words = read("-p /r -t .v add --sim a --no-net -- -b add", "").unwrap();
        assert_eq!(words.command.as_deref(), Some("add"));
        assert_eq!(
            words.options,
            [
                "--root=/r",
                "--virtual=.v",
                "--simulate=yes",
                "--network=no"
            ]
        );
        assert_eq!(words.operands, ["a", "-b", "add"]);
        assert_eq!(
            options("add -qvsiXhttp://a"),
            [
                "--quiet",
                "--verbose",
                "--simulate=yes",
                "--interactive=yes",
                "--repository=http://a",
            ]
        );
        assert_eq!(
            options("add --no-interactive --interactive=auto"),
            ["--interactive=no", "--interactive=auto",]
        );
        // One option's name may begin another's.
        assert_eq!(options("add --force --no-cache"), ["--force", "--cache=no"]);
    }

    #[test]
    fn what_is_wrong_is_said_as_apk_says_it() {
        let wrong = |words| read(words, "").unwrap_err();
        insta::assert_snapshot!(
            [
                "--unknown-option version",
                "--force-",
                "--no-",
                "--no-cache=foo",
                "--cache=foo",
                "--root",
                "-v -- -proot non-existent",
                "add -Z",
                "add --allow-untrusted=yes",
            ]
            .map(wrong)
            .join("\n"),
            @"
        command line: unrecognized option 'unknown-option'
        command line: ambiguous option 'force-'
        command line: ambiguous option 'no-'
        command line: option 'no-cache' does not expect argument (got 'foo')
        command line: invalid argument for option 'cache': 'foo'
        command line: option 'root' expects an argument
        '-proot' is not an apk command. See 'apk --help'.
        command line: unrecognized option 'Z'
        command line: option 'allow-untrusted' does not expect argument (got 'yes')
        "
        );
    }

    #[test]
    fn settings_come_before_options() {
        let words = read(
            "add -s a",
            "# comment\nno-scripts\ncache-max-age 10 # minutes\n\ninteractive auto\n",
        );
        assert_eq!(
            words.unwrap().options,
            [
                "--scripts=no",
                "--cache-max-age=10",
                "--interactive=auto",
                "--simulate=yes",
            ]
        );
        insta::assert_snapshot!(
            read("add a", "simul\nfoo bar\nforce-overwrite yes\n").unwrap_err(),
            @"
        config: unrecognized option 'simul'
        config: unrecognized option 'foo'
        config: option 'force-overwrite' does not expect argument (got 'yes')
        "
        );
    }
}

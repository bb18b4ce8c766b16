//! The tables that another program's command line is read by: its commands and options, and what becomes
//! of each.

use clap::{Arg, ArgAction};

use super::{Calls, Given};
use crate::output::failure::Failure;

/// Another program whose command lines are taken.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Every command, in the order of `--help`.
    pub(in crate::command) commands: &'static [Command],
    /// What a command line is to polpo.
    pub(in crate::command) translate: fn(&Given<'_>) -> Result<Calls, Failure>,
}

/// A command of its.
pub(in crate::command) struct Command {
    pub(in crate::command) name: &'static str,
    /// What it does, for `--help`.
    pub(in crate::command) about: &'static str,
    /// What stands behind the options.
    pub(in crate::command) operands: &'static str,
    /// The fewest and the most of them.
    pub(in crate::command) count: (usize, usize),
    /// The command of polpo's that does it.
    pub(in crate::command) done_by: &'static str,
    pub(in crate::command) flags: &'static [&'static [Flag]],
}

/// An option.
pub(in crate::command) struct Flag {
    pub(in crate::command) long: &'static str,
    pub(in crate::command) short: Option<char>,
    pub(in crate::command) kind: Kind,
    pub(in crate::command) fate: Fate,
}

/// How an option is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Kind {
    /// `--x`, `--x=true` or `--x=false`.
    Switch,
    /// With a value; the last counts.
    Value,
    /// With values separated by commas; may be repeated.
    List,
}

/// What becomes of an option.
#[derive(Clone, Copy)]
pub(in crate::command) enum Fate {
    /// It is polpo's option of the same name.
    Same,
    /// It is this option of polpo's.
    As(&'static str),
    /// It changes how polpo is called; in these words.
    Own(&'static str),
    /// It is taken and has no effect, for this reason.
    Nothing(&'static str),
}

pub(in crate::command) const fn switch(long: &'static str, fate: Fate) -> Flag {
    flag(long, Kind::Switch, fate)
}

pub(in crate::command) const fn value(long: &'static str, fate: Fate) -> Flag {
    flag(long, Kind::Value, fate)
}

pub(in crate::command) const fn list(long: &'static str, fate: Fate) -> Flag {
    flag(long, Kind::List, fate)
}

const fn flag(long: &'static str, kind: Kind, fate: Fate) -> Flag {
    Flag {
        long,
        short: None,
        kind,
        fate,
    }
}

pub(in crate::command) const fn short(short: char, flag: Flag) -> Flag {
    Flag {
        short: Some(short),
        ..flag
    }
}

impl Program {
    /// Its command line.
    pub(crate) fn command(&self) -> clap::Command {
        let commands = self.commands.iter().map(|command| {
            let (fewest, most) = command.count;
            let operands = (most > 0).then(|| {
                // Options may stand between them: how many they are is counted when all are read.
                Arg::new("operands")
                    .value_name(command.operands)
                    .num_args(1..)
                    .action(ArgAction::Append)
                    .required(fewest > 0)
            });
            clap::Command::new(command.name)
                .about(command.about)
                .after_help(format!("Done by `{}`.", command.done_by))
                .args_override_self(true)
                .args(operands)
                .args(command.flags().map(Flag::argument))
        });
        clap::Command::new(self.name)
            .about(format!("{}'s command line, done by polpo", self.name))
            .version(env!("CARGO_PKG_VERSION"))
            .max_term_width(100)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .disable_help_subcommand(true)
            .after_help("Exit codes: 0 done, 1 failed, 130 interrupted.")
            .subcommands(commands)
    }
}

impl Command {
    /// Its options, each once.
    pub(in crate::command) fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().flat_map(|flags| flags.iter())
    }
}

impl Flag {
    fn argument(&self) -> Arg {
        let argument = Arg::new(self.long).long(self.long).help(self.help());
        let argument = match self.short {
            Some(letter) => argument.short(letter),
            None => argument,
        };
        match self.kind {
            Kind::Switch => argument
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_name("BOOL")
                .value_parser(truth),
            Kind::Value => argument.value_name("VALUE"),
            Kind::List => argument
                .value_name("VALUES")
                .value_delimiter(',')
                .action(ArgAction::Append),
        }
    }

    /// What becomes of it.
    pub(in crate::command) fn help(&self) -> String {
        match self.fate {
            Fate::Same => "the same".to_owned(),
            Fate::As(option) => format!("`{option}`"),
            Fate::Own(words) => words.to_owned(),
            Fate::Nothing(why) => format!("nothing: {why}"),
        }
    }
}

/// The words that Go takes for truth values.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("it is `true` or `false`".to_owned()),
    }
}

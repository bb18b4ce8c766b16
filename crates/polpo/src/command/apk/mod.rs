//! apk's command line: `polpo apk …`, or polpo called by the name `apk`.

mod adbdump;
mod adbgen;
mod adbsign;
mod add;
mod audit;
mod cache;
mod commit;
mod console;
mod context;
mod convdb;
mod convndx;
mod del;
mod document;
mod dot;
mod extract;
mod fetch;
mod fix;
mod index;
mod info;
mod list;
mod making;
mod manifest;
mod meter;
mod mkndx;
mod mkpkg;
mod options;
mod package_cache;
mod plan;
mod policy;
mod query;
mod question;
mod search;
mod stats;
mod system;
mod update;
mod upgrade;
mod verify;
mod version;
mod words;

use std::error::Error as _;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use base::Arch;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use context::Context;
pub(crate) use making::source_date_epoch;
use options::{Commit, Decision, Global};
use words::Words;

use crate::output::failure::Failure;
use crate::output::{Progress, ProgressKind};

/// Install, query, make and verify apk packages, with apk's command line.
#[derive(Debug, Parser)]
#[command(
    name = "apk",
    max_term_width = 100,
    subcommand_required = true,
    args_override_self = true,
    disable_help_subcommand = true,
    after_help = "An option shown with [=<BOOL>] also has the form --no-OPTION.\n\
        Exit codes: 0 done, 1 the work failed, 2 wrong usage or configuration, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What is wrong with the configuration file.
    #[arg(skip)]
    warnings: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for packages: add them to the world and install what it takes
    Add(add::Arguments),
    /// No longer ask for packages, and remove what nothing else needs
    Del(del::Arguments),
    /// Repair packages, or bring them up to date, without changing the world
    Fix(fix::Arguments),
    /// Refresh the indexes of repositories
    Update(update::Arguments),
    /// Bring installed packages up to date
    Upgrade(upgrade::Arguments),
    /// Look after the package cache
    Cache(cache::Arguments),
    /// Download packages from repositories
    Fetch(fetch::Arguments),
    /// Describe packages
    Info(info::Arguments),
    /// List packages by name, origin, provider or state
    List(list::Arguments),
    /// Search packages by name or description
    Search(search::Arguments),
    /// Ask for packages and fields of them, as YAML or JSON
    Query(query::Arguments),
    /// Show the versions of packages and which repositories have them
    Policy(policy::Arguments),
    /// Draw dependencies as a graph for graphviz
    Dot(dot::Arguments),
    /// Count packages, names and files
    Stats(stats::Arguments),
    /// Compare versions, or installed packages with the repositories
    Version(version::Arguments),
    /// Compare the system with what its packages installed
    Audit(audit::Arguments),
    /// Check packages and indexes: signatures and every hash
    Verify(verify::Arguments),
    /// Unpack the files of packages into a folder
    Extract(extract::Arguments),
    /// List the checksums of a package's files
    Manifest(manifest::Arguments),
    /// Write an index of format 2 for packages
    Index(index::Arguments),
    /// Write an index of format 3 for packages
    Mkndx(mkndx::Arguments),
    /// Write a package of format 3
    Mkpkg(mkpkg::Arguments),
    /// Sign, sign anew or compress anew packages and indexes of format 3
    Adbsign(adbsign::Arguments),
    /// Show files of format 3 as text
    Adbdump(adbdump::Arguments),
    /// Make files of format 3 out of text
    Adbgen(adbgen::Arguments),
    /// Turn indexes of format 2 into format 3
    Convndx(convndx::Arguments),
    /// Turn the installed database into format 3
    Convdb(convdb::Arguments),
}

impl Command {
    /// The options of commands that change a system.
    fn commit(&self) -> Option<&Commit> {
        match self {
            Command::Add(arguments) => Some(&arguments.commit),
            Command::Del(arguments) => Some(&arguments.commit),
            Command::Fix(arguments) => Some(&arguments.commit),
            Command::Upgrade(arguments) => Some(&arguments.commit),
            _ => None,
        }
    }
}

/// The command line was answered, or refused, before any command.
pub(crate) struct Answered {
    /// For stdout where it was asked for, else for stderr.
    pub(crate) text: String,
    pub(crate) refused: bool,
}

impl Arguments {
    /// Reads the words after `apk`, and apk's configuration file.
    pub(crate) fn read(words: &[OsString]) -> Result<Arguments, Answered> {
        let mut commands = Arguments::command();
        commands.build();
        let refused = |text: String| Answered {
            text: format!("{text}\n"),
            refused: true,
        };
        let mut warnings = Vec::new();
        let words = Words::read(words, &configuration(), &commands, |invalid| {
            warnings.push(invalid.to_string());
        })
        .map_err(|invalid| refused(format!("ERROR: {invalid}")))?;
        let asked = |text: String| Answered {
            text,
            refused: false,
        };
        if words.options.iter().any(|word| word == "--version") {
            return Err(asked(program_version()));
        }
        if words.options.iter().any(|word| word == "--print-arch") {
            return Err(asked(format!("{}\n", Arch::host().apk())));
        }
        let help = words.options.iter().any(|word| word == "--help");
        let Some(name) = words.command.as_ref().filter(|_| !help) else {
            let command = match &words.command {
                Some(name) => commands.find_subcommand_mut(name),
                None => None,
            };
            let help = match command {
                Some(command) => command.render_long_help(),
                None => commands.render_long_help(),
            };
            return Err(asked(format!("{}\n{help}", program_version())));
        };
        let mut line: Vec<OsString> = vec!["apk".into(), name.into()];
        line.extend(words.options);
        line.push("--".into());
        line.extend(words.operands);
        let mut arguments = commands
            .try_get_matches_from(line)
            .and_then(|matches| Arguments::from_arg_matches(&matches))
            .map_err(|error| refused(in_words(&error)))?;
        arguments.warnings = warnings;
        Ok(arguments)
    }

    /// How progress is shown.
    pub(crate) fn progress(&self) -> Progress {
        let kind = match self.global.progress {
            Decision::Yes => ProgressKind::Bars,
            Decision::Auto if std::io::stderr().is_terminal() => ProgressKind::Bars,
            Decision::No | Decision::Auto => ProgressKind::None,
        };
        Progress::new(kind, self.global.verbose > 0)
    }
}

/// What is wrong with a command line: as apk says it where a value is, which is all that apk says.
fn in_words(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let option = text(ContextKind::InvalidArg)
        .and_then(|option| option.strip_prefix("--"))
        .map(|option| option.split([' ', '=', '[']).next().unwrap_or(option));
    match (option, text(ContextKind::InvalidValue)) {
        (Some(option), Some(value)) if !value.is_empty() => {
            let mut words =
                format!("ERROR: command line: invalid argument for option '{option}': '{value}'");
            if let Some(reason) = error.source() {
                words.push_str(&format!(": {reason}"));
            }
            if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) {
                words.push_str(&format!(": expected one of {}", valid.join(", ")));
            }
            words
        }
        _ => error.render().to_string(),
    }
}

/// What `--version` says: whose command line it is, and who reads it.
fn program_version() -> String {
    format!(
        "apk-tools 3.0.6 (polpo {}), compiled for {}.\n",
        env!("CARGO_PKG_VERSION"),
        Arch::host().apk()
    )
}

/// The text of the file that holds options for every run: `$APK_CONFIG`, `/etc/apk/config`, or
/// else `/lib/apk/config`.
fn configuration() -> String {
    let named = std::env::var_os("APK_CONFIG").map(PathBuf::from);
    let file = named.unwrap_or_else(|| PathBuf::from("/etc/apk/config"));
    // apk, too, goes on without a file that can't be read.
    std::fs::read_to_string(file)
        .or_else(|_| std::fs::read_to_string("/lib/apk/config"))
        .unwrap_or_default()
}

/// Runs a command.
pub(crate) async fn run(arguments: &Arguments, progress: &Progress) -> Result<ExitCode, Failure> {
    let context = Context::new(&arguments.global, arguments.command.commit(), progress);
    for warning in &arguments.warnings {
        context.console.warning(warning);
    }
    let result = match &arguments.command {
        Command::Add(arguments) => add::run(arguments, &context).await,
        Command::Del(arguments) => del::run(arguments, &context).await,
        Command::Fix(arguments) => fix::run(arguments, &context).await,
        Command::Update(arguments) => update::run(arguments, &context).await,
        Command::Upgrade(arguments) => upgrade::run(arguments, &context).await,
        Command::Cache(arguments) => cache::run(arguments, &context).await,
        Command::Fetch(arguments) => fetch::run(arguments, &context).await,
        Command::Info(arguments) => info::run(arguments, &context).await,
        Command::List(arguments) => list::run(arguments, &context).await,
        Command::Search(arguments) => search::run(arguments, &context).await,
        Command::Query(arguments) => query::run(arguments, &context).await,
        Command::Policy(arguments) => policy::run(arguments, &context).await,
        Command::Dot(arguments) => dot::run(arguments, &context).await,
        Command::Stats(arguments) => stats::run(arguments, &context).await,
        Command::Version(arguments) => version::run(arguments, &context).await,
        Command::Audit(arguments) => audit::run(arguments, &context).await,
        Command::Verify(arguments) => verify::run(arguments, &context).await,
        Command::Extract(arguments) => extract::run(arguments, &context).await,
        Command::Manifest(arguments) => manifest::run(arguments, &context).await,
        Command::Index(arguments) => index::run(arguments, &context).await,
        Command::Mkndx(arguments) => mkndx::run(arguments, &context).await,
        Command::Mkpkg(arguments) => mkpkg::run(arguments, &context).await,
        Command::Adbsign(arguments) => adbsign::run(arguments, &context).await,
        Command::Adbdump(arguments) => adbdump::run(arguments, &context).await,
        Command::Adbgen(arguments) => adbgen::run(arguments, &context).await,
        Command::Convndx(arguments) => convndx::run(arguments, &context).await,
        Command::Convdb(arguments) => convdb::run(arguments, &context).await,
    };
    if let Err(failure) = &result {
        // It is shown where all programs' failures are.
        context.console.log(failure.text(false).trim_end());
    }
    result
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    /// docs/src/reference/apk.md is what `--help` says. `POLPO_UPDATE=1` writes it anew.
    #[test]
    fn the_reference_follows_the_help() {
        let mut command = Arguments::command().term_width(100);
        let mut text = String::from(
            "# apk's command line\n\nWhat `polpo apk --help` says, then what each command adds to it; \
             a test keeps this page equal to it.\nThe options of every command stand at the top \
             alone.\n",
        );
        let mut section = |name: &str, help: &str| {
            write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.trim_end()).unwrap();
        };
        section("apk", &command.render_long_help().to_string());
        // They have the options of every command only once the whole is built.
        for subcommand in Arguments::command().get_subcommands() {
            let name = format!("apk {}", subcommand.get_name());
            let mut subcommand = subcommand
                .clone()
                .bin_name(&name)
                .term_width(100)
                .disable_help_flag(true);
            section(&name, &subcommand.render_long_help().to_string());
        }
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/apk.md");
        if std::env::var_os("POLPO_UPDATE").is_some() {
            fs::write(&page, &text).unwrap();
        }
        let found = fs::read_to_string(&page).unwrap_or_default();
        assert!(
            found == text,
            "{} is stale: run this test with POLPO_UPDATE=1",
            page.display()
        );
    }
}

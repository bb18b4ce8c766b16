//! apk's command line: `polpo apk …`, or polpo called by the name `apk`.

mod adbdump;
mod adbgen;
mod adbsign;
mod add;
mod audit;
mod cache;
mod context;
mod convdb;
mod convndx;
mod del;
mod dot;
mod extract;
mod fetch;
mod fix;
mod index;
mod info;
mod list;
mod making;
mod manifest;
mod mkndx;
mod mkpkg;
mod options;
mod policy;
mod query;
mod search;
mod stats;
mod update;
mod upgrade;
mod verify;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use context::Context;
use options::{Auto, Global, spell_out};

use crate::output::failure::Failure;
use crate::output::{Progress, ProgressKind};

/// Install, query, make and verify apk packages, with apk's command line.
#[derive(Debug, Parser)]
#[command(
    name = "apk",
    version,
    max_term_width = 100,
    subcommand_required = true,
    infer_long_args = true,
    arg_required_else_help = true,
    disable_version_flag = true,
    after_help = "An option shown with [=<BOOL>] also has the form --no-OPTION.\n\
        Exit codes: 0 done, 1 the work failed, 2 wrong usage or configuration, 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
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

impl Arguments {
    /// Reads the words after `apk`.
    pub(crate) fn read(words: impl IntoIterator<Item = OsString>) -> Arguments {
        let name = OsString::from("apk");
        Arguments::parse_from(std::iter::once(name).chain(spell_out(words)))
    }

    /// How progress is shown.
    pub(crate) fn progress(&self) -> Progress {
        let kind = match self.global.progress {
            Auto::Yes => ProgressKind::Bars,
            Auto::No => ProgressKind::Lines,
            Auto::Auto => ProgressKind::Auto,
        };
        Progress::new(kind, self.global.verbose > 0)
    }
}

/// Runs a command.
pub(crate) async fn run(arguments: &Arguments, progress: &Progress) -> Result<ExitCode, Failure> {
    let context = Context::new(&arguments.global, progress)?;
    match &arguments.command {
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
    }
}

use std::process::ExitCode;

use apk::install::Create;
use apk::solver::Preferences;
use clap::Args;

use super::context::Context;
use super::options::Commit;
use super::plan::{NameGoal, Wish};
use super::question::count_code;
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Names of packages; * and ? stand for other characters [default: those known to be broken]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Also what the packages need
    #[arg(long, short)]
    depends: bool,
    /// Set owners and modes of directories as their packages have them
    #[arg(long)]
    directory_permissions: bool,
    /// Install the packages again: what happens unless --upgrade is given
    #[arg(long, short)]
    reinstall: bool,
    /// Bring the packages up to date
    #[arg(long, short)]
    upgrade: bool,
    /// Without PACKAGE, also those whose extended attributes could not be set
    #[arg(long = "xattr", short = 'x')]
    attributes: bool,
    #[command(flatten)]
    pub(crate) commit: Commit,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let mut system = context.open(&context.needs_change(Create::Never)).await?;
    let preferences = Preferences {
        upgrade: arguments.upgrade,
        reinstall: arguments.reinstall || !arguments.upgrade,
        ..Preferences::default()
    };
    let words: Vec<&str> = arguments
        .packages
        .iter()
        .map(String::as_str)
        .filter(|word| !word.is_empty())
        .collect();
    let names = if words.is_empty() {
        system
            .installed()
            .iter()
            .filter(|package| {
                let broken = package.broken;
                broken.files || broken.script || (broken.attributes && arguments.attributes)
            })
            .map(|package| package.entry.info.name.clone())
            .collect()
    } else {
        match context.matching_names(&system, &words) {
            Ok(names) => names,
            Err(unknown) => {
                for word in &unknown {
                    context
                        .console
                        .error(&format!("Package '{word}' not found"));
                }
                return Ok(count_code(unknown.len()));
            }
        }
    };
    let directories = match (arguments.directory_permissions, &system.root) {
        (true, Some(root)) => root.unsettled(),
        _ => Vec::new(),
    };
    for path in &directories {
        context.console.detail(&format!("fixing directory {path}"));
    }
    let wish = Wish {
        world: system.world().to_vec(),
        directories,
        goals: names
            .into_iter()
            .map(|name| NameGoal {
                name,
                preferences,
                inherited: match arguments.depends {
                    true => preferences,
                    false => Preferences::default(),
                },
            })
            .collect(),
        ..Wish::default()
    };
    context.solve_and_commit(&mut system, &wish).await
}

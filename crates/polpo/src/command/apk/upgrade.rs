use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use apk::dependency::{Constraint, Dependency, add_term};
use apk::install::{Create, Owner, Root};
use apk::solver::Preferences;
use clap::Args;

use super::context::{Context, Needs};
use super::making::REFUSED;
use super::options::{Commit, Switch};
use super::plan::{NameGoal, Wish, is_later};
use super::question::count_code;
use super::system::System;
use crate::output::failure::Failure;

/// What the environment says to a run that goes on with the upgrade after the package manager
/// has renewed itself (apk-tools' `app_upgrade.c`).
const TOKEN: &str = "laiNgeiThu6ip1Te";
const TOKEN_NAMES: [&str; 2] = ["APK_PREUPGRADE_TOKEN", "APK_SELFUPGRADE_TOKEN"];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these packages, or with --ignore all but these; * and ? stand for other characters
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Take what repositories have, even where that is older or of another build
    #[arg(long, short)]
    available: bool,
    /// Leave the named packages as they are
    #[arg(long)]
    ignore: bool,
    /// Take the latest version, even if that makes the world unsolvable
    #[arg(long, short)]
    latest: bool,
    /// Renew the package manager and --preupgrade-depends first
    #[arg(long, visible_alias = "self-upgrade", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    preupgrade: Switch,
    /// Renew the package manager and --preupgrade-depends, nothing else
    #[arg(long, visible_alias = "self-upgrade-only")]
    preupgrade_only: bool,
    /// No longer ask for what no repository has any more
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    pub(crate) commit: Commit,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let continued = TOKEN_NAMES
        .iter()
        .find_map(std::env::var_os)
        .is_some_and(|token| token == TOKEN);
    let needs = context.needs_change(Create::Never);
    let needs = Needs {
        refresh: needs.refresh && !continued,
        ..needs
    };
    let mut system = context.open(&needs).await?;
    if !context.check_tags(&system, system.world()) {
        context
            .console
            .error("Not continuing with upgrade due to missing repository tags.");
        return Ok(ExitCode::from(REFUSED));
    }
    if !context.check_repositories(&system) {
        return Ok(ExitCode::from(REFUSED));
    }
    let mut preferences = Preferences {
        upgrade: true,
        available: arguments.available,
        latest: arguments.latest,
        ..Preferences::default()
    };
    let words: Vec<&str> = arguments.packages.iter().map(String::as_str).collect();
    let renews = arguments.preupgrade.on()
        && !continued
        && words.is_empty()
        && (arguments.preupgrade_only || !context.is_elsewhere());
    if renews && let Some(end) = preupgrade(arguments, context, &mut system, preferences).await? {
        return Ok(end);
    }
    if arguments.preupgrade_only {
        return Ok(ExitCode::SUCCESS);
    }

    let mut world = system.world().to_vec();
    if arguments.available {
        for term in &mut world {
            if matches!(term.constraint, Some(Constraint::Identity(_))) {
                term.constraint = None;
            }
        }
    }
    if arguments.prune {
        world.retain(|term| system.is_available(&term.name));
    }
    let mut goals = Vec::new();
    if !words.is_empty() {
        preferences.upgrade = arguments.ignore;
        let names = match context.matching_names(&system, &words) {
            Ok(names) => names,
            Err(unknown) => {
                for word in &unknown {
                    context
                        .console
                        .error(&format!("Package '{word}' not found"));
                }
                return Ok(count_code(unknown.len()));
            }
        };
        goals.extend(names.into_iter().map(|name| NameGoal {
            name,
            preferences: Preferences {
                installed: arguments.ignore,
                upgrade: !arguments.ignore,
                ..Preferences::default()
            },
            inherited: Preferences::default(),
        }));
    }
    let wish = Wish {
        world,
        preferences,
        goals,
        ..Wish::default()
    };
    context.solve_and_commit(&mut system, &wish).await
}

/// Renews the package manager itself, if that is called for, and what is to come with it. The exit
/// code if the run ends with that.
async fn preupgrade(
    arguments: &Arguments,
    context: &Context<'_>,
    system: &mut System,
    preferences: Preferences,
) -> Result<Option<ExitCode>, Failure> {
    let goals: Vec<NameGoal> = first_names(context, system)
        .into_iter()
        .filter(|term| is_outdated(system, term))
        .map(|term| NameGoal {
            name: term.name,
            preferences,
            inherited: Preferences::default(),
        })
        .collect();
    if goals.is_empty() {
        return Ok(None);
    }
    let wish = Wish {
        world: system.world().to_vec(),
        goals,
        preupgrade: true,
        ..Wish::default()
    };
    let Ok(plan) = context.plan(system, &wish)? else {
        context
            .console
            .warning("Failed to perform initial preupgrade, continuing with a full upgrade.");
        return Ok(None);
    };
    if !plan.steps.iter().any(|step| step.is_change()) {
        return Ok(None);
    }
    if !arguments.preupgrade_only && context.is_simulated() {
        context
            .console
            .warning("This simulation might not reliable as a preupgrade is available.");
        return Ok(None);
    }
    context.console.message("Preupgrading:");
    if arguments.preupgrade_only {
        return context.commit(system, &plan).await.map(Some);
    }
    context.finish(system, &plan, false).await?;
    context
        .console
        .message("Continuing with the main upgrade transaction:");
    // The lock is given back: the new program takes it.
    *system = System::default();
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_else(|| "apk".into());
    let error = Command::new(program)
        .args(words)
        .arg("--no-self-upgrade")
        .envs(TOKEN_NAMES.map(|name| (name, TOKEN)))
        .exec();
    Err(Failure::failed(
        "the new package manager can't be started; run the upgrade again",
        error,
    ))
}

/// The package that holds the running program, and those of `--preupgrade-depends`.
fn first_names(context: &Context<'_>, system: &System) -> Vec<Dependency> {
    let mut terms = Vec::new();
    let program = std::env::current_exe().ok();
    let program = program.as_ref().and_then(|program| program.to_str());
    let owner = system.root.as_ref().and_then(|root| {
        // As apk asks: for the link, then for what it points to.
        root.owner("proc/self/exe")
            .or_else(|| root.owner(program?.trim_start_matches('/')))
    });
    if let Some(Owner::File(package) | Owner::Directory(package)) = owner {
        terms.push(Dependency::any(&package.entry.info.name));
    }
    for text in &context.global.preupgrade_depends {
        let mut ignored = false;
        for word in text.split_ascii_whitespace() {
            match Dependency::parse_untagged(word) {
                Ok(term) => add_term(&mut terms, term),
                Err(_) => ignored = true,
            }
        }
        if ignored {
            context.console.warning(&format!(
                "Ignored invalid preupgrade dependencies from: {text}"
            ));
        }
    }
    terms
}

/// Whether what is installed meets a term and a repository has a later version.
fn is_outdated(system: &System, term: &Dependency) -> bool {
    let Some(installed) = system
        .root
        .as_ref()
        .and_then(|root: &Root| root.package(&term.name))
    else {
        return false;
    };
    let version = &installed.entry.info.version;
    !term.conflict
        && term.matches(Some(version), Some(&installed.entry.identity))
        && system.repositories.iter().any(|repository| {
            let catalogue = &repository.catalogue;
            catalogue.providers(&term.name).any(|place| {
                catalogue
                    .version(place)
                    .is_some_and(|other| is_later(other, version))
            })
        })
}

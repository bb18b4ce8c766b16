use std::collections::BTreeMap;
use std::process::ExitCode;

use apk::dependency::Dependency;
use apk::index::IndexEntry;
use apk::solver::{ChangeKind, Preferences};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::context::{Context, Needs};
use super::making::REFUSED;
use super::options::Switch;
use super::package_cache::{KEPT, PackageCache, index_name, package_name};
use super::plan::{Supply, Wish};
use super::question::count_code;
use super::system::System;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What is to be done
    #[arg(value_enum)]
    action: Action,
    /// download: packages to fetch instead of those that the world needs
    #[arg(value_name = "DEPENDENCY")]
    dependencies: Vec<String>,
    /// download: also what the world needs
    #[arg(long)]
    add_dependencies: bool,
    /// download: take what repositories have, even where that is older than what is installed
    #[arg(long, short)]
    available: bool,
    /// download: packages may conflict
    #[arg(long)]
    ignore_conflict: bool,
    /// download: take the latest versions
    #[arg(long, short)]
    latest: bool,
    /// download: bring packages up to date
    #[arg(long, short)]
    upgrade: bool,
    /// Say what would be done and do nothing
    #[arg(long, short, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "no")]
    simulate: Switch,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Remove what is neither installed nor in a repository any more
    Clean,
    /// Also remove what is not installed, and on a system on disk all packages
    Purge,
    /// Fetch what an installation would need
    Download,
    /// Clean, then download
    Sync,
}

#[derive(Debug, Default, Serialize)]
struct Document {
    simulated: bool,
    removed: Vec<String>,
    downloaded: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    context.console.document(arguments.format);
    let needs = Needs {
        fills_cache: !arguments.simulate.on(),
        ..Needs::default()
    };
    let system = context.open(&needs).await?;
    let mut document = Document {
        simulated: arguments.simulate.on(),
        ..Document::default()
    };
    let Some(cache) = system.cache.clone() else {
        Printer::new(arguments.format).print(&document, |_| String::new())?;
        return Ok(ExitCode::SUCCESS);
    };
    let cleans = arguments.action != Action::Download;
    let downloads = cache.packages && matches!(arguments.action, Action::Download | Action::Sync);
    let particular = arguments.available
        || arguments.ignore_conflict
        || arguments.latest
        || arguments.upgrade
        || arguments.add_dependencies;
    if downloads && particular && !context.check_repositories(&system) {
        return Ok(ExitCode::from(3));
    }
    if cleans {
        clean(arguments, context, &system, &cache, &mut document)?;
    }
    let mut end = ExitCode::SUCCESS;
    if downloads {
        end = download(arguments, context, &system, &cache, &mut document).await?;
    }
    if arguments.format == Format::Json {
        Printer::new(arguments.format).print(&document, |_| String::new())?;
    }
    Ok(end)
}

/// A package that a file of the cache may be a copy of.
struct Known {
    size: u64,
    installed: bool,
    /// In a repository of this machine: a copy is of no use.
    local: bool,
    /// In a repository that can be reached.
    available: bool,
}

fn clean(
    arguments: &Arguments,
    context: &Context<'_>,
    system: &System,
    cache: &PackageCache,
    document: &mut Document,
) -> Result<(), Failure> {
    let known = known_packages(system)?;
    let indexes: Vec<String> = system
        .index_places
        .iter()
        .map(|place| index_name(place))
        .collect();
    let purge = arguments.action == Action::Purge || context.global.purge.on();
    let permanent = !context.is_in_memory();
    for file in cache.files()? {
        let keep = match known.get(&file.name) {
            _ if file.name == KEPT => true,
            Some(package) if package.size == file.size => {
                let purged = purge && (permanent || !package.installed);
                !purged && !package.local && (package.installed || package.available)
            }
            _ => indexes.contains(&file.name),
        };
        if keep {
            continue;
        }
        context.console.detail(&format!("deleting {}", file.name));
        if !arguments.simulate.on()
            && let Err(error) = cache.folder().remove(&file.name)
        {
            // What can't go now goes next time; the rest need not wait for it.
            document
                .problems
                .push(format!("{}: {}", file.name, error.source));
            context.console.warning(&error.to_string());
            continue;
        }
        document.removed.push(file.name);
    }
    Ok(())
}

/// The packages that can be had or are installed, by the names of their copies.
fn known_packages(system: &System) -> Result<BTreeMap<String, Known>, Failure> {
    let mut known = BTreeMap::new();
    for package in system.installed() {
        let info = &package.entry.info;
        known.insert(
            package_name(&info.name, &info.version, &package.entry.identity),
            Known {
                size: package.entry.size,
                installed: true,
                local: false,
                available: false,
            },
        );
    }
    for repository in &system.repositories {
        let local = !repository.repository.is_remote();
        for place in 0..repository.catalogue.len() {
            let catalogue = &repository.catalogue;
            let (Some(name), Some(version), Some(identity), Some(size)) = (
                catalogue.name(place),
                catalogue.version(place),
                catalogue.identity(place),
                catalogue.size(place),
            ) else {
                continue;
            };
            let package = known
                .entry(package_name(name, version, &identity))
                .or_insert(Known {
                    size,
                    installed: false,
                    local: false,
                    available: false,
                });
            package.local |= local;
            package.available = true;
        }
    }
    Ok(known)
}

async fn download(
    arguments: &Arguments,
    context: &Context<'_>,
    system: &System,
    cache: &PackageCache,
    document: &mut Document,
) -> Result<ExitCode, Failure> {
    let mut world = match arguments.dependencies.is_empty() || arguments.add_dependencies {
        true => system.world().to_vec(),
        false => Vec::new(),
    };
    for word in &arguments.dependencies {
        match Dependency::parse(word) {
            Ok(term) => world.push(term),
            Err(_) => {
                context.console.error(&format!("bad dependency: {word}"));
                return Ok(ExitCode::from(REFUSED));
            }
        }
    }
    let wish = Wish {
        world,
        preferences: Preferences {
            available: arguments.available,
            latest: arguments.latest,
            upgrade: arguments.upgrade,
            ..Preferences::default()
        },
        ignore_conflicts: arguments.ignore_conflict,
        ..Wish::default()
    };
    let plan = match context.plan(system, &wish)? {
        Ok(plan) => plan,
        Err(unsolvable) => {
            context
                .console
                .error("Unable to select packages. Run apk fix.");
            return context.refuse(&unsolvable);
        }
    };
    let mut wanted: Vec<(usize, IndexEntry)> = Vec::new();
    for step in plan
        .steps
        .iter()
        .filter(|step| step.kind != ChangeKind::Remove)
    {
        let Some(after) = &step.after else { continue };
        let Supply::Repository { repository, place } = after.supply else {
            continue;
        };
        if after.installed_size == 0 || system.is_local(&after.supply) {
            continue;
        }
        let entry = system.entry(repository, place)?;
        if cache.find(&entry).is_none() {
            wanted.push((repository, entry));
        }
    }
    if wanted.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let total = wanted.len();
    let width = total.to_string().len();
    context
        .console
        .message(&format!("Downloading {total} packages..."));
    let mut errors = 0;
    for (index, (repository, entry)) in wanted.iter().enumerate() {
        let label = format!("{}-{}", entry.info.name, entry.info.version);
        context.console.message(&format!(
            "({:width$}/{total}) Downloading {label}",
            index + 1
        ));
        if arguments.simulate.on() {
            document.downloaded.push(label);
            continue;
        }
        match context.obtain(system, *repository, entry).await {
            Ok(_) => document.downloaded.push(label),
            Err(reason) => {
                context.console.error(&format!("{label}: {reason}"));
                document.problems.push(format!("{label}: {reason}"));
                errors += 1;
            }
        }
    }
    Ok(count_code(errors))
}

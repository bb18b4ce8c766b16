use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::dependency::Dependency;
use apk::index::IndexEntry;
use apk::package::Package;
use apk::repository::NamePattern;
use apk::solver::Preferences;
use base::Epoch;
use clap::{Args, ValueEnum};
use serde::Serialize;
use store::AtomicFile;

use super::commit::exit_code;
use super::context::{Context, Needs};
use super::options::Switch;
use super::pattern::fits;
use super::plan::{Supply, Wish, display_order, is_later};
use super::system::System;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apk fetch -R -o packages nginx             # nginx and all that it needs
  apk fetch --url --simulate 'python3*'      # where they would come from")]
pub(crate) struct Arguments {
    /// Names of packages, with a version as in foo>1 if need be; * and ? stand for other characters
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Only packages built later: a date and time (2024-01-31 12:00:00, UTC), or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    built_after: Option<Epoch>,
    /// Link to packages of repositories of this machine, rather than copy them
    #[arg(long, short)]
    link: bool,
    /// Folder that packages are written to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// How files are called: ${name}, ${version}, ${arch} and ${hash}, each perhaps with a length
    /// as in ${name:3}
    #[arg(long, value_name = "SPEC")]
    pkgname_spec: Option<String>,
    /// Say what would be done and do nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "no")]
    simulate: Switch,
    /// Write packages to stdout
    #[arg(long, short = 's')]
    stdout: bool,
    /// Print where packages come from
    #[arg(long)]
    url: bool,
    /// Also all that the packages need
    #[arg(long, short = 'R')]
    recursive: bool,
    /// Also all that the world needs
    #[arg(long)]
    world: bool,
    /// All versions that fit, not the best alone
    #[arg(long)]
    all_matches: bool,
    /// With --recursive, what repositories have, even where that is older
    #[arg(long)]
    available: bool,
    /// Where packages are looked for
    #[arg(long, value_enum, default_value_t)]
    from: From,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Where packages are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum From {
    /// The command line's repositories alone.
    None,
    /// All repositories.
    #[default]
    Repositories,
    /// The command line's repositories and what is installed.
    Installed,
    /// All repositories and what is installed.
    System,
}

#[derive(Debug, Default, Serialize)]
struct Document {
    simulated: bool,
    packages: Vec<DocumentPackage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DocumentPackage {
    name: String,
    version: String,
    arch: String,
    size: u64,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// A package to fetch.
struct Chosen {
    repository: usize,
    entry: IndexEntry,
}

impl Chosen {
    fn label(&self) -> String {
        format!("{}-{}", self.entry.info.name, self.entry.info.version)
    }
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    if arguments.format == Format::Json && !arguments.stdout {
        context.console.document(arguments.format);
    }
    let names = match &arguments.pkgname_spec {
        None => None,
        Some(text) => {
            Some(NamePattern::parse(text).map_err(|error| Failure::Usage(error.to_string()))?)
        }
    };
    let needs = Needs {
        state: arguments.world || matches!(arguments.from, From::Installed | From::System),
        system_repositories: matches!(arguments.from, From::Repositories | From::System),
        any_arch: true,
        ..Needs::default()
    };
    let system = context.open(&needs).await?;
    let mut document = Document {
        simulated: arguments.simulate.on(),
        ..Document::default()
    };
    let recursive = arguments.recursive || arguments.world;
    let chosen = match recursive {
        true => closure(arguments, context, &system)?,
        false => matches(arguments, context, &system, &mut document)?,
    };
    let mut chosen = match chosen {
        Ok(chosen) => chosen,
        Err(end) => return Ok(end),
    };
    if document.problems.is_empty() {
        chosen.retain(|chosen| {
            let built = chosen.entry.info.build_time;
            match (arguments.built_after, built) {
                (Some(after), Some(built)) => built > after.0,
                _ => true,
            }
        });
        chosen.sort_by(|left, right| order(&left.entry, &right.entry));
        for chosen in &chosen {
            if let Err(reason) = fetch(
                arguments,
                context,
                &system,
                chosen,
                names.as_ref(),
                &mut document,
            )
            .await?
            {
                let problem = format!("{}: {reason}", chosen.label());
                context.console.error(&problem);
                document.problems.push(problem);
            }
        }
        if document.problems.is_empty() && context.global.purge.on() && !arguments.stdout {
            purge(arguments, context, &chosen, names.as_ref(), &mut document)?;
        }
    }
    if context.console.is_document() {
        Printer::new(Format::Json).print(&document, |_| String::new())?;
    }
    Ok(exit_code(document.problems.len()))
}

/// In apk's order for lists.
fn order(left: &IndexEntry, right: &IndexEntry) -> std::cmp::Ordering {
    display_order(&left.info.name, &right.info.name)
        .then_with(|| apk::version::compare(&left.info.version, &right.info.version))
}

/// The packages that the words stand for, and all that they need.
fn closure(
    arguments: &Arguments,
    context: &Context<'_>,
    system: &System,
) -> Result<Result<Vec<Chosen>, ExitCode>, Failure> {
    let mut world = match arguments.world {
        true => system.world().to_vec(),
        false => Vec::new(),
    };
    for word in &arguments.packages {
        match Dependency::parse(word) {
            Ok(term) => world.push(term),
            Err(_) => {
                context.console.error(&format!(
                    "'{word}' is not a valid world dependency, format is name(@tag)([<>~=]version)"
                ));
                return Ok(Err(ExitCode::FAILURE));
            }
        }
    }
    let wish = Wish {
        world,
        preferences: Preferences {
            available: arguments.available,
            ..Preferences::default()
        },
        ignore_conflicts: true,
        ..Wish::default()
    };
    let plan = match context.plan(system, &wish)? {
        Ok(plan) => plan,
        Err(unsolvable) => return context.refuse(&unsolvable).map(Err),
    };
    let mut chosen = Vec::new();
    for after in plan.steps.iter().filter_map(|step| step.after.as_ref()) {
        if let Supply::Repository { repository, place } = after.supply {
            chosen.push(Chosen {
                repository,
                entry: system.entry(repository, place)?,
            });
        }
    }
    Ok(Ok(chosen))
}

/// The packages that the words stand for: of each name the latest, or all.
fn matches(
    arguments: &Arguments,
    context: &Context<'_>,
    system: &System,
    document: &mut Document,
) -> Result<Result<Vec<Chosen>, ExitCode>, Failure> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for word in &arguments.packages {
        // A word that is no term is a name, however odd.
        let term = Dependency::parse_untagged(word).unwrap_or_else(|_| Dependency::any(word));
        let pattern = word.contains(['*', '?']);
        let mut found: Vec<Chosen> = Vec::new();
        for (repository, loaded) in system.repositories.iter().enumerate() {
            let catalogue = &loaded.catalogue;
            let places: Vec<usize> = match pattern {
                true => (0..catalogue.len())
                    .filter(|place| {
                        let name = catalogue.name(*place);
                        name.is_some_and(|name| fits(&term.name, &name))
                    })
                    .collect(),
                false => catalogue.named(&term.name).collect(),
            };
            for place in places {
                let entry = system.entry(repository, place)?;
                if term.matches(Some(&entry.info.version), Some(&entry.identity)) {
                    found.push(Chosen { repository, entry });
                }
            }
        }
        if found.is_empty() && !word.contains('*') {
            let problem = format!("{word}: unable to select package (or its dependencies)");
            context.console.message(&problem);
            document.problems.push(problem);
        }
        for found in found {
            let mut same = chosen.iter_mut();
            let known = same.find(|known| match arguments.all_matches {
                true => known.entry.identity == found.entry.identity,
                false => known.entry.info.name == found.entry.info.name,
            });
            match known {
                None => chosen.push(found),
                Some(known) if is_later(&found.entry.info.version, &known.entry.info.version) => {
                    *known = found;
                }
                Some(_) => {}
            }
        }
    }
    Ok(Ok(chosen))
}

/// Fetches a package. Why it can't be had, in words.
async fn fetch(
    arguments: &Arguments,
    context: &Context<'_>,
    system: &System,
    chosen: &Chosen,
    names: Option<&NamePattern>,
    document: &mut Document,
) -> Result<Result<(), String>, Failure> {
    let entry = &chosen.entry;
    let Some(loaded) = system.repositories.get(chosen.repository) else {
        return Ok(Err("its repository is gone".to_owned()));
    };
    let url = match loaded.package_places(entry) {
        Ok(places) => places.first().map(ToString::to_string).unwrap_or_default(),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let target = target(arguments, entry, names)?;
    document.packages.push(DocumentPackage {
        name: entry.info.name.clone(),
        version: entry.info.version.clone(),
        arch: entry.info.arch.clone(),
        size: entry.size,
        url: url.clone(),
        file: (!arguments.stdout).then(|| target.clone()),
    });
    let there = fs::metadata(&target).is_ok_and(|found| found.len() == entry.size);
    if !arguments.stdout && there {
        return Ok(Ok(()));
    }
    if !arguments.stdout {
        context.console.message(&match arguments.url {
            true => url,
            false => format!("Downloading {}", chosen.label()),
        });
    }
    if arguments.simulate.on() {
        return Ok(Ok(()));
    }
    let source = match context.obtain(system, chosen.repository, entry).await {
        Ok(source) => source,
        Err(reason) => return Ok(Err(reason)),
    };
    Ok(deliver(arguments, entry, &source, &target))
}

/// Checks a package file and brings it to where it is wanted.
fn deliver(
    arguments: &Arguments,
    entry: &IndexEntry,
    source: &Path,
    target: &Path,
) -> Result<(), String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let package = Package::open(source).map_err(|error| words(&error))?;
    package.check_entry(entry).map_err(|error| words(&error))?;
    let mut file = fs::File::open(source).map_err(|error| words(&error))?;
    if arguments.stdout {
        let mut stdout = io::stdout().lock();
        return io::copy(&mut file, &mut stdout)
            .and_then(|_| stdout.flush())
            .map_err(|error| words(&error));
    }
    if arguments.link && fs::hard_link(source, target).is_ok() {
        return Ok(());
    }
    let mut copy = AtomicFile::create(target).map_err(|error| words(&error))?;
    io::copy(&mut file, &mut copy).map_err(|error| words(&error))?;
    copy.commit().map_err(|error| words(&error))
}

fn target(
    arguments: &Arguments,
    entry: &IndexEntry,
    names: Option<&NamePattern>,
) -> Result<PathBuf, Failure> {
    let name = match names {
        Some(names) => names.file_name(entry),
        None => entry.file_name(),
    };
    let mut parts = Path::new(&name).components();
    let plain = parts.all(|part| matches!(part, std::path::Component::Normal(_)));
    if name.is_empty() || !plain {
        return Err(Failure::Usage(format!(
            "a package can't be written to a file called `{}`",
            name.escape_debug()
        )));
    }
    Ok(arguments.output.join(name))
}

/// Removes from the folder what was not asked for.
fn purge(
    arguments: &Arguments,
    context: &Context<'_>,
    chosen: &[Chosen],
    names: Option<&NamePattern>,
    document: &mut Document,
) -> Result<(), Failure> {
    let mut kept = Vec::new();
    for chosen in chosen {
        kept.push(target(arguments, &chosen.entry, names)?);
    }
    let failed = |error| {
        Failure::failed(
            format!("{} can't be tidied up", arguments.output.display()),
            error,
        )
    };
    let mut entries = fs::read_dir(&arguments.output)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = arguments.output.join(&name);
        let file = entry.file_type().map_err(failed)?.is_file();
        if name.starts_with('.') || !file || kept.contains(&path) {
            continue;
        }
        context.console.message(&format!("Purging {name}"));
        if !arguments.simulate.on() {
            fs::remove_file(&path).map_err(failed)?;
        }
        document.removed.push(name);
    }
    Ok(())
}

/// `2024-01-31 12:00:00`, or seconds since 1970.
fn parse_time(text: &str) -> Result<Epoch, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Epoch(seconds));
    }
    // The last second that has four digits of year is enough to look through.
    let wanted = format!("{}Z", text.replacen(' ', "T", 1));
    let (mut low, mut high) = (0u64, 253_402_300_799u64);
    while low < high {
        let middle = low + (high - low) / 2;
        match Epoch(middle).rfc3339() < wanted {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    match Epoch(low).rfc3339() == wanted {
        true => Ok(Epoch(low)),
        false => {
            Err("expected a date and time such as `2024-01-31 12:00:00`, or seconds".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_seconds() {
        assert_eq!(parse_time("1706702400"), Ok(Epoch(1_706_702_400)));
        assert_eq!(parse_time("2024-01-31 12:00:00"), Ok(Epoch(1_706_702_400)));
        assert_eq!(parse_time("1970-01-01 00:00:00"), Ok(Epoch(0)));
        for wrong in ["", "2024-02-30 00:00:00", "2024-01-31", "yesterday"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}

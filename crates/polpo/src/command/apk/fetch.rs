use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::index::IndexEntry;
use apk::package::Package;
use apk::query::{Population, Selected};
use apk::repository::{NamePattern, lacking};
use base::Epoch;
use clap::Args;
use serde::Serialize;
use store::AtomicFile;

use super::console::Console;
use super::context::Context;
use super::document::Layout;
use super::making::REFUSED;
use super::options::Switch;
use super::question::{
    From, InstalledOnly, Opened, Query, Question, Recursive, count_code, unreadable,
};
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
    #[command(flatten)]
    query: Query,
    #[command(flatten)]
    installed: InstalledOnly,
    #[command(flatten)]
    recursive: Recursive,
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
    match arguments.query.format {
        Layout::Json if !arguments.stdout => context.console.document(Format::Json),
        Layout::Default => {}
        Layout::Json | Layout::Yaml => {
            return Err(Failure::Usage(
                "fetch prints text or, unless packages go to stdout, JSON".to_owned(),
            ));
        }
    }
    let names = match &arguments.pkgname_spec {
        None => None,
        Some(text) => {
            Some(NamePattern::parse(text).map_err(|error| Failure::Usage(error.to_string()))?)
        }
    };
    let opened = arguments
        .question(&arguments.packages)
        .open(context)
        .await?;
    let mut document = Document {
        simulated: arguments.simulate.on(),
        ..Document::default()
    };
    let chosen = opened.with_population(|population| {
        choose(arguments, context, &opened, population, &mut document)
    })?;
    let Some(mut chosen) = chosen else {
        return Ok(ExitCode::from(REFUSED));
    };
    let system = opened.system;
    if document.problems.is_empty() {
        chosen.retain(|chosen| {
            let built = chosen.entry.info.build_time;
            match (arguments.built_after, built) {
                (Some(after), Some(built)) => built > after.0,
                _ => true,
            }
        });
        context.console.start_stage("fetch", || sizes(&chosen));
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
            context.console.advance_stage();
        }
        context.console.end_stage();
        if document.problems.is_empty() && context.global.purge.on() && !arguments.stdout {
            purge(arguments, context, &chosen, names.as_ref(), &mut document)?;
        }
    }
    if context.console.is_document() {
        Printer::new(Format::Json).print(&document, |_| String::new())?;
    }
    Ok(count_code(document.problems.len()))
}

impl Arguments {
    fn question<'q>(&'q self, words: &'q [String]) -> Question<'q> {
        let mut question = Question::new(&self.query, words);
        // Unless it is asked for, what is installed is not looked at.
        question.from = From::Repositories;
        question.installed(self.installed.installed);
        question.recursive(self.recursive);
        question
    }
}

/// The packages that the words stand for; none if nothing satisfies them, and that was said.
fn choose(
    arguments: &Arguments,
    context: &Context<'_>,
    opened: &Opened,
    population: &Population<'_>,
    document: &mut Document,
) -> Result<Option<Vec<Chosen>>, Failure> {
    let whole = arguments.question(&arguments.packages);
    let mut selected = Selected::default();
    if whole.recursive {
        let Some(found) = opened.select(context, population, &whole)? else {
            return Ok(None);
        };
        selected = found;
    } else {
        for word in &arguments.packages {
            let question = arguments.question(std::slice::from_ref(word));
            let Some(found) = opened.select(context, population, &question)? else {
                return Ok(None);
            };
            if found.matches.is_empty() && !word.contains('*') {
                let problem = format!("{word}: unable to select package (or its dependencies)");
                context.console.message(&problem);
                document.problems.push(problem);
            }
            selected.matches.extend(found.matches);
        }
    }
    let mut chosen = Vec::new();
    for package in selected.sorted(population) {
        // One on this machine is best.
        let mut repositories: Vec<_> = population
            .repositories(package)
            .filter(|repository| repository.available)
            .collect();
        repositories.sort_by_key(|repository| !repository.is_local());
        let place = repositories.first().and_then(|found| {
            let mut all = opened.system.repositories.iter();
            all.position(|loaded| std::ptr::eq(loaded, found.loaded))
        });
        match place {
            Some(repository) => chosen.push(Chosen {
                repository,
                entry: population.entry(package).map_err(unreadable)?.into_owned(),
            }),
            None => {
                let problem = format!(
                    "{}: could not find a repo which provides this package \
                     (check repositories file and run 'apk update')",
                    population.label(package)
                );
                context.console.error(&problem);
                document.problems.push(problem);
            }
        }
    }
    Ok(Some(chosen))
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
    if let Some(proof) = &loaded.proof
        && let Some(reason) = lacking(proof.vouched(&entry.identity), proof.required())
    {
        return Ok(Err(reason));
    }
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
    Ok(deliver(arguments, context, entry, &source, &target))
}

/// Checks a package file and brings it to where it is wanted.
fn deliver(
    arguments: &Arguments,
    context: &Context<'_>,
    entry: &IndexEntry,
    source: &Path,
    target: &Path,
) -> Result<(), String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let package = Package::open(source).map_err(|error| words(&error))?;
    package.check_entry(entry).map_err(|error| words(&error))?;
    let mut file = Counted {
        file: fs::File::open(source).map_err(|error| words(&error))?,
        console: &context.console,
    };
    context.console.begin_package();
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

/// What packages count in apk's progress.
fn sizes(chosen: &[Chosen]) -> Vec<u64> {
    chosen.iter().map(|chosen| chosen.entry.size).collect()
}

/// A package file that is read.
struct Counted<'c, 'p> {
    file: fs::File,
    console: &'c Console<'p>,
}

impl io::Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.console.proceed_package(count as u64);
        Ok(count)
    }
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
    let (date, time) = text.split_once(' ').unwrap_or_default();
    Epoch::from_rfc3339(&format!("{date}T{time}Z")).ok_or_else(|| {
        "expected a date and time such as `2024-01-31 12:00:00`, or seconds".to_owned()
    })
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

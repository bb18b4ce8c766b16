use std::path::Path;
use std::process::ExitCode;

use apk::dependency::{Constraint, Dependency, Identity, add_term};
use apk::index::IndexEntry;
use apk::install::Create;
use apk::package::{Package, PackageInfo};
use apk::solver::{Preferences, UnindexedKind};
use apk::version::{Operator, Version};
use base::Sha1;
use clap::Args;

use super::context::Context;
use super::making::REFUSED;
use super::options::Commit;
use super::plan::{NameGoal, Wish};
use super::system::{Extra, System};
use crate::output::failure::Failure;
use crate::settings::now;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apk add nginx 'openssl>3' python3@edge     # what etc/apk/world says from now on
  apk add ./hello-2.10-r0.apk                # a package file
  apk add -t .build gcc make; apk del .build # one name for several, to take them away together")]
pub(crate) struct Arguments {
    /// name[@tag][<>=~version], or the file of a package
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Make an empty database where there is none
    #[arg(long)]
    initdb: bool,
    /// Take the latest version, even if an older one would do or is installed
    #[arg(long, short)]
    latest: bool,
    /// Leave files to who runs the command: as --usermode
    #[arg(long)]
    no_chown: bool,
    /// Bring the packages up to date, rather than keep what is installed
    #[arg(long, short)]
    upgrade: bool,
    /// Make a database that belongs to an ordinary user
    #[arg(long)]
    usermode: bool,
    /// Ask for a new package of this name, which needs the packages, instead of for them
    #[arg(long = "virtual", short = 't', value_name = "NAME[=VERSION]")]
    virtual_package: Option<String>,
    #[command(flatten)]
    pub(crate) commit: Commit,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let create = match (arguments.initdb, arguments.usermode || arguments.no_chown) {
        (true, true) => Create::Usermode,
        (true, false) => Create::Database,
        (false, _) => Create::Never,
    };
    let mut system = context.open(&context.needs_change(create)).await?;
    let Some(wish) = wish(arguments, context, &system)? else {
        return Ok(ExitCode::from(REFUSED));
    };
    context.solve_and_commit(&mut system, &wish).await
}

/// What is asked for; none if an argument is no good, which was said.
fn wish(
    arguments: &Arguments,
    context: &Context<'_>,
    system: &System,
) -> Result<Option<Wish>, Failure> {
    let mut virtual_package = match &arguments.virtual_package {
        None => None,
        Some(text) => match virtual_term(text)? {
            Some((name, version)) => {
                if !name.starts_with('.') && !may_add_files(context, system) {
                    return Ok(None);
                }
                Some((name, version, Vec::new()))
            }
            None => {
                context
                    .console
                    .error(&format!("{text}: bad package specifier"));
                return Ok(None);
            }
        },
    };
    let mut extras = Vec::new();
    let mut terms = Vec::new();
    for word in arguments.packages.iter().filter(|word| !word.is_empty()) {
        let term = if word.contains('.') && Path::new(word).exists() {
            if !may_add_files(context, system) {
                return Ok(None);
            }
            let entry = match package_file(context, Path::new(word))? {
                Ok(entry) => entry,
                Err(reason) => {
                    context.console.error(&format!("{word}: {reason}"));
                    return Ok(None);
                }
            };
            let term = Dependency {
                constraint: Some(Constraint::Identity(entry.identity)),
                ..Dependency::any(&entry.info.name)
            };
            extras.push(Extra {
                entry,
                kind: UnindexedKind::File,
                file: Some(word.into()),
            });
            term
        } else {
            let (parsed, kind, format) = match virtual_package {
                None => (
                    Dependency::parse(word),
                    "world",
                    "name(@tag)([<>~=]version)",
                ),
                Some(_) => (
                    Dependency::parse_untagged(word),
                    "package",
                    "name([<>~=]version)",
                ),
            };
            match parsed {
                Ok(term) => term,
                Err(_) => {
                    context.console.error(&format!(
                        "'{word}' is not a valid {kind} dependency, format is {format}"
                    ));
                    return Ok(None);
                }
            }
        };
        match &mut virtual_package {
            Some((_, _, depends)) => add_term(depends, term),
            None => terms.push(term),
        }
    }
    if let Some((name, version, depends)) = virtual_package {
        if depends.is_empty() {
            context.console.warning("creating empty virtual package");
        }
        terms.push(Dependency::exact(&name, version.clone()));
        extras.push(Extra {
            entry: virtual_entry(name, &version, depends),
            kind: UnindexedKind::Virtual,
            file: None,
        });
    }
    let preferences = Preferences {
        upgrade: arguments.upgrade,
        latest: arguments.latest,
        ..Preferences::default()
    };
    let mut wish = Wish {
        world: system.world().to_vec(),
        extras,
        ..Wish::default()
    };
    for term in terms {
        wish.goals.push(NameGoal {
            name: term.name.clone(),
            preferences,
            inherited: preferences,
        });
        add_term(&mut wish.world, term);
    }
    Ok(Some(wish))
}

/// The name and version of a virtual package; none if the text names none.
fn virtual_term(text: &str) -> Result<Option<(String, Version)>, Failure> {
    let Ok(term) = Dependency::parse(text) else {
        return Ok(None);
    };
    let version = match term.constraint {
        _ if term.conflict => None,
        None => Some(version_of_now()?),
        Some(Constraint::Version(Operator::Equal, version)) => Some(version),
        Some(_) => None,
    };
    Ok(version.map(|version| (term.name, version)))
}

/// The time as a version, as apk has it for virtual packages: `20240131.235959`.
fn version_of_now() -> Result<Version, Failure> {
    let now = match super::making::source_date_epoch()? {
        Some(epoch) => epoch,
        None => now(),
    };
    let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_digit).collect() };
    let text = now.rfc3339();
    let (day, time) = text.split_once('T').unwrap_or_default();
    Version::parse(&format!("{}.{}", digits(day), digits(time)))
        .map_err(|error| Failure::failed("the time is no version", error))
}

/// The package has no file, and so nothing to hash: its identity is that of what it says.
fn virtual_entry(name: String, version: &Version, depends: Vec<Dependency>) -> IndexEntry {
    let mut text = format!("{name}\0{version}");
    for term in &depends {
        text.push('\0');
        text.push_str(&term.to_string());
    }
    IndexEntry {
        identity: Identity::Sha1(Sha1::of(text.as_bytes())),
        size: 0,
        info: PackageInfo {
            name,
            version: version.to_string(),
            arch: "noarch".to_owned(),
            description: "virtual meta package".to_owned(),
            depends,
            ..PackageInfo::default()
        },
    }
}

/// What the index would say of a package file; or why it can't be used, in words.
fn package_file(context: &Context<'_>, path: &Path) -> Result<Result<IndexEntry, String>, Failure> {
    let package = match Package::open(path) {
        Ok(package) => package,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if !context.global.allow_untrusted
        && let Err(error) = package.verify(context.keyring()?)
    {
        return Ok(Err(format!("UNTRUSTED signature: {error}")));
    }
    let mut entry = IndexEntry::of(&package);
    // What a database keeps of it, so that the world's term still fits once it is installed.
    entry.identity = entry.identity.shortened();
    Ok(Ok(entry))
}

/// A system in memory forgets at its next start what no repository has, unless a cache keeps it.
fn may_add_files(context: &Context<'_>, system: &System) -> bool {
    let kept = context.forces().non_repository
        || !context.is_in_memory()
        || system.cache.as_ref().is_some_and(|cache| cache.packages);
    if !kept {
        context.console.error(
            "You tried to add a non-repository package to system, but it would be lost on next \
             reboot. Enable package caching (apk cache --help) or use --force-non-repository if \
             you know what you are doing.",
        );
    }
    kept
}

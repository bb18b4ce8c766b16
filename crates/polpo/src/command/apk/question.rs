//! What commands that look for packages share: apk's query options, and what they open.

use std::path::Path;

use apk::dependency::Dependency;
use apk::install::{Owner, Root};
use apk::query::{
    Fields, PackageId, Population, Repository, ReverseField, Selected, Selection, Sources, Telling,
    parse_fields,
};
use apk::solver::{Preferences, Request};
use clap::{Args, ValueEnum};

use super::context::{Context, Needs};
use super::document::Layout;
use super::system::System;
use crate::output::Printer;
use crate::output::failure::Failure;

/// Options of commands that look for packages.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Query options")]
pub(super) struct Query {
    /// Select all packages that match, not the best of each name
    #[arg(long)]
    pub(super) all_matches: bool,
    /// Select packages that can be had from a repository
    #[arg(long)]
    pub(super) available: bool,
    /// Fields to print, separated by commas, and what reverse dependencies are printed as
    #[arg(long, short = 'F', value_name = "FIELDS[:REVERSE_FIELD]", value_parser = fields, overrides_with = "summarize")]
    pub(super) fields: Option<Told>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Layout,
    /// Where to look: everywhere, not at what is installed, at what is installed only, or at the
    /// repositories of the command line only
    #[arg(long, value_enum)]
    pub(super) from: Option<From>,
    /// Fields that QUERY is compared with, separated by commas
    #[arg(long = "match", value_name = "FIELDS", value_parser = matched)]
    pub(super) matched: Option<Fields>,
    /// Select packages whose name no repository has
    #[arg(long)]
    pub(super) orphaned: bool,
    /// QUERY is a part of what it is compared with
    #[arg(long)]
    pub(super) search: bool,
    /// Print what one field of all selected packages names, each once
    #[arg(long, value_name = "FIELD[:REVERSE_FIELD]", value_parser = summarised)]
    pub(super) summarize: Option<Told>,
    /// Select packages that installed ones can be upgraded to
    #[arg(long)]
    pub(super) upgradable: bool,
    /// Select what the world needs, besides the constraints given; implies --recursive
    #[arg(long)]
    pub(super) world: bool,
}

/// `--installed`, where it is no other option of the command.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Query options")]
pub(super) struct InstalledOnly {
    /// Select installed packages; implies --from installed
    #[arg(long)]
    pub(super) installed: bool,
}

/// `--recursive`, where `-R` is no other option of the command.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Query options")]
pub(super) struct Recursive {
    /// QUERY are constraints: select what satisfies them, with all that it needs
    #[arg(long, short = 'R')]
    pub(super) recursive: bool,
}

/// Where packages are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum From {
    /// The repositories of the command line
    None,
    /// All repositories
    Repositories,
    /// What is installed, and the repositories of the command line
    Installed,
    /// Everything
    System,
}

/// A list of fields that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) fields: Fields,
    pub(super) reverse: Option<ReverseField>,
}

fn fields(text: &str) -> Result<Told, String> {
    told(text, Fields::ALL)
}

fn summarised(text: &str) -> Result<Told, String> {
    let told = told(text, Fields::SUMMARISABLE)?;
    if told.fields.len() == 1 {
        Ok(told)
    } else {
        Err("one field can be summarised at a time".to_owned())
    }
}

fn told(text: &str, allowed: Fields) -> Result<Told, String> {
    let (fields, reverse) = parse_fields(text, allowed).map_err(|error| error.to_string())?;
    Ok(Told { fields, reverse })
}

fn matched(text: &str) -> Result<Fields, String> {
    let fields = Fields::parse(text, Fields::MATCHABLE).map_err(|error| error.to_string())?;
    if fields.without(Fields::MATCHABLE).is_empty() {
        Ok(fields)
    } else {
        Err("not all fields can be compared with".to_owned())
    }
}

/// A query that is ready to be answered.
pub(super) struct Question<'q> {
    pub(super) query: &'q Query,
    pub(super) selection: Selection,
    pub(super) recursive: bool,
    /// What is looked at unless the options say else.
    pub(super) from: From,
    /// Whether repositories are looked at, if `from` has any.
    pub(super) repositories: bool,
    pub(super) words: &'q [String],
}

impl<'q> Question<'q> {
    pub(super) fn new(query: &'q Query, words: &'q [String]) -> Question<'q> {
        Question {
            query,
            selection: Selection {
                fields: query.matched.unwrap_or_default(),
                all_matches: query.all_matches,
                available: query.available,
                installed: false,
                orphaned: query.orphaned,
                upgradable: query.upgradable,
                search: query.search,
                everything: false,
            },
            recursive: query.world,
            from: From::System,
            repositories: true,
            words,
        }
    }

    /// Selects installed packages alone, and looks at nothing else.
    pub(super) fn installed(&mut self, installed: bool) {
        if installed {
            self.selection.installed = true;
            self.from = From::Installed;
        }
    }

    pub(super) fn recursive(&mut self, recursive: Recursive) {
        self.recursive |= recursive.recursive;
    }

    /// What fields are told, those of `usual` unless the options name others.
    pub(super) fn telling(&self, usual: Fields) -> Telling {
        let told = self.query.summarize.or(self.query.fields);
        Telling {
            fields: told.map_or(usual, |told| told.fields),
            reverse: told.and_then(|told| told.reverse).unwrap_or_default(),
            installed_only: false,
        }
    }

    /// Opens what is looked at.
    pub(super) async fn open(&self, context: &Context<'_>) -> Result<Opened, Failure> {
        let from = self.query.from.unwrap_or(self.from);
        let installed = matches!(from, From::Installed | From::System);
        let needs = Needs {
            state: installed || self.query.world,
            system_repositories: matches!(from, From::Repositories | From::System)
                && self.repositories,
            other_repositories: self.repositories,
            any_arch: true,
            ..Needs::default()
        };
        let mut system = context.open(&needs).await?;
        let world = system.world().to_vec();
        if !installed {
            // It was opened for the world.
            system.root = None;
        }
        Ok(Opened {
            system,
            world,
            network: context.global.network.on(),
        })
    }
}

/// A system as a query looks at it.
pub(super) struct Opened {
    pub(super) system: System,
    world: Vec<Dependency>,
    network: bool,
}

impl Opened {
    /// What commands that ask for no packages look at.
    pub(super) async fn new(context: &Context<'_>, needs: &Needs) -> Result<Opened, Failure> {
        let system = context.open(needs).await?;
        Ok(Opened {
            world: system.world().to_vec(),
            system,
            network: context.global.network.on(),
        })
    }

    /// Hands over all packages.
    pub(super) fn with_population<T>(
        &self,
        work: impl FnOnce(&Population<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let repositories: Vec<Repository<'_>> = self
            .system
            .repositories
            .iter()
            .map(|loaded| Repository {
                loaded,
                available: self.network || !loaded.repository.is_remote(),
            })
            .collect();
        let installed = self.system.root.as_ref();
        let cache = self.system.cache.as_ref();
        let cached = match cache.filter(|cache| installed.is_some() && cache.packages) {
            Some(cache) => {
                let files = cache.files()?.into_iter();
                Some(files.map(|file| (file.name, file.size)).collect())
            }
            None => None,
        };
        let population = Population::new(Sources {
            world: &self.world,
            installed: installed.map_or(&[], Root::installed),
            repositories: &repositories,
            cached: cached.as_ref(),
        })
        .map_err(unreadable)?;
        work(&population)
    }

    /// The package that owns a path, and where the path points to if that is what it owns.
    pub(super) fn owner(
        &self,
        population: &Population<'_>,
        path: &str,
    ) -> Option<(PackageId, Option<String>)> {
        let root = self.system.root.as_ref()?;
        let owner = |path: &str| {
            let (Owner::File(package) | Owner::Directory(package)) = root.owner(path)?;
            population.installed_of(&package.entry.info.name)
        };
        if let Some(package) = owner(path) {
            return Some((package, None));
        }
        let target = root.link(path)?;
        let target = target.starts_with('/').then_some(target)?;
        Some((owner(&target)?, Some(target)))
    }

    /// Answers a question.
    pub(super) fn select(
        &self,
        context: &Context<'_>,
        population: &Population<'_>,
        question: &Question<'_>,
    ) -> Result<Option<Selected>, Failure> {
        let nothing_asked = question.selection.everything && question.words.is_empty();
        if question.recursive && !nothing_asked {
            return self.solve(context, population, question);
        }
        let words: Vec<&str> = question.words.iter().map(String::as_str).collect();
        let owner = |path: &str| self.owner(population, path).map(|(package, _)| package);
        population
            .select(&question.selection, &words, &owner)
            .map(Some)
            .map_err(unreadable)
    }

    /// What satisfies the constraints of a question; none if nothing does, and that was said.
    fn solve(
        &self,
        context: &Context<'_>,
        population: &Population<'_>,
        question: &Question<'_>,
    ) -> Result<Option<Selected>, Failure> {
        let mut world = match question.query.world {
            true => self.world.clone(),
            false => Vec::new(),
        };
        for word in question.words {
            match Dependency::parse(word) {
                Ok(term) => world.push(term),
                Err(_) => {
                    context.console.error(&format!(
                        "'{word}' is not a valid world dependency, format is name(@tag)([<>~=]version)"
                    ));
                    return Ok(None);
                }
            }
        }
        let request = Request {
            world: &world,
            preferences: Preferences {
                available: question.query.available,
                ..Preferences::default()
            },
            ignore_conflicts: true,
            ..Request::default()
        };
        self.system.solve(&[], &request, |_, solution| {
            let solution = match solution {
                Ok(solution) => solution,
                Err(unsolvable) => {
                    context.refuse(&unsolvable)?;
                    return Ok(None);
                }
            };
            let mut selected = Selected::default();
            for chosen in solution.packages() {
                let named = population.named(&chosen.package.name).iter().copied();
                let same = |id: &PackageId| {
                    population.version(*id) == chosen.package.version
                        && chosen
                            .package
                            .identity
                            .is_none_or(|identity| identity == population.identity(*id))
                };
                if let Some(package) = { named }.find(same) {
                    selected.matches.push(apk::query::Match {
                        package,
                        name: None,
                    });
                }
            }
            Ok(Some(selected))
        })
    }
}

/// An index that was opened can't be read after all.
pub(super) fn unreadable(error: apk::catalogue::CatalogueError) -> Failure {
    Failure::failed("query failed", error)
}

/// Prints a text as it is.
pub(super) fn print(text: String) -> Result<(), Failure> {
    Printer::default().print(&(), |()| text)
}

/// The path as an absolute one where it leads somewhere from here.
pub(super) fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let found = std::fs::canonicalize(Path::new(path)).ok();
    found
        .and_then(|found| found.to_str().map(str::to_owned))
        .unwrap_or_else(|| path.to_owned())
}

/// apk's exit code for a count of errors.
pub(super) fn count_code(errors: usize) -> std::process::ExitCode {
    std::process::ExitCode::from(u8::try_from(errors).unwrap_or(99).min(99))
}

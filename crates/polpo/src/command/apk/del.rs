use std::collections::BTreeSet;
use std::process::ExitCode;

use apk::dependency::{Dependency, remove_term};
use apk::install::Create;
use apk::pattern::{Case, matches};
use apk::query::compare_names;
use apk::solver::{Candidate, Preferences};
use clap::Args;

use super::commit::indented;
use super::context::{Context, Needs};
use super::making::REFUSED;
use super::options::Commit;
use super::plan::{NameGoal, Plan, Supply, Wish};
use super::question::count_code;
use super::system::System;
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Names of packages; * and ? stand for other characters
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Also no longer ask for what needs the packages
    #[arg(long = "rdepends", short = 'r')]
    dependents: bool,
    #[command(flatten)]
    pub(crate) commit: Commit,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let needs = Needs {
        refresh: false,
        ..context.needs_change(Create::Never)
    };
    let mut system = context.open(&needs).await?;
    let words: Vec<&str> = arguments
        .packages
        .iter()
        .map(String::as_str)
        .filter(|word| !word.is_empty())
        .collect();
    let names = match context.matching_names(&system, &words) {
        Ok(names) => names,
        Err(unknown) => {
            for word in &unknown {
                context.console.error(&format!("No such package: {word}"));
            }
            return Ok(count_code(unknown.len()));
        }
    };
    let mut deletion = Deletion {
        installed: system.installed_candidates(),
        world: system.world().to_vec(),
        removed: BTreeSet::new(),
        dependents: arguments.dependents,
    };
    for name in &names {
        deletion.name(name);
    }
    let wish = Wish {
        goals: deletion
            .removed
            .iter()
            .map(|name| NameGoal {
                name: name.clone(),
                preferences: Preferences {
                    remove: true,
                    ..Preferences::default()
                },
                inherited: Preferences::default(),
            })
            .collect(),
        world: deletion.world,
        ..Wish::default()
    };
    match context.plan(&system, &wish)? {
        Ok(plan) => {
            if context.console.verbosity() >= 1 {
                say_what_stays(context, &system, &names, &plan)?;
            }
            context.commit(&mut system, &plan).await
        }
        // apk asks for the tags behind the solution, and has another message for them.
        Err(unsolvable) if unsolvable.is_of_tags() && !context.console.is_document() => {
            context.check_tags(&system, &wish.world);
            context
                .console
                .error("Not committing changes due to missing repository tags.");
            Ok(ExitCode::from(REFUSED))
        }
        Err(unsolvable) => context.refuse(&unsolvable),
    }
}

/// What is no longer asked for.
struct Deletion {
    installed: Vec<Candidate>,
    world: Vec<Dependency>,
    /// The names of packages that go.
    removed: BTreeSet<String>,
    dependents: bool,
}

impl Deletion {
    fn name(&mut self, name: &str) {
        let mut installed = self.installed.iter();
        match installed.position(|package| package.name == name) {
            Some(place) => self.package(place),
            None => remove_term(&mut self.world, name),
        }
    }

    /// Takes a package out of the world, and perhaps what needs it: a stack instead of recursion,
    /// since packages may form a chain of any length.
    fn package(&mut self, place: usize) {
        let mut pending = vec![place];
        while let Some(place) = pending.pop() {
            let Some(package) = self.installed.get(place) else {
                continue;
            };
            if !self.removed.insert(package.name.clone()) {
                continue;
            }
            remove_term(&mut self.world, &package.name);
            if !self.dependents {
                continue;
            }
            for provided in &package.provides {
                remove_term(&mut self.world, &provided.name);
            }
            pending.extend(
                self.installed
                    .iter()
                    .enumerate()
                    .filter(|(_, other)| {
                        let mut depends = other.depends.iter();
                        depends.any(|term| is_met_by(term, package))
                    })
                    .map(|(place, _)| place),
            );
        }
    }
}

/// Whether a package is one that a term asks for.
fn is_met_by(term: &Dependency, package: &Candidate) -> bool {
    if term.conflict {
        return false;
    }
    let own = term.name == package.name
        && term.matches(Some(&package.version), package.identity.as_ref());
    own || package.provides.iter().any(|provided| {
        let version = provided.version().map(|version| version.as_str());
        provided.name == term.name && term.matches(version, package.identity.as_ref())
    })
}

/// Names what was deleted from the world, but is needed by something that stays.
fn say_what_stays(
    context: &Context<'_>,
    system: &System,
    names: &[String],
    plan: &Plan,
) -> Result<(), Failure> {
    let staying = staying(system, plan)?;
    let reasons = Reasons {
        packages: &staying,
        world: &plan.world,
        verbose: context.console.verbosity() >= 2,
    };
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_by(|left, right| compare_names(left, right));
    let mut header = false;
    for name in names {
        let mut conflicts = system.world().iter();
        if conflicts.any(|term| term.conflict && term.name == *name) {
            continue;
        }
        let Some(words) = reasons.of(name) else {
            continue;
        };
        if !header {
            context
                .console
                .message("World updated, but the following packages are not removed due to:");
            header = true;
        }
        let heading = format!("  {name}:");
        let indent = heading.len() + 1;
        let words = words.iter().map(String::as_str);
        let width = context.console.width();
        context
            .console
            .message(&indented(&heading, indent, words, width));
    }
    if header {
        context.console.message("");
    }
    Ok(())
}

/// All packages that will be installed.
fn staying(system: &System, plan: &Plan) -> Result<Vec<Candidate>, Failure> {
    let installed = system.installed_candidates();
    let mut staying = Vec::new();
    for after in plan.steps.iter().filter_map(|step| step.after.as_ref()) {
        let known = installed
            .iter()
            .find(|package| package.name == after.name && package.identity == after.identity);
        match (&after.supply, known) {
            (_, Some(known)) => staying.push(known.clone()),
            (Supply::Repository { repository, place }, None) => {
                if let Some(loaded) = system.repositories.get(*repository) {
                    let entry = loaded.entry(*place).map_err(|error| {
                        Failure::failed(format!("{} can't be looked up", after.name), error)
                    })?;
                    staying.push(entry.candidate());
                }
            }
            (Supply::File(_, entry) | Supply::Virtual(entry), None) => {
                staying.push(entry.candidate());
            }
            (Supply::None, None) => {}
        }
    }
    Ok(staying)
}

/// Why packages stay.
struct Reasons<'r> {
    packages: &'r [Candidate],
    world: &'r [Dependency],
    verbose: bool,
}

impl Reasons<'_> {
    /// The names of the world that keep what has a name; none if nothing has it any more.
    fn of(&self, name: &str) -> Option<Vec<String>> {
        let mut seen = vec![false; self.packages.len()];
        let mut words = Vec::new();
        let mut any = false;
        for (place, package) in self.packages.iter().enumerate() {
            if has_name(package, name) {
                any = true;
                self.follow(place, &mut seen, &mut words);
            }
        }
        any.then_some(words)
    }

    fn follow(&self, place: usize, seen: &mut [bool], words: &mut Vec<String>) {
        let mut pending = vec![place];
        while let Some(place) = pending.pop() {
            let Some(package) = self.packages.get(place) else {
                continue;
            };
            if seen
                .get_mut(place)
                .is_none_or(|seen| std::mem::replace(seen, true))
            {
                continue;
            }
            let provided = package.provides.iter().map(|provided| &provided.name);
            for name in std::iter::once(&package.name).chain(provided) {
                if self.is_asked_for(name) {
                    words.push(name.clone());
                }
            }
            let mut next = Vec::new();
            for (other, dependent) in self.packages.iter().enumerate() {
                let mut depends = dependent.depends.iter();
                let follows = package.install_if.iter().any(|term| {
                    has_name(dependent, &term.name)
                        && (self.verbose || self.is_asked_for(&dependent.name))
                });
                if follows || depends.any(|term| is_met_by(term, package)) {
                    next.push(other);
                }
            }
            // The first is followed first.
            pending.extend(next.into_iter().rev());
        }
    }

    fn is_asked_for(&self, name: &str) -> bool {
        let mut world = self.world.iter();
        world.any(|term| !term.conflict && term.name == name)
    }
}

fn has_name(package: &Candidate, name: &str) -> bool {
    let mut provides = package.provides.iter();
    package.name == name || provides.any(|provided| provided.name == name)
}

impl Context<'_> {
    /// The names that words of the command line stand for. The words that no name fits are the
    /// error; apk does not mind a pattern that fits nothing.
    pub(crate) fn matching_names(
        &self,
        system: &System,
        words: &[&str],
    ) -> Result<Vec<String>, Vec<String>> {
        if words.iter().any(|word| word.contains('*')) {
            let names = system.names();
            return Ok(names
                .into_iter()
                .filter(|name| words.iter().any(|word| matches(word, name, Case::Fold)))
                .collect());
        }
        let unknown: Vec<String> = words
            .iter()
            .filter(|word| !system.knows(word))
            .map(|word| (*word).to_owned())
            .collect();
        match unknown.is_empty() {
            true => Ok(words.iter().map(|word| (*word).to_owned()).collect()),
            false => Err(unknown),
        }
    }
}

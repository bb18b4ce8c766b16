//! Rules for recipe files, beyond what makes one invalid: names and meanings are wolfictl's
//! (`pkg/lint`), so that `#nolint:` lines of existing recipes keep working.

mod deeds;
mod rules;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use base::{Arch, Problem, Severity, SourceText, did_you_mean};
use rayon::prelude::*;
use yaml::Style;

use crate::recipe::written::PipelineStep;
use crate::recipe::{
    Piece, PipelineLibrary, Recipe, ResolveOptions, Scope, Text, global_scope, pieces,
};

pub use rules::RULES;

/// A rule that recipes should keep.
pub struct Rule {
    /// Its name, for `--skip-rule` and `#nolint:`.
    pub name: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// What it asks for, and why.
    pub explanation: &'static str,
    /// What to do.
    pub help: &'static str,
    /// Whether `polpo recipe fmt` mends it.
    pub fixable: bool,
    check: fn(&Subject<'_>, &mut Findings),
}

/// What is checked, and how strictly.
#[derive(Debug, Default)]
pub struct LintOptions<'l> {
    /// Rules that are left out.
    pub skip: BTreeSet<String>,
    /// Problems below this are left out.
    pub severity: Option<Severity>,
    /// The pipelines that steps use. Without them, nobody looks at what steps use and give.
    pub pipelines: Option<&'l PipelineLibrary>,
    /// The architectures that recipes are expanded for with the pipelines, where they are meant for
    /// them; none is this machine's.
    pub archs: Vec<Arch>,
}

/// There is no rule of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rule `{name}`{}", meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default())]
pub struct UnknownRule {
    /// The name.
    pub name: String,
    /// The rule that may have been meant.
    pub meant: Option<&'static str>,
}

/// The rule called `name`.
///
/// # Errors
/// There is none.
pub fn rule(name: &str) -> Result<&'static Rule, UnknownRule> {
    let names = RULES.iter().map(|rule| rule.name);
    RULES
        .iter()
        .find(|rule| rule.name == name)
        .ok_or_else(|| UnknownRule {
            name: name.to_owned(),
            meant: did_you_mean(name, names),
        })
}

/// A recipe file and the style it should have.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    /// The file.
    pub source: SourceText,
    /// The style.
    pub style: Style,
}

/// Checks recipes, on all cores: what makes them invalid, then every rule. Hosts are compared across all
/// of them.
pub fn lint(files: &[RecipeFile], options: &LintOptions<'_>) -> Vec<Problem> {
    let read: Vec<Read<'_>> = files
        .par_iter()
        .map(|file| Read::new(file, options))
        .collect();
    let mut hosts = Hosts::default();
    for (place, read) in read.iter().enumerate() {
        for host in &read.hosts {
            let first = || (place, read.file.source.name());
            hosts.seen.entry(host).or_insert_with(first);
        }
    }
    let checked = read.par_iter().enumerate();
    let checked = checked.map(|(place, read)| read.check(place, &hosts, options));
    let mut problems: Vec<Problem> = checked.flatten_iter().collect();
    let least = options.severity.unwrap_or(Severity::Info);
    problems.retain(|problem| problem.severity >= least);
    problems
}

/// A recipe that was read, and what is wrong with it by itself.
struct Read<'f> {
    file: &'f RecipeFile,
    problems: Vec<Problem>,
    /// Nothing, if it can't be decoded.
    recipe: Option<(Recipe, Scope<'static>)>,
    /// The hosts of its sources.
    hosts: Vec<String>,
}

impl Read<'_> {
    fn new<'f>(file: &'f RecipeFile, options: &LintOptions<'_>) -> Read<'f> {
        let mut read = Read {
            file,
            problems: Vec::new(),
            recipe: None,
            hosts: Vec::new(),
        };
        let recipe = match Recipe::parse(file.source.clone()) {
            Ok(recipe) => recipe,
            Err(problems) => {
                read.problems = problems;
                return read;
            }
        };
        let library = PipelineLibrary::closed();
        let arch = Arch::ALL.into_iter().find(|arch| recipe.targets(*arch));
        let resolve_options = ResolveOptions::new(arch.unwrap_or(Arch::host()), &library);
        // What resolving finds makes a recipe invalid, too.
        read.problems = match options.pipelines {
            Some(library) => expanded(&recipe, library, &options.archs),
            None => match recipe.compile_with_warnings(&resolve_options) {
                Ok((_, warnings)) => warnings,
                Err(problems) => problems,
            },
        };
        // The rule for versions says the same, and can be excused.
        read.problems
            .retain(|problem| problem.rule != "invalid-version");
        let mut told = Vec::new();
        let scope = global_scope(&recipe, &resolve_options, &mut told);
        let subject = Subject {
            file,
            recipe: &recipe,
            scope: &scope,
            hosts: &Hosts::default(),
            place: 0,
        };
        let hosts = deeds::hosts(&subject).into_iter();
        read.hosts = hosts.map(|(host, _)| host).collect();
        read.recipe = Some((recipe, scope));
        read
    }

    /// Its problems, with those that rules find. `place` is its own among the files.
    fn check(&self, place: usize, hosts: &Hosts<'_>, options: &LintOptions<'_>) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        let Some((recipe, scope)) = &self.recipe else {
            return problems;
        };
        let subject = Subject {
            file: self.file,
            recipe,
            scope,
            hosts,
            place,
        };
        let excused = excused(self.file.source.text());
        for rule in &RULES {
            if options.skip.contains(rule.name) || excused.contains(rule.name) {
                continue;
            }
            let mut findings = Findings::default();
            (rule.check)(&subject, &mut findings);
            problems.extend(findings.0.into_iter().map(|(message, span)| {
                Problem {
                    severity: rule.severity,
                    ..Problem::error(rule.name, message)
                        .at(&self.file.source, span, "")
                        .help(rule.help)
                }
            }));
        }
        problems
    }
}

/// What is wrong with a recipe, its pipelines' steps included, on any of the architectures that it is
/// meant for.
fn expanded(recipe: &Recipe, library: &PipelineLibrary, archs: &[Arch]) -> Vec<Problem> {
    let usual = [Arch::host()];
    let archs = if archs.is_empty() { &usual[..] } else { archs };
    let mut all: Vec<Problem> = Vec::new();
    for arch in archs.iter().filter(|arch| recipe.targets(**arch)) {
        let found = match recipe.resolve_with_warnings(&ResolveOptions::new(*arch, library)) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        };
        for problem in found {
            if !all.contains(&problem) {
                all.push(problem);
            }
        }
    }
    all
}

/// The rules that `#nolint:` lines name.
fn excused(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#nolint:"))
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .collect()
}

/// The hosts of sources, and the first file that has each: its place among the files, and its name.
#[derive(Debug, Default)]
struct Hosts<'f> {
    seen: BTreeMap<&'f str, (usize, &'f str)>,
}

/// What the rules look at.
struct Subject<'r> {
    file: &'r RecipeFile,
    recipe: &'r Recipe,
    scope: &'r Scope<'static>,
    hosts: &'r Hosts<'r>,
    place: usize,
}

/// What a rule found: what is wrong, and where.
#[derive(Debug, Default)]
struct Findings(Vec<(String, Range<usize>)>);

impl Findings {
    fn add(&mut self, message: impl Into<String>, span: Range<usize>) {
        self.0.push((message.into(), span));
    }
}

impl Subject<'_> {
    /// The text with the variables that are known replaced.
    fn value(&self, text: &Text) -> String {
        let mut out = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(plain) => out.push_str(plain),
                Piece::Reference { name, span } => match self.scope.get(name) {
                    Some(Some(value)) => out.push_str(value),
                    _ => out.push_str(&text.value[span]),
                },
                Piece::Broken { span } => out.push_str(&text.value[span]),
            }
        }
        out
    }

    /// Where `part` stands in what was written for `text`; all of it when it isn't found.
    fn within(&self, text: &Text, part: &str) -> Range<usize> {
        let span = text.span();
        let written = self
            .file
            .source
            .text()
            .get(span.clone())
            .unwrap_or_default();
        match written.find(part) {
            Some(at) if !part.is_empty() => span.start + at..span.start + at + part.len(),
            _ => span,
        }
    }

    /// The main package's name, where problems of the whole are told.
    fn name(&self) -> Range<usize> {
        self.recipe.contents.package.name.span()
    }

    /// Every step that builds, the main package's first.
    fn building(&self) -> Vec<&PipelineStep> {
        let contents = &self.recipe.contents;
        let mut steps = Vec::new();
        gather(&contents.pipeline, &mut steps);
        for subpackage in &contents.subpackages {
            gather(&subpackage.pipeline, &mut steps);
        }
        steps
    }

    /// Every step that tests.
    fn testing(&self) -> Vec<&PipelineStep> {
        let contents = &self.recipe.contents;
        let subpackages = contents.subpackages.iter();
        let tests = subpackages.filter_map(|subpackage| subpackage.test.as_ref());
        let mut steps = Vec::new();
        for test in contents.test.iter().chain(tests) {
            gather(&test.pipeline, &mut steps);
        }
        steps
    }

    /// An input that a step gives its pipeline.
    fn input<'s>(step: &'s PipelineStep, name: &str) -> Option<&'s Text> {
        step.with.as_ref()?.value.get(name)
    }
}

fn gather<'s>(steps: &'s [PipelineStep], out: &mut Vec<&'s PipelineStep>) {
    for step in steps {
        out.push(step);
        gather(&step.pipeline, out);
    }
}

fn uses(step: &PipelineStep, name: &str) -> bool {
    step.uses.as_ref().is_some_and(|uses| uses.value == name)
}

#[cfg(test)]
mod tests;

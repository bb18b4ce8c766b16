//! Rules for recipe files, beyond what makes one invalid: names and meanings are wolfictl's
//! (`pkg/lint`), so that `#nolint:` lines of existing recipes keep working.

mod deeds;
mod rules;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use base::{Arch, Problem, Severity, SourceText, did_you_mean};
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
pub struct LintOptions {
    /// Rules that are left out.
    pub skip: BTreeSet<String>,
    /// Problems below this are left out.
    pub severity: Option<Severity>,
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

/// Checks recipes: what makes them invalid, then every rule. Hosts are compared across all of them.
pub fn lint(files: &[RecipeFile], options: &LintOptions) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut hosts = Hosts::default();
    for file in files {
        problems.extend(lint_one(file, &mut hosts, options));
    }
    let least = options.severity.unwrap_or(Severity::Info);
    problems.retain(|problem| problem.severity >= least);
    problems
}

fn lint_one(file: &RecipeFile, hosts: &mut Hosts, options: &LintOptions) -> Vec<Problem> {
    let recipe = match Recipe::parse(file.source.clone()) {
        Ok(recipe) => recipe,
        Err(problems) => return problems,
    };
    let library = PipelineLibrary::closed();
    let arch = Arch::ALL.into_iter().find(|arch| recipe.targets(*arch));
    let resolve_options = ResolveOptions::new(arch.unwrap_or(Arch::host()), &library);
    // What resolving finds makes a recipe invalid, too.
    let mut problems = match recipe.compile_with_warnings(&resolve_options) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    // The rule for versions says the same, and can be excused.
    problems.retain(|problem| problem.rule != "invalid-version");
    let mut told = Vec::new();
    let scope = global_scope(&recipe, &resolve_options, &mut told);
    let subject = Subject {
        file,
        recipe: &recipe,
        scope,
        hosts,
    };
    let excused = excused(file.source.text());
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
                    .at(&file.source, span, "")
                    .help(rule.help)
            }
        }));
    }
    let found: Vec<String> = deeds::hosts(&subject)
        .into_iter()
        .map(|(host, _)| host)
        .collect();
    for host in found {
        hosts
            .seen
            .entry(host)
            .or_insert_with(|| file.source.name().to_owned());
    }
    problems
}

/// The rules that `#nolint:` lines name.
fn excused(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#nolint:"))
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .collect()
}

/// The hosts of sources so far, and the first file that has each.
#[derive(Debug, Default)]
struct Hosts {
    seen: BTreeMap<String, String>,
}

/// What the rules look at.
struct Subject<'r> {
    file: &'r RecipeFile,
    recipe: &'r Recipe,
    scope: Scope<'static>,
    hosts: &'r Hosts,
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

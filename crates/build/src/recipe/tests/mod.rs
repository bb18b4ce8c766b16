//! What recipes mean, and what is told of those that mean nothing.

mod compiled;
mod packages;
mod problems;
mod steps;
mod variables;
mod whole;

use std::fs;

use base::{Arch, Problem, Severity, SourceText};

use super::*;

/// One entry per problem: place, message, rule, what its labels mark, and its help.
fn render(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        let warning = match problem.severity {
            Severity::Error => "",
            _ => "warning: ",
        };
        out += &format!("{warning}{problem} [{}]\n", problem.rule);
        for label in &problem.labels {
            let source = problem.source.as_ref().unwrap().text();
            let marked = source[label.span.clone()]
                .lines()
                .next()
                .unwrap_or_default();
            out += format!("  `{marked}` {}", label.text).trim_end();
            out.push('\n');
        }
        if let Some(help) = &problem.help {
            out += &format!("  help: {help}\n");
        }
    }
    out
}

const PACKAGE: &str = "package: {name: hello, version: 1.2.3, epoch: 4}\n";

fn parse(text: &str) -> Recipe {
    Recipe::parse(SourceText::new("hello.yaml", text))
        .unwrap_or_else(|problems| panic!("{}", render(&problems)))
}

fn resolve(text: &str) -> ResolvedRecipe {
    resolve_with(text, |_| {})
}

fn resolve_with(text: &str, change: impl FnOnce(&mut ResolveOptions<'_>)) -> ResolvedRecipe {
    let library = PipelineLibrary::default();
    let mut options = ResolveOptions::new(Arch::X86_64, &library);
    change(&mut options);
    parse(text)
        .resolve(&options)
        .unwrap_or_else(|problems| panic!("{}", render(&problems)))
}

/// The problems of parsing, or else of resolving.
fn problems_of(text: &str) -> String {
    problems_with(text, |_| {})
}

fn problems_with(text: &str, change: impl FnOnce(&mut ResolveOptions<'_>)) -> String {
    let library = PipelineLibrary::default();
    let mut options = ResolveOptions::new(Arch::X86_64, &library);
    change(&mut options);
    let result = Recipe::parse(SourceText::new("hello.yaml", text))
        .and_then(|recipe| recipe.resolve_with_warnings(&options));
    match result {
        Ok((_, warnings)) => render(&warnings),
        Err(problems) => render(&problems),
    }
}

fn scripts(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .flat_map(|step| {
            let own = match &step.action {
                Action::Run { script } => vec![script.trim().to_owned()],
                _ => Vec::new(),
            };
            own.into_iter().chain(scripts(&step.steps))
        })
        .collect()
}

fn library(files: &[(&str, &str)]) -> (tempfile::TempDir, PipelineLibrary) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(format!("{name}.yaml"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let library = PipelineLibrary::new(vec![folder.path().to_owned()]);
    (folder, library)
}

use std::collections::BTreeSet;
use std::process::ExitCode;

use base::Severity;
use build::authoring::lint::{self, LintOptions, RecipeFile};
use build::authoring::style;

use crate::arguments::recipe::{LeastSeverity, RecipeLint};
use crate::command::recipes;
use crate::output::failure::Failure;
use crate::output::{KnownRule, print_problems};
use crate::settings::Session;

/// Stands for every rule.
const ALL: &str = "all";

pub(crate) fn run(arguments: &RecipeLint, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let mut skip = BTreeSet::new();
    for name in &arguments.skip_rules {
        if name == ALL {
            skip.extend(lint::RULES.iter().map(|rule| rule.name.to_owned()));
            continue;
        }
        let rule = lint::rule(name).map_err(|error| Failure::Usage(error.to_string()))?;
        skip.insert(rule.name.to_owned());
    }
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in recipes::files(&arguments.recipes)? {
        let read = style::of(&path)
            .and_then(|style| recipes::read(&path, "recipe").map(|source| (source, style)));
        match read {
            Ok((source, style)) => files.push(RecipeFile { source, style }),
            Err(more) => problems.extend(more),
        }
    }
    let severity = match arguments.severity {
        LeastSeverity::Info => Severity::Info,
        LeastSeverity::Warning => Severity::Warning,
        LeastSeverity::Error => Severity::Error,
    };
    let library = recipes::library(&arguments.pipeline_dirs, session);
    let options = LintOptions {
        skip,
        severity: Some(severity),
        pipelines: (!arguments.pipeline_dirs.is_empty()).then_some(&library),
        archs: arguments.archs.clone(),
    };
    problems.extend(lint::lint(&files, &options));
    let rules: Vec<KnownRule> = lint::RULES
        .iter()
        .map(|rule| KnownRule {
            name: rule.name,
            explanation: rule.explanation,
        })
        .collect();
    print_problems(&problems, &rules, arguments.format)?;
    session.notice(&format!(
        "{} recipes, {} problems",
        files.len(),
        problems.len()
    ));
    let failed = problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    Ok(ExitCode::from(u8::from(failed)))
}

use std::process::ExitCode;

use apk::query::{Fields, Population, Telling};
use clap::Args;

use super::context::Context;
use super::document::{Layout, Node, paragraphs};
use super::making::REFUSED;
use super::question::{
    InstalledOnly, Opened, Query, Question, Recursive, count_code, print, unreadable,
};
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    query: Query,
    #[command(flatten)]
    installed: InstalledOnly,
    #[command(flatten)]
    recursive: Recursive,
    /// Names, with or without a version, texts or patterns; constraints with --recursive
    #[arg(value_name = "QUERY")]
    words: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let mut question = Question::new(&arguments.query, &arguments.words);
    question.installed(arguments.installed.installed);
    question.recursive(arguments.recursive);
    let opened = question.open(context).await?;
    let telling = question.telling(Fields::USUAL);
    opened.with_population(|population| answer(context, &opened, population, &question, &telling))
}

/// Prints the answer to a question. The exit code says whether a field can't be known of a package.
pub(super) fn answer(
    context: &Context<'_>,
    opened: &Opened,
    population: &Population<'_>,
    question: &Question<'_>,
    telling: &Telling,
) -> Result<ExitCode, Failure> {
    let Some(selected) = opened.select(context, population, question)? else {
        return Ok(ExitCode::from(REFUSED));
    };
    let missing = selected.missing;
    let packages = selected.sorted(population);
    let layout = question.query.format;
    if question.query.summarize.is_some() {
        let names = population
            .summarise(&packages, telling)
            .map_err(unreadable)?;
        print(match layout {
            Layout::Default => names.iter().map(|name| format!("{name}\n")).collect(),
            layout => Node::texts(names).to_text(layout),
        })?;
        return Ok(count_code(missing));
    }
    let mut descriptions = Vec::with_capacity(packages.len());
    let mut unknown = false;
    for package in packages {
        let (description, lacks) = population.describe(package, telling).map_err(unreadable)?;
        unknown |= lacks;
        descriptions.push(description);
    }
    print(match layout {
        Layout::Default => paragraphs(&descriptions),
        layout => Node::list(descriptions.into_iter().map(Node::description)).to_text(layout),
    })?;
    if unknown && telling.fields != Fields::ALL {
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

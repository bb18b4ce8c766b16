use std::fmt::Write as _;
use std::process::ExitCode;

use apk::query::{INSTALLED, PackageId, Population};
use clap::Args;

use super::context::Context;
use super::document::{Layout, Node};
use super::making::REFUSED;
use super::question::{InstalledOnly, Query, Question, Recursive, print};
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    query: Query,
    #[command(flatten)]
    installed: InstalledOnly,
    #[command(flatten)]
    recursive: Recursive,
    /// Names or patterns
    #[arg(value_name = "QUERY")]
    words: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let mut question = Question::new(&arguments.query, &arguments.words);
    question.installed(arguments.installed.installed);
    question.recursive(arguments.recursive);
    question.selection.all_matches = true;
    let opened = question.open(context).await?;
    opened.with_population(|population| {
        let Some(selected) = opened.select(context, population, &question)? else {
            return Ok(ExitCode::from(REFUSED));
        };
        let packages = selected.sorted(population);
        print(match arguments.query.format {
            Layout::Default => lines(population, &packages),
            layout => document(population, &packages).to_text(layout),
        })?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The places of a package: each with its tag, or none.
fn places<'p>(
    population: &'p Population<'_>,
    package: PackageId,
) -> impl Iterator<Item = (Option<&'p str>, String)> {
    // apk names each repository under every tag that one of the package's repositories has.
    let tags: Vec<Option<&str>> = std::iter::once(None)
        .chain(population.tags().iter().copied().map(Some))
        .filter(|tag| population.may_come_with(package, *tag))
        .collect();
    population
        .repositories(package)
        .flat_map(move |repository| {
            let name = repository.name();
            let tags = tags.clone().into_iter();
            tags.map(move |tag| (tag, name.clone()))
        })
}

fn lines(population: &Population<'_>, packages: &[PackageId]) -> String {
    let mut out = String::new();
    let mut name = None;
    // Writing to a string can't fail.
    for package in packages.iter().copied() {
        if name != Some(population.name(package)) {
            name = Some(population.name(package));
            let _ = writeln!(out, "{} policy:", population.name(package));
        }
        let _ = writeln!(out, "  {}:", population.version(package));
        if population.is_installed(package) {
            let _ = writeln!(out, "    {INSTALLED}");
        }
        for (tag, repository) in places(population, package) {
            let _ = match tag {
                None => writeln!(out, "    {repository}"),
                Some(tag) => writeln!(out, "    @{tag} {repository}"),
            };
        }
    }
    out
}

fn document(population: &Population<'_>, packages: &[PackageId]) -> Node {
    let by_name =
        packages.chunk_by(|left, right| population.name(*left) == population.name(*right));
    Node::list(by_name.map(|packages| {
        let name = packages.first().map(|package| population.name(*package));
        let versions = packages.iter().map(|package| {
            let repositories = places(population, *package).map(|(tag, repository)| {
                let mut fields = vec![("repository", Node::Text(repository))];
                fields.extend(tag.map(|tag| ("tag", Node::Text(tag.to_owned()))));
                Node::Object(fields)
            });
            let mut fields = vec![(
                "version",
                Node::Text(population.version(*package).to_owned()),
            )];
            if population.is_installed(*package) {
                fields.push(("status", Node::texts(["installed".to_owned()])));
            }
            fields.push(("repositories", Node::list(repositories)));
            Node::Object(fields)
        });
        Node::Object(vec![
            ("name", Node::Text(name.unwrap_or_default().to_owned())),
            ("versions", Node::list(versions)),
        ])
    }))
}

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

use apk::query::{Field, Fields, Match, PackageId, Population, compare_names};
use clap::Args;

use super::context::Context;
use super::document::{Layout, Node};
use super::question::{InstalledOnly, Query, Question, Recursive, print, unreadable};
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// List packages that can be had from a repository
    #[arg(short = 'a')]
    can_be_had: bool,
    /// List packages that depend on PATTERN
    #[arg(long, short)]
    depends: bool,
    /// List installed packages
    #[arg(short = 'I')]
    only_installed: bool,
    /// List installed packages, each as its name and version
    #[arg(long)]
    manifest: bool,
    /// PATTERN is the origin of packages
    #[arg(long, short)]
    origin: bool,
    /// List packages whose name no repository has
    #[arg(short = 'O')]
    only_orphaned: bool,
    /// List packages that provide PATTERN, and say which name they provide
    #[arg(long, short = 'P')]
    providers: bool,
    /// List packages that installed ones can be upgraded to
    #[arg(long, short)]
    upgradeable: bool,
    #[command(flatten)]
    query: Query,
    #[command(flatten)]
    installed: InstalledOnly,
    #[command(flatten)]
    recursive: Recursive,
    /// Names or patterns
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

impl Arguments {
    fn question(&self) -> Question<'_> {
        let mut question = Question::new(&self.query, &self.patterns);
        question.installed(self.installed.installed || self.only_installed || self.manifest);
        question.recursive(self.recursive);
        let selection = &mut question.selection;
        selection.available |= self.can_be_had;
        selection.orphaned |= self.only_orphaned;
        selection.upgradable |= self.upgradeable;
        selection.everything = true;
        selection.all_matches = true;
        if self.origin {
            selection.fields = Fields::of(&[Field::Origin]);
        } else if selection.fields.is_empty() {
            selection.fields = if self.depends {
                Fields::of(&[Field::Depends])
            } else if self.providers {
                Fields::of(&[Field::Name, Field::Provides])
            } else {
                Fields::of(&[Field::Name])
            };
        }
        question
    }
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let question = arguments.question();
    let opened = question.open(context).await?;
    opened.with_population(|population| {
        let selected = opened.select(context, population, &question)?;
        let matches = selected
            .map(|selected| selected.matches)
            .unwrap_or_default();
        let lines = sorted(population, matches);
        let lister = Lister {
            arguments,
            verbosity: context.console.verbosity(),
            population,
        };
        match arguments.query.format {
            Layout::Default => {
                let mut out = String::new();
                for (name, package) in &lines {
                    lister.line(name, *package, &mut out)?;
                }
                print(out)?;
            }
            layout => {
                let items = lines.iter();
                let items = items.map(|(name, package)| lister.node(name, *package));
                let items = items.collect::<Result<Vec<_>, _>>()?;
                print(Node::list(items).to_text(layout))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Each pair of a name and a package once, by name.
fn sorted(population: &Population<'_>, matches: Vec<Match>) -> Vec<(String, PackageId)> {
    let mut seen = BTreeSet::new();
    let mut lines: Vec<(String, PackageId)> = matches
        .into_iter()
        .map(|found| {
            let own = || population.name(found.package).to_owned();
            (found.name.unwrap_or_else(own), found.package)
        })
        .filter(|line| seen.insert(line.clone()))
        .collect();
    lines.sort_by(|(left_name, left), (right_name, right)| {
        compare_names(left_name, right_name).then_with(|| population.display_order(*left, *right))
    });
    lines
}

struct Lister<'l, 'a> {
    arguments: &'l Arguments,
    verbosity: u8,
    population: &'l Population<'a>,
}

impl Lister<'_, '_> {
    fn line(&self, name: &str, package: PackageId, out: &mut String) -> Result<(), Failure> {
        let population = self.population;
        let own = population.name(package);
        // Writing to a string can't fail.
        if self.arguments.providers {
            let _ = write!(out, "<{name}> ");
        }
        if self.arguments.manifest {
            let _ = writeln!(out, "{own} {}", population.version(package));
            return Ok(());
        }
        if self.verbosity == 0 {
            let _ = writeln!(out, "{own}");
            return Ok(());
        }
        let entry = population.entry(package).map_err(unreadable)?;
        let info = &entry.info;
        let origin = match info.origin.as_str() {
            "" => own,
            origin => origin,
        };
        let _ = write!(
            out,
            "{} {} {{{origin}}} ({})",
            population.label(package),
            info.arch,
            info.license()
        );
        if population.is_installed(package) {
            out.push_str(" [installed]");
        } else if let Some(older) = population.upgrades(package) {
            let _ = write!(out, " [upgradable from: {}]", population.label(older));
        }
        if self.verbosity > 1 {
            let _ = write!(out, "\n  {}\n", info.description);
            if self.verbosity > 2 {
                let _ = writeln!(out, "  <{}>", info.url);
            }
        }
        out.push('\n');
        Ok(())
    }

    fn node(&self, name: &str, package: PackageId) -> Result<Node, Failure> {
        let population = self.population;
        let entry = population.entry(package).map_err(unreadable)?;
        let info = &entry.info;
        let text = |text: &str| Node::Text(text.to_owned());
        let mut fields = vec![
            ("name", text(population.name(package))),
            ("version", text(population.version(package))),
            ("arch", text(&info.arch)),
            ("origin", text(&info.origin)),
            ("license", Node::Text(info.license())),
            ("description", text(&info.description)),
            ("url", text(&info.url)),
        ];
        if self.arguments.providers {
            fields.push(("provided", text(name)));
        }
        if population.is_installed(package) {
            fields.push(("status", Node::texts(["installed".to_owned()])));
        } else if let Some(older) = population.upgrades(package) {
            fields.push(("upgradable-from", Node::Text(population.label(older))));
        }
        Ok(Node::Object(fields))
    }
}

use std::fmt::Write as _;
use std::process::ExitCode;

use apk::query::{Field, Fields, PackageId, Population};
use clap::Args;

use super::context::Context;
use super::document::{Layout, Node};
use super::making::REFUSED;
use super::question::{
    From, InstalledOnly, Query, Question, Recursive, count_code, print, unreadable,
};
use crate::output::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Find all packages that match, not the best of each name
    #[arg(long, short)]
    all: bool,
    /// Search descriptions too; implies --all
    #[arg(long, short)]
    description: bool,
    /// PATTERN is the whole of what it is compared with
    #[arg(long, short)]
    exact: bool,
    /// The same as -e
    #[arg(short = 'x', hide = true)]
    exact_too: bool,
    /// PATTERN is the whole origin of packages; implies --all
    #[arg(long)]
    has_origin: bool,
    /// Print the origin of what is found
    #[arg(long, short)]
    origin: bool,
    /// Print what depends on what is found
    #[arg(long, short)]
    rdepends: bool,
    #[command(flatten)]
    query: Query,
    #[command(flatten)]
    installed: InstalledOnly,
    #[command(flatten)]
    recursive: Recursive,
    /// Parts of names, or patterns
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

impl Arguments {
    fn question(&self) -> Question<'_> {
        let mut question = Question::new(&self.query, &self.patterns);
        // Unless it is asked for, what is installed is not looked at.
        question.from = From::Repositories;
        question.installed(self.installed.installed);
        question.recursive(self.recursive);
        let selection = &mut question.selection;
        selection.everything = true;
        selection.all_matches |= self.all || self.description || self.has_origin;
        selection.search |= !self.exact && !self.exact_too && !self.has_origin;
        if self.has_origin {
            selection.fields = Fields::of(&[Field::Origin]);
        } else if self.description {
            selection.fields = Fields::of(&[Field::Description]);
        }
        let names = Fields::of(&[Field::Name, Field::Provides]);
        selection.fields = selection.fields.union(names);
        question
    }
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let question = arguments.question();
    let opened = question.open(context).await?;
    opened.with_population(|population| {
        let Some(selected) = opened.select(context, population, &question)? else {
            return Ok(ExitCode::from(REFUSED));
        };
        let finder = Finder {
            arguments,
            verbosity: context.console.verbosity(),
            population,
        };
        let packages = selected.sorted(population);
        match arguments.query.format {
            Layout::Default => print(finder.lines(&packages)?)?,
            layout => {
                let nodes = packages.iter().map(|package| finder.node(*package));
                let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
                print(Node::list(nodes).to_text(layout))?;
            }
        }
        Ok(count_code(selected.missing))
    })
}

struct Finder<'l, 'a> {
    arguments: &'l Arguments,
    verbosity: u8,
    population: &'l Population<'a>,
}

impl Finder<'_, '_> {
    fn lines(&self, packages: &[PackageId]) -> Result<String, Failure> {
        let population = self.population;
        let mut out = String::new();
        // With -q, what depends on several packages comes once.
        let mut seen = vec![false; population.len()];
        for package in packages {
            if !self.arguments.rdepends {
                self.line(*package, &mut out)?;
                continue;
            }
            if self.verbosity > 0 {
                seen.fill(false);
                // Writing to a string can't fail.
                let _ = writeln!(out, "{} is required by:", population.label(*package));
            }
            let dependents = population
                .reverse_depends_but(*package, false, &mut seen)
                .map_err(unreadable)?;
            for dependent in dependents {
                self.line(dependent, &mut out)?;
            }
        }
        Ok(out)
    }

    fn line(&self, package: PackageId, out: &mut String) -> Result<(), Failure> {
        let population = self.population;
        let entry = || population.entry(package).map_err(unreadable);
        match self.arguments.origin {
            true => match entry()?.info.origin.as_str() {
                "" => out.push_str(population.name(package)),
                origin => out.push_str(origin),
            },
            false => out.push_str(population.name(package)),
        }
        // Writing to a string can't fail.
        if self.verbosity > 0 {
            let _ = write!(out, "-{}", population.version(package));
        }
        if self.verbosity > 1 && !self.arguments.origin {
            let _ = write!(out, " - {}", entry()?.info.description);
        }
        out.push('\n');
        Ok(())
    }

    fn node(&self, package: PackageId) -> Result<Node, Failure> {
        let population = self.population;
        let entry = population.entry(package).map_err(unreadable)?;
        let text = |text: &str| Node::Text(text.to_owned());
        let mut fields = vec![
            ("name", text(population.name(package))),
            ("version", text(population.version(package))),
            ("origin", text(&entry.info.origin)),
            ("description", text(&entry.info.description)),
        ];
        if self.arguments.rdepends {
            let dependents = population
                .reverse_depends(package, false)
                .map_err(unreadable)?;
            let labels = dependents.into_iter().map(|id| population.label(id));
            fields.push(("reverse-depends", Node::texts(labels)));
        }
        Ok(Node::Object(fields))
    }
}

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::process::ExitCode;

use apk::query::{Compared, Population};
use apk::version;
use clap::Args;
use serde::Serialize;

use super::context::{Context, Needs};
use super::question::{Opened, count_code};
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Look at all repositories, whatever tag a package was installed with
    #[arg(long, short)]
    all: bool,
    /// Print those of the operands that are no versions
    #[arg(long, short, overrides_with_all = ["indexes", "test"])]
    check: bool,
    /// Print the descriptions of the repositories' indexes
    #[arg(long, short = 'I', overrides_with_all = ["check", "test"])]
    indexes: bool,
    /// Print packages that compare so with the latest ones: `<`, `=`, `>`, or some of these
    #[arg(long, short, value_name = "SIGNS")]
    limit: Option<String>,
    /// Compare two versions: print `<`, `=` or `>`
    #[arg(long, short, overrides_with_all = ["check", "indexes"])]
    test: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Patterns of names; with --check or --test, versions
    #[arg(value_name = "PATTERN")]
    words: Vec<String>,
}

/// An installed package beside the latest one, as JSON has it.
#[derive(Serialize)]
struct Row {
    name: String,
    installed: String,
    comparison: char,
    available: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[derive(Serialize)]
struct Index {
    repository: String,
    description: String,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    if arguments.check {
        check(arguments, context)
    } else if arguments.test {
        test(arguments)
    } else if arguments.indexes {
        indexes(arguments, context).await
    } else {
        compare(arguments, context).await
    }
}

fn check(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let invalid: Vec<&String> = arguments
        .words
        .iter()
        .filter(|word| !version::is_valid(word))
        .collect();
    let quiet = context.console.verbosity() == 0;
    Printer::new(arguments.format).print(&invalid, |invalid| match quiet {
        true => String::new(),
        false => invalid.iter().map(|word| format!("{word}\n")).collect(),
    })?;
    Ok(count_code(invalid.len()))
}

fn test(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let [left, right] = arguments.words.as_slice() else {
        return Ok(ExitCode::from(1));
    };
    if !version::is_valid(left) || !version::is_valid(right) {
        return Ok(ExitCode::from(1));
    }
    let sign = sign(version::compare(left, right));
    Printer::new(arguments.format).print(&sign, |sign| sign.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn sign(order: Ordering) -> char {
    match order {
        Ordering::Less => '<',
        Ordering::Equal => '=',
        Ordering::Greater => '>',
    }
}

async fn indexes(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let opened = Opened::new(context, &Needs::default()).await?;
    let rows: Vec<Index> = opened.with_population(|population| {
        let repositories = population.all_repositories();
        let rows = repositories.map(|repository| Index {
            repository: repository.name(),
            description: repository.loaded.catalogue.description().to_owned(),
        });
        Ok(rows.collect())
    })?;
    Printer::new(arguments.format).print(&rows, |rows| {
        rows.iter()
            .map(|row| format!("{} [{}]\n", row.description, row.repository))
            .collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn compare(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let verbosity = context.console.verbosity();
    let limit = match arguments.limit.as_deref() {
        Some("") => None,
        Some(signs) => Some(signs),
        None if arguments.words.is_empty() && verbosity == 1 => Some("<"),
        None => None,
    };
    let opened = Opened::new(context, &Needs::default()).await?;
    opened.with_population(|population| {
        let patterns: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
        let compared: Vec<Compared<'_>> = population
            .outdated(&patterns, arguments.all)
            .into_iter()
            .filter(|row| limit.is_none_or(|signs| signs.contains(row.comparison.sign())))
            .collect();
        let rows: Vec<Row> = compared
            .iter()
            .map(|row| Row::of(population, row))
            .collect();
        Printer::new(arguments.format).print(&rows, |rows| table(rows, verbosity))
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Row {
    fn of(population: &Population<'_>, row: &Compared<'_>) -> Row {
        Row {
            name: population.name(row.installed).to_owned(),
            installed: population.version(row.installed).to_owned(),
            comparison: row.comparison.sign(),
            available: population.version(row.latest).to_owned(),
            tag: row.tag.map(str::to_owned),
        }
    }

    fn label(&self) -> String {
        format!("{}-{}", self.name, self.installed)
    }
}

/// Columns of installed packages are at least this wide.
const WIDTH: usize = 39;

fn table(rows: &[Row], verbosity: u8) -> String {
    if verbosity == 0 {
        return rows.iter().map(|row| format!("{}\n", row.name)).collect();
    }
    let width = rows.iter().map(|row| row.label().len());
    let width = width.max().unwrap_or(0).max(WIDTH);
    let mut out = format!("{:width$}   Available:\n", "Installed:");
    for row in rows {
        let tag = row.tag.as_deref().map(|tag| format!("@{tag}"));
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "{:width$} {} {} {}",
            row.label(),
            row.comparison,
            row.available,
            tag.unwrap_or_default(),
        );
    }
    out
}

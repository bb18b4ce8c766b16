use std::collections::BTreeSet;
use std::process::ExitCode;

use apk::install::Access;
use clap::Args;
use serde::Serialize;

use super::context::{Context, Needs};
use super::question::count_code;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Serialize)]
struct Document {
    repositories: Vec<DocumentRepository>,
    /// How many remote repositories have no index at hand.
    unavailable: usize,
    /// How many have only an old one.
    stale: usize,
    /// How many packages can be had or are installed.
    packages: usize,
}

#[derive(Debug, Serialize)]
struct DocumentRepository {
    location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    description: String,
    packages: usize,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    context.console.document(arguments.format);
    let needs = Needs {
        access: Access::Write,
        refresh: context.global.network.on(),
        max_age: Some(context.global.cache_max_age.unwrap_or(0)),
        any_arch: true,
        ..Needs::default()
    };
    let system = context.open(&needs).await?;
    let mut known = BTreeSet::new();
    known.extend(
        system
            .installed()
            .iter()
            .map(|package| package.entry.identity),
    );
    let mut document = Document {
        repositories: Vec::new(),
        unavailable: system.unavailable,
        stale: system.stale,
        packages: 0,
    };
    for repository in &system.repositories {
        let catalogue = &repository.catalogue;
        known.extend((0..catalogue.len()).filter_map(|place| catalogue.identity(place)));
        document.repositories.push(DocumentRepository {
            location: repository
                .repository
                .location
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
            tag: repository.repository.tag.clone(),
            description: catalogue.description().to_owned(),
            packages: catalogue.len(),
        });
    }
    document.packages = known.len();
    // A repository may have got what only the cache had.
    let failed = document.unavailable + document.stale + usize::from(!context.keep_list(&system));
    match arguments.format {
        Format::Json => Printer::new(arguments.format).print(&document, text)?,
        Format::Text => context.console.message(text(&document).trim_end()),
    }
    Ok(count_code(failed))
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    for repository in &document.repositories {
        text.push_str(&format!(
            "{} [{}]\n",
            repository.description, repository.location
        ));
    }
    let state = match document.unavailable + document.stale {
        0 => "OK:".to_owned(),
        _ => format!(
            "{} unavailable, {} stale;",
            document.unavailable, document.stale
        ),
    };
    text.push_str(&format!(
        "{state} {} distinct packages available\n",
        document.packages
    ));
    text
}

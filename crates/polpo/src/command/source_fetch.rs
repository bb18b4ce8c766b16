use base::Arch;
use build::source::Sources;
use serde::Serialize;

use crate::arguments::SourceFetch;
use crate::command::recipes;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::Session;

/// A source that is in the store now.
#[derive(Serialize)]
struct Row {
    recipe: String,
    uri: String,
    digest: base::Digest,
    origin: store::Origin,
}

pub(crate) async fn run(arguments: &SourceFetch, session: &Session<'_>) -> Result<(), Failure> {
    let arch = arguments.arch.unwrap_or(Arch::host());
    let loaded = recipes::load(&arguments.recipes, arch, &[], None, session)?;
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let mut rows = Vec::new();
    for recipe in &loaded {
        let name = &recipe.recipe.package.name;
        let sources = Sources::fetch(
            &store,
            &recipe.recipe.sources(),
            &origins,
            session.reporter(),
        )
        .await
        .map_err(|error| Failure::failed(format!("the sources of {name} can't be had"), error))?;
        rows.extend(sources.origins.into_iter().map(|source| Row {
            recipe: name.clone(),
            uri: source.uri,
            digest: source.digest,
            origin: source.origin,
        }));
    }
    Printer::new(arguments.format).print(&rows, |rows| {
        let line = |row: &Row| format!("{} {} {}\n", row.recipe, row.digest, row.uri);
        rows.iter().map(line).collect()
    })
}

use std::path::Path;
use std::{fs, io};

use base::{Arch, Epoch};
use build::source::Sources;
use serde::Serialize;
use store::{AtomicFile, Store, WriteError};

use crate::arguments::SourceFetch;
use crate::command::{interruptible, recipes};
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::Session;

/// A source that is in the store now.
#[derive(PartialEq, Serialize)]
struct Row {
    recipe: String,
    uri: String,
    digest: base::Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    origin: store::Origin,
}

pub(crate) async fn run(arguments: &SourceFetch, session: &Session<'_>) -> Result<(), Failure> {
    let arch = arguments.target.arch.unwrap_or(Arch::host());
    let loaded = recipes::load(
        &arguments.recipes,
        arch,
        &arguments.pipeline_dirs,
        None,
        None,
        session,
    )?;
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let mut rows: Vec<Row> = Vec::new();
    for recipe in &loaded {
        let name = &recipe.recipe.package.name;
        let build = (
            recipe.recipe.sources(),
            Epoch(arguments.target.source_date_epoch),
        );
        // Tests know no time.
        let tests = recipe.recipe.tests().map(|test| (test.sources(), Epoch(0)));
        let mut origins_found = Vec::new();
        for (wanted, epoch) in std::iter::once(build).chain(tests) {
            let fetch = Sources::fetch(&store, &wanted, &origins, epoch, session.reporter());
            let sources = interruptible(fetch).await?.map_err(|error| {
                Failure::failed(format!("the sources of {name} can't be had"), error)
            })?;
            origins_found.extend(sources.origins);
        }
        for source in origins_found {
            let row = Row {
                recipe: name.clone(),
                uri: source.uri,
                digest: source.digest,
                commit: source.commit,
                origin: source.origin,
            };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    if let Some(folder) = &arguments.copy_to {
        for row in &rows {
            copy(&store, &row.digest, folder).map_err(|error| {
                let what = format!("{} can't be copied to {}", row.uri, folder.display());
                Failure::failed(what, error)
            })?;
        }
    }
    Printer::new(arguments.format).print(&rows, |rows| {
        let line = |row: &Row| format!("{} {} {}\n", row.recipe, row.digest, row.uri);
        rows.iter().map(line).collect()
    })
}

/// Copies a source out of the store, unless it is there, under the name that melange's caches have.
fn copy(
    store: &Store,
    digest: &base::Digest,
    folder: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let path = folder.join(format!("sha256:{}", digest.hex()));
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(WriteError::at("create the folder", folder))?;
    let mut blob = store.open_verified(digest)?;
    let mut file = AtomicFile::create(&path)?;
    io::copy(&mut blob, file.file()).map_err(WriteError::at("write", &path))?;
    Ok(file.commit()?)
}

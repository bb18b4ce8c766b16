use std::path::{Path, PathBuf};
use std::process::ExitCode;

use archive::Limits;
use base::{Arch, Epoch, Problem};
use build::authoring::copyright::{self, Entries};
use build::licences::{self, Compared, LicenceFile, Scan};
use build::published::Published;
use build::source::Sources;
use serde::Serialize;

use crate::arguments::LicenseCheck;
use crate::arguments::lint::{CopyrightEntries, ScanType};
use crate::command::{interruptible, lint, recipes};
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::Session;

/// What was found in one place.
#[derive(Serialize)]
struct Checked {
    /// As it was named.
    name: String,
    files: Vec<LicenceFile>,
    /// What is said nowhere.
    differences: Vec<String>,
    /// What was corrected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<String>,
}

pub(crate) async fn run(
    arguments: &LicenseCheck,
    session: &Session<'_>,
) -> Result<ExitCode, Failure> {
    let scan = match arguments.scan_type {
        ScanType::Shallow => Scan::Shallow,
        ScanType::Deep => Scan::Deep,
    };
    let mut checked = Vec::new();
    for name in &arguments.places {
        let path = Path::new(name);
        let ends_with = |end: &str| path.extension().is_some_and(|extension| extension == end);
        let is_recipe = ends_with("yaml") || ends_with("yml");
        if arguments.fix.is_some() && !is_recipe {
            return Err(Failure::Usage(format!(
                "--fix: {name} is no recipe (.yaml), and nothing else can be corrected"
            )));
        }
        let mut changes = Vec::new();
        let compared = if ends_with("apk") {
            package(name, scan, session).await?
        } else if is_recipe {
            let (compared, corrected) = recipe(path, scan, arguments, session).await?;
            changes = corrected;
            compared
        } else if path.is_dir() {
            folder(name, path, scan, session)?
        } else {
            return Err(Failure::Usage(format!(
                "{name} is neither a recipe (.yaml), nor a package (.apk), nor a folder of sources"
            )));
        };
        let differences = compared.problems.into_iter();
        checked.push(Checked {
            name: name.clone(),
            files: compared.files,
            differences: differences
                .map(|problem: Problem| problem.message)
                .collect(),
            changes,
        });
    }
    let mut left = checked.iter().filter(|place| place.changes.is_empty());
    let differs = left.any(|place| !place.differences.is_empty());
    Printer::new(arguments.format).print(&checked, |checked| text(checked))?;
    Ok(ExitCode::from(u8::from(differs && arguments.fail)))
}

fn text(checked: &[Checked]) -> String {
    let mut text = String::new();
    for place in checked {
        for file in &place.files {
            let licences = match file.licences.as_slice() {
                [] => "no licence that is known".to_owned(),
                licences => licences.join(", "),
            };
            text.push_str(&format!("{}: {}: {licences}\n", place.name, file.path));
        }
        for difference in &place.differences {
            text.push_str(&format!("warning: {difference}\n"));
        }
        for change in &place.changes {
            text.push_str(&format!("{}: copyright: {change}\n", place.name));
        }
        if place.files.is_empty() {
            text.push_str(&format!("{}: no licence's text was found\n", place.name));
        }
    }
    text
}

async fn package(name: &str, scan: Scan, session: &Session<'_>) -> Result<Compared, Failure> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::failed(format!("{name} can't be checked"), error)
    };
    let (path, _kept) = lint::place(name, session).await?;
    let store = session.store()?;
    let scratch = store.temp_dir().map_err(|error| failed(error.into()))?;
    let package = Published::read(&path, scratch.path(), &Limits::default());
    let package = package.map_err(|error| failed(error.into()))?;
    licences::of_package(&store, &package, scan).map_err(|error| failed(error.into()))
}

fn folder(name: &str, path: &Path, scan: Scan, session: &Session<'_>) -> Result<Compared, Failure> {
    let files = licences::of_folder(&session.store()?, path, scan);
    let files =
        files.map_err(|error| Failure::failed(format!("{name} can't be checked"), error))?;
    Ok(Compared {
        files,
        problems: Vec::new(),
    })
}

/// What is found of a recipe, and what was corrected in it.
async fn recipe(
    path: &Path,
    scan: Scan,
    arguments: &LicenseCheck,
    session: &Session<'_>,
) -> Result<(Compared, Vec<String>), Failure> {
    let arch = arguments.arch.unwrap_or(Arch::host());
    let paths: [PathBuf; 1] = [path.to_owned()];
    let loaded = recipes::load(&paths, arch, &arguments.pipeline_dirs, None, None, session)?;
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let mut whole = Compared::default();
    let mut changes = Vec::new();
    for loaded in &loaded {
        let recipe = &loaded.recipe;
        let failed = |what: &str| format!("{what} of {}", recipe.package.name);
        let wanted = recipe.sources();
        let fetch = Sources::fetch(&store, &wanted, &origins, Epoch(0), session.reporter());
        let sources = interruptible(fetch).await?;
        let sources =
            sources.map_err(|error| Failure::failed(failed("no sources can be had"), error))?;
        let compared = licences::of_recipe(&store, recipe, &sources, scan).map_err(|error| {
            Failure::failed(failed("no licences can be found in the sources"), error)
        })?;
        if let Some(entries) = arguments.fix {
            let entries = match entries {
                CopyrightEntries::Flat => Entries::Flat,
                CopyrightEntries::Simple => Entries::Simple,
            };
            let source = recipes::read(path, "recipe")?;
            let said = &recipe.package.licenses;
            if let Some(corrected) = copyright::correct(&source, said, &compared.files, entries)? {
                recipes::rewrite(path, &corrected.text)?;
                changes = corrected.changes;
            }
        }
        whole.files.extend(compared.files);
        whole.problems.extend(compared.problems);
    }
    Ok((whole, changes))
}

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use clap::Parser as _;
use oci::copy::{Architectures, CopyReport, CopySettings, Origin, Referrers, to_registry};
use oci::registry::{Reference, RepositoryName};
use serde::Serialize;

use super::place::reference;
use crate::arguments::registry::Publish;
use crate::arguments::{Arguments, Command, Image};
use crate::output::failure::Failure;
use crate::output::{Format, Printer};
use crate::settings::Session;

pub(crate) async fn run(arguments: &Publish, session: &Session<'_>) -> Result<(), Failure> {
    // All names are looked at before anything is sent.
    let references: Vec<Reference> = arguments
        .references
        .iter()
        .map(|text| reference(text).map(Reference::or_latest))
        .collect::<Result<_, _>>()?;
    let mut siblings = Vec::new();
    for text in &arguments.mount_from {
        let name = RepositoryName::parse(text)
            .map_err(|error| Failure::Usage(format!("--mount-from: {error}")))?;
        siblings.push(name);
    }
    let what = || format!("{} was not published", arguments.layout.display());
    let store = session.store()?;
    let scratch = store
        .temp_dir()
        .map_err(|error| Failure::failed(what(), error))?;
    let image_file = is_image_file(&arguments.layout);
    let built = scratch.path().join("built");
    let layout = match image_file {
        true => {
            build(arguments, &built, session).await?;
            &built
        }
        false if arguments.build_options.is_empty() => &arguments.layout,
        false => {
            return Err(Failure::Usage(format!(
                "{} is no image file: there is nothing to build",
                arguments.layout.display()
            )));
        }
    };
    let origin = Origin::Layout {
        layout: super::image_copy::open(layout, scratch.path())
            .map_err(|error| Failure::failed(what(), error))?,
        tag: arguments.tag.clone(),
    };
    let settings = CopySettings {
        referrers: match arguments.without_referrers {
            true => Referrers::None,
            false => Referrers::All,
        },
        architectures: Architectures::named(arguments.arch),
        parallel: arguments.registries.parallel,
    };
    let registry = session.registry(&arguments.registries);
    let mut reports: Vec<CopyReport> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for (name, references) in by_repository(references) {
        let report = to_registry(
            &origin,
            &registry.repository(&name),
            &references,
            &siblings,
            settings,
            &store,
            session.reporter(),
        )
        .await
        .map_err(|error| Failure::failed(what(), error))?;
        lines.extend(by_digest(&report, &name));
        reports.push(report);
        // The next repository can take the blobs from this one.
        siblings.insert(0, name);
    }
    if let Some(path) = &arguments.image_refs {
        write_references(path, &lines)?;
    }
    print(&reports, arguments.format)
}

fn is_image_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml"))
}

/// Builds the image file into a layout, as `polpo image build` does with the options behind `--`.
async fn build(arguments: &Publish, into: &Path, session: &Session<'_>) -> Result<(), Failure> {
    let tag = arguments.references.first().map_or("", String::as_str);
    let words = ["polpo", "image", "build"].map(OsString::from);
    let operands = [
        arguments.layout.clone().into_os_string(),
        tag.into(),
        into.as_os_str().to_owned(),
    ];
    let words = words.iter().chain(&arguments.build_options);
    // Operands come last, so that an option can't take one for its value.
    let words = words.cloned().chain(["--".into()]).chain(operands);
    match Arguments::try_parse_from(words).map(|parsed| parsed.command) {
        Ok(Command::Image(Image::Build(build))) => super::image_build::run(&build, session).await,
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Usage(
            error.to_string().trim_start_matches("error: ").to_owned(),
        )),
    }
}

/// In the order in which the repositories are first named.
fn by_repository(references: Vec<Reference>) -> Vec<(RepositoryName, Vec<Reference>)> {
    let mut places: BTreeMap<RepositoryName, usize> = BTreeMap::new();
    let mut groups: Vec<(RepositoryName, Vec<Reference>)> = Vec::new();
    for reference in references {
        let name = reference.repository().clone();
        let place = *places.entry(name.clone()).or_insert_with(|| {
            groups.push((name, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, group)) = groups.get_mut(place) {
            group.push(reference);
        }
    }
    groups
}

/// `REPOSITORY@DIGEST` for each image of an index, then for the index.
fn by_digest(report: &CopyReport, repository: &RepositoryName) -> Vec<String> {
    let digests = report.parts.iter().chain([&report.digest]);
    digests
        .map(|digest| repository.at(*digest).to_string())
        .collect()
}

fn write_references(path: &Path, lines: &[String]) -> Result<(), Failure> {
    let text = lines.join("\n") + "\n";
    store::write_atomically(path, text.as_bytes()).map_err(|error| {
        Failure::failed(
            "the image was published, but its references can't be written",
            error,
        )
    })
}

/// What was copied, for people and programs.
pub(super) fn print<T: Serialize + AsRef<[CopyReport]>>(
    reports: &T,
    format: Format,
) -> Result<(), Failure> {
    Printer::new(format).print(reports, |reports| {
        let mut text = String::new();
        for report in reports.as_ref() {
            for name in &report.names {
                let digest = match name.contains('@') {
                    true => String::new(),
                    false => format!("@{}", report.digest),
                };
                let _ = writeln!(text, "{name}{digest}");
            }
        }
        text
    })
}

use std::path::Path;
use std::process::ExitCode;

use base::Arch;
use image::diff::{DiffRequest, DiffSide, Differences, diff};
use oci::Layout;
use oci::copy::{CopySettings, Origin, to_layout};

use super::image_source;
use super::place::Place;
use super::signatory;
use crate::arguments::diff::{DiffFormat, ImageDiff};
use crate::output::failure::Failure;
use crate::output::{Format, Printer, print_raw};
use crate::settings::Session;

pub(crate) async fn run(arguments: &ImageDiff, session: &Session<'_>) -> Result<ExitCode, Failure> {
    let what = || {
        format!(
            "{} and {} can't be compared",
            arguments.before, arguments.after
        )
    };
    let names_somebody = !arguments.key.is_empty() || arguments.certificates.trusted_root.is_some();
    let trust = names_somebody
        .then(|| signatory::trust(&arguments.key, &arguments.certificates, &what))
        .transpose()?;
    let places = (
        Place::parse(&arguments.before)?,
        Place::parse(&arguments.after)?,
    );
    let store = session.store()?;
    let scratch = store
        .temp_dir()
        .map_err(|error| Failure::failed(what(), error))?;
    let folder = |name: &str| {
        let folder = scratch.path().join(name);
        std::fs::create_dir(&folder)
            .map(|()| folder)
            .map_err(|error| Failure::failed(what(), error))
    };
    let (first, second) = (folder("before")?, folder("after")?);
    let (before, before_tag) = bring(
        places.0,
        &arguments.before,
        arguments,
        &first,
        session,
        &what(),
    )
    .await?;
    let (after, after_tag) = bring(
        places.1,
        &arguments.after,
        arguments,
        &second,
        session,
        &what(),
    )
    .await?;
    let looked_into = folder("libraries")?;
    let differences = diff(&DiffRequest {
        before: DiffSide {
            name: &arguments.before,
            layout: &before,
            tag: before_tag.as_deref(),
        },
        after: DiffSide {
            name: &arguments.after,
            layout: &after,
            tag: after_tag.as_deref(),
        },
        arch: arguments.arch,
        trust: trust.as_ref(),
        rules: &arguments.fail_on,
        scratch: &looked_into,
    })
    .map_err(|error| Failure::failed(what(), error))?;
    match arguments.format {
        DiffFormat::Text => print_raw(&differences.to_text(arguments.files))?,
        DiffFormat::Markdown => print_raw(&differences.to_markdown())?,
        DiffFormat::Json => {
            Printer::new(Format::Json).print(&differences, |_| String::new())?;
        }
    }
    if differences.broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.format != DiffFormat::Text {
        tell(&differences, session);
    }
    Ok(ExitCode::from(1))
}

/// Whoever sends the result into a file is still to see why it fails.
fn tell(differences: &Differences, session: &Session<'_>) {
    for broken in &differences.broken {
        let first = broken.reasons.first().map_or("", String::as_str);
        let more = (broken.reasons.len() + broken.omitted).saturating_sub(1);
        let more = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        session.notice(&format!("--fail-on {}: {first}{more}", broken.rule));
    }
}

/// The image in a layout of this machine, and its tag there.
async fn bring(
    place: Place,
    named: &str,
    arguments: &ImageDiff,
    scratch: &Path,
    session: &Session<'_>,
    what: &str,
) -> Result<(Layout, Option<String>), Failure> {
    let registry = session.registry(&arguments.registries);
    let origin = image_source::origin(place, named, &registry, scratch)
        .await
        .map_err(|error| error.into_failure(what))?;
    if let Origin::Layout { layout, tag } = origin {
        return Ok((layout, tag));
    }
    let root = scratch.join("layout");
    let tag = "compared".to_owned();
    let arch: Option<Arch> = arguments.arch;
    let settings = CopySettings {
        referrers: true,
        arch,
        parallel: arguments.registries.parallel,
    };
    let store = session.store()?;
    to_layout(
        &origin,
        &root,
        Some(&tag),
        settings,
        &store,
        session.reporter(),
    )
    .await
    .map_err(|error| Failure::failed(what, error))?;
    let layout = Layout::open(root).map_err(|error| Failure::failed(what, error))?;
    Ok((layout, Some(tag)))
}

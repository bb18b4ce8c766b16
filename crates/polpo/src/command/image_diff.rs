use std::process::ExitCode;

use image::diff::{DiffRequest, DiffSide, Differences, diff};
use image::verify::ATTACHED_LIMIT;
use oci::copy::Referrers;

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
    let wanted = |place, named| image_source::Wanted {
        place,
        named,
        arch: arguments.arch,
        referrers: Referrers::Within(ATTACHED_LIMIT),
    };
    let registries = &arguments.registries;
    let one = wanted(places.0, &arguments.before);
    let (before, before_tag) =
        image_source::bring(one, registries, &first, session, &what()).await?;
    let other = wanted(places.1, &arguments.after);
    let (after, after_tag) =
        image_source::bring(other, registries, &second, session, &what()).await?;
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

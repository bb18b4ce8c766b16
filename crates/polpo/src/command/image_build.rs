use std::path::Path;

use base::{Arch, Epoch, Problem};
use image::{ImageRecord, configuration};

use crate::arguments::ImageBuild;
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) async fn run(arguments: &ImageBuild, session: &Session<'_>) -> Result<(), Failure> {
    let loaded = configuration::load(&arguments.config, &[])?;
    session.show(&loaded.warnings);
    let configuration = loaded.configuration;
    let arch = arguments.target.arch.unwrap_or(Arch::host());
    let epoch = Epoch(arguments.target.source_date_epoch);
    let what = || format!("{} was not built", arguments.tag);
    if let Some(problem) = blocked(&arguments.output) {
        return Err(Failure::Problems(vec![problem]));
    }
    let trusted = settings::trusted(&arguments.repositories, arch, session).await?;
    let store = trusted.access.store().clone();
    let plan = image::plan(
        &configuration,
        arch,
        &trusted.repositories,
        &trusted.keyring,
        &trusted.access,
        session.reporter(),
    )
    .await
    .map_err(|error| Failure::failed(what(), error))?;
    let built = image::build(&plan, &arguments.tag, epoch, &store, session.reporter())
        .map_err(|error| Failure::failed(what(), error))?;
    let record = ImageRecord::of(&plan, &built, epoch, env!("CARGO_PKG_VERSION"))
        .map_err(|error| Failure::failed(what(), error))?;
    for note in &built.notes {
        session.notice(note);
    }
    let manifest = built.descriptor.digest;
    let descriptor = image::write_layout(
        &[built],
        &store,
        &arguments.output,
        reference_tag(&arguments.tag),
    )
    .map_err(|error| Failure::failed(what(), error))?;
    // The record comes after the image: whoever finds it finds the image too.
    record
        .keep(&store, &manifest)
        .map_err(|error| Failure::failed("the image's record can't be kept", error))?;
    session.notice(&format!(
        "{}: {} packages, {}",
        arguments.output.display(),
        plan.packages.len(),
        descriptor.digest
    ));
    Ok(())
}

/// `latest` of `hello:latest`, and `latest` where there is no tag.
fn reference_tag(tag: &str) -> &str {
    match tag.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    }
}

/// An output that is there and no layout is not overwritten.
fn blocked(output: &Path) -> Option<Problem> {
    let occupied = output.exists()
        && !output.join("oci-layout").is_file()
        && output
            .read_dir()
            .map_or(true, |mut entries| entries.next().is_some());
    occupied.then(|| {
        Problem::error(
            "output-occupied",
            format!("{} is there already and is no OCI layout", output.display()),
        )
        .help("name another folder, or remove this one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        assert_eq!(reference_tag("hello:v1"), "v1");
        assert_eq!(reference_tag("hello"), "latest");
        assert_eq!(reference_tag("localhost:5000/hello"), "latest");
        assert_eq!(reference_tag("localhost:5000/hello:v2"), "v2");
    }
}

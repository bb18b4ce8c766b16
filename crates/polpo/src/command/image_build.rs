use std::path::Path;

use base::{Epoch, Problem};
use image::configuration::LayerFormat;
use image::{BuiltImage, ImagePlan, ImageRecord, parity};
use oci::registry::Reference;

use super::image_plans::{self, Planned};
use crate::arguments::image::{Compress, ImageBuild};
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) async fn run(arguments: &ImageBuild, session: &Session<'_>) -> Result<(), Failure> {
    let what = format!("{} was not built", arguments.tag);
    if let Some(problem) = blocked(&arguments.output) {
        return Err(Failure::Problems(vec![problem]));
    }
    if arguments.file.parity && arguments.compress != Compress::Gzip {
        return Err(Failure::Usage(
            "--compress: apko's layers are compressed by gzip; leave --parity out".to_owned(),
        ));
    }
    let version = reference_tag(&arguments.tag)?;
    let annotations = annotations(&arguments.annotations)?;
    let Planned {
        loaded,
        mut plans,
        store,
        ..
    } = image_plans::plan(
        &arguments.file,
        arguments.lockfile.as_deref(),
        arguments.source_date_epoch,
        &what,
        session,
    )
    .await?;
    let format = arguments.format.map(LayerFormat::from);
    let is_erofs = format.or(loaded.configuration.format) == Some(LayerFormat::Erofs);
    if is_erofs && arguments.compress != Compress::Gzip {
        return Err(Failure::Usage(
            "--compress: an EROFS image is not compressed; leave --compress out, or write tars"
                .to_owned(),
        ));
    }
    let layering = loaded.configuration.layering.as_ref();
    if is_erofs && layering.is_some_and(|layering| layering.strategy.is_some()) {
        return Err(Failure::Usage(format!(
            "--format erofs: an EROFS image is one layer, and `layering` of {} asks for several",
            arguments.file.config.display()
        )));
    }
    let failed = |error: image::BuildError| Failure::failed(what.clone(), error);
    let newest = plans.iter().map(|plan| plan.newest_build()).max();
    let epoch = arguments
        .source_date_epoch
        .map_or(newest.unwrap_or_default(), Epoch);
    let mut epochs = Vec::new();
    for plan in &mut plans {
        plan.configuration.annotations.extend(annotations.clone());
        plan.compression = arguments.compress.into();
        plan.configuration.format = format.or(plan.configuration.format);
        // apko gives each image the time of its own newest package.
        epochs.push(match (plan.parity, arguments.source_date_epoch) {
            (Some(_), None) => plan.newest_build(),
            _ => epoch,
        });
    }
    let timed: Vec<(&ImagePlan, Epoch)> = plans.iter().zip(epochs).collect();
    let (tag, reporter) = (&arguments.tag, session.reporter());
    let (built, descriptor) = if arguments.file.parity {
        let mut configuration = loaded.configuration.clone();
        configuration.annotations.extend(annotations);
        let built = timed
            .iter()
            .map(|(plan, own)| image::build(plan, tag, *own, &store, reporter))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let written =
            image::write_parity_layout(&built, &configuration, epoch, &store, &arguments.output);
        (built, written.map_err(failed)?)
    } else {
        let place = (arguments.output.as_path(), version);
        image::build_layout(&timed, tag, &store, reporter, place).map_err(failed)?
    };
    let mut records = Vec::new();
    for ((plan, own), image) in timed.iter().zip(&built) {
        let record = ImageRecord::of(plan, image, *own, env!("CARGO_PKG_VERSION"))
            .map_err(|error| Failure::failed(what.clone(), error))?;
        for note in &image.notes {
            session.notice(note);
        }
        records.push((record, image.descriptor.digest));
    }
    // The record comes after the image: whoever finds it finds the image too.
    for (record, manifest) in records {
        record
            .keep(&store, &manifest)
            .map_err(|error| Failure::failed("the image's record can't be kept", error))?;
    }
    if let Some(folder) = &arguments.sbom_path {
        let vcs_url = &loaded.configuration.vcs_url;
        write_sboms(folder, &built, &descriptor, &arguments.tag, vcs_url, epoch)?;
    }
    let count: Vec<String> = plans
        .iter()
        .map(|plan| match plans.len() {
            1 => format!("{} packages", plan.packages.len()),
            _ => format!("{}: {} packages", plan.arch, plan.packages.len()),
        })
        .collect();
    session.notice(&format!(
        "{}: {}, {}",
        arguments.tag,
        count.join(", "),
        descriptor.digest
    ));
    Ok(())
}

/// `sbom-ARCH.spdx.json` of each image; with apko's bytes that of the index too.
fn write_sboms(
    folder: &Path,
    images: &[BuiltImage],
    index: &oci::Descriptor,
    name: &str,
    vcs_url: &str,
    epoch: Epoch,
) -> Result<(), Failure> {
    let what = "an SBOM can't be written";
    std::fs::create_dir_all(folder).map_err(|error| Failure::failed(what, error))?;
    let write = |name: String, bytes: &[u8]| {
        store::write_atomically(&folder.join(name), bytes)
            .map_err(|error| Failure::failed(what, error))
    };
    for image in images {
        let bytes = match &image.parity_sbom {
            Some(document) => document
                .to_bytes()
                .map_err(|error| Failure::failed(what, error))?,
            None => image
                .sbom
                .to_json()
                .map_err(|error| Failure::failed(what, error))?,
        };
        write(format!("sbom-{}.spdx.json", image.arch), &bytes)?;
    }
    if images.iter().any(|image| image.parity_sbom.is_some()) {
        let mut descriptors: Vec<oci::Descriptor> = images
            .iter()
            .map(|image| image.descriptor.clone())
            .collect();
        descriptors.sort_by_key(|image| {
            image
                .platform
                .as_ref()
                .map(|platform| platform.architecture.clone())
        });
        let bytes = parity::index_sbom(name, vcs_url, index, &descriptors, epoch)
            .to_bytes()
            .map_err(|error| Failure::failed(what, error))?;
        write("sbom-index.spdx.json".to_owned(), &bytes)?;
    }
    Ok(())
}

fn annotations(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    texts
        .iter()
        .map(|text| {
            let (key, value) = text.split_once(':').ok_or_else(|| {
                Failure::Usage(format!(
                    "--annotations: `{text}` has no `:` between key and value"
                ))
            })?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// `latest` of `hello:latest`, and `latest` where there is no tag.
fn reference_tag(name: &str) -> Result<&str, Failure> {
    // A name in a layout may be without a registry.
    let is_name = name.parse::<Reference>().is_ok()
        || format!("localhost/{name}").parse::<Reference>().is_ok();
    if !is_name {
        return Err(Failure::Usage(format!(
            "`{name}` is no name of an image, such as `hello:latest`"
        )));
    }
    Ok(match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => "latest",
    })
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
        let tag = |name| reference_tag(name).ok();
        assert_eq!(tag("hello:v1"), Some("v1"));
        assert_eq!(tag("hello"), Some("latest"));
        assert_eq!(tag("localhost:5000/hello"), Some("latest"));
        assert_eq!(tag("localhost:5000/hello:v2"), Some("v2"));
        for name in ["", "Bad Tag!", "foo:bar baz", "foo:", "hello@sha256:1"] {
            assert_eq!(tag(name), None, "{name}");
        }
    }
}

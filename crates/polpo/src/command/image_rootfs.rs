use std::io;

use archive::{Limits, decompress};
use base::Epoch;
use image::configuration::Layering;
use store::AtomicFile;

use super::image_plans;
use crate::arguments::image::ImageRootfs;
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) async fn run(arguments: &ImageRootfs, session: &Session<'_>) -> Result<(), Failure> {
    let what = format!("{} was not written", arguments.output.display());
    let scripts_time = arguments.source_date_epoch;
    let planned = image_plans::plan(&arguments.file, None, scripts_time, &what, session).await?;
    let [plan] = planned.plans.as_slice() else {
        return Err(Failure::Usage(
            "one tar holds the files of one architecture; name it with --arch".to_owned(),
        ));
    };
    let mut plan = plan.clone();
    plan.configuration.layering = None::<Layering>;
    plan.configuration.format = None;
    let epoch = scripts_time.map_or_else(|| plan.newest_build(), Epoch);
    let name = arguments.output.display().to_string();
    let image = image::build(&plan, &name, epoch, &planned.store, session.reporter())
        .map_err(|error| Failure::failed(what.clone(), error))?;
    let blobs = image
        .blobs(&planned.store)
        .map_err(|error| Failure::failed(what.clone(), error))?;
    // An image upon another has several layers, of which no tar is made.
    let [(_, blob)] = blobs.as_slice() else {
        return Err(Failure::Usage(
            "an image upon a base image is no single tar; build it and unpack it".to_owned(),
        ));
    };
    let written = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let file = std::fs::File::open(blob)?;
        let mut content = decompress::open(io::BufReader::new(file), Limits::default())?;
        let mut output = AtomicFile::create(&arguments.output)?;
        io::copy(&mut content, output.file())?;
        output.commit()?;
        Ok(())
    };
    written().map_err(|error| Failure::failed(what.clone(), error))?;
    session.notice(&format!("{name}: {} packages", plan.packages.len()));
    Ok(())
}

use image::diff::{ListedFile, list, list_erofs, listing};
use oci::copy::Referrers;

use super::image_source;
use super::place::Place;
use crate::arguments::diff::ImageFiles;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) async fn run(arguments: &ImageFiles, session: &Session<'_>) -> Result<(), Failure> {
    let what = || format!("the files of {} can't be listed", arguments.image);
    let place = Place::parse(&arguments.image)?;
    let files: Vec<ListedFile> = if let Place::Erofs(path) = &place {
        list_erofs(path).map_err(|error| Failure::failed(what(), error))?
    } else {
        let store = session.store()?;
        let scratch = store
            .temp_dir()
            .map_err(|error| Failure::failed(what(), error))?;
        let wanted = image_source::Wanted {
            place,
            named: &arguments.image,
            arch: arguments.arch,
            referrers: Referrers::None,
        };
        let (layout, tag) = image_source::bring(
            wanted,
            &arguments.registries,
            scratch.path(),
            session,
            &what(),
        )
        .await?;
        let image = layout
            .image(tag.as_deref(), arguments.arch)
            .map_err(|error| Failure::failed(what(), error))?;
        list(&layout, &image).map_err(|error| Failure::failed(what(), error))?
    };
    Printer::new(arguments.format).print(&files, |files| listing(files))
}

use image::configuration;

use crate::arguments::ImageShow;
use crate::output::failure::Failure;
use crate::output::print_raw;
use crate::settings::Session;

pub(crate) fn run(arguments: &ImageShow, session: &Session<'_>) -> Result<(), Failure> {
    let loaded = configuration::load(&arguments.config, &arguments.include_paths)?;
    session.show(&loaded.warnings);
    print_raw(&configuration::shown(&loaded.configuration))
}

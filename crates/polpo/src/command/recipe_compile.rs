use build::recipe::Serialized;

use crate::arguments::recipe::RecipeInput;
use crate::command::recipes;
use crate::output::failure::Failure;
use crate::output::print_raw;
use crate::settings::Session;

pub(crate) fn run(arguments: &RecipeInput, session: &Session<'_>) -> Result<(), Failure> {
    let library = recipes::library(&arguments.pipeline_dirs, session);
    let (compiled, warnings) = recipes::compile(&arguments.recipe, &arguments.values, &library)?;
    session.show(&warnings);
    let json = serde_json::to_string(&Serialized(&compiled))
        .map_err(|error| Failure::failed("the recipe can't be written as JSON", error))?;
    print_raw(&format!("{json}\n"))
}

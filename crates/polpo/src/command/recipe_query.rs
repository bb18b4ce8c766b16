use build::recipe::{PipelineLibrary, query};

use crate::arguments::recipe::RecipeQuery;
use crate::command::recipes;
use crate::output::failure::Failure;
use crate::output::print_raw;

pub(crate) fn run(arguments: &RecipeQuery) -> Result<(), Failure> {
    let library = PipelineLibrary::closed();
    let (compiled, _) = recipes::compile(&arguments.recipe, &arguments.values, &library)?;
    print_raw(&query(&arguments.template, &compiled)?)
}

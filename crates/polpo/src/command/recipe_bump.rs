use build::authoring::bump::{BumpError, BumpRequest, bump};

use crate::arguments::recipe::RecipeBump;
use crate::command::{interruptible, recipes};
use crate::output::failure::Failure;
use crate::output::print_raw;
use crate::settings::Session;

pub(crate) async fn run(arguments: &RecipeBump, session: &Session<'_>) -> Result<(), Failure> {
    let path = &arguments.recipe;
    let source = recipes::read(path, "recipe")?;
    let request = BumpRequest {
        version: arguments.version.clone(),
        expected_commit: arguments.expected_commit.clone(),
    };
    let origins = recipes::origins(Some(&arguments.mirrors), session);
    let store = session.store()?;
    let work = bump(&source, &request, &store, &origins, session.reporter());
    let bumped = interruptible(work).await?.map_err(|error| match error {
        BumpError::Recipe(problems) => Failure::Problems(problems),
        BumpError::Version(_) | BumpError::Commit(_) => Failure::Usage(error.to_string()),
        error => Failure::failed(format!("{} stays as it is", path.display()), error),
    })?;
    recipes::rewrite(path, &bumped.text)?;
    let text: String = bumped
        .changes
        .iter()
        .map(|change| format!("{}: {} → {}\n", change.key, change.before, change.after))
        .collect();
    print_raw(&text)
}

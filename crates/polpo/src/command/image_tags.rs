use oci::registry::RepositoryName;

use crate::arguments::registry::Tags;
use crate::output::Printer;
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) async fn run(arguments: &Tags, session: &Session<'_>) -> Result<(), Failure> {
    let name = RepositoryName::parse(&arguments.repository)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let tags = session
        .registry(&arguments.registries)
        .repository(&name)
        .tags(session.reporter())
        .await
        .map_err(|error| Failure::failed(format!("{name} can't be listed"), error))?;
    Printer::new(arguments.format).print(&tags, |tags| tags.join("\n"))
}

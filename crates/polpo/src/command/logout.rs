use oci::registry::Keychain;

use super::login::registry_name;
use crate::arguments::registry::Logout;
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) async fn run(arguments: &Logout, session: &Session<'_>) -> Result<(), Failure> {
    let registry = registry_name(&arguments.registry)?;
    let places = Keychain::from_environment()
        .forget(&registry)
        .await
        .map_err(|error| Failure::failed(format!("not logged out of {registry}"), error))?;
    session.notice(&match places.is_empty() {
        true => format!("nothing was kept for {registry}"),
        false => format!("forgotten for {registry}: {}", places.join(", ")),
    });
    Ok(())
}

use base::{Event, Reporter};
use key::{Algorithm, PrivateKey};

use crate::arguments::{KeyGenerate, KeyKind};
use crate::output::failure::Failure;
use crate::settings::Session;

pub(crate) fn run(arguments: &KeyGenerate, session: &Session<'_>) -> Result<(), Failure> {
    let file = &arguments.file;
    let what = || format!("no key pair was made at {}", file.display());
    if arguments.keep && file.exists() {
        // The pair must be whole and usable to be kept.
        key::load_private(file)
            .and_then(|_| key::load_public(&key::public_path(file)))
            .map_err(|error| Failure::failed(what(), error))?;
        let message = format!("{} is there already and is kept", file.display());
        session.progress.report(Event::Notice { message: &message });
        return Ok(());
    }
    let algorithm = match arguments.kind {
        KeyKind::Rsa => Algorithm::Rsa4096,
        KeyKind::EcdsaP256 => Algorithm::EcdsaP256,
    };
    let pair = PrivateKey::generate(algorithm).map_err(|error| Failure::failed(what(), error))?;
    key::save_pair(&pair, file).map_err(|error| Failure::failed(what(), error))?;
    let message = format!(
        "private key {} (keep it safe), public key {}",
        file.display(),
        key::public_path(file).display()
    );
    session.progress.report(Event::Notice { message: &message });
    Ok(())
}

use std::io;
use std::path::Path;

use base::{Event, Reporter};
use key::{Algorithm, Password, PrivateKey};

use crate::arguments::{KeyGenerate, KeyKind};
use crate::output::failure::Failure;
use crate::settings::{self, Session};

pub(crate) fn run(arguments: &KeyGenerate, session: &Session<'_>) -> Result<(), Failure> {
    let file = &arguments.file;
    let what = || format!("no key pair was made at {}", file.display());
    if arguments.keep && file.exists() {
        // The pair must be whole and usable to be kept.
        settings::private_key(file)?;
        key::load_public(&key::public_path(file))
            .map_err(|error| Failure::failed(what(), error))?;
        let message = format!("{} is there already and is kept", file.display());
        session.progress.report(Event::Notice { message: &message });
        return Ok(());
    }
    let algorithm = match arguments.kind {
        KeyKind::Rsa => Algorithm::Rsa4096,
        KeyKind::EcdsaP256 => Algorithm::EcdsaP256,
        KeyKind::Ed25519 => Algorithm::Ed25519,
    };
    let password = match arguments.encrypt {
        true => Some(new_password(file).map_err(|error| Failure::failed(what(), error))?),
        false => None,
    };
    let pair = PrivateKey::generate(algorithm).map_err(|error| Failure::failed(what(), error))?;
    key::save_pair(&pair, file, password.as_ref())
        .map_err(|error| Failure::failed(what(), error))?;
    let message = format!(
        "private key {} (keep it safe), public key {}",
        file.display(),
        key::public_path(file).display()
    );
    session.progress.report(Event::Notice { message: &message });
    Ok(())
}

/// A password for a new key; one that is typed is typed twice, since nobody sees it.
fn new_password(file: &Path) -> Result<Password, NoNewPassword> {
    let ask = |prompt: String| settings::password(&prompt)?.ok_or(NoNewPassword::Missing);
    let password = ask(format!("New password of {}: ", file.display()))?;
    let again = ask("The same again: ".to_owned())?;
    match password == again {
        true => Ok(password),
        false => Err(NoNewPassword::Different),
    }
}

#[derive(Debug, thiserror::Error)]
enum NoNewPassword {
    #[error(
        "there is no password to encrypt it with: set POLPO_KEY_PASSWORD, or call polpo on a terminal"
    )]
    Missing,
    #[error("the two passwords are not the same")]
    Different,
    #[error("the terminal can't be read: {0}")]
    Terminal(#[from] io::Error),
}

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};

use oci::registry::{Keychain, RepositoryName, Secret};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::arguments::registry::Login;
use crate::output::failure::Failure;
use crate::settings::Session;

/// The longest password that is read.
const PASSWORD_LIMIT: u64 = 64 << 10;

pub(crate) async fn run(arguments: &Login, session: &Session<'_>) -> Result<(), Failure> {
    let registry = registry_name(&arguments.registry)?;
    let (user, password) = credentials(arguments)?;
    let what = || format!("not logged in to {registry}");
    session
        .registry(&arguments.registries)
        .check_login(&registry, &user, &password, session.reporter())
        .await
        .map_err(|error| Failure::failed(what(), error))?;
    let place = Keychain::from_environment()
        .store(&registry, &user, &password)
        .await
        .map_err(|error| Failure::failed(what(), error))?;
    session.notice(&format!(
        "logged in to {registry} as {user}; kept in {place}"
    ));
    Ok(())
}

/// A registry alone. A word without a dot or port is none: docker's is only ever meant by its name.
pub(super) fn registry_name(text: &str) -> Result<String, Failure> {
    let name = RepositoryName::parse(&format!("{text}/any"));
    match name {
        Ok(name) if !text.contains('/') => Ok(name.registry().to_owned()),
        _ => Err(Failure::Usage(format!(
            "`{text}` is no registry: a host name, with its port if it has one"
        ))),
    }
}

fn credentials(arguments: &Login) -> Result<(String, Secret), Failure> {
    let failed = |error: io::Error| Failure::failed("the password can't be read", error);
    if arguments.password_stdin {
        let Some(user) = arguments.username.clone() else {
            return Err(Failure::Usage(
                "--password-stdin needs the user too: -u USER".to_owned(),
            ));
        };
        let mut text = String::new();
        io::stdin()
            .take(PASSWORD_LIMIT)
            .read_to_string(&mut text)
            .map_err(failed)?;
        return Ok((user, word(&text)?));
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask at; give the password by --password-stdin".to_owned(),
        ));
    }
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(failed)?;
    let user = match &arguments.username {
        Some(user) => user.clone(),
        None => line(&terminal, "User: ").map_err(failed)?,
    };
    let password = unseen(&terminal).map_err(failed)?;
    Ok((user, word(&password)?))
}

/// Without the newline that `echo` puts behind it.
fn word(text: &str) -> Result<Secret, Failure> {
    let word = text.strip_suffix('\n').unwrap_or(text);
    let word = word.strip_suffix('\r').unwrap_or(word);
    match word.is_empty() {
        true => Err(Failure::Usage("the password is empty".to_owned())),
        false => Ok(Secret::new(word)),
    }
}

fn line(mut terminal: &File, question: &str) -> io::Result<String> {
    terminal.write_all(question.as_bytes())?;
    let mut line = String::new();
    BufReader::new(terminal.take(PASSWORD_LIMIT)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A line that is not shown while it is typed.
fn unseen(terminal: &File) -> io::Result<String> {
    let before = tcgetattr(terminal)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    hidden.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
    let read = line(terminal, "Password: ");
    tcsetattr(terminal, OptionalActions::Flush, &before)?;
    read
}

#[cfg(test)]
mod tests {
    use super::registry_name;

    #[test]
    fn registries() {
        for (text, name) in [
            ("docker.io", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(registry_name(text).unwrap(), name);
        }
        for text in [
            "",
            "registry",
            "https://r.example",
            "r.example/team",
            "u:p@r.example",
        ] {
            assert!(registry_name(text).is_err(), "{text}");
        }
    }
}

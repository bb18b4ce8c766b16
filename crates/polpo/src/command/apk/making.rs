//! What the commands share that make packages and indexes.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use apk::signature::Keyring;
use base::Epoch;

use super::context::Context;
use super::options::Global;
use crate::output::failure::Failure;

/// The exit code of what apk ends with when it has refused something.
pub(crate) const REFUSED: u8 = 99;

/// How much apk says: 0 with `-q`, usually 1, more with `-v`.
pub(crate) fn verbosity(global: &Global) -> u32 {
    (1 + u32::from(global.verbose)).saturating_sub(global.quiet.into())
}

/// What a command says on stdout as it works: lines for people, each of some importance.
#[derive(Debug)]
pub(crate) struct Lines {
    verbosity: u32,
    text: String,
}

impl Lines {
    pub(crate) fn new(global: &Global) -> Lines {
        Lines {
            verbosity: verbosity(global),
            text: String::new(),
        }
    }

    /// A line that is printed at this verbosity.
    pub(crate) fn say(&mut self, verbosity: u32, line: &str) {
        if self.verbosity >= verbosity {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Warns on stderr, unless told to be quiet twice.
pub(crate) fn warn(context: &Context<'_>, message: &str) {
    context.console.warning(message);
}

/// Says on stderr what is wrong with one of several things; the command goes on with the others.
pub(crate) fn complain(context: &Context<'_>, message: &str) {
    context.console.error(message);
}

/// The time that outputs carry: `SOURCE_DATE_EPOCH`, if it is set.
pub(crate) fn source_date_epoch() -> Result<Option<Epoch>, Failure> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(seconds) => Ok(Some(Epoch(seconds))),
        None => Err(Failure::Usage(format!(
            "SOURCE_DATE_EPOCH is `{}`, not a number of seconds since 1970",
            text.to_string_lossy()
        ))),
    }
}

/// The keys that are trusted, or none if it doesn't matter who signed.
pub(crate) fn keyring(context: &Context<'_>) -> Result<Option<Keyring>, Failure> {
    let global = context.global;
    if global.allow_untrusted {
        return Ok(None);
    }
    let folders: Vec<_> = match &global.keys_dir {
        // apk takes it relative to the root, and an absolute one as it is.
        Some(folder) => vec![global.root.join(folder)],
        None => ["etc/apk/keys", "lib/apk/keys"]
            .map(|folder| global.root.join(folder))
            .into_iter()
            .filter(|folder| folder.is_dir())
            .collect(),
    };
    Keyring::load(&folders)
        .map(Some)
        .map_err(|error| Failure::failed("the trusted keys can't be read", error))
}

/// Seconds since 1970 at which a file was modified, and its bytes.
pub(crate) fn modified_and_size(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    let modified = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Ok((modified, metadata.len()))
}

/// Refuses to print binary data to a terminal.
pub(crate) fn check_stdout(global: &Global) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() && !global.force && !global.force_binary_stdout {
        return Err(Failure::Usage(
            "binary data is not written to a terminal; name a file with --output, or say \
             --force-binary-stdout"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Writes binary data to stdout.
pub(crate) fn to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::failed("the result can't be written to stdout", error))
}

/// Words in lines of at most 50 columns, as apk indents them where there is no terminal.
pub(crate) fn indented<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    const WIDTH: usize = 50;
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        if column == 0 {
            text.push_str("  ");
            column = 2;
        } else if column + word.len() + 1 >= WIDTH {
            text.push_str("\n  ");
            // apk forgets that the line end takes no column, and takes it back at once.
            column = 2;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text
}

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use apk::index::IndexError;
use apk::package::PackageError;
use apk::signature::SignatureError;
use apk::verify::{Kind, Trust, VerifyError, verify};
use archive::Limits;
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::question::count_code;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Packages and indexes
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What became of a file, as JSON has it.
#[derive(Serialize)]
struct Checked {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// `OK`, or apk's words for what is wrong.
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let trust = Trust {
        keyring: context.keyring()?,
        anyone: context.global.allow_untrusted,
    };
    let checked: Vec<Checked> = arguments
        .files
        .iter()
        .map(|path| {
            let file = path.display().to_string();
            match verify(path, &trust, &Limits::default()) {
                Ok(kind) => Checked {
                    file,
                    kind: Some(match kind {
                        Kind::Package => "package",
                        Kind::Index => "index",
                    }),
                    result: "OK".to_owned(),
                    reason: None,
                },
                Err(error) => Checked {
                    file,
                    kind: None,
                    result: words(&error),
                    reason: Some(error.to_string()),
                },
            }
        })
        .collect();
    let quiet = context.console.verbosity() == 0;
    Printer::new(arguments.format).print(&checked, |checked| lines(checked, quiet))?;
    if arguments.format == Format::Text && !quiet {
        for reason in checked
            .iter()
            .filter_map(|checked| checked.reason.as_deref())
        {
            context.console.explanation(reason);
        }
    }
    Ok(count_code(
        checked.iter().filter(|it| it.reason.is_some()).count(),
    ))
}

fn lines(checked: &[Checked], quiet: bool) -> String {
    checked
        .iter()
        .filter(|checked| !quiet || checked.reason.is_some())
        .map(|checked| match quiet {
            true => format!("{}\n", checked.file),
            false => format!("{}: {}\n", checked.file, checked.result),
        })
        .collect()
}

/// What is wrong, in apk's words.
pub(super) fn words(error: &VerifyError) -> String {
    if let Some(source) = error.signature() {
        return match source {
            SignatureError::Wrong { .. } => "BAD signature",
            _ => "UNTRUSTED signature",
        }
        .to_owned();
    }
    if let Some(source) = error.system() {
        return system_words(source);
    }
    match error {
        VerifyError::Short { .. }
        | VerifyError::Package(PackageError::Truncated { .. })
        | VerifyError::Index(IndexError::Truncated { .. }) => "unexpected end of file",
        VerifyError::Package(PackageError::WrongDatahash { .. }) => "v2 package integrity error",
        VerifyError::Package(PackageError::WrongFileChecksum { .. }) => "file integrity error",
        VerifyError::Package(
            PackageError::Entry { .. }
            | PackageError::Orphan { .. }
            | PackageError::Info { .. }
            | PackageError::NoDatahash { .. },
        ) => "v2 package format error",
        VerifyError::Index(IndexError::Text { .. }) => "v2 database format error",
        _ => "file format is invalid or inconsistent",
    }
    .to_owned()
}

/// The system's words for an error, without its number.
pub(super) fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

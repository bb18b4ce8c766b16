use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::install::{Bare, BareError, Unpacked, unpack_bare};
use apk::package::Package;
use apk::verify::{Kind, Trust, VerifyError, kind_of};
use archive::Limits;
use archive::unpack::{FlawKind, UnpackError};
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::making::REFUSED;
use super::verify::{system_words, words};
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder to unpack into [default: the working folder]
    #[arg(long, value_name = "DIR")]
    destination: Option<PathBuf>,
    /// Files become the caller's; without root they always do
    #[arg(long)]
    no_chown: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Packages
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// A package that was unpacked, as JSON has it.
#[derive(Serialize)]
struct Extracted {
    package: String,
    paths: Vec<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let console = &context.console;
    let destination = arguments.destination.as_deref().unwrap_or(Path::new("."));
    if let Err(error) = std::fs::read_dir(destination) {
        console.error(&format!(
            "Error opening destination '{}': {}",
            destination.display(),
            system_words(&error)
        ));
        return Ok(ExitCode::from(REFUSED));
    }
    console.document(arguments.format);
    let global = context.global;
    let trust = Trust {
        keyring: context.keyring()?,
        anyone: global.allow_untrusted,
    };
    let mut how = Bare::permitted();
    how.owners &= !arguments.no_chown;
    how.overwrite = global.force_overwrite || global.force;
    let mut extracted = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for path in &arguments.files {
        let name = path.display().to_string();
        console.line(&format!("Extracting {name}..."));
        match extract(path, destination, context.root(), &trust, &how) {
            Ok(unpacked) => {
                for path in &unpacked.paths {
                    if console.verbosity() >= 3 {
                        console.line(path);
                    }
                }
                for (path, flaws) in flaws(&unpacked) {
                    console.warning(&format!("failed to preserve {path}: {flaws}"));
                }
                extracted.push(Extracted {
                    package: name,
                    paths: unpacked.paths,
                });
            }
            Err((words, reason)) => {
                console.error(&format!("{name}: {words}"));
                console.explanation(&reason);
                code = ExitCode::from(REFUSED);
                break;
            }
        }
    }
    if arguments.format == Format::Json {
        Printer::new(Format::Json).print(&extracted, |_| String::new())?;
    }
    Ok(code)
}

/// The failure in apk's words, and the whole of it.
fn extract(
    path: &Path,
    destination: &Path,
    system: &Path,
    trust: &Trust<'_>,
    how: &Bare,
) -> Result<Unpacked, (String, String)> {
    let failed = |error: VerifyError| (words(&error), error.to_string());
    if kind_of(path).map_err(failed)? == Kind::Index {
        let error = VerifyError::Neither {
            path: path.to_owned(),
            reason: "an index holds no files to unpack",
        };
        return Err((
            "file format not supported (in this applet)".to_owned(),
            error.to_string(),
        ));
    }
    let package = Package::open(path).map_err(|error| failed(error.into()))?;
    trust
        .of_package(&package)
        .map_err(|error| failed(error.into()))?;
    unpack_bare(&package, destination, system, how, &Limits::default()).map_err(|error| {
        let whole = error.to_string();
        match error {
            BareError::Package(error) => failed(error.into()),
            BareError::Unpack {
                source: UnpackError::System { source, .. },
                ..
            } => (system_words(&source), whole),
            BareError::Unpack { .. } | BareError::Owners { .. } => {
                ("file format is invalid or inconsistent".to_owned(), whole)
            }
        }
    })
}

/// What could not be kept of each path, in apk's words.
fn flaws(unpacked: &Unpacked) -> Vec<(&str, String)> {
    let by_path = unpacked
        .flaws
        .chunk_by(|left, right| left.path == right.path);
    by_path
        .filter_map(|flaws| {
            let first = flaws.first()?;
            let words = [
                (FlawKind::Owner, "owner"),
                (FlawKind::Mode, "permission"),
                (FlawKind::Time, "mtime"),
                (FlawKind::Xattrs, "xattrs"),
            ]
            .into_iter()
            .filter(|(kind, _)| flaws.iter().any(|flaw| flaw.what == *kind))
            .map(|(_, word)| word);
            Some((first.path.as_str(), words.collect::<Vec<_>>().join(" ")))
        })
        .collect()
}

use std::path::Path;
use std::process::ExitCode;

use apk::dependency::Identity;
use apk::package::{EntryKind, Package};
use apk::pattern::{Case, matches};
use apk::query::{PackageId, Population, compare_names};
use apk::verify::{Trust, VerifyError};
use archive::Limits;
use clap::Args;
use serde::Serialize;

use super::context::{Context, Needs};
use super::question::Opened;
use super::verify::words;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Names of packages, patterns or package files
    #[arg(value_name = "PACKAGE")]
    words: Vec<String>,
}

/// The files of a package.
#[derive(Serialize)]
struct Listed {
    /// Its name, or the file's.
    package: String,
    files: Vec<Sum>,
}

#[derive(Serialize)]
struct Sum {
    path: String,
    /// `sha1`, `sha256-160`, `sha256` or `none`.
    algorithm: &'static str,
    /// In hexadecimal digits.
    checksum: String,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let words = &arguments.words;
    if words.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // Files need no database.
    let mut outcome = Outcome::default();
    if words.iter().all(|word| is_file(word)) {
        for word in words {
            outcome.file(word, context)?;
        }
    } else {
        let opened = Opened::new(context, &Needs::default()).await?;
        opened.with_population(|population| outcome.words(words, population, context))?;
    }
    let prefixed = context.console.verbosity() > 1;
    Printer::new(arguments.format).print(&outcome.listed, |listed| lines(listed, prefixed))?;
    Ok(ExitCode::from(u8::from(outcome.failed)))
}

fn is_file(word: &str) -> bool {
    (word.contains('/') || word.ends_with(".apk")) && Path::new(word).is_file()
}

#[derive(Default)]
struct Outcome {
    listed: Vec<Listed>,
    failed: bool,
}

impl Outcome {
    /// Files first, in order, then packages by name.
    fn words(
        &mut self,
        words: &[String],
        population: &Population<'_>,
        context: &Context<'_>,
    ) -> Result<(), Failure> {
        for word in words {
            let known = !population.named(word).is_empty() || word.contains('*');
            if !known {
                self.file(word, context)?;
            }
        }
        let exact = !words.iter().any(|word| word.contains('*'));
        let wanted = |name: &str| {
            words.iter().any(|word| match exact {
                true => word == name,
                false => matches(word, name, Case::Fold),
            })
        };
        let mut installed: Vec<PackageId> = population
            .packages()
            .filter(|id| population.is_installed(*id) && wanted(population.name(*id)))
            .collect();
        installed
            .sort_by(|left, right| compare_names(population.name(*left), population.name(*right)));
        for id in installed {
            self.listed.push(Listed::installed(population, id));
        }
        Ok(())
    }

    fn file(&mut self, word: &str, context: &Context<'_>) -> Result<(), Failure> {
        let trust = Trust {
            keyring: context.keyring()?,
            anyone: context.global.allow_untrusted,
        };
        match Listed::file(word, &trust) {
            Ok(listed) => self.listed.push(listed),
            Err(error) => {
                context.console.error(&format!("{word}: {}", words(&error)));
                if error.system().is_none() {
                    context.console.explanation(&error.to_string());
                }
                self.failed = true;
            }
        }
        Ok(())
    }
}

impl Listed {
    fn installed(population: &Population<'_>, id: PackageId) -> Listed {
        let mut files = Vec::new();
        if let Some(package) = population.installed(id) {
            for directory in &package.directories {
                for file in &directory.files {
                    let path = match directory.path.as_str() {
                        "" => file.name.clone(),
                        folder => format!("{folder}/{}", file.name),
                    };
                    let (algorithm, checksum) =
                        sum(file.checksum.as_ref(), package.broken.sha256_160);
                    files.push(Sum {
                        path,
                        algorithm,
                        checksum,
                    });
                }
            }
        }
        Listed {
            package: population.name(id).to_owned(),
            files,
        }
    }

    fn file(word: &str, trust: &Trust<'_>) -> Result<Listed, VerifyError> {
        let package = Package::open(Path::new(word))?;
        trust.of_package(&package)?;
        let manifest = package.manifest(&Limits::default())?;
        // Of format 2, apk lists files alone; of format 3, whatever is no directory.
        let everything = manifest.datahash.is_none();
        let files = manifest.entries.iter().filter_map(|entry| {
            let checksum = match entry.kind {
                EntryKind::File { .. } | EntryKind::HardLink { .. } => entry.checksum,
                EntryKind::Directory => return None,
                _ if everything => None,
                _ => return None,
            };
            let (algorithm, checksum) = sum(checksum.as_ref(), false);
            Some(Sum {
                path: entry.path.clone(),
                algorithm,
                checksum,
            })
        });
        Ok(Listed {
            package: word.to_owned(),
            files: files
                .filter(|file| everything || !file.path.starts_with('.'))
                .collect(),
        })
    }
}

/// apk's name of the algorithm, and the digits.
fn sum(checksum: Option<&Identity>, shortened: bool) -> (&'static str, String) {
    match checksum {
        None => ("none", String::new()),
        Some(Identity::Sha1(hash)) if shortened => ("sha256-160", hash.hex()),
        Some(Identity::Sha1(hash)) => ("sha1", hash.hex()),
        Some(Identity::Sha256(hash)) => ("sha256", hash.hex()),
    }
}

fn lines(listed: &[Listed], prefixed: bool) -> String {
    let mut out = String::new();
    for package in listed {
        for file in &package.files {
            if prefixed {
                out.push_str(&package.package);
                out.push_str(": ");
            }
            out.push_str(file.algorithm);
            out.push(':');
            out.push_str(&file.checksum);
            out.push_str("  ");
            out.push_str(&file.path);
            out.push('\n');
        }
    }
    out
}

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::dependency::Identity;
use apk::index::{AdbIndex, IndexEntry, StoredIndex};
use apk::package::{Package, PackageError};
use apk::repository::NamePattern;
use apk::signature::{Keyring, Signer};
use base::Sha1;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::context::Context;
use super::making::{self, Generating};
use super::options::{Generation, Stamp};
use super::verify::system_words;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

/// What packages of format 3 are known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Hash {
    /// SHA-256 of their payload.
    #[default]
    Sha256,
    /// The first 160 bits of it, for what came before 3.0.
    #[value(name = "sha256-160")]
    Sha256Short,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apk mkndx -o x86_64/Packages.adb --sign-key me.rsa x86_64/*.apk
  apk mkndx -x Packages.adb -o Packages.adb *.apk      # reads only what is newer than the index")]
pub(crate) struct Arguments {
    /// Text that is kept with the index
    #[arg(long, short, value_name = "TEXT")]
    description: Option<String>,
    /// Take over from --index alone what is called like one of the arguments in this pattern
    #[arg(long, value_name = "PATTERN")]
    filter_spec: Option<String>,
    /// What packages of format 3 are known by
    #[arg(long, value_enum, default_value_t)]
    hash: Hash,
    /// Index of which entries are taken over if their package files are no newer
    #[arg(long, short = 'x', value_name = "INDEX")]
    index: Option<PathBuf>,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where packages lie from the index: ${name}, ${version}, ${arch} and ${hash}, each perhaps with
    /// a length as in ${name:3}
    #[arg(long, value_name = "PATTERN")]
    pkgname_spec: Option<String>,
    /// No longer there: use --pkgname-spec 'ARCH/${name}-${version}.apk'
    #[arg(long, value_name = "ARCH", hide = true)]
    rewrite_arch: Option<String>,
    /// How the outcome is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    stamp: Stamp,
    #[command(flatten)]
    generation: Generation,
    /// Package files; with --filter-spec, names
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
}

/// What was done.
#[derive(Serialize)]
struct Outcome {
    packages: usize,
    new: usize,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    context.console.document(arguments.format);
    if let Some(arch) = &arguments.rewrite_arch {
        let why = format!(
            "--rewrite-arch is removed, use instead: --pkgname-spec '{arch}/${{name}}-${{version}}.apk'"
        );
        return Ok(making::refuse(context, &why));
    }
    let Some(output) = &arguments.output else {
        return Ok(making::refuse(context, "Please specify --output FILE"));
    };
    if arguments.filter_spec.is_some() && arguments.index.is_none() {
        return Ok(making::refuse(context, "--filter-spec requires --index"));
    }
    let generating = Generating::new(&arguments.generation)?;
    let signers: Vec<&Signer> = generating.signers.iter().collect();
    let names = pattern("--pkgname-spec", arguments.pkgname_spec.as_deref())?;
    let filter = pattern("--filter-spec", arguments.filter_spec.as_deref())?;
    let keyring = making::keyring(context)?;
    let lookup = filter
        .clone()
        .or_else(|| names.clone())
        .unwrap_or_else(|| NamePattern::standard(NamePattern::BESIDE_INDEX));
    let earlier = match &arguments.index {
        None => Earlier::default(),
        Some(path) => match Earlier::read(path, &lookup, keyring) {
            Ok(earlier) => earlier,
            // It names the file.
            Err(error) => return Ok(making::refuse(context, &error.to_string())),
        },
    };
    let making = Making {
        context,
        filter: filter.is_some(),
        hash: arguments.hash,
        names: names.as_ref(),
        keyring,
        earlier,
    };
    let mut index = AdbIndex::new();
    let mut new = 0;
    let mut errors = 0;
    for argument in &arguments.packages {
        match making.add(argument, &mut index) {
            Ok(Added::New) => new += 1,
            Ok(Added::Known | Added::Nothing) => {}
            Err(error) => {
                context.console.error(&error.to_string());
                errors += 1;
            }
        }
    }
    if errors > 0 {
        let why = format!("{errors} errors, not creating index");
        return Ok(making::refuse(context, &why));
    }
    let packages = index.len();
    let description = arguments.description.as_deref().unwrap_or_default();
    let formers = [Some(output.as_path()), arguments.index.as_deref()];
    let description = arguments.stamp.describe(description, formers)?;
    let failed = |error| Failure::failed("Index creation failed", error);
    let bytes = index
        .finish(
            &description,
            names.as_ref(),
            &signers,
            generating.compression(),
        )
        .map_err(failed)?;
    store::write_atomically(output, &bytes).map_err(|error| failed(error.into()))?;
    context.console.message(&format!(
        "Index has {packages} packages (of which {new} are new)"
    ));
    Printer::new(arguments.format).print(&Outcome { packages, new }, |_| String::new())?;
    Ok(ExitCode::SUCCESS)
}

fn pattern(option: &str, text: Option<&str>) -> Result<Option<NamePattern>, Failure> {
    text.map(NamePattern::parse)
        .transpose()
        .map_err(|error| Failure::Usage(format!("{option}: {error}")))
}

/// The last part of a path.
fn file_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, file)| file)
}

/// An earlier index, its entries by how their packages are called.
#[derive(Default)]
struct Earlier {
    modified: u64,
    index: Option<StoredIndex>,
    /// The places in it, by the whole name that the pattern gives.
    whole: BTreeMap<String, Vec<usize>>,
    /// The whole names by their last parts.
    files: BTreeMap<String, Vec<String>>,
    /// The pattern names folders too.
    folders: bool,
}

impl Earlier {
    fn read(
        path: &Path,
        lookup: &NamePattern,
        keyring: Option<&Keyring>,
    ) -> Result<Earlier, apk::index::IndexError> {
        let index = StoredIndex::read(path, keyring)?;
        let mut earlier = Earlier {
            modified: making::modified_and_size(path).map_or(0, |(modified, _)| modified),
            folders: lookup.as_str().contains('/'),
            ..Earlier::default()
        };
        for (place, entry) in index.entries().iter().enumerate() {
            let name = lookup.file_name(entry);
            let names = earlier.files.entry(file_of(&name).to_owned()).or_default();
            names.push(name.clone());
            earlier.whole.entry(name).or_default().push(place);
        }
        earlier.index = Some(index);
        Ok(earlier)
    }

    /// The place of the package that is called so, of this size if it has one, and its index.
    fn find(&self, argument: &str, size: Option<u64>) -> Option<(&StoredIndex, usize)> {
        let index = self.index.as_ref()?;
        let fits = |place: &usize| {
            let entry = index.entries().get(*place);
            entry.is_some_and(|entry| size.is_none_or(|size| entry.size == size))
        };
        let found = if argument.contains('/') && self.folders {
            // Both name folders, so all of it must be the same.
            self.whole.get(argument)?.iter().copied().find(fits)
        } else {
            let names = self.files.get(file_of(argument))?;
            let places = names
                .iter()
                .filter_map(|name| self.whole.get(name))
                .flatten();
            places.copied().find(fits)
        };
        Some((index, found?))
    }
}

enum Added {
    New,
    Known,
    Nothing,
}

/// A package can't be indexed.
#[derive(Debug, thiserror::Error)]
enum AddError {
    #[error("{file}: {}", system_words(.source))]
    Read {
        file: String,
        source: std::io::Error,
    },
    // It names the file itself.
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("{file}: {source}")]
    Adb {
        file: String,
        source: apk::adb::AdbError,
    },
    #[error("{file}: {reason}")]
    Terms { file: String, reason: String },
}

struct Making<'a> {
    context: &'a Context<'a>,
    filter: bool,
    hash: Hash,
    names: Option<&'a NamePattern>,
    keyring: Option<&'a Keyring>,
    earlier: Earlier,
}

impl Making<'_> {
    fn add(&self, argument: &str, index: &mut AdbIndex) -> Result<Added, AddError> {
        let console = &self.context.console;
        let path = Path::new(argument);
        let mut size = None;
        let mut unchanged = true;
        if !self.filter {
            let (modified, bytes) =
                making::modified_and_size(path).map_err(|source| AddError::Read {
                    file: argument.to_owned(),
                    source,
                })?;
            size = Some(bytes);
            unchanged = self.earlier.modified >= modified;
        }
        if unchanged && let Some((earlier, place)) = self.earlier.find(argument, size) {
            console.detail(&format!("{argument}: indexed from old index"));
            index
                .add_stored(earlier, place)
                .map_err(|source| AddError::Adb {
                    file: argument.to_owned(),
                    source,
                })?;
            return Ok(Added::Known);
        }
        if self.filter {
            return Ok(Added::Nothing);
        }
        let package = Package::open(path)?;
        if let Some(keyring) = self.keyring {
            package.verify(keyring)?;
        }
        making::check_terms(self.context, path, package.info()).map_err(|reason| {
            AddError::Terms {
                file: argument.to_owned(),
                reason,
            }
        })?;
        let mut entry = IndexEntry::of(&package);
        match (self.hash, entry.identity) {
            (Hash::Sha256Short, Identity::Sha256(digest)) => {
                let mut short = [0; 20];
                let bytes = digest.as_bytes();
                short
                    .iter_mut()
                    .zip(bytes)
                    .for_each(|(to, from)| *to = *from);
                entry.identity = Identity::Sha1(Sha1::from_bytes(short));
                index.add(&entry);
            }
            _ => index
                .add_package(&package)
                .map_err(|source| AddError::Adb {
                    file: argument.to_owned(),
                    source,
                })?,
        }
        if let Some(names) = self.names
            && file_of(&names.file_name(&entry)) != file_of(argument)
        {
            console.warning(&format!(
                "{argument}: not matching package name specification '{}'",
                names.as_str()
            ));
        }
        console.detail(&format!("{argument}: indexed new package"));
        Ok(Added::New)
    }
}

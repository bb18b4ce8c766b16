use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::dependency::Identity;
use apk::index::{Index, IndexEntry};
use apk::package::Package;
use apk::signature::{Keyring, Signer};
use base::Epoch;
use clap::Args;
use serde::Serialize;

use super::commit::indented;
use super::context::Context;
use super::making;
use super::options::Stamp;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};
use crate::settings;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apk index -o x86_64/APKINDEX.tar.gz --sign-key me.rsa x86_64/*.apk
  apk index -x APKINDEX.tar.gz --merge -o APKINDEX.tar.gz new-1.0-r0.apk")]
pub(crate) struct Arguments {
    /// Text that is kept with the index
    #[arg(long, short, value_name = "TEXT")]
    description: Option<String>,
    /// Index of which entries are taken over if their package files are no newer
    #[arg(long, short = 'x', value_name = "INDEX")]
    index: Option<PathBuf>,
    /// Keep all else that --index has
    #[arg(long)]
    merge: bool,
    /// Do not say which dependencies nothing provides
    #[arg(long)]
    no_warnings: bool,
    /// File to write; without it, stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With --merge, leave out what has the origin of a package that is indexed, and is not indexed
    #[arg(long)]
    prune_origin: bool,
    /// Architecture that all packages are given
    #[arg(long, value_name = "ARCH")]
    rewrite_arch: Option<String>,
    /// Private RSA key to sign the index with, one or more; without one it stays unsigned, as apk
    /// leaves it
    #[arg(long, value_name = "KEY")]
    sign_key: Vec<PathBuf>,
    #[command(flatten)]
    stamp: Stamp,
    /// How the outcome is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Package files
    #[arg(value_name = "PACKAGE")]
    packages: Vec<PathBuf>,
}

/// What was done.
#[derive(Serialize)]
struct Outcome {
    packages: usize,
    new: usize,
    unsatisfied: BTreeSet<String>,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    if arguments.output.is_none() {
        making::check_stdout(context.global)?;
    }
    let keyring = making::keyring(context)?;
    let signers: Vec<Signer> = { arguments.sign_key.iter() }
        .map(|key| settings::signer(key))
        .collect::<Result<_, _>>()?;
    context.console.document(arguments.format);
    let Some(gathered) = gather(arguments, context, keyring)? else {
        return Ok(ExitCode::from(making::REFUSED));
    };
    let new = gathered.new;
    let unsatisfied = match arguments.no_warnings {
        true => BTreeSet::new(),
        false => gathered.unsatisfied(),
    };
    let formers = [arguments.output.as_deref(), arguments.index.as_deref()];
    let description = arguments.description.as_deref().unwrap_or_default();
    let description = arguments.stamp.describe(description, formers)?;
    let index = Index {
        description,
        entries: gathered.listed(arguments),
        ..Index::default()
    };
    let packages = index.entries.len();
    write(arguments, &index, &signers)?;
    if !unsatisfied.is_empty() {
        let names = unsatisfied.iter().map(String::as_str);
        context.console.warning(&format!(
            "No provider for the dependencies:\n{}",
            indented("", 2, names, context.console.width())
        ));
        context.console.warning(&format!(
            "Total of {} unsatisfiable package names. Your repository may be broken.",
            unsatisfied.len()
        ));
    }
    if arguments.output.is_some() {
        context.console.message(&format!(
            "Index has {packages} packages (of which {new} are new)"
        ));
        let outcome = Outcome {
            packages,
            new,
            unsatisfied,
        };
        Printer::new(arguments.format).print(&outcome, |_| String::new())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The packages that were named and those of the earlier index.
#[derive(Default)]
struct Gathered {
    entries: Vec<Gather>,
    places: BTreeMap<Identity, usize>,
    new: usize,
}

struct Gather {
    entry: IndexEntry,
    /// It was named, not merely in the earlier index.
    named: bool,
}

impl Gathered {
    /// Adds a package. One of the same identity is the same: the first one stays.
    fn add(&mut self, entry: IndexEntry) -> Option<&mut Gather> {
        let next = self.entries.len();
        let place = *self.places.entry(entry.identity).or_insert(next);
        if place == next {
            self.entries.push(Gather {
                entry,
                named: false,
            });
        }
        self.entries.get_mut(place)
    }

    /// What the index lists: sorted by name as people read it, then by version.
    fn listed(self, arguments: &Arguments) -> Vec<IndexEntry> {
        let origins: BTreeSet<String> = self
            .entries
            .iter()
            .filter(|gather| gather.named)
            .map(|gather| gather.entry.info.origin.clone())
            .filter(|origin| !origin.is_empty())
            .collect();
        let mut entries: Vec<IndexEntry> = self
            .entries
            .into_iter()
            .filter(|gather| {
                gather.named
                    || arguments.merge
                        && !(arguments.prune_origin && origins.contains(&gather.entry.info.origin))
            })
            .map(|gather| gather.entry)
            .collect();
        entries.sort_by(order);
        entries
    }

    /// Names that something needs and nothing has.
    fn unsatisfied(&self) -> BTreeSet<String> {
        let mut wanted = BTreeSet::new();
        let mut provided = BTreeSet::new();
        for Gather { entry, .. } in &self.entries {
            let needs = entry.info.depends.iter().filter(|term| !term.conflict);
            wanted.extend(needs.map(|term| term.name.as_str()));
            provided.insert(entry.info.name.as_str());
            provided.extend(entry.info.provides.iter().map(|term| term.name.as_str()));
        }
        wanted
            .difference(&provided)
            .map(|name| (*name).to_owned())
            .collect()
    }
}

fn order(left: &IndexEntry, right: &IndexEntry) -> Ordering {
    let folded = |entry: &IndexEntry| entry.info.name.to_ascii_lowercase();
    folded(left)
        .cmp(&folded(right))
        .then_with(|| left.info.name.cmp(&right.info.name))
        .then_with(|| apk::version::compare(&left.info.version, &right.info.version))
}

/// None if some package could not be read, which was said.
fn gather(
    arguments: &Arguments,
    context: &Context<'_>,
    keyring: Option<&Keyring>,
) -> Result<Option<Gathered>, Failure> {
    let mut gathered = Gathered::default();
    let mut earlier = None;
    if let Some(path) = &arguments.index
        && let Ok((modified, _)) = making::modified_and_size(path)
    {
        let index = match keyring {
            Some(keyring) => Index::read(path, keyring),
            None => Index::read_unverified(path),
        };
        let index =
            index.map_err(|error| Failure::failed("the earlier index can't be used", error))?;
        earlier = Some(modified);
        for entry in index.entries {
            gathered.add(entry);
        }
    }
    let mut by_file: BTreeMap<(String, u64), usize> = BTreeMap::new();
    for (place, gather) in gathered.entries.iter().enumerate() {
        // Of several the first counts, as for apk.
        let file = (gather.entry.file_name(), gather.entry.size);
        by_file.entry(file).or_insert(place);
    }
    let mut failed = false;
    for path in &arguments.packages {
        let Ok((modified, size)) = making::modified_and_size(path) else {
            let message = format!("File '{}' is unaccessible", path.display());
            context.console.warning(&message);
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let known = by_file
            .get(&(name.into_owned(), size))
            .filter(|_| earlier.is_some_and(|earlier| earlier >= modified));
        let gather = match known {
            Some(place) => {
                let message = format!("{}: indexed from old index", path.display());
                context.console.detail(&message);
                gathered.entries.get_mut(*place)
            }
            None => match read(context, path, keyring) {
                Ok(entry) => {
                    let message = format!("{}: indexed new package", path.display());
                    context.console.detail(&message);
                    gathered.new += 1;
                    gathered.add(entry)
                }
                Err(reason) => {
                    context.console.error(&reason);
                    failed = true;
                    continue;
                }
            },
        };
        if let Some(gather) = gather {
            gather.named = true;
            if let Some(arch) = &arguments.rewrite_arch {
                gather.entry.info.arch.clone_from(arch);
            }
        }
    }
    Ok((!failed).then_some(gathered))
}

/// What the index says of a package; why it can't be listed, in words.
fn read(
    context: &Context<'_>,
    path: &Path,
    keyring: Option<&Keyring>,
) -> Result<IndexEntry, String> {
    let package = Package::open(path).map_err(|error| error.to_string())?;
    if let Some(keyring) = keyring {
        package.verify(keyring).map_err(|error| error.to_string())?;
    }
    making::check_terms(context, path, package.info())
        .map_err(|reason| format!("{}: {reason}", path.display()))?;
    Ok(IndexEntry::of(&package))
}

fn write(arguments: &Arguments, index: &Index, signers: &[Signer]) -> Result<(), Failure> {
    let epoch = making::source_date_epoch()?.unwrap_or(Epoch(0));
    match &arguments.output {
        Some(path) => index
            .write(path, signers, epoch)
            .map_err(|error| Failure::failed(format!("{} is not written", path.display()), error)),
        None => {
            let bytes = index
                .to_bytes(signers, epoch)
                .map_err(|error| Failure::failed("the index is not written", error))?;
            making::to_stdout(&bytes)
        }
    }
}

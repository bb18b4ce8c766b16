use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apk::dependency::Dependency;
use apk::package::{
    Listing, PackageContents, PackageInfo, Packing, Script, WrittenV3, stream_v3, write_v3,
};
use apk::signature::Signer;
use apk::version::Version;
use archive::tree::{FileTree, Node};
use base::Arch;
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::making::{self, Accounts, Generating};
use super::options::{Generation, Switch};
use super::verify::system_words;
use crate::output::failure::Failure;
use crate::output::{Format, Printer};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apk mkpkg -I name:tool -I version:1.0-r0 -I depends:'so:libc.so.6 cmd:sh' -F files
  apk mkpkg -I name:tool -I version:1.0-r0 -s post-install:hook.sh --sign-key me.rsa -o tool.apk")]
pub(crate) struct Arguments {
    /// Make a package that this version of apk can read
    #[arg(long, value_name = "VERSION", default_value = "3.0.0_pre1")]
    compat: String,
    /// Folder of the files, laid out as they are to be installed
    #[arg(long, short = 'F', value_name = "DIR")]
    files: Option<PathBuf>,
    /// What the package says of itself; name and version must be given
    #[arg(long, short = 'I', value_name = "KEY:VALUE")]
    info: Vec<String>,
    /// File to write [default: NAME-VERSION.apk]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// yes: --compat 3.0.0_pre1; no: --compat 3.0.0_pre3
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    rootnode: Option<Switch>,
    /// Script: trigger, pre-install, post-install, pre-deinstall, post-deinstall, pre-upgrade or
    /// post-upgrade, and its file
    #[arg(long, short, value_name = "TYPE:FILE")]
    script: Vec<String>,
    /// Write to stdout
    #[arg(long)]
    stdout: bool,
    /// Pattern of directories that set off the trigger script; may be repeated
    #[arg(long, short, value_name = "PATTERN")]
    trigger: Vec<String>,
    /// Keep extended attributes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes", default_value = "yes")]
    xattrs: Switch,
    /// How the outcome is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    generation: Generation,
}

/// What was written.
#[derive(Serialize)]
struct Outcome<'o> {
    file: &'o Path,
    name: &'o str,
    version: &'o str,
    arch: &'o str,
    size: u64,
    sha256: String,
    identity: String,
}

pub(crate) async fn run(arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode, Failure> {
    let refuse = |why: &str| {
        context.console.error(why);
        making::refuse(context, "the package is not made")
    };
    let mut scripts = BTreeMap::new();
    for text in &arguments.script {
        match script(text) {
            Ok((script, bytes)) => drop(scripts.insert(script, bytes)),
            Err(why) => return Ok(refuse(&why)),
        }
    }
    let mut info = PackageInfo::default();
    for text in &arguments.info {
        if let Err(why) = set(&mut info, text) {
            return Ok(refuse(&why));
        }
    }
    for (key, value) in [("name", &info.name), ("version", &info.version)] {
        if value.is_empty() {
            return Ok(refuse(&format!(
                "required info field '{key}' not provided: give it as -I {key}:VALUE"
            )));
        }
    }
    if info.arch.is_empty() {
        info.arch = Arch::host().apk().to_owned();
    }
    info.triggers.clone_from(&arguments.trigger);
    let (tree, root) = match &arguments.files {
        Some(folder) => match files(arguments, context, folder)? {
            Ok((tree, root)) => {
                // An installed package has some size, so that it counts as having files.
                info.installed_size = tree.size().max(1);
                (tree, Some(root))
            }
            Err(why) => return Ok(refuse(&why)),
        },
        None => (FileTree::new(), None),
    };
    let generating = Generating::new(&arguments.generation)?;
    let listing = match arguments.rootnode {
        None => Listing::for_apk(&arguments.compat),
        Some(Switch::Yes) => Listing::All,
        Some(Switch::No) => Listing::AllButRoot,
    };
    let signers: Vec<&Signer> = generating.signers.iter().collect();
    let packing = Packing {
        compression: generating.compression(),
        signers: &signers,
        epoch: making::source_date_epoch()?,
        listing,
        root,
    };
    let out = match &arguments.output {
        Some(path) => path.clone(),
        None => PathBuf::from(info.file_name()),
    };
    let contents = PackageContents {
        info,
        scripts,
        extras: BTreeMap::new(),
        tree: &tree,
    };
    let written = if arguments.stdout {
        making::check_stdout(context.global)?;
        stream_v3(&out, std::io::stdout().lock(), &contents, &packing)
    } else {
        write_v3(&out, &contents, &packing)
    };
    match written {
        Err(error) => Ok(refuse(&error.to_string())),
        Ok(written) => {
            if !arguments.stdout {
                report(arguments, &out, &written)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn report(arguments: &Arguments, out: &Path, written: &WrittenV3) -> Result<(), Failure> {
    let outcome = Outcome {
        file: out,
        name: &written.info.name,
        version: &written.info.version,
        arch: &written.info.arch,
        size: written.size,
        sha256: written.digest.hex(),
        identity: written.identity.to_string(),
    };
    // As apk, it says nothing to people.
    Printer::new(arguments.format).print(&outcome, |_| String::new())
}

/// What `--info` takes.
const FIELDS: [&str; 20] = [
    "name",
    "version",
    "description",
    "arch",
    "license",
    "origin",
    "maintainer",
    "url",
    "repo-commit",
    "build-time",
    "provider-priority",
    "depends",
    "provides",
    "replaces",
    "replaces-priority",
    "install-if",
    "recommends",
    "layer",
    "tags",
    "hashes",
];

/// Takes `KEY:VALUE`; says why not.
fn set(info: &mut PackageInfo, text: &str) -> Result<(), String> {
    let Some((key, value)) = text.split_once(':') else {
        return Err(format!(
            "missing key or value: {text}: it is written KEY:VALUE"
        ));
    };
    let invalid =
        |why: &dyn std::fmt::Display| format!("info field '{key}' has invalid value: {why}");
    let number = || {
        value
            .parse()
            .map(Some)
            .map_err(|_| invalid(&format!("`{value}` is no number")))
    };
    let text = || value.to_owned();
    let terms = || {
        value
            .split([' ', '\n'])
            .filter(|term| !term.is_empty())
            .map(Dependency::parse_untagged)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid(&error))
    };
    match key {
        "name" => info.name = text(),
        "version" => {
            Version::parse(value).map_err(|error| invalid(&error))?;
            info.version = text();
        }
        // The package's own id takes its place.
        "hashes" => {}
        "description" => info.description = text(),
        "arch" => info.arch = text(),
        "license" => info.licenses = vec![text()],
        "origin" => info.origin = text(),
        "maintainer" => info.maintainer = text(),
        "url" => info.url = text(),
        "repo-commit" => info.commit = text(),
        "build-time" => info.build_time = number()?,
        "provider-priority" => info.provider_priority = number()?,
        "depends" => info.depends = terms()?,
        "provides" => info.provides = terms()?,
        "replaces" => info.replaces = terms()?,
        "install-if" => info.install_if = terms()?,
        "recommends" => info.recommends = terms()?,
        "layer" => info.layer = number()?,
        "tags" => {
            let tags = value.split(' ').filter(|tag| !tag.is_empty());
            info.tags = tags.map(str::to_owned).collect();
        }
        "replaces-priority" => info.replaces_priority = number()?,
        _ => {
            return Err(format!(
                "invalid info field: {key}: it is one of {}",
                FIELDS.join(", ")
            ));
        }
    }
    Ok(())
}

/// Reads the script that `TYPE:FILE` names; says why not.
fn script(text: &str) -> Result<(Script, Vec<u8>), String> {
    let Some((name, path)) = text.split_once(':') else {
        return Err(format!(
            "missing script type: {text}: it is written TYPE:FILE"
        ));
    };
    let Some(script) = Script::from_name(name) else {
        let known = Script::ALL.map(Script::as_str).join(", ");
        return Err(format!("invalid script type: {name}: it is one of {known}"));
    };
    match fs::read(path) {
        Ok(bytes) => Ok((script, bytes)),
        Err(error) => Err(format!(
            "failed to load script: {path}: {}",
            system_words(&error)
        )),
    }
}

/// The files with the names of their owners, and the folder that they lie in.
fn files(
    arguments: &Arguments,
    context: &Context<'_>,
    folder: &Path,
) -> Result<Result<(FileTree, Node), String>, Failure> {
    let metadata = match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            return Ok(Err(format!(
                "file directory '{}': Not a directory",
                folder.display()
            )));
        }
        Err(error) => {
            return Ok(Err(format!(
                "file directory '{}': {}",
                folder.display(),
                system_words(&error)
            )));
        }
    };
    let mut tree = match FileTree::scan(folder) {
        Ok(tree) => tree,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut root = Node::directory()
        .with_mode(metadata.mode() & 0o7777)
        .with_owner(metadata.uid().into(), metadata.gid().into());
    let accounts = Accounts::of(context.root())?;
    accounts.name_owners(&mut tree);
    accounts.name_owner(&mut root);
    if arguments.xattrs == Switch::No {
        for (_, node) in tree.iter_mut() {
            node.xattrs.clear();
        }
    }
    Ok(Ok((tree, root)))
}

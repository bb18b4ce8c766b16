//! What the commands share that make packages and indexes.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use apk::adb::Compression;
use apk::database::Owners;
use apk::package::PackageInfo;
use apk::signature::{Keyring, Signer};
use archive::tree::{FileTree, Node};
use base::Epoch;

use super::context::Context;
use super::options::{Generation, Global};
use crate::output::failure::Failure;

/// The exit code with which apk ends when it has refused something.
pub(crate) const REFUSED: u8 = 99;

/// Says what was refused, and ends as apk then does.
pub(crate) fn refuse(context: &Context<'_>, why: &str) -> ExitCode {
    context.console.error(why);
    ExitCode::from(REFUSED)
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
pub(crate) fn keyring<'c>(context: &'c Context<'_>) -> Result<Option<&'c Keyring>, Failure> {
    match context.global.allow_untrusted {
        true => Ok(None),
        false => context.keyring().map(Some),
    }
}

/// Whether an index may list a package: not one that would seem to need less than it does. What else
/// of it follows no grammar is told.
pub(crate) fn check_terms(
    context: &Context<'_>,
    file: &Path,
    info: &PackageInfo,
) -> Result<(), String> {
    for defect in &info.defects {
        let what = format!("`{}` of its .PKGINFO: {}", defect.field, defect.reason);
        if defect.fatal {
            return Err(format!(
                "{what}; build it again with a term that apk can read"
            ));
        }
        context
            .console
            .warning(&format!("{}: {what}", file.display()));
    }
    Ok(())
}

/// How a file of format 3 is compressed and who signs it, as the options say.
pub(crate) struct Generating {
    /// None if the options leave it open.
    pub(crate) compression: Option<Compression>,
    pub(crate) signers: Vec<Signer>,
}

impl Generating {
    pub(crate) fn new(options: &Generation) -> Result<Generating, Failure> {
        let signers = options
            .sign_key
            .iter()
            .map(|path| {
                let failed = |error| {
                    let what = format!("the signing key {} can't be used", path.display());
                    Failure::failed(what, error)
                };
                let key = crate::settings::private_key(path)?;
                Signer::of_file(path, key).map_err(failed)
            })
            .collect::<Result<_, _>>()?;
        Ok(Generating {
            compression: options.compression,
            signers,
        })
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression.unwrap_or_default()
    }
}

/// Seconds since 1970 at which a file was modified, and its bytes.
pub(crate) fn modified_and_size(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    let modified = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Ok((modified, metadata.len()))
}

/// Refuses to print binary data to a terminal.
pub(crate) fn check_stdout(global: &Global) -> Result<(), Failure> {
    if io::stdout().is_terminal() && !global.force && !global.force_binary_stdout {
        return Err(Failure::Usage(
            "binary data is not written to a terminal; send it to a file, or say \
             --force-binary-stdout"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Writes binary data to stdout.
pub(crate) fn to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::failed("the result can't be written to stdout", error))
}

/// The names of a system's users and groups by number.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: BTreeMap<u64, String>,
    groups: BTreeMap<u64, String>,
}

impl Accounts {
    /// Those of `etc/passwd` and `etc/group`, as far as they are there.
    pub(crate) fn of(root: &Path) -> Result<Accounts, Failure> {
        Ok(Accounts {
            users: numbered(&root.join("etc/passwd"))?,
            groups: numbered(&root.join("etc/group"))?,
        })
    }

    /// Gives the owners of all that is in a tree their names.
    pub(crate) fn name_owners(&self, tree: &mut FileTree) {
        for (_, node) in tree.iter_mut() {
            self.name_owner(node);
        }
    }

    /// Gives the owner of an entry its name.
    pub(crate) fn name_owner(&self, node: &mut Node) {
        let name = |names: &BTreeMap<u64, String>, number| names.get(&number).cloned();
        node.user = name(&self.users, node.uid).unwrap_or_default();
        node.group = name(&self.groups, node.gid).unwrap_or_default();
    }
}

impl Owners for Accounts {
    fn user(&self, number: u64) -> String {
        named(&self.users, number)
    }

    fn group(&self, number: u64) -> String {
        named(&self.groups, number)
    }
}

/// Without a name, root is root, and all others are nobody.
fn named(names: &BTreeMap<u64, String>, number: u64) -> String {
    match (names.get(&number), number) {
        (Some(name), _) => name.clone(),
        (None, 0) => "root".to_owned(),
        (None, _) => "nobody".to_owned(),
    }
}

/// Lines of `name:…:number:…`. Of several names of a number the first counts.
fn numbered(path: &PathBuf) -> Result<BTreeMap<u64, String>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => {
            let what = format!("{} can't be read", path.display());
            return Err(Failure::failed(what, error));
        }
    };
    let mut names = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(number))) =
            (fields.next(), fields.nth(1).map(str::parse::<u64>))
        {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    Ok(names)
}
